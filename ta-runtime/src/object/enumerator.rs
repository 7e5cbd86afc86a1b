//! Enumerators of what is in storage.

use super::ObjectInfo;
use crate::{Error, Result, syscall};

/// An enumerator of the TA's objects in a storage.
#[derive(Debug)]
pub struct ObjectEnumHandle {
    raw: u32,
}

impl ObjectEnumHandle {
    /// One that has not started.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn allocate() -> Result<Self> {
        let raw = syscall::enumerator_new()?;
        Ok(Self { raw })
    }

    /// Has it not started.
    pub fn reset(&mut self) {
        syscall::enumerator_reset(self.raw);
    }

    /// Starts before the first object of a storage, one of [`super::ObjectStorageConstants`].
    ///
    /// # Errors
    /// `ItemNotFound` if there is none, `CorruptObject`, `StorageNotAvailable`.
    pub fn start(&mut self, storage_id: u32) -> Result<()> {
        syscall::enumerator_start(self.raw, storage_id).map_err(Error::from)
    }

    /// The next object: bytes of its id, which `object_id` has room for.
    ///
    /// # Errors
    /// `ItemNotFound` behind the last, or if it has not started; `CorruptObject`, `StorageNotAvailable`.
    pub fn get_next(
        &mut self,
        object_info: Option<&mut ObjectInfo>,
        object_id: &mut [u8],
    ) -> Result<u32> {
        let (raw, len) = syscall::enumerator_next(self.raw, object_id)?;
        if let Some(info) = object_info {
            *info = ObjectInfo { raw };
        }
        Ok(len as u32)
    }
}

impl Drop for ObjectEnumHandle {
    fn drop(&mut self) {
        syscall::enumerator_free(self.raw);
    }
}
