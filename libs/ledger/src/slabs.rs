//! Slabs: small blocks of one size, their records at the slab's front.
//!
//! Freed blocks are kept in a short stack of their class, from which the next are taken; what it does
//! not hold is in the free masks of the slabs. Blocks go to and fro by the quarter of a stack.
//!
//! The unit table says where a slab begins and of which class it is. The slab holds its free mask and its
//! links (a word), the records (8 bytes a block) and the blocks, which end where the slab ends.
//!
//! **Invariant:** a slab is in its class's list (whose first slab's link back means nothing) if it has a
//! free block; the first slab may be full, the others of the list are not. At most one slab of a class
//! is empty. The record of a block that is nobody's is 0, be it kept or in the mask. What stands in a slab
//! may have been overwritten by a block's user: a link leads to a slab of the same class or nowhere, and
//! a block is free only if its record says so too.

use crate::classes::{Class, RECORDS, SLAB_CLASSES, TABLE, UNIT, serves};
use crate::entry::{self, INSIDE, NONE, SLAB, SlabHead};
use crate::layout::{KEPT_BLOCKS, Kept};
use crate::window::{Slot, Window};

/// Blocks that go to or from the slabs at a time. That often they go in vain is rarest when they are few.
const MOVED: usize = KEPT_BLOCKS / 6;

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

/// The head of the slab at `unit`, as a word of the body.
pub(crate) fn head_word(unit: u32) -> usize {
    unit as usize * (UNIT / 8)
}

/// Index of a block of the slab at `unit`.
fn index_of(kept: Kept, unit: u32) -> u32 {
    (kept.record as usize / 8).wrapping_sub(record_word(unit, 0)) as u32
}

/// Offset in the body of block `index` of the slab at `unit`.
#[inline(always)]
pub(crate) fn block_offset(class: &Class, unit: u32, index: u32) -> usize {
    let end = (unit as usize + usize::from(class.units)) * UNIT;
    end.wrapping_sub((index as usize + 1) * usize::from(class.size))
}

impl Window {
    /// The head of the slab of `class` that begins at `unit`; none free and no neighbours if there is no such slab.
    pub(crate) fn slab_head(&self, unit: u32, class: usize) -> SlabHead {
        let free_mask = self.free_mask(unit, class);
        let head = SlabHead::of(self.body_word(head_word(unit)));
        let checked = |link: u32| {
            if self.is_slab(unit, class) && self.is_slab(link, class) {
                link
            } else {
                NONE
            }
        };
        SlabHead {
            free_mask,
            prev: checked(head.prev),
            next: checked(head.next),
        }
    }

    /// Whether a slab of `class` begins at `unit`.
    #[inline]
    fn is_slab(&self, unit: u32, class: usize) -> bool {
        // `NONE` is no unit of any pool.
        self.unit(unit) == entry::slab(unit, class)
    }

    /// The free mask of the slab of `class` that begins at `unit`; 0 if there is no such slab.
    #[inline]
    fn free_mask(&self, unit: u32, class: usize) -> u32 {
        let all_free = TABLE.get(class).map_or(0, |class| class.all_free);
        if self.is_slab(unit, class) {
            (self.body_word(head_word(unit)) >> 32) as u32 & all_free
        } else {
            0
        }
    }

    #[inline]
    fn set_free_mask(&mut self, unit: u32, free_mask: u32) {
        let word = self.body_word(head_word(unit));
        let word = word & 0xffff_ffff | u64::from(free_mask) << 32;
        self.set_body_word(head_word(unit), word);
    }

    fn set_slab_head(&mut self, unit: u32, head: SlabHead) {
        self.set_body_word(head_word(unit), head.word());
    }

    /// Keeps some blocks of a class, of the slabs that there are, and takes one of them.
    pub(crate) fn refill(&mut self, class: usize) -> Option<Kept> {
        if let Some(kept) = self.take_kept(class) {
            return Some(kept);
        }
        let params = TABLE.get(class)?;
        let mut left = MOVED;
        while left > 0 {
            let mut unit = *self.header().partial.get(class)?;
            let mut mask = self.free_mask(unit, class);
            if mask == 0 {
                self.drop_full_slab(class);
                unit = *self.header().partial.get(class)?;
                mask = self.free_mask(unit, class);
            }
            if mask == 0 {
                break;
            }
            let mut taken = 0u32;
            while mask != 0 && left > 0 {
                let index = mask.leading_zeros();
                mask &= !bit(index);
                taken += 1;
                if self.body_word(record_word(unit, index)) != 0 {
                    continue; // Damaged.
                }
                left -= 1;
                let kept = Kept {
                    block: block_offset(params, unit, index) as i32,
                    record: (record_word(unit, index) * 8) as i32,
                };
                self.keep(class, kept);
            }
            self.set_free_mask(unit, mask);
            self.count_free_slots(class, taken.wrapping_neg());
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
        let unit = entry::slab_unit(self.unit(slot.kept.block as u32 / UNIT as u32));
        self.free_mask(unit, slot.class) & bit(index_of(slot.kept, unit)) != 0
    }

    fn release_slot(&mut self, class: usize, kept: Kept) {
        let part = self.unit(kept.block as u32 / UNIT as u32);
        let Some(params) = TABLE.get(class) else {
            return;
        };
        if part & SLAB == 0 || entry::class(part) != class {
            return; // Damaged.
        }
        let unit = entry::slab_unit(part);
        let before = self.free_mask(unit, class);
        let now = before | bit(index_of(kept, unit));
        self.set_free_mask(unit, now);
        self.count_free_slots(class, 1);
        if before == 0 {
            self.relink_slab(unit, class);
        }
        if now == params.all_free {
            self.slab_became_empty(unit, class);
        }
    }

    /// Takes the first slab off its class's list if it is full.
    fn drop_full_slab(&mut self, class: usize) {
        let Some(&first) = self.header().partial.get(class) else {
            return;
        };
        if first != NONE && self.free_mask(first, class) == 0 {
            let next = self.slab_head(first, class).next;
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
            self.set_unit(unit + part, entry::slab(unit, class));
        }
        for index in 0..u32::from(params.blocks) {
            self.set_body_word(record_word(unit, index), 0);
        }
        let head = SlabHead {
            free_mask: params.all_free,
            prev: NONE,
            next: NONE,
        };
        self.set_slab_head(unit, head);
        self.count_slabs(class, 1);
        self.link_slab(unit, class);
        Some(())
    }

    /// A free block of any class that is large enough, from the slabs that there are.
    pub(crate) fn take_larger_slot(&mut self, size: usize, align: usize) -> Option<Kept> {
        for class in 0..SLAB_CLASSES {
            if serves(class, size, align)
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
        self.set_next(unit, class, next);
        self.set_prev(next, class, unit);
        self.set_first_slab(class, unit);
    }

    fn unlink_slab(&mut self, unit: u32, class: usize) {
        let head = self.slab_head(unit, class);
        if self.header().partial.get(class) == Some(&unit) {
            self.set_first_slab(class, head.next);
            return;
        }
        self.set_prev(head.next, class, head.prev);
        self.set_next(head.prev, class, head.next);
    }

    fn set_prev(&mut self, unit: u32, class: usize, prev: u32) {
        if self.is_slab(unit, class) {
            let head = SlabHead::of(self.body_word(head_word(unit)));
            self.set_slab_head(unit, SlabHead { prev, ..head });
        }
    }

    fn set_next(&mut self, unit: u32, class: usize, next: u32) {
        if self.is_slab(unit, class) {
            let head = SlabHead::of(self.body_word(head_word(unit)));
            self.set_slab_head(unit, SlabHead { next, ..head });
        }
    }

    /// Whether `unit` is the first of an empty slab of `class`.
    fn is_empty_slab(&self, unit: u32, class: usize) -> bool {
        let all_free = TABLE.get(class).map(|class| class.all_free);
        Some(self.free_mask(unit, class)) == all_free
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
