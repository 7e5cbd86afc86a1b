//! The machine: QEMU virt as the normal world sees it. The unsafe code lives here.
//!
//! **Invariant:** each device has one owner; interrupt handlers take no lock.

mod boot;
pub(crate) mod channel;
pub(crate) mod console;
pub(crate) mod cpu;
pub(crate) mod exceptions;
pub(crate) mod fw_cfg;
pub(crate) mod interrupts;

use alloc::format;
use core::panic::PanicInfo;
use linked_list_allocator::Heap;
use spin::Mutex;

use tally_board_virt::images::{STATUS, TA_ARCHIVE_BASE, TA_ARCHIVE_MAX};

struct LockedHeap(Mutex<Heap>);

// SAFETY:
// 1. Blocks come from `Heap`, whose contract is `GlobalAlloc`'s.
// 2. The lock serialises the two CPUs; interrupt handlers do not allocate.
unsafe impl core::alloc::GlobalAlloc for LockedHeap {
    unsafe fn alloc(&self, layout: core::alloc::Layout) -> *mut u8 {
        self.0
            .lock()
            .allocate_first_fit(layout)
            .map_or(core::ptr::null_mut(), |block| block.as_ptr())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: core::alloc::Layout) {
        if let Some(block) = core::ptr::NonNull::new(block) {
            // SAFETY: the caller's contract: `block` was allocated here with this layout.
            unsafe { self.0.lock().deallocate(block, layout) }
        }
    }
}

#[global_allocator]
static HEAP: LockedHeap = LockedHeap(Mutex::new(Heap::empty()));

unsafe extern "C" {
    static __heap_start: u8;
    static __heap_end: u8;
}

/// Gives the heap its memory. Called once, on CPU 0, before anything allocates.
fn init_heap() {
    let start = &raw const __heap_start;
    let end = &raw const __heap_end;
    let len = end.addr() - start.addr();
    // SAFETY:
    // 1. The linker script keeps this range free of everything else, up to the TA archive.
    // 2. Called once, from `start_first`.
    unsafe { HEAP.0.lock().init(start.cast_mut(), len) }
}

/// The memory where the TA archive is loaded.
pub(crate) fn archive_bytes() -> &'static [u8] {
    let start = core::ptr::with_exposed_provenance(TA_ARCHIVE_BASE as usize);
    // SAFETY:
    // 1. Mapped RAM behind the heap; nothing in this world writes it after the loader did.
    // 2. It lives as long as the machine.
    unsafe { core::slice::from_raw_parts(start, TA_ARCHIVE_MAX as usize) }
}

/// Ends the machine with `status`, which is the last line of the results.
pub(crate) fn end(status: u8) -> ! {
    channel::RESULTS.write(&[format!("{STATUS}{status}\n").as_bytes()]);
    cpu::system_off();
    loop {
        cpu::doze();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    console::emergency(format_args!("normal world: {info}\n"));
    end(101)
}
