//! Walks a whole pool and proves its invariants.
//!
//! **Invariant:** changes nothing, ends whatever the tables hold.

use core::ops::Range;

use crate::best_fit::{BadChunk, Tree};
use crate::chunks::Chunks;
use crate::classes::{CLASSES, SLAB_CLASSES, TABLE, UNIT, run_of_class};
use crate::entry::{self, BLOCK, DETAIL, FREE, INSIDE, KEPT, LARGE, LENGTH, NONE, SLAB, TAIL};
use crate::guard::run_units;
use crate::layout::{BINS, ClassCounts, Strategy, Tracking};
use crate::pool::Pool;
use crate::runs::bin;
use crate::stats::{Overrun, OwnerId, SiteId};
use crate::view::{Reader, View};
use crate::walk::{Piece, Pieces};
use crate::window::Window;

/// First thing found wrong with a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The header or the block walk makes no sense, or does not add up to the header's figures.
    Walk,
    /// A unit's entry is not what its neighbours say.
    Unit(u32),
    /// Two free runs touch at this unit.
    Unjoined(u32),
    /// The list of this bin is broken.
    Bin(u32),
    /// What is kept of this class is not what the tables say.
    Kept(u32),
    /// The list of this class of slabs is broken.
    Class(u32),
    /// An owner's account is not the sum of its blocks.
    Owner(OwnerId),
    /// A site's counters are not the sum of its blocks.
    Site(SiteId),
    /// The free list or tree has other free bytes than lie between the blocks.
    FreeBytes,
    /// What is written of the free chunk at this offset in the body, or of the one before it, is not what lies
    /// there.
    Chunk(u32),
    /// Somebody wrote past the end of the block at this offset from the base.
    Overrun(usize),
    /// The numbers of slabs, of free blocks or of free units are not what the tables say.
    Counts,
}

/// Units looked at in one step of [`View::check`].
const STEP_UNITS: u32 = 128;

/// The unit table, as it can be read.
trait Units {
    /// How many there are.
    fn units(&self) -> u32;
    /// The entry of a unit; 0 outside.
    fn unit(&self, unit: u32) -> Result<u32, Damage>;
    /// Fewest guard bytes of a block.
    fn guard(&self) -> usize;
}

impl Units for Window {
    fn units(&self) -> u32 {
        self.units()
    }

    fn unit(&self, unit: u32) -> Result<u32, Damage> {
        Ok(self.unit(unit))
    }

    fn guard(&self) -> usize {
        self.guard()
    }
}

impl<R: Reader> Units for View<R> {
    fn units(&self) -> u32 {
        (self.body_bytes() / UNIT) as u32
    }

    fn unit(&self, unit: u32) -> Result<u32, Damage> {
        self.unit(unit as usize).map_err(|_| Damage::Walk)
    }

    fn guard(&self) -> usize {
        self.guard()
    }
}

/// Checks what begins at a unit, but for the units of a run between its ends; how many units it has, and
/// which of them those are.
fn check_ends(table: &impl Units, unit: u32) -> Result<(u32, Range<u32>), Damage> {
    let entry = table.unit(unit)?;
    let damage = Damage::Unit(unit);
    let mut inside = 1..1;
    let units = match entry::kind(entry) {
        FREE => {
            if unit > 0 && matches!(entry::kind(table.unit(unit - 1)?), FREE | TAIL) {
                return Err(Damage::Unjoined(unit));
            }
            let len = entry::len(entry);
            if len > 1 {
                if table.unit(unit + len - 1)? != entry::tail(len) {
                    return Err(damage);
                }
                inside = 1..len - 1;
            }
            len
        }
        KEPT => {
            inside = 1..entry::len(entry);
            entry::len(entry)
        }
        BLOCK => {
            if entry::kind(table.unit(unit + 1)?) != DETAIL {
                return Err(Damage::Unit(unit + 1));
            }
            inside = 2..run_units(entry::record_size(entry.into()), table.guard()) as u32;
            inside.end
        }
        LARGE => {
            let (second, third) = (table.unit(unit + 1)?, table.unit(unit + 2)?);
            if entry::kind(second) != DETAIL
                || entry::kind(third) != LENGTH
                || entry::len(third) < 3
            {
                return Err(damage);
            }
            inside = 3..entry::len(third);
            entry::len(third)
        }
        SLAB => {
            let class = entry::class(entry);
            let params = TABLE.get(class).ok_or(damage)?;
            for part in 0..u32::from(params.units) {
                if table.unit(unit + part)? != entry::slab(unit, class) {
                    return Err(Damage::Unit(unit + part));
                }
            }
            u32::from(params.units)
        }
        _ => return Err(damage),
    };
    if units == 0 || units > table.units() - unit {
        return Err(damage);
    }
    Ok((units, inside))
}

/// Checks a unit of the run that begins at `unit`, between its ends.
fn check_inside(table: &impl Units, unit: u32, part: u32) -> Result<(), Damage> {
    let (kind, at) = (entry::kind(table.unit(unit)?), unit + part);
    let expected = if kind == LARGE && at.is_multiple_of(entry::BACK_STEP) {
        entry::back(part)
    } else {
        INSIDE
    };
    if table.unit(at)? == expected {
        Ok(())
    } else {
        Err(Damage::Unit(at))
    }
}

impl<R: Reader> View<R> {
    /// Checks some 512 units of the table from a cursor on (0: the start); the next cursor, 0 at the end.
    /// The pool must not change between the calls. What does not show in one piece is not seen: sums
    /// ([`View::stats`]), lists, what is kept ([`Pool::check`]).
    ///
    /// # Errors
    /// See [`Damage`].
    pub fn check(&self, cursor: u64) -> Result<u64, Damage> {
        if self.strategy() != Strategy::Segregated {
            let mut none = [];
            return self
                .blocks(cursor, &mut none)
                .map_or(Err(Damage::Walk), |(_, next)| Ok(next));
        }
        // The head of a piece, and above it how far its inside has been looked at.
        let (mut unit, mut from) = (cursor as u32, (cursor >> 32) as u32);
        let mut steps = 0;
        while unit < self.units() {
            let (units, inside) = check_ends(self, unit)?;
            steps += 1;
            for part in inside.start.max(from)..inside.end {
                if steps >= STEP_UNITS {
                    return Ok(u64::from(part) << 32 | u64::from(unit));
                }
                check_inside(self, unit, part)?;
                steps += 1;
            }
            (unit, from) = (unit + units, 0);
            if steps >= STEP_UNITS && unit < self.units() {
                return Ok(unit.into());
            }
        }
        Ok(0)
    }
}

/// Sums kept at a time.
const BATCH: usize = 32;

impl Pool {
    /// Walks everything and returns the first inconsistency. Takes time: blocks times (owners
    /// and sites) / 32.
    ///
    /// # Errors
    /// See [`Damage`].
    pub fn check(&self) -> Result<(), Damage> {
        let stats = self.stats().map_err(|_| Damage::Walk)?;
        match self.free_chunks().free_bytes() {
            Some(free) => {
                if free as u64 != stats.free_bytes {
                    return Err(Damage::FreeBytes);
                }
                if let Chunks::BestFit(tree) = self.free_chunks() {
                    self.check_tree(tree)?;
                }
            }
            None => {
                let (runs, partial) = self.check_units()?;
                self.check_bins(runs)?;
                self.check_classes(&partial)?;
            }
        }
        self.check_accounts()?;
        self.check_guards()
    }

    /// All free chunks, in the order of addresses.
    fn check_tree(&self, tree: &Tree) -> Result<(), Damage> {
        let view = self.view().map_err(|_| Damage::Walk)?;
        let mut pieces = Pieces::from(&view, 0);
        let mut at = 0;
        while let Some(piece) = pieces.next() {
            let next = pieces.position();
            let sound = match piece.map_err(|_| Damage::Walk)? {
                Piece::Run { bytes, .. } => tree.check(self.window(), at, bytes),
                Piece::Block(block) => {
                    let body = self.window().geometry().body_offset;
                    let end = block.offset - body + block.usable;
                    tree.check_block(self.window(), end)
                }
                Piece::Slot { .. } | Piece::Overhead { .. } => Ok(()),
            };
            sound.map_err(|BadChunk| Damage::Chunk(at as u32))?;
            at = next;
        }
        Ok(())
    }

    fn check_guards(&self) -> Result<(), Damage> {
        let view = self.view().map_err(|_| Damage::Walk)?;
        let (mut found, mut cursor) = ([Overrun::default()], 0);
        loop {
            let (n, next) = view
                .overruns(cursor, &mut found)
                .map_err(|_| Damage::Walk)?;
            if n > 0 {
                return Err(Damage::Overrun(found[0].block.offset));
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Returns the number of free runs, and of slabs with a free block for each class.
    fn check_units(&self) -> Result<(u32, [u32; SLAB_CLASSES]), Damage> {
        let window = self.window();
        let (mut runs, mut kept) = (0, 0);
        let mut counts = ClassCounts::default();
        let (mut partial, mut empty) = ([0; SLAB_CLASSES], [0; SLAB_CLASSES]);
        let mut unit = 0;
        while unit < window.units() {
            let entry = window.unit(unit);
            let (units, inside) = check_ends(window, unit)?;
            for part in inside {
                check_inside(window, unit, part)?;
            }
            match entry::kind(entry) {
                FREE => {
                    runs += 1;
                    counts.free_units += units;
                }
                KEPT => kept += 1,
                SLAB => {
                    let class = entry::class(entry);
                    let params = TABLE.get(class).ok_or(Damage::Unit(unit))?;
                    let mask = window.slab_head(unit, class).free_mask;
                    let first = window.header().partial.get(class) == Some(&unit);
                    partial[class] += u32::from(mask != 0 || first);
                    empty[class] += u32::from(mask == params.all_free);
                    counts.slabs[class] += 1;
                    counts.free_slots[class] += mask.count_ones();
                    if empty[class] > 1 {
                        return Err(Damage::Class(class as u32));
                    }
                }
                _ => {}
            }
            unit += units;
        }
        if counts != window.header().counts {
            return Err(Damage::Counts);
        }
        self.check_kept(kept)?;
        Ok((runs, partial))
    }

    /// What is kept is free, in no free mask, and nothing is kept twice.
    fn check_kept(&self, runs: u32) -> Result<(), Damage> {
        let window = self.window();
        let mut seen = 0;
        for class in 0..CLASSES {
            let damage = Damage::Kept(class as u32);
            let kept = window.kept(class);
            for (n, this) in kept.iter().enumerate() {
                let offset = this.block as usize;
                let unit = (offset / UNIT) as u32;
                let entry = window.unit(unit);
                let is_right = match run_of_class(class) {
                    0 => {
                        entry::kind(entry) == SLAB
                            && entry::class(entry) == class
                            && window.slot_at(offset, entry).is_some_and(|slot| {
                                slot.is_free() && slot.kept == *this && !window.in_mask(&slot)
                            })
                    }
                    len => {
                        seen += 1;
                        entry == entry::kept(len) && *this == window.kept_run(unit as usize)
                    }
                };
                if !is_right || kept.iter().take(n).any(|other| other == this) {
                    return Err(damage);
                }
            }
        }
        if seen == runs {
            Ok(())
        } else {
            Err(Damage::Kept(NONE))
        }
    }

    fn check_bins(&self, runs: u32) -> Result<(), Damage> {
        let window = self.window();
        let header = window.header();
        let mut seen = 0;
        for (n, &head) in header.bins.iter().enumerate().take(BINS) {
            let damage = Damage::Bin(n as u32);
            if (head != NONE) != (header.bin_mask >> n & 1 != 0) {
                return Err(damage);
            }
            let mut unit = head;
            while unit != NONE {
                let entry = window.unit(unit);
                seen += 1;
                if entry::kind(entry) != FREE || bin(entry::len(entry)) != n as u32 || seen > runs {
                    return Err(damage);
                }
                unit = window.next_run(unit).unwrap_or(NONE);
            }
        }
        if seen == runs {
            Ok(())
        } else {
            Err(Damage::Bin(NONE))
        }
    }

    fn check_classes(&self, partial: &[u32; SLAB_CLASSES]) -> Result<(), Damage> {
        let window = self.window();
        for (class, (&head, &expected)) in window.header().partial.iter().zip(partial).enumerate() {
            let damage = Damage::Class(class as u32);
            let (mut unit, mut prev, mut seen) = (head, NONE, 0);
            while unit != NONE {
                let slab = window.slab_head(unit, class);
                seen += 1;
                if window.unit(unit) != entry::slab(unit, class)
                    || slab.free_mask == 0 && prev != NONE
                    || prev != NONE && slab.prev != prev
                    || seen > expected
                {
                    return Err(damage);
                }
                (prev, unit) = (unit, slab.next);
            }
            if seen != expected {
                return Err(damage);
            }
        }
        Ok(())
    }

    /// Sums the blocks of 32 owners (then sites) in each walk.
    fn check_accounts(&self) -> Result<(), Damage> {
        // With light tracking only blocks are counted, which the walk has compared.
        if self.window().tracking() != Tracking::Full {
            return Ok(());
        }
        let (window, view) = (self.window(), self.view().map_err(|_| Damage::Walk)?);
        let sums = |first: usize, key: fn(&crate::Block) -> u32, limit: u16| {
            let mut sums = [0u64; BATCH];
            for block in view.live_blocks() {
                let block = block.map_err(|_| Damage::Walk)?;
                let id = if key(&block) < limit.into() {
                    key(&block)
                } else {
                    0
                };
                if let Some(sum) = sums.get_mut((id as usize).wrapping_sub(first)) {
                    *sum += 1 << 32 | block.size as u64;
                }
            }
            Ok(sums)
        };
        // What is not kept is summed when asked for.
        let owners = if window.geometry().accounts {
            view.owners().into()
        } else {
            0
        };
        for first in (0..owners).step_by(BATCH) {
            let sums = sums(first, |block| block.owner.0.into(), view.owners())?;
            for (n, &sum) in sums.iter().enumerate().take(view.owners() as usize - first) {
                let owner = OwnerId((first + n) as u16);
                let (bytes, blocks) = view.account(owner).map_err(|_| Damage::Walk)?;
                if sum != u64::from(blocks) << 32 | u64::from(bytes) {
                    return Err(Damage::Owner(owner));
                }
            }
        }
        for first in (0..view.site_count() as usize).step_by(BATCH) {
            let sums = sums(first, |block| block.site.0, view.site_count())?;
            for (n, &sum) in sums
                .iter()
                .enumerate()
                .take(view.site_count() as usize - first)
            {
                let id = SiteId((first + n) as u32);
                let (live, peak) = match view.site(id) {
                    Ok(site) => (
                        u64::from(site.live_blocks) << 32 | u64::from(site.live_bytes),
                        site.peak_bytes,
                    ),
                    Err(_) => (0, 0), // Not in use.
                };
                if sum != live || (live as u32) > peak {
                    return Err(Damage::Site(id));
                }
            }
        }
        Ok(())
    }
}
