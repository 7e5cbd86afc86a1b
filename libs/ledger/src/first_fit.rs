//! First fit on `linked_list_allocator`, with the same accounting.
//!
//! ```text
//! | front: the block's alignment, at least 16; its last 16 bytes are: record, size | block ... |
//! ```
//! The record's low half is the logarithm of the alignment. A bit for each 16 bytes of body, kept
//! apart, says where blocks begin, so that a wild or second free is found before the list is touched.
//!
//! **Invariant:** a set bit stands for exactly one chunk taken from the list.
//! **Knows nothing of:** owners and sites: a record is 64 bits.

use core::alloc::Layout;

use linked_list_allocator::Heap;

use crate::entry;
use crate::window::Window;

/// Granule of block starts and sizes.
pub(crate) const GRANULE: usize = 16;
/// Bytes of a block's record and size, before it.
pub(crate) const HEAD_BYTES: usize = 16;

/// A block found by its header.
#[derive(Clone, Copy)]
pub(crate) struct Chunk {
    pub(crate) offset: usize,
    pub(crate) record: u64,
    pub(crate) size: usize,
    /// Bytes before the block.
    pub(crate) front: usize,
    /// Bytes of the block, rounded.
    pub(crate) usable: usize,
}

impl Chunk {
    /// Reads the two words before a block; `None` if they make no sense in a body of `body_bytes`, in which
    /// blocks have `guard` bytes at least.
    pub(crate) fn parse(
        offset: usize,
        record: u64,
        size: u64,
        (body_bytes, guard): (usize, usize),
    ) -> Option<Self> {
        let log = entry::record_low(record);
        let size = usize::try_from(size).ok()?;
        if !(4..=12).contains(&log) || size > body_bytes {
            return None;
        }
        let front = 1 << log;
        let usable = usable(size + guard);
        let fits = front <= offset && offset.checked_add(usable)? <= body_bytes;
        fits.then_some(Self {
            offset,
            record,
            size,
            front,
            usable,
        })
    }

    fn layout(&self) -> Option<Layout> {
        Layout::from_size_align(self.front + self.usable, self.front).ok()
    }
}

pub(crate) fn usable(size: usize) -> usize {
    size.max(1)
        .checked_next_multiple_of(GRANULE)
        .unwrap_or(usize::MAX)
}

/// An empty heap over the whole body.
pub(crate) fn create(window: &Window) -> Heap {
    // SAFETY:
    // 1. The body is committed, at least 256 bytes, aligned to 256, and ours.
    // 2. The heap is dropped before the window or with it: both lie in one `Pool`.
    unsafe { Heap::new(window.body_ptr(0).as_ptr(), window.body_bytes()) }
}

/// Tells the heap that the body has grown by `bytes`.
pub(crate) fn extend(heap: &mut Heap, bytes: usize) {
    // SAFETY: the body is contiguous and has been committed up to its new end.
    unsafe { heap.extend(bytes) };
}

/// Takes a block; writes `record` (its low half is replaced) and size.
pub(crate) fn take(
    window: &mut Window,
    heap: &mut Heap,
    size: usize,
    align: usize,
    record: u64,
) -> Option<usize> {
    if size > window.body_bytes() {
        return None;
    }
    let front = align.max(GRANULE);
    let size_and_guard = size + window.guard();
    let layout = Layout::from_size_align(front + usable(size_and_guard), front).ok()?;
    let start = heap.allocate_first_fit(layout).ok()?;
    let offset = window.body_offset_of(start) + front;
    set_head(
        window,
        offset,
        record & !0xffff | u64::from(front.trailing_zeros()),
        size,
    );
    mark(window, offset, true);
    Some(offset)
}

/// Writes the two words before a block.
pub(crate) fn set_head(window: &mut Window, offset: usize, record: u64, size: usize) {
    window.set_body_word(offset / 8 - 2, record);
    window.set_body_word(offset / 8 - 1, size as u64);
}

/// The block that begins at `offset`: `Ok(None)` if none does, `Err` if its header is damaged.
pub(crate) fn find(window: &Window, offset: usize) -> Result<Option<Chunk>, ()> {
    if offset >= window.body_bytes() || !offset.is_multiple_of(GRANULE) || !is_start(window, offset)
    {
        return Ok(None);
    }
    let word = |before: usize| window.body_word((offset / 8).wrapping_sub(before));
    let (record, size) = (word(2), word(1));
    let pool = (window.body_bytes(), window.guard());
    let chunk = Chunk::parse(offset, record, size, pool).ok_or(())?;
    // A damaged size must not swallow the next block.
    let (from, to) = (offset / GRANULE + 1, (offset + chunk.usable) / GRANULE);
    if any_start(window, from, to) {
        return Err(());
    }
    Ok(Some(chunk))
}

/// Gives a block back that [`find`] found.
pub(crate) fn release(window: &mut Window, heap: &mut Heap, chunk: &Chunk) {
    let (Some(layout), start) = (chunk.layout(), window.body_ptr(chunk.offset - chunk.front))
    else {
        return;
    };
    mark(window, chunk.offset, false);
    // SAFETY:
    // 1. The start bit was set, so `take` took this chunk from the heap and nobody gave it back.
    // 2. The layout is the one it was taken with: its header was found sound by `find`.
    unsafe { heap.deallocate(start, layout) };
}

/// Makes a block smaller where it is and writes its new record; false if it would have to grow.
pub(crate) fn shrink(
    window: &mut Window,
    heap: &mut Heap,
    chunk: &Chunk,
    size: usize,
    record: u64,
) -> bool {
    let kept = usable(size.saturating_add(window.guard()));
    if kept > chunk.usable {
        return false;
    }
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

fn is_start(window: &Window, offset: usize) -> bool {
    let bit = offset / GRANULE;
    window.map_word(bit / 64) >> (bit % 64) & 1 != 0
}

fn mark(window: &mut Window, offset: usize, start: bool) {
    let bit = offset / GRANULE;
    let word = window.map_word(bit / 64);
    let mask = 1 << (bit % 64);
    window.set_map_word(bit / 64, if start { word | mask } else { word & !mask });
}

/// Whether any bit of `from..to` is set.
fn any_start(window: &Window, from: usize, to: usize) -> bool {
    let mut bit = from;
    while bit < to {
        let word = window.map_word(bit / 64) >> (bit % 64);
        if word != 0 {
            return bit + (word.trailing_zeros() as usize) < to;
        }
        bit = (bit / 64 + 1) * 64;
    }
    false
}
