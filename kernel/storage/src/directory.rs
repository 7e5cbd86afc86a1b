//! The directory: which object of which TA lies in which file, in a file of its own, `dirf.db`.

use crate::file::Committed;
use crate::host::{Host, StorageError};
use crate::keys::Keys;
use tally_abi::{TeeResult, TeeUuid};

/// Most bytes of an object's id (`TEE_OBJECT_ID_MAX_LEN`).
pub const MAX_ID: usize = 64;

/// An object's id: any 0 to 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectId {
    len: u8,
    bytes: [u8; MAX_ID],
}

impl ObjectId {
    /// One of these bytes; `None` if they are too many.
    #[must_use]
    pub fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_ID];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        let len = id.len() as u8;
        Some(Self { len, bytes })
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// What the directory has of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub at: u32,
    /// Its file.
    pub file: Committed,
}

/// The directory. It is read when it is first needed, made if there is none, and read again after an error.
#[derive(Debug, Default)]
pub struct Directory {}

const STUB: StorageError = StorageError::Code(TeeResult::NOT_IMPLEMENTED);

#[expect(clippy::missing_errors_doc, reason = "skeleton")]
impl Directory {
    /// One that was not read yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }
    /// An object.
    pub fn find<H: Host>(
        &mut self,
        _: &mut H,
        _: &Keys,
        _: TeeUuid,
        _: &ObjectId,
    ) -> Result<Option<Entry>, StorageError> {
        Err(STUB)
    }
    /// The TA's next object after the one at a place, or its first one.
    pub fn next<H: Host>(
        &mut self,
        _: &mut H,
        _: &Keys,
        _: TeeUuid,
        _after: Option<u32>,
    ) -> Result<Option<(u32, ObjectId)>, StorageError> {
        Err(STUB)
    }
    /// A number for a new file, until it is entered or released.
    pub fn reserve<H: Host>(&mut self, _: &mut H, _: &Keys) -> Result<u32, StorageError> {
        Err(STUB)
    }
    /// Such a number is not needed any more.
    pub fn release(&mut self, _number: u32) {}
    /// Enters an object's file. The number of the one that it replaces, which is the caller's to remove. `Exists` if there is
    /// one and it is not to be replaced.
    pub fn put<H: Host>(
        &mut self,
        _: &mut H,
        _: &Keys,
        _: TeeUuid,
        _: &ObjectId,
        _: Committed,
        _replace: bool,
    ) -> Result<Option<u32>, StorageError> {
        Err(STUB)
    }
    /// Enters a file's new state. `NotFound` if its object has another file, or none, by now.
    pub fn update<H: Host>(
        &mut self,
        _: &mut H,
        _: &Keys,
        _: TeeUuid,
        _: &ObjectId,
        _: Committed,
    ) -> Result<(), StorageError> {
        Err(STUB)
    }
    /// Renames an object. `Exists` if there is one of the new name.
    pub fn rename<H: Host>(
        &mut self,
        _: &mut H,
        _: &Keys,
        _: TeeUuid,
        _from: &ObjectId,
        _to: &ObjectId,
    ) -> Result<(), StorageError> {
        Err(STUB)
    }
    /// Removes an object. The number of its file, which is the caller's to remove.
    pub fn remove<H: Host>(
        &mut self,
        _: &mut H,
        _: &Keys,
        _: TeeUuid,
        _: &ObjectId,
    ) -> Result<u32, StorageError> {
        Err(STUB)
    }
    /// Gives up all that is in memory, but for numbers that are reserved.
    pub fn forget<H: Host>(&mut self, _: &mut H) {}
    /// Bytes of the heap that it takes.
    #[must_use]
    pub const fn heap_bytes(&self) -> usize {
        0
    }
}
