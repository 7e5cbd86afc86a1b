//! One file: bytes in blocks of 4 KiB under a hash tree.

use crate::figures::{Figures, Limits};
use crate::host::{Host, Name, StorageError};
use crate::keys::Keys;
use crate::store::{State, Store, missing};
use tally_abi::TeeUuid;

/// Which file, and which of its states: what the directory says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The file's number.
    pub number: u32,
    /// Hash of its tree's root.
    pub hash: [u8; 32],
}

/// Takes bytes that were read: how many were before them, and they.
pub type Sink<'s, H> = &'s mut dyn FnMut(&mut H, usize, &[u8]) -> Result<(), StorageError>;
/// Gives bytes to write: how many were before them, and where they go.
pub type Source<'s, H> = &'s mut dyn FnMut(&mut H, usize, &mut [u8]) -> Result<(), StorageError>;

/// An open file. After an error what was changed since it was committed is forgotten.
#[derive(Debug)]
pub struct File {
    ta: TeeUuid,
    number: u32,
    /// What is committed; `None` before there is anything.
    hash: Option<[u8; 32]>,
    /// Bytes of data in what is committed.
    length: u64,
    limits: Limits,
    store: Option<Store>,
}

impl File {
    /// A new one, empty, which the directory does not know yet.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn create<H: Host>(
        host: &mut H,
        keys: &Keys,
        ta: TeeUuid,
        number: u32,
    ) -> Result<Self, StorageError> {
        let name = Name::Number(number);
        Ok(Self {
            ta,
            number,
            hash: None,
            length: 0,
            limits: Limits::FILE,
            store: Some(Store::new(host, keys, Some(ta), name, Limits::FILE)?),
        })
    }

    /// One that the directory knows.
    ///
    /// # Errors
    /// `Corrupt`, also if it has gone; `OutOfMemory`; the normal world's.
    pub fn open<H: Host>(
        host: &mut H,
        keys: &Keys,
        ta: TeeUuid,
        committed: Committed,
    ) -> Result<Self, StorageError> {
        let mut file = Self {
            ta,
            number: committed.number,
            hash: Some(committed.hash),
            length: 0,
            limits: Limits::FILE,
            store: None,
        };
        file.length = file.store(host, keys)?.length();
        Ok(file)
    }

    /// Bytes of data.
    pub fn bytes(&self) -> u64 {
        self.store.as_ref().map_or(self.length, Store::length)
    }

    /// Begins it, with nothing in it.
    #[inline(never)]
    fn begin<H: Host>(&mut self, host: &mut H, keys: &Keys) -> Result<(), StorageError> {
        let name = Name::Number(self.number);
        let store = Store::new(host, keys, Some(self.ta), name, self.limits)?;
        self.store = Some(store);
        Ok(())
    }

    /// What is in memory, or is read now.
    #[inline(never)]
    fn store<H: Host>(&mut self, host: &mut H, keys: &Keys) -> Result<&mut Store, StorageError> {
        if self.store.is_none() {
            let of = (Some(self.ta), Name::Number(self.number));
            match self.hash {
                None => self.begin(host, keys)?,
                Some(hash) => {
                    let state = State::Hash(hash);
                    let opened = Store::open(host, keys, of, state, self.limits, &mut self.store);
                    if !opened.map_err(missing)? {
                        return Err(StorageError::Corrupt);
                    }
                }
            }
        }
        self.store.as_mut().ok_or(StorageError::Corrupt)
    }

    /// Drops what is in memory after an error.
    fn keep<H: Host, T>(
        &mut self,
        host: &mut H,
        result: Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        match &mut self.store {
            Some(store) if result.is_ok() => store.end(),
            _ => self.forget(host),
        }
        result
    }

    /// Gives up what is in memory, also what was changed and not committed.
    pub fn forget<H: Host>(&mut self, host: &mut H) {
        if let Some(store) = self.store.take() {
            store.close(host);
        }
    }

    /// Reads up to `len` bytes from `at` on, in pieces; how many there were.
    ///
    /// # Errors
    /// `Corrupt`; `OutOfMemory`; the normal world's, the sink's.
    pub fn read<H: Host>(
        &mut self,
        host: &mut H,
        keys: &Keys,
        at: u64,
        len: usize,
        to: Sink<'_, H>,
    ) -> Result<usize, StorageError> {
        let store = self.store(host, keys)?;
        let done = store.read(host, at, len, to);
        self.keep(host, done)
    }

    /// Writes, with zeros in between if it was shorter than `at`.
    ///
    /// # Errors
    /// `Corrupt`; `NoSpace`; `OutOfMemory`; the normal world's, the source's.
    pub fn write<H: Host>(
        &mut self,
        host: &mut H,
        keys: &Keys,
        at: u64,
        len: usize,
        from: Source<'_, H>,
    ) -> Result<(), StorageError> {
        let store = self.store(host, keys)?;
        let done = store.write_data(host, at, len, from);
        self.keep(host, done)
    }

    /// Cuts it off, or prolongs it by zeros.
    ///
    /// # Errors
    /// As [`File::write`].
    pub fn truncate<H: Host>(
        &mut self,
        host: &mut H,
        keys: &Keys,
        bytes: u64,
    ) -> Result<(), StorageError> {
        let store = self.store(host, keys)?;
        let done = store.truncate(host, bytes);
        self.keep(host, done)
    }

    /// Writes all that changed, beside the state that was committed; what the directory is to say of it now. If it comes not
    /// to say so, the file is to be closed and opened again with what it says: the next commit writes over the older state.
    ///
    /// # Errors
    /// As [`File::write`].
    pub fn commit<H: Host>(
        &mut self,
        host: &mut H,
        keys: &Keys,
    ) -> Result<Committed, StorageError> {
        let store = self.store(host, keys)?;
        let done = store.commit(host).and_then(|()| store.hash());
        let length = store.length();
        let hash = self.keep(host, done)?;
        (self.hash, self.length) = (Some(hash), length);
        Ok(Committed {
            number: self.number,
            hash,
        })
    }

    /// Closes it; what was not committed is lost.
    pub fn close<H: Host>(mut self, host: &mut H) {
        self.forget(host);
    }

    /// What its caches take and how they do, since they are there.
    pub fn figures(&self) -> Figures {
        let store = self.store.as_ref();
        store.map_or_else(Figures::default, |store| *store.figures())
    }

    /// Sets what its caches may take, from the end of the next operation on.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        if let Some(store) = &mut self.store {
            store.set_limits(limits);
        }
    }

    /// Bytes of the heap that it takes.
    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.store.as_ref().map_or(0, Store::heap_bytes)
    }
}
