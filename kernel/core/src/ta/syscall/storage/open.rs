//! Opening an object of trusted storage.

use super::Corrupt;
use crate::call::Call;
use crate::observer::Observer;
use crate::ta::crypto::object::Object;
use crate::ta::crypto::stored::most_bytes;
use crate::ta::instance::InstanceRef;
use crate::ta::storage::files::Files;
use crate::ta::storage::objects::{Handle, Want};
use tally_abi::TeeResult;
use tally_abi::crypto::object_type;
use tally_abi::storage::{ObjectHead, data_flag};
use tally_mem::fallible::TryBox;
use tally_mem::machine::Machine;
use tally_storage::file::File;
use tally_storage::host::StorageError;
use tally_storage::keys::Keys;
use zerocopy::IntoBytes;

/// Bytes of a head.
pub(super) const HEAD: usize = size_of::<ObjectHead>();

/// What an object's file begins with.
struct Begun {
    object: Object,
    head: ObjectHead,
    data_bytes: u64,
}

impl<'k, M: Machine, O: Observer> Call<'k, M, O> {
    #[inline(never)]
    pub(super) fn sys_stored_open(
        &mut self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [space, id, id_len, flags, out] = [x[0], x[1], x[2], x[3], x[4]];
        if flags & !u64::from(data_flag::OF_OPEN) != 0 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        Self::check_space(space)?;
        let id = self.take_id(instance, id, id_len)?;
        let uuid = self.ta_of(instance)?;
        let handle = self.reserve_handle(instance, out)?;
        let flags = flags as u32;
        let used = {
            let mut state = self.kernel.state();
            state.use_object(self.guest, uuid, &id, flags, Want::Open)
        };
        let opened = used.and_then(|at| self.open_object(instance, at, flags, Corrupt::Goes));
        let filled = opened.and_then(|object| self.fill_handle(instance, handle, object));
        if filled.is_err() {
            self.cancel_handle(instance, handle);
        }
        filled?;
        self.write(instance, out, handle.as_bytes())
    }

    /// A handle of nothing yet, which is about to go to this place.
    #[inline(never)]
    pub(super) fn reserve_handle(&self, instance: InstanceRef, out: u64) -> Result<u32, TeeResult> {
        self.check_write(instance, out, size_of::<u32>() as u64)?;
        self.reserve(instance)
    }

    /// A handle of nothing yet.
    pub(super) fn reserve(&self, instance: InstanceRef) -> Result<u32, TeeResult> {
        let object = self.as_instance(instance, || Object::new(object_type::DATA, 0))??;
        let bytes = object.heap_bytes();
        self.hold_more(instance, bytes, |held| held.add_object(object))
    }

    /// Has such a handle name an object, within the instance's share.
    #[inline(never)]
    pub(super) fn fill_handle(
        &mut self,
        instance: InstanceRef,
        handle: u32,
        mut object: Object,
    ) -> Result<(), TeeResult> {
        let mut lent = self.lend_share(instance, object.heap_bytes());
        if lent.is_err()
            && let Some(stored) = &mut object.storage
        {
            // Its file is read again when it is needed.
            self.drop_file(stored);
            lent = self.lend_share(instance, object.heap_bytes());
        }
        if let Err(err) = lent {
            self.let_go_of(&mut object);
            return Err(err);
        }
        self.with_holdings(instance, |held| held.fill(handle, object))?;
        self.drop_other_files(instance, handle);
        Ok(())
    }

    pub(super) fn cancel_handle(&self, instance: InstanceRef, handle: u32) {
        let _ = self.with_holdings(instance, |held| held.remove_object(handle));
    }

    /// Opens an object that this call has in use, which it is no more if that fails.
    #[inline(never)]
    pub(super) fn open_object(
        &mut self,
        instance: InstanceRef,
        at: usize,
        flags: u32,
        corrupt: Corrupt,
    ) -> Result<Object, TeeResult> {
        let mut handle = self.new_handle(instance, at, flags)?;
        let begun = self.begin_object(instance, &mut handle);
        match begun {
            Ok(mut object) => {
                object.storage = Some(handle);
                Ok(object)
            }
            Err(err) => {
                let is_corrupt = matches!(
                    err,
                    TeeResult::NO_DATA | TeeResult::BAD_FORMAT | TeeResult::CORRUPT_OBJECT
                );
                if is_corrupt && corrupt == Corrupt::Goes {
                    self.remove_corrupt(instance, &mut handle);
                }
                self.drop_file(&mut handle);
                self.leave_open(at);
                Err(if is_corrupt {
                    TeeResult::CORRUPT_OBJECT
                } else {
                    err
                })
            }
        }
    }

    /// What an object has of storage which this call has in use, and no more if that fails.
    #[inline(never)]
    pub(super) fn new_handle(
        &mut self,
        instance: InstanceRef,
        at: usize,
        flags: u32,
    ) -> Result<TryBox<Handle>, TeeResult> {
        let handle = Handle {
            at,
            flags,
            position: 0,
            data_start: 0,
            file: None,
        };
        let handle = self.as_instance(instance, || TryBox::new(handle));
        let handle = handle.and_then(|handle| handle.map_err(TeeResult::from));
        if handle.is_err() {
            self.leave_open(at);
        }
        handle
    }

    #[inline(never)]
    fn begin_object(
        &mut self,
        instance: InstanceRef,
        handle: &mut Handle,
    ) -> Result<Object, TeeResult> {
        let at = handle.at;
        let begun = self.with_file(instance, handle, |files, keys, file| {
            let begun = files.begin(instance, keys, file)?;
            // Nobody else changes it meanwhile.
            let noted = files.call.with_open(at, |open| {
                open.usage = begun.head.usage;
                open.data_bytes = begun.data_bytes;
            });
            noted.map_err(StorageError::Code)?;
            Ok(begun)
        })?;
        handle.data_start = HEAD as u64 + u64::from(begun.head.attribute_bytes);
        Ok(begun.object)
    }
}

impl<M: Machine, O: Observer> Files<'_, '_, M, O> {
    /// Reads what an object's file begins with.
    #[inline(never)]
    fn begin(
        &mut self,
        instance: InstanceRef,
        keys: &Keys,
        file: &mut File,
    ) -> Result<Begun, StorageError> {
        let mut head = ObjectHead::default();
        self.read_whole(keys, file, 0, head.as_mut_bytes())?;
        let before = HEAD as u64 + u64::from(head.attribute_bytes);
        let data_bytes = file.bytes().checked_sub(before);
        let data_bytes = data_bytes.ok_or(StorageError::Corrupt)?;
        let object = Object::new(head.object_type, u64::from(head.max_size_bits));
        let mut object = object.map_err(StorageError::Code)?;
        let bytes = head.attribute_bytes as usize;
        if bytes > most_bytes(object.rules, object.max_bits) {
            return Err(StorageError::Corrupt);
        }
        let room = self.call.open_room(instance, 0, bytes);
        let mut room = room.map_err(StorageError::Code)?;
        let restored = self
            .read_whole(keys, file, HEAD as u64, &mut room.bytes)
            .and_then(|()| {
                let restored = object.restore(&room.bytes, head.has);
                restored.map_err(StorageError::Code)
            });
        self.call.close_room(instance, room);
        restored?;
        object.bits = head.size_bits;
        object.is_initialized = true;
        Ok(Begun {
            object,
            head,
            data_bytes,
        })
    }

    /// Reads so many bytes, which are there unless the file is corrupt.
    fn read_whole(
        &mut self,
        keys: &Keys,
        file: &mut File,
        at: u64,
        to: &mut [u8],
    ) -> Result<(), StorageError> {
        let len = to.len();
        let there = file.read(self, keys, at, len, &mut |_, done, piece: &[u8]| {
            let place = to.get_mut(done..done + piece.len());
            place.ok_or(StorageError::Corrupt)?.copy_from_slice(piece);
            Ok(())
        })?;
        if there == len {
            Ok(())
        } else {
            Err(StorageError::Corrupt)
        }
    }
}
