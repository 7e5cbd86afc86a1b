//! Authenticated encryption.

use super::cipher::direction;
use crate::call::Call;
use crate::observer::Observer;
use crate::ta::crypto::algorithm::Class;
use crate::ta::crypto::state::{CryptState, Work};
use crate::ta::instance::InstanceRef;
use tally_abi::TeeResult;
use tally_abi::crypto::mode;
use tally_crypto::symmetric::aead::{Aead, Algorithm, Lengths};
use tally_crypto::symmetric::block::MAX_BLOCK;
use tally_mem::machine::Machine;

/// Bytes of the longest nonce. Nobody has use for a longer one.
const MAX_NONCE: usize = 128;

/// The text of a state that has begun and does this.
///
/// # Errors
/// `BAD_STATE`: it has not, or does something else.
fn begun(state: &mut CryptState) -> Result<&mut Aead, TeeResult> {
    match &mut state.work {
        Work::Aead(aead) => (**aead).as_mut().ok_or(TeeResult::BAD_STATE),
        _ => Err(TeeResult::BAD_STATE),
    }
}

/// As [`begun`], of an operation of this mode.
fn begun_to(mode: u32, state: &mut CryptState) -> Result<&mut Aead, TeeResult> {
    let is_other = state.mode != mode;
    let aead = begun(state)?;
    if is_other {
        return Err(TeeResult::BAD_PARAMETERS);
    }
    Ok(aead)
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    #[inline(never)]
    pub(super) fn sys_aead_init(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [handle, nonce, nonce_len] = [x[0], x[1], x[2]];
        let lengths = Lengths {
            tag: x[3],
            aad: x[4],
            text: x[5],
        };
        self.with_state(instance, handle, |state| {
            let (Class::Aead(algorithm), Work::Aead(aead)) = (state.class, &mut state.work) else {
                return Err(TeeResult::BAD_STATE);
            };
            self.check_read(instance, nonce, nonce_len)?;
            if nonce_len > MAX_NONCE as u64 {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            let mut bytes = [0; MAX_NONCE];
            let bytes = &mut bytes[..nonce_len as usize];
            self.read(instance, nonce, bytes)?;
            let direction = direction(state.mode)?;
            self.with_secret(instance, state.keys[0], |key| {
                self.kernel.machine.interruptible(|| {
                    **aead = Some(Aead::new(algorithm, direction, key, bytes, lengths)?);
                    Ok(())
                })
            })
        })
    }

    #[inline(never)]
    pub(super) fn sys_aead_aad(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [handle, data, len] = [x[0], x[1], x[2]];
        self.check_read(instance, data, len)?;
        self.with_state(instance, handle, |state| {
            let aead = begun(state)?;
            self.read_pieces(instance, data, len, |piece| aead.aad(piece))
        })
    }

    #[inline(never)]
    pub(super) fn sys_aead_update(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        self.with_state(instance, x[0], |state| {
            self.aead_text(instance, begun(state)?, x)
        })
    }

    /// The text of a call, `x[1]` to `x[4]`.
    fn aead_text(
        &self,
        instance: InstanceRef,
        aead: &mut Aead,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [from, len, to, to_len] = [x[1], x[2], x[3], x[4]];
        self.check_room(instance, [from, len], [to, to_len])?;
        aead.expects(len)?;
        self.change_pieces(instance, [from, to], len, |piece| aead.text(piece))?;
        if to_len != 0 {
            self.write_u64(instance, to_len, len)?;
        }
        Ok(())
    }

    #[inline(never)]
    pub(super) fn sys_aead_encrypt_final(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [tag, tag_len] = [x[5], x[6]];
        self.with_state(instance, x[0], |state| {
            let aead = begun_to(mode::ENCRYPT, state)?;
            self.check_room(instance, [x[1], x[2]], [x[3], x[4]])?;
            let room = self.read_u64(instance, tag_len)?;
            self.check_write(instance, tag, room)?;
            let bytes = aead.tag_bytes();
            if room < bytes as u64 {
                self.write_u64(instance, tag_len, bytes as u64)?;
                return Err(TeeResult::SHORT_BUFFER);
            }
            self.aead_text(instance, aead, x)?;
            let code = self.kernel.machine.interruptible(|| aead.tag())?;
            state.work.end();
            self.write(instance, tag, &code[..bytes])?;
            self.write_u64(instance, tag_len, bytes as u64)
        })
    }

    #[inline(never)]
    pub(super) fn sys_aead_decrypt_final(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [tag, tag_len] = [x[5], x[6]];
        self.with_state(instance, x[0], |state| {
            let is_ccm = state.class == Class::Aead(Algorithm::Ccm);
            let aead = begun_to(mode::DECRYPT, state)?;
            self.check_room(instance, [x[1], x[2]], [x[3], x[4]])?;
            self.check_read(instance, tag, tag_len)?;
            let mut given = [0; MAX_BLOCK];
            match tag_len {
                0 if is_ccm => return Err(TeeResult::SHORT_BUFFER),
                len if is_ccm && len > MAX_BLOCK as u64 => return Err(TeeResult::BAD_STATE),
                len if len != aead.tag_bytes() as u64 => return Err(TeeResult::MAC_INVALID),
                len => self.read(instance, tag, &mut given[..len as usize])?,
            }
            self.aead_text(instance, aead, x)?;
            let given = &given[..tag_len as usize];
            let confirmed = self.kernel.machine.interruptible(|| aead.confirm(given));
            state.work.end();
            confirmed
        })
    }
}
