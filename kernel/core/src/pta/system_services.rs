//! Services of the kernel for the TA that asks: memory, keys, randomness and libraries.
//!
//! **Invariant:** what fails leaves the TA as it was.

use crate::hardware_key::{DERIVED, Derivation, Purpose};
use crate::observer::Observer;
use crate::pta::Params;
use crate::pta::services::PtaCall;
use crate::pta::supplicant::Supplicant;
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::addr::{PAGE_SIZE, UserVa};
use tally_mem::machine::Machine;
use tally_mem::mem::Mem;
use tally_mem::region::{Place, Prot, RegionKind};
use zerocopy::IntoBytes;
use zeroize::Zeroizing;

/// Bytes of data that a key is derived with, taken in at a time.
const CHUNK: usize = 128;

/// For the TA that asks. All get `ACCESS_DENIED` when no TA asks.
pub trait SystemServices: Supplicant {
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
    /// Mixes what the TA believes to be unpredictable into what random numbers are made of.
    fn stir(&self, words: [u64; 4]);
    /// A key of the TA's own: of this device, the TA's UUID, and `extra` bytes of an input reference.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` for bytes outside of the reference.
    fn unique_key(
        &self,
        extra: u64,
        params: &dyn Params,
        param: usize,
    ) -> Result<Zeroizing<[u8; DERIVED]>, TeeResult>;
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

    fn stir(&self, words: [u64; 4]) {
        self.kernel.machine.stir(words);
    }

    fn unique_key(
        &self,
        extra: u64,
        params: &dyn Params,
        param: usize,
    ) -> Result<Zeroizing<[u8; DERIVED]>, TeeResult> {
        let instance = self.asking()?.instance;
        let uuid = {
            let state = self.kernel.state();
            let found = state.instance(instance);
            found.ok_or(TeeResult::TARGET_DEAD)?.uuid
        };
        let mut derivation = Derivation::new(&self.kernel.hardware_key, Purpose::UniqueTa);
        derivation.update(uuid.as_bytes());
        let mut chunk = [0; CHUNK];
        for at in (0..extra).step_by(CHUNK) {
            let piece = &mut chunk[..(extra - at).min(CHUNK as u64) as usize];
            params.read(param, at, piece)?;
            derivation.update(piece);
        }
        Ok(derivation.finish())
    }

    fn open_library(&self, uuid: TeeUuid) -> Result<(), TeeResult> {
        let instance = self.asking()?.instance;
        self.call.borrow_mut().open_library(instance, uuid)
    }

    fn find_symbol(&self, uuid: TeeUuid, name: &[u8]) -> Result<u64, TeeResult> {
        let instance = self.asking()?.instance;
        self.call.borrow_mut().find_symbol(instance, uuid, name)
    }
}
