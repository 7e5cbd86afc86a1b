//! The pool: allocation, release and the accounts, over either strategy.
//!
//! **Invariant:** a block is credited to its owner and site exactly when it comes to be and debited
//! exactly when it ends; what is debited is what its record says, not what the caller says.
//! **Knows nothing of:** locks. The caller holds the lock.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use linked_list_allocator::Heap;

use crate::capture::{CallStack, Caller, Walkable};
use crate::classes::{UNIT, class_of};
use crate::entry::{self, BLOCK, KEPT, LARGE, SLAB};
use crate::error::{AllocError, FreeError, Freed, GrowError, ReallocError};
use crate::first_fit::{self, Chunk};
use crate::layout::{Config, CreateError, Kept, Strategy};
use crate::stats::OwnerId;
use crate::window::{SitePlace, Slot, Window};

/// Largest alignment.
pub(crate) const MAX_ALIGN: usize = 4096;

/// A heap over a window of memory.
#[repr(C)]
pub struct Pool {
    window: Window,
    /// The free list of the first-fit strategy, else `None`.
    heap: Option<Heap>,
}

/// Room for a block.
enum Room {
    Slot(Kept),
    /// First unit and number of units.
    Run(u32, u32),
}

/// A live block, found by its address.
pub(crate) enum Found {
    Slot(Slot),
    Run {
        unit: u32,
        units: u32,
        size: usize,
        entry: u64,
    },
    Chunk(Chunk),
}

impl Found {
    pub(crate) fn record(&self) -> u64 {
        match self {
            Self::Slot(slot) => slot.record,
            Self::Run { entry, .. } => *entry,
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
        heap: None,
    };

    /// Whether the pool has no memory.
    pub fn is_void(&self) -> bool {
        self.window.is_void()
    }

    /// Makes a pool of `[base, base + reserved)`, of which `committed` bytes are usable.
    /// [`crate::metadata_bytes`] of them are taken by tables.
    ///
    /// # Errors
    /// See [`CreateError`]. Nothing is written then.
    ///
    /// # Safety
    /// 1. `[base, base + committed)` is readable and writable and nobody else's while the pool lives,
    ///    but for readers from outside and writers of the epoch at [`crate::EPOCH_OFFSET`].
    /// 2. It reads as zero (it may be populated lazily: pages are touched when they are needed).
    pub unsafe fn create(
        base: NonNull<u8>,
        reserved: usize,
        committed: usize,
        cfg: &Config,
    ) -> Result<Self, CreateError> {
        // SAFETY: our contract is the same.
        let mut window = unsafe { Window::new(base, reserved, committed, cfg)? };
        let heap = match cfg.strategy {
            Strategy::Segregated => {
                window.insert_run(0, window.units());
                None
            }
            Strategy::FirstFit => Some(first_fit::create(&window)),
        };
        Ok(Self { window, heap })
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
        match self.try_alloc(layout, owner, stack) {
            Some(block) => Ok(block),
            None => self.alloc_finally(layout, owner, stack),
        }
    }

    /// With what is kept given back.
    #[cold]
    #[inline(never)]
    fn alloc_finally(
        &mut self,
        layout: Layout,
        owner: OwnerId,
        stack: &CallStack,
    ) -> Result<NonNull<u8>, AllocError> {
        self.trim();
        self.alloc_slowly(layout, owner, stack)
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
        let stamp = |window: &Window| {
            let stamp = entry::record(owner.0, 0, window.epoch());
            (window.header().room, stamp)
        };
        match self.alloc_fast::<true>(layout, stack.key(), stamp) {
            Some(ptr) => Some(ptr),
            None => self.alloc_slowly(layout, owner, stack),
        }
    }

    /// The common case of [`Pool::try_alloc`], without a call: a call site that is known, an alignment of at
    /// most 16, less than 4096 bytes, for which a block is kept; the owner is that of [`Pool::set_owner`].
    /// `None` says nothing: ask [`Pool::try_alloc`].
    ///
    /// `ACCOUNTS` is what the pool was made with ([`Config::accounts`]); `true` serves any pool.
    #[inline(always)]
    pub fn alloc_known<const ACCOUNTS: bool>(
        &mut self,
        layout: Layout,
        caller: &Caller,
    ) -> Option<NonNull<u8>> {
        self.alloc_fast::<ACCOUNTS>(layout, caller.key(), Window::room_and_stamp)
    }

    /// As [`Pool::try_alloc`] for the hash of a known call site ([`Caller::key`]) and the owner of
    /// [`Pool::set_owner`]; `None` also if the site is not known.
    pub fn alloc_at_known(&mut self, layout: Layout, key: u64) -> Option<NonNull<u8>> {
        if self.is_void() {
            return None;
        }
        let place = self.window.known_site(key)?;
        let record = place.in_record(self.window.stamp(), 0);
        self.alloc_anywhere(layout, record, place)
    }

    /// The stack on which blocks are asked for: what [`Pool::set_stack`] said, [`Walkable::NOWHERE`] at first.
    #[inline(always)]
    pub fn stack(&self) -> Walkable {
        self.window.stack()
    }

    /// Keeps `stack` at hand for [`Caller::capture`].
    #[inline(always)]
    pub fn set_stack(&mut self, stack: Walkable) {
        self.window.set_stack(stack);
    }

    /// Whose the blocks of [`Pool::alloc_known`] are from now on.
    #[inline(always)]
    pub fn set_owner(&mut self, owner: OwnerId) {
        if self.is_void() {
            return;
        }
        self.window.header_mut().stamp.owner = owner.0;
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
        // The common case, without a call; what is cold gets the result passed through.
        let offset = self.window.body_offset_of(ptr);
        let part = self.window.unit_at(offset / UNIT); // 0 outside the body, and for first fit.
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
        self.window.debit::<true>(slot.record, freed.size);
        if !self.window.keep(slot.class, slot.kept) {
            self.window.keep_newest(slot.class, slot.kept);
        }
        Ok(freed)
    }

    /// The common case of [`Pool::free`], without a call: a block of less than 4096 bytes, which is kept.
    /// False says that nothing was done: ask [`Pool::free`].
    ///
    /// `ACCOUNTS` is as for [`Pool::alloc_known`].
    ///
    /// # Safety
    /// As [`Pool::free`].
    #[inline(always)]
    pub unsafe fn free_known<const ACCOUNTS: bool>(&mut self, ptr: NonNull<u8>) -> bool {
        let offset = self.window.body_offset_of(ptr);
        let part = self.window.unit_at(offset / UNIT);
        if part & SLAB == 0 {
            return self.free_known_run::<ACCOUNTS>(offset, part);
        }
        let Some(slot) = self.window.slot_at(offset, part) else {
            return false;
        };
        if slot.is_free() {
            return false;
        }
        let Some(place) = self.window.place_for_slot(&slot) else {
            return false;
        };
        place.keep(slot.kept);
        self.window.set_slot_record(&slot, 0);
        self.window
            .debit::<ACCOUNTS>(slot.record, entry::record_size(slot.record));
        true
    }

    /// A run of the common lengths, whose unit has `entry`.
    #[inline(always)]
    fn free_known_run<const ACCOUNTS: bool>(&mut self, offset: usize, entry: u64) -> bool {
        if entry & 15 != BLOCK || !offset.is_multiple_of(UNIT) {
            return false;
        }
        // At most 15 more than one.
        let more = entry::record_size(entry).saturating_sub(1) / UNIT;
        let unit = offset / UNIT;
        let kept = self.window.kept_run(unit);
        let Some(place) = self.window.place_for_run(more) else {
            return false;
        };
        place.keep(kept);
        self.window
            .set_unit(unit as u32, entry::kept(more as u32 + 1));
        self.window
            .debit::<ACCOUNTS>(entry, entry::record_size(entry));
        true
    }

    /// Frees what is in no slab.
    #[inline(never)]
    fn free_run(&mut self, offset: usize) -> Result<Freed, FreeError> {
        let unit = (offset / UNIT).min(u32::MAX as usize) as u32;
        let entry = self.window.unit(unit);
        if let Some((size, units)) = self.run_of(unit, entry)
            && offset.is_multiple_of(UNIT)
        {
            self.window.debit::<true>(entry, size);
            if entry::kind(entry) == LARGE {
                self.window.clear_large(unit, units);
            }
            if !self.window.keep_run(unit, units) {
                self.window.release_run(unit, units);
            }
            return Ok(freed(entry, size));
        }
        if entry::kind(entry) == KEPT && offset.is_multiple_of(UNIT) {
            return Err(FreeError::DoubleFree);
        }
        self.free_chunk(offset)
    }

    /// Bytes and units of the block that is a run beginning at a unit with `entry`, if any is.
    fn run_of(&self, unit: u32, entry: u64) -> Option<(usize, u32)> {
        match entry::kind(entry) {
            BLOCK => {
                let size = entry::record_size(entry);
                Some((size, size.max(1).div_ceil(UNIT) as u32))
            }
            LARGE => {
                let units = entry::len(self.window.unit(unit + 1));
                let slack = entry::slack(entry) as usize;
                Some(((units as usize * UNIT).wrapping_sub(slack), units))
            }
            _ => None,
        }
    }

    /// Changes a block's size, in place where it can, keeping its contents and alignment `align`
    /// (which must be what it was allocated with). The block is then `owner`'s, of site `stack`
    /// and the current epoch; it counts as one release and one allocation.
    ///
    /// # Errors
    /// See [`ReallocError`]; the block is as before.
    ///
    /// # Safety
    /// If `ptr` is a live block, nobody uses it under its old address any more if this succeeds.
    pub unsafe fn realloc(
        &mut self,
        ptr: NonNull<u8>,
        align: usize,
        new_size: usize,
        owner: OwnerId,
        stack: &CallStack,
    ) -> Result<NonNull<u8>, ReallocError> {
        // SAFETY: our contract is the same.
        let mut moved = unsafe { self.try_realloc(ptr, align, new_size, owner, stack) };
        if moved == Ok(None) {
            self.trim();
            // SAFETY: as above; nothing was done yet.
            moved = unsafe { self.try_realloc(ptr, align, new_size, owner, stack) };
        }
        match moved {
            Ok(Some(to)) => Ok(to),
            Ok(None) => Err(ReallocError::Alloc(self.failure(new_size, align, owner.0))),
            Err(err) => Err(ReallocError::Free(err)),
        }
    }

    /// As [`Pool::realloc`], but `None` is no failure yet, as in [`Pool::try_alloc`].
    ///
    /// # Errors
    /// It is no block.
    ///
    /// # Safety
    /// As [`Pool::realloc`].
    pub unsafe fn try_realloc(
        &mut self,
        ptr: NonNull<u8>,
        align: usize,
        new_size: usize,
        owner: OwnerId,
        stack: &CallStack,
    ) -> Result<Option<NonNull<u8>>, FreeError> {
        let found = self.find(ptr)?;
        let (old_record, old_size) = (found.record(), found.size());
        let site = self.window.intern(stack);
        let record = entry::record(owner.0, site, self.window.epoch());
        if self.resize_in_place(&found, align, new_size, record, false) {
            self.debit(old_record, old_size);
            self.credit(record, new_size);
            return Ok(Some(ptr));
        }
        let to = match Layout::from_size_align(new_size, align) {
            Ok(layout) => self.try_alloc(layout, owner, stack),
            Err(_) => None,
        };
        match to {
            Some(to) => {
                let (from_at, to_at) = (
                    self.window.body_offset_of(ptr),
                    self.window.body_offset_of(to),
                );
                self.window
                    .copy_body(from_at, to_at, old_size.min(new_size));
                // SAFETY: the block is live (`find` found it), and its user goes on with the new one.
                unsafe { self.free(ptr) }?;
                Ok(Some(to))
            }
            // Smaller always succeeds.
            None if self.resize_in_place(&found, align, new_size, record, true) => {
                self.debit(old_record, old_size);
                self.credit(record, new_size);
                Ok(Some(ptr))
            }
            None => Ok(None),
        }
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
            match &mut self.heap {
                Some(heap) => first_fit::extend(heap, more as usize * UNIT),
                None => self.window.release_run(old, more),
            }
        }
        Ok(())
    }

    /// Stamps blocks from now on with `epoch`.
    pub fn set_epoch(&mut self, epoch: u16) {
        if self.is_void() {
            return;
        }
        self.window
            .header()
            .stamp
            .epoch
            .store(epoch, Ordering::Relaxed);
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
        if self.heap.is_none() && !self.is_void() {
            self.window.release_kept();
        }
    }

    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    pub(crate) fn heap_free(&self) -> Option<usize> {
        self.heap.as_ref().map(Heap::free)
    }

    /// The live block that begins at `ptr`.
    pub(crate) fn find(&self, ptr: NonNull<u8>) -> Result<Found, FreeError> {
        let offset = self.window.body_offset_of(ptr);
        if offset >= self.window.body_bytes() {
            return Err(FreeError::NotABlock);
        }
        if self.heap.is_some() {
            return match first_fit::find(&self.window, offset) {
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
                entry,
            }),
            None if entry::kind(entry) == KEPT => Err(FreeError::DoubleFree),
            None => Err(FreeError::NotABlock),
        }
    }

    /// A site known by its hash, and a block that is kept. `stamp` gives the header's room, and owner and
    /// epoch of the record.
    #[inline(always)]
    fn alloc_fast<const ACCOUNTS: bool>(
        &mut self,
        layout: Layout,
        key: u64,
        stamp: impl FnOnce(&Window) -> (u64, u64),
    ) -> Option<NonNull<u8>> {
        // First fit keeps nothing, nor does a pool without memory, so they are never found here.
        let size = layout.size();
        let newest = self
            .window
            .newest_kept(self.window.class_by_layout(layout)?)?;
        let place = self.window.known_site(key)?;
        let (room, stamp) = stamp(&self.window);
        let kept = self.window.take_newest(newest);
        let owner = entry::record_owner(stamp);
        self.window
            .credit_from::<ACCOUNTS>(room, owner, place, size);
        let record = place.in_record(stamp, size);
        Some(self.window.record_kept(kept, record))
    }

    /// Everything else: runs, new sites and slabs, large alignments, first fit, failure.
    #[cold]
    #[inline(never)]
    fn alloc_slowly(
        &mut self,
        layout: Layout,
        owner: OwnerId,
        stack: &CallStack,
    ) -> Option<NonNull<u8>> {
        if self.is_void() {
            return None;
        }
        let site = self.window.intern(stack);
        let record = entry::record(owner.0, site, self.window.epoch());
        self.alloc_anywhere(layout, record, self.window.place_of(site))
    }

    fn alloc_anywhere(
        &mut self,
        layout: Layout,
        record: u64,
        place: SitePlace,
    ) -> Option<NonNull<u8>> {
        let (size, align) = (layout.size(), layout.align());
        if align > MAX_ALIGN {
            return None;
        }
        let block = self.find_room(size, align, record)?;
        self.window.credit(entry::record_owner(record), place, size);
        Some(self.window.body_ptr(block))
    }

    /// Makes a block with its record; returns its offset.
    fn find_room(&mut self, size: usize, align: usize, record: u64) -> Option<usize> {
        if let Some(heap) = &mut self.heap {
            return first_fit::take(&mut self.window, heap, size, align, record);
        }
        if let Some(class) = class_of(size, align) {
            let mut slot = self.window.refill(class);
            if slot.is_none() && self.window.new_slab(class).is_some() {
                slot = self.window.refill(class);
            }
            if let Some(slot) = slot {
                self.window
                    .record_kept(slot, entry::with_size(record, size));
                return Some(slot.block as usize);
            }
        }
        // A small block that found no room in its own class takes a place in another class.
        Some(match self.take_any(size, align)? {
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
        match unit {
            Some(unit) => Some(Room::Run(unit, units)),
            None => self.window.take_larger_slot(size, align).map(Room::Slot),
        }
    }

    /// Makes a block of a run, of which the entries but for the first are `INSIDE`.
    fn set_run(&mut self, unit: u32, units: u32, size: usize, record: u64) {
        if size <= entry::MAX_RECORD_SIZE {
            self.window.set_unit(unit, entry::with_size(record, size));
        } else {
            let slack = units * UNIT as u32 - size as u32;
            self.window.set_unit(unit, entry::large(slack, record));
            self.window.set_large(unit, units);
        }
    }

    /// Frees a block of the first-fit strategy.
    #[cold]
    #[inline(never)]
    fn free_chunk(&mut self, offset: usize) -> Result<Freed, FreeError> {
        let Some(heap) = &mut self.heap else {
            return Err(FreeError::NotABlock);
        };
        match first_fit::find(&self.window, offset) {
            Ok(Some(chunk)) => {
                first_fit::release(&mut self.window, heap, &chunk);
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
        let allocated = self.allocated();
        if !self.is_void() {
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
            largest_free: self.stats().map_or(0, |stats| stats.largest_free as usize),
        }
    }

    /// Resizes without moving and writes the new record; the accounts are the caller's. With
    /// `stay` a block may keep more memory than its size asks for.
    fn resize_in_place(
        &mut self,
        found: &Found,
        align: usize,
        size: usize,
        record: u64,
        stay: bool,
    ) -> bool {
        match found {
            Found::Slot(slot) => {
                let fits = class_of(size, align) == Some(slot.class);
                if fits || stay && size <= slot.usable() {
                    self.window
                        .set_slot_record(slot, entry::with_size(record, size));
                    return true;
                }
                false
            }
            &Found::Run {
                unit,
                units: had,
                entry: old,
                ..
            } => {
                let Some(units) = units_of(size) else {
                    return false;
                };
                if class_of(size, align).is_some() && !stay {
                    return false;
                }
                if units > had && !self.window.take_run_at(unit + had, units - had) {
                    return false;
                }
                if entry::kind(old) == LARGE {
                    self.window.clear_large(unit, had);
                }
                self.set_run(unit, units, size, record);
                if units < had {
                    self.window.release_run(unit + units, had - units);
                }
                true
            }
            Found::Chunk(chunk) => {
                let Some(heap) = &mut self.heap else {
                    return false;
                };
                first_fit::shrink(&mut self.window, heap, chunk, size, record)
            }
        }
    }

    fn credit(&mut self, record: u64, size: usize) {
        let place = self.window.place_of(entry::record_site(record));
        self.window.credit(entry::record_owner(record), place, size);
    }

    fn debit(&mut self, record: u64, size: usize) {
        self.window.debit::<true>(record, size);
    }
}

#[inline(always)]
fn freed(record: u64, size: usize) -> Freed {
    Freed {
        owner: OwnerId(entry::record_owner(record)),
        size,
    }
}

/// Units that hold `size` bytes, at least one; `None` if no pool is that large.
#[inline(always)]
fn units_of(size: usize) -> Option<u32> {
    if size > entry::MAX_UNITS * UNIT {
        return None;
    }
    Some((size.max(1).div_ceil(UNIT)) as u32)
}
