//! System calls of TAs.
//!
//! **Invariant:** every pointer is an allegation until the address space confirmed it; a bad one
//! costs the TA a code, never more.

mod heap;
mod lines;

use crate::call::Call;
use crate::call::args::{Arg, ArgMemory, Args, is_memref, is_output};
use crate::call::message::{OpenSession, Outcome};
use crate::observer::Observer;
use crate::ta::instance::InstanceRef;
use crate::ta::session::{Caller, Opener, Session};
pub use lines::Speaker;
use lines::lines;
use log::Level;
use tally_abi::msg::login;
use tally_abi::ta::{
    NUM_PARAMS, TeeTime, UteeParams, access, flags, param_type, propset, svc, time_category,
};
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::addr::UserVa;
use tally_mem::machine::{Access, Machine, UserContext};
use zerocopy::{FromZeros, IntoBytes};

/// Longest text of one LOG call.
const MAX_LOG: usize = 512;
/// Longest sleep at a time in WAIT, so that cancels and kills are noticed.
const WAIT_SLICE_MILLIS: u64 = 10;
/// Bytes of randomness made between chances for an interrupt.
const RANDOM_CHUNK: usize = 256;
/// Bytes of kernel stack that opening a session takes at most, loading a TA included.
const NESTED_STACK_BYTES: usize = 14 * 1024;

/// What becomes of the TA after a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    Continue,
    /// Its entry point returns this.
    Return(u32),
    /// It panics.
    Panic(u32),
    /// It was killed meanwhile.
    Killed,
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Serves the system call in `context`.
    pub fn syscall(
        &mut self,
        instance: InstanceRef,
        session: u32,
        context: &mut UserContext,
    ) -> Flow {
        let x = context.x;
        let result = match x[8] {
            svc::RETURN => return Flow::Return(x[0] as u32),
            svc::PANIC => return Flow::Panic(x[0] as u32),
            svc::LOG => self.sys_log(instance, Speaker::Ta, UserVa(x[0]), x[1]),
            svc::GET_PROPERTY => self.sys_get_property(instance, session, &x),
            svc::GET_PROPERTY_NAME_TO_INDEX => self.sys_property_index(instance, &x),
            svc::OPEN_TA_SESSION => {
                self.as_caller(instance, session, 0, &x, |call| call.sys_open(instance, &x))
            }
            svc::CLOSE_TA_SESSION => self
                .close_session(x[0] as u32, Opener::Ta(instance))
                .result
                .ok(),
            svc::INVOKE_TA_COMMAND => {
                let target = x[0] as u32;
                self.as_caller(instance, session, target, &x, |call| {
                    call.sys_invoke(instance, &x)
                })
            }
            svc::CHECK_ACCESS_RIGHTS => {
                self.sys_check_access(instance, x[0] as u32, UserVa(x[1]), x[2])
            }
            svc::GET_CANCELLATION_FLAG => {
                let flag = self
                    .cancellation(session)
                    .is_some_and(|(flag, masked)| flag && !masked);
                self.put(instance, UserVa(x[0]), u32::from(flag).as_bytes())
            }
            svc::MASK_CANCELLATION => self.sys_mask(instance, session, UserVa(x[0]), true),
            svc::UNMASK_CANCELLATION => self.sys_mask(instance, session, UserVa(x[0]), false),
            svc::WAIT => match self.sys_wait(instance, session, x[0] as u32) {
                Ok(result) => result,
                Err(Killed) => return Flow::Killed,
            },
            svc::GET_TIME => self.sys_get_time(instance, x[0], UserVa(x[1])),
            svc::SET_TA_TIME => self.sys_set_time(instance, UserVa(x[0])),
            svc::RANDOM => self.sys_random(instance, UserVa(x[0]), x[1]),
            svc::CACHE_OPERATION => self.sys_cache(instance, UserVa(x[0]), x[1], x[2]),
            svc::tally::HEAP_RESERVE => self.sys_heap_reserve(instance, x[0], UserVa(x[1])),
            svc::tally::HEAP_GROW => self.sys_heap_grow(instance, context),
            svc::tally::HEAP_ALARM => {
                O::heap_rings(self.kernel, instance, x[0]);
                Ok(())
            }
            _ => Err(TeeResult::NOT_SUPPORTED),
        };
        context.x[0] = u64::from(TeeResult::from_result(result).0);
        Flow::Continue
    }

    /// Runs `work` for a TA that uses its session `target`.
    fn as_caller<R>(
        &mut self,
        instance: InstanceRef,
        session: u32,
        target: u32,
        x: &[u64; 31],
        work: impl FnOnce(&mut Self) -> R,
    ) -> R {
        let outer = self.caller.replace(Caller {
            instance,
            session,
            target,
            frame: x[29],
        });
        let result = work(self);
        self.caller = outer;
        result
    }

    /// Copies from the TA.
    fn take(&self, instance: InstanceRef, va: UserVa, buf: &mut [u8]) -> Result<(), TeeResult> {
        let state = self.kernel.state();
        self.kernel.read_ta(&state, instance, va, buf)
    }

    /// Copies to the TA.
    fn put(&self, instance: InstanceRef, va: UserVa, data: &[u8]) -> Result<(), TeeResult> {
        let mut state = self.kernel.state();
        self.kernel.write_ta(&mut state, instance, va, data)
    }

    /// Serves LOG, of TAs and of the loader: [`MAX_LOG`] bytes of it.
    ///
    /// # Errors
    /// `ACCESS_DENIED`.
    pub fn sys_log(
        &self,
        instance: InstanceRef,
        speaker: Speaker,
        va: UserVa,
        len: u64,
    ) -> Result<(), TeeResult> {
        self.sys_check_access(instance, access::READ | access::ANY_OWNER, va, len)?;
        let mut text = [0; MAX_LOG];
        let text = &mut text[..len.min(MAX_LOG as u64) as usize];
        self.take(instance, va, text)?;
        for line in lines(speaker, text) {
            let machine = &self.kernel.machine;
            machine.interruptible(|| log::log!(target: "ta", Level::Info, "{line}"));
        }
        Ok(())
    }

    fn session_of<R>(&self, id: u32, read: impl FnOnce(&mut Session) -> R) -> Option<R> {
        let mut state = self.kernel.state();
        state.guest_mut(self.guest).sessions.by_id_mut(id).map(read)
    }

    fn cancellation(&self, session: u32) -> Option<(bool, bool)> {
        self.session_of(session, |s| (s.cancelled, s.cancel_masked))
    }

    fn sys_mask(
        &self,
        instance: InstanceRef,
        session: u32,
        old: UserVa,
        mask: bool,
    ) -> Result<(), TeeResult> {
        let was = self.cancellation(session).is_some_and(|(_, masked)| masked);
        self.put(instance, old, u32::from(was).as_bytes())?;
        self.session_of(session, |s| s.cancel_masked = mask);
        Ok(())
    }

    fn sys_wait(
        &mut self,
        instance: InstanceRef,
        session: u32,
        millis: u32,
    ) -> Result<Result<(), TeeResult>, Killed> {
        let start = self.kernel.uptime_millis();
        let forever = millis == u32::MAX;
        loop {
            if self.is_killed(instance) {
                return Err(Killed);
            }
            if self
                .cancellation(session)
                .is_some_and(|(flag, masked)| flag && !masked)
            {
                return Ok(Err(TeeResult::CANCEL));
            }
            let passed = self.kernel.uptime_millis().saturating_sub(start);
            let left = u64::from(millis).saturating_sub(passed);
            if left == 0 && !forever {
                return Ok(Ok(()));
            }
            let slice = if forever {
                WAIT_SLICE_MILLIS
            } else {
                left.min(WAIT_SLICE_MILLIS)
            };
            if let Err(err) = self.rpc.sleep(&self.kernel.machine, slice) {
                return Ok(Err(err));
            }
        }
    }

    fn sys_get_time(
        &mut self,
        instance: InstanceRef,
        category: u64,
        out: UserVa,
    ) -> Result<(), TeeResult> {
        let uptime = self.kernel.uptime_millis();
        let time = match category {
            time_category::SYSTEM => TeeTime::from_millis(uptime),
            time_category::REE => self.rpc.time(&self.kernel.machine)?,
            time_category::TA_PERSISTENT => {
                let state = self.kernel.state();
                let found = state.instance(instance).ok_or(TeeResult::TARGET_DEAD)?;
                let offset = found.time_offset_millis.ok_or(TeeResult::TIME_NOT_SET)?;
                TeeTime::from_millis(uptime.saturating_add_signed(offset))
            }
            _ => return Err(TeeResult::BAD_PARAMETERS),
        };
        self.put(instance, out, time.as_bytes())
    }

    fn sys_set_time(&self, instance: InstanceRef, va: UserVa) -> Result<(), TeeResult> {
        let mut time = TeeTime::new_zeroed();
        self.take(instance, va, time.as_mut_bytes())?;
        if time.millis >= 1000 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let wanted = i64::from(time.seconds) * 1000 + i64::from(time.millis);
        let uptime = i64::try_from(self.kernel.uptime_millis()).unwrap_or(i64::MAX);
        let mut state = self.kernel.state();
        let found = state.instance_mut(instance).ok_or(TeeResult::TARGET_DEAD)?;
        found.time_offset_millis = Some(wanted - uptime);
        Ok(())
    }

    /// Serves RANDOM, of TAs and of the loader.
    ///
    /// # Errors
    /// `ACCESS_DENIED`.
    pub fn sys_random(&self, instance: InstanceRef, va: UserVa, len: u64) -> Result<(), TeeResult> {
        // All of it or nothing: not one byte goes to a buffer that is too long.
        self.sys_check_access(instance, access::WRITE | access::ANY_OWNER, va, len)?;
        let mut done = 0;
        while done < len {
            let mut chunk = [0; RANDOM_CHUNK];
            let piece = &mut chunk[..(len - done).min(RANDOM_CHUNK as u64) as usize];
            self.kernel
                .machine
                .interruptible(|| self.kernel.machine.random(piece));
            let at = va.checked_add(done).ok_or(TeeResult::ACCESS_DENIED)?;
            self.put(instance, at, piece)?;
            done += piece.len() as u64;
        }
        Ok(())
    }

    fn sys_check_access(
        &self,
        instance: InstanceRef,
        wanted: u32,
        va: UserVa,
        len: u64,
    ) -> Result<(), TeeResult> {
        let state = self.kernel.state();
        let space = state
            .instance(instance)
            .and_then(|found| found.space.as_ref());
        let space = space.ok_or(TeeResult::TARGET_DEAD)?;
        if wanted & access::READ != 0 {
            space.check_access(va, len, Access::Read)?;
        }
        if wanted & access::WRITE != 0 {
            space.check_access(va, len, Access::Write)?;
        }
        if wanted & access::ANY_OWNER == 0 && !space.is_private(va, len) {
            return Err(TeeResult::ACCESS_DENIED);
        }
        Ok(())
    }

    fn sys_cache(
        &self,
        instance: InstanceRef,
        va: UserVa,
        len: u64,
        _op: u64,
    ) -> Result<(), TeeResult> {
        let allowed = {
            let state = self.kernel.state();
            state
                .instance(instance)
                .is_some_and(|i| i.has(flags::CACHE_MAINTENANCE))
        };
        if !allowed {
            return Err(TeeResult::NOT_SUPPORTED);
        }
        // All memory of TAs is coherent between the worlds; the check is what is left to do.
        self.sys_check_access(instance, access::READ | access::ANY_OWNER, va, len)
    }

    /// Refuses a TA's call to another when too little is left of the kernel stack, on which each
    /// TA of a chain takes its part.
    fn check_stack(&self) -> Result<(), TeeResult> {
        if self.kernel.machine.stack_left() < NESTED_STACK_BYTES {
            return Err(TeeResult::OUT_OF_MEMORY);
        }
        Ok(())
    }

    fn sys_open(&mut self, instance: InstanceRef, x: &[u64; 31]) -> Result<(), TeeResult> {
        self.check_stack()?;
        let mut target = TeeUuid::nil();
        self.take(instance, UserVa(x[0]), target.as_mut_bytes())?;
        let mut args = self.args_from_ta(instance, UserVa(x[2]))?;
        // Both results must have somewhere to go before anything happens.
        self.sys_check_access(instance, access::WRITE | access::ANY_OWNER, UserVa(x[3]), 4)?;
        self.sys_check_access(instance, access::WRITE | access::ANY_OWNER, UserVa(x[4]), 4)?;
        let client = {
            let state = self.kernel.state();
            state
                .instance(instance)
                .map(|found| found.uuid)
                .unwrap_or_default()
        };
        let open = OpenSession {
            target,
            client,
            login: login::TRUSTED_APP,
        };
        let (outcome, id) = self.open_session(&open, Opener::Ta(instance), 0, &mut args);
        self.put(instance, UserVa(x[3]), id.as_bytes())?;
        self.answer_ta(instance, UserVa(x[2]), UserVa(x[4]), args, outcome)
    }

    fn sys_invoke(&mut self, instance: InstanceRef, x: &[u64; 31]) -> Result<(), TeeResult> {
        self.check_stack()?;
        let mut args = self.args_from_ta(instance, UserVa(x[3]))?;
        self.sys_check_access(instance, access::WRITE | access::ANY_OWNER, UserVa(x[4]), 4)?;
        let outcome = self.invoke(x[0] as u32, Opener::Ta(instance), x[2] as u32, 0, &mut args);
        self.answer_ta(instance, UserVa(x[3]), UserVa(x[4]), args, outcome)
    }

    /// Parameters that a TA passes on; memory must be its own to read or write.
    fn args_from_ta(&self, instance: InstanceRef, va: UserVa) -> Result<Args, TeeResult> {
        let mut args = Args::default();
        if va.0 == 0 {
            return Ok(args);
        }
        let mut params = UteeParams::default();
        self.take(instance, va, params.as_mut_bytes())?;
        args.types = params.types as u32;
        if (0..NUM_PARAMS).any(|index| is_output(args.kind(index))) {
            // What comes out must have somewhere to go before anything happens.
            let len = size_of::<UteeParams>() as u64;
            self.sys_check_access(instance, access::WRITE | access::ANY_OWNER, va, len)?;
        }
        for index in 0..NUM_PARAMS {
            let kind = args.kind(index);
            let [a, b] = [params.vals[2 * index], params.vals[2 * index + 1]];
            args.items[index] = match kind {
                param_type::NONE => Arg::None,
                param_type::VALUE_INPUT..=param_type::VALUE_INOUT => Arg::Value { a, b },
                _ if is_memref(kind) => {
                    let rights = if is_output(kind) {
                        access::READ | access::WRITE | access::ANY_OWNER
                    } else {
                        access::READ | access::ANY_OWNER
                    };
                    let memory = if a == 0 && b == 0 {
                        ArgMemory::Null
                    } else {
                        self.sys_check_access(instance, rights, UserVa(a), b)?;
                        ArgMemory::Ta(instance, UserVa(a))
                    };
                    Arg::Memref {
                        memory,
                        given: b,
                        size: b,
                    }
                }
                _ => return Err(TeeResult::BAD_PARAMETERS),
            };
        }
        Ok(args)
    }

    /// Writes the results of a nested operation to the TA that asked for it.
    fn answer_ta(
        &self,
        instance: InstanceRef,
        params_va: UserVa,
        origin_va: UserVa,
        args: Args,
        outcome: Outcome,
    ) -> Result<(), TeeResult> {
        for (index, item) in args.items.iter().enumerate() {
            if !is_output(args.kind(index)) {
                continue;
            }
            let at = |n: usize| UserVa(params_va.0 + 8 + 8 * (2 * index + n) as u64);
            match item {
                Arg::None => {}
                Arg::Value { a, b } => {
                    self.put(instance, at(0), a.as_bytes())?;
                    self.put(instance, at(1), b.as_bytes())?;
                }
                Arg::Memref { size, .. } => self.put(instance, at(1), size.as_bytes())?,
            }
        }
        self.put(instance, origin_va, (outcome.origin as u32).as_bytes())?;
        outcome.result.ok()
    }

    fn sys_get_property(
        &self,
        instance: InstanceRef,
        session: u32,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let property = PROPERTIES
            .iter()
            .filter(|property| property.set == x[0])
            .nth(x[1] as usize)
            .ok_or(TeeResult::ITEM_NOT_FOUND)?;
        let identity;
        let value = match property.value {
            Value::Identity => {
                let client = self.session_of(session, |s| (s.login, s.client));
                let (login, client) = client.ok_or(TeeResult::BAD_STATE)?;
                let mut bytes = [0; 20];
                bytes[..4].copy_from_slice(login.as_bytes());
                bytes[4..].copy_from_slice(client.as_bytes());
                identity = bytes;
                &identity[..]
            }
            Value::Fixed(bytes) => bytes,
        };
        self.put_sized(instance, UserVa(x[2]), UserVa(x[3]), property.name)?;
        self.put_sized(instance, UserVa(x[4]), UserVa(x[5]), value)?;
        if x[6] != 0 {
            self.put(instance, UserVa(x[6]), property.kind.as_bytes())?;
        }
        Ok(())
    }

    /// Writes `data` to `va` and its length to `len_va`, where the room is now; nothing to a null
    /// `va`.
    fn put_sized(
        &self,
        instance: InstanceRef,
        va: UserVa,
        len_va: UserVa,
        data: &[u8],
    ) -> Result<(), TeeResult> {
        if va.0 == 0 || len_va.0 == 0 {
            return Ok(());
        }
        let mut room = 0_u32;
        self.take(instance, len_va, room.as_mut_bytes())?;
        self.put(instance, len_va, (data.len() as u32).as_bytes())?;
        if (room as usize) < data.len() {
            return Err(TeeResult::SHORT_BUFFER);
        }
        self.put(instance, va, data)
    }

    fn sys_property_index(&self, instance: InstanceRef, x: &[u64; 31]) -> Result<(), TeeResult> {
        let mut name = [0; 64];
        let name = name
            .get_mut(..usize::try_from(x[2]).unwrap_or(usize::MAX))
            .ok_or(TeeResult::ITEM_NOT_FOUND)?;
        self.take(instance, UserVa(x[1]), name)?;
        let index = PROPERTIES
            .iter()
            .filter(|property| property.set == x[0])
            .position(|property| property.name == name)
            .ok_or(TeeResult::ITEM_NOT_FOUND)?;
        self.put(instance, UserVa(x[3]), (index as u32).as_bytes())
    }
}

/// The TA was killed while a system call slept.
struct Killed;

/// A property that the kernel knows (GPD_SPE_010 §4); names end with a zero, as C wants them.
struct Property {
    set: u64,
    name: &'static [u8],
    /// `enum user_ta_prop_type`.
    kind: u32,
    value: Value,
}

enum Value {
    Fixed(&'static [u8]),
    /// Login and UUID of the session's client.
    Identity,
}

const KIND_U32: u32 = 1;
const KIND_IDENTITY: u32 = 3;
const KIND_STRING: u32 = 4;

const PROPERTIES: [Property; 5] = [
    Property {
        set: propset::CURRENT_CLIENT,
        name: b"gpd.client.identity\0",
        kind: KIND_IDENTITY,
        value: Value::Identity,
    },
    Property {
        set: propset::TEE_IMPLEMENTATION,
        name: b"gpd.tee.apiversion\0",
        kind: KIND_STRING,
        value: Value::Fixed(b"1.3.1\0"),
    },
    Property {
        set: propset::TEE_IMPLEMENTATION,
        name: b"gpd.tee.description\0",
        kind: KIND_STRING,
        value: Value::Fixed(b"Tally\0"),
    },
    Property {
        set: propset::TEE_IMPLEMENTATION,
        name: b"gpd.tee.systemTime.protectionLevel\0",
        kind: KIND_U32,
        value: Value::Fixed(&100_u32.to_le_bytes()),
    },
    Property {
        set: propset::TEE_IMPLEMENTATION,
        name: b"gpd.tee.TAPersistentTime.protectionLevel\0",
        kind: KIND_U32,
        value: Value::Fixed(&100_u32.to_le_bytes()),
    },
];
