//! Parameters as pseudo-TAs see them.
//!
//! **Invariant:** every access is checked against the reference's size as the client gave it, and is a chance for an
//! interrupt: a pseudo-TA may go through all of a reference in pieces.

use crate::call::args::{Arg, ArgMemory, Args, is_input, is_output};
use crate::call::shm::{Shm, ShmRef};
use crate::guest_id::GuestId;
use crate::kernel::{Kernel, State};
use crate::observer::Observer;
use crate::pta::Params;
use crate::ta::instance::InstanceRef;
use tally_abi::TeeResult;
use tally_mem::addr::UserVa;
use tally_mem::machine::Machine;

/// [`Args`] with the memory behind them.
pub struct PtaParams<'a, M: Machine + 'static, O: Observer> {
    kernel: &'a Kernel<M, O>,
    guest: GuestId,
    args: &'a mut Args,
}

impl<'a, M: Machine, O: Observer> PtaParams<'a, M, O> {
    /// Joins the two.
    pub fn new(kernel: &'a Kernel<M, O>, guest: GuestId, args: &'a mut Args) -> Self {
        Self {
            kernel,
            guest,
            args,
        }
    }

    /// The memory of a reference of one of these kinds, which has so many bytes there.
    fn memref(
        &self,
        index: usize,
        offset: u64,
        len: u64,
        is_kind: fn(u32) -> bool,
    ) -> Result<&ArgMemory, TeeResult> {
        let end = offset.checked_add(len);
        match self.args.items.get(index) {
            Some(Arg::Memref { memory, given, .. })
                if end.is_some_and(|end| end <= *given) && is_kind(self.args.kind(index)) =>
            {
                Ok(memory)
            }
            _ => Err(TeeResult::BAD_PARAMETERS),
        }
    }

    fn shared<'s>(&self, state: &'s State<O>, shm_ref: &ShmRef) -> Result<&'s Shm, TeeResult> {
        let shm = state.guest(self.guest).shm.object(shm_ref);
        shm.ok_or(TeeResult::BAD_PARAMETERS)
    }

    fn copy_in(&self, index: usize, offset: u64, buf: &mut [u8]) -> Result<(), TeeResult> {
        match self.memref(index, offset, buf.len() as u64, is_input)? {
            ArgMemory::Null => Ok(()),
            ArgMemory::Shm(shm_ref, base) => {
                let state = self.kernel.state();
                let shm = self.shared(&state, shm_ref)?;
                Ok(shm.read(&self.kernel.machine, base + offset, buf)?)
            }
            ArgMemory::Ta(instance, va) => {
                let state = self.kernel.state();
                alive(&state, *instance)?;
                self.kernel
                    .read_ta(&state, *instance, UserVa(va.0 + offset), buf)
            }
        }
    }

    fn copy_out(&self, index: usize, offset: u64, data: &[u8]) -> Result<(), TeeResult> {
        match self.memref(index, offset, data.len() as u64, is_output)? {
            ArgMemory::Null => Ok(()),
            ArgMemory::Shm(shm_ref, base) => {
                let state = self.kernel.state();
                let shm = self.shared(&state, shm_ref)?;
                Ok(shm.write(&self.kernel.machine, base + offset, data)?)
            }
            ArgMemory::Ta(instance, va) => {
                let mut state = self.kernel.state();
                alive(&state, *instance)?;
                self.kernel
                    .write_ta(&mut state, *instance, UserVa(va.0 + offset), data)
            }
        }
    }
}

/// Refuses what goes on for a TA that was killed: its pseudo-TA may have a lot to do.
fn alive<O: Observer>(state: &State<O>, instance: InstanceRef) -> Result<(), TeeResult> {
    let found = state.instance(instance);
    let alive = found.is_some_and(|found| !found.killed);
    alive.then_some(()).ok_or(TeeResult::TARGET_DEAD)
}

impl<M: Machine, O: Observer> Params for PtaParams<'_, M, O> {
    fn types(&self) -> u32 {
        self.args.types
    }

    fn value(&self, index: usize) -> (u32, u32) {
        match self.args.items.get(index) {
            Some(Arg::Value { a, b }) => (*a as u32, *b as u32),
            _ => (0, 0),
        }
    }

    fn set_value(&mut self, index: usize, a: u32, b: u32) {
        if let Some(Arg::Value { a: out_a, b: out_b }) = self.args.items.get_mut(index) {
            *out_a = u64::from(a);
            *out_b = u64::from(b);
        }
    }

    fn memref_len(&self, index: usize) -> u64 {
        match self.args.items.get(index) {
            Some(Arg::Memref { given, .. }) => *given,
            _ => 0,
        }
    }

    fn set_memref_len(&mut self, index: usize, len: u64) {
        if let Some(Arg::Memref { size, .. }) = self.args.items.get_mut(index) {
            *size = len;
        }
    }

    fn is_secure(&self, index: usize) -> bool {
        let Some(Arg::Memref {
            memory: ArgMemory::Ta(instance, va),
            given,
            ..
        }) = self.args.items.get(index)
        else {
            return false;
        };
        let state = self.kernel.state();
        let found = state.instance(*instance);
        let space = found.and_then(|found| found.space.as_ref());
        space.is_some_and(|space| space.is_secure(*va, *given))
    }

    fn read(&self, index: usize, offset: u64, buf: &mut [u8]) -> Result<(), TeeResult> {
        let read = self.copy_in(index, offset, buf);
        self.kernel.breathe();
        read
    }

    fn write(&mut self, index: usize, offset: u64, data: &[u8]) -> Result<(), TeeResult> {
        let written = self.copy_out(index, offset, data);
        self.kernel.breathe();
        written
    }
}
