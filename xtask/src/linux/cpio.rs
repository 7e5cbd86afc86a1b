//! Archives in cpio's "newc" format, as Linux unpacks them for its initial RAM disk.
//!
//! **Invariant:** the same entries make the same octets; archives can be put behind one another.
//!
//! Source: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`.

use anyhow::Result;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;

/// An archive that grows.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: std::collections::BTreeSet<String>,
}

impl Archive {
    /// Adds a file; directories above it are made. Paths have no slash at their start.
    pub(crate) fn file(&mut self, path: &str, data: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.entry(path, FILE, data)
    }

    /// Adds a program.
    pub(crate) fn program(&mut self, path: &str, data: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.entry(path, PROGRAM, data)
    }

    /// Adds a directory.
    pub(crate) fn directory(&mut self, path: &str) -> Result<()> {
        self.parents(path)?;
        if self.directories.insert(path.to_owned()) {
            self.entry(path, DIRECTORY, &[])?;
        }
        Ok(())
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.entries = 0;
        self.raw("TRAILER!!!", 0, &[])?;
        // Linux finds the next archive at a multiple of four.
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        Ok(self.bytes)
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        match path.rsplit_once('/') {
            Some((parent, _)) => self.directory(parent),
            None => Ok(()),
        }
    }

    fn entry(&mut self, path: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.entries += 1;
        self.raw(path, mode, data)
    }

    fn raw(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<()> {
        let len = u32::try_from(data.len())?;
        let name_len = u32::try_from(name.len() + 1)?;
        // ino, mode, uid, gid, nlink, mtime, filesize, dev (2), rdev (2), namesize, check.
        let fields = [self.entries, mode, 0, 0, 1, 0, len, 0, 0, 0, 0, name_len, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    fn names(archive: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(archive);
        text.split("070701")
            .filter_map(|entry| entry.get(104..)?.split('\0').next().map(str::to_owned))
            .collect()
    }

    #[test]
    fn directories_come_once_and_before_what_is_in_them() {
        let mut archive = Archive::default();
        archive.file("lib/a/one", b"1").unwrap();
        archive.program("lib/a/two", b"2").unwrap();
        archive.file("lib/three", b"3").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(
            names(&bytes),
            [
                "lib",
                "lib/a",
                "lib/a/one",
                "lib/a/two",
                "lib/three",
                "TRAILER!!!"
            ]
        );
        assert!(bytes.len().is_multiple_of(512));
    }
}
