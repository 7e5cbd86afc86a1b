//! Files that xtask writes: those that somebody named, and its own.
//!
//! **Invariant:** a reader sees the old file or the new one, never half of one; what is no plain file (a device, a FIFO,
//! a link) is written to and stays what it is.

use crate::{paths, ui};
use anyhow::{Context as _, Result};
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Standard output in place of a file.
const STDOUT: &str = "-";

/// Writes a file that somebody named, `-` to standard output.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    if path == Path::new(STDOUT) {
        return Ok(io::stdout().lock().write_all(bytes)?);
    }
    make_folder(path)?;
    let written = match is_replaceable(path) {
        true => replace(path, bytes),
        false => fs::write(path, bytes),
    };
    written.with_context(|| format!("cannot write {}", path.display()))?;
    ui::step("Wrote", paths::shown(path));
    Ok(())
}

/// Fails where [`put`] would, before the work is done whose result it writes.
pub(crate) fn ensure_writable<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<()> {
    for path in paths {
        if path == Path::new(STDOUT) {
            continue;
        }
        make_folder(path)?;
        let tried = match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(ErrorKind::IsADirectory.into()),
            _ if is_replaceable(path) => draft(path, b"").and_then(fs::remove_file),
            // Whoever reads at the other end would take this for the end.
            _ => Ok(()),
        };
        tried.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Puts a file in the place of what is there.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = draft(path, bytes)?;
    fs::rename(&draft, path).inspect_err(|_| {
        // The first error is the one that tells something.
        let _ = fs::remove_file(&draft);
    })
}

/// A new file beside `path`.
fn draft(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().ok_or(ErrorKind::InvalidFilename)?;
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let draft = path.with_file_name(format!(".{}.{process}-{next}.part", name.display()));
    fs::File::create_new(&draft)?.write_all(bytes)?;
    Ok(draft)
}

fn make_folder(path: &Path) -> Result<()> {
    match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        Some(dir) => fs::create_dir_all(dir)
            .with_context(|| format!("cannot make the folder of {}", path.display())),
        None => Ok(()),
    }
}

/// Whether nothing is lost when another file takes its place.
fn is_replaceable(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(found) => found.is_file(),
        Err(err) => err.kind() == ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::os::unix::fs::{FileTypeExt as _, symlink};

    fn dir(test: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("tally-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn folders_that_are_missing_are_made() {
        let dir = dir("folders");
        let path = dir.join("new/deep/page.html");
        put(&path, b"page").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"page");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::remove_dir_all(dir).unwrap();
    }

    /// Bug: whatever was at the path, `/dev/stdout` too, became a plain file.
    #[test]
    fn what_is_no_plain_file_is_written_to_and_stays() {
        let dir = dir("special");
        let (fifo, link, target) = (dir.join("fifo"), dir.join("link"), dir.join("target"));
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        ensure_writable([&fifo]).unwrap();
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::read(fifo).unwrap()
        });
        put(&fifo, b"piped").unwrap();
        let kind = fs::symlink_metadata(&fifo).unwrap().file_type();
        assert!(kind.is_fifo());
        assert_eq!(reader.join().unwrap(), b"piped");

        fs::write(&target, "old").unwrap();
        symlink(&target, &link).unwrap();
        put(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
        fs::remove_dir_all(dir).unwrap();
    }

    /// Bug: it was found out after the work, and the path was not named.
    #[test]
    fn what_cannot_be_written_is_named_before_the_work() {
        let dir = dir("unwritable");
        let file = dir.join("file");
        fs::write(&file, "").unwrap();
        for path in [dir.clone(), file.join("below"), "/proc/no-such-file".into()] {
            let why = format!("{:#}", ensure_writable([&path]).unwrap_err());
            assert!(why.contains(path.to_str().unwrap()), "{why}");
        }
        ensure_writable([&file, &dir.join("new")]).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(dir).unwrap();
    }
}
