//! Files that the tool writes, wherever it runs.
//!
//! **Invariant:** a file is closed when it is dropped.

use alloc::boxed::Box;
use alloc::string::String;

/// Where files can be made.
pub trait Files {
    /// Creates or empties a file.
    ///
    /// # Errors
    /// Why not, for people.
    fn create(&self, path: &str) -> Result<Box<dyn FileSink>, String>;
}

/// A file open for writing.
pub trait FileSink: Send {
    /// Appends all of `data`.
    ///
    /// # Errors
    /// Why not, for people.
    fn write(&mut self, data: &[u8]) -> Result<(), String>;
}

/// Nowhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn create(&self, path: &str) -> Result<Box<dyn FileSink>, String> {
        Err(alloc::format!("{path}: no files can be written here"))
    }
}
