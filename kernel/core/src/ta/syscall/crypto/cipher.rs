//! Ciphers.

use crate::call::Call;
use crate::observer::Observer;
use crate::ta::crypto::algorithm::Class;
use crate::ta::crypto::state::{CryptState, Work};
use crate::ta::instance::InstanceRef;
use tally_abi::TeeResult;
use tally_abi::crypto::mode;
use tally_crypto::symmetric::Direction;
use tally_crypto::symmetric::block::MAX_BLOCK;
use tally_crypto::symmetric::cipher::{Cipher, MAX_TAIL};
use tally_mem::machine::Machine;
use zeroize::Zeroizing;

/// Which way a mode goes.
///
/// # Errors
/// `BAD_PARAMETERS`: another way than a cipher can.
pub(super) const fn direction(of: u32) -> Result<Direction, TeeResult> {
    match of {
        mode::ENCRYPT => Ok(Direction::Encrypt),
        mode::DECRYPT => Ok(Direction::Decrypt),
        _ => Err(TeeResult::BAD_PARAMETERS),
    }
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    #[inline(never)]
    pub(super) fn sys_cipher_init(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [handle, iv, iv_len] = [x[0], x[1], x[2]];
        self.with_state(instance, handle, |state| {
            let (Class::Cipher(block, chain), Work::Cipher(cipher)) =
                (state.class, &mut state.work)
            else {
                return Err(TeeResult::BAD_STATE);
            };
            self.check_read(instance, iv, iv_len)?;
            // A longer one is of the wrong length, whatever it is.
            let mut bytes = [0; MAX_BLOCK + 1];
            let bytes = &mut bytes[..iv_len.min(MAX_BLOCK as u64 + 1) as usize];
            self.read(instance, iv, bytes)?;
            let direction = direction(state.mode)?;
            let machine = &self.kernel.machine;
            let [first, second] = state.keys;
            self.with_secret(instance, first, |first| {
                let mut begin = |second: &[u8]| {
                    machine.interruptible(|| {
                        let keys = [first, second];
                        **cipher = Some(Cipher::new((block, chain), direction, keys, bytes)?);
                        Ok(())
                    })
                };
                match second {
                    0 => begin(&[]),
                    second => self.with_secret(instance, second, begin),
                }
            })
        })
    }

    #[inline(never)]
    pub(super) fn sys_cipher_update(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
        is_last: bool,
    ) -> Result<(), TeeResult> {
        let [handle, from, len, to, to_len] = [x[0], x[1], x[2], x[3], x[4]];
        self.with_state(instance, handle, |state| {
            if !state.work.has_begun() {
                return Err(TeeResult::BAD_STATE);
            }
            self.check_room(instance, [from, len], [to, to_len])?;
            self.crypt(instance, state, [from, to, len], is_last)?;
            if is_last {
                state.work.end();
            }
            if to_len != 0 {
                self.write_u64(instance, to_len, len)?;
            }
            Ok(())
        })
    }

    /// Confirms that the TA may read its text, and has room for what becomes of it.
    ///
    /// # Errors
    /// `ACCESS_DENIED`; `SHORT_BUFFER`, with the length told.
    pub(super) fn check_room(
        &self,
        instance: InstanceRef,
        [from, len]: [u64; 2],
        [to, to_len]: [u64; 2],
    ) -> Result<(), TeeResult> {
        self.check_read(instance, from, len)?;
        let mut room = 0;
        if to_len != 0 {
            room = self.read_u64(instance, to_len)?;
            self.check_write(instance, to, room)?;
        }
        if room < len {
            if to_len != 0 {
                self.write_u64(instance, to_len, len)?;
            }
            return Err(TeeResult::SHORT_BUFFER);
        }
        Ok(())
    }

    fn crypt(
        &self,
        instance: InstanceRef,
        state: &mut CryptState,
        [from, to, len]: [u64; 3],
        is_last: bool,
    ) -> Result<(), TeeResult> {
        let Work::Cipher(cipher) = &mut state.work else {
            return Err(TeeResult::BAD_PARAMETERS);
        };
        let cipher = (**cipher).as_mut().ok_or(TeeResult::BAD_STATE)?;
        if len == 0 {
            return Ok(());
        }
        let tail = cipher.check(state.algorithm, len, is_last)?;
        let whole = len - tail as u64;
        // The tail may lie where what becomes of the text before it goes.
        let mut last = Zeroizing::new([0; MAX_TAIL]);
        let last = &mut last[..tail];
        self.read(instance, from + whole, last)?;
        self.change_pieces(instance, [from, to], whole, |piece| {
            cipher.update(piece);
            Ok(())
        })?;
        self.kernel.machine.interruptible(|| cipher.finish(last));
        self.write(instance, to + whole, last)
    }
}

/// Lengths of pieces, as OP-TEE wants them.
trait Lengths {
    fn check(&self, algorithm: u32, len: u64, is_last: bool) -> Result<usize, TeeResult>;
}

impl Lengths for Cipher {
    /// How many of `len` bytes are the tail.
    fn check(&self, algorithm: u32, len: u64, is_last: bool) -> Result<usize, TeeResult> {
        use tally_abi::crypto::algorithm::{AES_CTR, SM4_CTR};
        let is_whole = len.is_multiple_of(self.block() as u64);
        match algorithm {
            AES_CTR => Ok(0),
            _ if !is_last && !is_whole => Err(TeeResult::BAD_PARAMETERS),
            _ if !is_last => Ok(0),
            SM4_CTR if !is_whole => Err(TeeResult::NOT_SUPPORTED),
            _ => self.tail(len),
        }
    }
}
