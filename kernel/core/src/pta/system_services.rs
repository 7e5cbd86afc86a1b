//! What the kernel does for a TA that cannot do it itself: memory, libraries, plugins of the supplicant.
//!
//! **Invariant:** what fails leaves the TA as it was.

use crate::call::rpc::RpcShm;
use crate::observer::Observer;
use crate::pta::Params;
use crate::pta::services::PtaCall;
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::addr::{PAGE_SIZE, UserVa};
use tally_mem::machine::Machine;
use tally_mem::mem::Mem;
use tally_mem::region::{Place, Prot, RegionKind};

/// Bytes of a plugin's data copied at a time.
const COPY_CHUNK: usize = 512;

/// What a plugin of the supplicant shall do.
#[derive(Clone, Copy, Debug)]
pub struct Plugin {
    /// Which plugin.
    pub uuid: TeeUuid,
    /// What it shall do: its own numbers.
    pub command: u32,
    /// As above.
    pub subcommand: u32,
}

/// For the TA that asks. All get `ACCESS_DENIED` when no TA asks.
pub trait SystemServices {
    /// Maps zeroed memory: at an address, or at any for 0, with bytes kept free before and behind it. Its address.
    ///
    /// # Errors
    /// `BAD_PARAMETERS`, `OUT_OF_MEMORY`, `ACCESS_CONFLICT` where something lies.
    fn map_zero(&self, bytes: u32, at: u64, pads: (u32, u32)) -> Result<u64, TeeResult>;
    /// Unmaps some of it.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` for what is not mapped, `ACCESS_DENIED` for what was mapped otherwise.
    fn unmap(&self, bytes: u32, va: u64) -> Result<(), TeeResult>;
    /// Loads a library.
    ///
    /// # Errors
    /// The supplicant's code, or that of a refused image.
    fn open_library(&self, uuid: TeeUuid) -> Result<(), TeeResult>;
    /// The address of a symbol, in one library first unless it is nil.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`.
    fn find_symbol(&self, uuid: TeeUuid, name: &[u8]) -> Result<u64, TeeResult>;
    /// Has a plugin work on memory reference `data`; value `len` gets the bytes of its answer.
    ///
    /// # Errors
    /// The plugin's code, or the supplicant's.
    fn invoke_plugin(
        &self,
        plugin: Plugin,
        params: &mut dyn Params,
        data: usize,
        len: usize,
    ) -> Result<(), TeeResult>;
}

/// What may be unmapped again.
const MAPPED: &[RegionKind] = &[RegionKind::Mapped];

impl<M: Machine, O: Observer> SystemServices for PtaCall<'_, '_, M, O> {
    fn map_zero(&self, bytes: u32, at: u64, pads: (u32, u32)) -> Result<u64, TeeResult> {
        let instance = self.asking()?.instance;
        let kernel = self.kernel;
        let place = if at == 0 {
            Place::Anywhere {
                random: kernel.random_u64(),
                pad_before: u64::from(pads.0),
                pad_after: u64::from(pads.1),
            }
        } else {
            Place::At(UserVa(at))
        };
        let mut state = kernel.state();
        let (pages, guest) = state.split(instance.guest());
        let found = guest.to_grow(instance).ok_or(TeeResult::TARGET_DEAD)?;
        let owner = found.owner;
        let space = found.space.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
        let len = u64::from(bytes).next_multiple_of(PAGE_SIZE as u64);
        let va = kernel.as_owner(owner, || {
            let mut memory = Mem::new(pages, &kernel.machine);
            space.map_zero(
                &mut memory,
                RegionKind::Mapped,
                len,
                Prot::READ_WRITE,
                place,
            )
        });
        Ok(va?.0)
    }

    fn unmap(&self, bytes: u32, va: u64) -> Result<(), TeeResult> {
        let instance = self.asking()?.instance;
        let call = self.call.borrow();
        call.unmap_piecewise(instance, UserVa(va), u64::from(bytes), MAPPED)
    }

    fn open_library(&self, uuid: TeeUuid) -> Result<(), TeeResult> {
        let instance = self.asking()?.instance;
        self.call.borrow_mut().open_library(instance, uuid)
    }

    fn find_symbol(&self, uuid: TeeUuid, name: &[u8]) -> Result<u64, TeeResult> {
        let instance = self.asking()?.instance;
        self.call.borrow_mut().find_symbol(instance, uuid, name)
    }

    fn invoke_plugin(
        &self,
        plugin: Plugin,
        params: &mut dyn Params,
        data: usize,
        len: usize,
    ) -> Result<(), TeeResult> {
        self.asking()?;
        let machine = &self.kernel.machine;
        let room = params.memref_len(data);
        if room == 0 {
            let (done, answer) = self.call.borrow_mut().rpc.plugin(machine, &plugin, None);
            params.set_value(len, answer as u32, 0);
            return done;
        }
        let shm = self.call.borrow_mut().rpc.shm_alloc(machine, room)?;
        let done = self.with_plugin(&plugin, params, (data, room), &shm);
        self.call.borrow_mut().rpc.shm_free(machine, shm);
        let (done, answer) = done?;
        params.set_value(len, answer as u32, 0);
        done
    }
}

impl<M: Machine, O: Observer> PtaCall<'_, '_, M, O> {
    /// Lends the data in `shm` for the call: what the plugin says, and bytes of its answer.
    fn with_plugin(
        &self,
        plugin: &Plugin,
        params: &mut dyn Params,
        (data, room): (usize, u64),
        shm: &RpcShm,
    ) -> Result<(Result<(), TeeResult>, u64), TeeResult> {
        let machine = &self.kernel.machine;
        self.in_chunks(room, |at, piece| {
            params.read(data, at, piece)?;
            Ok(shm.shm.write(machine, at, piece)?)
        })?;
        let lent = Some((shm, room));
        let (done, answer) = self.call.borrow_mut().rpc.plugin(machine, plugin, lent);
        self.in_chunks(answer.min(room), |at, piece| {
            shm.shm.read(machine, at, piece)?;
            params.write(data, at, piece)
        })?;
        Ok((done, answer))
    }

    /// Has pieces of `len` bytes copied, with chances for interrupts in between.
    fn in_chunks(
        &self,
        len: u64,
        mut copy: impl FnMut(u64, &mut [u8]) -> Result<(), TeeResult>,
    ) -> Result<(), TeeResult> {
        let mut chunk = [0; COPY_CHUNK];
        for at in (0..len).step_by(COPY_CHUNK) {
            let piece = (len - at).min(COPY_CHUNK as u64) as usize;
            copy(at, &mut chunk[..piece])?;
            self.kernel.breathe();
        }
        Ok(())
    }
}
