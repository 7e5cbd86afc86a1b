//! Requests of the secure world during a call (`optee_rpc_cmd.h`).
//!
//! **Invariant:** a request is read from shared memory once; offsets and sizes in it are checked
//! against the buffer they name.
//! **Knows nothing of:** where applications, time and waiting come from: [`Services`] does.

use alloc::borrow::Cow;
use alloc::sync::Arc;
use tally_abi::msg::{MsgParam, PAGE_SIZE, attr};
use tally_abi::rpc::{cmd, notification};
use tally_abi::{Origin, TeeResult, TeeUuid};

use super::files::Files;
use super::message::Message;
use super::page::Pages;
use super::{CallInfo, Conduit, Shared, SmcTransport};

/// Most parameters of a request that are looked at.
const MAX_PARAMS: usize = 8;

/// What the normal world does for the secure one.
pub trait Services: Sync {
    /// Size in bytes of the signed image of `uuid`.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND` if there is none.
    fn ta_size(&self, uuid: TeeUuid) -> Result<usize, TeeResult> {
        self.ta_image(uuid).map(|image| image.len())
    }

    /// The signed image of `uuid`.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND` if there is none.
    fn ta_image(&self, uuid: TeeUuid) -> Result<Cow<'_, [u8]>, TeeResult>;

    /// Time: seconds and nanoseconds since some epoch.
    fn time(&self) -> (u64, u32);

    /// Sleeps until `key` is sent, or `timeout_ms` (if not 0) have passed.
    ///
    /// # Errors
    /// `TIMEOUT`.
    fn wait(&self, key: u64, timeout_ms: u64, call: &CallInfo) -> Result<(), TeeResult>;

    /// Wakes the sleeper on `key`, or the next one to come.
    fn notify(&self, key: u64);

    /// Sleeps.
    fn suspend(&self, millis: u64, call: &CallInfo);

    /// Whether shared memory of this kind and size may be had now.
    fn may_allocate(&self, _kind: u64, _bytes: u64) -> bool {
        true
    }

    /// Who keeps the secure world's files, if anybody does.
    fn files(&self) -> Option<&dyn Files> {
        None
    }

    /// A call came out because of an interrupt of this world; it goes on when this returns.
    fn foreign_interrupt(&self, call: &CallInfo);

    /// All threads of the secure world are taken; the call is made again when this returns.
    fn thread_limit(&self);
}

pub(super) struct Refused(pub(super) TeeResult);

/// Which way the bytes of a buffer go, seen from the secure world.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

impl<C: Conduit, S: Services> SmcTransport<C, S> {
    /// Serves the request in `argument`, made during `call`, and writes the answer there.
    pub fn serve_command(&self, argument: Message<'_>, call: &CallInfo) {
        let header = argument.header();
        let n = header.num_params as usize;
        let result = if n > MAX_PARAMS {
            Err(Refused(TeeResult::BAD_PARAMETERS))
        } else {
            let mut params = [MsgParam::default(); MAX_PARAMS];
            for (i, param) in params.iter_mut().enumerate().take(n) {
                *param = argument.param(i);
            }
            let served = self.serve(header.cmd, &mut params[..n], call);
            // Who was refused for want of room is told how much is needed.
            for (i, param) in params.iter().enumerate().take(n) {
                argument.set_param(i, param);
            }
            served
        };
        let code = match result {
            Ok(()) => TeeResult::SUCCESS,
            Err(Refused(code)) => code,
        };
        argument.set_ret(code.0, Origin::Comms as u32);
    }

    fn serve(&self, command: u32, params: &mut [MsgParam], call: &CallInfo) -> Result<(), Refused> {
        match (command, params) {
            (cmd::LOAD_TA, [uuid, image]) => self.load_ta(uuid, image),
            (cmd::GET_TIME, [time]) => {
                let (seconds, nanos) = self.services.time();
                (time.a, time.b, time.c) = (seconds, u64::from(nanos), 0);
                Ok(())
            }
            (cmd::NOTIFICATION, [what]) => match what.a {
                notification::WAIT => self.services.wait(what.b, what.c, call).map_err(Refused),
                notification::SEND => {
                    self.services.notify(what.b);
                    Ok(())
                }
                _ => Err(Refused(TeeResult::BAD_PARAMETERS)),
            },
            (cmd::SUSPEND, [time]) => {
                self.services.suspend(time.a, call);
                Ok(())
            }
            (cmd::SHM_ALLOC, [what, ..]) => self.allocate(what),
            (cmd::SHM_FREE, [what, ..]) => {
                if self.take_shared(what.b).is_some() {
                    Ok(())
                } else {
                    Err(Refused(TeeResult::BAD_PARAMETERS))
                }
            }
            (cmd::FS, params) => match self.services.files() {
                Some(files) => self.serve_files(files, params),
                None => Err(Refused(TeeResult::NOT_SUPPORTED)),
            },
            (
                cmd::LOAD_TA
                | cmd::GET_TIME
                | cmd::NOTIFICATION
                | cmd::SUSPEND
                | cmd::SHM_ALLOC
                | cmd::SHM_FREE,
                _,
            ) => Err(Refused(TeeResult::BAD_PARAMETERS)),
            _ => Err(Refused(TeeResult::NOT_SUPPORTED)),
        }
    }

    fn load_ta(&self, uuid: &MsgParam, image: &mut MsgParam) -> Result<(), Refused> {
        if uuid.attr & attr::TYPE_MASK != attr::VALUE_INPUT {
            return Err(Refused(TeeResult::BAD_PARAMETERS));
        }
        let uuid = TeeUuid::from_value_pair(uuid.a, uuid.b);
        let buffer = self.buffer_of(image, Way::Out)?;
        let size = self.services.ta_size(uuid).map_err(Refused)?;
        if let Some((buffer, offset, room)) = buffer
            && size <= room
        {
            let bytes = self.services.ta_image(uuid).map_err(Refused)?;
            // It may have changed since its size was told.
            if bytes.len() <= room {
                buffer.write(offset, &bytes);
            }
        }
        // If that is more than there is room for, the other side asks again.
        image.b = size as u64;
        Ok(())
    }

    /// Resolves a memory parameter of bytes that go this way: buffer, offset, size; `None` for a null one.
    pub(super) fn buffer_of(
        &self,
        param: &MsgParam,
        way: Way,
    ) -> Result<Option<(Arc<Pages>, usize, usize)>, Refused> {
        let bad = Refused(TeeResult::BAD_PARAMETERS);
        let size = param.b;
        if size == 0 {
            return Ok(None);
        }
        let Some(shared) = self.find_shared(param.c) else {
            return Err(bad);
        };
        let kind = param.attr & attr::TYPE_MASK;
        let registered = match kind {
            attr::RMEM_INOUT => true,
            attr::TMEM_INOUT => false,
            attr::RMEM_INPUT | attr::TMEM_INPUT if way == Way::In => kind == attr::RMEM_INPUT,
            attr::RMEM_OUTPUT | attr::TMEM_OUTPUT if way == Way::Out => kind == attr::RMEM_OUTPUT,
            _ => return Err(bad),
        };
        let offset = if registered {
            param.a
        } else if param.attr & attr::NONCONTIG != 0 {
            param.a % PAGE_SIZE as u64
        } else {
            let base = self.conduit.physical(shared.pages.address());
            param.a.wrapping_sub(base)
        };
        let end = offset.checked_add(size);
        if end.is_none_or(|end| end > shared.pages.len() as u64) {
            return Err(bad);
        }
        Ok(Some((shared.pages.clone(), offset as usize, size as usize)))
    }

    /// `SHM_ALLOC`: the answer is a list of pages in place of the request.
    fn allocate(&self, param: &mut MsgParam) -> Result<(), Refused> {
        let out_of_memory = || Refused(TeeResult::OUT_OF_MEMORY);
        let (kind, size) = (param.a, param.b);
        if size == 0 || size > super::MAX_SHARED_BYTES {
            return Err(Refused(TeeResult::BAD_PARAMETERS));
        }
        if !self.services.may_allocate(kind, size) {
            return Err(out_of_memory());
        }
        let shared = Shared::allocate(size as usize, |va| self.conduit.physical(va))
            .ok_or_else(out_of_memory)?;
        let buf_ptr = shared.list.buf_ptr();
        let cookie = self.keep_shared(shared);
        *param = MsgParam {
            attr: attr::TMEM_OUTPUT | attr::NONCONTIG,
            a: buf_ptr,
            b: size,
            c: cookie,
        };
        Ok(())
    }
}
