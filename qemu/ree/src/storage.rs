//! Files that the secure world keeps here, in this world's memory, and how tests have them lie.
//!
//! **Invariant:** a lie is told once, at the request that it is set for; the files and their handles are true otherwise.

use spin::Mutex;
use tally_abi::TeeResult;
use teec::smc::{Files, MemoryFiles};

/// Most that files take, in bytes.
pub(crate) const MAX_BYTES: usize = 8 << 20;

static FILES: MemoryFiles = MemoryFiles::new(MAX_BYTES);
static LYING: Mutex<Lying> = Mutex::new(Lying {
    lie: None,
    at: 0,
    asked: 0,
});

/// How one request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileLie {
    /// Nothing is done, and this is its code.
    Fail(TeeResult),
    /// Nothing is done, and this is its code and that of all requests after it.
    FailOn(TeeResult),
    /// It is done, and this is its code.
    FailLater(TeeResult),
    /// If it reads, half of the bytes are given.
    Short,
    /// If it reads, this bit of what is given is wrong, counted from the first one.
    Flip(usize),
    /// All handles are forgotten before it.
    Restart,
    /// All files are lost before it, and all handles.
    Lose,
}

struct Lying {
    lie: Option<FileLie>,
    /// Requests before the one that it is told at.
    at: usize,
    /// Requests since it was set.
    asked: usize,
}

/// The files themselves.
pub(crate) fn files() -> &'static MemoryFiles {
    &FILES
}

/// Has the request after `at` others lie, or none; counts requests from now on.
pub(crate) fn set_lie(lie: Option<FileLie>, at: usize) {
    *LYING.lock() = Lying { lie, at, asked: 0 };
}

/// Requests since the last lie was set.
pub(crate) fn asked() -> usize {
    LYING.lock().asked
}

/// Counts a request; how it lies.
fn next_lie() -> Option<FileLie> {
    let mut lying = LYING.lock();
    let now = lying.asked;
    lying.asked += 1;
    match lying.lie {
        Some(lie @ FileLie::FailOn(_)) if now >= lying.at => Some(lie),
        lie => lie.filter(|_| now == lying.at),
    }
}

/// Answers a request by `work`, or by the lie that it is time for.
fn answer<T>(work: impl FnOnce() -> Result<T, TeeResult>) -> Result<T, TeeResult> {
    answer_with(|_| work())
}

fn answer_with<T>(
    work: impl FnOnce(Option<FileLie>) -> Result<T, TeeResult>,
) -> Result<T, TeeResult> {
    let lie = next_lie();
    match lie {
        Some(FileLie::Fail(code) | FileLie::FailOn(code)) => return Err(code),
        Some(FileLie::FailLater(code)) => return work(lie).and(Err(code)),
        Some(FileLie::Restart) => FILES.restart(),
        Some(FileLie::Lose) => FILES.clear(),
        Some(FileLie::Short | FileLie::Flip(_)) | None => {}
    }
    work(lie)
}

/// What the supplicant answers with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers;

impl Files for Answers {
    fn open(&self, name: &str) -> Result<u32, TeeResult> {
        answer(|| FILES.open(name))
    }

    fn create(&self, name: &str) -> Result<u32, TeeResult> {
        answer(|| FILES.create(name))
    }

    fn close(&self, file: u32) -> Result<(), TeeResult> {
        answer(|| FILES.close(file))
    }

    fn read(
        &self,
        file: u32,
        at: u64,
        most: usize,
        to: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<(), TeeResult> {
        answer_with(|lie| {
            FILES.read(file, at, most, &mut |before, bytes| match lie {
                Some(FileLie::Short) => {
                    to(before, bytes.get(..bytes.len() / 2).unwrap_or_default())
                }
                Some(FileLie::Flip(bit)) => {
                    let mut bytes = bytes.to_vec();
                    if let Some(byte) = bytes.get_mut(bit / 8) {
                        *byte ^= 1 << (bit % 8);
                    }
                    to(before, &bytes);
                }
                _ => to(before, bytes),
            })
        })
    }

    fn write(&self, file: u32, at: u64, bytes: &[u8]) -> Result<(), TeeResult> {
        answer(|| FILES.write(file, at, bytes))
    }

    fn truncate(&self, file: u32, bytes: u64) -> Result<(), TeeResult> {
        answer(|| FILES.truncate(file, bytes))
    }

    fn remove(&self, name: &str) -> Result<(), TeeResult> {
        answer(|| FILES.remove(name))
    }

    fn rename(&self, from: &str, to: &str, overwrite: bool) -> Result<(), TeeResult> {
        answer(|| FILES.rename(from, to, overwrite))
    }

    fn open_folder(&self, name: &str) -> Result<u32, TeeResult> {
        answer(|| FILES.open_folder(name))
    }

    fn close_folder(&self, folder: u32) -> Result<(), TeeResult> {
        answer(|| FILES.close_folder(folder))
    }

    fn next_name(&self, folder: u32, to: &mut dyn FnMut(&str)) -> Result<(), TeeResult> {
        answer(|| FILES.next_name(folder, to))
    }
}
