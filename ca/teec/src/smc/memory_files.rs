//! Files in this world's memory, for a machine that has no other place for them.
//!
//! **Invariant:** names and contents together take no more than was allowed; a step that fails leaves all as it was.

use alloc::string::String;
use alloc::vec::Vec;
use spin::Mutex;
use tally_abi::TeeResult;

use super::files::{Files, owned};

/// Most files at a time, with those that were removed and are open.
const MAX_FILES: usize = 4096;
/// Most files open at a time, and folders.
const MAX_OPEN: usize = 1024;

/// A file: its name is gone once it is removed, and the file with its last handle.
#[derive(Debug)]
struct File {
    name: Option<String>,
    bytes: Vec<u8>,
    n_open: u32,
}

/// An open folder: names that were in it, the next one last.
type Folder = Vec<String>;

#[derive(Debug, Default)]
struct State {
    files: Vec<Option<File>>,
    /// Handles to places in `files`.
    open: Vec<Option<usize>>,
    folders: Vec<Option<Folder>>,
}

/// Files in memory.
#[derive(Debug)]
pub struct MemoryFiles {
    state: Mutex<State>,
    max_bytes: usize,
}

/// All files and their names, to put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved(Vec<(String, Vec<u8>)>);

impl Saved {
    /// Each name and its file.
    #[must_use]
    pub fn files(&self) -> &[(String, Vec<u8>)] {
        &self.0
    }
}

impl MemoryFiles {
    /// None yet; they may take `max_bytes`.
    #[must_use]
    pub const fn new(max_bytes: usize) -> Self {
        Self {
            state: Mutex::new(State {
                files: Vec::new(),
                open: Vec::new(),
                folders: Vec::new(),
            }),
            max_bytes,
        }
    }

    /// Forgets all handles, as a supplicant does that starts anew.
    pub fn restart(&self) {
        let mut state = self.state.lock();
        state.open.clear();
        state.folders.clear();
        for slot in &mut state.files {
            if let Some(file) = slot {
                file.n_open = 0;
            }
            slot.take_if(|file| file.name.is_none());
        }
    }

    /// Handles of files and folders that are open.
    pub fn n_open(&self) -> usize {
        let state = self.state.lock();
        state.open.iter().flatten().count() + state.folders.iter().flatten().count()
    }

    /// Each file's name and bytes, by name.
    pub fn save(&self) -> Saved {
        let state = self.state.lock();
        let named = state.files.iter().flatten().filter_map(|file| {
            let name = file.name.as_ref()?;
            Some((name.clone(), file.bytes.clone()))
        });
        let mut all: Vec<_> = named.collect();
        all.sort();
        Saved(all)
    }

    /// Loses all files, and forgets all handles.
    pub fn clear(&self) {
        *self.state.lock() = State::default();
    }

    /// Changes what is in a file, which may be open; false if there is none of this name.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.state.lock();
        let place = state.find(name);
        let file = place.and_then(|place| state.files.get_mut(place)?.as_mut());
        file.map(|file| change(&mut file.bytes)).is_some()
    }

    /// Has these files and no others; all handles are forgotten.
    pub fn restore(&self, saved: &Saved) {
        let mut state = self.state.lock();
        *state = State::default();
        for (name, bytes) in &saved.0 {
            state.files.push(Some(File {
                name: Some(name.clone()),
                bytes: bytes.clone(),
                n_open: 0,
            }));
        }
    }
}

impl State {
    fn taken(&self) -> usize {
        let size = |file: &File| file.bytes.len() + file.name.as_ref().map_or(0, String::len);
        self.files.iter().flatten().map(size).sum()
    }

    fn find(&self, name: &str) -> Option<usize> {
        let has = |file: &Option<File>| {
            let file = file.as_ref();
            file.is_some_and(|file| file.name.as_deref() == Some(name))
        };
        self.files.iter().position(has)
    }

    fn file(&mut self, handle: u32) -> Result<&mut File, TeeResult> {
        let place = self.open.get(handle as usize).copied().flatten();
        let file = place.and_then(|place| self.files.get_mut(place)?.as_mut());
        file.ok_or(TeeResult::GENERIC)
    }

    fn open_at(&mut self, place: usize) -> Result<u32, TeeResult> {
        let handle = put(&mut self.open, place, MAX_OPEN).ok_or(TeeResult::OUT_OF_MEMORY)?;
        if let Some(Some(file)) = self.files.get_mut(place) {
            file.n_open += 1;
        }
        Ok(handle)
    }

    /// Removes a file's name; the file, too, if it is not open.
    fn unname(&mut self, place: usize) {
        if let Some(slot) = self.files.get_mut(place) {
            if let Some(file) = slot {
                file.name = None;
            }
            slot.take_if(|file| file.n_open == 0);
        }
    }

    /// Makes a file `bytes` long.
    fn resize(&mut self, handle: u32, bytes: u64, max_bytes: usize) -> Result<(), TeeResult> {
        let before = self.file(handle)?.bytes.len();
        let others = self.taken() - before;
        let bytes = usize::try_from(bytes).map_err(|_| TeeResult::STORAGE_NO_SPACE)?;
        if bytes > before && others.saturating_add(bytes) > max_bytes {
            return Err(TeeResult::STORAGE_NO_SPACE);
        }
        let held = &mut self.file(handle)?.bytes;
        held.try_reserve(bytes.saturating_sub(before))
            .map_err(|_| TeeResult::STORAGE_NO_SPACE)?;
        held.resize(bytes, 0);
        Ok(())
    }
}

/// Puts `value` into the first free place: its index.
fn put<T>(slots: &mut Vec<Option<T>>, value: T, most: usize) -> Option<u32> {
    let free = slots.iter().position(Option::is_none);
    let index = free.unwrap_or(slots.len());
    if index >= most {
        return None;
    }
    if index == slots.len() {
        slots.try_reserve(1).ok()?;
        slots.push(None);
    }
    *slots.get_mut(index)? = Some(value);
    Some(index as u32)
}

/// What of `name` lies in `folder` directly.
fn within<'n>(name: &'n str, folder: &str) -> Option<&'n str> {
    let folder = folder.trim_matches('/');
    let rest = match folder {
        "" | "." => name,
        _ => name.strip_prefix(folder)?.strip_prefix('/')?,
    };
    let first = rest.split('/').next()?;
    (!first.is_empty()).then_some(first)
}

impl Files for MemoryFiles {
    fn open(&self, name: &str) -> Result<u32, TeeResult> {
        let mut state = self.state.lock();
        let place = state.find(name).ok_or(TeeResult::ITEM_NOT_FOUND)?;
        state.open_at(place)
    }

    fn create(&self, name: &str) -> Result<u32, TeeResult> {
        let mut state = self.state.lock();
        if let Some(place) = state.find(name) {
            let handle = state.open_at(place)?;
            state.file(handle)?.bytes.clear();
            return Ok(handle);
        }
        if state.taken().saturating_add(name.len()) > self.max_bytes {
            return Err(TeeResult::STORAGE_NO_SPACE);
        }
        let file = File {
            name: Some(owned(name)?),
            bytes: Vec::new(),
            n_open: 0,
        };
        let place = put(&mut state.files, file, MAX_FILES).ok_or(TeeResult::STORAGE_NO_SPACE)?;
        let opened = state.open_at(place as usize);
        if opened.is_err() {
            state.unname(place as usize);
        }
        opened
    }

    fn close(&self, file: u32) -> Result<(), TeeResult> {
        let mut state = self.state.lock();
        state.file(file)?.n_open -= 1;
        if let Some(place) = state.open.get_mut(file as usize).and_then(Option::take)
            && let Some(slot) = state.files.get_mut(place)
        {
            slot.take_if(|file| file.n_open == 0 && file.name.is_none());
        }
        Ok(())
    }

    fn read(
        &self,
        file: u32,
        at: u64,
        most: usize,
        to: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<(), TeeResult> {
        let mut state = self.state.lock();
        let bytes = &state.file(file)?.bytes;
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let rest = bytes.get(at..).unwrap_or_default();
        to(0, rest.get(..most).unwrap_or(rest));
        Ok(())
    }

    fn write(&self, file: u32, at: u64, bytes: &[u8]) -> Result<(), TeeResult> {
        let mut state = self.state.lock();
        let end = at.checked_add(bytes.len() as u64);
        let end = end.ok_or(TeeResult::STORAGE_NO_SPACE)?;
        if end > state.file(file)?.bytes.len() as u64 {
            state.resize(file, end, self.max_bytes)?;
        }
        let held = &mut state.file(file)?.bytes;
        if let Some(place) = held.get_mut(at as usize..end as usize) {
            place.copy_from_slice(bytes);
        }
        Ok(())
    }

    fn truncate(&self, file: u32, bytes: u64) -> Result<(), TeeResult> {
        self.state.lock().resize(file, bytes, self.max_bytes)
    }

    fn remove(&self, name: &str) -> Result<(), TeeResult> {
        let mut state = self.state.lock();
        let place = state.find(name).ok_or(TeeResult::ITEM_NOT_FOUND)?;
        state.unname(place);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str, overwrite: bool) -> Result<(), TeeResult> {
        let mut state = self.state.lock();
        let place = state.find(from).ok_or(TeeResult::ITEM_NOT_FOUND)?;
        let replaced = state.find(to);
        if replaced.is_some() && !overwrite {
            return Err(TeeResult::ACCESS_CONFLICT);
        }
        let to = owned(to)?;
        if let Some(replaced) = replaced.filter(|replaced| *replaced != place) {
            state.unname(replaced);
        }
        if let Some(Some(file)) = state.files.get_mut(place) {
            file.name = Some(to);
        }
        Ok(())
    }

    fn open_folder(&self, name: &str) -> Result<u32, TeeResult> {
        let mut state = self.state.lock();
        let mut names = Vec::new();
        for file in state.files.iter().flatten() {
            if let Some(within) = file.name.as_ref().and_then(|file| within(file, name)) {
                let room = names.try_reserve(1);
                room.map_err(|_| TeeResult::OUT_OF_MEMORY)?;
                names.push(owned(within)?);
            }
        }
        if names.is_empty() {
            return Err(TeeResult::ITEM_NOT_FOUND);
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        names.dedup();
        put(&mut state.folders, names, MAX_OPEN).ok_or(TeeResult::OUT_OF_MEMORY)
    }

    fn close_folder(&self, folder: u32) -> Result<(), TeeResult> {
        let mut state = self.state.lock();
        let slot = state.folders.get_mut(folder as usize);
        let open = slot.and_then(Option::take);
        open.map(drop).ok_or(TeeResult::BAD_PARAMETERS)
    }

    fn next_name(&self, folder: u32, to: &mut dyn FnMut(&str)) -> Result<(), TeeResult> {
        let mut state = self.state.lock();
        let slot = state.folders.get_mut(folder as usize);
        let names = slot.and_then(Option::as_mut);
        let names = names.ok_or(TeeResult::BAD_PARAMETERS)?;
        to(&names.pop().ok_or(TeeResult::ITEM_NOT_FOUND)?);
        Ok(())
    }
}
