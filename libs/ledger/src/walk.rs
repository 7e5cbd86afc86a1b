//! The walk over a pool's body, from its start or from where an earlier one stopped.
//!
//! **Invariant:** every step goes on by at least 16 bytes, so that a walk ends whatever the memory holds; it
//! looks at the memory in the order of addresses, at each word once or twice.

use crate::chunks::{Chunk, GRANULE};
use crate::classes::{Class, TABLE, UNIT};
use crate::entry::{self, BLOCK, FREE, KEPT, LARGE, LENGTH, SLAB, SlabHead};
use crate::guard::run_units;
use crate::layout::Strategy;
use crate::slabs::{block_offset, head_word};
use crate::stats::Block;
use crate::view::{Inconsistent, Reader, View};

/// Words read at a time: of the map, and of a slab's records.
const BATCH: usize = 32;

/// What a pool consists of, in the order of addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece {
    /// A free run or an empty slab; neighbours may follow. Kept runs are those that wait for a block.
    Run { bytes: usize, kept: bool },
    /// A free block in a slab.
    Slot { bytes: usize, kept: bool },
    /// Records and padding.
    Overhead { bytes: usize },
    /// A live block.
    Block(Block),
}

pub(crate) fn only_block(
    piece: Result<Piece, Inconsistent>,
) -> Option<Result<Block, Inconsistent>> {
    match piece {
        Ok(Piece::Block(block)) => Some(Ok(block)),
        Ok(Piece::Run { .. } | Piece::Slot { .. } | Piece::Overhead { .. }) => None,
        Err(err) => Some(Err(err)),
    }
}

/// Live blocks of a [`View`] that it owns. After an error there are no more.
pub struct ViewBlocks<R>(Option<Pieces<View<R>>>);

impl<R: Reader> ViewBlocks<R> {
    pub(crate) fn of(view: Result<View<R>, Inconsistent>) -> Self {
        Self(view.ok().map(|view| Pieces::from(view, 0)))
    }
}

impl<R: Reader> Iterator for ViewBlocks<R> {
    type Item = Result<Block, Inconsistent>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.find_map(only_block)
    }
}

pub(crate) trait AsView {
    type R: Reader;
    fn view(&self) -> &View<Self::R>;
}

impl<R: Reader> AsView for View<R> {
    type R = R;
    fn view(&self) -> &View<R> {
        self
    }
}

impl<R: Reader> AsView for &View<R> {
    type R = R;
    fn view(&self) -> &View<R> {
        self
    }
}

/// The slab being walked.
#[derive(Clone, Copy)]
struct SlabWalk {
    unit: u32,
    class: &'static Class,
    free: u32,
    /// Blocks still to come; they go by falling index, which is by rising address.
    left: u32,
    records: [u64; BATCH],
}

/// Walks the body from some place to its end.
pub(crate) struct Pieces<V> {
    view: V,
    /// Next byte of the body.
    at: usize,
    /// The walk begins where another one stopped, since when the pool may have changed.
    resumed: bool,
    /// A block that begins where the walk is (of a strategy without units).
    pending: Option<Block>,
    slab: Option<SlabWalk>,
    batch: [u64; BATCH],
    batch_start: usize,
    batch_len: usize,
}

impl<V: AsView> Pieces<V> {
    /// Walks from byte `at` of the body: 0, or what [`Pieces::position`] gave.
    pub(crate) fn from(view: V, at: usize) -> Self {
        Self {
            view,
            at,
            resumed: at > 0,
            pending: None,
            slab: None,
            batch: [0; BATCH],
            batch_start: 0,
            batch_len: 0,
        }
    }

    /// Where another walk can go on.
    pub(crate) fn position(&self) -> usize {
        match (&self.slab, &self.pending) {
            (_, Some(block)) => block.offset - self.view.view().geometry().body_offset,
            (Some(slab), None) => block_offset(slab.class, slab.unit, slab.left - 1),
            (None, None) => self.at,
        }
    }

    /// Word of the map.
    fn map(&mut self, index: usize) -> Result<u64, Inconsistent> {
        let in_batch = index.wrapping_sub(self.batch_start);
        if in_batch < self.batch_len {
            return self.batch.get(in_batch).copied().ok_or(Inconsistent);
        }
        let view = self.view.view();
        let len = BATCH.min((view.geometry().map_bytes / 8).saturating_sub(index));
        if len == 0 {
            return Err(Inconsistent);
        }
        view.read_words(view.geometry().map_offset + index * 8, &mut self.batch, len)?;
        (self.batch_start, self.batch_len) = (index, len);
        self.batch.first().copied().ok_or(Inconsistent)
    }

    /// Entry of a unit.
    fn unit(&mut self, unit: usize) -> Result<u32, Inconsistent> {
        let word = self.map(unit / 2)?;
        Ok((word >> (unit % 2 * 32)) as u32)
    }

    fn block(&self, offset: usize, size: usize, usable: usize, record: u64) -> Block {
        self.view.view().block_of(offset, size, usable, record)
    }

    fn next_in_slab(&mut self, mut slab: SlabWalk) -> Result<Piece, Inconsistent> {
        let index = slab.left - 1;
        slab.left = index;
        self.slab = (index > 0).then_some(slab);
        let bytes = slab.class.size as usize;
        let record = *slab.records.get(index as usize).ok_or(Inconsistent)?;
        let in_mask = slab.free >> (31 - index) & 1 != 0;
        if !entry::is_live(record) {
            return Ok(Piece::Slot {
                bytes,
                kept: !in_mask,
            });
        }
        let size = entry::record_size(record);
        // What the mask says is free has no other record.
        if size > bytes || in_mask {
            return Err(Inconsistent);
        }
        let offset = block_offset(slab.class, slab.unit, index);
        Ok(Piece::Block(self.block(offset, size, bytes, record)))
    }

    /// Begins to walk the slab of which `entry` is one, at its first block that does not begin before
    /// `from`. A slab without a live block is one piece.
    fn enter_slab(&mut self, entry: u32, from: usize) -> Result<Piece, Inconsistent> {
        let class = TABLE.get(entry::class(entry)).ok_or(Inconsistent)?;
        let (unit, blocks) = (entry::slab_unit(entry) as usize, usize::from(class.blocks));
        let view = self.view.view();
        let end = (unit + usize::from(class.units)) * UNIT;
        if end > view.body_bytes() || end <= from || from < unit * UNIT {
            return Err(Inconsistent);
        }
        // The head, and behind it the records.
        let mut words = [0; BATCH];
        let at = view.geometry().body_offset + head_word(unit as u32) * 8;
        view.read_words(at, &mut words, 1 + blocks)?;
        let free = SlabHead::of(words[0]).free_mask;
        if free & !class.all_free != 0 {
            return Err(Inconsistent);
        }
        words.rotate_left(1);
        let records = words;
        let begun_before = from > unit * UNIT;
        self.at = end;
        if !begun_before && !records.iter().take(blocks).any(|&it| entry::is_live(it)) {
            return Ok(Piece::Run {
                bytes: usize::from(class.units) * UNIT,
                kept: true,
            });
        }
        let slab = SlabWalk {
            unit: unit as u32,
            class,
            free,
            left: blocks.min(end.saturating_sub(from) / usize::from(class.size)) as u32,
            records,
        };
        if begun_before && slab.left > 0 {
            return self.next_in_slab(slab);
        }
        self.slab = (slab.left > 0).then_some(slab);
        Ok(Piece::Overhead {
            bytes: usize::from(class.units) * UNIT - blocks * usize::from(class.size),
        })
    }

    fn next_unit(&mut self) -> Result<Piece, Inconsistent> {
        let unit = self.at / UNIT;
        let room = (self.view.view().body_bytes() - self.at) / UNIT;
        let entry = self.unit(unit)?;
        let (units, piece) = match entry::kind(entry) {
            kind @ (FREE | KEPT) => {
                let units = entry::len(entry) as usize;
                let bytes = units * UNIT;
                let kept = kind == KEPT;
                (units, Piece::Run { bytes, kept })
            }
            SLAB if entry::slab_start(entry) as usize != self.at => return Err(Inconsistent),
            SLAB => return self.enter_slab(entry, self.at),
            BLOCK => {
                let record = entry::joined(entry, self.unit(unit + 1)?);
                let size = entry::record_size(record);
                let units = run_units(size, self.view.view().guard());
                let block = self.block(self.at, size, units * UNIT, record);
                (units, Piece::Block(block))
            }
            LARGE => {
                let record = entry::joined(entry, self.unit(unit + 1)?);
                let third = self.unit(unit + 2)?;
                if entry::kind(third) != LENGTH {
                    return Err(Inconsistent);
                }
                let units = entry::len(third) as usize;
                let usable = units * UNIT;
                let size = usable
                    .checked_sub(entry::slack(entry) as usize)
                    .ok_or(Inconsistent)?;
                let block = self.block(self.at, size, usable, record);
                (units, Piece::Block(block))
            }
            _ => return Err(Inconsistent),
        };
        if units == 0 || units > room {
            return Err(Inconsistent);
        }
        self.at += units * UNIT;
        Ok(piece)
    }

    /// Goes to the next unit at which something begins, or to the slab that `at` is in.
    fn resume_units(&mut self) -> Result<Piece, Inconsistent> {
        let unit = self.at / UNIT;
        let entry = self.unit(unit)?;
        match entry::kind(entry) {
            SLAB => {
                self.resumed = false;
                self.enter_slab(entry, self.at)
            }
            FREE | KEPT | BLOCK | LARGE if self.at.is_multiple_of(UNIT) => {
                self.resumed = false;
                self.next_unit()
            }
            _ => {
                // What was here is gone, and something else lies across.
                let bytes = UNIT - self.at % UNIT;
                self.at += bytes;
                Ok(Piece::Overhead { bytes })
            }
        }
    }

    /// Offset of the first block start at or after `from`.
    fn next_start(&mut self, from: usize) -> Result<Option<usize>, Inconsistent> {
        let bits = self.view.view().body_bytes() / GRANULE;
        let mut bit = from / GRANULE;
        while bit < bits {
            let word = self.map(bit / 64)? >> (bit % 64);
            if word != 0 {
                let found = bit + word.trailing_zeros() as usize;
                return Ok((found < bits).then_some(found * GRANULE));
            }
            bit = (bit / 64 + 1) * 64;
        }
        Ok(None)
    }

    fn next_chunk(&mut self) -> Result<Piece, Inconsistent> {
        let body_bytes = self.view.view().body_bytes();
        let resumed = core::mem::take(&mut self.resumed);
        let Some(offset) = self.next_start(self.at)? else {
            let bytes = body_bytes - self.at;
            self.at = body_bytes;
            return Ok(Piece::Run { bytes, kept: false });
        };
        let view = self.view.view();
        let head = (view.geometry().body_offset + offset)
            .checked_sub(16)
            .ok_or(Inconsistent)?;
        let [record, size] = view.words(head)?;
        let chunk =
            Chunk::parse(offset, record, size, (body_bytes, view.guard())).ok_or(Inconsistent)?;
        let start = offset - chunk.front;
        if start > self.at {
            let bytes = start - self.at;
            self.at = start;
            return Ok(Piece::Run { bytes, kept: false });
        }
        let (block, is_begun) = (
            self.block(offset, chunk.size, chunk.usable, record),
            start < self.at,
        );
        self.at = offset + chunk.usable;
        if is_begun {
            // The walk before this one has had the head.
            return if resumed {
                Ok(Piece::Block(block))
            } else {
                Err(Inconsistent)
            };
        }
        self.pending = Some(block);
        Ok(Piece::Overhead { bytes: chunk.front })
    }
}

impl<R: Reader> View<R> {
    /// The block at `offset` in the body, as its record says.
    #[inline(never)]
    pub(crate) fn block_of(&self, offset: usize, size: usize, usable: usize, record: u64) -> Block {
        let block = Block {
            offset: self.geometry().body_offset + offset,
            size,
            usable,
            ..Block::default()
        };
        self.legend().read(record, block)
    }
}

impl<V: AsView> Iterator for Pieces<V> {
    type Item = Result<Piece, Inconsistent>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = if let Some(block) = self.pending.take() {
            Ok(Piece::Block(block))
        } else if let Some(slab) = self.slab {
            self.next_in_slab(slab)
        } else if self.at >= self.view.view().body_bytes() {
            return None;
        } else {
            match self.view.view().strategy() {
                Strategy::Segregated if self.resumed => self.resume_units(),
                Strategy::Segregated => self.next_unit(),
                Strategy::FirstFit | Strategy::BestFit => self.next_chunk(),
            }
        };
        if piece.is_err() {
            self.at = self.view.view().body_bytes();
            (self.slab, self.pending) = (None, None);
        }
        Some(piece)
    }
}
