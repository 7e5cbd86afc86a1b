//! One yielding call: its thread, its line to the normal world, and the instances it claims.
//!
//! **Invariant:** an instance claimed by a call is let go by the same call, whatever happens in
//! between.
//! **Knows nothing of:** what the call is for.

use crate::inspect::history::End;
use crate::instance::{Instance, InstanceError, InstanceRef, Life};
use crate::kernel::{Kernel, State};
use crate::message::Outcome;
use crate::owners::{OwnerName, OwnerTable};
use crate::rpc::{RpcArg, RpcClient};
use crate::session::{Opener, Phase};
use tally_abi::rpc::notification;
use tally_abi::{TeeResult, smc};
use tally_mem::machine::Machine;
use tally_mem::mem::Mem;
use tally_mem::owner::OwnerId;

/// A yielding call.
pub struct Call<'k, M: Machine + 'static> {
    /// The kernel.
    pub kernel: &'k Kernel<M>,
    /// Number of the thread it runs on.
    pub thread: usize,
    /// Its line to the normal world.
    pub rpc: RpcClient,
    /// The TA that asks for a session's use, innermost of a chain.
    pub caller: Option<Caller>,
}

/// A TA that uses a session of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The TA.
    pub instance: InstanceRef,
    /// The session that it serves: its client's.
    pub session: u32,
    /// The session that it uses.
    pub target: u32,
    /// Its frame pointer: an allegation.
    pub frame: u64,
}

impl<'k, M: Machine> Call<'k, M> {
    /// A call on the current thread.
    #[must_use]
    pub fn new(kernel: &'k Kernel<M>, rpc: RpcArg) -> Self {
        let thread = kernel.machine.thread_id();
        Self {
            kernel,
            thread,
            rpc: RpcClient::new(rpc),
            caller: None,
        }
    }

    /// Gives back what the call borrowed of the normal world.
    pub fn finish(&mut self) {
        self.rpc.finish(&self.kernel.machine);
    }

    /// Lets the normal world handle its interrupts, then goes on.
    pub fn yield_to_normal(&self) {
        let thread = self.thread as u64;
        self.kernel
            .machine
            .suspend([u64::from(smc::ret::RPC_FOREIGN_INTR), 0, 0, thread]);
    }

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
        usable: impl Fn(&Instance) -> bool,
    ) -> Result<bool, TeeResult> {
        loop {
            let claimed = {
                let mut state = self.kernel.state();
                let instances = &mut state.guest.instances;
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
                        let mut state = self.kernel.state();
                        state.guest.instances.stop_waiting(instance, self.thread);
                        return Err(err);
                    }
                }
                Err(err @ (InstanceError::Dead | InstanceError::Deadlock)) => {
                    return Err(err.into());
                }
            }
        }
    }

    /// Waits until somebody wakes this thread.
    ///
    /// # Errors
    /// `BUSY` when the normal world cannot wait.
    pub fn wait(&mut self) -> Result<(), TeeResult> {
        self.rpc
            .notification(&self.kernel.machine, notification::WAIT, self.thread as u64)
            .map_err(|_| TeeResult::BUSY)
    }

    /// Lets go of an instance: wakes who waits, buries it if it was killed meanwhile, and ends it
    /// if nobody needs it any more.
    pub fn unclaim(&mut self, instance: InstanceRef) {
        let waiters = {
            let mut state = self.kernel.state();
            let Some(found) = state.guest.instances.at_mut(instance) else {
                return;
            };
            let waiters = found.unclaim();
            if found.killed && found.life != Life::Dead {
                self.bury(&mut state, instance, End::Died);
            }
            waiters
        };
        self.close_orphans(instance);
        self.drop_if_unused(instance);
        self.wake(waiters);
    }

    /// Wakes threads, a bit each.
    pub fn wake(&mut self, waiters: u64) {
        for thread in (0..u64::BITS).filter(|thread| waiters & 1 << thread != 0) {
            let sent =
                self.rpc
                    .notification(&self.kernel.machine, notification::SEND, u64::from(thread));
            if let Err(err) = sent {
                log::error!("cannot wake thread {thread}: {err}");
            }
        }
    }

    /// Makes an instance dead: its memory goes, its entry stays for its sessions.
    pub fn bury(&self, state: &mut State, instance: InstanceRef, end: End) {
        let remains = self.kernel.note_ended(state, instance, end);
        self.kernel
            .note_instance_end(state, instance, end, remains.as_ref());
        let Some(found) = state.guest.instances.at_mut(instance) else {
            return;
        };
        found.life = Life::Dead;
        if end == End::Died {
            found.note_end(self.kernel.machine.ticks());
        }
        found.task = None;
        found.remains = remains;
        found.heap = None;
        if let Some(book) = found.scans.book.take() {
            book.destroy(&mut state.pages);
        }
        let owner = found.owner;
        let Some(space) = found.space.take() else {
            return;
        };
        let uuid = found.uuid;
        let asid = space.root().asid;
        space.destroy(&mut Mem::new(&mut state.pages, &self.kernel.machine));
        state.give_asid(asid);
        self.kernel.end_buffers_of(state, instance);
        let mut others = state.guest.instances.iter();
        if !others.any(|(_, other)| other.uuid == uuid && other.life != Life::Dead) {
            state.snapshots.ended(uuid);
        }
        let left = state.pages.owned_by(owner);
        if left != 0 {
            log::error!("a TA ended and left {left} pages behind");
        }
    }

    /// Closes what a dead instance had opened.
    fn close_orphans(&mut self, instance: InstanceRef) {
        loop {
            let orphan = {
                let state = self.kernel.state();
                let ended = state
                    .guest
                    .instances
                    .at(instance)
                    .is_none_or(|found| found.life == Life::Dead);
                if !ended {
                    return;
                }
                state
                    .guest
                    .sessions
                    .iter()
                    .find(|(_, session)| {
                        session.opener == Opener::Ta(instance)
                            && session.uses == 0
                            && session.phase == Phase::Open
                    })
                    .map(|(_, session)| session.id)
            };
            let Some(id) = orphan else { return };
            let Outcome { result, .. } = self.close_session(id, Opener::Ta(instance));
            if result != TeeResult::SUCCESS {
                // Its target is this call's caller, or waiting is hopeless: it goes untold.
                log::error!("session {id:#x} of an ended TA does not close: {result}");
                self.forget_session(id, Opener::Ta(instance));
            }
        }
    }

    /// Removes an instance that has no sessions, unless it stays; a dead one always goes.
    pub fn drop_if_unused(&mut self, instance: InstanceRef) {
        {
            let mut state = self.kernel.state();
            let Some(found) = state.guest.instances.at(instance) else {
                return;
            };
            let unused = found.sessions == 0 && found.busy.is_none() && found.waiters == 0;
            let goes = found.life == Life::Dead || !found.stays();
            if !unused || !goes {
                return;
            }
            if found.life != Life::Dead {
                self.bury(&mut state, instance, End::Orderly);
            }
        }
        self.close_orphans(instance);
        let mut state = self.kernel.state();
        // Closing suspends: somebody else may have taken the entry out, and the slot be reused.
        if state.guest.instances.at(instance).is_none() {
            return;
        }
        // The entry's heap block goes here; its account must be empty then.
        let removed = state.guest.instances.remove(instance.slot);
        if let Some(owner) = removed.as_deref().map(|found: &Instance| found.owner) {
            drop(removed);
            self.kernel.release_owner(&mut state, owner, "TA instance");
        }
    }
}

impl<M: Machine> Kernel<M> {
    /// An id for a new owner, or `None` when all are taken.
    pub fn new_owner(&self, owners: &mut OwnerTable, name: OwnerName) -> Option<OwnerId> {
        owners.sweep(|id| self.heap.account(id).1 != 0);
        owners.create(name)
    }

    /// Gives an owner's id back; what it still holds is a leak, said at once.
    pub fn release_owner(&self, state: &mut State, owner: OwnerId, what: &str) {
        if let Some(name) = state.owners.name(owner) {
            self.heap
                .with_failures(&mut |failures| failures.settle(owner, name));
        }
        let (bytes, blocks) = self.heap.account(owner);
        if blocks != 0 {
            let uuid = state
                .owners
                .name(owner)
                .map(|name| name.uuid)
                .unwrap_or_default();
            log::error!("{what} of {uuid} ended and left {blocks} heap blocks, {bytes} bytes");
            state.owners.end(owner);
        } else {
            state.owners.release(owner);
        }
    }
}
