//! System calls of cryptography.
//!
//! Source: optee_os `core/tee/tee_svc_cryp.c` for what is checked, in which order, and how it is refused.
//!
//! **Invariant:** what a TA works with is taken out of its instance meanwhile, so that nothing is locked and interrupts come
//! through while an algorithm works; a TA's memory is confirmed whole before the first byte of it is worked on.

mod aead;
mod asymmetric;
mod cipher;
pub(super) mod data;
mod derive;
mod digest;
mod objects;
mod pairs;
pub(super) mod room;
mod rsa;
mod states;

use crate::call::Call;
use crate::observer::Observer;
use crate::ta::crypto::Holdings;
use crate::ta::crypto::object::Object;
use crate::ta::crypto::state::CryptState;
use crate::ta::instance::InstanceRef;
use tally_abi::TeeResult;
use tally_abi::ta::{access, svc};
use tally_mem::addr::UserVa;
use tally_mem::fallible::TryBox;
use tally_mem::machine::Machine;
use zerocopy::{FromZeros, IntoBytes};

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Serves a system call of cryptography: `x[8]` with its arguments.
    #[inline(never)]
    pub(super) fn sys_crypto(
        &mut self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        match x[8] {
            svc::CRYP_STATE_ALLOC => self.sys_state_alloc(instance, x),
            svc::CRYP_STATE_COPY => self.sys_state_copy(instance, [x[0], x[1]]),
            svc::CRYP_STATE_FREE => self.sys_state_free(instance, x[0]),
            svc::HASH_INIT => self.sys_hash_init(instance, x[0]),
            svc::HASH_UPDATE => self.sys_hash_update(instance, x),
            svc::HASH_FINAL => self.sys_hash_final(instance, x),
            svc::CIPHER_INIT => self.sys_cipher_init(instance, x),
            svc::CIPHER_UPDATE => self.sys_cipher_update(instance, x, false),
            svc::CIPHER_FINAL => self.sys_cipher_update(instance, x, true),
            svc::CRYP_OBJ_GET_INFO => self.sys_object_info(instance, [x[0], x[1]]),
            svc::CRYP_OBJ_RESTRICT_USAGE => self.sys_object_restrict(instance, x[0], x[1] as u32),
            svc::CRYP_OBJ_GET_ATTR => self.sys_object_attribute(instance, x),
            svc::CRYP_OBJ_ALLOC => self.sys_object_alloc(instance, x),
            svc::CRYP_OBJ_CLOSE => self.sys_object_close(instance, x[0]),
            svc::CRYP_OBJ_RESET => self.sys_object_reset(instance, x[0]),
            svc::CRYP_OBJ_POPULATE => self.sys_object_populate(instance, x),
            svc::CRYP_OBJ_COPY => self.sys_object_copy(instance, [x[0], x[1]]),
            svc::CRYP_OBJ_GENERATE_KEY => self.sys_generate_key(instance, x),
            svc::CRYP_DERIVE_KEY => self.sys_derive_key(instance, x),
            svc::ASYMM_OPERATE => self.sys_asymmetric_operate(instance, x),
            svc::ASYMM_VERIFY => self.sys_asymmetric_verify(instance, x),
            svc::AUTHENC_INIT => self.sys_aead_init(instance, x),
            svc::AUTHENC_UPDATE_AAD => self.sys_aead_aad(instance, x),
            svc::AUTHENC_UPDATE_PAYLOAD => self.sys_aead_update(instance, x),
            svc::AUTHENC_ENC_FINAL => self.sys_aead_encrypt_final(instance, x),
            svc::AUTHENC_DEC_FINAL => self.sys_aead_decrypt_final(instance, x),
            _ => Err(TeeResult::NOT_SUPPORTED),
        }
    }

    /// What the instance holds, with the state locked.
    pub(super) fn with_holdings<R>(
        &self,
        instance: InstanceRef,
        work: impl FnOnce(&mut Holdings) -> R,
    ) -> Result<R, TeeResult> {
        let mut state = self.kernel.state();
        let found = state.instance_mut(instance);
        let kept = found.and_then(|found| found.kept.as_mut());
        Ok(match &mut kept.ok_or(TeeResult::TARGET_DEAD)?.holdings {
            Some(holdings) => work(holdings),
            None => work(&mut Holdings::new()),
        })
    }

    #[inline(never)]
    pub(super) fn take_object(
        &self,
        instance: InstanceRef,
        handle: u64,
    ) -> Result<TryBox<Object>, TeeResult> {
        let handle = u32::try_from(handle).map_err(|_| TeeResult::BAD_STATE)?;
        let taken = self.with_holdings(instance, |held| held.objects.take(handle))?;
        taken.ok_or(TeeResult::BAD_STATE)
    }

    #[inline(never)]
    pub(super) fn put_object_back(
        &self,
        instance: InstanceRef,
        handle: u64,
        object: TryBox<Object>,
    ) {
        // An instance that is being served does not go.
        let _ = self.with_holdings(instance, |held| {
            held.objects.put_back(handle as u32, object);
        });
    }

    /// Works on an object, with nothing locked.
    pub(super) fn with_object<R>(
        &self,
        instance: InstanceRef,
        handle: u64,
        work: impl FnOnce(&mut Object) -> Result<R, TeeResult>,
    ) -> Result<R, TeeResult> {
        let mut object = self.take_object(instance, handle)?;
        let result = work(&mut object);
        self.put_object_back(instance, handle, object);
        result
    }

    #[inline(never)]
    fn take_state(
        &self,
        instance: InstanceRef,
        handle: u64,
    ) -> Result<TryBox<CryptState>, TeeResult> {
        let handle = u32::try_from(handle).map_err(|_| TeeResult::BAD_PARAMETERS)?;
        let taken = self.with_holdings(instance, |held| held.states.take(handle))?;
        taken.ok_or(TeeResult::BAD_PARAMETERS)
    }

    #[inline(never)]
    fn put_state_back(&self, instance: InstanceRef, handle: u64, state: TryBox<CryptState>) {
        // As above.
        let _ = self.with_holdings(instance, |held| {
            held.states.put_back(handle as u32, state);
        });
    }

    /// Works on a state, with nothing locked.
    fn with_state<R>(
        &self,
        instance: InstanceRef,
        handle: u64,
        work: impl FnOnce(&mut CryptState) -> Result<R, TeeResult>,
    ) -> Result<R, TeeResult> {
        let mut state = self.take_state(instance, handle)?;
        let result = work(&mut state);
        self.put_state_back(instance, handle, state);
        result
    }

    /// Works with the secret of a key that has it.
    fn with_secret<R>(
        &self,
        instance: InstanceRef,
        key: u32,
        work: impl FnOnce(&[u8]) -> Result<R, TeeResult>,
    ) -> Result<R, TeeResult> {
        self.with_object(instance, u64::from(key), |key| {
            if !key.is_initialized {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            work(key.secret())
        })
    }

    /// Confirms that the TA may read this.
    #[inline(never)]
    pub(super) fn check_read(
        &self,
        instance: InstanceRef,
        va: u64,
        len: u64,
    ) -> Result<(), TeeResult> {
        self.sys_check_access(instance, access::READ | access::ANY_OWNER, UserVa(va), len)
    }

    /// Confirms that the TA may write this.
    #[inline(never)]
    pub(super) fn check_write(
        &self,
        instance: InstanceRef,
        va: u64,
        len: u64,
    ) -> Result<(), TeeResult> {
        let both = access::READ | access::WRITE;
        self.sys_check_access(instance, both | access::ANY_OWNER, UserVa(va), len)
    }

    /// Copies out of the TA's memory.
    #[inline(never)]
    pub(super) fn read(
        &self,
        instance: InstanceRef,
        va: u64,
        buf: &mut [u8],
    ) -> Result<(), TeeResult> {
        self.take(instance, UserVa(va), buf)
    }

    /// Copies into the TA's memory.
    #[inline(never)]
    pub(super) fn write(
        &self,
        instance: InstanceRef,
        va: u64,
        bytes: &[u8],
    ) -> Result<(), TeeResult> {
        self.put(instance, UserVa(va), bytes)
    }

    /// A number in the TA's memory.
    pub(super) fn read_u64(&self, instance: InstanceRef, va: u64) -> Result<u64, TeeResult> {
        let mut number = u64::new_zeroed();
        self.read(instance, va, number.as_mut_bytes())?;
        Ok(number)
    }

    /// A number to the TA's memory.
    pub(super) fn write_u64(
        &self,
        instance: InstanceRef,
        va: u64,
        number: u64,
    ) -> Result<(), TeeResult> {
        self.write(instance, va, number.as_bytes())
    }
}
