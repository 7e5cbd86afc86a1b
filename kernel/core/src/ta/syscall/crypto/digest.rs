//! Digests and message authentication codes.

use crate::call::Call;
use crate::observer::Observer;
use crate::ta::crypto::algorithm::Class;
use crate::ta::crypto::state::{CryptState, Work};
use crate::ta::instance::InstanceRef;
use tally_abi::TeeResult;
use tally_crypto::symmetric::hash::{Hash, MAX_DIGEST};
use tally_crypto::symmetric::mac::Mac;
use tally_mem::machine::Machine;

impl<M: Machine, O: Observer> Call<'_, M, O> {
    #[inline(never)]
    pub(super) fn sys_hash_init(
        &self,
        instance: InstanceRef,
        handle: u64,
    ) -> Result<(), TeeResult> {
        let machine = &self.kernel.machine;
        self.with_state(instance, handle, |state| {
            match (&mut state.work, state.class) {
                (Work::Digest(hash), Class::Digest(algorithm)) => {
                    **hash = Some(Hash::new(algorithm));
                    Ok(())
                }
                (Work::Mac(mac), Class::Mac(algorithm)) => {
                    self.with_secret(instance, state.keys[0], |key| {
                        machine.interruptible(|| {
                            **mac = Some(Mac::new(algorithm, key)?);
                            Ok(())
                        })
                    })
                }
                _ => Err(TeeResult::BAD_PARAMETERS),
            }
        })
    }

    #[inline(never)]
    pub(super) fn sys_hash_update(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [handle, data, len] = [x[0], x[1], x[2]];
        if data == 0 && len != 0 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        if len == 0 {
            return Ok(());
        }
        self.check_read(instance, data, len)?;
        self.with_state(instance, handle, |state| {
            self.absorb(instance, state, [data, len])
        })
    }

    fn absorb(
        &self,
        instance: InstanceRef,
        state: &mut CryptState,
        [data, len]: [u64; 2],
    ) -> Result<(), TeeResult> {
        if !state.work.has_begun() {
            return Err(TeeResult::BAD_STATE);
        }
        match &mut state.work {
            Work::Digest(hash) => {
                let hash = (**hash)
                    .as_mut()
                    .filter(|hash| len == 0 || !hash.is_squeezed());
                let hash = hash.ok_or(TeeResult::BAD_STATE)?;
                self.read_pieces(instance, data, len, |piece| {
                    hash.update(piece);
                    Ok(())
                })
            }
            Work::Mac(mac) => {
                let mac = (**mac).as_mut().ok_or(TeeResult::BAD_STATE)?;
                self.read_pieces(instance, data, len, |piece| {
                    mac.update(piece);
                    Ok(())
                })
            }
            Work::Cipher(_) | Work::Aead(_) | Work::AtOnce => Err(TeeResult::BAD_PARAMETERS),
        }
    }

    #[inline(never)]
    pub(super) fn sys_hash_final(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [handle, data, len, out, out_len] = [x[0], x[1], x[2], x[3], x[4]];
        if data == 0 && len != 0 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        self.check_read(instance, data, len)?;
        let room = self.read_u64(instance, out_len)?;
        self.check_write(instance, out, room)?;
        self.with_state(instance, handle, |state| {
            if !state.work.has_begun() {
                return Err(TeeResult::BAD_STATE);
            }
            let bytes = match state.class {
                Class::Digest(algorithm) => algorithm.digest_bytes(),
                Class::Mac(algorithm) => Some(algorithm.code_bytes()),
                _ => return Err(TeeResult::BAD_PARAMETERS),
            };
            let Some(bytes) = bytes else {
                self.absorb(instance, state, [data, len])?;
                return self.squeeze(instance, state, [out, room]);
            };
            if room < bytes as u64 {
                self.write_u64(instance, out_len, bytes as u64)?;
                return Err(TeeResult::SHORT_BUFFER);
            }
            self.absorb(instance, state, [data, len])?;
            let mut code = [0; MAX_DIGEST];
            let code = &mut code[..bytes];
            self.kernel
                .machine
                .interruptible(|| match &mut state.work {
                    Work::Digest(hash) => {
                        let mut hash = hash.take().ok_or(TeeResult::BAD_STATE)?;
                        hash.finish(code);
                        Ok(())
                    }
                    Work::Mac(mac) => mac.as_mut().ok_or(TeeResult::BAD_STATE)?.finish(code),
                    Work::Cipher(_) | Work::Aead(_) | Work::AtOnce => {
                        Err(TeeResult::BAD_PARAMETERS)
                    }
                })?;
            state.work.end();
            self.write(instance, out, code)?;
            self.write_u64(instance, out_len, bytes as u64)
        })
    }

    /// Gives as many bytes as there is room for.
    fn squeeze(
        &self,
        instance: InstanceRef,
        state: &mut CryptState,
        [out, room]: [u64; 2],
    ) -> Result<(), TeeResult> {
        let Work::Digest(hash) = &mut state.work else {
            return Err(TeeResult::BAD_PARAMETERS);
        };
        let hash = (**hash).as_mut().ok_or(TeeResult::BAD_STATE)?;
        let mut done = 0;
        while done < room {
            let mut chunk = [0; MAX_DIGEST];
            let piece = &mut chunk[..(room - done).min(MAX_DIGEST as u64) as usize];
            self.kernel.machine.interruptible(|| hash.finish(piece));
            self.write(instance, out + done, piece)?;
            done += piece.len() as u64;
        }
        Ok(())
    }
}
