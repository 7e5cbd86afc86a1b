//! Beginning and end of a guest.
//!
//! **Invariant:** when a guest has ended, no page and no block of the heap is charged to it or to anything
//! of it; its normal-world memory is not touched from the moment on that its end begins.

use crate::call::Call;
use crate::call::rpc::RpcArg;
use crate::guest::Guest;
use crate::guest_id::GuestId;
use crate::kernel::Kernel;
use crate::observer::Observer;
use crate::pta::Step;
use crate::ta::session::Target;
use crate::ta::task::End;
use core::sync::atomic::{Ordering, fence};
use tally_mem::fallible::HeapExhausted;
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;

/// How far the end of a guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestEnd {
    /// Nothing of it is left.
    Done,
    /// These threads, a bit each, run its calls. Whoever ends it resumes those that are suspended until they
    /// are done, and asks again; whatever they want of the normal world is refused.
    Threads(u64),
}

impl<M: Machine, O: Observer> Kernel<M, O> {
    /// Whether a guest is ending or not there.
    pub(crate) fn is_closed(&self, guest: GuestId) -> bool {
        self.gates[guest.index()].load(Ordering::SeqCst)
    }

    /// Takes the memory that the tables of a guest need that is not there or has ended, and lets it call. One that is there
    /// stays as it is.
    ///
    /// # Errors
    /// [`HeapExhausted`]; then it is not there, and nothing of it is.
    pub fn begin_guest(&self, guest: GuestId) -> Result<(), HeapExhausted> {
        let mut state = self.state();
        let begun = state.guest_mut(guest);
        if !begun.is_absent() {
            return Ok(());
        }
        let own = self.as_owner(guest.owner(), || begun.begin());
        let kept = own.and_then(|()| self.as_owner(OwnerId::STATS, || begun.book.begin()));
        match kept {
            Ok(()) => self.gates[guest.index()].store(false, Ordering::SeqCst),
            Err(HeapExhausted) => *begun = Guest::absent(guest),
        }
        kept
    }

    /// Ends a guest: its TAs, sessions, shared memory and account. To be asked again until it is done.
    pub fn end_guest(&self, guest: GuestId) -> GuestEnd {
        // Before its threads are looked at: a call that has got one by then looks at the gate afterwards.
        self.gates[guest.index()].store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        {
            let mut state = self.state();
            for (_, found) in state.guest_mut(guest).instances.iter_mut() {
                found.killed = true;
            }
        }
        let threads = self.threads.of(guest);
        if threads != 0 {
            self.machine.interrupt_others();
            return GuestEnd::Threads(threads);
        }
        let mut call = Call::new(self, guest, RpcArg::None);
        call.end_instances();
        call.end_sessions();
        let mut state = self.state();
        O::guest_ends(self, &mut state, guest);
        *state.guest_mut(guest) = Guest::absent(guest);
        GuestEnd::Done
    }
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Buries every instance.
    fn end_instances(&mut self) {
        let (kernel, guest) = (self.kernel, self.guest);
        let next = || {
            let state = kernel.state();
            let instances = &state.guest(guest).instances;
            let mut named = instances.named();
            let living = named.find(|(_, found)| found.space.is_some());
            living.map(|(instance, _)| instance)
        };
        while let Some(instance) = next() {
            self.bury(instance, End::Died);
        }
    }

    /// Takes every session out. No TA is told, since none lives; pseudo-TAs are.
    fn end_sessions(&mut self) {
        loop {
            let (session, target, opener) = {
                let state = self.kernel.state();
                let mut sessions = state.guest(self.guest).sessions.iter();
                let Some((_, session)) = sessions.next() else {
                    break;
                };
                (session.as_pseudo(), session.target, session.opener)
            };
            if let Target::Pseudo(index) = target
                && let Err(err) = self.step_pseudo(index, &session, Step::Close)
            {
                log::error!("session {:#x} of a pseudo-TA: {err}", session.id);
            }
            self.remove_session(session.id, opener);
        }
        let mut state = self.kernel.state();
        while let Some((instance, found)) = {
            let instances = &state.guest(self.guest).instances;
            instances
                .named()
                .next()
                .map(|(name, found)| (name, found.owner))
        } {
            drop(
                state
                    .guest_mut(self.guest)
                    .instances
                    .remove(instance.slot()),
            );
            let kernel = self.kernel;
            kernel.release_owner(found, "TA instance");
        }
    }
}
