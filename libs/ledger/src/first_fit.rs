//! First fit on `linked_list_allocator`.
//!
//! **Invariant:** what is given to the list was taken from it by the same layout, once.

use core::alloc::Layout;

use linked_list_allocator::Heap;

use crate::chunks::{Chunk, GRANULE, mark, set_head, usable};
use crate::entry;
use crate::window::Window;

fn layout(chunk: &Chunk) -> Option<Layout> {
    Layout::from_size_align(chunk.front + chunk.usable, chunk.front).ok()
}

/// An empty heap over the whole body.
pub(crate) fn create(window: &Window) -> Heap {
    // SAFETY:
    // 1. The body is committed, at least 512 bytes, aligned to 512, and ours.
    // 2. The heap is dropped before the window or with it: both lie in one `Pool`.
    unsafe { Heap::new(window.body_ptr(0).as_ptr(), window.body_bytes()) }
}

/// Tells the heap that the body has grown by `bytes`.
pub(crate) fn extend(heap: &mut Heap, bytes: usize) {
    // SAFETY: the body is contiguous and has been committed up to its new end.
    unsafe { heap.extend(bytes) };
}

/// As [`crate::chunks::Chunks::take`].
pub(crate) fn take(
    window: &mut Window,
    heap: &mut Heap,
    size: usize,
    align: usize,
    record: u64,
) -> Option<usize> {
    let front = align.max(GRANULE);
    let size_and_guard = size + window.guard();
    let layout = Layout::from_size_align(front + usable(size_and_guard), front).ok()?;
    let start = heap.allocate_first_fit(layout).ok()?;
    let offset = window.body_offset_of(start) + front;
    let record = record & !0xffff | u64::from(front.trailing_zeros());
    set_head(window, offset, record, size);
    mark(window, offset, true);
    Some(offset)
}

/// As [`crate::chunks::Chunks::release`].
pub(crate) fn release(window: &mut Window, heap: &mut Heap, chunk: &Chunk) {
    let (Some(layout), start) = (layout(chunk), window.body_ptr(chunk.offset - chunk.front)) else {
        return;
    };
    mark(window, chunk.offset, false);
    // SAFETY:
    // 1. The start bit was set, so `take` took this chunk from the heap and nobody gave it back.
    // 2. The layout is the one it was taken with: its header was found sound by `find`.
    unsafe { heap.deallocate(start, layout) };
}

/// As [`crate::chunks::Chunks::shrink`].
pub(crate) fn shrink(
    window: &mut Window,
    heap: &mut Heap,
    chunk: &Chunk,
    size: usize,
    record: u64,
) -> bool {
    let kept = usable(size.saturating_add(window.guard()));
    let record = record & !0xffff | u64::from(entry::record_low(chunk.record));
    set_head(window, chunk.offset, record, size);
    let rest = chunk.usable - kept;
    if let Ok(layout) = Layout::from_size_align(rest, GRANULE)
        && rest > 0
    {
        let start = window.body_ptr(chunk.offset + kept);
        // SAFETY:
        // 1. The chunk was taken from the heap and is live; its last `rest` bytes are no longer
        //    part of the block by its new header, so they are given back once.
        // 2. `rest` is a multiple of 16, the smallest hole.
        unsafe { heap.deallocate(start, layout) };
    }
    true
}
