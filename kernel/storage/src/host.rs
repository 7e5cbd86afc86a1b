//! Seam to whoever runs storage: files of the normal world, random numbers, chances for interrupts.

use core::fmt;
use tally_abi::TeeResult;
use tally_mem::fallible::HeapExhausted;

/// A file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `dirf.db`.
    Directory,
    /// A number in hexadecimal digits.
    Number(u32),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("dirf.db"),
            Self::Number(number) => write!(f, "{number:x}"),
        }
    }
}

/// An open file: what the normal world calls it, an allegation like all that it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fd(pub u32);

/// Why storage did not do what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageError {
    /// No such object, or file.
    NotFound,
    /// There is one already.
    Exists,
    /// What was read is not what was written.
    Corrupt,
    /// No room where files are kept.
    NoSpace,
    /// No memory for it here.
    OutOfMemory,
    /// The normal world's code, or the code of who was asked for data.
    Code(TeeResult),
}

impl From<HeapExhausted> for StorageError {
    fn from(_: HeapExhausted) -> Self {
        Self::OutOfMemory
    }
}

impl From<StorageError> for TeeResult {
    fn from(err: StorageError) -> Self {
        match err {
            StorageError::NotFound => Self::ITEM_NOT_FOUND,
            StorageError::Exists => Self::ACCESS_CONFLICT,
            StorageError::Corrupt => Self::CORRUPT_OBJECT,
            StorageError::NoSpace => Self::STORAGE_NO_SPACE,
            StorageError::OutOfMemory => Self::OUT_OF_MEMORY,
            StorageError::Code(code) => code,
        }
    }
}

/// Whoever runs storage.
///
/// Each request to the files may take as long as the normal world likes, fail, or lie.
pub trait Host {
    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound`; the normal world's.
    fn open(&mut self, name: Name) -> Result<Fd, StorageError>;

    /// Opens a file that is empty, whether there was one of that name or not.
    ///
    /// # Errors
    /// The normal world's.
    fn create(&mut self, name: Name) -> Result<Fd, StorageError>;

    /// Closes a file. Nothing can be done about it if that fails.
    fn close(&mut self, fd: Fd);

    /// Reads from `at` (bytes) on; how many bytes there were.
    ///
    /// # Errors
    /// The normal world's.
    fn read(&mut self, fd: Fd, at: u64, to: &mut [u8]) -> Result<usize, StorageError>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// `NoSpace`; the normal world's.
    fn write(&mut self, fd: Fd, at: u64, bytes: &[u8]) -> Result<(), StorageError>;

    /// Cuts a file off, or prolongs it by zeros.
    ///
    /// # Errors
    /// The normal world's.
    fn truncate(&mut self, fd: Fd, bytes: u64) -> Result<(), StorageError>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`; the normal world's.
    fn remove(&mut self, name: Name) -> Result<(), StorageError>;

    /// Fills with random bytes.
    fn random(&mut self, bytes: &mut [u8]);

    /// Runs what may take long, with interrupts let through.
    fn at_length<R>(&mut self, work: impl FnOnce() -> R) -> R;
}
