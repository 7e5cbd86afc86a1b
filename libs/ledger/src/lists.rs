//! Lists of what a pool holds, read in pieces: each call does bounded work and says where the next goes on.
//!
//! A cursor is 0 for the start, then what the last call gave; 0 again is the end. Between two calls
//! the pool may change: what is listed then was there at the time of some call.
//!
//! **Invariant:** a call looks at no more than [`STEPS`] pieces of the body, units or sites.

use core::mem::size_of;

use crate::chunks::{self, GRANULE};
use crate::classes::{CLASSES, SLAB_CLASSES, TABLE, UNIT, run_of_class};
use crate::entry::{self, BACK, BLOCK, DETAIL, INSIDE, LARGE, LENGTH, SLAB, SlabHead};
use crate::guard::run_units;
use crate::layout::{Kept, Strategy, Tracking, first_kept_place, kept_places};
use crate::slabs::{block_offset, head_word, record_word};
use crate::stats::{Block, Chunk, ChunkKind, ClassFigures};
use crate::view::{Inconsistent, Reader, View};
use crate::walk::{Piece, Pieces};

/// Pieces looked at in one call.
pub(crate) const STEPS: usize = 256;

impl<R: Reader> View<R> {
    /// Fills `out` with live blocks in the order of addresses from a cursor on: how many, and the next
    /// cursor. Fewer than `out` has room for do not mean the end.
    ///
    /// # Errors
    /// The walk found something that cannot be.
    pub fn blocks(&self, cursor: u64, out: &mut [Block]) -> Result<(usize, u64), Inconsistent> {
        self.list(cursor, out, |_, piece| match piece {
            Piece::Block(block) => Some(block),
            Piece::Run { .. } | Piece::Slot { .. } | Piece::Overhead { .. } => None,
        })
    }

    /// Fills `out` with all that the body consists of, free or not, as [`View::blocks`] does.
    ///
    /// # Errors
    /// As there.
    pub fn chunks(&self, cursor: u64, out: &mut [Chunk]) -> Result<(usize, u64), Inconsistent> {
        let body_offset = self.geometry().body_offset;
        self.list(cursor, out, |at, piece| {
            let joins = matches!(piece, Piece::Run { .. });
            let (size, kind) = match piece {
                Piece::Run { bytes, kept } | Piece::Slot { bytes, kept } => {
                    let kind = if kept {
                        ChunkKind::Kept
                    } else {
                        ChunkKind::Free
                    };
                    (bytes, kind)
                }
                Piece::Overhead { bytes } => (bytes, ChunkKind::Overhead),
                Piece::Block(block) => (block.usable, ChunkKind::Block(block)),
            };
            let offset = body_offset + at;
            Some(Chunk {
                offset,
                size,
                kind,
                joins,
            })
        })
    }

    pub(crate) fn list<T>(
        &self,
        cursor: u64,
        out: &mut [T],
        pick: impl Fn(usize, Piece) -> Option<T>,
    ) -> Result<(usize, u64), Inconsistent> {
        let start = usize::try_from(cursor).unwrap_or(usize::MAX);
        if start >= self.body_bytes() {
            return Ok((0, 0));
        }
        let mut pieces = Pieces::from(self, start);
        let mut n = 0;
        for steps in 0.. {
            let at = pieces.position();
            if at >= self.body_bytes() {
                break;
            }
            if n == out.len() || steps >= STEPS {
                return Ok((n, at as u64));
            }
            let Some(piece) = pieces.next() else {
                break;
            };
            if let Some(item) = pick(at, piece?)
                && let Some(slot) = out.get_mut(n)
            {
                *slot = item;
                n += 1;
            }
        }
        Ok((n, 0))
    }

    /// The live block that has the byte `offset` from the pool's base, be it inside the block. (A byte
    /// behind its end that serves nobody else is the block's.) Takes some twenty reads at most in a
    /// segregated pool.
    ///
    /// # Errors
    /// What is there makes no sense.
    pub fn block_at(&self, offset: usize) -> Result<Option<Block>, Inconsistent> {
        let Some(offset) = offset
            .checked_sub(self.geometry().body_offset)
            .filter(|offset| *offset < self.body_bytes())
        else {
            return Ok(None);
        };
        match self.strategy() {
            Strategy::Segregated => self.block_at_unit(offset),
            Strategy::FirstFit | Strategy::BestFit => self.block_before(offset),
        }
    }

    /// Word of the map.
    fn map(&self, index: usize) -> Result<u64, Inconsistent> {
        let [word] = self.words(self.geometry().map_offset + index * 8)?;
        Ok(word)
    }

    /// Entry of a unit; 0 outside.
    pub(crate) fn unit(&self, unit: usize) -> Result<u32, Inconsistent> {
        if unit >= self.body_bytes() / UNIT {
            return Ok(0);
        }
        Ok((self.map(unit / 2)? >> (unit % 2 * 32)) as u32)
    }

    fn block_at_unit(&self, offset: usize) -> Result<Option<Block>, Inconsistent> {
        let mut unit = offset / UNIT;
        let mut entry = self.unit(unit)?;
        if entry::kind(entry) == SLAB {
            return self.block_in_slab(offset, entry);
        }
        for _ in 0..entry::BACK_STEP + 3 {
            match entry::kind(entry) {
                INSIDE | DETAIL => unit = unit.checked_sub(1).ok_or(Inconsistent)?,
                LENGTH => unit = unit.checked_sub(1).ok_or(Inconsistent)?,
                BACK => {
                    let back = entry::len(entry) as usize;
                    unit = unit.checked_sub(back).ok_or(Inconsistent)?;
                }
                BLOCK => {
                    let record = entry::joined(entry, self.unit(unit + 1)?);
                    let size = entry::record_size(record);
                    let usable = run_units(size, self.guard()) * UNIT;
                    let inside = offset < unit * UNIT + usable;
                    let block = self.block_of(unit * UNIT, size, usable, record);
                    return Ok(inside.then_some(block));
                }
                LARGE => {
                    let record = entry::joined(entry, self.unit(unit + 1)?);
                    let usable = entry::len(self.unit(unit + 2)?) as usize * UNIT;
                    let size = usable.checked_sub(entry::slack(entry) as usize);
                    let size = size.ok_or(Inconsistent)?;
                    let inside = offset < unit * UNIT + usable;
                    let block = self.block_of(unit * UNIT, size, usable, record);
                    return Ok(inside.then_some(block));
                }
                _ => return Ok(None),
            }
            entry = self.unit(unit)?;
        }
        // A free run: a block would have said where it begins.
        Ok(None)
    }

    /// As [`View::block_at`] without units: looks back for where a block begins, as far as need be.
    fn block_before(&self, offset: usize) -> Result<Option<Block>, Inconsistent> {
        let bit = offset / GRANULE;
        let mut index = bit / 64;
        let mut word = self.map(index)? << (63 - bit % 64) >> (63 - bit % 64);
        while word == 0 {
            let Some(before) = index.checked_sub(1) else {
                return Ok(None);
            };
            index = before;
            word = self.map(index)?;
        }
        let start = (index * 64 + 63 - word.leading_zeros() as usize) * GRANULE;
        let head = (self.geometry().body_offset + start).checked_sub(16);
        let [record, size] = self.words(head.ok_or(Inconsistent)?)?;
        let pool = (self.body_bytes(), self.guard());
        let chunk = chunks::Chunk::parse(start, record, size, pool);
        let chunk = chunk.ok_or(Inconsistent)?;
        let block = self.block_of(start, chunk.size, chunk.usable, record);
        Ok((offset < start + chunk.usable).then_some(block))
    }

    fn block_in_slab(&self, offset: usize, entry: u32) -> Result<Option<Block>, Inconsistent> {
        let class = TABLE.get(entry::class(entry)).ok_or(Inconsistent)?;
        let unit = entry::slab_unit(entry) as usize;
        let end = (unit + usize::from(class.units)) * UNIT;
        let from_end = end.checked_sub(offset + 1).ok_or(Inconsistent)?;
        let index = (from_end / usize::from(class.size)) as u32;
        if index >= class.blocks.into() {
            return Ok(None);
        }
        let at = record_word(unit as u32, index) * 8;
        let [record] = self.words(self.geometry().body_offset + at)?;
        if !entry::is_live(record) {
            return Ok(None);
        }
        let start = block_offset(class, unit as u32, index);
        let size = entry::record_size(record);
        Ok(Some(self.block_of(start, size, class.size.into(), record)))
    }

    /// Figures of a class of blocks, by rising size, then of all runs; `None` behind these, and for
    /// pools without classes.
    pub fn classes(&self, index: usize) -> Option<ClassFigures> {
        if self.strategy() != Strategy::Segregated {
            return None;
        }
        let counts = self.class_counts().ok()?;
        if index < SLAB_CLASSES {
            return self.slab_class(index);
        }
        if index > SLAB_CLASSES {
            return None;
        }
        // Of the runs all is known but which are blocks: what neither slabs nor other blocks are.
        let (mut units, mut live) = ((self.body_bytes() / UNIT) as u64, self.live_count());
        for class in 0..SLAB_CLASSES {
            let figures = self.slab_class(class)?;
            units = units.saturating_sub(figures.bytes / UNIT as u64);
            live = live.saturating_sub(figures.live);
        }
        let (mut kept_runs, mut kept_units) = (0, 0);
        for class in SLAB_CLASSES..CLASSES {
            let kept = self.kept_of(class).unwrap_or(0);
            kept_runs += kept;
            kept_units += kept * u64::from(run_of_class(class));
        }
        let used = units.saturating_sub(counts.free_units.into());
        Some(ClassFigures {
            block_size: 0,
            slabs: 0,
            blocks: live + kept_runs,
            live,
            kept: kept_runs,
            bytes: used * UNIT as u64,
            kept_bytes: kept_units * UNIT as u64,
        })
    }

    fn live_count(&self) -> u64 {
        if self.geometry().tracking == Tracking::Off {
            // Nobody has counted.
            self.live_blocks().filter(Result::is_ok).count() as u64
        } else {
            self.figures().live_blocks
        }
    }

    fn slab_class(&self, class: usize) -> Option<ClassFigures> {
        let counts = self.class_counts().ok()?;
        let params = TABLE.get(class)?;
        let slabs = u64::from(*counts.slabs.get(class)?);
        let blocks = slabs * u64::from(params.blocks);
        let kept = self.kept_of(class)?;
        let free = u64::from(*counts.free_slots.get(class)?) + kept;
        Some(ClassFigures {
            block_size: params.size.into(),
            slabs,
            blocks,
            live: blocks.saturating_sub(free),
            kept,
            bytes: slabs * u64::from(params.units) * UNIT as u64,
            kept_bytes: kept * u64::from(params.size),
        })
    }

    /// How many blocks of a class are kept. The stacks do not say where they end: behind what is kept
    /// stand blocks that were taken since, which are somebody's now, back in their slab, or kept further below.
    fn kept_of(&self, class: usize) -> Option<u64> {
        let places = kept_places(class)?;
        let mut words = [0; crate::layout::KEPT_BLOCKS];
        let at = self.geometry().kept_offset + first_kept_place(class) * size_of::<Kept>();
        self.read_words(at, &mut words, places).ok()?;
        let stack = words.get(1..places)?;
        for (n, &word) in stack.iter().enumerate() {
            if word == 0 || stack.iter().take(n).any(|&below| below == word) {
                return Some(n as u64);
            }
            let offset = (word & 0xffff_ffff) as usize;
            let unit = offset / UNIT;
            let Ok(entry) = self.unit(unit) else {
                return Some(n as u64);
            };
            let waits = match run_of_class(class) {
                0 => self.slot_waits(class, word, entry).unwrap_or(false),
                len => entry == entry::kept(len),
            };
            if !waits {
                return Some(n as u64);
            }
        }
        Some(stack.len() as u64)
    }

    /// Whether the block of a slab that `word` of a stack names is neither somebody's nor in the slab's free mask.
    fn slot_waits(&self, class: usize, word: u64, part: u32) -> Option<bool> {
        let offset = (word & 0xffff_ffff) as usize;
        if entry::kind(part) != SLAB || entry::class(part) != class {
            return Some(false);
        }
        let params = TABLE.get(class)?;
        let unit = entry::slab_unit(part) as usize;
        let end = (unit + usize::from(params.units)) * UNIT;
        let index = end.checked_sub(offset + 1)? / usize::from(params.size);
        let head = self.geometry().body_offset + head_word(unit as u32) * 8;
        let [head] = self.words(head).ok()?;
        let in_mask = SlabHead::of(head).free_mask << index.min(31) >> 31 != 0;
        let at = record_word(unit as u32, index as u32) * 8;
        if at as u64 != word >> 32 || block_offset(params, unit as u32, index as u32) != offset {
            return Some(false); // Was a block of another slab that lay here.
        }
        let [record] = self.words(self.geometry().body_offset + at).ok()?;
        Some(!in_mask && !entry::is_live(record))
    }
}
