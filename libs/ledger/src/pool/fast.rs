//! The common cases of allocation and release, short enough to be compiled into the caller.
//!
//! **Invariant:** what is done here is done as [`Pool::alloc`] and [`Pool::free`] would do it, or not at all.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Places, Pool};
use crate::capture::{Caller, Walkable};
use crate::classes::UNIT;
use crate::entry::{self, MIN_BLOCK_UNITS, SLAB};
use crate::guard::run_units;
use crate::layout::Tracking;
use crate::stats::OwnerId;
use crate::window::{Window, settled};

/// What is written of a release, besides the block's record.
trait Books {
    fn debit(window: &mut Window, record: u64);
}

/// [`crate::Tracking::Off`].
struct NoBooks;

/// [`crate::Tracking::Accounts`] and [`crate::Tracking::Light`].
struct LightBooks;

/// [`crate::Tracking::Full`].
struct FullBooks<const ACCOUNTS: bool>;

impl Books for NoBooks {
    #[inline(always)]
    fn debit(_: &mut Window, _: u64) {}
}

impl Books for LightBooks {
    #[inline(always)]
    fn debit(window: &mut Window, record: u64) {
        window.debit_lightly(entry::record_size(record));
    }
}

impl<const ACCOUNTS: bool> Books for FullBooks<ACCOUNTS> {
    #[inline(always)]
    fn debit(window: &mut Window, record: u64) {
        window.debit::<ACCOUNTS>(record, entry::record_size(record));
    }
}

impl Pool {
    /// The common case of [`Pool::try_alloc`], without a call: a call site that is known, an alignment of at
    /// most 16, less than 4096 bytes, for which a block is kept; the owner is that of [`Pool::set_owner`].
    /// `None` says nothing: ask [`Pool::try_alloc`].
    ///
    /// `ACCOUNTS` is what the pool was made with ([`crate::Config::accounts`]); `true` serves any pool of
    /// [`crate::Tracking::Full`].
    #[inline(always)]
    pub fn alloc_known<const ACCOUNTS: bool>(
        &mut self,
        layout: Layout,
        caller: &Caller,
    ) -> Option<NonNull<u8>> {
        self.alloc_fast::<ACCOUNTS>(layout, caller.key(), Window::room_and_stamp)
    }

    /// As [`Pool::alloc_known`] for a pool of [`crate::Tracking::Light`].
    #[inline(always)]
    pub fn alloc_lightly(&mut self, layout: Layout, caller: &Caller) -> Option<NonNull<u8>> {
        let ret = caller.key();
        self.alloc_fast_lightly(
            layout,
            // One after the other: put together, they take more.
            |record| entry::with_return(settled(record), ret),
            Window::room_and_stamp,
        )
    }

    /// As [`Pool::alloc_known`] for a pool of [`crate::Tracking::Accounts`].
    #[inline(always)]
    pub fn alloc_accounted(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.alloc_fast_lightly(layout, |record| record, Window::room_and_stamp)
    }

    /// As [`Pool::free_known`] for a pool of [`crate::Tracking::Accounts`] or [`crate::Tracking::Light`].
    ///
    /// # Safety
    /// As [`Pool::free`].
    #[inline(always)]
    pub unsafe fn free_lightly(&mut self, ptr: NonNull<u8>) -> bool {
        self.free_fast::<LightBooks>(ptr)
    }

    /// As [`Pool::alloc_known`] for a pool of [`crate::Tracking::Off`].
    #[inline(always)]
    pub fn alloc_untracked(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let newest = self
            .window
            .newest_kept(self.window.class_by_layout(layout)?)?;
        let kept = self.window.take_newest(newest);
        let record = entry::with_size(entry::record(0, 0, 0), layout.size());
        Some(self.window.record_kept(kept, record))
    }

    /// As [`Pool::free_known`] for a pool of [`crate::Tracking::Off`].
    ///
    /// # Safety
    /// As [`Pool::free`].
    #[inline(always)]
    pub unsafe fn free_untracked(&mut self, ptr: NonNull<u8>) -> bool {
        self.free_fast::<NoBooks>(ptr)
    }

    /// As [`Pool::try_alloc`] for the hash of a known call site ([`Caller::key`]) and the owner of
    /// [`Pool::set_owner`]; `None` also if the site is not known.
    pub fn alloc_at_known(&mut self, layout: Layout, key: u64) -> Option<NonNull<u8>> {
        if self.is_void() {
            return None;
        }
        let stamp = self.window.stamp();
        let (record, place) = match self.window.tracking() {
            Tracking::Accounts => (stamp, self.window.place_of(0)),
            Tracking::Light => (entry::with_return(stamp, key), self.window.place_of(0)),
            Tracking::Off | Tracking::Full => {
                let place = self.window.find_site(key).ok()?;
                (place.in_record(stamp, 0), place)
            }
        };
        self.alloc_anew(layout, record, place, Places::Any)
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

    /// The caller of the function that this is inlined into, if that is the program's own code
    /// ([`Walkable::with_own_code`]); else [`crate::Origin::own_caller`] knows. Without `depth` it is nobody.
    ///
    /// # Safety
    /// As [`Caller::capture`].
    #[inline(always)]
    pub unsafe fn own_caller(&self, depth: usize) -> Option<Caller> {
        self.window.settle_sites();
        // SAFETY: our contract is the same.
        unsafe { Caller::capture_own(depth, self.stack()) }
    }

    /// Whose the blocks of [`Pool::alloc_known`] are from now on.
    #[inline(always)]
    pub fn set_owner(&mut self, owner: OwnerId) {
        if self.is_void() {
            return;
        }
        self.window.header_mut().stamp.owner = owner.0;
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
        self.free_fast::<FullBooks<ACCOUNTS>>(ptr)
    }

    #[inline(always)]
    fn free_fast<B: Books>(&mut self, ptr: NonNull<u8>) -> bool {
        let offset = self.window.body_offset_of(ptr);
        let part = self.window.known_unit(offset / UNIT);
        if part & SLAB == 0 {
            // Less common, and not to be in the way of what is.
            core::hint::cold_path();
            return self.free_run_fast::<B>(offset, part);
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
        B::debit(&mut self.window, slot.record);
        true
    }

    /// A run of the common lengths, whose unit has `entry`.
    #[inline(always)]
    fn free_run_fast<B: Books>(&mut self, offset: usize, entry: u32) -> bool {
        if !entry::is_block(entry) || !offset.is_multiple_of(UNIT) {
            return false;
        }
        let unit = (offset / UNIT) as u32;
        let record = entry::joined(entry, self.window.unit(unit + 1));
        let units = run_units(entry::record_size(record), 0) as u32;
        let kept = self.window.kept_run(unit as usize);
        let Some(place) = self
            .window
            .place_for_run((units - MIN_BLOCK_UNITS) as usize)
        else {
            return false;
        };
        place.keep(kept);
        self.window.set_units(unit, entry::kept(units).into());
        B::debit(&mut self.window, record);
        true
    }

    /// A block that is kept; `with_caller` puts into its record who asked for it. `stamp` is as for
    /// [`Pool::alloc_fast`].
    #[inline(always)]
    pub(super) fn alloc_fast_lightly(
        &mut self,
        layout: Layout,
        with_caller: impl FnOnce(u64) -> u64,
        stamp: impl FnOnce(&Window) -> (u64, u64),
    ) -> Option<NonNull<u8>> {
        let size = layout.size();
        let newest = self
            .window
            .newest_kept(self.window.class_by_layout(layout)?)?;
        let (room, stamp) = stamp(&self.window);
        if room < size as u64 {
            return None; // A new maximum: it may ring the alarm.
        }
        let kept = self.window.take_newest(newest);
        self.window.credit_lightly(room, size);
        let record = with_caller(entry::with_first_size(stamp, size));
        Some(self.window.record_kept(kept, record))
    }

    /// A site known by its hash, and a block that is kept. `stamp` gives the header's room, and owner and
    /// mark of the record.
    #[inline(always)]
    pub(super) fn alloc_fast<const ACCOUNTS: bool>(
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
        if room < size as u64 {
            return None; // A new maximum: it may ring the alarm.
        }
        let kept = self.window.take_newest(newest);
        let owner = entry::record_owner(stamp);
        self.window
            .credit_from::<ACCOUNTS>(room, owner, place, size);
        let record = place.in_record(stamp, size);
        Some(self.window.record_kept(kept, record))
    }
}
