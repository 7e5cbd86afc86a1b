//! The normal world's supplicant, asked for a pseudo-TA, with memory of its client's that is lent for so long.
//!
//! **Invariant:** the supplicant sees a copy; a length is passed on only if the client has room for it, or is told that it has
//! not, or knows that datagrams may be longer.

use crate::call::rpc::RpcShm;
use crate::observer::Observer;
use crate::pta::Params;
use crate::pta::services::PtaCall;
use tally_abi::TeeResult;
use tally_abi::msg::{MsgParam, attr};
use tally_mem::machine::Machine;

/// Bytes copied at a time.
const COPY_CHUNK: usize = 512;
/// Most bytes that go along.
const MAX_BYTES: u64 = 8 << 20;

/// What of the client's memory goes along, and comes back.
#[derive(Clone, Copy, Debug)]
pub struct Data {
    /// Which parameter of the RPC it becomes.
    pub rpc: usize,
    /// Which parameter of the client's it is.
    pub param: usize,
    /// Its direction, of [`attr`]'s `RMEM_*`.
    pub kind: u64,
    /// How many bytes come back.
    pub answer: Answer,
}

/// Where an answer says how long it is.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// None comes back.
    None,
    /// In the size of the memory, which the client is told too.
    Size,
    /// In the size of the memory: of a datagram, whose end is cut off if there is no room for it.
    Datagram,
    /// In b of this parameter of the RPC; for memory that goes out only, how much of it was taken.
    Value(usize),
}

/// A value that goes to the supplicant, or comes back as `attr` says.
#[must_use]
pub const fn value(attr: u64, a: u64, b: u64, c: u64) -> MsgParam {
    MsgParam { attr, a, b, c }
}

/// A value that goes to the supplicant.
#[must_use]
pub const fn input(a: u64, b: u64, c: u64) -> MsgParam {
    value(attr::VALUE_INPUT, a, b, c)
}

/// The normal world's supplicant.
pub trait Supplicant {
    /// Asks it for a command of [`tally_abi::rpc::cmd`]: `rpc` goes out and comes back, with memory of the client's.
    ///
    /// # Errors
    /// The supplicant's code; `OUT_OF_MEMORY` and the like when it lends no memory, or so much would go along; `COMMUNICATION`
    /// when it succeeds with more bytes than there is room for.
    fn ask(
        &self,
        command: u32,
        rpc: &mut [MsgParam],
        data: Option<Data>,
        params: &mut dyn Params,
    ) -> Result<(), TeeResult>;
}

impl<M: Machine, O: Observer> Supplicant for PtaCall<'_, '_, M, O> {
    fn ask(
        &self,
        command: u32,
        rpc: &mut [MsgParam],
        data: Option<Data>,
        params: &mut dyn Params,
    ) -> Result<(), TeeResult> {
        let machine = &self.kernel.machine;
        let Some(data) = data else {
            return self.call.borrow_mut().rpc.command(machine, command, rpc);
        };
        let room = params.memref_len(data.param);
        let shm = if room == 0 {
            None
        } else if room > MAX_BYTES {
            return Err(TeeResult::OUT_OF_MEMORY);
        } else {
            Some(self.call.borrow_mut().rpc.shm_alloc(machine, room)?)
        };
        let done = self.ask_with(command, rpc, &data, params, shm.as_ref());
        if let Some(shm) = shm {
            self.call.borrow_mut().rpc.shm_free(machine, shm);
        }
        done
    }
}

impl<M: Machine, O: Observer> PtaCall<'_, '_, M, O> {
    fn ask_with(
        &self,
        command: u32,
        rpc: &mut [MsgParam],
        data: &Data,
        params: &mut dyn Params,
        shm: Option<&RpcShm>,
    ) -> Result<(), TeeResult> {
        let machine = &self.kernel.machine;
        let room = params.memref_len(data.param);
        if let Some(shm) = shm
            && data.kind != attr::RMEM_OUTPUT
        {
            Self::in_chunks(room, |at, piece| {
                params.read(data.param, at, piece)?;
                Ok(shm.shm.write(machine, at, piece)?)
            })?;
        }
        let lent = rpc.get_mut(data.rpc).ok_or(TeeResult::GENERIC)?;
        *lent = match shm {
            Some(shm) => value(data.kind, 0, room, shm.cookie),
            None => value(data.kind - attr::RMEM_INPUT + attr::TMEM_INPUT, 0, 0, 0),
        };
        let done = self.call.borrow_mut().rpc.command(machine, command, rpc);
        let told = match data.answer {
            Answer::None => return done,
            Answer::Size | Answer::Datagram => data.rpc,
            Answer::Value(index) => index,
        };
        let told = rpc.get_mut(told).ok_or(TeeResult::GENERIC)?;
        let most = match (done, data.answer) {
            (Ok(()), Answer::Datagram) | (Err(TeeResult::SHORT_BUFFER), _) => u32::MAX.into(),
            (Ok(()), _) if told.b > room => return Err(TeeResult::COMMUNICATION),
            _ => room,
        };
        told.b = told.b.min(most);
        let len = told.b;
        if let Some(shm) = shm
            && data.kind != attr::RMEM_INPUT
        {
            Self::in_chunks(len.min(room), |at, piece| {
                shm.shm.read(machine, at, piece)?;
                params.write(data.param, at, piece)
            })?;
        }
        if matches!(data.answer, Answer::Size | Answer::Datagram) {
            params.set_memref_len(data.param, len);
        }
        done
    }

    /// Has pieces of `len` bytes copied to or from the client.
    fn in_chunks(
        len: u64,
        mut copy: impl FnMut(u64, &mut [u8]) -> Result<(), TeeResult>,
    ) -> Result<(), TeeResult> {
        let mut chunk = [0; COPY_CHUNK];
        for at in (0..len).step_by(COPY_CHUNK) {
            let piece = (len - at).min(COPY_CHUNK as u64) as usize;
            copy(at, &mut chunk[..piece])?;
        }
        Ok(())
    }
}
