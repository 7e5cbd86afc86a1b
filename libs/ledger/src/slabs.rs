//! Slabs: small blocks of one size, their records at the slab's front.
//!
//! A slab's class, its free mask and its links are in the unit table; the slab itself holds only the
//! records (8 bytes a block) and the blocks, which end where the slab ends.
//!
//! **Invariant:** a slab is in its class's list (whose first slab's link back means nothing) if it has a
//! free block; the first slab may be full, the others of the list are not. At most one slab of a class
//! is empty.
//! **Knows nothing of:** owners and sites: a record is 64 bits.

use crate::classes::{CLASSES, Class, RECORDS, TABLE, UNIT};
use crate::entry::{self, INSIDE, NONE, SLAB};
use crate::window::{Taken, Window};

/// Record `index` of the slab at `unit`, as a word of the body.
#[inline(always)]
pub(crate) fn record_word(unit: u32, index: u32) -> usize {
    unit as usize * (UNIT / 8) + RECORDS + index as usize
}

/// Offset in the body of block `index` of the slab at `unit`.
#[inline(always)]
pub(crate) fn block_offset(class: &Class, unit: u32, index: u32) -> usize {
    let end = (unit as usize + usize::from(class.units)) * UNIT;
    end.wrapping_sub((index as usize + 1) * usize::from(class.size))
}

impl Window {
    /// Takes a block of a class from the slabs that there are.
    pub(crate) fn find_slot(&mut self, class: usize) -> Option<Taken> {
        if let Some(taken) = self.take_slot(class) {
            return Some(taken);
        }
        self.drop_full_slab(class);
        self.take_slot(class)
    }

    /// Takes the first slab off its class's list if it is full.
    fn drop_full_slab(&mut self, class: usize) {
        let Some(&first) = self.header().partial.get(class) else {
            return;
        };
        if first != NONE && entry::free_mask(self.unit(first)) == 0 {
            self.set_first_slab(class, entry::next(self.unit(first + 1)));
        }
    }

    /// Puts a slab that was full back on its class's list, unless it is the first still.
    #[cold]
    #[inline(never)]
    pub(crate) fn relink_slab(&mut self, unit: u32, class: usize) {
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
            None => {
                self.release_kept();
                self.search_run(units, 1)?
            }
        };
        for part in 0..units {
            self.set_unit(unit + part, entry::slab(part, units - part, class));
        }
        self.set_unit(
            unit,
            entry::with_free_mask(entry::slab(0, units, class), params.all_free),
        );
        self.link_slab(unit, class);
        Some(())
    }

    /// A free block of any class that is large enough, from the slabs that there are.
    pub(crate) fn take_larger_slot(&mut self, size: usize, align: usize) -> Option<Taken> {
        for class in 0..CLASSES {
            let block = TABLE.get(class).map_or(0, |class| class.size.into());
            if block >= size
                && block.is_multiple_of(align)
                && let Some(slot) = self.find_slot(class)
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
