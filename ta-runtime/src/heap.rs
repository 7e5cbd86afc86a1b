//! The TA's heap: starts small, grows by pages up to what the TA asked for.
//!
//! **Invariant:** nothing is reserved before the first allocation; a refusal leaves all as it was.
//! **Knows nothing of:** the kernel's view of the same memory.

use crate::{properties, syscall};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};
use linked_list_allocator::Heap;

/// First and smallest step of growth in octets.
const STEP: usize = 16 << 10;
const PAGE: usize = 4096;

struct State {
    owner: u32,
    stack_top: usize,
    /// Base of the reservation; 0 before there is one.
    base: usize,
    committed: usize,
    heap: Heap,
}

/// The global allocator.
pub struct TaHeap(UnsafeCell<State>);

// SAFETY: the kernel lets one call at a time into an instance.
unsafe impl Sync for TaHeap {}

#[global_allocator]
static HEAP: TaHeap = TaHeap(UnsafeCell::new(State {
    owner: 0,
    stack_top: 0,
    base: 0,
    committed: 0,
    heap: Heap::empty(),
}));

impl TaHeap {
    #[expect(
        clippy::mut_from_ref,
        reason = "one call at a time is inside the instance"
    )]
    fn state(&self) -> &mut State {
        // SAFETY: no function of this module calls out to the TA while it has the state.
        unsafe { &mut *self.0.get() }
    }
}

/// A call for session `owner` begins, with its stack ending at `stack_top`.
pub(crate) fn begin_call(owner: u32, stack_top: usize) {
    let state = HEAP.state();
    state.owner = owner;
    state.stack_top = stack_top;
}

/// From now on allocations go to session `owner`'s account; 0 is the instance itself.
pub(crate) fn set_owner(owner: u32) {
    HEAP.state().owner = owner;
}

impl State {
    fn grow(&mut self, needed: usize) -> Option<()> {
        if self.base == 0 {
            self.base = syscall::heap_reserve(properties::heap_size()).ok()?;
        }
        let step = needed.max(self.committed / 2).max(STEP).checked_add(PAGE)? & !(PAGE - 1);
        let max = properties::heap_size();
        let to = self.committed.checked_add(step)?.min(max);
        if to < self.committed.checked_add(needed)? {
            return None;
        }
        syscall::heap_grow(to).ok()?;
        let by = to - self.committed;
        // SAFETY: the kernel has given us `[base, base + to)`.
        unsafe {
            if self.committed == 0 {
                self.heap.init(self.base as *mut u8, to);
            } else {
                self.heap.extend(by);
            }
        }
        self.committed = to;
        Some(())
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if self.committed != 0
            && let Ok(block) = self.heap.allocate_first_fit(layout)
        {
            return Some(block);
        }
        self.grow(layout.size() + layout.align() + 64)?;
        self.heap.allocate_first_fit(layout).ok()
    }
}

// SAFETY: `linked_list_allocator` gives out disjoint blocks of the layout asked for.
unsafe impl GlobalAlloc for TaHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.state()
            .allocate(layout)
            .map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller gives back a block that `alloc` gave with this layout.
            unsafe { self.state().heap.deallocate(block, layout) };
        }
    }
}
