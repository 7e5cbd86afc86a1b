//! States of algorithms: made, copied, given back.

use crate::book::Book;
use crate::call::Call;
use crate::observer::Observer;
use crate::ta::crypto::algorithm::{Class, check_key_type, current};
use crate::ta::crypto::state::CryptState;
use crate::ta::crypto::{Holdings, MAX_BYTES};
use crate::ta::instance::{InstanceRef, Instances, Kept};
use tally_abi::TeeResult;
use tally_mem::fallible::TryBox;
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;
use zerocopy::IntoBytes;

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Adds to what an instance holds, out of its own memory and within its share. The handle goes to the TA.
    pub(in crate::ta::syscall) fn add_holding(
        &self,
        instance: InstanceRef,
        out: u64,
        bytes: usize,
        add: impl FnOnce(&mut Holdings) -> Result<u32, TeeResult>,
    ) -> Result<(), TeeResult> {
        self.check_write(instance, out, size_of::<u32>() as u64)?;
        let handle = self.hold_more(instance, bytes, add)?;
        self.write(instance, out, handle.as_bytes())
    }

    /// Adds to what an instance holds, as above. The handle.
    pub(in crate::ta::syscall) fn hold_more(
        &self,
        instance: InstanceRef,
        bytes: usize,
        add: impl FnOnce(&mut Holdings) -> Result<u32, TeeResult>,
    ) -> Result<u32, TeeResult> {
        let kernel = self.kernel;
        let mut state = kernel.state();
        let instances = &mut state.guest_mut(instance.guest()).instances;
        let (owner, kept) = granted(instances, instance, bytes)?;
        kernel.as_owner(owner, || match &mut kept.holdings {
            Some(holdings) => add(holdings),
            none => {
                let mut holdings = TryBox::new(Holdings::new())?;
                let handle = add(&mut holdings)?;
                *none = Some(holdings);
                Ok(handle)
            }
        })
    }

    /// Counts so many bytes as the instance's for a while, within its share.
    pub(in crate::ta::syscall) fn lend_share(
        &self,
        instance: InstanceRef,
        bytes: usize,
    ) -> Result<(), TeeResult> {
        let mut state = self.kernel.state();
        let instances = &mut state.guest_mut(instance.guest()).instances;
        let (_, kept) = granted(instances, instance, bytes)?;
        // Who works with a key or an operation has one.
        let holdings = kept.holdings.as_mut().ok_or(TeeResult::BAD_STATE)?;
        holdings.lend(bytes);
        Ok(())
    }

    /// Runs `make` with what it takes of the heap charged to the instance.
    pub(in crate::ta::syscall) fn as_instance<R>(
        &self,
        instance: InstanceRef,
        make: impl FnOnce() -> R,
    ) -> Result<R, TeeResult> {
        let owner = {
            let state = self.kernel.state();
            state
                .instance(instance)
                .ok_or(TeeResult::TARGET_DEAD)?
                .owner
        };
        Ok(self.kernel.as_owner(owner, make))
    }

    #[inline(never)]
    pub(super) fn sys_state_alloc(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let (number, mode) = (current(x[0] as u32), x[1] as u32);
        let mut keys = [0; 2];
        for (key, handle) in keys.iter_mut().zip([x[2], x[3]]) {
            if handle != 0 {
                self.with_object(instance, handle, |object| {
                    if object.is_busy {
                        return Err(TeeResult::BAD_PARAMETERS);
                    }
                    check_key_type(object.rules.object_type, number, mode)
                })?;
                *key = handle as u32;
            }
        }
        let class = Class::of(number)?;
        if class.wants_keys(number) != keys.map(|key| key != 0) {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let state = self.as_instance(instance, || CryptState::new(number, class, mode, keys))??;
        let bytes = state.heap_bytes();
        self.add_holding(instance, x[4], bytes, |held| held.add_state(state))
    }

    #[inline(never)]
    pub(super) fn sys_state_copy(
        &self,
        instance: InstanceRef,
        [to, from]: [u64; 2],
    ) -> Result<(), TeeResult> {
        if to == from {
            return self.with_state(instance, to, |_| Ok(()));
        }
        self.with_state(instance, to, |to| {
            self.with_state(instance, from, |from| to.copy_from(from))
        })
    }

    pub(super) fn sys_state_free(
        &mut self,
        instance: InstanceRef,
        handle: u64,
    ) -> Result<(), TeeResult> {
        let handle = u32::try_from(handle).map_err(|_| TeeResult::BAD_PARAMETERS)?;
        let removed = self.with_holdings(instance, |held| held.remove_state(handle))?;
        let removed = removed.ok_or(TeeResult::BAD_PARAMETERS)?;
        for key in removed.keys.into_iter().flatten() {
            self.discard_object(key);
        }
        Ok(())
    }
}

/// What is kept of an instance, and its owner, if its TA may hold so many bytes more of what all hold.
fn granted<O: Book>(
    instances: &mut Instances<O>,
    instance: InstanceRef,
    bytes: usize,
) -> Result<(OwnerId, &mut Kept), TeeResult> {
    let uuid = instances.at(instance).ok_or(TeeResult::TARGET_DEAD)?.uuid;
    let (mut all, mut own) = (bytes, bytes);
    for (_, other) in instances.iter() {
        let held = other.holdings().map_or(0, Holdings::bytes);
        all = all.saturating_add(held);
        own = own.saturating_add(if other.uuid == uuid { held } else { 0 });
    }
    if own > MAX_BYTES.saturating_sub(all) {
        return Err(TeeResult::OUT_OF_MEMORY);
    }
    let found = instances.at_mut(instance).ok_or(TeeResult::TARGET_DEAD)?;
    let kept = found.kept.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
    Ok((found.owner, kept))
}
