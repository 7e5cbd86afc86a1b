//! Memory of both worlds through the direct map, and TLB maintenance.
//!
//! **Invariant:** only free secure RAM, the normal world's RAM and, for reading, the constants of
//! the image (which the loader is one of) are reachable; an address outside is a kernel bug
//! (secure) or refused (normal).

use core::arch::asm;

use tally_mem::addr::{PAGE_SIZE, PhysAddr, PhysPage};
use tally_mem::machine::{NormalMemory, SecureMemory, TableMemory, Tlb};

use crate::{Arm, boot, cache, layout, mmu};

unsafe extern "C" {
    /// Copies `bytes` bytes that do not overlap. As memcpy, but the compiler knows nothing of it:
    /// it cannot read the source again.
    fn tally_copy(to: *mut u8, from: *const u8, bytes: usize);
    /// Fills with zeros.
    fn tally_zero(to: *mut u8, bytes: usize);
}

/// Pointer to secure memory in the direct map.
#[inline]
#[track_caller]
fn secure(pa: u64, bytes: usize) -> *mut u8 {
    let inside = pa >= layout::direct_start()
        && pa < tally_board::SECURE_RAM_END
        && bytes as u64 <= tally_board::SECURE_RAM_END - pa;
    assert!(inside, "{pa:#x} is not secure RAM");
    mmu::direct(pa) as *mut u8
}

impl TableMemory for Arm {
    #[inline]
    fn read_entry(&self, table: PhysPage, index: usize) -> u64 {
        let table = secure(table.addr().0, PAGE_SIZE).cast::<u64>();
        // SAFETY: mapped, and within the page by the mask.
        unsafe { table.add(index & 511).read_volatile() }
    }

    #[inline]
    fn write_entry(&self, table: PhysPage, index: usize, value: u64) {
        let table = secure(table.addr().0, PAGE_SIZE).cast::<u64>();
        // SAFETY: as above; the caller owns the table.
        unsafe { table.add(index & 511).write_volatile(value) };
    }
}

impl SecureMemory for Arm {
    fn read_secure(&self, pa: PhysAddr, buf: &mut [u8]) {
        let from = match layout::constants_at(pa.0, buf.len()) {
            Some(constants) => constants,
            None => secure(pa.0, buf.len()),
        };
        // SAFETY: mapped; `buf` is not in the caller's own pages.
        unsafe { tally_copy(buf.as_mut_ptr(), from, buf.len()) };
    }

    fn write_secure(&self, pa: PhysAddr, data: &[u8]) {
        let to = secure(pa.0, data.len());
        // SAFETY: mapped, the caller's own; `data` is not in it.
        unsafe { tally_copy(to, data.as_ptr(), data.len()) };
    }

    fn zero_page(&self, page: PhysPage) {
        let to = secure(page.addr().0, PAGE_SIZE);
        // SAFETY: mapped, the caller's own.
        unsafe { tally_zero(to, PAGE_SIZE) };
    }

    fn with_page<R>(&self, page: PhysPage, read: impl FnOnce(&[u8; PAGE_SIZE]) -> R) -> R {
        let page = secure(page.addr().0, PAGE_SIZE).cast::<[u8; PAGE_SIZE]>();
        // SAFETY: mapped, the caller's own.
        read(unsafe { &*page })
    }

    fn sync_code(&self, page: PhysPage) {
        let start = secure(page.addr().0, PAGE_SIZE);
        // SAFETY: mapped, the caller's own.
        unsafe { cache::sync(start, PAGE_SIZE) };
    }
}

impl NormalMemory for Arm {
    #[inline]
    fn is_normal(&self, pa: PhysAddr, len: u64) -> bool {
        boot::normal_ram()
            .iter()
            .any(|ram| pa.0 >= ram.start && pa.0 < ram.end && len <= ram.end - pa.0)
    }

    fn read_normal(&self, pa: PhysAddr, buf: &mut [u8]) -> bool {
        if !self.is_normal(pa, buf.len() as u64) {
            return false;
        }
        // SAFETY: mapped; others may write it meanwhile, which the copy, opaque to the compiler,
        // takes as it comes.
        unsafe { tally_copy(buf.as_mut_ptr(), mmu::direct(pa.0) as *const u8, buf.len()) };
        true
    }

    fn write_normal(&self, pa: PhysAddr, data: &[u8]) -> bool {
        if !self.is_normal(pa, data.len() as u64) {
            return false;
        }
        // SAFETY: mapped; no Rust object lies there.
        unsafe { tally_copy(mmu::direct(pa.0) as *mut u8, data.as_ptr(), data.len()) };
        true
    }
}

impl Tlb for Arm {
    fn flush_page(&self, asid: u16, va: u64) {
        let operand = u64::from(asid) << 48 | (va >> 12 & 0xfff_ffff_ffff);
        // SAFETY: forgets translations.
        unsafe {
            asm!(
                "dsb ishst", "tlbi vae1is, {}", "dsb ish", "isb",
                in(reg) operand,
                options(nostack, preserves_flags),
            );
        }
    }

    fn flush_asid(&self, asid: u16) {
        let operand = u64::from(asid) << 48;
        // SAFETY: forgets translations.
        unsafe {
            asm!(
                "dsb ishst", "tlbi aside1is, {}", "dsb ish", "isb",
                in(reg) operand,
                options(nostack, preserves_flags),
            );
        }
    }
}
