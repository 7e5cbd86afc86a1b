//! Files that the model's supplicant keeps in memory, as Linux's does in its directory.

use super::World;
use crate::observer::Observer;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use spin::Mutex;
use tally_abi::TeeResult;
use tally_abi::msg::{MsgHeader, MsgParam, attr};
use tally_abi::rpc::{cmd, fs};
use tally_mem::addr::PhysAddr;
use tally_mem::machine::NormalMemory;
use zerocopy::IntoBytes;

/// A file, which is there as long as it has a name or is open.
type Bytes = Arc<Mutex<Vec<u8>>>;

/// Files, and which are open.
#[derive(Default)]
pub(super) struct Files {
    named: BTreeMap<String, Bytes>,
    fds: BTreeMap<u64, Bytes>,
    last_fd: u64,
    /// Bytes that there is room for in all of them.
    room: Option<usize>,
}

impl Files {
    pub(super) fn open(&self) -> usize {
        self.fds.len()
    }

    fn give(&mut self, file: Bytes) -> u64 {
        self.last_fd += 1;
        self.fds.insert(self.last_fd, file);
        self.last_fd
    }

    fn file(&self, fd: u64) -> Result<Bytes, TeeResult> {
        let file = self.fds.get(&fd).cloned();
        file.ok_or(TeeResult::GENERIC)
    }

    fn serve(&mut self, what: MsgParam, data: &mut Vec<u8>) -> Result<u64, TeeResult> {
        let (fd, at) = (what.b, what.c as usize);
        let name = || {
            let text = data.split(|byte| *byte == 0).next().unwrap_or_default();
            let text = String::from_utf8(text.to_vec());
            text.map_err(|_| TeeResult::BAD_PARAMETERS)
        };
        match what.a {
            fs::OPEN => {
                let file = self.named.get(&name()?).cloned();
                Ok(self.give(file.ok_or(TeeResult::ITEM_NOT_FOUND)?))
            }
            fs::CREATE => {
                let file = self.named.entry(name()?).or_default().clone();
                file.lock().clear();
                Ok(self.give(file))
            }
            fs::CLOSE => {
                let closed = self.fds.remove(&fd);
                closed.map(|_| 0).ok_or(TeeResult::GENERIC)
            }
            fs::READ => {
                let file = self.file(fd)?;
                let file = file.lock();
                let there = file.get(at..).unwrap_or_default();
                let len = there.len().min(data.len());
                data.truncate(len);
                data.copy_from_slice(&there[..len]);
                Ok(0)
            }
            fs::WRITE => {
                let file = self.file(fd)?;
                let end = file.lock().len().max(at + data.len());
                if self.room.is_some_and(|room| end > room) {
                    return Err(TeeResult::STORAGE_NO_SPACE);
                }
                let mut file = file.lock();
                file.resize(end, 0);
                file[at..at + data.len()].copy_from_slice(data);
                Ok(0)
            }
            fs::TRUNCATE => {
                self.file(fd)?.lock().resize(at, 0);
                Ok(0)
            }
            fs::REMOVE => {
                let removed = self.named.remove(&name()?);
                removed.map(|_| 0).ok_or(TeeResult::ITEM_NOT_FOUND)
            }
            _ => Err(TeeResult::BAD_PARAMETERS),
        }
    }
}

impl<O: Observer> World<O> {
    fn file_params(&self, arg: PhysAddr) -> (PhysAddr, [MsgParam; 3]) {
        let at = PhysAddr(arg.0 + size_of::<MsgHeader>() as u64);
        let mut params = [MsgParam::default(); 3];
        assert!(self.kernel.machine.read_normal(at, params.as_mut_bytes()));
        (at, params)
    }

    /// Whether a request closes a file.
    pub(super) fn closes_file(&self, command: u32, arg: PhysAddr) -> bool {
        command == cmd::FS && self.file_params(arg).1[0].a == fs::CLOSE
    }

    /// Answers a request for files.
    pub(super) fn answer_files(&self, arg: PhysAddr) -> TeeResult {
        let (at, mut params) = self.file_params(arg);
        let [what, memory, out] = &mut params;
        let has_memory = !matches!(what.a, fs::CLOSE | fs::TRUNCATE);
        let mut data = Vec::new();
        if has_memory {
            let lent = self.normal.lock().lent.get(&memory.c).copied();
            let Some(lent) = lent else {
                return TeeResult::BAD_PARAMETERS;
            };
            assert!(memory.a + memory.b <= lent, "more than was lent");
            let is_in = memory.attr == attr::RMEM_INPUT;
            assert_eq!(is_in, what.a != fs::READ, "{what:?}");
            data = match is_in {
                true => self.read(PhysAddr(memory.c + memory.a), memory.b as usize),
                false => vec![0xa5; memory.b as usize],
            };
        }
        let served = self.normal.lock().files.serve(*what, &mut data);
        match what.a {
            fs::READ if served.is_ok() => {
                self.write(PhysAddr(memory.c + memory.a), &data);
                memory.b = data.len() as u64;
                self.write(at, params[..2].as_bytes());
            }
            fs::OPEN | fs::CREATE => {
                out.a = served.unwrap_or_default();
                self.write(at, params.as_bytes());
            }
            _ => {}
        }
        TeeResult::from_result(served.map(drop))
    }

    /// The supplicant dies and comes back: what was open and lent is not.
    pub fn restart_supplicant(&self) {
        let mut normal = self.normal.lock();
        normal.files.fds.clear();
    }

    /// Gives the supplicant room for so many bytes in a file, or as much as there is.
    pub fn limit_files(&self, room: Option<usize>) {
        self.normal.lock().files.room = room;
    }

    /// Has what is refused be answered with this code.
    pub fn refuse_with(&self, code: TeeResult) {
        self.normal.lock().refusal = code;
    }

    /// What was to happen beside and did not, forgotten.
    pub fn forget_hooks(&self) {
        self.normal.lock().hooks.clear();
    }

    /// Names of files that there are.
    #[must_use]
    pub fn file_names(&self) -> Vec<String> {
        self.normal.lock().files.named.keys().cloned().collect()
    }

    /// Changes a file behind everybody's back.
    pub fn change_file(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let file = self.normal.lock().files.named.get(name).cloned();
        if let Some(file) = file {
            change(&mut file.lock());
        }
    }
}
