//! Objects: keys, and what is in trusted storage, under the Teaclave SDK's names.
//!
//! **Invariant:** an object, or an enumerator, is closed when it is dropped.

mod attribute;
mod constants;
mod enumerator;
mod persistent;
mod transient;

use crate::{Error, Result, syscall};
use tally_abi::crypto::UteeObjectInfo;

pub use attribute::{Attribute, AttributeId, AttributeMemref, AttributeValue};
pub use constants::{
    DataFlag, HandleFlag, MiscellaneousConstants, ObjectStorageConstants, UsageFlag, Whence,
};
pub use enumerator::ObjectEnumHandle;
pub use persistent::PersistentObject;
pub use transient::{TransientObject, TransientObjectType};

/// An open object.
#[derive(Debug)]
pub struct ObjectHandle(u32);

impl ObjectHandle {
    /// Leaves the object open.
    pub fn forget(self) {
        core::mem::forget(self);
    }

    /// The kernel's number of it.
    pub(crate) const fn raw(&self) -> u32 {
        self.0
    }
}

impl Drop for ObjectHandle {
    fn drop(&mut self) {
        syscall::object_close(self.0);
    }
}

/// What the kernel says of an object.
#[derive(Clone, Copy, Debug)]
pub struct ObjectInfo {
    raw: UteeObjectInfo,
}

impl ObjectInfo {
    /// Bytes of data, in storage.
    #[must_use]
    pub const fn data_size(&self) -> usize {
        self.raw.data_bytes as usize
    }

    /// Position of the handle in the data, in bytes.
    #[must_use]
    pub const fn data_position(&self) -> usize {
        self.raw.data_position as usize
    }

    /// Bits of the key.
    #[must_use]
    pub const fn object_size(&self) -> usize {
        self.raw.size_bits as usize
    }

    /// One of [`TransientObjectType`].
    #[must_use]
    pub const fn object_type(&self) -> u32 {
        self.raw.object_type
    }
}

/// What all objects have.
pub trait GenericObject {
    /// The object's handle.
    #[doc(hidden)]
    fn handle(&self) -> &ObjectHandle;

    /// What the kernel says of it.
    ///
    /// # Errors
    /// `CorruptObject`, `StorageNotAvailable`.
    fn info(&self) -> Result<ObjectInfo> {
        let raw = syscall::object_info(self.handle().raw())?;
        Ok(ObjectInfo { raw })
    }

    /// Leaves it these uses of those it has.
    ///
    /// # Errors
    /// `CorruptObject`, `StorageNotAvailable`.
    fn restrict_usage(&mut self, usage: UsageFlag) -> Result<()> {
        syscall::object_restrict(self.handle().raw(), usage.bits()).map_err(Error::from)
    }

    /// Reads an attribute of bytes: how many there are.
    ///
    /// # Errors
    /// `ItemNotFound`, `AccessDenied` if it may not be read, `ShortBuffer`.
    fn ref_attribute(&self, id: AttributeId, buffer: &mut [u8]) -> Result<usize> {
        let len = syscall::object_attribute(self.handle().raw(), id as u32, buffer)?;
        Ok(len as usize)
    }

    /// Reads an attribute of two numbers.
    ///
    /// # Errors
    /// `ItemNotFound`, `AccessDenied` if it may not be read.
    fn value_attribute(&self, id: u32) -> Result<(u32, u32)> {
        syscall::object_numbers(self.handle().raw(), id).map_err(Error::from)
    }
}

impl GenericObject for ObjectHandle {
    fn handle(&self) -> &ObjectHandle {
        self
    }
}
