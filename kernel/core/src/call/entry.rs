//! Entry of normal-world calls: fast calls, and yielding calls on their thread.
//!
//! **Invariant:** a fast call touches no guest memory; a yielding call ends with everything that
//! it borrowed given back.

use crate::call::Call;
use crate::call::args::{Args, Lent, Untaken};
use crate::call::message::{self, Message, MessageError, Outcome};
use crate::call::rpc::{MAX_RPC_PARAMS, RpcArg};
use crate::call::shm::{Shm, ShmError, ShmRef};
use crate::guest_id::{GuestId, MAX_GUESTS};
use crate::kernel::Kernel;
use crate::observer::Observer;
use crate::refused::Refused;
use crate::ta::invoke::Limit;
use crate::ta::session::Opener;
use core::sync::atomic::{Ordering, fence};
use tally_abi::TeeResult;
use tally_abi::msg::{MsgHeader, MsgParam, arg_size, attr, cmd};
use tally_abi::smc::{self, FunctionId, ret, sec_cap};
use tally_mem::addr::PhysAddr;
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;

/// Revision that `GET_OS_REVISION` reports: Tally's own version.
const OS_REVISION: [u64; 2] = [0, 1];
/// Highest notification key: threads wait under their number.
const MAX_NOTIFICATION: u64 = crate::call::thread::MAX_THREADS as u64 - 1;

/// What to do with a yielding call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Return to the normal world at once.
    Reply([u64; 4]),
    /// Start the call on this free thread.
    Start(usize),
    /// Resume this suspended thread.
    Resume(usize),
}

const fn reply(code: u32) -> [u64; 4] {
    [code as u64, 0, 0, 0]
}

const fn words(w: [u32; 4]) -> [u64; 4] {
    [w[0] as u64, w[1] as u64, w[2] as u64, w[3] as u64]
}

/// Where the message of a call lies.
enum Place {
    /// At a physical address, one byte after the other.
    Physical(PhysAddr),
    /// In registered shared memory, at an offset.
    Registered(ShmRef, u64),
}

impl<M: Machine, O: Observer> Kernel<M, O> {
    /// A fast call: x0..x7 in, x0..x3 out. Interrupts are masked.
    pub fn fast_call(&self, x: &[u64; 8]) -> [u64; 4] {
        match FunctionId(x[0] as u32) {
            FunctionId::CALLS_COUNT => [u64::from(smc::CALLS_COUNT), 0, 0, 0],
            FunctionId::CALLS_UID => words(smc::CALLS_UID),
            FunctionId::CALLS_REVISION => [
                u64::from(smc::CALLS_REVISION[0]),
                u64::from(smc::CALLS_REVISION[1]),
                0,
                0,
            ],
            FunctionId::GET_OS_UUID => words(smc::OS_UUID),
            FunctionId::GET_OS_REVISION => [OS_REVISION[0], OS_REVISION[1], 0, 0],
            FunctionId::EXCHANGE_CAPABILITIES => self.exchange_capabilities(x[1]),
            // There is no reserved shared memory.
            FunctionId::GET_SHM_CONFIG => reply(ret::ENOTAVAIL),
            // RPC memory lives for one call, so there is never any in a cache.
            FunctionId::DISABLE_SHM_CACHE => reply(if self.threads.idle() {
                ret::ENOTAVAIL
            } else {
                ret::EBUSY
            }),
            FunctionId::ENABLE_SHM_CACHE => reply(if self.threads.idle() {
                ret::OK
            } else {
                ret::EBUSY
            }),
            FunctionId::GET_THREAD_COUNT => [u64::from(ret::OK), self.threads.count() as u64, 0, 0],
            // Asynchronous notifications are not offered: their functions are unknown, as to OP-TEE without them.
            _ => reply(ret::UNKNOWN_FUNCTION),
        }
    }

    fn exchange_capabilities(&self, normal: u64) -> [u64; 4] {
        if normal & !smc::nsec_cap::UNIPROCESSOR != 0 {
            return reply(ret::ENOTAVAIL);
        }
        let caps = sec_cap::UNREGISTERED_SHM
            | sec_cap::DYNAMIC_SHM
            | sec_cap::MEMREF_NULL
            | sec_cap::RPC_ARG;
        [
            u64::from(ret::OK),
            caps,
            MAX_NOTIFICATION,
            MAX_RPC_PARAMS as u64,
        ]
    }

    /// Decides what a yielding call does. Interrupts are masked, no thread runs yet.
    pub fn yield_entry(&self, x: &[u64; 8]) -> Entry {
        match FunctionId(x[0] as u32) {
            FunctionId::RETURN_FROM_RPC => {
                if self.threads.resume(x[3]) {
                    Entry::Resume(x[3] as usize)
                } else {
                    Entry::Reply(reply(ret::ERESUME))
                }
            }
            FunctionId::CALL_WITH_ARG
            | FunctionId::CALL_WITH_RPC_ARG
            | FunctionId::CALL_WITH_REGD_ARG => {
                let guest = Self::guest_of(x[7]);
                if self.is_closed(guest) {
                    return Entry::Reply(reply(ret::ENOTAVAIL));
                }
                match self.start_thread(guest) {
                    Some(thread) => Entry::Start(thread),
                    None => Entry::Reply(reply(ret::ETHREAD_LIMIT)),
                }
            }
            _ => Entry::Reply(reply(ret::UNKNOWN_FUNCTION)),
        }
    }

    /// Whose call it is, by x7, where a hypervisor puts the client's number (SMCCC). Without one there is
    /// one guest, whatever is there.
    const fn guest_of(_: u64) -> GuestId {
        const { assert!(MAX_GUESTS == 1) };
        GuestId::FIRST
    }

    /// A yielding call, on its thread: x0..x7 in, x0..x3 out.
    pub fn yielding_call(&self, x: &[u64; 8]) -> [u64; 4] {
        let guest = Self::guest_of(x[7]);
        // Its end may have begun between the look at the gate and this thread.
        fence(Ordering::SeqCst);
        if self.is_closed(guest) {
            return reply(ret::ENOTAVAIL);
        }
        let function = FunctionId(x[0] as u32);
        let high_low = (x[1] & 0xffff_ffff) << 32 | x[2] & 0xffff_ffff;
        let place = if function == FunctionId::CALL_WITH_REGD_ARG {
            match self.state().guest_mut(guest).shm.get(high_low) {
                Ok(shm_ref) => Place::Registered(shm_ref, x[3]),
                Err(_) => return reply(ret::EBADADDR),
            }
        } else {
            Place::Physical(PhysAddr(high_low))
        };
        let code = self.handle(guest, &place, function != FunctionId::CALL_WITH_ARG);
        if let Place::Registered(shm_ref, _) = place {
            self.state().guest_mut(guest).shm.put(shm_ref);
        }
        reply(code)
    }

    /// Runs the message at `place`, behind which there is an RPC argument if `has_rpc`.
    fn handle(&self, guest: GuestId, place: &Place, has_rpc: bool) -> u32 {
        let mut message = Message::default();
        match self.read_message(guest, place, &mut message) {
            Ok(()) => {}
            Err(MessageError::BadAddress) => return ret::EBADADDR,
            Err(MessageError::TooManyParams) => return ret::EBADCMD,
        }
        let rpc = if has_rpc {
            match self.rpc_place(guest, place, message.len_bytes()) {
                Some(pa) => RpcArg::Given(pa),
                None => return ret::EBADADDR,
            }
        } else {
            RpcArg::None
        };
        let mut call = Call::new(self, guest, rpc);
        let code = call.dispatch(&mut message);
        call.finish();
        // Memory of a guest that ended meanwhile is somebody else's.
        if code == ret::OK && !self.is_closed(guest) && !self.write_answer(guest, place, &message) {
            return ret::EBADADDR;
        }
        code
    }

    fn read_message(
        &self,
        guest: GuestId,
        place: &Place,
        message: &mut Message,
    ) -> Result<(), MessageError> {
        let machine = &self.machine;
        match place {
            Place::Physical(pa) => message.read(machine, message::Place::Physical(*pa)),
            Place::Registered(shm_ref, offset) => {
                let state = self.state();
                let shm = state.guest(guest).shm.object(shm_ref);
                let shm = shm.ok_or(MessageError::BadAddress)?;
                message.read(machine, message::Place::Registered(shm, *offset))
            }
        }
    }

    /// Address of the RPC argument behind a message of `len` bytes, if it is usable.
    fn rpc_place(&self, guest: GuestId, place: &Place, len: usize) -> Option<PhysAddr> {
        let bytes = arg_size(MAX_RPC_PARAMS) as u64;
        let pa = match place {
            Place::Physical(pa) => pa.checked_add(len as u64)?,
            Place::Registered(shm_ref, offset) => {
                let state = self.state();
                let shm = state.guest(guest).shm.object(shm_ref)?;
                shm.contiguous_at(offset.checked_add(len as u64)?, bytes)?
            }
        };
        self.machine.is_normal(pa, bytes).then_some(pa)
    }

    /// Writes back what the call has changed of its message.
    fn write_answer(&self, guest: GuestId, place: &Place, message: &Message) -> bool {
        match place {
            Place::Physical(pa) => message.write_back(|at, data| {
                pa.checked_add(at as u64)
                    .is_some_and(|pa| self.machine.write_normal(pa, data))
            }),
            Place::Registered(shm_ref, offset) => {
                let state = self.state();
                state.guest(guest).shm.object(shm_ref).is_some_and(|shm| {
                    message.write_back(|at, data| {
                        shm.write(&self.machine, offset + at as u64, data).is_ok()
                    })
                })
            }
        }
    }
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Runs a message's command and puts the answer into the message; the code for a0.
    fn dispatch(&mut self, message: &mut Message) -> u32 {
        let header = &message.header;
        let outcome = match header.cmd {
            cmd::OPEN_SESSION => self.msg_open(message),
            cmd::INVOKE_COMMAND => self.msg_invoke(message),
            cmd::CLOSE_SESSION => self.close_session(header.session, Opener::Normal),
            cmd::CANCEL => self.cancel(header.session, header.cancel_id),
            cmd::REGISTER_SHM => self.msg_register(message),
            cmd::UNREGISTER_SHM => self.msg_unregister(message),
            _ => return ret::EBADCMD,
        };
        message.header.ret = outcome.result.0;
        message.header.ret_origin = outcome.origin as u32;
        ret::OK
    }

    fn msg_open(&mut self, message: &mut Message) -> Outcome {
        let (open, skip) = match message.open_session() {
            Ok(parts) => parts,
            Err(err) => return Outcome::tee(err),
        };
        let limit = Limit::cancellable(message.header.cancel_id);
        let mut session = message.header.session;
        let outcome = self.with_args(message, skip, |call, args| {
            let (outcome, id) = call.open_session(&open, Opener::Normal, limit, args);
            session = id;
            outcome
        });
        message.header.session = session;
        outcome
    }

    fn msg_invoke(&mut self, message: &mut Message) -> Outcome {
        let MsgHeader {
            session,
            func,
            cancel_id,
            ..
        } = message.header;
        self.with_args(message, 0, |call, args| {
            let limit = Limit::cancellable(cancel_id);
            call.invoke(session, Opener::Normal, func, limit, args)
        })
    }

    /// Runs an operation with the parameters of a message behind the first `skip`, and takes what it put
    /// out into the message.
    fn with_args(
        &mut self,
        message: &mut Message,
        skip: usize,
        operate: impl FnOnce(&mut Self, &mut Args) -> Outcome,
    ) -> Outcome {
        let mut args = Args::default();
        let params = message.params().get(skip..).unwrap_or_default();
        if !params.is_empty()
            && let Err(err) = self.take_in(params, &mut args)
        {
            return Outcome::tee(err);
        }
        let outcome = operate(self, &mut args);
        message.update(skip, &args);
        if args.has_shm() {
            args.release(&mut self.kernel.state().guest_mut(self.guest).shm);
        }
        outcome
    }

    fn take_in(&self, params: &[MsgParam], args: &mut Args) -> Result<(), TeeResult> {
        let machine = &self.kernel.machine;
        let taken = self.kernel.as_owner(OwnerId::CALL, || {
            let lent = Lent::take_in(machine, params)?;
            args.take_in(
                &mut self.kernel.state().guest_mut(self.guest).shm,
                machine,
                lent,
                params,
            )
        });
        taken.map_err(|why| {
            if let Untaken::Memory(why) = why {
                self.note_untaken(why);
            }
            why.into()
        })
    }

    /// Tells that shared memory was refused.
    #[cold]
    fn note_untaken(&self, why: ShmError) {
        if let Some(entry) = why.refusal() {
            let mut state = self.kernel.state();
            state.refuse(Refused::Entry(entry));
        }
    }

    fn msg_register(&self, message: &Message) -> Outcome {
        let [param] = message.params() else {
            return Outcome::tee(TeeResult::BAD_PARAMETERS);
        };
        let kind = param.attr & attr::TYPE_MASK;
        let tmem = (attr::TMEM_INPUT..=attr::TMEM_INOUT).contains(&kind);
        if !tmem || param.a == 0 || param.b == 0 || param.c == 0 {
            return Outcome::tee(TeeResult::BAD_PARAMETERS);
        }
        let machine = &self.kernel.machine;
        let pa = PhysAddr(param.a);
        let register = || -> Result<(), ShmError> {
            let shm = if param.attr & attr::NONCONTIG != 0 {
                Shm::take_in_list(machine, pa, param.b, Some(param.c))?
            } else {
                Shm::contiguous(machine, pa, param.b, Some(param.c))?
            };
            let now = self.kernel.uptime_millis();
            let mut state = self.kernel.state();
            state.guest_mut(self.guest).shm.register(shm, now)
        };
        let result = self.kernel.as_owner(self.guest.owner(), register);
        if let Err(why) = result {
            self.note_untaken(why);
        }
        Outcome::tee(TeeResult::from_result(result.map_err(TeeResult::from)))
    }

    fn msg_unregister(&self, message: &Message) -> Outcome {
        let [param] = message.params() else {
            return Outcome::tee(TeeResult::BAD_PARAMETERS);
        };
        let kind = param.attr & attr::TYPE_MASK;
        if !(attr::RMEM_INPUT..=attr::RMEM_INOUT).contains(&kind) {
            return Outcome::tee(TeeResult::BAD_PARAMETERS);
        }
        let result = self
            .kernel
            .state()
            .guest_mut(self.guest)
            .shm
            .unregister(param.c);
        Outcome::tee(TeeResult::from_result(result.map_err(TeeResult::from)))
    }
}
