//! Objects in trusted storage.

use super::{DataFlag, GenericObject, ObjectHandle, ObjectStorageConstants, Whence};
use crate::{Error, ErrorKind, Result, syscall};
use tally_abi::TeeResult;

/// An open object in storage.
#[derive(Debug)]
pub struct PersistentObject(ObjectHandle);

impl PersistentObject {
    /// Opens one.
    ///
    /// # Errors
    /// `ItemNotFound`, `AccessConflict` if a handle that is open rules it out, `BadParameters` for an id above 64 bytes,
    /// `CorruptObject`, `OutOfMemory`, `StorageNotAvailable`.
    pub fn open(
        storage_id: ObjectStorageConstants,
        object_id: &[u8],
        flags: DataFlag,
    ) -> Result<Self> {
        let raw = syscall::storage_open(storage_id as u32, object_id, flags.bits())?;
        Ok(Self(ObjectHandle(raw)))
    }

    /// Makes one, with the attributes of `attributes` and `initial_data`.
    ///
    /// # Errors
    /// `AccessConflict` if there is one and it may not be replaced, `StorageNoSpace`, and as [`PersistentObject::open`].
    pub fn create(
        storage_id: ObjectStorageConstants,
        object_id: &[u8],
        flags: DataFlag,
        attributes: Option<ObjectHandle>,
        initial_data: &[u8],
    ) -> Result<Self> {
        let raw = syscall::storage_create(
            storage_id as u32,
            object_id,
            flags.bits(),
            attributes.as_ref().map_or(0, ObjectHandle::raw),
            initial_data,
        )?;
        Ok(Self(ObjectHandle(raw)))
    }

    /// Deletes it. It is closed, whatever comes of that.
    ///
    /// # Errors
    /// `CorruptObject`, `StorageNotAvailable`.
    pub fn close_and_delete(self) -> Result<()> {
        let deleted = syscall::storage_delete(self.0.raw());
        self.0.forget();
        deleted.map_err(Error::from)
    }

    /// Gives it another id.
    ///
    /// # Errors
    /// `AccessConflict` if there is one of that id, `BadParameters` for one above 64 bytes, `CorruptObject`,
    /// `OutOfMemory`, `StorageNotAvailable`.
    pub fn rename(&mut self, new_object_id: &[u8]) -> Result<()> {
        syscall::storage_rename(self.0.raw(), new_object_id).map_err(Error::from)
    }

    /// Reads from the position on, which moves: how many bytes.
    ///
    /// # Errors
    /// `CorruptObject`, `StorageNotAvailable`.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<u32> {
        let read = syscall::storage_read(self.0.raw(), buf)?;
        Ok(read as u32)
    }

    /// Writes from the position on, which moves.
    ///
    /// # Errors
    /// `StorageNoSpace`, `Overflow`, `CorruptObject`, `StorageNotAvailable`.
    pub fn write(&mut self, buf: &[u8]) -> Result<()> {
        syscall::storage_write(self.0.raw(), buf).map_err(Error::from)
    }

    /// Cuts the data off, or prolongs them by zeros.
    ///
    /// # Errors
    /// `StorageNoSpace`, `CorruptObject`, `StorageNotAvailable`.
    pub fn truncate(&mut self, size: u32) -> Result<()> {
        syscall::storage_truncate(self.0.raw(), size).map_err(Error::from)
    }

    /// Moves the position.
    ///
    /// # Errors
    /// `Overflow` beyond what a position can be.
    pub fn seek(&mut self, offset: i32, whence: Whence) -> Result<()> {
        let moved = syscall::storage_seek(self.0.raw(), offset, whence as u32);
        moved.map_err(|code| match code {
            // All that can be wrong with them is how far they lead.
            TeeResult::BAD_PARAMETERS => Error::new(ErrorKind::Overflow),
            code => Error::from(code),
        })
    }
}

impl GenericObject for PersistentObject {
    fn handle(&self) -> &ObjectHandle {
        &self.0
    }
}
