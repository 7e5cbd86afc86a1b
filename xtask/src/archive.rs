//! Archives in cpio's "newc" format: TAs for our normal world, the initial RAM disk for Linux.
//!
//! **Invariant:** the same entries make the same bytes; archives can be put behind one another.

use anyhow::Result;
use cpio::newc::{Builder, ModeFileType, trailer};
use std::collections::BTreeSet;
use std::io::Write as _;

/// An archive that grows. Paths have no slash at their start.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    /// Adds a file; directories above it are not made.
    pub(crate) fn bare_file(&mut self, path: &str, data: &[u8]) -> Result<()> {
        self.entry(path, ModeFileType::Regular, 0o644, data)
    }

    /// Adds a file; directories above it are made.
    pub(crate) fn file(&mut self, path: &str, data: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.bare_file(path, data)
    }

    /// Adds a program; directories above it are made.
    pub(crate) fn program(&mut self, path: &str, data: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.entry(path, ModeFileType::Regular, 0o755, data)
    }

    /// Adds a directory and those above it.
    pub(crate) fn directory(&mut self, path: &str) -> Result<()> {
        self.parents(path)?;
        if self.directories.insert(path.to_owned()) {
            self.entry(path, ModeFileType::Directory, 0o755, &[])?;
        }
        Ok(())
    }

    /// The whole archive: a multiple of four bytes, behind which Linux looks for the next one.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        Ok(trailer(self.bytes)?)
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        match path.rsplit_once('/') {
            Some((parent, _)) => self.directory(parent),
            None => Ok(()),
        }
    }

    fn entry(&mut self, path: &str, kind: ModeFileType, mode: u32, data: &[u8]) -> Result<()> {
        self.entries += 1;
        let entry = Builder::new(path)
            .ino(self.entries)
            .mode(mode)
            .set_mode_file_type(kind);
        let mut writer = entry.write(&mut self.bytes, u32::try_from(data.len())?);
        writer.write_all(data)?;
        writer.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;
    use cpio::newc::Reader;
    use std::io::Read as _;

    /// Path, mode and contents of each entry.
    fn entries(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        loop {
            let mut reader = Reader::new(archive).unwrap();
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            if reader.entry().is_trailer() {
                return entries;
            }
            let mut data = Vec::new();
            reader.read_to_end(&mut data).unwrap();
            entries.push((name, mode, data));
            archive = reader.finish().unwrap();
        }
    }

    #[test]
    fn directories_come_once_and_before_what_is_in_them() {
        let mut archive = Archive::default();
        archive.file("lib/a/one", b"1").unwrap();
        archive.program("lib/a/two", b"22222").unwrap();
        archive.file("lib/three", b"").unwrap();
        let bytes = archive.finish().unwrap();
        let expected = [
            ("lib", 0o040_755, &b""[..]),
            ("lib/a", 0o040_755, b""),
            ("lib/a/one", 0o100_644, b"1"),
            ("lib/a/two", 0o100_755, b"22222"),
            ("lib/three", 0o100_644, b""),
        ];
        let expected = expected.map(|(name, mode, data)| (name.to_owned(), mode, data.to_vec()));
        assert_eq!(entries(&bytes), expected);
        assert!(bytes.len().is_multiple_of(4));
    }

    #[test]
    fn bare_files_bring_no_directories() {
        let mut archive = Archive::default();
        archive.bare_file("lib/one", b"1").unwrap();
        let entries = entries(&archive.finish().unwrap());
        assert_eq!(entries, [("lib/one".to_owned(), 0o100_644, b"1".to_vec())]);
    }
}
