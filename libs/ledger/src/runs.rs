//! Runs of units: segregated free lists, split on allocation, joined on release.
//!
//! A free run's links are in its first word, as nobody else needs it.
//!
//! **Invariant:** no two free runs touch; a free run of `n` units is in the list of bin `bin(n)`; its
//! first entry says `FREE`, its last `TAIL` (if it has two), all between are `INSIDE`. Runs that were
//! freed and are kept for the next block of their length say `KEPT` and may touch anything. Where a free run is
//! and how long it is, the unit table says alone: a link, which somebody may have overwritten who wrote to a
//! block that was freed, leads to a free run or nowhere.

use crate::classes::{CLASSES, RUN_CLASSES, SLAB_CLASSES, UNIT, class_of_run, run_of_class};
use crate::entry::{self, BACK_STEP, FREE, INSIDE, MIN_BLOCK_UNITS, NONE, TAIL};
use crate::layout::{BINS, Kept};

use crate::window::Window;

/// Runs of a bin that are compared with each other.
const LOOKED_AT: usize = 64;

/// The runs before and behind a free run in its list.
#[derive(Clone, Copy)]
struct Links {
    prev: u32,
    next: u32,
}

/// Bin that a run of `len >= 1` units is kept in: four a doubling.
#[inline(always)]
pub(crate) fn bin(len: u32) -> u32 {
    if len < 4 {
        return len;
    }
    let log = 31 - len.leading_zeros();
    (log - 1) * 4 + (len >> (log - 2) & 3)
}

/// First bin all of whose runs have at least `len` units.
#[inline(always)]
fn bin_at_least(len: u32) -> u32 {
    if len < 8 {
        return bin(len);
    }
    let log = 31 - len.leading_zeros();
    bin(len + (1 << (log - 2)) - 1)
}

impl Window {
    /// First unit of a run that is kept.
    fn unit_of(kept: Kept) -> u32 {
        kept.block as u32 / UNIT as u32
    }

    /// Takes a run that was kept when it was freed.
    pub(crate) fn take_kept_run(&mut self, len: u32) -> Option<u32> {
        self.take_kept(class_of_run(len)?).map(Self::unit_of)
    }

    /// Takes `len` units from a longer run that was kept; the others become free.
    pub(crate) fn split_kept_run(&mut self, len: u32) -> Option<u32> {
        for class in class_of_run((len + 1).max(MIN_BLOCK_UNITS))?..SLAB_CLASSES + RUN_CLASSES {
            if let Some(kept) = self.take_kept(class) {
                let unit = Self::unit_of(kept);
                self.set_unit(unit, INSIDE);
                self.release_run(unit + len, run_of_class(class) - len);
                return Some(unit);
            }
        }
        None
    }

    /// Keeps the run of a block for the next block of its length; false if enough are kept.
    pub(crate) fn keep_run(&mut self, unit: u32, len: u32) -> bool {
        let kept = self.kept_run(unit as usize);
        let place = (len as usize)
            .checked_sub(MIN_BLOCK_UNITS as usize)
            .filter(|more| *more < RUN_CLASSES)
            .and_then(|more| self.place_for_run(more));
        let Some(place) = place else {
            return false;
        };
        place.keep(kept);
        self.set_units(unit, entry::kept(len).into());
        true
    }

    /// Joins all runs that are kept to the others.
    pub(crate) fn release_kept_runs(&mut self) {
        for class in SLAB_CLASSES..CLASSES {
            while let Some(kept) = self.take_kept(class) {
                self.release_run(Self::unit_of(kept), run_of_class(class));
            }
        }
    }

    /// Writes what says where a large block begins and ends.
    pub(crate) fn set_large(&mut self, unit: u32, len: u32) {
        for inside in Self::signposts(unit, len) {
            self.set_unit(inside, entry::back(inside - unit));
        }
        self.set_unit(unit + 2, entry::length(len));
    }

    /// Undoes [`Window::set_large`].
    pub(crate) fn clear_large(&mut self, unit: u32, len: u32) {
        for inside in Self::signposts(unit, len) {
            self.set_unit(inside, INSIDE);
        }
        self.set_unit(unit + 2, INSIDE);
    }

    /// The units of a large block that say where it begins.
    fn signposts(unit: u32, len: u32) -> impl Iterator<Item = u32> {
        ((unit + 3).next_multiple_of(BACK_STEP)..unit + len).step_by(BACK_STEP as usize)
    }

    fn head_of(&self, bin: u32) -> u32 {
        self.header()
            .bins
            .get(bin as usize)
            .copied()
            .unwrap_or(NONE)
    }

    fn set_head_of(&mut self, bin: u32, unit: u32) {
        let header = self.header_mut();
        if let Some(head) = header.bins.get_mut(bin as usize) {
            *head = unit;
            if unit == NONE {
                header.bin_mask &= !(1 << bin);
            } else {
                header.bin_mask |= 1 << bin;
            }
        }
    }

    /// The links of the free run at `unit`.
    fn links(&self, unit: u32) -> Links {
        let word = self.body_word(unit as usize * (UNIT / 8));
        let checked = |link: u32| if self.is_free_run(link) { link } else { NONE };
        Links {
            prev: checked((word >> 32) as u32),
            next: checked(word as u32),
        }
    }

    fn set_links(&mut self, unit: u32, links: Links) {
        let word = u64::from(links.prev) << 32 | u64::from(links.next);
        self.set_body_word(unit as usize * (UNIT / 8), word);
    }

    fn is_free_run(&self, unit: u32) -> bool {
        entry::is_free(self.unit(unit)) // Not `NONE`, which is no unit of any pool.
    }

    /// The run behind the free run at `unit` in its list, if both agree on that.
    pub(crate) fn next_run(&self, unit: u32) -> Option<u32> {
        let next = self.links(unit).next;
        (next != NONE && self.links(next).prev == unit).then_some(next)
    }

    fn set_prev_run(&mut self, unit: u32, prev: u32) {
        if self.is_free_run(unit) {
            let word = self.body_word(unit as usize * (UNIT / 8));
            let next = word as u32;
            self.set_links(unit, Links { prev, next });
        }
    }

    fn set_next_run(&mut self, unit: u32, next: u32) {
        if self.is_free_run(unit) {
            let word = self.body_word(unit as usize * (UNIT / 8));
            let prev = (word >> 32) as u32;
            self.set_links(unit, Links { prev, next });
        }
    }

    /// Puts a free run, whose neighbours are not free, into its list.
    pub(crate) fn insert_run(&mut self, unit: u32, len: u32) {
        let bin = bin(len);
        let next = self.head_of(bin);
        let counts = &mut self.header_mut().counts;
        counts.free_units = counts.free_units.wrapping_add(len);
        self.set_unit(unit, entry::free(len));
        if len > 1 {
            self.set_unit(unit + len - 1, entry::tail(len));
        }
        self.set_links(unit, Links { prev: NONE, next });
        self.set_prev_run(next, unit);
        self.set_head_of(bin, unit);
    }

    /// Takes the free run at `unit`, which has the entry `free`, out of its list. Its entries stay as they are.
    fn remove_run(&mut self, unit: u32, free: u32) {
        let bin = bin(entry::len(free));
        let Links { prev, next } = self.links(unit);
        let counts = &mut self.header_mut().counts;
        counts.free_units = counts.free_units.wrapping_sub(entry::len(free));
        self.set_prev_run(next, prev);
        if self.head_of(bin) == unit {
            self.set_head_of(bin, next);
        } else {
            self.set_next_run(prev, next);
        }
    }

    /// Takes `len >= 1` units from the front of a free run that has at least as many.
    fn split_run(&mut self, unit: u32, free: u32, len: u32) {
        let had = entry::len(free);
        self.remove_run(unit, free);
        if had > len {
            self.insert_run(unit + len, had - len);
        } else {
            self.set_unit(unit + had - 1, INSIDE);
        }
    }

    /// Takes `len` units from the lists in constant time. May find nothing though a run that is
    /// barely long enough exists: see [`Window::search_run`].
    pub(crate) fn take_run(&mut self, len: u32) -> Option<u32> {
        let bin = bin_at_least(len);
        if bin >= BINS as u32 {
            return None;
        }
        let fitting = self.header().bin_mask & (u64::MAX << bin);
        if fitting == 0 {
            return None;
        }
        let unit = self.head_of(fitting.trailing_zeros());
        let free = self.unit(unit);
        if !entry::is_free(free) || entry::len(free) < len {
            return None; // Damaged.
        }
        self.split_run(unit, free, len);
        Some(unit)
    }

    /// Finds `len` units at an alignment (in units, of addresses) by looking at the free runs one after
    /// the other. For the verge of failure and for alignments above a unit.
    pub(crate) fn search_run(&mut self, len: u32, align: u32) -> Option<u32> {
        let first_unit = self.body_addr() / UNIT;
        let mut bins = self.header().bin_mask & (u64::MAX << bin(len));
        let mut budget = self.units();
        while bins != 0 {
            let mut unit = self.head_of(bins.trailing_zeros());
            while unit != NONE && budget > 0 {
                let free = self.unit(unit);
                let past = (first_unit + unit as usize) % align as usize;
                let front = if past == 0 { 0 } else { align - past as u32 };
                if entry::is_free(free) && entry::len(free) >= front + len {
                    self.split_run(unit, free, front + len);
                    if front > 0 {
                        self.insert_run(unit, front);
                    }
                    return Some(unit + front);
                }
                unit = self.links(unit).next;
                budget -= 1;
            }
            bins &= bins - 1;
        }
        None
    }

    /// Units of the longest free run: of those in the highest bin, which differ by less than a quarter, the first
    /// [`LOOKED_AT`] are looked at.
    pub(crate) fn longest_run(&self) -> u32 {
        let Some(highest) = self.header().bin_mask.checked_ilog2() else {
            return 0;
        };
        let mut unit = self.head_of(highest);
        let mut longest = 0;
        for _ in 0..LOOKED_AT {
            if !self.is_free_run(unit) {
                break;
            }
            longest = longest.max(entry::len(self.unit(unit)));
            unit = self.links(unit).next;
        }
        longest
    }

    /// Gives back a run whose entries, other than the first two, are `INSIDE`.
    pub(crate) fn release_run(&mut self, unit: u32, len: u32) {
        let (mut unit, mut len) = (unit, len);
        self.set_unit(unit, INSIDE);
        if len > 1 {
            self.set_unit(unit + 1, INSIDE);
        }
        let right = self.unit(unit + len);
        if entry::is_free(right) {
            self.remove_run(unit + len, right);
            self.set_unit(unit + len, INSIDE);
            len += entry::len(right);
        }
        if unit > 0 {
            let left = self.unit(unit - 1);
            let left_len = match left & 0xff {
                TAIL => entry::len(left),
                FREE => 1,
                _ => 0,
            };
            if left_len > 0 && left_len <= unit {
                let free = self.unit(unit - left_len);
                self.remove_run(unit - left_len, free);
                self.set_unit(unit - 1, INSIDE);
                unit -= left_len;
                len += left_len;
            }
        }
        self.insert_run(unit, len);
    }

    /// Takes `more` units off the free run that begins at `unit`, if it has them.
    pub(crate) fn take_run_at(&mut self, unit: u32, more: u32) -> bool {
        let free = self.unit(unit);
        if !entry::is_free(free) || entry::len(free) < more {
            return false;
        }
        self.split_run(unit, free, more);
        self.set_unit(unit, INSIDE);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_grow_with_length_and_the_next_bin_always_fits() {
        for len in 1..if cfg!(miri) { 200 } else { 5000 } {
            assert!(bin(len) <= bin(len + 1));
            let enough = bin_at_least(len);
            assert!(enough == bin(len) || enough == bin(len) + 1);
            if len > 1 {
                assert!(
                    bin(len - 1) < enough,
                    "bin {enough} holds runs shorter than {len}"
                );
            }
        }
        assert_eq!(bin(entry::MAX_UNITS as u32), BINS as u32 - 1);
    }
}
