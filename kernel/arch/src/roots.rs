//! The kernel's memory outside of its heap that may point into the heap: variables and stacks.
//!
//! **Invariant:** reads only what is mapped for good: variables, stacks, the kernel heap.
//!
//! Stacks of CPUs are no roots: entries and fast calls, which run there, allocate nothing.

use core::arch::naked_asm;
use core::ops::Range;

use tally_mem::machine::{Here, KernelRoots};

use crate::config::RESIDENT_THREADS;
use crate::mmu::StackKind;
use crate::{Arm, layout, mmu, stacks, thread};

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

/// Where what `at` names can be read, and how many bytes from there on; `None` if that is no variable,
/// stack or heap.
fn place_of(at: u64) -> Option<(u64, u64)> {
    let mut places = layout::variables().into_iter().chain([layout::heap()]);
    if let Some(place) = places.find(|place| place.contains(&at)) {
        return Some((at, place.end - at));
    }
    let (kind, stack) = mmu::stack_at(at).filter(|(_, stack)| stack.contains(&at))?;
    match kind {
        StackKind::Thread(thread) if thread >= RESIDENT_THREADS => stacks::in_direct_map(at),
        _ => Some((at, stack.end - at)),
    }
}

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
        let Some((from, bytes)) = place_of(at).filter(|_| at.is_multiple_of(8)) else {
            return 0;
        };
        let count = words.len().min((bytes / 8) as usize);
        let from = from as *const u64;
        for (n, word) in words.iter_mut().take(count).enumerate() {
            // SAFETY: mapped for good, and aligned as `at` is. Other CPUs may write it; the number is only
            // compared, whatever it is.
            *word = unsafe { from.add(n).read_volatile() };
        }
        count
    }
}
