//! The pool: allocation, release and the accounts, over either strategy.
//!
//! **Invariant:** a block is credited to its owner and site exactly when it comes to be and debited
//! exactly when it ends; what is debited is what its record says, not what the caller says.
//! **Knows nothing of:** locks. The caller holds the lock.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use crate::capture::CallStack;
use crate::chunks::{self, Chunk, Chunks};
use crate::classes::{SINGLE, UNIT, class_of, serves};
use crate::entry::{self, BLOCK, KEPT, LARGE, SLAB};
use crate::error::{AllocError, FreeError, Freed, GrowError};
use crate::guard::run_units;
use crate::layout::{Config, CreateError, Kept, Tracking};
use crate::stats::{Overrun, OwnerId};
use crate::window::{SitePlace, Slot, Window};

mod fast;
mod resize;

/// Largest alignment: no pool, however large, serves one above.
pub const MAX_ALIGN: usize = 4096;

/// A heap over a window of memory.
#[repr(C)]
pub struct Pool {
    window: Window,
    /// Free chunks of the strategies without units.
    chunks: Chunks,
    /// Found by [`Pool::inspect`].
    overrun: Option<Overrun>,
    /// Bytes that were live when the alarm rang.
    alarm: Option<u64>,
}

/// Room for a block.
enum Room {
    Slot(Kept),
    /// First unit and number of units.
    Run(u32, u32),
}

/// Where a small block may go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Places {
    /// To a slab of its own class.
    Own,
    /// Also to a run, or to a slab of larger blocks.
    Any,
}

/// A live block, found by its address.
pub(crate) enum Found {
    Slot(Slot),
    Run {
        unit: u32,
        units: u32,
        size: usize,
        record: u64,
    },
    Chunk(Chunk),
}

impl Found {
    pub(crate) fn record(&self) -> u64 {
        match self {
            Self::Slot(slot) => slot.record,
            Self::Run { record, .. } => *record,
            Self::Chunk(chunk) => chunk.record,
        }
    }

    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Slot(slot) => entry::record_size(slot.record),
            Self::Run { size, .. } => *size,
            Self::Chunk(chunk) => chunk.size,
        }
    }

    pub(crate) fn usable(&self) -> usize {
        match self {
            Self::Slot(slot) => slot.usable(),
            Self::Run { units, .. } => *units as usize * UNIT,
            Self::Chunk(chunk) => chunk.usable,
        }
    }
}

impl Pool {
    /// A pool without memory: every allocation fails, no pointer is a block, it cannot grow. What holds a
    /// pool before there is one, so that the common cases need not ask whether there is.
    pub const VOID: Self = Self {
        window: Window::VOID,
        chunks: Chunks::Units,
        overrun: None,
        alarm: None,
    };

    /// Whether the pool has no memory.
    pub fn is_void(&self) -> bool {
        self.window.is_void()
    }

    /// Whether blocks are units and parts of them, not chunks.
    pub(crate) fn has_units(&self) -> bool {
        self.chunks.are_units()
    }

    /// Makes a pool of `[base, base + reserved)`, of which `committed` bytes are usable.
    /// [`crate::metadata_bytes`] of them are taken by tables.
    ///
    /// # Errors
    /// See [`CreateError`]. Nothing is written then, but for a strategy that is not built in.
    ///
    /// # Safety
    /// 1. `[base, base + committed)` is readable and writable and nobody else's while the pool lives,
    ///    but for readers from outside and writers of the mark at [`crate::MARK_OFFSET`].
    /// 2. It reads as zero (it may be populated lazily: pages are touched when they are needed), but for the
    ///    alarm at [`crate::ALARM_OFFSET`]: whoever waits for the pool may have set it already.
    pub unsafe fn create(
        base: NonNull<u8>,
        reserved: usize,
        committed: usize,
        cfg: &Config,
    ) -> Result<Self, CreateError> {
        let mut pool = Self::VOID;
        // SAFETY: our contract is the same.
        unsafe { pool.open(base, reserved, committed, cfg) }?;
        Ok(pool)
    }

    /// As [`Pool::create`], in the place of a pool without memory, of which what [`Pool::set_stack`] said is kept.
    /// Nothing of the pool stands on the stack meanwhile.
    ///
    /// # Errors
    /// As [`Pool::create`]; the pool is without memory still.
    ///
    /// # Safety
    /// As [`Pool::create`].
    pub unsafe fn open(
        &mut self,
        base: NonNull<u8>,
        reserved: usize,
        committed: usize,
        cfg: &Config,
    ) -> Result<(), CreateError> {
        if !self.is_void() {
            return Err(CreateError::InUse);
        }
        // SAFETY: our contract is the same.
        unsafe { self.window.open(base, reserved, committed, cfg) }?;
        let Some(chunks) = Chunks::create(&mut self.window, cfg.strategy) else {
            let stack = self.stack();
            *self = Self::VOID;
            self.set_stack(stack);
            return Err(CreateError::NotBuilt);
        };
        self.chunks = chunks;
        if self.chunks.are_units() {
            self.window.insert_run(0, self.window.units());
        }
        Ok(())
    }

    /// Allocates a block for `owner`, charged to the call site `stack`. Alignments up to 4096.
    ///
    /// # Errors
    /// No memory, or an alignment above 4096; the failure is counted.
    #[inline]
    pub fn alloc(
        &mut self,
        layout: Layout,
        owner: OwnerId,
        stack: &CallStack,
    ) -> Result<NonNull<u8>, AllocError> {
        match self.alloc_in(layout, owner, stack, Places::Own) {
            Some(block) => Ok(block),
            None => self.alloc_finally(layout, owner, stack),
        }
    }

    /// With what is kept given back, before a small block takes a place of larger ones, whose slab it would hold.
    #[cold]
    #[inline(never)]
    fn alloc_finally(
        &mut self,
        layout: Layout,
        owner: OwnerId,
        stack: &CallStack,
    ) -> Result<NonNull<u8>, AllocError> {
        self.trim();
        self.alloc_slowly(layout, owner, stack, Places::Any)
            .ok_or_else(|| self.failure(layout.size(), layout.align(), owner.0))
    }

    /// As [`Pool::alloc`], but `None` is no failure yet: the caller will grow the pool and ask
    /// again, and counts what fails for good by [`Pool::alloc`]. What is kept for speed stays kept.
    #[inline]
    pub fn try_alloc(
        &mut self,
        layout: Layout,
        owner: OwnerId,
        stack: &CallStack,
    ) -> Option<NonNull<u8>> {
        self.alloc_in(layout, owner, stack, Places::Any)
    }

    #[inline]
    fn alloc_in(
        &mut self,
        layout: Layout,
        owner: OwnerId,
        stack: &CallStack,
        places: Places,
    ) -> Option<NonNull<u8>> {
        let stamp = |window: &Window| {
            let stamp = entry::record(owner.0, 0, window.mark());
            (window.header().room, stamp)
        };
        let block = match self.window.tracking() {
            Tracking::Off => self.alloc_untracked(layout),
            Tracking::Accounts => self.alloc_fast_lightly(layout, |record| record, stamp),
            Tracking::Light => {
                let ret = innermost(stack);
                self.alloc_fast_lightly(layout, |record| entry::with_return(record, ret), stamp)
            }
            Tracking::Full => self.alloc_fast::<true>(layout, stack.key(), stamp),
        };
        block.or_else(|| self.alloc_slowly(layout, owner, stack, places))
    }

    /// Frees a block.
    ///
    /// # Errors
    /// See [`FreeError`]; whatever the pointer is, the pool stays sound.
    ///
    /// # Safety
    /// If `ptr` is a live block, nobody uses it any more.
    #[inline]
    pub unsafe fn free(&mut self, ptr: NonNull<u8>) -> Result<Freed, FreeError> {
        self.inspect(ptr);
        let offset = self.window.body_offset_of(ptr);
        let unit = (offset / UNIT).min(u32::MAX as usize) as u32;
        let part = self.window.unit(unit); // 0 outside the body, and for first fit.
        if part & SLAB == 0 {
            return self.free_run(offset);
        }
        let slot = self
            .window
            .slot_at(offset, part)
            .ok_or(FreeError::NotABlock)?;
        if slot.is_free() {
            return Err(FreeError::DoubleFree);
        }
        let freed = freed(slot.record, entry::record_size(slot.record));
        self.window.set_slot_record(&slot, 0);
        self.debit(slot.record, freed.size);
        if !self.window.keep(slot.class, slot.kept) {
            self.window.keep_newest(slot.class, slot.kept);
        }
        Ok(freed)
    }

    /// Frees what is in no slab.
    #[inline(never)]
    fn free_run(&mut self, offset: usize) -> Result<Freed, FreeError> {
        let unit = (offset / UNIT).min(u32::MAX as usize) as u32;
        let entry = self.window.unit(unit);
        if let Some((size, units)) = self.run_of(unit, entry)
            && offset.is_multiple_of(UNIT)
        {
            let record = self.run_record(unit);
            self.debit(record, size);
            if entry::kind(entry) == LARGE {
                self.window.clear_large(unit, units);
            }
            if !self.window.keep_run(unit, units) {
                self.window.release_run(unit, units);
            }
            return Ok(freed(record, size));
        }
        if entry::kind(entry) == KEPT && offset.is_multiple_of(UNIT) {
            return Err(FreeError::DoubleFree);
        }
        self.free_chunk(offset)
    }

    /// Bytes and units of the block that is a run beginning at a unit with `entry`, if any is.
    fn run_of(&self, unit: u32, entry: u32) -> Option<(usize, u32)> {
        match entry::kind(entry) {
            BLOCK => {
                let size = entry::record_size(entry.into());
                Some((size, run_units(size, self.window.guard()) as u32))
            }
            LARGE => {
                let units = entry::len(self.window.unit(unit + 2));
                let slack = entry::slack(entry) as usize;
                Some(((units as usize * UNIT).wrapping_sub(slack), units))
            }
            _ => None,
        }
    }

    /// Who allocated the block that is a run beginning at a unit.
    fn run_record(&self, unit: u32) -> u64 {
        entry::joined(self.window.unit(unit), self.window.unit(unit + 1))
    }

    /// Extends the usable part of the window to `committed` bytes from its base.
    ///
    /// # Errors
    /// Less than now, or more than reserved.
    ///
    /// # Safety
    /// As [`Pool::create`], for the bytes that are new.
    pub unsafe fn grow_to(&mut self, committed: usize) -> Result<(), GrowError> {
        if committed < self.window.committed() || committed > self.window.reserved() {
            return Err(GrowError);
        }
        // SAFETY: checked above; the memory is usable by our contract.
        let old = unsafe { self.window.extend(committed) };
        let more = self.window.units() - old;
        if more > 0 {
            if self.chunks.are_units() {
                self.window.release_run(old, more);
            } else {
                self.chunks.extend(&mut self.window, more as usize * UNIT);
            }
        }
        Ok(())
    }

    /// Stamps blocks from now on with `mark`.
    pub fn set_mark(&mut self, mark: u16) {
        if self.is_void() {
            return;
        }
        self.window
            .header()
            .stamp
            .mark
            .store(mark.to_be(), Ordering::Relaxed);
    }

    /// Where the code begins in which all return addresses lie, for [`Tracking::Light`].
    pub fn set_code(&mut self, base: u64) {
        if self.is_void() {
            return;
        }
        self.window.header_mut().code = base;
    }

    /// Restarts the maximum and the failure figures.
    pub fn reset(&mut self) {
        if self.is_void() {
            return;
        }
        let header = self.window.header_mut();
        header.max_allocated = header.max_allocated.wrapping_sub(header.room);
        header.room = 0;
        header.num_alloc_fail = 0;
        header.biggest_alloc_fail = 0;
        header.biggest_alloc_fail_used = 0;
    }

    /// Gives memory that is kept for speed back to the common free runs (empty slabs, freed runs).
    pub fn trim(&mut self) {
        if self.chunks.are_units() && !self.is_void() {
            self.window.release_kept();
        }
    }

    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    pub(crate) fn free_chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// The live block that begins at `ptr`.
    pub(crate) fn find(&self, ptr: NonNull<u8>) -> Result<Found, FreeError> {
        let offset = self.window.body_offset_of(ptr);
        if offset >= self.window.body_bytes() {
            return Err(FreeError::NotABlock);
        }
        if !self.chunks.are_units() {
            return match chunks::find(&self.window, offset) {
                Ok(Some(chunk)) => Ok(Found::Chunk(chunk)),
                Ok(None) => Err(FreeError::NotABlock),
                Err(()) => Err(FreeError::Damaged),
            };
        }
        let unit = (offset / UNIT) as u32;
        let entry = self.window.unit(unit);
        if entry::kind(entry) == SLAB {
            let slot = self
                .window
                .slot_at(offset, entry)
                .ok_or(FreeError::NotABlock)?;
            if slot.is_free() {
                return Err(FreeError::DoubleFree);
            }
            return Ok(Found::Slot(slot));
        }
        if !offset.is_multiple_of(UNIT) {
            return Err(FreeError::NotABlock);
        }
        match self.run_of(unit, entry) {
            Some((size, units)) => Ok(Found::Run {
                unit,
                units,
                size,
                record: self.run_record(unit),
            }),
            None if entry::kind(entry) == KEPT => Err(FreeError::DoubleFree),
            None => Err(FreeError::NotABlock),
        }
    }

    /// Everything else: runs, new sites and slabs, large alignments, first fit, failure.
    #[cold]
    #[inline(never)]
    fn alloc_slowly(
        &mut self,
        layout: Layout,
        owner: OwnerId,
        stack: &CallStack,
        places: Places,
    ) -> Option<NonNull<u8>> {
        if self.is_void() {
            return None;
        }
        let (record, place) = self.record_for(owner, stack);
        self.alloc_anew(layout, record, place, places)
    }

    /// The record, without a size, of a block that is allocated now, and its site's place. Without statistics
    /// it is the same for all.
    fn record_for(&mut self, owner: OwnerId, stack: &CallStack) -> (u64, SitePlace) {
        let (record, site) = match self.window.tracking() {
            Tracking::Off => (entry::record(0, 0, 0), 0),
            Tracking::Accounts => (entry::record(owner.0, 0, self.window.mark()), 0),
            Tracking::Light => {
                let record = entry::record(owner.0, 0, self.window.mark());
                (entry::with_return(record, innermost(stack)), 0)
            }
            Tracking::Full => {
                let site = self.window.intern(stack);
                (entry::record(owner.0, site, self.window.mark()), site)
            }
        };
        (record, self.window.place_of(site))
    }

    fn alloc_anew(
        &mut self,
        layout: Layout,
        record: u64,
        place: SitePlace,
        places: Places,
    ) -> Option<NonNull<u8>> {
        let (size, align) = (layout.size(), layout.align());
        if align > MAX_ALIGN {
            return None;
        }
        let block = self.find_room(size, align, record, places)?;
        self.credit(record, place, size);
        let block = self.window.body_ptr(block);
        self.seal(block);
        Some(block)
    }

    /// Makes a block with its record; returns its offset.
    fn find_room(
        &mut self,
        size: usize,
        align: usize,
        record: u64,
        places: Places,
    ) -> Option<usize> {
        if !self.chunks.are_units() {
            return self.chunks.take(&mut self.window, size, align, record);
        }
        let room = size.checked_add(self.window.guard())?;
        if let Some(class) = class_of(room, align) {
            let mut slot = self.window.refill(class);
            if slot.is_none() && self.window.new_slab(class).is_some() {
                slot = self.window.refill(class);
            }
            if let Some(slot) = slot {
                self.window
                    .record_kept(slot, entry::with_size(record, size));
                return Some(slot.block as usize);
            }
            if places == Places::Own {
                return None;
            }
        }
        // A small block that found no room in its own class takes a place in another class.
        Some(match self.take_any(room, align)? {
            Room::Slot(slot) => {
                self.window
                    .record_kept(slot, entry::with_size(record, size));
                slot.block as usize
            }
            Room::Run(unit, units) => {
                self.set_run(unit, units, size, record);
                unit as usize * UNIT
            }
        })
    }

    /// Room of any kind: a run, else a free block of a larger class.
    fn take_any(&mut self, size: usize, align: usize) -> Option<Room> {
        let units = units_of(size)?;
        let align_units = align.div_ceil(UNIT) as u32;
        let small = class_of(size, align).is_some();
        if small && let Some(slot) = self.window.take_larger_slot(size, align) {
            return Some(Room::Slot(slot));
        }
        let mut unit = None;
        if align_units == 1 {
            unit = self.window.take_kept_run(units);
            unit = unit.or_else(|| self.window.take_run(units));
            unit = unit.or_else(|| self.window.split_kept_run(units));
        }
        unit = unit.or_else(|| self.window.search_run(units, align_units));
        if let Some(unit) = unit {
            return Some(Room::Run(unit, units));
        }
        if small && serves(SINGLE, size, align) {
            // A run of one unit holds no block, but a slab that does.
            self.window.new_slab(SINGLE);
        }
        self.window.take_larger_slot(size, align).map(Room::Slot)
    }

    /// Makes a block of a run, of which the entries but for the first two are `INSIDE`.
    fn set_run(&mut self, unit: u32, units: u32, size: usize, record: u64) {
        if size <= entry::MAX_RECORD_SIZE {
            self.window.set_units(unit, entry::with_size(record, size));
        } else {
            let slack = units * UNIT as u32 - size as u32;
            self.window.set_units(unit, entry::large(slack, record));
            self.window.set_large(unit, units);
        }
    }

    /// Frees a block of a strategy without units.
    #[cold]
    #[inline(never)]
    fn free_chunk(&mut self, offset: usize) -> Result<Freed, FreeError> {
        if self.chunks.are_units() {
            return Err(FreeError::NotABlock);
        }
        match chunks::find(&self.window, offset) {
            Ok(Some(chunk)) => {
                self.chunks.release(&mut self.window, &chunk);
                self.debit(chunk.record, chunk.size);
                Ok(freed(chunk.record, chunk.size))
            }
            Ok(None) => Err(FreeError::NotABlock),
            Err(()) => Err(FreeError::Damaged),
        }
    }

    #[cold]
    #[inline(never)]
    fn failure(&mut self, requested: usize, align: usize, owner: u16) -> AllocError {
        // Nothing is walked here, so that programs that need no figures have no code for them.
        let mut allocated = 0;
        if !self.is_void() {
            if self.window.tracking() != Tracking::Off {
                allocated = self.window.allocated() as usize;
            }
            let header = self.window.header_mut();
            header.num_alloc_fail += 1;
            if requested as u64 > header.biggest_alloc_fail {
                header.biggest_alloc_fail = requested as u64;
                header.biggest_alloc_fail_used = allocated as u64;
            }
        }
        AllocError {
            requested,
            align,
            owner: OwnerId(owner),
            allocated,
            size: self.window.body_bytes(),
        }
    }

    /// Credits a block to its owner and to the site at `place`; may ring the alarm.
    fn credit(&mut self, record: u64, place: SitePlace, size: usize) {
        match self.window.tracking() {
            Tracking::Off => return,
            Tracking::Accounts | Tracking::Light => {
                let room = self.window.header().room;
                self.window.credit_lightly(room, size);
            }
            Tracking::Full => self.window.credit(entry::record_owner(record), place, size),
        }
        let header = self.window.header_mut();
        let alarm = header.alarm.load(Ordering::Relaxed);
        let live = header.max_allocated.wrapping_sub(header.room);
        if alarm != 0 && live > alarm {
            header.alarm.store(0, Ordering::Relaxed);
            header.alarm_hit = live;
            self.alarm = Some(live);
        }
    }

    /// The bytes that were live when the alarm rang, if it did since this was last asked. See
    /// [`crate::ALARM_OFFSET`].
    pub fn take_alarm(&mut self) -> Option<u64> {
        self.alarm.take()
    }

    /// The last block that was found to have been written past its end when it was freed or resized, if
    /// any was since this was last asked. Only of pools with guard bytes ([`Config::guard`]).
    pub fn take_overrun(&mut self) -> Option<Overrun> {
        self.overrun.take()
    }

    pub(crate) fn keep_overrun(&mut self, overrun: Overrun) {
        self.overrun = Some(overrun);
    }

    pub(crate) fn window_mut(&mut self) -> &mut Window {
        &mut self.window
    }

    fn debit(&mut self, record: u64, size: usize) {
        match self.window.tracking() {
            Tracking::Off => {}
            Tracking::Accounts | Tracking::Light => self.window.debit_lightly(size),
            Tracking::Full => self.window.debit::<true>(record, size),
        }
    }
}

/// The address that an allocation returns to, 0 if it is not known.
fn innermost(stack: &CallStack) -> u64 {
    stack.frames().first().map_or(0, |address| address & !3)
}

#[inline(always)]
fn freed(record: u64, size: usize) -> Freed {
    Freed {
        owner: OwnerId(entry::record_owner(record)),
        size,
    }
}

/// Units of a block of `size` bytes that is a run; `None` if no pool is that large.
#[inline(always)]
fn units_of(size: usize) -> Option<u32> {
    if size > entry::MAX_UNITS * UNIT {
        return None;
    }
    Some(run_units(size, 0) as u32)
}
