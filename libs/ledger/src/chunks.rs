//! Chunks of any size, for the strategies without units, with the same accounting.
//!
//! ```text
//! | front: the block's alignment, at least 16; its last 16 bytes are: record, size | block ... |
//! ```
//! The record's low half is the logarithm of the front, and two flags of best fit. A bit for each 16 bytes of
//! body, kept apart, says where blocks begin, so that a wild or second free is found before anything is touched.
//!
//! **Invariant:** a set bit stands for exactly one chunk that was taken.

use linked_list_allocator::Heap;

use crate::best_fit::Tree;
use crate::entry;
use crate::first_fit;
use crate::layout::Strategy;
use crate::window::Window;

/// Granule of block starts and sizes.
pub(crate) const GRANULE: usize = 16;
/// Bytes of a block's record and size, before it.
pub(crate) const HEAD_BYTES: usize = 16;
/// In a record's low half: a granule more than the size asks for belongs to the block.
pub(crate) const EXTRA: u64 = 1 << 9;

/// What a strategy keeps of free chunks besides the pool's memory.
pub(crate) enum Chunks {
    /// Nothing: the strategy has units.
    Units,
    /// A list by address.
    FirstFit(Heap),
    /// A tree by size.
    BestFit(Tree),
}

impl Chunks {
    /// All of the body free; `None` if the strategy is not built in.
    pub(crate) fn create(window: &mut Window, strategy: Strategy) -> Option<Self> {
        Some(match strategy {
            Strategy::Segregated => Self::Units,
            Strategy::FirstFit => Self::FirstFit(first_fit::create(window)),
            Strategy::BestFit => Self::BestFit(Tree::create(window)?),
        })
    }

    pub(crate) fn are_units(&self) -> bool {
        matches!(self, Self::Units)
    }

    /// Bytes that are free; `None` if there are units.
    pub(crate) fn free_bytes(&self) -> Option<usize> {
        match self {
            Self::Units => None,
            Self::FirstFit(heap) => Some(heap.free()),
            Self::BestFit(tree) => Some(tree.free_bytes()),
        }
    }

    /// The body has grown by `bytes`.
    pub(crate) fn extend(&mut self, window: &mut Window, bytes: usize) {
        match self {
            Self::Units => {}
            Self::FirstFit(heap) => first_fit::extend(heap, bytes),
            Self::BestFit(tree) => tree.extend(window, bytes),
        }
    }

    /// Takes a block; writes `record` (its low half is replaced) and size.
    pub(crate) fn take(
        &mut self,
        window: &mut Window,
        size: usize,
        align: usize,
        record: u64,
    ) -> Option<usize> {
        if size > window.body_bytes() {
            return None;
        }
        match self {
            Self::Units => None,
            Self::FirstFit(heap) => first_fit::take(window, heap, size, align, record),
            Self::BestFit(tree) => tree.take(window, size, align, record),
        }
    }

    /// Gives a block back that [`find`] found.
    pub(crate) fn release(&mut self, window: &mut Window, chunk: &Chunk) {
        match self {
            Self::Units => {}
            Self::FirstFit(heap) => first_fit::release(window, heap, chunk),
            Self::BestFit(tree) => tree.release(window, chunk),
        }
    }

    /// Makes a block smaller where it is and writes its new record; false if it would have to grow.
    pub(crate) fn shrink(
        &mut self,
        window: &mut Window,
        chunk: &Chunk,
        size: usize,
        record: u64,
    ) -> bool {
        if usable(size.saturating_add(window.guard())) > chunk.usable {
            return false;
        }
        match self {
            Self::Units => false,
            Self::FirstFit(heap) => first_fit::shrink(window, heap, chunk, size, record),
            Self::BestFit(tree) => tree.shrink(window, chunk, size, record),
        }
    }
}

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
        let log = entry::record_low(record) & 0xff;
        let size = usize::try_from(size).ok()?;
        if !(4..=12).contains(&log) || size > body_bytes {
            return None;
        }
        let front = 1 << log;
        let extra = if record & EXTRA == 0 { 0 } else { GRANULE };
        let usable = usable(size + guard) + extra;
        let fits = front <= offset && offset.checked_add(usable)? <= body_bytes;
        fits.then_some(Self {
            offset,
            record,
            size,
            front,
            usable,
        })
    }
}

/// Bytes of a block of `size` bytes, rounded.
pub(crate) fn usable(size: usize) -> usize {
    size.max(1)
        .checked_next_multiple_of(GRANULE)
        .unwrap_or(usize::MAX)
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
    if any_start(window, offset + GRANULE, offset + chunk.usable) {
        return Err(());
    }
    Ok(Some(chunk))
}

/// Whether a block begins at `offset`.
pub(crate) fn is_start(window: &Window, offset: usize) -> bool {
    let bit = offset / GRANULE;
    window.map_word(bit / 64) >> (bit % 64) & 1 != 0
}

/// Says whether a block begins at `offset`.
pub(crate) fn mark(window: &mut Window, offset: usize, start: bool) {
    let bit = offset / GRANULE;
    let word = window.map_word(bit / 64);
    let mask = 1 << (bit % 64);
    window.set_map_word(bit / 64, if start { word | mask } else { word & !mask });
}

/// Whether any block begins in `from..to`.
pub(crate) fn any_start(window: &Window, from: usize, to: usize) -> bool {
    let (mut bit, to) = (from / GRANULE, to / GRANULE);
    while bit < to {
        let word = window.map_word(bit / 64) >> (bit % 64);
        if word != 0 {
            return bit + (word.trailing_zeros() as usize) < to;
        }
        bit = (bit / 64 + 1) * 64;
    }
    false
}
