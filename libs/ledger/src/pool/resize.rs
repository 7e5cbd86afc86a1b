//! Changing a block's size.
//!
//! **Invariant:** one release and one allocation in the accounts, or nothing.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Found, Pool, units_of};
use crate::capture::CallStack;
use crate::classes::class_of;
use crate::entry;
use crate::error::{FreeError, ReallocError};
use crate::stats::OwnerId;

impl Pool {
    /// Bytes of a live block, as they were asked for.
    ///
    /// # Errors
    /// It is no live block.
    pub fn size_of(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
        self.find(ptr).map(|found| found.size())
    }

    /// Changes a block's size, in place where it can, keeping its contents and alignment `align`
    /// (which must be what it was allocated with). The block is then `owner`'s, of site `stack`
    /// and the current mark; it counts as one release and one allocation.
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
        self.inspect(ptr);
        let (old_record, old_size) = (found.record(), found.size());
        let (record, place) = self.record_for(owner, stack);
        if self.resize_in_place(&found, align, new_size, record, false) {
            self.debit(old_record, old_size);
            self.credit(record, place, new_size);
            self.seal(ptr);
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
                self.credit(record, place, new_size);
                self.seal(ptr);
                Ok(Some(ptr))
            }
            None => Ok(None),
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
        let Some(room) = size.checked_add(self.window.guard()) else {
            return false;
        };
        match found {
            Found::Slot(slot) => {
                let fits = class_of(room, align) == Some(slot.class);
                if fits || stay && room <= slot.usable() {
                    self.window
                        .set_slot_record(slot, entry::with_size(record, size));
                    return true;
                }
                false
            }
            &Found::Run {
                unit, units: had, ..
            } => {
                let Some(units) = units_of(room) else {
                    return false;
                };
                if class_of(room, align).is_some() && !stay {
                    return false;
                }
                if units > had && !self.window.take_run_at(unit + had, units - had) {
                    return false;
                }
                if found.size() > entry::MAX_RECORD_SIZE {
                    self.window.clear_large(unit, had);
                }
                self.set_run(unit, units, size, record);
                if units < had {
                    self.window.release_run(unit + units, had - units);
                }
                true
            }
            Found::Chunk(chunk) => self.chunks.shrink(&mut self.window, chunk, size, record),
        }
    }
}
