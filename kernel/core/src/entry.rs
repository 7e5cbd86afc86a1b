//! Where calls of the normal world come in: fast calls, and yielding calls on their thread.
//!
//! **Invariant:** a fast call touches no guest memory; a yielding call ends with everything that
//! it borrowed given back.
//! **Knows nothing of:** how TAs run.

use crate::args::{Args, Lent};
use crate::call::Call;
use crate::kernel::Kernel;
use crate::large::take_in_list;
use crate::message::{Message, MessageError, Outcome, Place};
use crate::rpc::{MAX_RPC_PARAMS, RpcArg};
use crate::session::Opener;
use crate::shm::{Shm, ShmError, ShmRef};
use tally_abi::msg::{MsgHeader, MsgParam, arg_size, attr, cmd};
use tally_abi::smc::{self, FunctionId, ret, sec_cap};
use tally_abi::{Origin, TeeResult};
use tally_mem::addr::PhysAddr;
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;
use zerocopy::IntoBytes;

/// Revision that `GET_OS_REVISION` reports: Tally's own version.
const OS_REVISION: [u64; 2] = [0, 1];
/// Highest notification key: threads wait under their number.
const MAX_NOTIFICATION: u64 = crate::thread::MAX_THREADS as u64 - 1;

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

/// Where the message and the RPC argument of a call are.
struct Located {
    place: Where,
    rpc: RpcArg,
}

enum Where {
    Physical(PhysAddr),
    Registered(ShmRef, u64),
}

impl<M: Machine> Kernel<M> {
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
            | FunctionId::CALL_WITH_REGD_ARG => match self.start_thread() {
                Some(thread) => Entry::Start(thread),
                None => Entry::Reply(reply(ret::ETHREAD_LIMIT)),
            },
            _ => Entry::Reply(reply(ret::UNKNOWN_FUNCTION)),
        }
    }

    /// A yielding call, on its thread: x0..x7 in, x0..x3 out.
    pub fn yielding_call(&self, x: &[u64; 8]) -> [u64; 4] {
        let located = match self.locate(x) {
            Ok(located) => located,
            Err(code) => return reply(code),
        };
        let code = self.handle(&located);
        if let Where::Registered(shm_ref, _) = located.place {
            self.state().guest.shm.put(shm_ref);
        }
        reply(code)
    }

    /// Finds the message of a call, and its RPC argument where one follows.
    fn locate(&self, x: &[u64; 8]) -> Result<Located, u32> {
        let high_low = (x[1] & 0xffff_ffff) << 32 | x[2] & 0xffff_ffff;
        match FunctionId(x[0] as u32) {
            FunctionId::CALL_WITH_REGD_ARG => {
                let shm_ref = self
                    .state()
                    .guest
                    .shm
                    .get(high_low)
                    .map_err(|_| ret::EBADADDR)?;
                Ok(Located {
                    place: Where::Registered(shm_ref, x[3]),
                    rpc: RpcArg::None,
                })
            }
            _ => Ok(Located {
                place: Where::Physical(PhysAddr(high_low)),
                rpc: RpcArg::None,
            }),
        }
        .map(|located| Located {
            rpc: match FunctionId(x[0] as u32) {
                // Filled in once the message's length is known.
                FunctionId::CALL_WITH_ARG => RpcArg::None,
                _ => RpcArg::Given(PhysAddr(0)),
            },
            ..located
        })
    }

    fn handle(&self, located: &Located) -> u32 {
        let message = match self.read_message(located) {
            Ok(message) => message,
            Err(MessageError::BadAddress) => return ret::EBADADDR,
            Err(MessageError::TooManyParams) => return ret::EBADCMD,
        };
        let rpc = match located.rpc {
            RpcArg::None => RpcArg::None,
            _ => match self.rpc_place(located, message.len_bytes()) {
                Some(pa) => RpcArg::Given(pa),
                None => return ret::EBADADDR,
            },
        };
        let mut call = Call::new(self, rpc);
        let mut answer = Answer::new(&message);
        let code = call.dispatch(&message, &mut answer);
        call.finish();
        if code == ret::OK && !self.write_answer(located, &message, &answer) {
            return ret::EBADADDR;
        }
        code
    }

    fn read_message(&self, located: &Located) -> Result<Message, MessageError> {
        match &located.place {
            Where::Physical(pa) => Message::read(&self.machine, Place::Physical(*pa)),
            Where::Registered(shm_ref, offset) => {
                let state = self.state();
                let shm = state
                    .guest
                    .shm
                    .object(shm_ref)
                    .ok_or(MessageError::BadAddress)?;
                Message::read(&self.machine, Place::Registered(shm, *offset))
            }
        }
    }

    /// Address of the RPC argument behind a message of `len` bytes, if it is usable.
    fn rpc_place(&self, located: &Located, len: usize) -> Option<PhysAddr> {
        let bytes = arg_size(MAX_RPC_PARAMS) as u64;
        let pa = match &located.place {
            Where::Physical(pa) => pa.checked_add(len as u64)?,
            Where::Registered(shm_ref, offset) => {
                let state = self.state();
                let shm = state.guest.shm.object(shm_ref)?;
                shm.contiguous_at(offset.checked_add(len as u64)?, bytes)?
            }
        };
        self.machine.is_normal(pa, bytes).then_some(pa)
    }

    fn write_answer(&self, located: &Located, message: &Message, answer: &Answer) -> bool {
        let mut header = message.header;
        header.ret = answer.outcome.result.0;
        header.ret_origin = answer.outcome.origin as u32;
        header.session = answer.session;
        let write =
            |at: usize, data: &[u8]| match &located.place {
                Where::Physical(pa) => pa
                    .checked_add(at as u64)
                    .is_some_and(|pa| self.machine.write_normal(pa, data)),
                Where::Registered(shm_ref, offset) => {
                    let state = self.state();
                    state.guest.shm.object(shm_ref).is_some_and(|shm| {
                        shm.write(&self.machine, offset + at as u64, data).is_ok()
                    })
                }
            };
        // The words from `session` to `ret_origin`; the rest is the client's.
        let written = &header.as_bytes()[8..28];
        if !write(8, written) {
            return false;
        }
        (0..answer.params.len())
            .filter(|&n| answer.changed & 1 << n != 0)
            .all(|n| {
                let at = size_of::<MsgHeader>() + n * size_of::<MsgParam>() + 8;
                write(at, &answer.params[n].as_bytes()[8..])
            })
    }
}

/// What goes back to the normal world.
struct Answer {
    outcome: Outcome,
    session: u32,
    params: [MsgParam; crate::message::MAX_PARAMS],
    /// Parameters to write, a bit each.
    changed: u32,
}

impl Answer {
    fn new(message: &Message) -> Self {
        let mut params = [MsgParam::default(); crate::message::MAX_PARAMS];
        params[..message.params().len()].copy_from_slice(message.params());
        Self {
            outcome: Outcome {
                result: TeeResult::SUCCESS,
                origin: Origin::Tee,
            },
            session: message.header.session,
            params,
            changed: 0,
        }
    }

    fn take_args(&mut self, args: &Args, skip: usize) {
        for index in 0..tally_abi::ta::NUM_PARAMS {
            if let Some(param) = self.params.get_mut(skip + index)
                && args.update_param(index, param)
            {
                self.changed |= 1 << (skip + index);
            }
        }
    }
}

impl<M: Machine> Call<'_, M> {
    /// Runs a message's command; the code for a0.
    fn dispatch(&mut self, message: &Message, answer: &mut Answer) -> u32 {
        answer.outcome = match message.header.cmd {
            cmd::OPEN_SESSION => self.msg_open(message, answer),
            cmd::INVOKE_COMMAND => self.msg_invoke(message, answer),
            cmd::CLOSE_SESSION => self.close_session(message.header.session, Opener::Normal),
            cmd::CANCEL => self.cancel(message.header.session, message.header.cancel_id),
            cmd::REGISTER_SHM => self.msg_register(message),
            cmd::UNREGISTER_SHM => self.msg_unregister(message),
            _ => return ret::EBADCMD,
        };
        ret::OK
    }

    fn msg_open(&mut self, message: &Message, answer: &mut Answer) -> Outcome {
        let (open, params) = match message.open_session() {
            Ok(parts) => parts,
            Err(err) => return Outcome::tee(err),
        };
        let skip = message.params().len() - params.len();
        let mut args = match self.args_from(params) {
            Ok(args) => args,
            Err(err) => return Outcome::tee(err),
        };
        let cancel_id = message.header.cancel_id;
        let (outcome, session) = self.open_session(&open, Opener::Normal, cancel_id, &mut args);
        answer.session = session;
        answer.take_args(&args, skip);
        args.release(&mut self.kernel.state().guest.shm);
        outcome
    }

    fn msg_invoke(&mut self, message: &Message, answer: &mut Answer) -> Outcome {
        let mut args = match self.args_from(message.params()) {
            Ok(args) => args,
            Err(err) => return Outcome::tee(err),
        };
        let header = &message.header;
        let outcome = self.invoke(
            header.session,
            Opener::Normal,
            header.func,
            header.cancel_id,
            &mut args,
        );
        answer.take_args(&args, 0);
        args.release(&mut self.kernel.state().guest.shm);
        outcome
    }

    fn args_from(&self, params: &[MsgParam]) -> Result<Args, TeeResult> {
        let machine = &self.kernel.machine;
        self.kernel.as_owner(OwnerId::CALL, || {
            let lent = Lent::take_in(machine, params)?;
            Args::from_message(&mut self.kernel.state().guest.shm, machine, lent, params)
        })
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
                take_in_list(machine, pa, param.b, Some(param.c))?
            } else {
                Shm::contiguous(machine, pa, param.b, Some(param.c))?
            };
            self.kernel.state().guest.shm.register(shm)
        };
        let result = self.kernel.as_owner(OwnerId::GUEST, register);
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
        let result = self.kernel.state().guest.shm.unregister(param.c);
        Outcome::tee(TeeResult::from_result(result.map_err(TeeResult::from)))
    }
}
