//! Slabs: small blocks of one size, their records at the slab's front.
//!
//! Freed blocks are kept in a short stack of their class, from which the next are taken; what it does
//! not hold is in the free masks of the slabs. Blocks go to and fro by the quarter of a stack.
//!
//! A slab's class, its free mask and its links are in the unit table; the slab itself holds only the
//! records (8 bytes a block) and the blocks, which end where the slab ends.
//!
//! **Invariant:** a slab is in its class's list (whose first slab's link back means nothing) if it has a
//! free block; the first slab may be full, the others of the list are not. At most one slab of a class
//! is empty. The record of a block that is nobody's is 0, be it kept or in the mask.
//! **Knows nothing of:** owners and sites: a record is 64 bits.

use crate::classes::{Class, RECORDS, SLAB_CLASSES, TABLE, UNIT};
use crate::entry::{self, INSIDE, NONE, SLAB};
use crate::layout::{KEPT_BLOCKS, Kept};
use crate::window::{Slot, Window};

/// Blocks that go to or from the slabs at a time. That often they go in vain is rarest when they are few.
const MOVED: usize = KEPT_BLOCKS / 4;

/// Record `index` of the slab at `unit`, as a word of the body.
#[inline(always)]
pub(crate) fn record_word(unit: u32, index: u32) -> usize {
    unit as usize * (UNIT / 8) + RECORDS + index as usize
}

/// Bit of block `index` in a free mask.
#[inline(always)]
fn bit(index: u32) -> u32 {
    1u32.rotate_right(1).checked_shr(index).unwrap_or(0)
}

/// Offset in the body of block `index` of the slab at `unit`.
#[inline(always)]
pub(crate) fn block_offset(class: &Class, unit: u32, index: u32) -> usize {
    let end = (unit as usize + usize::from(class.units)) * UNIT;
    end.wrapping_sub((index as usize + 1) * usize::from(class.size))
}

impl Window {
    /// Keeps some blocks of a class, of the slabs that there are, and takes one of them.
    pub(crate) fn refill(&mut self, class: usize) -> Option<Kept> {
        if let Some(kept) = self.take_kept(class) {
            return Some(kept);
        }
        let params = TABLE.get(class)?;
        let mut left = MOVED;
        while left > 0 {
            let mut unit = *self.header().partial.get(class)?;
            if entry::free_mask(self.unit(unit)) == 0 {
                self.drop_full_slab(class);
                unit = *self.header().partial.get(class)?;
            }
            let head = self.unit(unit); // 0 for `NONE`.
            let mut mask = entry::free_mask(head);
            if mask == 0 {
                break;
            }
            let before = left;
            while mask != 0 && left > 0 {
                let index = mask.leading_zeros();
                mask &= !bit(index);
                left -= 1;
                self.keep(
                    class,
                    Kept {
                        block: block_offset(params, unit, index) as i32,
                        record: record_word(unit, index) as i32,
                    },
                );
            }
            self.set_unit(unit, entry::with_free_mask(head, mask));
            self.count_free_slots(class, left.wrapping_sub(before) as u32);
        }
        self.take_kept(class)
    }

    /// Adds blocks, or takes some off if there are fewer, to those in the free masks.
    fn count_free_slots(&mut self, class: usize, more: u32) {
        if let Some(count) = self.header_mut().counts.free_slots.get_mut(class) {
            *count = count.wrapping_add(more);
        }
    }

    /// Adds to the slabs of a class, whose blocks are all free.
    fn count_slabs(&mut self, class: usize, more: u32) {
        if let Some(count) = self.header_mut().counts.slabs.get_mut(class) {
            *count = count.wrapping_add(more);
        }
        let blocks = TABLE.get(class).map_or(0, |class| class.blocks);
        self.count_free_slots(class, more.wrapping_mul(blocks.into()));
    }

    /// Gives `n` kept blocks of a class back to their slabs, or as many as there are.
    fn give_back(&mut self, class: usize, n: usize) {
        // The newest are the likeliest to be used again, but the oldest would have to be moved.
        for _ in 0..n {
            let Some(kept) = self.take_kept(class) else {
                return;
            };
            self.release_slot(class, kept);
        }
    }

    /// Keeps a block though enough are kept, for which others go back to their slabs.
    #[cold]
    #[inline(never)]
    pub(crate) fn keep_newest(&mut self, class: usize, kept: Kept) {
        self.give_back(class, MOVED);
        self.keep(class, kept);
    }

    /// Whether a slab's free mask has a block.
    pub(crate) fn in_mask(&self, slot: &Slot) -> bool {
        let unit = slot.kept.block as u32 / UNIT as u32;
        let unit = unit - entry::part(self.unit(unit));
        let index = (slot.kept.record as usize).wrapping_sub(record_word(unit, 0)) as u32;
        entry::free_mask(self.unit(unit)) & bit(index) != 0
    }

    fn release_slot(&mut self, class: usize, kept: Kept) {
        let offset = kept.block as usize;
        let part = self.unit((offset / UNIT) as u32);
        let Some(params) = TABLE.get(class) else {
            return;
        };
        if part & SLAB == 0 || entry::class(part) != class {
            return; // Damaged.
        }
        let unit = (offset / UNIT) as u32 - entry::part(part);
        let index = (kept.record as usize).wrapping_sub(record_word(unit, 0)) as u32;
        let head = self.unit(unit);
        let mask = entry::free_mask(head);
        let now = mask | bit(index);
        self.set_unit(unit, entry::with_free_mask(head, now));
        self.count_free_slots(class, 1);
        if mask == 0 {
            self.relink_slab(unit, class);
        } else if now == params.all_free {
            self.slab_became_empty(unit, class);
        }
    }

    /// Takes the first slab off its class's list if it is full.
    fn drop_full_slab(&mut self, class: usize) {
        let Some(&first) = self.header().partial.get(class) else {
            return;
        };
        if first != NONE && entry::free_mask(self.unit(first)) == 0 {
            let next = entry::next(self.unit(first + 1));
            self.set_first_slab(class, next);
        }
    }

    fn set_first_slab(&mut self, class: usize, unit: u32) {
        if let Some(first) = self.header_mut().partial.get_mut(class) {
            *first = unit;
        }
    }

    /// Puts a slab that was full back on its class's list, unless it is the first still.
    fn relink_slab(&mut self, unit: u32, class: usize) {
        if self.header().partial.get(class) != Some(&unit) {
            self.link_slab(unit, class);
        }
    }

    /// Makes a slab of a class, which then is the first of its list.
    pub(crate) fn new_slab(&mut self, class: usize) -> Option<()> {
        let params = TABLE.get(class)?;
        let units = params.units.into();
        let unit = match self.take_run(units) {
            Some(unit) => unit,
            None => self
                .take_kept_run(units)
                .or_else(|| self.split_kept_run(units))
                .or_else(|| self.search_run(units, 1))?,
        };
        for part in 0..units {
            self.set_unit(unit + part, entry::slab(part, units - part, class));
        }
        self.set_unit(
            unit,
            entry::with_free_mask(entry::slab(0, units, class), params.all_free),
        );
        for index in 0..u32::from(params.blocks) {
            self.set_body_word(record_word(unit, index), 0);
        }
        self.count_slabs(class, 1);
        self.link_slab(unit, class);
        Some(())
    }

    /// A free block of any class that is large enough, from the slabs that there are.
    pub(crate) fn take_larger_slot(&mut self, size: usize, align: usize) -> Option<Kept> {
        for class in 0..SLAB_CLASSES {
            let block = TABLE.get(class).map_or(0, |class| class.size.into());
            if block >= size
                && block.is_multiple_of(align)
                && let Some(slot) = self.refill(class)
            {
                return Some(slot);
            }
        }
        None
    }

    /// Puts a slab at the front of its class's list.
    fn link_slab(&mut self, unit: u32, class: usize) {
        self.drop_full_slab(class);
        let Some(&next) = self.header().partial.get(class) else {
            return;
        };
        let links = self.unit(unit + 1);
        self.set_unit(unit + 1, entry::with_next(links, next));
        if next != NONE {
            let entry = self.unit(next + 1);
            self.set_unit(next + 1, entry::with_prev(entry, unit));
        }
        self.set_first_slab(class, unit);
    }

    fn unlink_slab(&mut self, unit: u32, class: usize) {
        let links = self.unit(unit + 1);
        let (prev, next) = (entry::prev(links), entry::next(links));
        if self.header().partial.get(class) == Some(&unit) {
            self.set_first_slab(class, next);
            return;
        }
        if next != NONE {
            let entry = self.unit(next + 1);
            self.set_unit(next + 1, entry::with_prev(entry, prev));
        }
        let entry = self.unit(prev + 1);
        self.set_unit(prev + 1, entry::with_next(entry, next));
    }

    /// Whether `unit` is the first of an empty slab of `class`.
    fn is_empty_slab(&self, unit: u32, class: usize) -> bool {
        let head = self.unit(unit);
        entry::kind(head) == SLAB
            && entry::part(head) == 0
            && entry::class(head) == class
            && TABLE
                .get(class)
                .is_some_and(|class| entry::free_mask(head) == class.all_free)
    }

    /// Keeps one empty slab of a class and gives further ones back.
    fn slab_became_empty(&mut self, unit: u32, class: usize) {
        let Some(&kept) = self.header().empty.get(class) else {
            return;
        };
        if kept != NONE && kept != unit && self.is_empty_slab(kept, class) {
            self.release_slab(unit, class);
        } else if let Some(empty) = self.header_mut().empty.get_mut(class) {
            *empty = unit;
        }
    }

    fn release_slab(&mut self, unit: u32, class: usize) {
        let units = TABLE.get(class).map_or(0, |class| class.units.into());
        self.count_slabs(class, 1u32.wrapping_neg());
        self.unlink_slab(unit, class);
        for part in 0..units {
            self.set_unit(unit + part, INSIDE);
        }
        self.release_run(unit, units);
    }

    /// Gives back every block, every empty slab and every run that is kept.
    pub(crate) fn release_kept(&mut self) {
        for class in 0..SLAB_CLASSES {
            self.give_back(class, KEPT_BLOCKS);
        }
        for class in 0..SLAB_CLASSES {
            let Some(empty) = self.header_mut().empty.get_mut(class) else {
                return;
            };
            let unit = core::mem::replace(empty, NONE);
            if unit != NONE && self.is_empty_slab(unit, class) {
                self.release_slab(unit, class);
            }
        }
        self.release_kept_runs();
    }
}
