//! Lists of a TA's objects in trusted storage.

use super::Corrupt;
use crate::call::Call;
use crate::observer::Observer;
use crate::ta::crypto::Enumerator;
use crate::ta::instance::InstanceRef;
use crate::ta::storage::objects::Want;
use tally_abi::TeeResult;
use tally_abi::crypto::UteeObjectInfo;
use tally_abi::ta::access;
use tally_mem::addr::UserVa;
use tally_mem::machine::Machine;
use tally_storage::directory::{MAX_ID, ObjectId};
use zerocopy::IntoBytes;

impl<M: Machine, O: Observer> Call<'_, M, O> {
    pub(super) fn sys_enumerator_alloc(
        &self,
        instance: InstanceRef,
        out: u64,
    ) -> Result<(), TeeResult> {
        if out == 0 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let bytes = size_of::<Enumerator>();
        self.add_holding(instance, out, bytes, |held| held.add_enumerator())
    }

    pub(super) fn sys_enumerator_free(
        &mut self,
        instance: InstanceRef,
        handle: u64,
    ) -> Result<(), TeeResult> {
        self.stop_listing(instance, handle)?;
        let handle = handle as u32;
        let removed = self.with_holdings(instance, |held| held.remove_enumerator(handle))?;
        removed.map(drop).ok_or(TeeResult::BAD_PARAMETERS)
    }

    pub(super) fn sys_enumerator_reset(
        &mut self,
        instance: InstanceRef,
        handle: u64,
    ) -> Result<(), TeeResult> {
        self.stop_listing(instance, handle)
    }

    fn with_enumerator<R>(
        &self,
        instance: InstanceRef,
        handle: u64,
        work: impl FnOnce(&mut Enumerator) -> R,
    ) -> Result<R, TeeResult> {
        let handle = u32::try_from(handle).map_err(|_| TeeResult::BAD_PARAMETERS)?;
        self.with_holdings(instance, |held| {
            let enumerator = held.enumerators.get_mut(handle);
            enumerator.map(work).ok_or(TeeResult::BAD_PARAMETERS)
        })?
    }

    fn stop_listing(&mut self, instance: InstanceRef, handle: u64) -> Result<(), TeeResult> {
        let stopped = self.with_enumerator(instance, handle, core::mem::take)?;
        if stopped.has_begun {
            self.leave_directory();
        }
        Ok(())
    }

    #[inline(never)]
    pub(super) fn sys_enumerator_start(
        &mut self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [handle, space] = [x[0], x[1]];
        self.stop_listing(instance, handle)?;
        Self::check_space(space)?;
        self.use_directory();
        // That there is one at least.
        match self.next_object(instance, None) {
            Ok(_) => self.with_enumerator(instance, handle, |listing| listing.has_begun = true),
            Err(err) => {
                self.leave_directory();
                Err(err)
            }
        }
    }

    /// The TA's object behind a place, and its place.
    #[inline(never)]
    fn next_object(
        &mut self,
        instance: InstanceRef,
        after: Option<u32>,
    ) -> Result<(u32, ObjectId), TeeResult> {
        let uuid = self.ta_of(instance)?;
        let next = self.with_directory(Some(instance), |files, keys, directory| {
            directory.next(files, keys, uuid, after)
        })?;
        next.ok_or(TeeResult::ITEM_NOT_FOUND)
    }

    #[inline(never)]
    pub(super) fn sys_enumerator_next(
        &mut self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [handle, info, id, id_len] = [x[0], x[1], x[2], x[3]];
        let listing = self.with_enumerator(instance, handle, |listing| {
            listing.has_begun.then_some(listing.after)
        })?;
        let info_len = size_of::<UteeObjectInfo>() as u64;
        self.sys_check_access(instance, access::WRITE, UserVa(info), info_len)?;
        self.sys_check_access(instance, access::WRITE, UserVa(id), MAX_ID as u64)?;
        let after = listing.ok_or(TeeResult::ITEM_NOT_FOUND)?;
        let (at, next) = self.next_object(instance, after)?;
        self.with_enumerator(instance, handle, |listing| listing.after = Some(at))?;
        let told = self.look_at(instance, &next)?;
        self.write(instance, info, told.as_bytes())?;
        self.write(instance, id, next.as_bytes())?;
        let len = next.as_bytes().len() as u64;
        self.sys_check_access(
            instance,
            access::WRITE,
            UserVa(id_len),
            size_of::<u64>() as u64,
        )?;
        self.write_u64(instance, id_len, len)
    }

    /// What a TA may know of one of its objects, whoever has it open.
    #[inline(never)]
    fn look_at(
        &mut self,
        instance: InstanceRef,
        id: &ObjectId,
    ) -> Result<UteeObjectInfo, TeeResult> {
        let uuid = self.ta_of(instance)?;
        let (at, flags) = {
            let mut state = self.kernel.state();
            let at = state.use_object(self.guest, uuid, id, 0, Want::Look)?;
            (at, state.object_mut(self.guest, at)?.flags)
        };
        let mut object = self.open_object(instance, at, flags, Corrupt::Stays)?;
        let told = self.info_of(&object);
        self.let_go_of(&mut object);
        Ok(told)
    }
}
