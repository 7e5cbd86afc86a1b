//! An allocator by one interface, and the same steps for each.
//!
//! **Invariant:** every heap is asked the same, in memory of the same size and alignment.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use tally_ledger::footprint::Step;

/// Bytes of the memory that a heap is measured in.
const ARENA_BYTES: usize = 4 << 20;
/// An allocator.
pub(crate) trait Heap: Sized {
    /// For people.
    const NAME: &str;

    /// A heap in `bytes` bytes at `base`; `None` if they are too few.
    ///
    /// # Safety
    /// The memory is zeroed, and the heap's alone for as long as it lives.
    unsafe fn over(base: NonNull<u8>, bytes: usize) -> Option<Self>;

    /// A block, if there is room.
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>>;

    /// Takes a block back.
    ///
    /// # Safety
    /// It is a live block of this heap, allocated with `layout`, that nobody uses any more.
    unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout);
}

/// Memory that begins at a multiple of [`ARENA_BYTES`], for heaps that align blocks to their size.
struct Arena(NonNull<u8>, Layout);

impl Arena {
    fn new(bytes: usize) -> Option<Self> {
        let layout = Layout::from_size_align(bytes, ARENA_BYTES).ok()?;
        // SAFETY: nobody asks for an arena without bytes.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self(base, layout))
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.0.as_ptr(), self.1) };
    }
}

/// Blocks by the number of their allocation.
type Blocks = Vec<Option<(NonNull<u8>, Layout)>>;

/// Does what the steps say; false if there was no room for a block.
#[inline(always)]
fn replay<H: Heap>(heap: &mut H, steps: &[Step], blocks: &mut Blocks) -> bool {
    for step in steps {
        match *step {
            Step::Allocate(size) => {
                let layout = Layout::from_size_align(size, 8).ok();
                let block = layout.and_then(|layout| Some((heap.allocate(layout)?, layout)));
                if block.is_none() {
                    return false;
                }
                blocks.push(block);
            }
            Step::Free(number) => {
                if let Some((block, layout)) = blocks.get_mut(number).and_then(Option::take) {
                    // SAFETY: it was allocated here, and `take` forgot it.
                    unsafe { heap.free(block, layout) };
                }
            }
        }
    }
    true
}

/// What callgrind counts.
#[inline(never)]
fn measured<H: Heap>(heap: &mut H, steps: &[Step], blocks: &mut Blocks) -> bool {
    replay(heap, steps, blocks)
}

/// Runs `before` unmeasured and `steps` measured in a heap of its own; false if there was no room.
pub(crate) fn run<H: Heap>(before: &[Step], steps: &[Step]) -> bool {
    let Some(arena) = Arena::new(ARENA_BYTES) else {
        return false;
    };
    // SAFETY: the arena is the heap's alone and outlives it.
    let Some(mut heap) = (unsafe { H::over(arena.0, ARENA_BYTES) }) else {
        return false;
    };
    let mut blocks = Vec::with_capacity(before.len() + steps.len());
    replay(&mut heap, before, &mut blocks) && measured(&mut heap, steps, &mut blocks)
}

/// Bytes of the smallest memory, tables included, in which a heap serves `steps`, to the `unit`
/// above; `None` if [`ARENA_BYTES`] are too few.
pub(crate) fn smallest<H: Heap>(steps: &[Step], unit: usize) -> Option<usize> {
    let serves = |bytes: usize| {
        Arena::new(bytes).is_some_and(|arena| {
            // SAFETY: the arena is the heap's alone and outlives it.
            let heap = unsafe { H::over(arena.0, bytes) };
            heap.is_some_and(|mut heap| replay(&mut heap, steps, &mut Vec::new()))
        })
    };
    let (mut too_small, mut enough) = (0, ARENA_BYTES / unit);
    if !serves(enough * unit) {
        return None;
    }
    while enough - too_small > 1 {
        let middle = usize::midpoint(too_small, enough);
        if serves(middle * unit) {
            enough = middle;
        } else {
            too_small = middle;
        }
    }
    Some(enough * unit)
}
