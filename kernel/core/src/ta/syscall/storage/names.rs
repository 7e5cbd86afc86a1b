//! Deleting and renaming objects of trusted storage.

use super::Corrupt;
use crate::call::Call;
use crate::observer::Observer;
use crate::ta::instance::InstanceRef;
use crate::ta::storage::objects::{Handle, Want};
use crate::ta::storage::turn::Shared;
use tally_abi::TeeResult;
use tally_abi::storage::data_flag;
use tally_mem::machine::Machine;
use tally_storage::directory::{MAX_ID, ObjectId};

impl<M: Machine, O: Observer> Call<'_, M, O> {
    #[inline(never)]
    pub(super) fn sys_stored_delete(
        &mut self,
        instance: InstanceRef,
        handle: u64,
        begun: Result<(), TeeResult>,
    ) -> Result<(), TeeResult> {
        let mut object = self.take_object(instance, handle)?;
        let before = object.heap_bytes();
        let may = object
            .storage
            .as_ref()
            .is_some_and(|stored| may_change(stored));
        if !may || object.is_busy {
            self.put_object_back(instance, handle, object);
            return Err(TeeResult::ACCESS_CONFLICT);
        }
        let removed = begun.and_then(|()| match &mut object.storage {
            Some(stored) => self.remove_object(instance, stored),
            None => Ok(()),
        });
        self.close_taken(instance, handle, object, before);
        removed
    }

    #[inline(never)]
    pub(super) fn sys_stored_rename(
        &mut self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [handle, id, id_len] = [x[0], x[1], x[2]];
        if id_len > MAX_ID as u64 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        self.with_taken(instance, handle, Corrupt::Stays, |call, object| {
            let stored = object.storage.as_mut().filter(|stored| may_change(stored));
            let stored = stored.ok_or(TeeResult::BAD_STATE)?;
            let id = call.take_id(instance, id, id_len)?;
            let uuid = call.ta_of(instance)?;
            // Nobody else gets this name meanwhile.
            let kept = {
                let mut state = call.kernel.state();
                let flags = data_flag::ACCESS_WRITE_META;
                state.use_object(call.guest, uuid, &id, flags, Want::Rename)?
            };
            let renamed = call.rename(instance, stored, &id);
            call.leave_open(kept);
            renamed
        })
    }

    #[inline(never)]
    fn rename(
        &mut self,
        instance: InstanceRef,
        handle: &Handle,
        to: &ObjectId,
    ) -> Result<(), TeeResult> {
        let at = handle.at;
        self.take_turn(Shared::Object(at))?;
        let renamed = self.rename_in_turn(instance, at, to);
        self.end_turn(Shared::Object(at));
        renamed
    }

    fn rename_in_turn(
        &mut self,
        instance: InstanceRef,
        at: usize,
        to: &ObjectId,
    ) -> Result<(), TeeResult> {
        let (uuid, from) = self.with_open(at, |open| (open.uuid, open.id))?;
        self.with_directory(Some(instance), |files, keys, directory| {
            directory.rename(files, keys, uuid, &from, to)
        })?;
        self.with_open(at, |open| open.id = *to)
    }
}

/// Whether an object may be renamed and deleted by a handle.
fn may_change(handle: &Handle) -> bool {
    handle.flags & data_flag::ACCESS_WRITE_META != 0
}
