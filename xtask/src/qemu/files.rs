//! Files that a guest hands out: pieces in a channel, unpacked into one directory.
//!
//! **Invariant:** a file has a name that [`FilePiece::is_name`] allows and lies in the directory; it appears
//! there whole or not at all. A guest that keeps to no order ends its run.

use crate::ui;
use anyhow::{Context as _, Result, ensure};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use tally_board_virt::images::FilePiece;

/// Files that may come at the same time.
const MAX_OPEN: usize = 64;

/// A file that has begun.
enum Coming {
    /// Its name, as far as it is there.
    Name(Vec<u8>),
    /// Its contents go into this file, which becomes the one with this name.
    Contents(File, String),
}

/// The reading end of a guest's channel.
pub(super) struct Files {
    channel: PathBuf,
    reader: Option<File>,
    dir: PathBuf,
    coming: HashMap<u32, Coming>,
    head: Vec<u8>,
    /// The piece that is being read, and how much of it is to come.
    piece: Option<FilePiece>,
    whole: Vec<PathBuf>,
}

impl Files {
    /// Unpacks what appears in `channel` into `dir`, which it makes for the first file.
    pub(super) fn new(channel: PathBuf, dir: PathBuf) -> Self {
        Self {
            channel,
            reader: None,
            dir,
            coming: HashMap::new(),
            head: Vec::new(),
            piece: None,
            whole: Vec::new(),
        }
    }

    /// Takes what has come since it was last called.
    pub(super) fn poll(&mut self) -> Result<()> {
        if self.reader.is_none() {
            self.reader = File::open(&self.channel).ok();
        }
        let mut buffer = vec![0; 1 << 16];
        while let Some(reader) = &mut self.reader {
            match reader.read(&mut buffer)? {
                0 => break,
                n => self.take(&buffer[..n])?,
            }
        }
        Ok(())
    }

    /// The files that came whole, in order; the others are removed.
    pub(super) fn finish(mut self) -> Result<Vec<PathBuf>> {
        self.poll()?;
        for (file, coming) in &self.coming {
            if let Coming::Contents(_, name) = coming {
                ui::warn(format_args!("the guest did not end its file {name}"));
                fs::remove_file(self.partial(*file))?;
            }
        }
        Ok(self.whole)
    }

    /// Where a file's contents go meanwhile: no name begins so.
    fn partial(&self, file: u32) -> PathBuf {
        let process = std::process::id();
        self.dir.join(format!(".{process}-{file}.part"))
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let wanted = match self.piece {
                Some(piece) => piece.bytes as usize,
                None => FilePiece::HEAD_BYTES - self.head.len(),
            };
            let (now, later) = bytes.split_at(wanted.min(bytes.len()));
            bytes = later;
            match self.piece.take() {
                Some(piece) => self.contents(piece, now)?,
                None => {
                    self.head.extend(now);
                    if let Ok(head) = self.head[..].try_into() {
                        self.head.clear();
                        self.begin(FilePiece::from_bytes(head))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, piece: FilePiece) -> Result<()> {
        if piece.bytes == 0 {
            return match self.coming.remove(&piece.file) {
                Some(Coming::Contents(_, name)) => self.end(piece.file, &name),
                _ => Ok(()),
            };
        }
        self.piece = Some(piece);
        if !self.coming.contains_key(&piece.file) {
            ensure!(
                piece.bytes as usize <= FilePiece::MAX_NAME && self.coming.len() < MAX_OPEN,
                "the guest sent a file without a name, or too many at a time"
            );
            self.coming.insert(piece.file, Coming::Name(Vec::new()));
        }
        Ok(())
    }

    /// `bytes`, of which there is one at least, belong to `piece`.
    fn contents(&mut self, piece: FilePiece, bytes: &[u8]) -> Result<()> {
        let left = piece.bytes - u32::try_from(bytes.len())?;
        self.piece = FilePiece::new(piece.file, left as usize).filter(|piece| piece.bytes > 0);
        let partial = self.partial(piece.file);
        match self.coming.get_mut(&piece.file) {
            Some(Coming::Contents(file, _)) => file
                .write_all(bytes)
                .with_context(|| format!("cannot write {}", partial.display()))?,
            Some(Coming::Name(name)) => {
                name.extend(bytes);
                if left == 0 {
                    let named = open(name, &self.dir, &partial)?;
                    self.coming.insert(piece.file, named);
                }
            }
            None => {}
        }
        Ok(())
    }

    fn end(&mut self, file: u32, name: &str) -> Result<()> {
        let path = self.dir.join(name);
        if !is_free(&path) {
            ui::warn(format_args!(
                "the guest's file {name} is lost: {} is no plain file",
                path.display()
            ));
            fs::remove_file(self.partial(file))?;
            return Ok(());
        }
        fs::rename(self.partial(file), &path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        self.whole.push(path);
        Ok(())
    }
}

/// Whether a guest's file may take this place: nothing is there, or an older one.
fn is_free(path: &Path) -> bool {
    fs::symlink_metadata(path).map_or(true, |found| found.is_file())
}

/// Names in `dir` that a guest's files cannot have, a line each.
pub(super) fn taken_names(dir: &Path) -> Result<String> {
    if !dir.exists() {
        return Ok(String::new());
    }
    let cannot = || format!("a guest's files cannot go to {}", dir.display());
    let mut names = String::new();
    for entry in fs::read_dir(dir).with_context(cannot)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|name| FilePiece::is_name(name) && !is_free(&path)) {
            names.push_str(name);
            names.push('\n');
        }
    }
    Ok(names)
}

/// Begins a file that the guest has named.
fn open(name: &[u8], dir: &Path, partial: &Path) -> Result<Coming> {
    let name = String::from_utf8_lossy(name).into_owned();
    ensure!(
        FilePiece::is_name(&name),
        "the guest's {name:?} is no name for a file"
    );
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let file =
        File::create(partial).with_context(|| format!("cannot make {}", partial.display()))?;
    Ok(Coming::Contents(file, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(file: u32, bytes: &[u8]) -> Vec<u8> {
        let head = FilePiece::new(file, bytes.len()).unwrap();
        [&head.to_bytes(), bytes].concat()
    }

    /// Unpacks `channel` byte by byte and at once, as far as it keeps to the order; the files, by name.
    fn unpacked(test: &str, channel: &[u8]) -> Vec<(String, Vec<u8>)> {
        let read = |dir: &Path, step: usize| {
            let mut files = Files::new(dir.join("none"), dir.join("in"));
            for bytes in channel.chunks(step) {
                if files.take(bytes).is_err() {
                    break;
                }
            }
            files.finish().unwrap();
            let mut found = Vec::new();
            for entry in fs::read_dir(dir.join("in")).into_iter().flatten() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read(path).unwrap()));
            }
            assert!(fs::read_dir(dir).into_iter().flatten().count() <= 1);
            found.sort();
            found
        };
        let dir = std::env::temp_dir().join(format!("tally-files-{}-{test}", std::process::id()));
        let results = [1, usize::MAX].map(|step| {
            let dir = dir.join(step.to_string());
            read(&dir, step)
        });
        let _ = fs::remove_dir_all(dir);
        assert_eq!(results[0], results[1]);
        results[0].clone()
    }

    #[test]
    fn files_that_come_at_the_same_time_are_told_apart() {
        let channel = [
            piece(1, b"a.snap"),
            piece(2, b"b.snap"),
            piece(1, b"first "),
            piece(2, b"second"),
            piece(1, b"half"),
            piece(1, b""),
            piece(2, b""),
            // The number is free again.
            piece(1, b"c"),
            piece(1, b""),
        ];
        let expected = [
            ("a.snap", &b"first half"[..]),
            ("b.snap", b"second"),
            ("c", b""),
        ];
        let expected = expected.map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
        assert_eq!(unpacked("together", &channel.concat()), expected);
    }

    #[test]
    fn a_file_that_was_not_ended_is_not_there() {
        let channel = [
            piece(1, b"a"),
            piece(1, b"contents"),
            piece(2, b"b"),
            piece(2, b""),
        ];
        let whole = channel.concat();
        assert_eq!(unpacked("open", &whole).len(), 1);
        for end in 0..whole.len() {
            let files = unpacked("cut", &whole[..end]);
            assert!(files.is_empty(), "{end}: {files:?}");
        }
    }

    /// Bug: the machine ended, and the guest had been told that all was well.
    #[test]
    fn a_folder_in_the_place_of_a_file_ends_nothing() {
        let dir = std::env::temp_dir().join(format!("tally-taken-{}", std::process::id()));
        fs::create_dir_all(dir.join("a")).unwrap();
        fs::write(dir.join("b"), "").unwrap();
        assert_eq!(taken_names(&dir).unwrap(), "a\n");
        let mut files = Files::new(dir.join("none"), dir.clone());
        for name in [b"a", b"b"] {
            for bytes in [name, &b"contents"[..], b""] {
                files.take(&piece(7, bytes)).unwrap();
            }
        }
        assert_eq!(files.finish().unwrap(), [dir.join("b")]);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);

        let why = format!("{:#}", taken_names(&dir.join("b")).unwrap_err());
        assert!(why.contains(dir.to_str().unwrap()), "{why}");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        for name in ["../a", "/tmp/a", ".part", "a/b", "..", "a\0"] {
            let channel = [
                piece(1, name.as_bytes()),
                piece(1, b"contents"),
                piece(1, b""),
            ];
            assert!(unpacked("names", &channel.concat()).is_empty(), "{name:?}");
        }
        let long = [piece(1, &[b'a'; 101]), piece(1, b"contents"), piece(1, b"")];
        assert!(unpacked("long", &long.concat()).is_empty());
    }

    #[test]
    fn a_guest_has_so_many_files_at_a_time() {
        let mut files = Files::new("none".into(), "none".into());
        for file in 0..64 {
            files.take(&piece(file, b"name")[..9]).unwrap();
            files.piece = None;
        }
        assert!(files.take(&piece(64, b"name")).is_err());
    }

    #[test]
    fn any_bytes_do_no_harm() {
        let mut state = 1_u64;
        for _ in 0..200 {
            let bytes: Vec<u8> = (0..300)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    // Many small numbers: pieces that end, files that meet.
                    if state >> 61 == 0 {
                        (state >> 33) as u8 & 7
                    } else {
                        0
                    }
                })
                .collect();
            unpacked("any", &bytes);
        }
    }
}
