//! The TA archive: a `newc` cpio (cpio(5)) that lies in memory.
//!
//! **Invariant:** nothing outside the archive's bytes is read; a damaged archive ends early.

/// Bytes of an entry's header.
const HEADER: usize = 110;
/// Position of the file size and of the name size in the header.
const FILE_SIZE_AT: usize = 54;
const NAME_SIZE_AT: usize = 94;

/// An archive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Archive<'a>(&'a [u8]);

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct File<'a> {
    /// Path in the archive.
    pub name: &'a str,
    /// Contents.
    pub bytes: &'a [u8],
}

impl<'a> Archive<'a> {
    /// The archive that begins at the start of `bytes`; what follows its end is not looked at.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Its files, in order.
    pub(crate) const fn files(&self) -> Files<'a> {
        Files(self.0)
    }

    /// The file of this path.
    pub(crate) fn file(&self, name: &str) -> Option<&'a [u8]> {
        self.files().find(|f| f.name == name).map(|f| f.bytes)
    }
}

/// Iterator over an archive's files.
#[derive(Clone, Debug)]
pub(crate) struct Files<'a>(&'a [u8]);

impl<'a> Iterator for Files<'a> {
    type Item = File<'a>;

    fn next(&mut self) -> Option<File<'a>> {
        let header = self.0.get(..HEADER)?;
        if &header[..6] != b"070701" {
            return None;
        }
        let file_size = hex8(&header[FILE_SIZE_AT..])?;
        let name_size = hex8(&header[NAME_SIZE_AT..])?;
        let name_end = HEADER.checked_add(name_size)?;
        let start = name_end.checked_next_multiple_of(4)?;
        let end = start.checked_add(file_size)?;
        let name = self.0.get(HEADER..name_end)?.strip_suffix(b"\0")?;
        let bytes = self.0.get(start..end)?;
        self.0 = self
            .0
            .get(end.checked_next_multiple_of(4)?..)
            .unwrap_or(&[]);
        if name == b"TRAILER!!!" {
            self.0 = &[];
            return None;
        }
        let name = str::from_utf8(name).ok()?;
        let name = name.strip_prefix("./").unwrap_or(name);
        Some(File { name, bytes })
    }
}

fn hex8(text: &[u8]) -> Option<usize> {
    let text = str::from_utf8(text.get(..8)?).ok()?;
    usize::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use cpio::newc::{Builder, trailer};
    use std::io::Write as _;

    fn sample() -> Vec<u8> {
        let mut archive = Vec::new();
        for (name, bytes) in [("lib/a.ta", &b"first"[..]), ("./b", b"")] {
            let size = u32::try_from(bytes.len()).unwrap();
            let mut writer = Builder::new(name).write(archive, size);
            writer.write_all(bytes).unwrap();
            archive = writer.finish().unwrap();
        }
        archive = trailer(archive).unwrap();
        archive.extend([0; 512]);
        archive
    }

    #[test]
    fn files_come_in_order_with_their_bytes() {
        let bytes = sample();
        let archive = Archive::new(&bytes);
        let names: Vec<_> = archive.files().map(|f| f.name).collect();
        assert_eq!(names, ["lib/a.ta", "b"]);
        assert_eq!(archive.file("lib/a.ta"), Some(&b"first"[..]));
        assert_eq!(archive.file("c"), None);
    }

    #[test]
    fn a_cut_archive_ends_early() {
        let bytes = sample();
        for end in 0..bytes.len() {
            let n = Archive::new(&bytes[..end]).files().count();
            assert!(n <= 2);
        }
    }

    #[test]
    fn wild_sizes_end_the_archive() {
        let mut bytes = sample();
        bytes[FILE_SIZE_AT..FILE_SIZE_AT + 8].copy_from_slice(b"ffffffff");
        assert_eq!(Archive::new(&bytes).files().count(), 0);
        bytes[NAME_SIZE_AT..NAME_SIZE_AT + 8].copy_from_slice(b"fffffffg");
        assert_eq!(Archive::new(&bytes).files().count(), 0);
    }
}
