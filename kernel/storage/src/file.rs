//! One file: bytes in blocks of 4 KiB under a hash tree.

use crate::host::{Host, StorageError};
use crate::keys::Keys;
use tally_abi::{TeeResult, TeeUuid};

/// Which file, and which of its states: what the directory says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The file's number.
    pub number: u32,
    /// Hash of its tree's root.
    pub hash: [u8; 32],
}

/// Takes bytes that were read: how many were before them, and they.
pub type Sink<'s, H> = &'s mut dyn FnMut(&mut H, usize, &[u8]) -> Result<(), StorageError>;
/// Gives bytes to write: how many were before them, and where they go.
pub type Source<'s, H> = &'s mut dyn FnMut(&mut H, usize, &mut [u8]) -> Result<(), StorageError>;

/// An open file. After an error what was changed since it was committed is forgotten.
#[derive(Debug)]
pub struct File {}

const STUB: StorageError = StorageError::Code(TeeResult::NOT_IMPLEMENTED);

#[expect(clippy::missing_errors_doc, reason = "skeleton")]
impl File {
    /// A new one, empty, which the directory does not know yet.
    pub fn create<H: Host>(
        _: &mut H,
        _: &Keys,
        _: TeeUuid,
        _number: u32,
    ) -> Result<Self, StorageError> {
        Err(STUB)
    }
    /// One that the directory knows.
    pub fn open<H: Host>(
        _: &mut H,
        _: &Keys,
        _: TeeUuid,
        _: Committed,
    ) -> Result<Self, StorageError> {
        Err(STUB)
    }
    /// Bytes of data.
    pub fn bytes(&self) -> u64 {
        0
    }
    /// Reads up to `len` bytes from `at` on, in pieces; how many there were.
    pub fn read<H: Host>(
        &mut self,
        _: &mut H,
        _: &Keys,
        _at: u64,
        _len: usize,
        _: Sink<'_, H>,
    ) -> Result<usize, StorageError> {
        Err(STUB)
    }
    /// Writes, with zeros in between if it was shorter than `at`.
    pub fn write<H: Host>(
        &mut self,
        _: &mut H,
        _: &Keys,
        _at: u64,
        _len: usize,
        _: Source<'_, H>,
    ) -> Result<(), StorageError> {
        Err(STUB)
    }
    /// Cuts it off, or prolongs it by zeros.
    pub fn truncate<H: Host>(
        &mut self,
        _: &mut H,
        _: &Keys,
        _bytes: u64,
    ) -> Result<(), StorageError> {
        Err(STUB)
    }
    /// Writes all that changed, beside the state that was committed; what the directory is to say of it now.
    pub fn commit<H: Host>(&mut self, _: &mut H, _: &Keys) -> Result<Committed, StorageError> {
        Err(STUB)
    }
    /// Closes it; what was not committed is lost.
    pub fn close<H: Host>(self, _: &mut H) {}
    /// Bytes of the heap that it takes.
    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>()
    }
}
