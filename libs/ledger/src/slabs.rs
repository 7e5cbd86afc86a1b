//! Slabs: small blocks of one size, their records at the slab's front.
//!
//! A slab's class, its free mask and its links are in the unit table; the slab itself holds only the
//! records (8 bytes a block) and the blocks, which end where the slab ends.
//!
//! **Invariant:** a slab is in its class's list if and only if it has a free block; at most one
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
    /// Offset of its record in the body.
    pub(crate) record: usize,
}

impl Slot {
    /// Bytes of the block.
    pub(crate) fn usable(&self) -> usize {
        TABLE.get(self.class).map_or(0, |class| class.size as usize)
    }

    #[inline(always)]
    pub(crate) fn is_free(&self) -> bool {
        entry::free_mask(self.head) >> self.index & 1 != 0
    }
}

/// Offset in the body of record `index` of the slab at `unit`.
#[inline(always)]
pub(crate) fn record_offset(class: &Class, unit: u32, index: u32) -> usize {
    unit as usize * UNIT + (class.records + index * 8) as usize
}

/// Offset in the body of block `index` of the slab at `unit`.
#[inline(always)]
pub(crate) fn block_offset(class: &Class, unit: u32, index: u32) -> usize {
    (unit + class.units) as usize * UNIT - ((index + 1) * class.size) as usize
}

impl Window {
    /// Takes a block of a class. Returns its offset and its record's.
    #[inline(always)]
    pub(crate) fn take_slot(&mut self, class: usize) -> Option<(usize, usize)> {
        let params = TABLE.get(class)?;
        let mut unit = *self.header().partial.get(class)?;
        if unit == NONE {
            unit = self.new_slab(class)?;
        }
        let head = self.unit(unit);
        let mask = entry::free_mask(head);
        let index = mask.trailing_zeros();
        if index >= params.blocks {
            return None; // Damaged.
        }
        let rest = mask & mask.wrapping_sub(1);
        self.set_unit(unit, entry::with_free_mask(head, rest));
        if rest == 0 {
            self.unlink_slab(unit, class);
        }
        Some((
            block_offset(params, unit, index),
            record_offset(params, unit, index),
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
        let distance = ((unit + params.units) as usize * UNIT).wrapping_sub(offset) as u32;
        // The last block ends where the slab ends. Inside a slab the distance is below 2^11.
        let nth = distance.wrapping_mul(params.reciprocal) >> 20;
        if nth.wrapping_sub(1) >= params.blocks || nth * params.size != distance {
            return None;
        }
        let index = nth - 1;
        Some(Slot {
            unit,
            head,
            class,
            index,
            record: record_offset(params, unit, index),
        })
    }

    /// Gives a block back.
    #[inline(always)]
    pub(crate) fn release_slot(&mut self, slot: &Slot) {
        let mask = entry::free_mask(slot.head);
        let now = mask | 1 << slot.index;
        self.set_unit(slot.unit, entry::with_free_mask(slot.head, now));
        if mask == 0 {
            self.link_slab(slot.unit, slot.class);
        }
        if TABLE
            .get(slot.class)
            .is_some_and(|class| now == class.all_free)
        {
            self.slab_became_empty(slot.unit, slot.class);
        }
    }

    /// A free block of any class that is large enough, from the slabs that there are.
    pub(crate) fn take_larger_slot(&mut self, size: usize, align: usize) -> Option<(usize, usize)> {
        let fits = |class: &Class| {
            class.size as usize >= size && (class.size as usize).is_multiple_of(align)
        };
        for class in 0..CLASSES {
            let has_slab = self
                .header()
                .partial
                .get(class)
                .is_some_and(|&unit| unit != NONE);
            if has_slab && TABLE.get(class).is_some_and(fits) {
                return self.take_slot(class);
            }
        }
        None
    }

    #[cold]
    #[inline(never)]
    fn new_slab(&mut self, class: usize) -> Option<u32> {
        let params = TABLE.get(class)?;
        let unit = match self.take_run(params.units) {
            Some(unit) => unit,
            None => {
                self.release_empty_slabs();
                self.search_run(params.units, 1)?
            }
        };
        for part in 0..params.units {
            self.set_unit(unit + part, entry::slab(part, class));
        }
        let head = entry::with_free_mask(entry::slab(0, class), params.all_free);
        self.set_unit(unit, head);
        self.link_slab(unit, class);
        Some(unit)
    }

    /// Puts a slab at the front of its class's list.
    #[inline(never)]
    fn link_slab(&mut self, unit: u32, class: usize) {
        let next = self.header().partial.get(class).copied().unwrap_or(NONE);
        let links = entry::with_next(entry::with_prev(entry::slab(1, class), NONE), next);
        self.set_unit(unit + 1, links);
        if next != NONE {
            let entry = self.unit(next + 1);
            self.set_unit(next + 1, entry::with_prev(entry, unit));
        }
        if let Some(first) = self.header_mut().partial.get_mut(class) {
            *first = unit;
        }
    }

    #[inline(never)]
    fn unlink_slab(&mut self, unit: u32, class: usize) {
        let links = self.unit(unit + 1);
        let (prev, next) = (entry::prev(links), entry::next(links));
        if next != NONE {
            let entry = self.unit(next + 1);
            self.set_unit(next + 1, entry::with_prev(entry, prev));
        }
        if prev != NONE {
            let entry = self.unit(prev + 1);
            self.set_unit(prev + 1, entry::with_next(entry, next));
        } else if let Some(first) = self.header_mut().partial.get_mut(class) {
            *first = next;
        }
    }

    /// Whether `unit` is the first of an empty slab of `class`.
    pub(crate) fn is_empty_slab(&self, unit: u32, class: usize) -> bool {
        let head = self.unit(unit);
        entry::kind(head) == SLAB
            && entry::part(head) == 0
            && entry::class(head) == class
            && TABLE
                .get(class)
                .is_some_and(|class| entry::free_mask(head) == class.all_free)
    }

    /// Keeps one empty slab of a class and gives further ones back.
    #[inline(always)]
    fn slab_became_empty(&mut self, unit: u32, class: usize) {
        let kept = self.header().empty.get(class).copied().unwrap_or(NONE);
        if kept == unit {
            return;
        }
        self.another_slab_became_empty(unit, class, kept);
    }

    #[cold]
    #[inline(never)]
    fn another_slab_became_empty(&mut self, unit: u32, class: usize, kept: u32) {
        if kept != NONE && self.is_empty_slab(kept, class) {
            self.release_slab(unit, class);
        } else if let Some(empty) = self.header_mut().empty.get_mut(class) {
            *empty = unit;
        }
    }

    fn release_slab(&mut self, unit: u32, class: usize) {
        let Some(params) = TABLE.get(class) else {
            return;
        };
        self.unlink_slab(unit, class);
        for part in 0..params.units {
            self.set_unit(unit + part, INSIDE);
        }
        self.release_run(unit, params.units);
    }

    /// Gives back every empty slab.
    #[cold]
    #[inline(never)]
    pub(crate) fn release_empty_slabs(&mut self) {
        for class in 0..CLASSES {
            let Some(empty) = self.header_mut().empty.get_mut(class) else {
                return;
            };
            let unit = core::mem::replace(empty, NONE);
            if unit != NONE && self.is_empty_slab(unit, class) {
                self.release_slab(unit, class);
            }
        }
    }
}
