//! The transport of code that makes its own secure monitor calls: `optee_smc.h` and
//! `optee_msg.h` as seen from the normal world.
//!
//! **Invariant:** a message page belongs to one call at a time; memory that the secure world was
//! told of stays allocated until the secure world has let go of it.
//! **Knows nothing of:** devices: [`Conduit`] makes the calls, [`Services`] serves requests.

mod files;
mod memory_files;
mod message;
mod page;
mod rpc;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use spin::Mutex;
use tally_abi::msg::{MsgHeader, MsgParam, PAGE_SIZE, arg_size, attr, cmd, login};
use tally_abi::smc::{CALLS_UID, FunctionId, ret, sec_cap};
use tally_abi::{Origin, TeeResult, TeeUuid};

use crate::error::{Error, ErrorKind, ErrorOrigin, Result};
use crate::transport::{Direction, RawParam, SharedBytes, TempMemory, Transport};

pub use files::Files;
pub use memory_files::{MemoryFiles, Saved};
pub use message::Message;
pub use page::{Page, PageList, Pages};
pub use rpc::Services;

/// Most calls in flight at a time from this side.
const SLOTS: usize = 16;
/// Largest shared memory that the secure world is given on request, in bytes.
const MAX_SHARED_BYTES: u64 = 32 << 20;

/// Makes secure monitor calls.
pub trait Conduit: Sync {
    /// Calls with w0..w7 and returns them.
    fn smc(&self, regs: [u32; 8]) -> [u32; 8];

    /// Physical address of an address of this world.
    fn physical(&self, address: usize) -> u64 {
        address as u64
    }
}

/// Which call it is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallInfo {
    /// Session, if the call has one already.
    pub session: Option<u32>,
    /// Names the operation for a cancel.
    pub cancel_id: u32,
}

/// What `EXCHANGE_CAPABILITIES` answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Bits of [`sec_cap`].
    pub bits: u32,
    /// Highest notification value.
    pub max_notification: u32,
    /// Parameters of an RPC argument.
    pub rpc_params: u32,
}

/// Memory that the secure world knows by a cookie.
#[derive(Debug)]
pub(crate) struct Shared {
    pages: Arc<Pages>,
    list: PageList,
}

impl Shared {
    fn allocate(len: usize, physical: impl Fn(usize) -> u64) -> Option<Self> {
        let pages = Pages::allocate(len.div_ceil(PAGE_SIZE))?;
        let list = PageList::of_range(pages.address(), len, physical)?;
        Some(Self {
            pages: Arc::new(pages),
            list,
        })
    }
}

/// [`Transport`] over secure monitor calls.
pub struct SmcTransport<C, S> {
    conduit: C,
    services: S,
    capabilities: Capabilities,
    /// One page a call in flight.
    slots: [Pages; SLOTS],
    /// Bit n set: slot n is taken.
    taken: AtomicU32,
    next_cookie: AtomicU64,
    next_cancel_id: AtomicU32,
    shared: Mutex<BTreeMap<u64, Shared>>,
}

impl<C: Conduit, S: Services> SmcTransport<C, S> {
    /// Asks who is there, and exchanges capabilities.
    ///
    /// # Errors
    /// `NotSupported` if no such trusted OS answers or it cannot use this world's memory,
    /// `OutOfMemory`.
    pub fn probe(conduit: C, services: S) -> Result<Self> {
        let not_supported = Error::from_result(TeeResult::NOT_SUPPORTED, ErrorOrigin::COMMS);
        let uid = conduit.smc([FunctionId::CALLS_UID.0, 0, 0, 0, 0, 0, 0, 0]);
        if uid[..4] != CALLS_UID {
            return Err(not_supported);
        }
        let answer = conduit.smc([FunctionId::EXCHANGE_CAPABILITIES.0, 0, 0, 0, 0, 0, 0, 0]);
        let capabilities = Capabilities {
            bits: answer[1],
            max_notification: answer[2],
            rpc_params: answer[3],
        };
        if answer[0] != ret::OK || u64::from(answer[1]) & sec_cap::DYNAMIC_SHM == 0 {
            return Err(not_supported);
        }
        let mut slots = [const { None }; SLOTS];
        for slot in &mut slots {
            *slot = Some(Pages::allocate(1).ok_or(ErrorKind::OutOfMemory)?);
        }
        Ok(Self {
            conduit,
            services,
            capabilities,
            slots: slots.map(|slot| match slot {
                Some(pages) => pages,
                None => unreachable!("filled above"),
            }),
            taken: AtomicU32::new(0),
            next_cookie: AtomicU64::new(1),
            next_cancel_id: AtomicU32::new(0x8000_0000),
            shared: Mutex::new(BTreeMap::new()),
        })
    }

    /// What the trusted OS can do.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// What makes the calls.
    #[must_use]
    pub const fn conduit(&self) -> &C {
        &self.conduit
    }

    /// What serves requests.
    #[must_use]
    pub const fn services(&self) -> &S {
        &self.services
    }

    /// How many shared memories the secure world knows of.
    #[must_use]
    pub fn shared_count(&self) -> usize {
        self.shared.lock().len()
    }

    /// Serves one suspension of a call: `regs` are the registers it came out with, and become
    /// those to go on with. `argument` is the RPC argument that went with the call, if any.
    pub fn serve_suspension(
        &self,
        regs: &mut [u32; 8],
        info: &CallInfo,
        argument: Option<Message<'_>>,
    ) {
        let reason = regs[0];
        regs[0] = FunctionId::RETURN_FROM_RPC.0;
        match reason {
            ret::RPC_CMD => match argument {
                Some(argument) => self.serve_command(argument, info),
                None => {
                    let cookie = join(regs[1], regs[2]);
                    if let Some(shared) = self.find_shared(cookie) {
                        self.serve_command(Message::at(&shared.pages, 0), info);
                    }
                }
            },
            ret::RPC_ALLOC => {
                let len = regs[1] as usize;
                let shared =
                    Shared::allocate(len.clamp(1, PAGE_SIZE), |va| self.conduit.physical(va));
                let (address, cookie) = shared.map_or((0, 0), |shared| {
                    let address = self.conduit.physical(shared.pages.address());
                    (address, self.keep_shared(shared))
                });
                (regs[1], regs[2]) = split(address);
                (regs[4], regs[5]) = split(cookie);
            }
            ret::RPC_FREE => {
                self.take_shared(join(regs[1], regs[2]));
            }
            // RPC_FOREIGN_INTR, and whatever else: taken care of by being here.
            _ => self.services.foreign_interrupt(info),
        }
    }

    fn find_shared(&self, cookie: u64) -> Option<SharedRef> {
        let table = self.shared.lock();
        let shared = table.get(&cookie)?;
        Some(SharedRef {
            pages: shared.pages.clone(),
        })
    }

    fn keep_shared(&self, shared: Shared) -> u64 {
        let cookie = self.next_cookie.fetch_add(1, Ordering::Relaxed);
        self.shared.lock().insert(cookie, shared);
        cookie
    }

    fn take_shared(&self, cookie: u64) -> Option<Shared> {
        self.shared.lock().remove(&cookie)
    }

    /// Runs the call whose message of `num_params` parameters is in `slot`.
    fn call(&self, slot: &Slot<'_>, num_params: usize, info: &CallInfo) -> Result<()> {
        let rpc_params = self.capabilities.rpc_params as usize;
        let with_rpc_arg = u64::from(self.capabilities.bits) & sec_cap::RPC_ARG != 0;
        let argument = if with_rpc_arg {
            slot.message().rpc_argument(num_params, rpc_params)
        } else {
            None
        };
        let function = match argument {
            Some(argument) => {
                argument.set_header(&MsgHeader {
                    num_params: rpc_params as u32,
                    ..MsgHeader::default()
                });
                FunctionId::CALL_WITH_RPC_ARG
            }
            None => FunctionId::CALL_WITH_ARG,
        };
        let (high, low) = split(self.conduit.physical(slot.pages().address()));
        let first = [function.0, high, low, 0, 0, 0, 0, 0];
        let mut regs = first;
        loop {
            regs = self.conduit.smc(regs);
            match regs[0] {
                ret::OK => return Ok(()),
                ret::ETHREAD_LIMIT => {
                    self.services.thread_limit();
                    regs = first;
                }
                code if ret::is_rpc(code) => self.serve_suspension(&mut regs, info, argument),
                code => {
                    let result = match code {
                        ret::ENOMEM => TeeResult::OUT_OF_MEMORY,
                        ret::EBUSY => TeeResult::BUSY,
                        ret::EBADADDR | ret::EBADCMD => TeeResult::BAD_PARAMETERS,
                        _ => TeeResult::COMMUNICATION,
                    };
                    return Err(Error::from_result(result, ErrorOrigin::COMMS));
                }
            }
        }
    }

    fn slot(&self) -> Result<Slot<'_>> {
        let mut taken = self.taken.load(Ordering::Relaxed);
        loop {
            let index = taken.trailing_ones() as usize;
            let Some(pages) = self.slots.get(index) else {
                return Err(ErrorKind::Busy.into());
            };
            let next = taken | 1 << index;
            match self.taken.compare_exchange_weak(
                taken,
                next,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    return Ok(Slot {
                        pages,
                        index,
                        taken: &self.taken,
                    });
                }
                Err(now) => taken = now,
            }
        }
    }

    /// Makes a call of `header` with `meta` parameters and then the caller's, and writes results
    /// back. Returns the answer's fixed part.
    fn exchange(
        &self,
        header: MsgHeader,
        meta: &[MsgParam],
        params: &mut [RawParam<'_>],
        info: &CallInfo,
    ) -> Result<MsgHeader> {
        let slot = self.slot()?;
        let message = slot.message();
        // Trailing parameters that are none need not travel.
        let used = params
            .iter()
            .rposition(|p| !matches!(p, RawParam::None))
            .map_or(0, |last| last + 1);
        let num_params = meta.len() + used;
        message.set_header(&MsgHeader {
            num_params: num_params as u32,
            ret: TeeResult::COMMUNICATION.0,
            ret_origin: Origin::Comms as u32,
            ..header
        });
        for (i, param) in meta.iter().enumerate() {
            message.set_param(i, param);
        }
        let mut lists = [const { None }; 4];
        for (i, (param, list)) in params.iter_mut().zip(&mut lists).take(used).enumerate() {
            let wire = self.wire_param(param, list)?;
            message.set_param(meta.len() + i, &wire);
        }
        self.call(&slot, num_params, info)?;
        for (i, param) in params.iter_mut().take(used).enumerate() {
            read_back(param, &message.param(meta.len() + i));
        }
        let answer = message.header();
        TeeResult(answer.ret).ok().map_err(|code| {
            Error::from_result(code, Origin::from_wire(answer.ret_origin).into())
        })?;
        Ok(answer)
    }

    fn wire_param(
        &self,
        param: &mut RawParam<'_>,
        keep_list: &mut Option<PageList>,
    ) -> Result<MsgParam> {
        Ok(match param {
            RawParam::None => MsgParam::default(),
            RawParam::Value { direction, a, b } => MsgParam {
                attr: attr::VALUE_INPUT + direction_offset(*direction),
                a: u64::from(**a),
                b: u64::from(**b),
                c: 0,
            },
            RawParam::Registered {
                direction,
                cookie,
                offset,
                size,
            } => MsgParam {
                attr: attr::RMEM_INPUT + direction_offset(*direction),
                a: *offset as u64,
                b: **size as u64,
                c: *cookie,
            },
            RawParam::Temp { memory, size } => {
                let (direction, address, len) = match memory {
                    TempMemory::Null(direction) => (*direction, 0, 0),
                    TempMemory::Input(bytes) => (
                        Direction::Input,
                        bytes.as_ptr().expose_provenance(),
                        bytes.len(),
                    ),
                    TempMemory::Output(bytes) => (
                        Direction::Output,
                        bytes.as_mut_ptr().expose_provenance(),
                        bytes.len(),
                    ),
                    TempMemory::Inout(bytes) => (
                        Direction::Inout,
                        bytes.as_mut_ptr().expose_provenance(),
                        bytes.len(),
                    ),
                };
                **size = len;
                let attr = attr::TMEM_INPUT + direction_offset(direction);
                if len == 0 {
                    // Nothing to share: a null reference.
                    return Ok(MsgParam {
                        attr,
                        ..MsgParam::default()
                    });
                }
                let list = PageList::of_range(address, len, |va| self.conduit.physical(va))
                    .ok_or(ErrorKind::OutOfMemory)?;
                let list = keep_list.insert(list);
                MsgParam {
                    attr: attr | attr::NONCONTIG,
                    a: list.buf_ptr(),
                    b: len as u64,
                    // Unique while the call runs: the memory is lent to it.
                    c: self.conduit.physical(address),
                }
            }
        })
    }
}

fn read_back(param: &mut RawParam<'_>, wire: &MsgParam) {
    match param {
        RawParam::None
        | RawParam::Value {
            direction: Direction::Input,
            ..
        } => {}
        RawParam::Value { a, b, .. } => {
            **a = wire.a as u32;
            **b = wire.b as u32;
        }
        RawParam::Temp { size, .. } | RawParam::Registered { size, .. } => {
            **size = wire.b as usize;
        }
    }
}

impl<C: Conduit, S: Services> Transport for SmcTransport<C, S> {
    fn open_session(&self, uuid: TeeUuid, params: &mut [RawParam<'_>; 4]) -> Result<u32> {
        let (a, b) = uuid.to_value_pair();
        let meta = [
            MsgParam {
                attr: attr::VALUE_INPUT | attr::META,
                a,
                b,
                c: 0,
            },
            MsgParam {
                attr: attr::VALUE_INPUT | attr::META,
                a: 0,
                b: 0,
                c: u64::from(login::PUBLIC),
            },
        ];
        let cancel_id = self.next_cancel_id.fetch_add(1, Ordering::Relaxed);
        let header = MsgHeader {
            cmd: cmd::OPEN_SESSION,
            cancel_id,
            ..MsgHeader::default()
        };
        let info = CallInfo {
            session: None,
            cancel_id,
        };
        Ok(self.exchange(header, &meta, params, &info)?.session)
    }

    fn invoke(
        &self,
        session: u32,
        command: u32,
        cancel_id: u32,
        params: &mut [RawParam<'_>; 4],
    ) -> Result<()> {
        let cancel_id = if cancel_id == 0 {
            self.next_cancel_id.fetch_add(1, Ordering::Relaxed)
        } else {
            cancel_id
        };
        let header = MsgHeader {
            cmd: cmd::INVOKE_COMMAND,
            func: command,
            session,
            cancel_id,
            ..MsgHeader::default()
        };
        let info = CallInfo {
            session: Some(session),
            cancel_id,
        };
        self.exchange(header, &[], params, &info).map(|_| ())
    }

    fn close_session(&self, session: u32) -> Result<()> {
        let header = MsgHeader {
            cmd: cmd::CLOSE_SESSION,
            session,
            ..MsgHeader::default()
        };
        self.exchange(header, &[], &mut [], &CallInfo::default())
            .map(|_| ())
    }

    fn cancel(&self, session: u32, cancel_id: u32) -> Result<()> {
        let header = MsgHeader {
            cmd: cmd::CANCEL,
            session,
            cancel_id,
            ..MsgHeader::default()
        };
        self.exchange(header, &[], &mut [], &CallInfo::default())
            .map(|_| ())
    }

    fn allocate_shared(&self, len: usize) -> Result<Box<dyn SharedBytes>> {
        let shared = Shared::allocate(len.max(1), |va| self.conduit.physical(va))
            .ok_or(ErrorKind::OutOfMemory)?;
        let buf_ptr = shared.list.buf_ptr();
        let pages = shared.pages.clone();
        let cookie = self.keep_shared(shared);
        if let Err(error) = self.register(cookie, buf_ptr, len) {
            self.take_shared(cookie);
            return Err(error);
        }
        Ok(Box::new(RegisteredPages { pages, cookie, len }))
    }

    fn release_shared(&self, cookie: u64) -> Result<()> {
        // On failure the memory stays in the table: the secure world may still use it.
        self.unregister(cookie)?;
        self.take_shared(cookie);
        Ok(())
    }
}

impl<C: Conduit, S: Services> SmcTransport<C, S> {
    /// Registers the memory of the page list at `buf_ptr` as `cookie`.
    ///
    /// # Errors
    /// What the trusted OS says.
    pub fn register(&self, cookie: u64, buf_ptr: u64, len: usize) -> Result<()> {
        let param = MsgParam {
            attr: attr::TMEM_OUTPUT | attr::NONCONTIG,
            a: buf_ptr,
            b: len as u64,
            c: cookie,
        };
        let header = MsgHeader {
            cmd: cmd::REGISTER_SHM,
            ..MsgHeader::default()
        };
        self.exchange(header, &[param], &mut [], &CallInfo::default())
            .map(|_| ())
    }

    /// Unregisters `cookie`.
    ///
    /// # Errors
    /// What the trusted OS says.
    pub fn unregister(&self, cookie: u64) -> Result<()> {
        let param = MsgParam {
            attr: attr::RMEM_INPUT,
            c: cookie,
            ..MsgParam::default()
        };
        let header = MsgHeader {
            cmd: cmd::UNREGISTER_SHM,
            ..MsgHeader::default()
        };
        self.exchange(header, &[param], &mut [], &CallInfo::default())
            .map(|_| ())
    }

    /// Makes a call with any fixed part and parameters, and returns those of the answer. For
    /// callers that test the other side.
    ///
    /// # Errors
    /// `BadParameters` if the message does not fit a page; what [`ret`] codes other than OK stand
    /// for. A result in the answer is not an error here.
    pub fn call_raw(&self, header: MsgHeader, params: &mut [MsgParam]) -> Result<MsgHeader> {
        if arg_size(params.len()) > PAGE_SIZE {
            return Err(ErrorKind::BadParameters.into());
        }
        let slot = self.slot()?;
        let message = slot.message();
        message.set_header(&header);
        for (i, param) in params.iter().enumerate() {
            message.set_param(i, param);
        }
        self.call(&slot, params.len(), &CallInfo::default())?;
        for (i, param) in params.iter_mut().enumerate() {
            *param = message.param(i);
        }
        Ok(message.header())
    }
}

struct SharedRef {
    pages: Arc<Pages>,
}

struct RegisteredPages {
    pages: Arc<Pages>,
    cookie: u64,
    len: usize,
}

impl SharedBytes for RegisteredPages {
    fn len(&self) -> usize {
        self.len
    }

    fn cookie(&self) -> u64 {
        self.cookie
    }

    fn read(&self, offset: usize, to: &mut [u8]) {
        self.pages.read(offset, to);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        self.pages.write(offset, from);
    }
}

/// A message page, taken for one call.
struct Slot<'a> {
    pages: &'a Pages,
    index: usize,
    taken: &'a AtomicU32,
}

impl<'a> Slot<'a> {
    const fn pages(&self) -> &'a Pages {
        self.pages
    }

    const fn message(&self) -> Message<'a> {
        Message::at(self.pages, 0)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.taken.fetch_and(!(1 << self.index), Ordering::Release);
    }
}

const fn direction_offset(direction: Direction) -> u64 {
    match direction {
        Direction::Input => 0,
        Direction::Output => 1,
        Direction::Inout => 2,
    }
}

const fn split(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

const fn join(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}
