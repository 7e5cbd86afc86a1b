//! Files of trusted storage that outlive a Linux: put into its RAM disk, and told by `init.sh` when it ends.
//!
//! **Invariant:** a file's name has no folder, on either side.

use super::Linux;
use crate::archive::Archive;
use crate::paths;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Where the supplicant has them.
const DIR: &str = "var/lib/tee";
/// The file for which `init.sh` tells them.
const ASKED: &str = "etc/tally/keep";

/// Contents by name.
pub(crate) type Kept = BTreeMap<String, Vec<u8>>;

impl Linux {
    /// Has the supplicant keep these files, and all of them told at the end.
    pub(crate) fn keep(&mut self, files: &Kept) -> Result<()> {
        let mut archive = Archive::default();
        archive.file(ASKED, &[])?;
        for (name, bytes) in files {
            archive.file(&format!("{DIR}/{name}"), bytes)?;
        }
        self.ramdisk.extend(archive.finish()?);
        Ok(())
    }
}

/// The files among what a guest told.
pub(crate) fn told(results: &str) -> Result<Kept> {
    let mut files = Kept::new();
    for line in results.lines() {
        let Ok(Value::Object(line)) = serde_json::from_str(line) else {
            continue;
        };
        let text = |key: &str| line.get(key).and_then(Value::as_str);
        if let (Some(path), Some(hex)) = (text("file"), text("hex")) {
            let name = path.rsplit('/').next().unwrap_or(path);
            let digits = hex.as_bytes().chunks(2);
            let bytes = digits.map(|pair| {
                let pair = str::from_utf8(pair)?;
                Ok(u8::from_str_radix(pair, 16)?)
            });
            files.insert(name.to_owned(), bytes.collect::<Result<_>>()?);
        }
    }
    Ok(files)
}

/// The files in a directory, which may not be there yet.
pub(crate) fn read(dir: &Path) -> Result<Kept> {
    let mut files = Kept::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(files);
    };
    for entry in entries {
        let entry = entry?;
        if let (true, Ok(name)) = (
            entry.file_type()?.is_file(),
            entry.file_name().into_string(),
        ) {
            files.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(files)
}

/// Makes a directory's files these, `before` having been there.
pub(crate) fn write(dir: &Path, before: &Kept, files: &Kept) -> Result<()> {
    let cannot = || format!("cannot write to {}", paths::shown(dir));
    fs::create_dir_all(dir).with_context(cannot)?;
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).with_context(cannot)?;
    }
    for name in before.keys().filter(|name| !files.contains_key(*name)) {
        fs::remove_file(dir.join(name)).with_context(cannot)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_what_the_guest_told() {
        let results = "{\"done\":1}\n{\"file\":\"/var/lib/tee/0\",\"hex\":\"00ff10\"}\n";
        let wanted = [("0".to_owned(), vec![0, 255, 16])];
        assert_eq!(told(results).unwrap(), wanted.into());
        assert!(told("{\"file\":\"/x\",\"hex\":\"zz\"}").is_err());
    }

    #[test]
    fn a_directory_has_what_was_told_and_what_was_never_kept() {
        let dir = std::env::temp_dir().join(format!("tally-kept-{}", std::process::id()));
        let file = |name: &str| (name.to_owned(), name.as_bytes().to_vec());
        let before: Kept = [file("gone"), file("stays")].into();
        write(&dir, &Kept::new(), &before).unwrap();
        let after: Kept = [file("stays"), file("new")].into();
        write(&dir, &before, &after).unwrap();
        assert_eq!(read(&dir).unwrap(), after);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(read(&dir).unwrap(), Kept::new());
    }
}
