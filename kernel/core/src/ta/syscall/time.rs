//! Time, waiting and cancellation.

use crate::call::Call;
use crate::observer::Observer;
use crate::ta::instance::InstanceRef;
use crate::ta::operation::Operation;
use tally_abi::TeeResult;
use tally_abi::ta::{TeeTime, time_category};
use tally_mem::addr::UserVa;
use tally_mem::machine::Machine;
use zerocopy::{FromZeros, IntoBytes};

/// Longest sleep at a time in WAIT, so that cancels and kills are noticed.
const WAIT_SLICE_MILLIS: u64 = 10;

/// The TA was killed while a system call slept.
pub(super) struct Killed;

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Whether the TA is to hear that the operation is cancelled which it serves in `session`.
    pub(super) fn is_cancelled(&self, session: u32) -> bool {
        let now = self.kernel.uptime_millis();
        let is_cancelled = self.operation_in(session, |operation| operation.is_cancelled(now));
        is_cancelled.unwrap_or(false)
    }

    /// This thread's operation in a session; `None` while the session is closed.
    fn operation_in<R>(&self, session: u32, read: impl FnOnce(&mut Operation) -> R) -> Option<R> {
        let thread = self.thread;
        let found = self.session_of(session, |session| session.operations.of(thread).map(read));
        found.flatten()
    }

    pub(super) fn sys_mask(
        &self,
        instance: InstanceRef,
        session: u32,
        old: UserVa,
        mask: bool,
    ) -> Result<(), TeeResult> {
        let was = self.operation_in(session, |operation| operation.masked);
        self.put(instance, old, u32::from(was.unwrap_or(true)).as_bytes())?;
        self.operation_in(session, |operation| operation.masked = mask);
        Ok(())
    }

    #[inline(never)]
    pub(super) fn sys_wait(
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
            if self.is_cancelled(session) {
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

    #[inline(never)]
    pub(super) fn sys_get_time(
        &mut self,
        instance: InstanceRef,
        category: u64,
        out: UserVa,
    ) -> Result<(), TeeResult> {
        let uptime = self.kernel.uptime_millis();
        let mut fits = true;
        let time = match category {
            time_category::SYSTEM => TeeTime::from_millis(uptime),
            time_category::REE => self.rpc.time(&self.kernel.machine)?,
            time_category::TA_PERSISTENT => {
                let state = self.kernel.state();
                let found = state.instance(instance).ok_or(TeeResult::TARGET_DEAD)?;
                let offset = found.time_offset_millis.ok_or(TeeResult::TIME_NOT_SET)?;
                let millis = uptime.saturating_add_signed(offset);
                fits = millis / 1000 <= u64::from(u32::MAX);
                TeeTime::from_millis(millis)
            }
            _ => return Err(TeeResult::BAD_PARAMETERS),
        };
        self.put(instance, out, time.as_bytes())?;
        // What is left of it is told all the same (GPD_SPE_010 7.2.4).
        fits.then_some(()).ok_or(TeeResult::OVERFLOW)
    }

    pub(super) fn sys_set_time(&self, instance: InstanceRef, va: UserVa) -> Result<(), TeeResult> {
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
}
