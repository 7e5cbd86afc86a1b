//! Files of trusted storage: the normal world's, by its supplicant.
//!
//! Source: optee_os `core/tee/tee_fs_rpc.c`, `core/include/optee_rpc_cmd.h`; optee_client `tee-supplicant/src/tee_supp_fs.c`.
//!
//! **Invariant:** what comes back is an allegation: no length is believed that is larger than what was asked for. A call has one
//! piece of shared memory for files, which goes with the call at the latest: the normal world's driver cannot let its supplicant
//! go as long as we have it.

use crate::call::Call;
use crate::call::rpc::RpcShm;
use crate::observer::Observer;
use crate::ta::instance::InstanceRef;
use core::fmt::{self, Write};
use tally_abi::TeeResult;
use tally_abi::msg::{MsgParam, attr};
use tally_abi::rpc::{cmd, fs};
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;
use tally_storage::host::{Fd, Host, Name, StorageError};

/// Most bytes that go to the normal world at a time.
const MAX_BYTES: usize = 16 << 10;
/// Bytes of a name at most: a slash, eight characters, a zero.
const NAME_BYTES: usize = 10;

/// Files, for a call, and for the instance that it works for.
pub struct Files<'c, 'k, M: Machine + 'static, O: Observer> {
    /// The call.
    pub(crate) call: &'c mut Call<'k, M, O>,
    instance: Option<InstanceRef>,
}

/// A name as the supplicant wants it: from its directory on, with a zero behind.
struct FileName {
    bytes: [u8; NAME_BYTES],
    len: usize,
}

impl FileName {
    fn of(name: Name) -> Self {
        let mut made = Self {
            bytes: [0; NAME_BYTES],
            len: 0,
        };
        // Names are shorter than the room for them, but for the zero that is there.
        let _ = write!(made, "/{name}");
        made
    }

    fn with_zero(&self) -> &[u8] {
        self.bytes.get(..=self.len).unwrap_or(&self.bytes)
    }
}

impl Write for FileName {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

const fn value(attr: u64, a: u64, b: u64, c: u64) -> MsgParam {
    MsgParam { attr, a, b, c }
}

/// A code of the supplicant's. Those of which storage makes nothing are one to a TA: it does not end of them.
const fn refusal(code: TeeResult) -> StorageError {
    match code {
        TeeResult::ITEM_NOT_FOUND => StorageError::NotFound,
        TeeResult::STORAGE_NO_SPACE => StorageError::NoSpace,
        TeeResult::OUT_OF_MEMORY => StorageError::OutOfMemory,
        _ => StorageError::Code(TeeResult::STORAGE_NOT_AVAILABLE),
    }
}

impl<'c, 'k, M: Machine, O: Observer> Files<'c, 'k, M, O> {
    /// Files for an instance, or for nobody.
    pub(crate) const fn new(call: &'c mut Call<'k, M, O>, instance: Option<InstanceRef>) -> Self {
        Self { call, instance }
    }

    /// Asks the supplicant for nothing that an instance needs no more.
    fn check_alive(&self) -> Result<(), StorageError> {
        match self.instance {
            Some(instance) if self.call.is_killed(instance) => {
                Err(StorageError::Code(TeeResult::TARGET_DEAD))
            }
            _ => Ok(()),
        }
    }

    /// One request, whose last memory is that of the call.
    #[inline(never)]
    fn ask(&mut self, params: &mut [MsgParam]) -> Result<(), StorageError> {
        self.call.storage_call.requests += 1;
        let machine = &self.call.kernel.machine;
        let asked = self.call.rpc.command(machine, cmd::FS, params);
        let Err(code) = asked else { return Ok(()) };
        if matches!(code, TeeResult::BAD_PARAMETERS | TeeResult::COMMUNICATION) {
            // It may be another supplicant, which does not know the memory of the one before.
            self.call.give_file_memory_back();
        }
        Err(refusal(code))
    }

    /// The call's memory for files. Where it was given back, the next operation gets another one.
    fn memory(&self) -> Result<&RpcShm, StorageError> {
        let memory = self.call.file_memory.as_ref();
        memory.ok_or(refusal(TeeResult::COMMUNICATION))
    }

    /// Puts bytes into the memory. How it goes along.
    fn send(&self, bytes: &[u8]) -> Result<MsgParam, StorageError> {
        let machine = &self.call.kernel.machine;
        let memory = self.memory()?;
        let written = memory.shm.write(machine, 0, bytes);
        written.map_err(|_| refusal(TeeResult::COMMUNICATION))?;
        Ok(value(
            attr::RMEM_INPUT,
            0,
            bytes.len() as u64,
            memory.cookie,
        ))
    }

    #[inline(never)]
    fn open_as(&mut self, command: u64, name: Name) -> Result<Fd, StorageError> {
        self.check_alive()?;
        let name = self.send(FileName::of(name).with_zero())?;
        let mut params = [
            value(attr::VALUE_INPUT, command, 0, 0),
            name,
            value(attr::VALUE_OUTPUT, 0, 0, 0),
        ];
        self.ask(&mut params)?;
        Ok(Fd(params[2].a as u32))
    }

    #[inline(never)]
    fn read_some(&mut self, fd: Fd, at: u64, to: &mut [u8]) -> Result<usize, StorageError> {
        self.check_alive()?;
        let cookie = self.memory()?.cookie;
        let mut params = [
            value(attr::VALUE_INPUT, fs::READ, u64::from(fd.0), at),
            value(attr::RMEM_OUTPUT, 0, to.len() as u64, cookie),
        ];
        self.ask(&mut params)?;
        let there = usize::try_from(params[1].b).unwrap_or(usize::MAX);
        let to = to.get_mut(..there);
        let to = to.ok_or(refusal(TeeResult::COMMUNICATION))?;
        let machine = &self.call.kernel.machine;
        let read = self.memory()?.shm.read(machine, 0, to);
        read.map_err(|_| refusal(TeeResult::COMMUNICATION))?;
        Ok(there)
    }

    #[inline(never)]
    fn write_some(&mut self, fd: Fd, at: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.check_alive()?;
        let data = self.send(bytes)?;
        let mut params = [
            value(attr::VALUE_INPUT, fs::WRITE, u64::from(fd.0), at),
            data,
        ];
        self.ask(&mut params)
    }
}

impl<M: Machine, O: Observer> Host for Files<'_, '_, M, O> {
    fn open(&mut self, name: Name) -> Result<Fd, StorageError> {
        self.open_as(fs::OPEN, name)
    }

    fn create(&mut self, name: Name) -> Result<Fd, StorageError> {
        self.open_as(fs::CREATE, name)
    }

    fn close(&mut self, fd: Fd) {
        let fd = u64::from(fd.0);
        // Where the line is closed, so are the files.
        let _ = self.ask(&mut [value(attr::VALUE_INPUT, fs::CLOSE, fd, 0)]);
    }

    fn read(&mut self, fd: Fd, at: u64, to: &mut [u8]) -> Result<usize, StorageError> {
        let mut done = 0;
        for piece in to.chunks_mut(MAX_BYTES) {
            let there = self.read_some(fd, at.saturating_add(done as u64), piece)?;
            done += there;
            if there < piece.len() {
                break;
            }
        }
        Ok(done)
    }

    fn write(&mut self, fd: Fd, at: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let mut at = at;
        for piece in bytes.chunks(MAX_BYTES) {
            self.write_some(fd, at, piece)?;
            at = at.saturating_add(piece.len() as u64);
        }
        Ok(())
    }

    fn truncate(&mut self, fd: Fd, bytes: u64) -> Result<(), StorageError> {
        self.check_alive()?;
        let fd = u64::from(fd.0);
        self.ask(&mut [value(attr::VALUE_INPUT, fs::TRUNCATE, fd, bytes)])
    }

    fn remove(&mut self, name: Name) -> Result<(), StorageError> {
        let name = self.send(FileName::of(name).with_zero())?;
        self.ask(&mut [value(attr::VALUE_INPUT, fs::REMOVE, 0, 0), name])
    }

    fn random(&mut self, bytes: &mut [u8]) {
        self.call.kernel.machine.random(bytes);
    }

    fn at_length<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.call.kernel.machine.interruptible(work)
    }
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Has memory for files. That is done before anything that goes deep: it takes some of the stack.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; `STORAGE_NOT_AVAILABLE`.
    #[inline(never)]
    pub(crate) fn require_file_memory(&mut self) -> Result<(), StorageError> {
        if self.file_memory.is_none() {
            let kernel = self.kernel;
            let alloc = || self.rpc.shm_alloc(&kernel.machine, MAX_BYTES as u64);
            let memory = kernel.as_owner(OwnerId::CALL, alloc);
            self.file_memory = Some(memory.map_err(refusal)?);
        }
        Ok(())
    }

    /// Gives the memory for files back, if there is any.
    #[inline(never)]
    pub(crate) fn give_file_memory_back(&mut self) {
        if let Some(shm) = self.file_memory.take() {
            self.rpc.shm_free(&self.kernel.machine, shm);
        }
    }
}
