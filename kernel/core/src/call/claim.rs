//! Claiming an instance for a call, letting go of it, and its end.
//!
//! **Invariant:** an instance claimed by a call is let go by the same call, whatever happens in
//! between.

use crate::book::Book;
use crate::call::Call;
use crate::kernel::{Kernel, State};
use crate::observer::Observer;
use crate::owners::OwnerName;
use crate::ta::crypto::Forgotten;
use crate::ta::instance::{Instance, InstanceError, InstanceRef, Life};
use crate::ta::task::End;
use tally_abi::TeeResult;
use tally_mem::machine::Machine;
use tally_mem::mem::Mem;
use tally_mem::owner::OwnerId;
use tally_mem::space::AddressSpace;

/// Pages that are freed, or protected, under one lock: some 5,000 instructions, or 25,000 for code.
pub(crate) const PAGES_A_STEP: u32 = 64;

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Claims an instance for this call, waiting in the normal world while others have it.
    ///
    /// # Errors
    /// `TARGET_DEAD` when it ended, `BUSY` when waiting is hopeless.
    pub fn claim(&mut self, instance: InstanceRef) -> Result<(), TeeResult> {
        self.claim_while(instance, |_| true).map(drop)
    }

    /// As [`Self::claim`], for as long as the instance is one that this call can use; false when
    /// it is not, or no longer.
    ///
    /// # Errors
    /// As [`Self::claim`].
    pub fn claim_while(
        &mut self,
        instance: InstanceRef,
        usable: impl Fn(&Instance<O>) -> bool,
    ) -> Result<bool, TeeResult> {
        loop {
            let claimed = {
                let mut state = self.kernel.state();
                let instances = &mut state.guest_mut(self.guest).instances;
                let claimed = match instances.at_mut(instance) {
                    Some(found) if !usable(found) => {
                        instances.stop_waiting(instance, self.thread);
                        return Ok(false);
                    }
                    Some(found) => found.claim(self.thread),
                    None => Err(InstanceError::Dead),
                };
                if claimed == Err(InstanceError::Wait) && instances.waits_in_a_ring(self.thread) {
                    instances.stop_waiting(instance, self.thread);
                    Err(InstanceError::Deadlock)
                } else {
                    claimed
                }
            };
            match claimed {
                Ok(()) => return Ok(true),
                Err(InstanceError::Wait) => {
                    if let Err(err) = self.wait() {
                        self.stop_waiting(instance);
                        return Err(err);
                    }
                }
                Err(err @ (InstanceError::Dead | InstanceError::Deadlock)) => {
                    // It may have been woken by somebody else than who had it.
                    self.stop_waiting(instance);
                    return Err(err.into());
                }
            }
        }
    }

    /// As [`Self::claim`], without waiting.
    ///
    /// # Errors
    /// As there; `BUSY` while others have it.
    pub(crate) fn claim_at_once(&self, instance: InstanceRef) -> Result<(), TeeResult> {
        let claimed = match self.kernel.state().instance_mut(instance) {
            Some(found) => found.claim(self.thread),
            None => Err(InstanceError::Dead),
        };
        if claimed == Err(InstanceError::Wait) {
            self.stop_waiting(instance);
        }
        Ok(claimed?)
    }

    fn stop_waiting(&self, instance: InstanceRef) {
        let mut state = self.kernel.state();
        let instances = &mut state.guest_mut(self.guest).instances;
        instances.stop_waiting(instance, self.thread);
    }

    /// Lets go of an instance: wakes who waits, buries it if it was killed meanwhile, and ends it
    /// if nobody needs it any more.
    pub fn unclaim(&mut self, instance: InstanceRef) {
        let (waiters, stays) = loop {
            let end = {
                let mut state = self.kernel.state();
                let Some(found) = state.instance_mut(instance) else {
                    return;
                };
                // Who kills an idle one has not claimed it. If somebody has at this moment, it is theirs to end, and to
                // let go of: they may be in the middle of that.
                if found.busy.is_some_and(|holder| holder != self.thread) {
                    return;
                }
                // Whether it ends is decided under the lock that lets go of it: who kills it in between finds it claimed.
                let Some(end) = found.end() else {
                    self.closings.marked |= core::mem::take(&mut found.has_closings);
                    break (found.unclaim(), found.life != Life::Dead);
                };
                // What ends stays claimed, so that nobody finds it in between.
                found.busy = Some(self.thread);
                end
            };
            self.bury(instance, end);
        };
        if !stays {
            self.close_orphans(instance);
            self.drop_if_unused(instance);
        }
        self.wake(waiters);
        self.end_marked();
    }

    /// Makes an instance dead that this call has claimed: its memory goes, in steps, and its entry stays for its
    /// sessions.
    pub fn bury(&mut self, instance: InstanceRef, end: End) {
        let kernel = self.kernel;
        O::ending(kernel, instance, end);
        let (owner, uuid, space, mut holdings) = {
            let mut state = kernel.state();
            let Some(found) = state.instance_mut(instance) else {
                return;
            };
            found.life = Life::Dead;
            if end == End::Died {
                found.note_end(kernel.machine.ticks());
            }
            found.task = None;
            found.heap = None;
            let kept = found.kept.as_mut();
            let holdings = kept.and_then(|kept| kept.holdings.take());
            found.kept = None;
            let space = found.space.take();
            found.leaving = space.as_ref().map_or(0, AddressSpace::charged_pages);
            (found.owner, found.uuid, space, holdings)
        };
        while let Some(gone) = holdings.as_mut().and_then(|held| held.forget_one()) {
            self.let_go(gone);
            kernel.breathe();
        }
        drop(holdings);
        let Some(mut space) = space else {
            return;
        };
        loop {
            let mut state = kernel.state();
            let is_empty = space.shrink(
                &mut Mem::new(&mut state.pages, &kernel.machine),
                PAGES_A_STEP,
            );
            state.note_leaving(instance, space.charged_pages());
            if is_empty {
                break;
            }
            drop(state);
            kernel.breathe();
        }
        {
            let mut state = kernel.state();
            let asid = space.root().asid;
            space.destroy(&mut Mem::new(&mut state.pages, &kernel.machine));
            state.note_leaving(instance, 0);
            state.give_asid(asid);
        }
        kernel.end_buffers_of(instance);
        let mut state = kernel.state();
        let living = |other: &Instance<O>| other.uuid == uuid && other.life != Life::Dead;
        if !state
            .guest(self.guest)
            .instances
            .iter()
            .any(|(_, other)| living(other))
        {
            O::all_ended(&mut state, instance.guest(), uuid);
        }
        let left = state.pages.owned_by(owner);
        drop(state);
        if left != 0 {
            log::error!("a TA ended and left {left} pages behind");
        }
    }

    /// Ends what a TA held where storage is involved.
    #[inline(never)]
    fn let_go(&mut self, gone: Forgotten) {
        match gone {
            Forgotten::Object(object) => self.discard_object(object),
            Forgotten::Enumerator(enumerator) => {
                if enumerator.has_begun {
                    self.leave_directory();
                }
            }
            Forgotten::State => {}
        }
    }

    /// Removes an instance that has no sessions, unless it stays.
    pub fn drop_if_unused(&mut self, instance: InstanceRef) {
        let mut waiters = 0;
        {
            let mut state = self.kernel.state();
            let Some(found) = state.instance(instance) else {
                return;
            };
            let unused = found.sessions == 0 && found.busy.is_none() && found.waiters == 0;
            let goes = !found.stays();
            if !unused || !goes {
                return;
            }
            if found.life != Life::Dead
                && let Some(found) = state.instance_mut(instance)
            {
                found.busy = Some(self.thread);
                drop(state);
                self.bury(instance, End::Orderly);
                let mut state = self.kernel.state();
                let ended = state.instance_mut(instance);
                // Who has begun to wait meanwhile finds it dead.
                waiters = ended.map_or(0, Instance::unclaim);
            }
        }
        self.wake(waiters);
        self.close_orphans(instance);
        let mut state = self.kernel.state();
        if state.instance(instance).is_none() {
            return;
        }
        // The entry's heap block goes here; its account must be empty then.
        let removed = state
            .guest_mut(self.guest)
            .instances
            .remove(instance.slot());
        if let Some(owner) = removed.as_deref().map(|found: &Instance<O>| found.owner) {
            drop(removed);
            self.kernel.release_owner(owner, "TA instance");
        }
    }
}

impl<O: Book> State<O> {
    /// Says how many pages are left of an instance's address space, which is being taken apart.
    fn note_leaving(&mut self, instance: InstanceRef, pages: u32) {
        if let Some(found) = self.instance_mut(instance) {
            found.leaving = pages;
        }
    }
}

impl<M: Machine, O: Observer> Kernel<M, O> {
    /// An id for a new owner, or `None` when all are taken.
    pub fn new_owner(&self, name: OwnerName) -> Option<OwnerId> {
        let mut owners = self.owners();
        owners.sweep(|id| self.heap.account(id).1 != 0);
        owners.create(name)
    }

    /// Gives an owner's id back; what it still holds is a leak, said at once.
    pub fn release_owner(&self, owner: OwnerId, what: &str) {
        let mut owners = self.owners();
        if let Some(name) = owners.name(owner) {
            O::owner_ends(self, owner, name);
        }
        let (bytes, blocks) = self.heap.account(owner);
        if blocks != 0 {
            let uuid = owners.name(owner).map(|name| name.uuid).unwrap_or_default();
            log::error!("{what} of {uuid} ended and left {blocks} heap blocks, {bytes} bytes");
            owners.end(owner);
        } else {
            owners.release(owner);
        }
    }
}
