//! Data of objects of trusted storage.

use super::Corrupt;
use crate::call::Call;
use crate::observer::Observer;
use crate::ta::crypto::object::Object;
use crate::ta::instance::InstanceRef;
use crate::ta::storage::files::Files;
use crate::ta::storage::objects::Handle;
use crate::ta::storage::turn::Shared;
use crate::ta::syscall::crypto::data::PIECE;
use core::mem::offset_of;
use tally_abi::TeeResult;
use tally_abi::storage::{MAX_POSITION, ObjectHead, data_flag, whence};
use tally_abi::ta::access;
use tally_mem::addr::UserVa;
use tally_mem::fallible::TryBox;
use tally_mem::machine::Machine;
use tally_storage::host::StorageError;

/// What an object has of storage, if it is there and may be used like this.
fn stored(object: &mut Object, access: u32) -> Result<&mut TryBox<Handle>, TeeResult> {
    let handle = object.storage.as_mut().ok_or(TeeResult::BAD_STATE)?;
    if handle.flags & access != access {
        return Err(TeeResult::ACCESS_CONFLICT);
    }
    Ok(handle)
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    #[inline(never)]
    pub(super) fn sys_stored_read(
        &mut self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [handle, to, len, count] = [x[0], x[1], x[2], x[3]];
        let there = self.with_taken(instance, handle, Corrupt::Goes, |call, object| {
            let handle = stored(object, data_flag::ACCESS_READ)?;
            let (at, _) = range(handle, len)?;
            let end = call.with_open(handle.at, |open| open.data_bytes)?;
            let len = len.min(end.saturating_sub(handle.position));
            call.check_write(instance, to, len)?;
            let there = call.with_file(instance, handle, |files, keys, file| {
                file.read(
                    files,
                    keys,
                    at,
                    len as usize,
                    &mut |files, done, piece: &[u8]| {
                        files.put_pieces(instance, to.wrapping_add(done as u64), piece)
                    },
                )
            })?;
            handle.position += there as u64;
            Ok(there as u64)
        })?;
        self.sys_check_access(
            instance,
            access::WRITE,
            UserVa(count),
            size_of::<u64>() as u64,
        )?;
        self.storage_call.read = there;
        self.write_u64(instance, count, there)
    }

    #[inline(never)]
    pub(super) fn sys_stored_write(
        &mut self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [handle, from, len] = [x[0], x[1], x[2]];
        self.with_taken(instance, handle, Corrupt::Goes, |call, object| {
            let handle = stored(object, data_flag::ACCESS_WRITE)?;
            let (at, end) = range(handle, len)?;
            if len == 0 {
                return Ok(());
            }
            call.check_read(instance, from, len)?;
            call.change_file(
                instance,
                handle,
                |files, keys, file| {
                    file.write(
                        files,
                        keys,
                        at,
                        len as usize,
                        &mut |files, done, to: &mut [u8]| {
                            files.take_pieces(instance, from.wrapping_add(done as u64), to)
                        },
                    )
                },
                |open| open.data_bytes = open.data_bytes.max(end),
            )?;
            handle.position = end;
            Ok(())
        })
    }

    #[inline(never)]
    pub(super) fn sys_stored_truncate(
        &mut self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [handle, len] = [x[0], x[1]];
        self.with_taken(instance, handle, Corrupt::Goes, |call, object| {
            let handle = stored(object, data_flag::ACCESS_WRITE)?;
            let bytes = handle.data_start.checked_add(len);
            let bytes = bytes.ok_or(TeeResult::OVERFLOW)?;
            let cut = call.change_file(
                instance,
                handle,
                |files, keys, file| file.truncate(files, keys, bytes),
                |open| open.data_bytes = len,
            );
            cut.map_err(|err| match err {
                TeeResult::CORRUPT_OBJECT
                | TeeResult::STORAGE_NO_SPACE
                | TeeResult::STORAGE_NOT_AVAILABLE => err,
                _ => TeeResult::GENERIC,
            })
        })
    }

    #[inline(never)]
    pub(super) fn sys_stored_seek(
        &mut self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let (offset, whence) = (i64::from(x[1] as i32), x[2]);
        self.with_taken(instance, x[0], Corrupt::Stays, |call, object| {
            let handle = stored(object, 0)?;
            let from = match whence {
                whence::SET => 0,
                whence::CURRENT => handle.position,
                whence::END => call.with_open(handle.at, |open| open.data_bytes)?,
                _ => return Err(TeeResult::BAD_PARAMETERS),
            };
            let position = i64::try_from(from)
                .ok()
                .and_then(|from| from.checked_add(offset));
            let position = position.ok_or(TeeResult::OVERFLOW)?.max(0) as u64;
            if position > MAX_POSITION {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            handle.position = position;
            Ok(())
        })
    }

    /// Takes from what a persistent object may be used for.
    #[inline(never)]
    pub(in crate::ta::syscall) fn restrict_stored(
        &mut self,
        instance: InstanceRef,
        handle: u64,
        usage: u32,
    ) -> Result<(), TeeResult> {
        self.begin_work()?;
        let done = self.restrict(instance, handle, usage);
        self.end_turn(Shared::Work);
        done
    }

    #[inline(never)]
    fn restrict(
        &mut self,
        instance: InstanceRef,
        handle: u64,
        usage: u32,
    ) -> Result<(), TeeResult> {
        const AT: u64 = offset_of!(ObjectHead, usage) as u64;
        self.with_taken(instance, handle, Corrupt::Stays, |call, object| {
            let handle = stored(object, 0)?;
            let at = handle.at;
            call.change_file(
                instance,
                handle,
                |files, keys, file| {
                    let left = files.call.with_open(at, |open| open.usage & usage);
                    let left = left.map_err(StorageError::Code)?.to_le_bytes();
                    file.write(
                        files,
                        keys,
                        AT,
                        left.len(),
                        &mut |_, done, to: &mut [u8]| {
                            let from = left.get(done..done + to.len());
                            to.copy_from_slice(from.ok_or(StorageError::Corrupt)?);
                            Ok(())
                        },
                    )
                },
                |open| open.usage &= usage,
            )
        })
    }
}

/// Where so many bytes from an object's position on lie in its file, and the position behind them.
fn range(handle: &Handle, len: u64) -> Result<(u64, u64), TeeResult> {
    let end = handle.position.checked_add(len);
    let end = end.filter(|end| end.checked_add(handle.data_start).is_some());
    let end = end.ok_or(TeeResult::OVERFLOW)?;
    Ok((handle.data_start + handle.position, end))
}

impl<M: Machine, O: Observer> Files<'_, '_, M, O> {
    /// Copies to a TA.
    #[inline(never)]
    fn put_pieces(&self, instance: InstanceRef, to: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let mut at = to;
        for piece in bytes.chunks(PIECE) {
            let put = self.call.write(instance, at, piece);
            put.map_err(StorageError::Code)?;
            self.call.kernel.breathe();
            at = at.wrapping_add(piece.len() as u64);
        }
        Ok(())
    }

    /// Copies from a TA.
    #[inline(never)]
    pub(super) fn take_pieces(
        &self,
        instance: InstanceRef,
        from: u64,
        bytes: &mut [u8],
    ) -> Result<(), StorageError> {
        let mut at = from;
        for piece in bytes.chunks_mut(PIECE) {
            let taken = self.call.read(instance, at, piece);
            taken.map_err(StorageError::Code)?;
            self.call.kernel.breathe();
            at = at.wrapping_add(piece.len() as u64);
        }
        Ok(())
    }
}
