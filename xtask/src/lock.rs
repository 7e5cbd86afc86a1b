//! Locks between several xtasks in one checkout: a run's directory, the build's outputs.
//!
//! **Invariant:** a lock is the system's, and goes with the process that holds it; its file stays and says nothing.

use crate::{paths, ui};
use anyhow::{Context as _, Result};
use std::fs::{File, TryLockError, create_dir_all, remove_dir_all};
use std::path::{Path, PathBuf};

/// A name in a directory that nobody else has while this lives.
pub(crate) struct Name {
    /// What is so called.
    pub(crate) path: PathBuf,
    _lock: File,
}

impl Name {
    /// The first of NAME, NAME-2, NAME-3, ... that nobody has.
    pub(crate) fn take(dir: &Path, name: &str) -> Result<Self> {
        let mut path = dir.join(name);
        for next in 2.. {
            let file = open(&path)?;
            match file.try_lock() {
                Ok(()) => return Ok(Self { path, _lock: file }),
                Err(TryLockError::WouldBlock) => path = dir.join(format!("{name}-{next}")),
                Err(TryLockError::Error(err)) => {
                    return Err(err).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
        anyhow::bail!("all names like {name} are taken")
    }

    /// The directory of one run's logs, created empty.
    pub(crate) fn of_run(label: &str) -> Result<Self> {
        let dir = Self::take(&paths::out().join("runs"), label)?;
        if dir.path.exists() {
            remove_dir_all(&dir.path)?;
        }
        create_dir_all(&dir.path)?;
        Ok(dir)
    }
}

/// Waits until nobody else builds, and keeps others from it while the lock lives: cargo gives builds with other features
/// the same names.
pub(crate) fn build() -> Result<File> {
    let file = open(&paths::out().join("build"))?;
    if file.try_lock().is_err() {
        ui::step("Waiting", "for another xtask that builds in this checkout");
        file.lock()?;
    }
    Ok(file)
}

fn open(name: &Path) -> Result<File> {
    let dir = name.parent().unwrap_or(name);
    create_dir_all(dir)?;
    let path = dir.join(format!(
        ".{}.lock",
        name.file_name().unwrap_or_default().display()
    ));
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: two runs in one checkout had the same directory, and each took away the other's.
    #[test]
    fn a_name_is_one_runs_at_a_time() {
        let dir = std::env::temp_dir().join(format!("tally-lock-{}", std::process::id()));
        let take = || Name::take(&dir, "run").unwrap();
        let (first, second) = (take(), take());
        assert_eq!(first.path, dir.join("run"));
        assert_eq!(second.path, dir.join("run-2"));
        assert_eq!(take().path, dir.join("run-3"));
        drop(first);
        assert_eq!(take().path, dir.join("run"));
        remove_dir_all(&dir).unwrap();
    }
}
