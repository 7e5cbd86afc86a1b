//! Slabs: small blocks of one size, their records at the slab's front.
//!
//! A slab's class, its free mask and its links are in the unit table; the slab itself holds only the
//! records (8 bytes a block) and the blocks, which end where the slab ends.
//!
//! **Invariant:** a slab is in its class's list (whose first slab's link back means nothing) if and only if it has a free block; at most one
//! slab of a class is empty.
//! **Knows nothing of:** owners and sites: a record is 64 bits.

use crate::classes::{CLASSES, Class, TABLE, UNIT};
use crate::entry::{self, INSIDE, NONE, SLAB};
use crate::window::Window;

/// A block in a slab.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    /// First unit of the slab.
    pub(crate) unit: u32,
    /// Entry of the first unit.
    pub(crate) head: u64,
    pub(crate) class: usize,
    /// Number of the block, counted from the slab's end.
    pub(crate) index: u32,
    /// Its record, a word of the body.
    pub(crate) record: usize,
}

impl Slot {
    /// Bytes of the block.
    pub(crate) fn usable(&self) -> usize {
        TABLE.get(self.class).map_or(0, |class| class.size.into())
    }

    #[inline(always)]
    pub(crate) fn is_free(&self) -> bool {
        entry::free_mask(self.head) >> self.index & 1 != 0
    }
}

/// Record `index` of the slab at `unit`, as a word of the body.
#[inline(always)]
pub(crate) fn record_word(class: &Class, unit: u32, index: u32) -> usize {
    unit as usize * (UNIT / 8) + usize::from(class.records) + index as usize
}

/// Offset in the body of block `index` of the slab at `unit`.
#[inline(always)]
pub(crate) fn block_offset(class: &Class, unit: u32, index: u32) -> usize {
    let end = (unit as usize + usize::from(class.units)) * UNIT;
    end.wrapping_sub((index as usize + 1) * usize::from(class.size))
}

impl Window {
    /// Takes a block from the first slab of a class's list, if it has any. Returns the block's offset and
    /// its record's word.
    #[inline(always)]
    pub(crate) fn take_slot(&mut self, class: usize) -> Option<(usize, usize)> {
        let params = TABLE.get(class)?;
        let unit = *self.header().partial.get(class)?;
        let head = self.unit(unit); // 0 for `NONE`.
        let mask = entry::free_mask(head);
        if mask == 0 {
            return None;
        }
        let index = mask.trailing_zeros();
        let rest = mask & (mask - 1);
        self.set_unit(unit, entry::with_free_mask(head, rest));
        if rest == 0 {
            let next = entry::next(self.unit(unit + 1));
            *self.header_mut().partial.get_mut(class)? = next;
        }
        Some((
            block_offset(params, unit, index),
            record_word(params, unit, index),
        ))
    }

    /// The slot whose block begins at `offset` in the body, in the slab that `part` (the entry
    /// of that unit) is part of.
    #[inline(always)]
    pub(crate) fn slot_at(&self, offset: usize, part: u64) -> Option<Slot> {
        let unit = ((offset / UNIT) as u32).wrapping_sub(entry::part(part));
        let head = self.unit(unit);
        let class = entry::class(head);
        let params = TABLE.get(class)?;
        // The last block ends where the slab ends. Inside a slab the distance is below 2^11.
        let end = unit
            .wrapping_add(params.units.into())
            .wrapping_mul(UNIT as u32);
        let distance = end.wrapping_sub(offset as u32);
        let nth = distance.wrapping_mul(params.reciprocal) >> 20;
        let index = nth.wrapping_sub(1);
        if index >= params.blocks.into() || nth * u32::from(params.size) != distance {
            return None;
        }
        Some(Slot {
            unit,
            head,
            class,
            index,
            record: record_word(params, unit, index),
        })
    }

    /// Gives a block back. True if its slab is now empty and must be handed to
    /// [`Window::slab_became_empty`].
    #[inline(always)]
    pub(crate) fn release_slot(&mut self, slot: &Slot) -> bool {
        let mask = entry::free_mask(slot.head);
        let now = mask | 1 << slot.index;
        self.set_unit(slot.unit, entry::with_free_mask(slot.head, now));
        if mask == 0 {
            self.link_slab(slot.unit, slot.class);
        }
        let header = self.header();
        TABLE
            .get(slot.class)
            .is_some_and(|class| now == class.all_free)
            && header
                .empty
                .get(slot.class)
                .is_some_and(|&kept| kept != slot.unit)
    }

    /// Makes a slab of a class, which then is the first of its list.
    pub(crate) fn new_slab(&mut self, class: usize) -> Option<()> {
        let params = TABLE.get(class)?;
        let units = params.units.into();
        let unit = match self.take_run(units) {
            Some(unit) => unit,
            None => {
                self.release_kept();
                self.search_run(units, 1)?
            }
        };
        for part in 0..units {
            self.set_unit(unit + part, entry::slab(part, class));
        }
        self.set_unit(
            unit,
            entry::with_free_mask(entry::slab(0, class), params.all_free),
        );
        self.link_slab(unit, class);
        Some(())
    }

    /// A free block of any class that is large enough, from the slabs that there are.
    pub(crate) fn take_larger_slot(&mut self, size: usize, align: usize) -> Option<(usize, usize)> {
        for class in 0..CLASSES {
            let block = TABLE.get(class).map_or(0, |class| class.size.into());
            if block >= size
                && block.is_multiple_of(align)
                && let Some(slot) = self.take_slot(class)
            {
                return Some(slot);
            }
        }
        None
    }

    /// Puts a slab at the front of its class's list.
    #[inline(always)]
    fn link_slab(&mut self, unit: u32, class: usize) {
        let Some(first) = self.header_mut().partial.get_mut(class) else {
            return;
        };
        let next = core::mem::replace(first, unit);
        self.set_unit(unit + 1, entry::with_next(entry::slab(1, class), next));
        if next != NONE {
            let entry = self.unit(next + 1);
            self.set_unit(next + 1, entry::with_prev(entry, unit));
        }
    }

    fn unlink_slab(&mut self, unit: u32, class: usize) {
        let links = self.unit(unit + 1);
        let (prev, next) = (entry::prev(links), entry::next(links));
        let Some(first) = self.header_mut().partial.get_mut(class) else {
            return;
        };
        if *first == unit {
            *first = next;
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
    pub(crate) fn slab_became_empty(&mut self, unit: u32, class: usize) {
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
        self.unlink_slab(unit, class);
        for part in 0..units {
            self.set_unit(unit + part, INSIDE);
        }
        self.release_run(unit, units);
    }

    /// Gives back every empty slab and every run that is kept.
    pub(crate) fn release_kept(&mut self) {
        for class in 0..CLASSES {
            let Some(empty) = self.header_mut().empty.get_mut(class) else {
                return;
            };
            let unit = core::mem::replace(empty, NONE);
            if unit != NONE && self.is_empty_slab(unit, class) {
                self.release_slab(unit, class);
            }
        }
        self.release_cached_runs();
    }
}
