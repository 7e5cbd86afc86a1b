//! System calls of TAs.
//!
//! **Invariant:** every pointer is an allegation until the address space confirmed it; a bad one
//! costs the TA a code, never more.

mod crypto;
mod heap;
mod lines;
mod properties;
mod sessions;
mod storage;
mod time;

use crate::call::Call;
use crate::observer::Observer;
use crate::ta::instance::InstanceRef;
use crate::ta::session::{Opener, Session};
use crate::ta::syscall::time::Killed;
use lines::lines;
use log::Level;
use tally_abi::TeeResult;
use tally_abi::ta::{access, flags, svc};
use tally_mem::addr::UserVa;
use tally_mem::machine::{Access, Machine, UserContext};
use zerocopy::IntoBytes;

/// Longest text of one LOG call.
const MAX_LOG: usize = 512;
/// Bytes of randomness made between chances for an interrupt.
const RANDOM_CHUNK: usize = 256;

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
            svc::LOG => self.sys_log(instance, UserVa(x[0]), x[1]),
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
                let flag = self.is_cancelled(session);
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
            svc::CRYP_STATE_ALLOC..=svc::CRYP_DERIVE_KEY
            | svc::AUTHENC_INIT..=svc::ASYMM_VERIFY
            | svc::CRYP_OBJ_GENERATE_KEY => self.sys_crypto(instance, &x),
            svc::STORAGE_OBJ_OPEN..=svc::STORAGE_OBJ_SEEK => {
                self.begin_storage_call();
                let done = self.sys_storage(instance, &x);
                self.note_storage_call(instance, &x, done);
                done
            }
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

    /// Serves LOG: [`MAX_LOG`] bytes of it.
    ///
    /// # Errors
    /// `ACCESS_DENIED`.
    #[inline(never)]
    fn sys_log(&self, instance: InstanceRef, va: UserVa, len: u64) -> Result<(), TeeResult> {
        self.sys_check_access(instance, access::READ | access::ANY_OWNER, va, len)?;
        let mut text = [0; MAX_LOG];
        let text = &mut text[..len.min(MAX_LOG as u64) as usize];
        self.take(instance, va, text)?;
        for line in lines(text) {
            let machine = &self.kernel.machine;
            machine.interruptible(|| log::log!(target: "ta", Level::Info, "{line}"));
        }
        Ok(())
    }

    fn session_of<R>(&self, id: u32, read: impl FnOnce(&mut Session) -> R) -> Option<R> {
        let mut state = self.kernel.state();
        state.guest_mut(self.guest).sessions.by_id_mut(id).map(read)
    }

    /// Serves RANDOM, of TAs and of the loader.
    ///
    /// # Errors
    /// `ACCESS_DENIED`.
    #[inline(never)]
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
}
