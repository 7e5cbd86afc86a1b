//! The kernel's memory outside of its heap that may point into the heap: variables and stacks.
//!
//! **Invariant:** reads only what is mapped for good: variables, stacks, the kernel heap.
//! **Knows nothing of:** what is looked for, and which threads are in use.
//!
//! Stacks of CPUs are no roots: entries and fast calls, which run there, allocate nothing.

use core::arch::naked_asm;
use core::ops::Range;

use tally_core::machine::{Here, KernelRoots};

use crate::{Arm, layout, mmu, thread};

/// Stores the stack pointer and x19..x28, as the caller has them.
///
/// # Safety
/// `out` points to a [`Here`] that may be written.
#[unsafe(naked)]
unsafe extern "C" fn store_here(out: *mut Here) {
    naked_asm!(
        "mov x9, sp",
        "stp x9, x19, [x0]",
        "stp x20, x21, [x0, #16]",
        "stp x22, x23, [x0, #32]",
        "stp x24, x25, [x0, #48]",
        "stp x26, x27, [x0, #64]",
        "str x28, [x0, #80]",
        "ret",
    )
}

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Here, stack_pointer) == 0);
    assert!(offset_of!(Here, registers) == 8);
    assert!(size_of::<Here>() == 88);
};

impl KernelRoots for Arm {
    fn variables(&self, index: usize) -> Option<Range<u64>> {
        layout::variables().get(index).cloned()
    }

    fn stack_of(&self, thread: usize, suspended: bool) -> Range<u64> {
        let Some((_, stack)) = mmu::stack_at(mmu::stack_top(thread) - 1) else {
            return 0..0;
        };
        match thread::saved_stack_pointer(thread) {
            pointer if suspended && stack.contains(&pointer) => pointer..stack.end,
            _ => stack,
        }
    }

    #[inline(always)]
    fn here(&self) -> Here {
        let mut here = Here::default();
        // SAFETY: ours, and of the layout that is checked above.
        unsafe { store_here(&raw mut here) };
        here
    }

    fn read_words(&self, at: u64, words: &mut [u64]) -> usize {
        let mut places = layout::variables().into_iter().chain([layout::heap()]);
        let place = places
            .find(|place| place.contains(&at))
            .or_else(|| mmu::stack_at(at).map(|(_, stack)| stack));
        let Some(place) = place.filter(|place| place.contains(&at) && at.is_multiple_of(8)) else {
            return 0;
        };
        let count = words.len().min(((place.end - at) / 8) as usize);
        let from = at as *const u64;
        for (n, word) in words.iter_mut().take(count).enumerate() {
            // SAFETY: mapped for good and aligned. Other CPUs may write it; the number is only
            // compared, whatever it is.
            *word = unsafe { from.add(n).read_volatile() };
        }
        count
    }
}
