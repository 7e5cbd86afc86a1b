//! System calls of trusted storage.
//!
//! Source: optee_os `core/tee/tee_svc_storage.c` for what is checked, in which order, and how it is refused.
//!
//! **Invariant:** nothing is locked while the normal world is asked; whatever becomes of a call, an object that it has taken out
//! is back, its turn has ended, and what an instance has in memory is counted as its own.

mod create;
mod data;
mod enumerate;
mod names;
mod open;

use crate::call::Call;
use crate::observer::Observer;
use crate::ta::crypto::object::Object;
use crate::ta::instance::InstanceRef;
use crate::ta::storage::files::Files;
use crate::ta::storage::objects::{Handle, OpenObject};
use crate::ta::storage::turn::Shared;
use crate::ta::storage::{FILE_LIMITS, StorageCall};
use tally_abi::crypto::UteeObjectInfo;
use tally_abi::storage::space;
use tally_abi::ta::{access, flags, svc};
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::addr::UserVa;
use tally_mem::fallible::TryBox;
use tally_mem::machine::Machine;
use tally_storage::directory::{MAX_ID, ObjectId};
use tally_storage::figures::Figures;
use tally_storage::file::{Committed, File};
use tally_storage::host::{Host, Name, StorageError};
use tally_storage::keys::Keys;

/// Most files that an instance has in memory between its system calls: each takes some 6 to 14 KiB of its share.
const KEPT_FILES: usize = 2;
/// Bytes of a TA's share that files in memory leave to it.
const SPARE: usize = 8 << 10;
/// What becomes of an object that turns out to be corrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Corrupt {
    /// It stays.
    Stays,
    /// It is removed, and its handle closed unless the TA wants it otherwise.
    Goes,
}

impl<'k, M: Machine, O: Observer> Call<'k, M, O> {
    /// Serves a system call of trusted storage: `x[8]` with its arguments.
    #[inline(never)]
    pub(super) fn sys_storage(
        &mut self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        match x[8] {
            svc::STORAGE_ENUM_ALLOC => self.sys_enumerator_alloc(instance, x[0]),
            svc::STORAGE_ENUM_FREE => self.sys_enumerator_free(instance, x[0]),
            svc::STORAGE_ENUM_RESET => self.sys_enumerator_reset(instance, x[0]),
            svc::STORAGE_OBJ_SEEK => self.sys_stored_seek(instance, x),
            svc::STORAGE_OBJ_DEL => {
                // Whatever becomes of the object, its handle is closed.
                let begun = self.begin_work();
                let done = self.sys_stored_delete(instance, x[0], begun);
                if begun.is_ok() {
                    self.end_turn(Shared::Work);
                }
                done
            }
            _ => {
                self.begin_work()?;
                let done = self.sys_files(instance, x);
                self.end_turn(Shared::Work);
                done
            }
        }
    }

    /// Gets what all that works on files needs.
    #[inline(never)]
    fn begin_work(&mut self) -> Result<(), TeeResult> {
        self.require_file_memory()?;
        self.take_turn(Shared::Work)
    }

    fn sys_files(&mut self, instance: InstanceRef, x: &[u64; 31]) -> Result<(), TeeResult> {
        match x[8] {
            svc::STORAGE_OBJ_OPEN => self.sys_stored_open(instance, x),
            svc::STORAGE_OBJ_CREATE => self.sys_stored_create(instance, x),
            svc::STORAGE_OBJ_RENAME => self.sys_stored_rename(instance, x),
            svc::STORAGE_ENUM_START => self.sys_enumerator_start(instance, x),
            svc::STORAGE_ENUM_NEXT => self.sys_enumerator_next(instance, x),
            svc::STORAGE_OBJ_READ => self.sys_stored_read(instance, x),
            svc::STORAGE_OBJ_WRITE => self.sys_stored_write(instance, x),
            svc::STORAGE_OBJ_TRUNC => self.sys_stored_truncate(instance, x),
            _ => Err(TeeResult::NOT_SUPPORTED),
        }
    }

    /// A system call of storage begins.
    #[inline(never)]
    pub(super) fn begin_storage_call(&mut self) {
        self.storage_call = StorageCall {
            ticks: self.kernel.machine.ticks(),
            ..StorageCall::default()
        };
    }

    /// Tells the observer what it took.
    #[inline(never)]
    pub(super) fn note_storage_call(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
        done: Result<(), TeeResult>,
    ) {
        let call = StorageCall {
            written: match (done, x[8]) {
                (Ok(()), svc::STORAGE_OBJ_WRITE) => x[2],
                (Ok(()), svc::STORAGE_OBJ_CREATE) => x[6],
                _ => 0,
            },
            failed: done.is_err(),
            corrupt: done == Err(TeeResult::CORRUPT_OBJECT),
            ticks: (self.kernel.machine.ticks()).wrapping_sub(self.storage_call.ticks),
            ..self.storage_call
        };
        O::stored(&mut self.kernel.state(), instance, &call);
    }

    /// Confirms that there is such a storage space.
    const fn check_space(id: u64) -> Result<(), TeeResult> {
        match id as u32 {
            space::PRIVATE | space::PRIVATE_REE => Ok(()),
            _ => Err(TeeResult::ITEM_NOT_FOUND),
        }
    }

    /// An object's id in a TA's own memory.
    fn take_id(&self, instance: InstanceRef, va: u64, len: u64) -> Result<ObjectId, TeeResult> {
        let mut id = [0; MAX_ID];
        let id = usize::try_from(len).ok().and_then(|len| id.get_mut(..len));
        let id = id.ok_or(TeeResult::BAD_PARAMETERS)?;
        if len != 0 {
            self.sys_check_access(instance, access::READ, UserVa(va), len)?;
            self.take(instance, UserVa(va), id)?;
        }
        ObjectId::new(id).ok_or(TeeResult::BAD_PARAMETERS)
    }

    /// Which TA an instance is of.
    fn ta_of(&self, instance: InstanceRef) -> Result<TeeUuid, TeeResult> {
        let state = self.kernel.state();
        let found = state.instance(instance).ok_or(TeeResult::TARGET_DEAD)?;
        Ok(found.uuid)
    }

    /// An open object.
    fn with_open<R>(
        &self,
        at: usize,
        work: impl FnOnce(&mut OpenObject) -> R,
    ) -> Result<R, TeeResult> {
        let mut state = self.kernel.state();
        Ok(work(state.object_mut(self.guest, at)?))
    }

    /// What an object may be used for: handles of a persistent one share it.
    pub(super) fn usage_of(&self, object: &Object) -> u32 {
        let shared = object.storage.as_ref();
        let shared = shared.and_then(|handle| self.with_open(handle.at, |open| open.usage).ok());
        shared.unwrap_or(object.usage)
    }

    /// What a TA may know of an object.
    pub(super) fn info_of(&self, object: &Object) -> UteeObjectInfo {
        let mut info = object.info();
        if let Some(handle) = &object.storage {
            let shared = self.with_open(handle.at, |open| (open.usage, open.data_bytes));
            let (usage, bytes) = shared.unwrap_or_default();
            info.usage = usage;
            info.data_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        }
        info
    }

    /// Works on an object that a TA names, which may ask the normal world meanwhile.
    fn with_taken<R>(
        &mut self,
        instance: InstanceRef,
        handle: u64,
        corrupt: Corrupt,
        work: impl FnOnce(&mut Self, &mut Object) -> Result<R, TeeResult>,
    ) -> Result<R, TeeResult> {
        let mut object = self.take_object(instance, handle)?;
        let before = object.heap_bytes();
        let result = work(self, &mut object);
        if matches!(result, Err(TeeResult::CORRUPT_OBJECT)) && corrupt == Corrupt::Goes {
            if let Some(stored) = &mut object.storage {
                self.remove_corrupt(instance, stored);
            }
            if !self.keeps_corrupt(instance) {
                self.close_taken(instance, handle, object, before);
                return result;
            }
        }
        self.put_taken_back(instance, handle, object, before);
        result
    }

    fn keeps_corrupt(&self, instance: InstanceRef) -> bool {
        let state = self.kernel.state();
        let found = state.instance(instance);
        found.is_some_and(|found| found.has(flags::DONT_CLOSE_HANDLE_ON_CORRUPT_OBJECT))
    }

    /// Puts an object back that took `before` bytes of the heap. Its file leaves memory if the TA's share does not allow for it.
    #[inline(never)]
    fn put_taken_back(
        &mut self,
        instance: InstanceRef,
        handle: u64,
        mut object: TryBox<Object>,
        before: usize,
    ) {
        let after = object.heap_bytes();
        let _ = self.with_holdings(instance, |held| held.give_back(before));
        // Files leave room for what a TA cannot do without.
        let lent = self.lend_share(instance, after + SPARE);
        if lent.is_ok() {
            let _ = self.with_holdings(instance, |held| held.give_back(SPARE));
        } else {
            if let Some(stored) = &mut object.storage {
                self.drop_file(stored);
            }
            let less = object.heap_bytes();
            let _ = self.with_holdings(instance, |held| held.lend(less));
        }
        self.put_object_back(instance, handle, object);
        self.drop_other_files(instance, handle as u32);
    }

    /// Leaves an instance the file of an object that it has just used, and few others.
    #[inline(never)]
    fn drop_other_files(&mut self, instance: InstanceRef, but: u32) {
        loop {
            let taken = self.with_holdings(instance, |held| held.take_file(KEPT_FILES, but));
            match taken {
                Ok(Some(file)) => file.close(&mut Files::new(self, None)),
                _ => break,
            }
        }
    }

    /// Closes an object that is taken out and took `before` bytes of the heap then.
    #[inline(never)]
    fn close_taken(
        &mut self,
        instance: InstanceRef,
        handle: u64,
        object: TryBox<Object>,
        before: usize,
    ) {
        let _ = self.with_holdings(instance, |held| {
            held.objects.remove(handle as u32);
            held.give_back(before);
        });
        self.discard_object(object);
    }

    /// Lets go of an object that nobody names any more.
    #[inline(never)]
    pub(crate) fn discard_object(&mut self, mut object: TryBox<Object>) {
        self.let_go_of(&mut object);
    }

    /// As above, of what an object has of storage.
    fn let_go_of(&mut self, object: &mut Object) {
        if let Some(mut handle) = object.storage.take() {
            self.drop_file(&mut handle);
            self.leave_open(handle.at);
        }
    }

    /// Gives an open object back.
    fn leave_open(&mut self, at: usize) {
        let mut state = self.kernel.state();
        state.leave_object(self.guest, at);
        drop(state);
        self.leave_directory();
    }

    /// Takes an object's file out of memory.
    #[inline(never)]
    fn drop_file(&mut self, handle: &mut Handle) {
        self.tell_figures(handle, true);
        if let Some((file, _)) = handle.file.take() {
            file.close(&mut Files::new(self, None));
        }
    }

    /// Has what the caches of an object's file do in the sum of all; of one that `goes`, as it is then.
    #[inline(never)]
    fn tell_figures(&self, handle: &mut Handle, goes: bool) {
        let Some((file, _)) = &handle.file else {
            return;
        };
        let figures = file.figures();
        let now = if goes {
            figures.without_entries()
        } else {
            figures
        };
        let mut state = self.kernel.state();
        let sum = &mut state.guest_mut(self.guest).storage.file_figures;
        sum.update(&handle.told, &now);
        handle.told = if goes { Figures::default() } else { now };
    }

    /// Works with an object's file in its turn, with what that takes of the heap charged to the instance. After an error it
    /// leaves memory.
    fn with_file<R>(
        &mut self,
        instance: InstanceRef,
        handle: &mut Handle,
        work: impl FnOnce(&mut Files<'_, 'k, M, O>, &Keys, &mut File) -> Result<R, StorageError>,
    ) -> Result<R, TeeResult> {
        let at = handle.at;
        self.take_turn(Shared::Object(at))?;
        let result = self.with_file_in_turn(instance, handle, work);
        self.end_turn(Shared::Object(at));
        result
    }

    fn with_file_in_turn<R>(
        &mut self,
        instance: InstanceRef,
        handle: &mut Handle,
        work: impl FnOnce(&mut Files<'_, 'k, M, O>, &Keys, &mut File) -> Result<R, StorageError>,
    ) -> Result<R, TeeResult> {
        self.require_file(instance, handle)?;
        let (kernel, owner) = (self.kernel, self.owner_of(instance)?);
        let (file, _) = handle.file.as_mut().ok_or(TeeResult::GENERIC)?;
        let result = kernel.as_owner(owner, || {
            work(&mut Files::new(self, Some(instance)), &kernel.storage, file)
        });
        self.tell_figures(handle, false);
        if result.is_err() {
            self.drop_file(handle);
        }
        Ok(result?)
    }

    /// As [`Self::with_file`], which is changed: all of it is as before, or the directory has its new state, and `done` notes
    /// what others are to know of it.
    fn change_file(
        &mut self,
        instance: InstanceRef,
        handle: &mut Handle,
        work: impl FnOnce(&mut Files<'_, 'k, M, O>, &Keys, &mut File) -> Result<(), StorageError>,
        done: impl FnOnce(&mut OpenObject),
    ) -> Result<(), TeeResult> {
        let at = handle.at;
        self.take_turn(Shared::Object(at))?;
        let mut result = self.with_file_in_turn(instance, handle, |files, keys, file| {
            work(files, keys, file)?;
            file.commit(files, keys)
        });
        if let Ok(committed) = result
            && let Err(err) = self.enter_state(instance, handle, committed)
        {
            self.drop_file(handle);
            result = Err(err);
        }
        let result = result.and_then(|_| self.with_open(at, done));
        self.end_turn(Shared::Object(at));
        result
    }

    /// Has the directory know a new state of an object's file, and the other handles that theirs is old.
    #[inline(never)]
    fn enter_state(
        &mut self,
        instance: InstanceRef,
        handle: &mut Handle,
        committed: Committed,
    ) -> Result<(), TeeResult> {
        let (uuid, id) = self.with_open(handle.at, |open| (open.uuid, open.id))?;
        let version = self.begin_version(handle.at)?;
        if let Some((_, known)) = &mut handle.file {
            *known = version;
        }
        self.with_directory(Some(instance), |files, keys, directory| {
            directory.update(files, keys, uuid, &id, committed)
        })
        .map_err(gone)?;
        Ok(())
    }

    /// What others have in memory of an object's file is old.
    fn begin_version(&self, at: usize) -> Result<u32, TeeResult> {
        self.with_open(at, |open| {
            open.version = open.version.wrapping_add(1);
            open.version
        })
    }

    fn owner_of(&self, instance: InstanceRef) -> Result<tally_mem::owner::OwnerId, TeeResult> {
        let state = self.kernel.state();
        let found = state.instance(instance).ok_or(TeeResult::TARGET_DEAD)?;
        Ok(found.owner)
    }

    /// Has an object's file in memory as it is now.
    #[inline(never)]
    fn require_file(
        &mut self,
        instance: InstanceRef,
        handle: &mut Handle,
    ) -> Result<(), TeeResult> {
        let at = handle.at;
        let (uuid, id, version) = self.with_open(at, |open| (open.uuid, open.id, open.version))?;
        match handle.file {
            Some((_, known)) if known == version => return Ok(()),
            _ => self.drop_file(handle),
        }
        // Whoever has its entry by now has seen it in the directory.
        let missing = if handle.data_start == 0 {
            TeeResult::ITEM_NOT_FOUND
        } else {
            TeeResult::CORRUPT_OBJECT
        };
        let found = self.find_object(instance, uuid, &id)?;
        let file = self.open_file(instance, uuid, found.ok_or(missing)?, handle)?;
        file.set_limits(FILE_LIMITS);
        if let Some((_, known)) = &mut handle.file {
            *known = version;
        }
        Ok(())
    }

    /// The file that the directory has of an object.
    #[inline(never)]
    fn find_object(
        &mut self,
        instance: InstanceRef,
        uuid: TeeUuid,
        id: &ObjectId,
    ) -> Result<Option<Committed>, TeeResult> {
        let found = self.with_directory(Some(instance), |files, keys, directory| {
            directory.find(files, keys, uuid, id)
        })?;
        Ok(found.map(|entry| entry.file))
    }

    /// Has a file in memory.
    #[inline(never)]
    fn open_file<'h>(
        &mut self,
        instance: InstanceRef,
        uuid: TeeUuid,
        committed: Committed,
        handle: &'h mut Handle,
    ) -> Result<&'h mut File, TeeResult> {
        let (kernel, owner) = (self.kernel, self.owner_of(instance)?);
        let file = kernel.as_owner(owner, || {
            let mut files = Files::new(self, Some(instance));
            File::open(&mut files, &kernel.storage, uuid, committed)
        });
        let (file, _) = handle.file.insert((file.map_err(gone)?, 0));
        Ok(file)
    }

    /// Removes an object that turned out to be corrupt; nothing can be done about it if that fails.
    #[inline(never)]
    fn remove_corrupt(&mut self, instance: InstanceRef, handle: &mut Handle) {
        if let Err(err) = self.remove_object(instance, handle) {
            log::error!("a corrupt object stays in storage: {err}");
        }
    }

    /// Removes an object from storage; its handles stay.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`, and what else storage says.
    #[inline(never)]
    fn remove_object(
        &mut self,
        instance: InstanceRef,
        handle: &mut Handle,
    ) -> Result<(), TeeResult> {
        let at = handle.at;
        self.take_turn(Shared::Object(at))?;
        let removed = self.remove_in_turn(instance, handle);
        self.end_turn(Shared::Object(at));
        removed
    }

    fn remove_in_turn(
        &mut self,
        instance: InstanceRef,
        handle: &mut Handle,
    ) -> Result<(), TeeResult> {
        let (uuid, id) = self.with_open(handle.at, |open| (open.uuid, open.id))?;
        self.begin_version(handle.at)?;
        self.with_directory(Some(instance), |files, keys, directory| {
            let number = directory.remove(files, keys, uuid, &id)?;
            files.remove_file(number);
            Ok(())
        })?;
        self.drop_file(handle);
        Ok(())
    }
}

impl<M: Machine, O: Observer> Files<'_, '_, M, O> {
    /// Removes a file that the directory does not have: if that fails, it is overwritten when its number is used next. Whoever
    /// does so has the directory's turn, or has the number reserved: else it may be somebody else's file by then.
    #[inline(never)]
    fn remove_file(&mut self, number: u32) {
        let _ = self.remove(Name::Number(number));
    }
}

/// An object that has no file, though its handle is open, was meddled with.
const fn gone(err: StorageError) -> StorageError {
    match err {
        StorageError::NotFound => StorageError::Corrupt,
        other => other,
    }
}
