//! A normal world in memory that counts what it is asked for.

pub mod objects;

use crate::directory::ObjectId;
use crate::file::{Committed, File};
use crate::host::{Fd, Host, Name, StorageError};
use crate::keys::Keys;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use tally_abi::TeeUuid;
use tally_mem::testing::BLOCK_OWNER;
use zeroize::Zeroizing;

/// A TA.
pub const TA: TeeUuid = TeeUuid::from_u128(0x8aaaf200_2450_11e4_abe2_0002a5d5c51b);

/// Keys of a board.
pub fn keys() -> Keys {
    Keys::new(Zeroizing::new([7; 32]))
}

/// An id.
pub fn id(name: &str) -> ObjectId {
    ObjectId::new(name.as_bytes()).unwrap()
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Of a file that is to be there.
    Open,
    /// Of a file that is to be empty.
    Create,
    /// No answer is needed.
    Close,
    /// Of so many bytes from a place on.
    Read {
        /// Bytes before.
        at: u64,
        /// Bytes.
        len: usize,
    },
    /// As many.
    Write {
        /// Bytes before.
        at: u64,
        /// Bytes.
        len: usize,
    },
    /// Of a file's length.
    Truncate,
    /// Of a file.
    Remove,
}

/// Files, and who has opened them.
#[derive(Clone, Default)]
pub struct World {
    /// Their bytes.
    pub files: BTreeMap<String, Vec<u8>>,
    fds: BTreeMap<u32, String>,
    last_fd: u32,
    seed: u64,
    /// What it was asked for.
    pub requests: Vec<Request>,
    /// When something goes wrong.
    pub trouble: Option<Trouble>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// After so many changes the power goes, in the midst of the next one.
    PowerCut(usize, Torn),
    /// There is no power.
    Off,
    /// After so many requests the next one is refused.
    Refused(usize, StorageError),
    /// After so many requests all are refused.
    AllRefused(usize, StorageError),
    /// After so many reads the next one says that it has read so many bytes more or less than it has.
    Lie(usize, isize),
}

/// What is kept of the sectors (512 bytes) of a write that is under way when the power goes. Of other changes all is kept if
/// the first sector is.
#[derive(Clone, Copy, Debug)]
pub enum Torn {
    /// So many from the first one on.
    First(usize),
    /// All but so many from the first one on.
    From(usize),
    /// Each whose number is a multiple of it.
    Every(usize),
    /// All but this one.
    AllBut(usize),
}

impl Torn {
    const fn keeps(self, sector: usize) -> bool {
        match self {
            Self::First(n) => sector < n,
            Self::From(n) => sector >= n,
            Self::Every(n) => sector.is_multiple_of(n),
            Self::AllBut(n) => sector != n,
        }
    }
}

impl World {
    /// The supplicant dies and comes back: all that was open is not.
    pub fn restart(&mut self) {
        self.fds.clear();
        self.last_fd = 0;
    }

    /// Another file is opened by somebody else.
    pub fn open_other(&mut self, name: &str) {
        self.last_fd += 1;
        self.fds.insert(self.last_fd, name.to_owned());
    }

    /// What is asked for meanwhile, but for closing: it needs no answer.
    pub fn asks(&mut self, work: impl FnOnce(&mut Self)) -> Vec<Request> {
        self.requests.clear();
        work(self);
        let asks = self.requests.iter().copied();
        asks.filter(|ask| *ask != Request::Close).collect()
    }

    /// How many files are open.
    pub fn n_open(&self) -> usize {
        self.fds.len()
    }

    fn ask(&mut self, request: Request) -> Result<(), StorageError> {
        if let Request::Read { len, .. } | Request::Write { len, .. } = request {
            assert!(len <= 16384, "{request:?}");
        }
        self.requests.push(request);
        match &mut self.trouble {
            Some(Trouble::Off) => Err(BAD_FD),
            Some(Trouble::Refused(0, err)) => {
                let err = *err;
                self.trouble = None;
                Err(err)
            }
            Some(Trouble::AllRefused(0, err)) => Err(*err),
            Some(Trouble::Refused(n, _) | Trouble::AllRefused(n, _)) => {
                *n -= 1;
                Ok(())
            }
            Some(Trouble::PowerCut(..) | Trouble::Lie(..)) | None => Ok(()),
        }
    }

    /// A request that changes something: what of it comes to be.
    fn ask_change(&mut self, request: Request) -> Result<Option<Torn>, StorageError> {
        self.ask(request)?;
        match &mut self.trouble {
            Some(Trouble::PowerCut(0, torn)) => {
                let torn = *torn;
                self.trouble = Some(Trouble::Off);
                Ok(Some(torn))
            }
            Some(Trouble::PowerCut(n, _)) => {
                *n -= 1;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Such a request that is done wholly or not at all.
    fn ask_whole(&mut self, request: Request) -> Result<(), StorageError> {
        match self.ask_change(request)? {
            Some(torn) if !torn.keeps(0) => Err(BAD_FD),
            _ => Ok(()),
        }
    }

    fn file(&mut self, fd: Fd) -> Result<&mut Vec<u8>, StorageError> {
        let name = self.fds.get(&fd.0).ok_or(BAD_FD)?;
        self.files.get_mut(name).ok_or(BAD_FD)
    }

    fn give(&mut self, name: String) -> Fd {
        self.last_fd += 1;
        self.fds.insert(self.last_fd, name);
        Fd(self.last_fd)
    }
}

/// While there is one, blocks of the heap are the world's and not the storage's.
struct Outside(u16);

impl Outside {
    fn new() -> Self {
        Self(BLOCK_OWNER.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        BLOCK_OWNER.store(self.0, Ordering::Relaxed);
    }
}

const BAD_FD: StorageError = StorageError::Code(tally_abi::TeeResult::GENERIC);

impl Host for World {
    fn open(&mut self, name: Name) -> Result<Fd, StorageError> {
        let _outside = Outside::new();
        self.ask(Request::Open)?;
        match self.files.contains_key(&name.to_string()) {
            true => Ok(self.give(name.to_string())),
            false => Err(StorageError::NotFound),
        }
    }

    fn create(&mut self, name: Name) -> Result<Fd, StorageError> {
        let _outside = Outside::new();
        self.ask_whole(Request::Create)?;
        self.files.insert(name.to_string(), Vec::new());
        Ok(self.give(name.to_string()))
    }

    fn close(&mut self, fd: Fd) {
        let _outside = Outside::new();
        self.requests.push(Request::Close);
        self.fds.remove(&fd.0);
    }

    fn read(&mut self, fd: Fd, at: u64, to: &mut [u8]) -> Result<usize, StorageError> {
        let _outside = Outside::new();
        self.ask(Request::Read { at, len: to.len() })?;
        let file = self.file(fd)?;
        let from = file.get(at as usize..).unwrap_or_default();
        let len = from.len().min(to.len());
        let (mut len, mut told) = (len, len);
        match &mut self.trouble {
            Some(Trouble::Lie(0, by)) => {
                told = len.saturating_add_signed(*by);
                len = len.min(told);
                self.trouble = None;
            }
            Some(Trouble::Lie(n, _)) => *n -= 1,
            _ => {}
        }
        let from = self.file(fd)?.get(at as usize..).unwrap_or_default();
        to[..len].copy_from_slice(&from[..len]);
        Ok(told)
    }

    fn write(&mut self, fd: Fd, at: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let _outside = Outside::new();
        let len = bytes.len();
        let torn = self.ask_change(Request::Write { at, len })?;
        let file = self.file(fd)?;
        let at = at as usize;
        // Sectors are the file's.
        let mut begin = 0;
        while begin < len {
            let end = len.min((at + begin) / 512 * 512 + 512 - at);
            if torn.is_none_or(|torn| torn.keeps((at + begin) / 512 - at / 512)) {
                if file.len() < at + end {
                    file.resize(at + end, 0);
                }
                file[at + begin..at + end].copy_from_slice(&bytes[begin..end]);
            }
            begin = end;
        }
        match torn {
            Some(_) => Err(BAD_FD),
            None => Ok(()),
        }
    }

    fn truncate(&mut self, fd: Fd, bytes: u64) -> Result<(), StorageError> {
        let _outside = Outside::new();
        self.ask_whole(Request::Truncate)?;
        self.file(fd)?.resize(bytes as usize, 0);
        Ok(())
    }

    fn remove(&mut self, name: Name) -> Result<(), StorageError> {
        let _outside = Outside::new();
        self.ask_whole(Request::Remove)?;
        let removed = self.files.remove(&name.to_string());
        removed.map(drop).ok_or(StorageError::NotFound)
    }

    fn random(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.seed = self
                .seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (self.seed >> 33) as u8;
        }
    }

    fn at_length<R>(&mut self, work: impl FnOnce() -> R) -> R {
        work()
    }
}

/// Writes bytes to a file.
pub fn write(
    world: &mut World,
    file: &mut File,
    at: u64,
    bytes: &[u8],
) -> Result<(), StorageError> {
    file.write(world, &keys(), at, bytes.len(), &mut |_, before, to| {
        to.copy_from_slice(&bytes[before..before + to.len()]);
        Ok(())
    })
}

/// All of a file.
pub fn read(world: &mut World, file: &mut File) -> Result<Vec<u8>, StorageError> {
    let mut all = Vec::new();
    let len = usize::try_from(file.bytes()).unwrap();
    let read = file.read(world, &keys(), 0, len + 1, &mut |_, before, bytes| {
        assert_eq!(before, all.len());
        let _outside = Outside::new();
        all.extend_from_slice(bytes);
        Ok(())
    })?;
    assert_eq!(read, all.len());
    Ok(all)
}

/// All of a file that was committed.
pub fn read_again(world: &mut World, committed: Committed) -> Result<Vec<u8>, StorageError> {
    let mut file = File::open(world, &keys(), TA, committed)?;
    let all = read(world, &mut file);
    file.close(world);
    all
}
