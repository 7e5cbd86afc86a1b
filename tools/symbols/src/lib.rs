//! Linked programs as files: what is loaded where, and how code is called.
//!
//! **Invariant:** addresses, offsets and names are the file's own; nothing here runs anything.
#![forbid(unsafe_code)]

pub mod dwarf;
pub mod elf;
pub mod short;

use anyhow::{Context as _, Result, ensure};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Longest program that is read.
pub const MAX_PROGRAM_BYTES: u64 = 1 << 30;

/// Reads a file of no more than `most` bytes. What it says of its length is not believed: a device says 0 and
/// never ends.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {shown}"))?;
    ensure!(
        bytes.len() as u64 <= most,
        "{shown} is longer than {most} bytes"
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::read;
    use std::path::Path;

    /// Its length is 0 by its metadata, and reading it never ended.
    #[test]
    fn a_device_that_never_ends_is_refused() {
        let why = read(Path::new("/dev/zero"), 1 << 20).unwrap_err();
        assert_eq!(why.to_string(), "/dev/zero is longer than 1048576 bytes");
        assert!(read(Path::new("/dev/null"), 0).unwrap().is_empty());
    }
}
