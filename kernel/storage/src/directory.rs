//! The directory: which object of which TA lies in which file, in a file of its own, `dirf.db`.

use crate::figures::{Cache, Figures, Limits};
use crate::file::Committed;
use crate::host::{Host, Name, StorageError};
use crate::index::{Index, TAG, Wanted};
use crate::keys::Keys;
use crate::store::{State, Store};
use alloc::vec::Vec;
use tally_abi::TeeUuid;
use tally_mem::fallible;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Most bytes of an object's id (`TEE_OBJECT_ID_MAX_LEN`).
pub const MAX_ID: usize = 64;

/// An object's id: any 0 to 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectId {
    len: u8,
    bytes: [u8; MAX_ID],
}

impl ObjectId {
    /// That of no bytes.
    const NONE: Self = Self {
        len: 0,
        bytes: [0; MAX_ID],
    };

    /// One of these bytes; `None` if they are too many.
    #[must_use]
    pub fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_ID];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        let len = id.len() as u8;
        Some(Self { len, bytes })
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// What the directory has of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub at: u32,
    /// Its file.
    pub file: Committed,
}

/// An entry as it is in the file (optee_os `core/tee/fs_dirfile.c`).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Row {
    ta: [u8; 16],
    id: [u8; MAX_ID],
    id_len: U32,
    hash: [u8; 32],
    number: U32,
}

/// First byte of an id of no bytes: without it the entry would be a free one.
const EMPTY_ID: u8 = 1;

impl Row {
    /// One that is free.
    const FREE: Self = Self {
        ta: [0; 16],
        id: [0; MAX_ID],
        id_len: U32::ZERO,
        hash: [0; 32],
        number: U32::ZERO,
    };

    fn new(ta: TeeUuid, id: &ObjectId, file: Committed) -> Self {
        let mut row = Self {
            id: id.bytes,
            id_len: u32::from(id.len).into(),
            hash: file.hash,
            number: file.number.into(),
            ..Self::FREE
        };
        row.ta.copy_from_slice(ta.as_bytes());
        if id.len == 0 {
            row.id[0] = EMPTY_ID;
        }
        row
    }

    const fn is_free(&self) -> bool {
        self.id_len.get() == 0 && self.id[0] == 0
    }

    /// The object's id, if it is this TA's.
    fn id_of(&self, ta: TeeUuid) -> Option<ObjectId> {
        let len = usize::try_from(self.id_len.get()).ok()?;
        match !self.is_free() && self.ta == ta.as_bytes() {
            true => ObjectId::new(self.id.get(..len)?),
            false => None,
        }
    }

    /// The bytes that name it among its TA's, whatever lies behind them.
    fn name(&self) -> [u8; MAX_ID] {
        let mut name = self.id;
        let len = usize::try_from(self.id_len.get()).unwrap_or(MAX_ID);
        name.get_mut(len.max(1)..).unwrap_or_default().fill(0);
        name
    }

    const fn file(&self) -> Committed {
        Committed {
            number: self.number.get(),
            hash: self.hash,
        }
    }
}

/// The directory. It is read when it is first needed, made if there is none, and read again after an error.
#[derive(Debug)]
pub struct Directory {
    read: Option<Read>,
    /// Numbers of files that have no entry yet.
    reserved: Vec<u32>,
    limits: Limits,
    /// Figures of caches that were given up.
    past: Figures,
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

/// What is in memory of the directory.
#[derive(Debug)]
struct Read {
    store: Store,
    /// Numbers of all files, in order.
    numbers: Vec<u32>,
    /// Unless it would be too large.
    index: Option<Index>,
    limits: Limits,
    figures: Cache,
}

impl Read {
    /// Opens it; it is still to be checked.
    fn open<H: Host>(host: &mut H, keys: &Keys, limits: Limits) -> Result<Self, StorageError> {
        let mut store = None;
        let of = (None, Name::Directory);
        match Store::open(host, keys, of, State::Newest, limits, &mut store) {
            Ok(_) | Err(StorageError::NotFound) => {}
            Err(err) => return Err(err),
        }
        let store = match store {
            Some(store) => store,
            None => Store::new(host, keys, None, Name::Directory, limits)?,
        };
        Ok(Self {
            store,
            numbers: Vec::new(),
            index: None,
            limits,
            figures: Cache::default(),
        })
    }

    /// Collects the numbers. As OP-TEE does, it frees the second entry of a file, which a power cut may have left.
    #[inline(never)]
    fn check<H: Host>(&mut self, host: &mut H) -> Result<(), StorageError> {
        let was_changed = self.store.is_changed();
        let mut salt = [0; 16];
        host.random(&mut salt);
        self.index = match self.rows() as usize * TAG <= self.limits.index {
            true => Some(Index::new(salt, self.rows() as usize)?),
            false => None,
        };
        for at in 0..self.rows() {
            let row = self.row(host, at)?;
            self.enter(at, &row);
            if row.is_free() {
                continue;
            }
            match self.numbers.binary_search(&row.number.get()) {
                Ok(_) => {
                    self.set_row(host, at, &Row::FREE)?;
                    self.enter(at, &Row::FREE);
                }
                Err(place) => {
                    fallible::try_reserve(&mut self.numbers, 1)?;
                    self.numbers.insert(place, row.number.get());
                }
            }
        }
        match was_changed {
            true => Ok(()),
            false => self.store.commit(host),
        }
    }

    /// Entries, free ones too.
    fn rows(&self) -> u32 {
        let rows = self.store.length() / size_of::<Row>() as u64;
        u32::try_from(rows).unwrap_or(u32::MAX)
    }

    fn row<H: Host>(&mut self, host: &mut H, at: u32) -> Result<Row, StorageError> {
        let mut row = Row::FREE;
        let mut take = |_: &mut H, before: usize, bytes: &[u8]| {
            let to = row.as_mut_bytes().get_mut(before..before + bytes.len());
            to.ok_or(StorageError::Corrupt)?.copy_from_slice(bytes);
            Ok(())
        };
        self.store
            .read(host, row_at(at), size_of::<Row>(), &mut take)?;
        Ok(row)
    }

    fn set_row<H: Host>(&mut self, host: &mut H, at: u32, row: &Row) -> Result<(), StorageError> {
        let mut give = |_: &mut H, before: usize, bytes: &mut [u8]| {
            let from = row.as_bytes().get(before..before + bytes.len());
            bytes.copy_from_slice(from.ok_or(StorageError::Corrupt)?);
            Ok(())
        };
        self.store
            .write_data(host, row_at(at), size_of::<Row>(), &mut give)
    }

    /// Writes an entry, which is good from then on.
    fn commit_row<H: Host>(
        &mut self,
        host: &mut H,
        at: u32,
        row: &Row,
    ) -> Result<(), StorageError> {
        self.set_row(host, at, row)?;
        self.store.commit(host)?;
        self.enter(at, row);
        Ok(())
    }

    /// Enters it in the index, which is given up if it becomes too large.
    fn enter(&mut self, at: u32, row: &Row) {
        if let Some(index) = &mut self.index {
            let object = (!row.is_free()).then(|| index.object(&row.ta, &row.name()));
            if index.set(at, object).is_err() || index.heap_bytes() > self.limits.index {
                self.index = None;
                self.figures.evictions += 1;
            }
        }
        let index = self.index.as_ref();
        let entries = index.map_or(0, Index::entries);
        self.figures
            .now(entries, index.map_or(0, Index::heap_bytes));
    }

    /// The first place from one on whose entry is good for something, and what it is good for. `wanted` says what it has in
    /// the index.
    #[inline(never)]
    fn search<H: Host, T>(
        &mut self,
        host: &mut H,
        from: u32,
        wanted: impl Fn(&Index) -> Wanted,
        good: impl Fn(&Row) -> Option<T>,
    ) -> Result<Option<(u32, T)>, StorageError> {
        match &self.index {
            Some(_) => self.figures.hits += 1,
            None => self.figures.misses += 1,
        }
        let wanted = self.index.as_ref().map(wanted);
        let mut at = from;
        while at < self.rows() {
            if let (Some(index), Some(wanted)) = (&self.index, wanted) {
                match host.at_length(|| index.next(wanted, at)) {
                    Some(next) => at = next,
                    None => return Ok(None),
                }
            }
            if let Some(found) = good(&self.row(host, at)?) {
                return Ok(Some((at, found)));
            }
            at += 1;
        }
        Ok(None)
    }

    fn find<H: Host>(
        &mut self,
        host: &mut H,
        ta: TeeUuid,
        id: &ObjectId,
    ) -> Result<Option<Entry>, StorageError> {
        let wanted = Row::new(ta, id, NO_FILE);
        let is_it = |row: &Row| (row.id_of(ta).as_ref() == Some(id)).then(|| row.file());
        let found = self.search(host, 0, |index| index.object(&wanted.ta, &wanted.id), is_it)?;
        Ok(found.map(|(at, file)| Entry { at, file }))
    }

    /// The first free place.
    fn free<H: Host>(&mut self, host: &mut H) -> Result<u32, StorageError> {
        let is_free = |row: &Row| row.is_free().then_some(());
        let found = self.search(host, 0, |_| Index::free(), is_free)?;
        Ok(found.map_or_else(|| self.rows(), |(at, ())| at))
    }

    fn next<H: Host>(
        &mut self,
        host: &mut H,
        ta: TeeUuid,
        after: Option<u32>,
    ) -> Result<Option<(u32, ObjectId)>, StorageError> {
        let from = after.map_or(0, |at| at.saturating_add(1));
        let owner = Row::new(ta, &ObjectId::NONE, NO_FILE).ta;
        self.search(host, from, |index| index.any(&owner), |row| row.id_of(ta))
    }

    fn put<H: Host>(
        &mut self,
        host: &mut H,
        ta: TeeUuid,
        id: &ObjectId,
        file: Committed,
        replace: bool,
    ) -> Result<Option<u32>, StorageError> {
        let old = self.find(host, ta, id)?;
        if old.is_some() && !replace || self.numbers.binary_search(&file.number).is_ok() {
            return Err(StorageError::Exists);
        }
        fallible::try_reserve(&mut self.numbers, 1)?;
        let at = match &old {
            Some(old) => old.at,
            None => self.free(host)?,
        };
        self.commit_row(host, at, &Row::new(ta, id, file))?;
        let old = old.map(|old| old.file.number);
        self.numbers.retain(|number| Some(*number) != old);
        let place = self.numbers.partition_point(|number| *number < file.number);
        self.numbers.insert(place, file.number);
        Ok(old)
    }

    fn update<H: Host>(
        &mut self,
        host: &mut H,
        ta: TeeUuid,
        id: &ObjectId,
        file: Committed,
    ) -> Result<(), StorageError> {
        let old = self.find(host, ta, id)?;
        let old = old.filter(|old| old.file.number == file.number);
        let at = old.ok_or(StorageError::NotFound)?.at;
        self.commit_row(host, at, &Row::new(ta, id, file))
    }

    fn rename<H: Host>(
        &mut self,
        host: &mut H,
        ta: TeeUuid,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<(), StorageError> {
        let old = self.find(host, ta, from)?.ok_or(StorageError::NotFound)?;
        if self.find(host, ta, to)?.is_some() {
            return Err(StorageError::Exists);
        }
        self.commit_row(host, old.at, &Row::new(ta, to, old.file))
    }

    fn remove<H: Host>(
        &mut self,
        host: &mut H,
        ta: TeeUuid,
        id: &ObjectId,
    ) -> Result<u32, StorageError> {
        let old = self.find(host, ta, id)?.ok_or(StorageError::NotFound)?;
        self.commit_row(host, old.at, &Row::FREE)?;
        self.numbers.retain(|number| *number != old.file.number);
        Ok(old.file.number)
    }
}

/// What is of no account where an entry is looked for.
const NO_FILE: Committed = Committed {
    number: 0,
    hash: [0; 32],
};

/// Bytes before an entry.
const fn row_at(at: u32) -> u64 {
    at as u64 * size_of::<Row>() as u64
}

impl Directory {
    /// One that was not read yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            read: None,
            reserved: Vec::new(),
            limits: Limits::DIRECTORY,
            past: Figures::NONE,
        }
    }

    /// Opens it, unless it is open. A function of its own: what it takes of the stack is back when anything is read.
    #[inline(never)]
    fn open<H: Host>(&mut self, host: &mut H, keys: &Keys) -> Result<bool, StorageError> {
        if self.read.is_some() {
            return Ok(false);
        }
        self.read = Some(Read::open(host, keys, self.limits)?);
        Ok(true)
    }

    /// Does something with the directory, and drops what is in memory if that fails.
    fn with<H: Host, T>(
        &mut self,
        host: &mut H,
        keys: &Keys,
        work: impl FnOnce(&mut Read, &mut H) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let is_new = self.open(host, keys)?;
        let read = self.read.as_mut().ok_or(StorageError::Corrupt)?;
        let checked = if is_new { read.check(host) } else { Ok(()) };
        let done = checked.and_then(|()| work(read, host));
        read.store.end();
        let is_answer = matches!(
            done,
            Ok(_) | Err(StorageError::NotFound | StorageError::Exists)
        );
        // That there is none is asked again, the next time.
        if !is_answer || !read.store.is_committed() {
            self.forget(host);
        }
        done
    }

    /// An object.
    ///
    /// # Errors
    /// `Corrupt`; `OutOfMemory`; the normal world's.
    pub fn find<H: Host>(
        &mut self,
        host: &mut H,
        keys: &Keys,
        ta: TeeUuid,
        id: &ObjectId,
    ) -> Result<Option<Entry>, StorageError> {
        self.with(host, keys, |read, host| read.find(host, ta, id))
    }

    /// The TA's next object after the one at a place, or its first one.
    ///
    /// # Errors
    /// As [`Directory::find`].
    pub fn next<H: Host>(
        &mut self,
        host: &mut H,
        keys: &Keys,
        ta: TeeUuid,
        after: Option<u32>,
    ) -> Result<Option<(u32, ObjectId)>, StorageError> {
        self.with(host, keys, |read, host| read.next(host, ta, after))
    }

    /// A number for a new file, until it is entered or released.
    ///
    /// # Errors
    /// As [`Directory::find`].
    pub fn reserve<H: Host>(&mut self, host: &mut H, keys: &Keys) -> Result<u32, StorageError> {
        fallible::try_reserve(&mut self.reserved, 1)?;
        // The directory is made now if there is none: a number of one that was only out of reach would be another file's.
        self.with(host, keys, |read, host| read.store.commit(host))?;
        let numbers = self.read.as_ref().map_or(&[][..], |read| &read.numbers);
        let is_free = |number: &u32| {
            numbers.binary_search(number).is_err() && !self.reserved.contains(number)
        };
        let number = (0..=u32::MAX).find(is_free).ok_or(StorageError::NoSpace)?;
        self.reserved.push(number);
        Ok(number)
    }

    /// Such a number is not needed any more.
    pub fn release(&mut self, number: u32) {
        self.reserved.retain(|reserved| *reserved != number);
        if self.reserved.is_empty() {
            self.reserved = Vec::new();
        }
    }

    /// Enters an object's file. The number of the one that it replaces, which is the caller's to remove. `Exists` if there is
    /// one and it is not to be replaced.
    ///
    /// # Errors
    /// `Exists`; `NoSpace`; as [`Directory::find`].
    pub fn put<H: Host>(
        &mut self,
        host: &mut H,
        keys: &Keys,
        ta: TeeUuid,
        id: &ObjectId,
        file: Committed,
        replace: bool,
    ) -> Result<Option<u32>, StorageError> {
        let old = self.with(host, keys, |read, host| {
            read.put(host, ta, id, file, replace)
        })?;
        self.release(file.number);
        Ok(old)
    }

    /// Enters a file's new state. `NotFound` if its object has another file, or none, by now.
    ///
    /// # Errors
    /// `NotFound`; `NoSpace`; as [`Directory::find`].
    pub fn update<H: Host>(
        &mut self,
        host: &mut H,
        keys: &Keys,
        ta: TeeUuid,
        id: &ObjectId,
        file: Committed,
    ) -> Result<(), StorageError> {
        self.with(host, keys, |read, host| read.update(host, ta, id, file))
    }

    /// Renames an object. `Exists` if there is one of the new name.
    ///
    /// # Errors
    /// `NotFound`; `Exists`; `NoSpace`; as [`Directory::find`].
    pub fn rename<H: Host>(
        &mut self,
        host: &mut H,
        keys: &Keys,
        ta: TeeUuid,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<(), StorageError> {
        self.with(host, keys, |read, host| read.rename(host, ta, from, to))
    }

    /// Removes an object. The number of its file, which is the caller's to remove.
    ///
    /// # Errors
    /// `NotFound`; `NoSpace`; as [`Directory::find`].
    pub fn remove<H: Host>(
        &mut self,
        host: &mut H,
        keys: &Keys,
        ta: TeeUuid,
        id: &ObjectId,
    ) -> Result<u32, StorageError> {
        self.with(host, keys, |read, host| read.remove(host, ta, id))
    }

    /// Gives up all that is in memory, but for numbers that are reserved.
    pub fn forget<H: Host>(&mut self, host: &mut H) {
        let figures = self.figures();
        if let Some(read) = self.read.take() {
            read.store.close(host);
            self.past = figures.without_entries();
        }
    }

    /// Gives up all that is in memory: nobody works with an object, or is about to.
    pub fn close<H: Host>(&mut self, host: &mut H) {
        self.forget(host);
        self.reserved = Vec::new();
    }

    /// What its caches take and how they do, since it was made.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let mut figures = self.past;
        if let Some(read) = &self.read {
            let index = read.figures;
            figures.go_on_with(&Figures {
                index,
                ..*read.store.figures()
            });
        }
        figures
    }

    /// Sets what its caches may take. It is read again with these.
    pub fn set_limits<H: Host>(&mut self, host: &mut H, limits: Limits) {
        self.limits = limits;
        self.forget(host);
    }

    /// Bytes of the heap that it takes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let numbers = self.read.as_ref().map_or(0, |read| read.numbers.capacity());
        let caches = |read: &Read| {
            read.store.heap_bytes() + read.index.as_ref().map_or(0, Index::heap_bytes)
        };
        let caches = self.read.as_ref().map_or(0, caches);
        caches + (numbers + self.reserved.capacity()) * size_of::<u32>()
    }
}
