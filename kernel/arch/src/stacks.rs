//! Stacks that are lent to threads for a call.
//!
//! **Invariant:** a lent stack is mapped in its thread's slot from [`ThreadStacks::lend_stack`] to
//! [`ThreadStacks::return_stack`], after which no CPU keeps a translation of it.

use core::arch::asm;
use core::ptr::{read_volatile, write_volatile};

use tally_mem::addr::{PAGE_SIZE, PhysAddr, PhysPage};
use tally_mem::machine::{STACK_PAGES, ThreadStacks};

use crate::config::{NUM_THREADS, RESIDENT_THREADS, THREAD_STACK_BYTES};
use crate::{Arm, mmu};

/// Address of the first page of a thread's stack.
fn bottom(thread: usize) -> u64 {
    mmu::stack_top(thread) - THREAD_STACK_BYTES as u64
}

fn assert_lent(thread: usize) {
    assert!(
        (RESIDENT_THREADS..NUM_THREADS).contains(&thread),
        "thread {thread} is lent no stack"
    );
}

/// Where a byte of a lent stack is in the direct map, and how many bytes of its page there are from there
/// on. Its thread may end at any time: the page is somebody else's then, but mapped all the same.
pub(crate) fn in_direct_map(address: u64) -> Option<(u64, u64)> {
    // SAFETY: an entry of the stacks' tables, which exist for good; read as it is at this moment.
    let leaf = unsafe { read_volatile(mmu::stack_entry(address)) };
    let offset = address % PAGE_SIZE as u64;
    let page = mmu::leaf_address(leaf);
    (page != 0).then(|| (mmu::direct(page + offset), PAGE_SIZE as u64 - offset))
}

impl ThreadStacks for Arm {
    fn resident_threads(&self) -> usize {
        RESIDENT_THREADS
    }

    fn lend_stack(&self, thread: usize, pages: &[PhysPage; STACK_PAGES]) {
        assert_lent(thread);
        for (n, page) in pages.iter().enumerate() {
            let entry = mmu::stack_entry(bottom(thread) + (n * PAGE_SIZE) as u64);
            // SAFETY:
            // 1. An entry of a stack slot that is lent, so that nothing else is mapped by it.
            // 2. The caller has claimed the thread, so nobody else writes it.
            unsafe { write_volatile(entry, mmu::stack_leaf(page.addr().0)) };
        }
        // SAFETY: barriers only. The entries were invalid, so there is nothing to invalidate.
        unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
    }

    fn return_stack(&self, thread: usize) -> [PhysPage; STACK_PAGES] {
        assert_lent(thread);
        let pages = core::array::from_fn(|n| {
            let va = bottom(thread) + (n * PAGE_SIZE) as u64;
            let entry = mmu::stack_entry(va);
            // SAFETY: as in `lend_stack`; the thread has ended, so nobody uses its stack.
            let leaf = unsafe { read_volatile(entry) };
            // SAFETY: as above.
            unsafe { write_volatile(entry, 0) };
            // SAFETY: the translation of a stack that nobody uses.
            unsafe {
                asm!(
                    "dsb ishst",
                    "tlbi vaale1is, {}",
                    in(reg) va >> 12 & ((1 << 44) - 1),
                    options(nostack, preserves_flags),
                );
            }
            PhysPage::containing(PhysAddr(mmu::leaf_address(leaf)))
        });
        // SAFETY: barriers only.
        unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
        pages
    }
}
