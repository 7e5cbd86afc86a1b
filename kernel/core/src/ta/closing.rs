//! The end of sessions that their openers have closed.
//!
//! **Invariant:** closing does not fail. A session that cannot be ended where it was closed is ended at the latest when
//! the call ends that put it off, on an empty stack and with nothing claimed. What a dead TA had opened is ended by whoever
//! has its target at that time: nobody waits for a TA that another call is in. However TAs chain sessions, one end runs in
//! another only as a TA asks for it, which takes stack.

use crate::call::Call;
use crate::call::args::Args;
use crate::call::thread::MAX_THREADS;
use crate::observer::Observer;
use crate::pta::Step;
use crate::ta::instance::{InstanceRef, Life};
use crate::ta::session::{Opener, Phase, PseudoSession, Target};
use crate::ta::task::TaCall;
use tally_abi::TeeResult;
use tally_abi::ta::entry;
use tally_mem::machine::Machine;

/// What becomes of a session whose target cannot be told now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It is told later in this call.
    PutOff,
    /// It goes untold.
    GiveUp,
}

/// What a call has left to close.
#[derive(Clone, Copy, Debug, Default)]
pub struct Closings {
    /// Sessions were marked since the last round.
    pub(crate) marked: bool,
    /// A round is under way.
    is_closing: bool,
    /// Some could not be ended yet.
    put_off: bool,
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Tells the target of a session that was closed, if no call is in it, and takes it out.
    pub(crate) fn end_session(&mut self, id: u32, opener: Opener, patience: Patience) {
        let Some((target, session)) = self.take_closing(id, opener) else {
            return;
        };
        let is_orphan = self.is_orphan(opener);
        let ready = self.check_stack().and_then(|()| match (target, patience) {
            // Nobody waits for a TA that another call is in to tell it of a dead one.
            (Target::Ta(instance), _) if is_orphan => self.claim_or_leave(id, opener, instance),
            // Whoever has TAs claimed keeps nobody waiting for them here.
            (Target::Ta(instance), Patience::PutOff) => self.claim_at_once(instance).map(|()| true),
            (Target::Ta(instance), Patience::GiveUp) => self.claim(instance).map(|()| true),
            (Target::Pseudo(_), _) => Ok(true),
        });
        match (ready, patience) {
            (Ok(true), _) => return self.close_checked(target, &session),
            (Ok(false), _) => return,
            // A dead TA is not told.
            (Err(TeeResult::TARGET_DEAD), _) => {}
            (Err(_), Patience::PutOff) => {
                self.set_phase(id, opener, self.closing());
                self.closings.put_off = true;
                return;
            }
            (Err(err), Patience::GiveUp) => {
                log::error!("TA is not told that session {id:#x} closes: {err}");
            }
        }
        self.remove_session(id, opener);
        if let Target::Ta(instance) = target {
            self.drop_if_unused(instance);
        }
        self.end_marked();
    }

    /// Tells the target, a TA that this call has claimed or a pseudo-TA, and takes the session out. As
    /// [`Self::run_ta_checked`].
    #[inline(never)]
    fn close_checked(&mut self, target: Target, session: &PseudoSession) {
        match target {
            Target::Ta(instance) => {
                let call = TaCall {
                    function: entry::CLOSE_SESSION,
                    session: session.id,
                    command: 0,
                };
                // What dies of what it does there is ended before it hears of that: rounds of its own, on its stack.
                let is_closing = core::mem::take(&mut self.closings.is_closing);
                // What it answers changes nothing.
                let _ = self.run_ta_checked(instance, call, &mut Args::default());
                self.closings.is_closing = is_closing;
                self.remove_session(session.id, session.opener);
                self.unclaim(instance);
            }
            Target::Pseudo(index) => {
                if let Some(pta) = self.kernel.ptas.get(usize::from(index))
                    && let Err(err) = self.enter_pseudo_checked(pta, session, Step::Close)
                {
                    log::error!("session {:#x} of a pseudo-TA: {err}", session.id);
                }
                self.remove_session(session.id, session.opener);
            }
        }
    }

    /// What a session that was closed talks to, for whoever is the first to end it once no call is in it.
    fn take_closing(&self, id: u32, opener: Opener) -> Option<(Target, PseudoSession)> {
        let mut state = self.kernel.state();
        let sessions = &mut state.guest_mut(self.guest).sessions;
        let slot = sessions.find(id, opener).ok()?;
        let session = sessions.get_mut(slot)?;
        if !matches!(session.phase, Phase::Closing(_)) || !session.operations.is_empty() {
            return None;
        }
        session.phase = Phase::Ending;
        Some((session.target, session.as_pseudo()))
    }

    /// Whether a dead TA had opened it.
    fn is_orphan(&self, opener: Opener) -> bool {
        let Opener::Ta(opener) = opener else {
            return false;
        };
        let state = self.kernel.state();
        let found = state.instance(opener);
        found.is_none_or(|found| found.life == Life::Dead)
    }

    /// Claims the target of a session, or leaves the session to the call that has it; whether it is claimed.
    ///
    /// # Errors
    /// `TARGET_DEAD` when it ended, `BUSY` when this very call has it.
    fn claim_or_leave(
        &self,
        id: u32,
        opener: Opener,
        target: InstanceRef,
    ) -> Result<bool, TeeResult> {
        let mut state = self.kernel.state();
        let guest = state.guest_mut(self.guest);
        let found = guest.instances.at_mut(target);
        let found = found.ok_or(TeeResult::TARGET_DEAD)?;
        let Some(holder) = found.busy.filter(|holder| *holder != self.thread) else {
            return Ok(found.claim(self.thread).map(|()| true)?);
        };
        found.has_closings = true;
        let slot = guest.sessions.find(id, opener).ok();
        if let Some(session) = slot.and_then(|slot| guest.sessions.get_mut(slot)) {
            session.phase = Phase::Closing(holder as u8);
        }
        Ok(false)
    }

    /// Closes what a dead instance had opened; [`Self::end_marked`] ends it.
    pub(crate) fn close_orphans(&mut self, instance: InstanceRef) {
        let mut state = self.kernel.state();
        for (_, session) in state.guest_mut(self.guest).sessions.iter_mut() {
            if session.opener == Opener::Ta(instance) && session.phase == Phase::Open {
                session.phase = self.closing();
                self.closings.marked = true;
            }
        }
    }

    /// Ends sessions that were marked, and those that this marks in turn: a loop, however long the chain is.
    pub(crate) fn end_marked(&mut self) {
        if self.closings.is_closing {
            return;
        }
        self.closings.is_closing = true;
        while core::mem::take(&mut self.closings.marked) {
            self.end_all(Patience::PutOff);
        }
        self.closings.is_closing = false;
    }

    /// Ends what this call has put off. Its stack is empty and it has claimed nothing.
    pub(crate) fn end_put_off(&mut self) {
        while core::mem::take(&mut self.closings.put_off) {
            self.end_all(Patience::GiveUp);
            self.end_marked();
        }
    }

    /// Of a session that was closed and that this call is to end.
    pub(crate) const fn closing(&self) -> Phase {
        const { assert!(MAX_THREADS <= u8::MAX as usize) };
        Phase::Closing(self.thread as u8)
    }

    /// One round over the sessions that this call is to end. Others' are theirs: their TAs may be claimed for long.
    fn end_all(&mut self, patience: Patience) {
        let mut slot = 0;
        loop {
            let (id, opener) = {
                let state = self.kernel.state();
                let sessions = &state.guest(self.guest).sessions;
                let Some((at, session)) = sessions.closing_from(slot, self.thread) else {
                    return;
                };
                slot = at + 1;
                (session.id, session.opener)
            };
            self.end_session(id, opener, patience);
        }
    }
}
