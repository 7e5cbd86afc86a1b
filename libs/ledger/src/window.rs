//! The pool's memory: the only module that reads and writes the window.
//!
//! **Invariant:** every access lies inside `[base, base + committed)`, whatever the indices: reads
//! outside give zero, writes outside do nothing. What stands in the body, which a block's user may
//! overrun, is never trusted; the unit table, which only this crate writes, is trusted where it says
//! that something is a slab. All pointers derive from the base pointer.

use core::mem::size_of;
use core::ptr::NonNull;

use crate::capture::Walkable;
use crate::classes::{self, CLASSES, NO_CLASS, RUN_CLASSES, SIZES, SLAB_CLASSES, TABLE, UNIT};
use crate::entry;
use crate::guard::GUARD;
use crate::layout::{
    ALARM_OFFSET, BINS, ClassCounts, Config, CreateError, Geometry, Header, Kept, MAGIC, SiteEntry,
    Stamp, Strategy, VERSION, first_kept_place,
};

mod accounts;
mod kept;

use accounts::SITE_SHIFT;
pub(crate) use accounts::{SitePlace, settled};
use kept::Class;
pub(crate) use kept::Slot;

/// A window of memory that is this value's alone.
#[repr(C)]
pub(crate) struct Window {
    /// The stack on which blocks are asked for. Its last word is read together with what is next to it.
    stack: Walkable,
    /// The table of sites; the pool's base is the size of the header before it.
    sites: NonNull<SiteEntry>,
    /// Places for sites, a power of two, less 1; times the size of a site.
    site_mask: usize,
    /// The body and the map, derived from `base`.
    body: NonNull<u8>,
    /// Entries of the unit table that the common cases see: all, or none if blocks have guard bytes.
    entries: usize,
    map: NonNull<u32>,
    classes: [Class; CLASSES],
    /// A copy of [`classes::BY_SIZE`], close at hand.
    by_size: [u8; SIZES],
    /// Units of the body that are usable.
    units: u32,
    /// Entries of the unit table: as many as there are units, or none if the strategy has no units.
    table: usize,
    /// Fewest guard bytes of a block.
    guard: usize,
    accounts: NonNull<u64>,
    /// Owners with an account, 0 if none is kept.
    owners: usize,
    geometry: Geometry,
    reserved: usize,
    committed: usize,
}

// SAFETY: the window is plain memory that `Window::open`'s contract gives to this value alone; nothing in it
// belongs to a thread.
unsafe impl Send for Window {}

impl Window {
    /// No memory: nothing is ever kept, no address is inside.
    pub(crate) const VOID: Self = Self {
        stack: Walkable::NOWHERE,
        sites: NonNull::dangling(),
        site_mask: 0,
        body: NonNull::dangling(),
        entries: 0,
        map: NonNull::dangling(),
        classes: {
            let mut classes = [Class::DANGLING; CLASSES];
            classes[NO_CLASS] = Class::NONE;
            classes
        },
        by_size: [NO_CLASS as u8; SIZES],
        units: 0,
        table: 0,
        guard: 0,
        accounts: NonNull::dangling(),
        owners: 0,
        geometry: Geometry::VOID,
        reserved: 0,
        committed: 0,
    };

    /// Whether this is [`Window::VOID`], which has no header and no tables.
    pub(crate) fn is_void(&self) -> bool {
        self.units == 0
    }

    /// Takes over memory, in the place of none, and writes an empty header. Where the value stands it is made, as a
    /// copy of it takes a good part of a small stack. What it knows of the stack stays.
    ///
    /// # Errors
    /// See [`CreateError`]. The window is as it was, and nothing is written.
    ///
    /// # Safety
    /// 1. `[base, base + committed)` is readable and writable and nobody else's until the value
    ///    is dropped, except for readers from outside and writers of the mark.
    /// 2. The memory reads as zero, but for the alarm, which may have been set already.
    pub(crate) unsafe fn open(
        &mut self,
        base: NonNull<u8>,
        reserved: usize,
        committed: usize,
        cfg: &Config,
    ) -> Result<(), CreateError> {
        if !base.addr().get().is_multiple_of(UNIT) {
            return Err(CreateError::Misaligned);
        }
        let geometry = Geometry::new(reserved, cfg)?;
        if committed > reserved {
            return Err(CreateError::TooLarge);
        }
        let body_bytes = geometry.body_bytes(committed);
        if body_bytes == 0 {
            return Err(CreateError::TooSmall);
        }
        let guard = if cfg.guard { GUARD } else { 0 };
        let table = match cfg.strategy {
            Strategy::Segregated => body_bytes / UNIT,
            Strategy::FirstFit | Strategy::BestFit => 0,
        };
        // SAFETY:
        // 1. `body_bytes > 0`, so the tables, of which the header is the first, lie inside `committed`.
        // 2. `base` is a multiple of 512, and the header has the alarm as a whole word, hence aligned.
        // 3. The memory is ours by contract 1, and can be read by contract 2.
        let alarm = unsafe { base.add(ALARM_OFFSET).cast::<u64>().read() };
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            header_bytes: size_of::<Header>() as u32,
            strategy: match cfg.strategy {
                Strategy::Segregated => 0,
                Strategy::FirstFit => 1,
                Strategy::BestFit => 2,
            },
            depth: geometry.depth as u32,
            owners: geometry.owners as u32,
            sites: geometry.sites as u32,
            reserved: reserved as u64,
            committed: committed as u64,
            owners_offset: geometry.owners_offset as u64,
            sites_offset: geometry.sites_offset as u64,
            frames_offset: geometry.frames_offset as u64,
            map_offset: geometry.map_offset as u64,
            body_offset: geometry.body_offset as u64,
            body_bytes: body_bytes as u64,
            accounts: geometry.accounts.into(),
            guard: guard as u64,
            tracking: cfg.tracking.word(),
            code: 0,
            overruns: 0,
            alarm_hit: 0,
            alarm: alarm.into(),
            stamp: Stamp {
                kind: entry::BLOCK as u16,
                owner: 0,
                site: entry::DETAIL as u16,
                mark: 0.into(),
            },
            max_allocated: 0,
            room: 0,
            num_alloc_fail: 0,
            biggest_alloc_fail: 0,
            biggest_alloc_fail_used: 0,
            sites_used: 0,
            bin_mask: 0,
            bins: [crate::entry::NONE; BINS],
            partial: [crate::entry::NONE; SLAB_CLASSES],
            empty: [crate::entry::NONE; SLAB_CLASSES],
            counts: ClassCounts::default(),
        };
        // SAFETY:
        // 1. `body_bytes > 0`, so the tables, of which the header is the first, lie inside `committed`.
        // 2. `base` is a multiple of 256, hence aligned for the header.
        // 3. The memory is ours by contract 1.
        unsafe { base.cast::<Header>().write(header) };
        // SAFETY: `body_bytes > 0`, so all tables and the body's start lie inside `committed`.
        let at = |offset| unsafe { base.add(offset) };
        self.sites = at(geometry.sites_offset).cast();
        self.accounts = at(geometry.owners_offset).cast();
        self.map = at(geometry.map_offset).cast();
        self.body = at(geometry.body_offset);
        self.site_mask = (geometry.sites - 1) << SITE_SHIFT;
        if !cfg.guard {
            self.by_size.copy_from_slice(&classes::BY_SIZE);
        }
        self.owners = if geometry.accounts {
            geometry.owners
        } else {
            0
        };
        for (n, class) in self.classes.iter_mut().enumerate() {
            *class = if n >= SLAB_CLASSES + RUN_CLASSES || cfg.strategy != Strategy::Segregated {
                Class::NONE
            } else {
                // The first place stays empty.
                let place = first_kept_place(n) + 1;
                let top = at(geometry.kept_offset + place * size_of::<Kept>()).cast();
                Class::new(top, TABLE.get(n))
            };
        }
        self.geometry = geometry;
        self.reserved = reserved;
        self.committed = committed;
        self.units = (body_bytes / UNIT) as u32;
        self.entries = if cfg.guard { 0 } else { table };
        self.table = table;
        self.guard = guard;
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn stack(&self) -> Walkable {
        self.stack
    }

    #[inline(always)]
    pub(crate) fn set_stack(&mut self, stack: Walkable) {
        self.stack = stack;
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(crate) fn reserved(&self) -> usize {
        self.reserved
    }

    pub(crate) fn committed(&self) -> usize {
        self.committed
    }

    /// Fewest guard bytes of a block, 0 if there are none.
    #[inline(always)]
    pub(crate) fn guard(&self) -> usize {
        self.guard
    }

    /// Usable units of the body.
    #[inline(always)]
    pub(crate) fn units(&self) -> u32 {
        self.units
    }

    pub(crate) fn body_bytes(&self) -> usize {
        self.units as usize * UNIT
    }

    /// Extends the usable part; returns the old number of units.
    ///
    /// # Safety
    /// As [`Window::open`], for `committed`, which is at least as much as before and within
    /// `reserved`.
    pub(crate) unsafe fn extend(&mut self, committed: usize) -> u32 {
        let old = self.units;
        self.committed = committed;
        self.units = (self.geometry.body_bytes(committed) / UNIT) as u32;
        for entries in [&mut self.entries, &mut self.table] {
            if *entries > 0 {
                *entries = self.units as usize;
            }
        }
        let (units, header) = (self.units, self.header_mut());
        header.committed = committed as u64;
        header.body_bytes = u64::from(units) * UNIT as u64;
        old
    }

    #[inline(always)]
    fn base(&self) -> NonNull<u8> {
        // SAFETY: the table of sites follows the header, which is at the base.
        unsafe { self.sites.cast::<u8>().sub(size_of::<Header>()) }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY:
        // 1. `open` wrote a header at `base`, aligned, inside the committed part. `Pool` asks nothing of
        //    a window that is void but what needs no header.
        // 2. It is borrowed through `self`; outside writers touch the atomic mark only.
        unsafe { self.base().cast::<Header>().as_ref() }
    }

    #[inline(always)]
    pub(crate) fn header_mut(&mut self) -> &mut Header {
        // SAFETY: as in `header`, and `self` is borrowed mutably.
        unsafe { self.base().cast::<Header>().as_mut() }
    }

    /// Entry of unit `unit`; 0 outside.
    #[inline(always)]
    pub(crate) fn unit(&self, unit: u32) -> u32 {
        self.entry_below(self.table, unit as usize)
    }

    /// Entry of unit `unit` for the common cases; 0 outside, and always if blocks have guard bytes.
    #[inline(always)]
    pub(crate) fn known_unit(&self, unit: usize) -> u32 {
        self.entry_below(self.entries, unit)
    }

    #[inline(always)]
    fn entry_below(&self, end: usize, unit: usize) -> u32 {
        if unit >= end {
            return 0;
        }
        // SAFETY: the unit table has `table` entries, and `entries` is no more, before the body and thus
        // committed; aligned to 4.
        unsafe { self.map.add(unit).read() }
    }

    /// Writes the entry of unit `unit`.
    #[inline(always)]
    pub(crate) fn set_unit(&mut self, unit: u32, entry: u32) {
        if (unit as usize) < self.table {
            // SAFETY: as in `unit`, and `self` is borrowed mutably.
            unsafe { self.map.add(unit as usize).write(entry) };
        }
    }

    /// Writes the entries of a unit and of the next: a record.
    pub(crate) fn set_units(&mut self, unit: u32, entries: u64) {
        self.set_unit(unit, entries as u32);
        self.set_unit(unit + 1, (entries >> 32) as u32);
    }

    /// Where the entry of a unit is, in bytes from the body's start.
    #[inline(always)]
    fn place_of_entry(&self, unit: usize) -> i32 {
        let map = self.map.addr().get() as isize - self.body.addr().get() as isize;
        (map + (unit * size_of::<u32>()) as isize) as i32
    }

    /// Word `index` of the start bitmap; 0 outside.
    pub(crate) fn map_word(&self, index: usize) -> u64 {
        if index >= self.geometry.map_bytes / 8 {
            return 0;
        }
        // SAFETY: the map has so many bytes, before the body and thus committed; aligned to 8.
        unsafe { self.map.cast::<u64>().add(index).read() }
    }

    /// Writes word `index` of the start bitmap.
    pub(crate) fn set_map_word(&mut self, index: usize, word: u64) {
        if index < self.geometry.map_bytes / 8 {
            // SAFETY: as in `map_word`, and `self` is borrowed mutably.
            unsafe { self.map.cast::<u64>().add(index).write(word) };
        }
    }

    /// Word `index` of the body; 0 outside.
    #[inline(always)]
    pub(crate) fn body_word(&self, index: usize) -> u64 {
        if index >= self.units as usize * (UNIT / 8) {
            return 0;
        }
        // SAFETY: inside the committed body, whose size is a multiple of 8 and which is aligned.
        unsafe { self.body.cast::<u64>().add(index).read() }
    }

    /// Writes word `index` of the body.
    #[inline(always)]
    pub(crate) fn set_body_word(&mut self, index: usize, word: u64) {
        if index < self.units as usize * (UNIT / 8) {
            // SAFETY: as in `body_word`. Callers name words of slab records and block headers
            // only, which no block's user may reach through a pointer we gave out.
            unsafe { self.body.cast::<u64>().add(index).write(word) };
        }
    }

    /// Offset of an address into the body. Large if outside.
    #[inline(always)]
    pub(crate) fn body_offset_of(&self, ptr: NonNull<u8>) -> usize {
        ptr.addr().get().wrapping_sub(self.body.addr().get())
    }

    /// Pointer to `offset` bytes into the body; to its start if that is outside.
    #[inline(always)]
    pub(crate) fn body_ptr(&self, offset: usize) -> NonNull<u8> {
        let offset = if offset < self.body_bytes() {
            offset
        } else {
            0
        };
        // SAFETY: inside the committed body.
        unsafe { self.body.add(offset) }
    }

    /// Address of the body's start.
    pub(crate) fn body_addr(&self) -> usize {
        self.body.addr().get()
    }

    /// Copies `bytes` from one place in the body to another; nothing if either lies outside.
    pub(crate) fn copy_body(&mut self, from: usize, to: usize, bytes: usize) {
        let fits = |at: usize| {
            at.checked_add(bytes)
                .is_some_and(|end| end <= self.body_bytes())
        };
        if fits(from) && fits(to) {
            // SAFETY: both ranges lie inside the committed body; `copy` allows overlap.
            unsafe { self.body_ptr(from).copy_to(self.body_ptr(to), bytes) };
        }
    }

    /// Writes `byte` to `from..to` of the body; nothing if that is not all inside.
    pub(crate) fn fill_body(&mut self, from: usize, to: usize, byte: u8) {
        if from <= to && to <= self.body_bytes() {
            // SAFETY: the range lies inside the committed body.
            unsafe { self.body.add(from).write_bytes(byte, to - from) };
        }
    }

    /// Writes a word of the header, as somebody does from outside.
    #[cfg(test)]
    pub(crate) fn poke(&mut self, offset: usize, word: u64) {
        assert!(offset.is_multiple_of(8) && offset < size_of::<Header>());
        // SAFETY: a word of the header, which is aligned to 8.
        unsafe { self.base().add(offset).cast().write(word) };
    }

    /// Copies bytes at `offset` from the base into `out`; false if they are not all committed.
    pub(crate) fn read(&self, offset: usize, out: &mut [u8]) -> bool {
        if offset
            .checked_add(out.len())
            .is_none_or(|end| end > self.committed)
        {
            return false;
        }
        // SAFETY: the range is committed; `out` is a Rust slice, which no part of the window is.
        unsafe {
            self.base()
                .add(offset)
                .as_ptr()
                .copy_to_nonoverlapping(out.as_mut_ptr(), out.len());
        }
        true
    }
}
