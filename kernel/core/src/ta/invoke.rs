//! Opening, invoking, closing and cancelling sessions, for clients in the normal world and TAs.
//!
//! **Invariant:** an operation that fails leaves no session, no instance and no use behind.

use crate::call::Call;
use crate::call::args::Args;
use crate::call::message::{OpenSession, Outcome};
use crate::kernel::State;
use crate::observer::Observer;
use crate::owners::{Label, OwnerKind, OwnerName};
use crate::pta::params::PtaParams;
use crate::pta::{PseudoTa, PtaResult, Step};
use crate::refused::Refused;
use crate::ta::closing::Patience;
use crate::ta::instance::{Instance, InstanceRef, Life};
use crate::ta::operation::{Operation, Operations};
use crate::ta::session::{Opener, Phase, PseudoSession, Session, Target, session_id};
use crate::ta::task::{End, TaCall};
use alloc::boxed::Box;
use tally_abi::ta::{entry, flags};
use tally_abi::{Origin, TeeResult, TeeUuid};
use tally_mem::machine::Machine;

/// What ends an operation before its time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limit {
    /// Its name to who may cancel it.
    pub cancel_id: u32,
    /// Milliseconds that it may take, if they are limited.
    pub millis: Option<u32>,
}

impl Limit {
    /// Of an operation of the normal world.
    #[must_use]
    pub const fn cancellable(cancel_id: u32) -> Self {
        Self {
            cancel_id,
            millis: None,
        }
    }

    /// Of an operation of a TA, by its `cancellationRequestTimeout` (`TEE_TIMEOUT_INFINITE`: none).
    #[must_use]
    pub const fn timeout(millis: u32) -> Self {
        Self {
            cancel_id: 0,
            millis: if millis == u32::MAX {
                None
            } else {
                Some(millis)
            },
        }
    }
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Opens a session. Returns its id, or 0.
    pub fn open_session(
        &mut self,
        open: &OpenSession,
        opener: Opener,
        limit: Limit,
        args: &mut Args,
    ) -> (Outcome, u32) {
        let pseudo = self
            .kernel
            .ptas
            .iter()
            .position(|pta| pta.uuid == open.target)
            .and_then(|index| u16::try_from(index).ok());
        if let Some(index) = pseudo {
            return self.open_pseudo(index, open, opener, limit);
        }
        let instance = match self.instance_for(open.target) {
            Ok(instance) => instance,
            Err(err) => return (Outcome::tee(err), 0),
        };
        // The instance is claimed and counts this session from here on.
        let id = match self.add_session(open, opener, Target::Ta(instance), limit) {
            Ok(id) => id,
            Err(err) => {
                self.uncount(instance);
                self.unclaim(instance);
                return (Outcome::tee(err), 0);
            }
        };
        let call = TaCall {
            function: entry::OPEN_SESSION,
            session: id,
            command: 0,
        };
        let outcome = self.enter_ta(instance, call, args);
        if outcome.result == TeeResult::SUCCESS {
            self.set_phase(id, opener, Phase::Open);
            if let Some(found) = self.kernel.state().instance_mut(instance) {
                found.has_served = true;
            }
        }
        self.end_use(id, opener);
        if outcome.result == TeeResult::SUCCESS {
            self.unclaim(instance);
            (outcome, id)
        } else {
            self.remove_session(id, opener);
            self.unclaim(instance);
            (outcome, 0)
        }
    }

    fn open_pseudo(
        &mut self,
        index: u16,
        open: &OpenSession,
        opener: Opener,
        limit: Limit,
    ) -> (Outcome, u32) {
        let id = match self.add_session(open, opener, Target::Pseudo(index), limit) {
            Ok(id) => id,
            Err(err) => return (Outcome::tee(err), 0),
        };
        let session = PseudoSession {
            id,
            opener,
            login: open.login,
            client: open.client,
        };
        let opened = self.step_pseudo(index, &session, Step::Open);
        if opened.is_ok() {
            self.set_phase(id, opener, Phase::Open);
        }
        self.end_use(id, opener);
        match opened {
            Ok(()) => (Outcome::app(TeeResult::SUCCESS), id),
            Err(err) => {
                self.remove_session(id, opener);
                (Outcome::app(err), 0)
            }
        }
    }

    /// Invokes a command.
    pub fn invoke(
        &mut self,
        id: u32,
        opener: Opener,
        command: u32,
        limit: Limit,
        args: &mut Args,
    ) -> Outcome {
        let (target, session) = {
            let mut state = self.kernel.state();
            let sessions = &mut state.guest_mut(self.guest).sessions;
            let found = sessions.find_open(id, opener);
            let Some(session) = found.ok().and_then(|slot| sessions.get_mut(slot)) else {
                return Outcome::tee(TeeResult::BAD_PARAMETERS);
            };
            let operation = self.operation(limit);
            let begun = self
                .kernel
                .as_owner(session.owner, || session.operations.begin(operation));
            if let Err(err) = begun {
                return Outcome::tee(err.into());
            }
            (session.target, session.as_pseudo())
        };
        let outcome = match target {
            Target::Pseudo(index) => {
                let mut params = PtaParams::new(self.kernel, self.guest, args);
                let step = Step::Invoke(command, &mut params);
                let result = self.step_pseudo(index, &session, step);
                Outcome::app(TeeResult::from_result(result))
            }
            Target::Ta(instance) => match self.claim(instance) {
                Ok(()) => {
                    let call = TaCall {
                        function: entry::INVOKE_COMMAND,
                        session: id,
                        command,
                    };
                    let outcome = self.enter_ta(instance, call, args);
                    self.unclaim(instance);
                    outcome
                }
                Err(err) => Outcome::tee(err),
            },
        };
        self.end_use(id, opener);
        outcome
    }

    /// Closes a session. It cannot be used from here on; who is in it still goes on, and the last one ends it.
    pub fn close_session(&mut self, id: u32, opener: Opener) -> Outcome {
        {
            let mut state = self.kernel.state();
            let sessions = &mut state.guest_mut(self.guest).sessions;
            let found = sessions.find_open(id, opener);
            let Some(session) = found.ok().and_then(|slot| sessions.get_mut(slot)) else {
                return Outcome::tee(TeeResult::BAD_PARAMETERS);
            };
            session.phase = self.closing();
        }
        self.end_session(id, opener, Patience::PutOff);
        Outcome::tee(TeeResult::SUCCESS)
    }

    pub(crate) fn step_pseudo(
        &mut self,
        index: u16,
        session: &PseudoSession,
        step: Step<'_>,
    ) -> PtaResult {
        match self.kernel.ptas.get(usize::from(index)) {
            Some(pta) => self.enter_pseudo(pta, session, step),
            None => Err(TeeResult::ITEM_NOT_FOUND),
        }
    }

    /// Asks the operation `cancel_id` of a session to end.
    pub fn cancel(&self, id: u32, cancel_id: u32) -> Outcome {
        let mut state = self.kernel.state();
        let sessions = &mut state.guest_mut(self.guest).sessions;
        let found = sessions.find(id, Opener::Normal);
        let Some(session) = found.ok().and_then(|slot| sessions.get_mut(slot)) else {
            return Outcome::tee(TeeResult::BAD_PARAMETERS);
        };
        session.operations.cancel(cancel_id);
        Outcome::tee(TeeResult::SUCCESS)
    }

    /// Out of line, as [`Self::add_instance`]: it must not weigh on the stack on which the TA is entered.
    #[inline(never)]
    fn add_session(
        &self,
        open: &OpenSession,
        opener: Opener,
        target: Target,
        limit: Limit,
    ) -> Result<u32, TeeResult> {
        let asks = match target {
            Target::Pseudo(index) => self
                .kernel
                .ptas
                .get(usize::from(index))
                .is_some_and(PseudoTa::asks),
            Target::Ta(_) => false,
        };
        let mut state = self.kernel.state();
        if let Err(refused) = state.guest(self.guest).admit_session(opener, asks) {
            state.refuse(Refused::Entry(refused));
            return Err(TeeResult::OUT_OF_MEMORY);
        }
        let guest = state.guest_mut(self.guest);
        let name = OwnerName {
            kind: OwnerKind::Session(0),
            uuid: open.target,
            label: Label::Session,
        };
        let owner = self
            .kernel
            .new_owner(name)
            .ok_or(TeeResult::OUT_OF_MEMORY)?;
        let session = Session {
            phase: Phase::Opening,
            id: 0,
            target,
            opener,
            login: open.login,
            client: open.client,
            owner,
            operations: Operations::one(self.operation(limit)),
            state: Box::default(),
        };
        let inserted = self
            .kernel
            .as_owner(owner, || guest.sessions.insert(session));
        let slot = match inserted {
            Ok(slot) => slot,
            Err(err) => {
                self.kernel.release_owner(owner, "session");
                return Err(err.into());
            }
        };
        let id = session_id(slot, guest.session_count);
        guest.session_count = guest.session_count.wrapping_add(1);
        if let Some(session) = guest.sessions.get_mut(slot) {
            session.id = id;
        }
        self.kernel.owners().rename(owner, OwnerKind::Session(id));
        Ok(id)
    }

    pub(crate) fn set_phase(&self, id: u32, opener: Opener, phase: Phase) {
        let mut state = self.kernel.state();
        if let Ok(slot) = state.guest(self.guest).sessions.find(id, opener)
            && let Some(session) = state.guest_mut(self.guest).sessions.get_mut(slot)
        {
            session.phase = phase;
        }
    }

    /// Ends this thread's operation; the last one of a session that was closed meanwhile ends it.
    fn end_use(&mut self, id: u32, opener: Opener) {
        let is_closing = {
            let mut state = self.kernel.state();
            let sessions = &mut state.guest_mut(self.guest).sessions;
            let found = sessions.find(id, opener);
            let Some(session) = found.ok().and_then(|slot| sessions.get_mut(slot)) else {
                return;
            };
            session.operations.end(self.thread);
            matches!(session.phase, Phase::Closing(_))
        };
        if is_closing {
            self.end_session(id, opener, Patience::PutOff);
        }
    }

    /// An operation of this thread.
    fn operation(&self, limit: Limit) -> Operation {
        let until = limit.millis.map(|millis| {
            let now = self.kernel.uptime_millis();
            now.saturating_add(millis.into())
        });
        Operation::new(self.thread, limit.cancel_id, until)
    }

    /// Takes a session out, and off its instance's count.
    pub(crate) fn remove_session(&self, id: u32, opener: Opener) {
        let mut state = self.kernel.state();
        let sessions = &mut state.guest_mut(self.guest).sessions;
        let found = sessions.find(id, opener).ok();
        let Some(session) = found.and_then(|slot| sessions.remove(slot)) else {
            return;
        };
        let (owner, target) = (session.owner, session.target);
        drop(session);
        if let Target::Ta(instance) = target
            && let Some(found) = state.instance_mut(instance)
        {
            found.sessions = found.sessions.saturating_sub(1);
        }
        self.kernel.release_owner(owner, "session");
    }

    fn uncount(&self, instance: InstanceRef) {
        if let Some(found) = self.kernel.state().instance_mut(instance) {
            found.sessions = found.sessions.saturating_sub(1);
        }
    }

    /// An instance of `uuid` for one more session: the shared one or a new one, claimed and
    /// counted.
    fn instance_for(&mut self, uuid: TeeUuid) -> Result<InstanceRef, TeeResult> {
        loop {
            // Looked for and added under one lock, so that two calls do not both add one.
            let shared = {
                let mut state = self.kernel.state();
                let instances = &state.guest(self.guest).instances;
                if instances.keep_crashed(uuid) {
                    return Err(TeeResult::TARGET_DEAD);
                }
                match instances.shared_instance(uuid) {
                    Some(instance) => Ok(instance),
                    None => Err(self.add_instance(&mut state, uuid)?),
                }
            };
            let instance = match shared {
                Ok(instance) => instance,
                Err(new) => return self.load_new(new, uuid),
            };
            match self.claim_while(instance, Instance::may_be_shared) {
                Ok(true) => {}
                // Loaded meanwhile, and it turned out to serve one client only.
                Ok(false) => {
                    let added = self.add_instance(&mut self.kernel.state(), uuid);
                    return self.load_new(added?, uuid);
                }
                // It ended, or failed to load, while this call waited for it.
                Err(TeeResult::TARGET_DEAD) => continue,
                Err(err) => return Err(err),
            }
            let mut state = self.kernel.state();
            match state.instance_mut(instance) {
                Some(found) if found.sessions > 0 && !found.has(flags::MULTI_SESSION) => {
                    drop(state);
                    self.unclaim(instance);
                    return Err(TeeResult::BUSY);
                }
                Some(found) => {
                    found.sessions += 1;
                    return Ok(instance);
                }
                None => {}
            }
        }
    }

    /// Adds an instance that this thread is about to load.
    #[inline(never)]
    fn add_instance(&self, state: &mut State<O>, uuid: TeeUuid) -> Result<InstanceRef, TeeResult> {
        if let Err(refused) = state.guest(self.guest).admit_instance(uuid) {
            state.refuse(Refused::Entry(refused));
            return Err(TeeResult::OUT_OF_MEMORY);
        }
        let guest = state.guest_mut(self.guest);
        let name = OwnerName {
            kind: OwnerKind::Ta,
            uuid,
            label: Label::Ta,
        };
        let owner = self
            .kernel
            .new_owner(name)
            .ok_or(TeeResult::OUT_OF_MEMORY)?;
        let generation = guest.instance_count;
        let notes = guest.book.notes();
        let new = Instance::loading(uuid, generation, owner, self.thread, notes);
        match self.kernel.as_owner(owner, || guest.instances.insert(new)) {
            Ok(slot) => {
                guest.instance_count = generation.wrapping_add(1);
                Ok(guest.instances.name(slot, generation))
            }
            Err(err) => {
                self.kernel.release_owner(owner, "TA instance");
                Err(err.into())
            }
        }
    }

    fn load_new(&mut self, instance: InstanceRef, uuid: TeeUuid) -> Result<InstanceRef, TeeResult> {
        if let Err(err) = self.load(instance, uuid) {
            self.bury(instance, End::Died);
            self.unclaim(instance);
            return Err(err);
        }
        let mut waiters = 0;
        if let Some(found) = self.kernel.state().instance_mut(instance) {
            found.life = Life::Ready;
            found.loaded_at = self.kernel.machine.ticks();
            found.sessions = 1;
            if !found.may_be_shared() {
                // Who waited to share it needs one of its own, and need not wait for this
                // one's client to be done.
                waiters = core::mem::take(&mut found.waiters);
            }
        }
        self.wake(waiters);
        Ok(instance)
    }

    /// Enters a TA that this call has claimed.
    pub(crate) fn enter_ta(
        &mut self,
        instance: InstanceRef,
        call: TaCall,
        args: &mut Args,
    ) -> Outcome {
        match self.run_ta(instance, call, args) {
            Ok(result) => Outcome {
                result,
                origin: Origin::TrustedApp,
            },
            Err(err) => Outcome::tee(err),
        }
    }
}
