//! Making an object of trusted storage.

use super::open::HEAD;
use crate::call::Call;
use crate::observer::Observer;
use crate::ta::crypto::object::Object;
use crate::ta::instance::InstanceRef;
use crate::ta::storage::FILE_LIMITS;
use crate::ta::storage::files::Files;
use crate::ta::storage::objects::{Handle, Want};
use crate::ta::storage::turn::Shared;
use tally_abi::crypto::object_type;
use tally_abi::storage::{ObjectHead, data_flag};
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::machine::Machine;
use tally_storage::directory::{MAX_ID, ObjectId};
use tally_storage::file::{Committed, File};
use tally_storage::host::StorageError;
use tally_storage::keys::Keys;
use zerocopy::IntoBytes;

/// What an object is made of.
struct Making<'a> {
    uuid: TeeUuid,
    id: ObjectId,
    /// What its file begins with.
    begin: &'a [u8],
    /// Address and length of its data in the TA.
    data: (u64, u64),
    /// Another one of this name may be replaced.
    replaces: bool,
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    #[inline(never)]
    pub(super) fn sys_stored_create(
        &mut self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [space, id, id_len, flags, from] = [x[0], x[1], x[2], x[3], x[4]];
        let [data, data_len, out] = [x[5], x[6], x[7]];
        if flags & !u64::from(data_flag::OF_CREATE) != 0 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        Self::check_space(space)?;
        if id_len > MAX_ID as u64 || data_len != 0 && data == 0 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let id = self.take_id(instance, id, id_len)?;
        let uuid = self.ta_of(instance)?;
        let flags = flags as u32;
        let at = {
            let mut state = self.kernel.state();
            state.use_object(self.guest, uuid, &id, flags, Want::Create)?
        };
        let task = Task {
            at,
            flags,
            data: (data, data_len),
        };
        match self.check_attributes_of(instance, from) {
            Err(err) => {
                self.leave_open(at);
                Err(err)
            }
            // What the attributes are of becomes the object.
            Ok(Source::Transient) if out == 0 => self.store_transient(instance, &task, from),
            Ok(_) => self.store_copy(instance, &task, from, out),
        }
    }

    /// What a handle is of whose attributes an object is to have.
    fn check_attributes_of(&self, instance: InstanceRef, from: u64) -> Result<Source, TeeResult> {
        if from == 0 {
            return Ok(Source::None);
        }
        self.with_object(instance, from, |object| {
            if !object.is_initialized {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            Ok(match object.storage {
                Some(_) => Source::Persistent,
                None => Source::Transient,
            })
        })
    }

    #[inline(never)]
    fn store_transient(
        &mut self,
        instance: InstanceRef,
        task: &Task,
        handle: u64,
    ) -> Result<(), TeeResult> {
        let mut object = match self.take_object(instance, handle) {
            Ok(object) => object,
            Err(err) => {
                self.leave_open(task.at);
                return Err(err);
            }
        };
        let before = object.heap_bytes();
        let stored = self.store(instance, task, &mut object);
        self.put_taken_back(instance, handle, object, before);
        stored
    }

    /// Makes an object with the attributes of another one, or without any.
    #[inline(never)]
    fn store_copy(
        &mut self,
        instance: InstanceRef,
        task: &Task,
        from: u64,
        out: u64,
    ) -> Result<(), TeeResult> {
        let handle = match out {
            0 => self.reserve(instance),
            _ => self.reserve_handle(instance, out),
        };
        let copied = handle.and_then(|handle| {
            let copied = self.copy_of(instance, from);
            if copied.is_err() {
                self.cancel_handle(instance, handle);
            }
            Ok((handle, copied?))
        });
        let (handle, mut object) = match copied {
            Ok(copied) => copied,
            Err(err) => {
                self.leave_open(task.at);
                return Err(err);
            }
        };
        let stored = self.store(instance, task, &mut object);
        let filled = stored.and_then(|()| self.fill_handle(instance, handle, object));
        if filled.is_err() {
            self.cancel_handle(instance, handle);
        }
        filled?;
        if out == 0 {
            return self.sys_object_close(instance, handle.into());
        }
        self.write(instance, out, handle.as_bytes())
    }

    /// A new object with the attributes of another one.
    #[inline(never)]
    fn copy_of(&self, instance: InstanceRef, from: u64) -> Result<Object, TeeResult> {
        if from == 0 {
            let mut object = self.as_instance(instance, || Object::new(object_type::DATA, 0))??;
            object.is_initialized = true;
            return Ok(object);
        }
        self.with_object(instance, from, |from| {
            let (kind, bits) = (from.rules.object_type, u64::from(from.max_bits));
            let mut object = self.as_instance(instance, || Object::new(kind, bits))??;
            object.copy_from(from)?;
            object.usage = self.usage_of(from);
            Ok(object)
        })
    }

    /// Makes an object persistent that this call has in use, which it is no more if that fails.
    #[inline(never)]
    fn store(
        &mut self,
        instance: InstanceRef,
        task: &Task,
        object: &mut Object,
    ) -> Result<(), TeeResult> {
        let mut handle = self.new_handle(instance, task.at, task.flags & !data_flag::OVERWRITE)?;
        let stored = self.store_as(instance, task, object, &mut handle);
        if stored.is_err() {
            self.drop_file(&mut handle);
            self.leave_open(task.at);
        } else {
            object.storage = Some(handle);
        }
        stored
    }

    #[inline(never)]
    fn store_as(
        &mut self,
        instance: InstanceRef,
        task: &Task,
        object: &Object,
        handle: &mut Handle,
    ) -> Result<(), TeeResult> {
        let (data, len) = task.data;
        self.check_read(instance, data, len)?;
        let usage = object.usage;
        let bytes = object.stored_bytes();
        let head = ObjectHead {
            attribute_bytes: bytes as u32,
            size_bits: object.bits,
            max_size_bits: object.max_bits,
            usage,
            object_type: object.rules.object_type,
            has: object.stored_set(),
        };
        let mut room = self.open_room(instance, 0, HEAD + bytes)?;
        let (first, rest) = room.bytes.split_at_mut(HEAD);
        first.copy_from_slice(head.as_bytes());
        object.store(rest);
        let stored = self.store_bytes(instance, task, handle, &room.bytes);
        self.close_room(instance, room);
        stored?;
        handle.data_start = (HEAD + bytes) as u64;
        self.with_open(task.at, |open| {
            open.is_creating = false;
            open.usage = usage;
            open.data_bytes = len;
        })
    }

    #[inline(never)]
    fn store_bytes(
        &mut self,
        instance: InstanceRef,
        task: &Task,
        handle: &mut Handle,
        begin: &[u8],
    ) -> Result<(), TeeResult> {
        self.take_turn(Shared::Object(task.at))?;
        let stored = self.store_in_turn(instance, task, handle, begin);
        self.end_turn(Shared::Object(task.at));
        stored
    }

    fn store_in_turn(
        &mut self,
        instance: InstanceRef,
        task: &Task,
        handle: &mut Handle,
        begin: &[u8],
    ) -> Result<(), TeeResult> {
        let (uuid, id) = self.with_open(task.at, |open| (open.uuid, open.id))?;
        let making = Making {
            uuid,
            id,
            begin,
            data: task.data,
            replaces: task.flags & data_flag::OVERWRITE != 0,
        };
        let number = self.reserve_number(instance)?;
        let committed = match self.make_file(instance, handle, &making, number) {
            Ok(committed) => committed,
            Err(err) => {
                self.drop_file(handle);
                Files::new(self, None).remove_file(number);
                self.give_number_back(number);
                return Err(err);
            }
        };
        // Handles of one that it replaces are of this one then.
        let version = self.begin_version(task.at)?;
        if let Some((_, known)) = &mut handle.file {
            *known = version;
        }
        let entered = self.enter(instance, &making, committed);
        if entered.is_err() {
            self.drop_file(handle);
            if self.is_not_entered(&making, number) {
                Files::new(self, None).remove_file(number);
            }
            self.give_number_back(number);
        }
        entered
    }

    #[inline(never)]
    fn reserve_number(&mut self, instance: InstanceRef) -> Result<u32, TeeResult> {
        let number = self.with_directory(Some(instance), |files, keys, directory| {
            directory.reserve(files, keys)
        });
        Ok(number?)
    }

    #[inline(never)]
    fn make_file(
        &mut self,
        instance: InstanceRef,
        handle: &mut Handle,
        making: &Making<'_>,
        number: u32,
    ) -> Result<Committed, TeeResult> {
        let (kernel, owner) = (self.kernel, self.owner_of(instance)?);
        let made = kernel.as_owner(owner, || {
            let mut files = Files::new(self, Some(instance));
            let keys = &kernel.storage;
            let file = files.create_file(keys, making.uuid, number, handle)?;
            files.write_object(instance, keys, file, making)?;
            file.commit(&mut files, keys)
        });
        self.tell_figures(handle, false);
        Ok(made?)
    }

    #[inline(never)]
    fn enter(
        &mut self,
        instance: InstanceRef,
        making: &Making<'_>,
        committed: Committed,
    ) -> Result<(), TeeResult> {
        let (uuid, id) = (making.uuid, &making.id);
        let entered = self.with_directory(Some(instance), |files, keys, directory| {
            let replaced = directory.put(files, keys, uuid, id, committed, making.replaces)?;
            if let Some(old) = replaced {
                files.remove_file(old);
            }
            Ok(())
        });
        Ok(entered?)
    }

    /// A number that was reserved is not needed any more.
    #[inline(never)]
    fn give_number_back(&mut self, number: u32) {
        let released = self.with_directory(None, |_, _, directory| {
            directory.release(number);
            Ok(())
        });
        if let Err(err) = released {
            log::error!("a number of a file is lost: {}", TeeResult::from(err));
        }
    }

    /// Whether the directory, which failed to enter a file, says for certain that it has not.
    #[inline(never)]
    fn is_not_entered(&mut self, making: &Making<'_>, number: u32) -> bool {
        let found = self.with_directory(None, |files, keys, directory| {
            directory.find(files, keys, making.uuid, &making.id)
        });
        found.is_ok_and(|found| found.is_none_or(|entry| entry.file.number != number))
    }
}

/// What an object is made by.
struct Task {
    /// Its slot.
    at: usize,
    flags: u32,
    /// Address and length of its data in the TA.
    data: (u64, u64),
}

/// What an object has its attributes of.
enum Source {
    None,
    Transient,
    Persistent,
}

impl<M: Machine, O: Observer> Files<'_, '_, M, O> {
    /// Has a new file in memory.
    #[inline(never)]
    fn create_file<'h>(
        &mut self,
        keys: &Keys,
        uuid: TeeUuid,
        number: u32,
        handle: &'h mut Handle,
    ) -> Result<&'h mut File, StorageError> {
        let file = File::create(self, keys, uuid, number)?;
        let (file, _) = handle.file.insert((file, 0));
        file.set_limits(FILE_LIMITS);
        Ok(file)
    }

    #[inline(never)]
    fn write_object(
        &mut self,
        instance: InstanceRef,
        keys: &Keys,
        file: &mut File,
        making: &Making<'_>,
    ) -> Result<(), StorageError> {
        let begin = making.begin;
        file.write(self, keys, 0, begin.len(), &mut |_, done, to: &mut [u8]| {
            let from = begin.get(done..done + to.len());
            to.copy_from_slice(from.ok_or(StorageError::Corrupt)?);
            Ok(())
        })?;
        let (from, len) = making.data;
        if len == 0 {
            return Ok(());
        }
        let at = begin.len() as u64;
        file.write(
            self,
            keys,
            at,
            len as usize,
            &mut |files, done, to: &mut [u8]| {
                files.take_pieces(instance, from.wrapping_add(done as u64), to)
            },
        )
    }
}
