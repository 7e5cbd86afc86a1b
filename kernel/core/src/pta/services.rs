//! Services of the kernel for pseudo-TAs, capability by capability.

use crate::call::Call;
use crate::guest_id::GuestId;
use crate::kernel::Kernel;
use crate::observer::Observer;
use crate::pta::{PseudoTa, Session, StateOfSession, Step, Work};
use crate::ta::instance::Life;
use crate::ta::session::{Caller, PseudoSession};
use core::cell::RefCell;
use tally_abi::ta::TeeTime;
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::fallible::try_resize;
use tally_mem::machine::Machine;

/// Channels and buffers in the TA that asks: a channel is its opener's alone, this TA's through this
/// session. All get `ACCESS_DENIED` when no TA asks.
pub trait BufferServices {
    /// Opens a channel; its number.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    fn open_channel(&self) -> Result<u32, TeeResult>;
    /// Closes a channel. Mappings that are left are noted and undone.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`.
    fn close_channel(&self, channel: u32) -> Result<(), TeeResult>;
    /// Maps zeroed secure memory into the TA; its address.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND` for the channel, `BAD_PARAMETERS` for the size, `OUT_OF_MEMORY`.
    fn map_buffer(&self, channel: u32, bytes: u32) -> Result<u64, TeeResult>;
    /// Unmaps it.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`, also after the channel was closed, which is noted.
    fn unmap_buffer(&self, channel: u32, va: u64) -> Result<(), TeeResult>;
    /// Closes all channels of a session. What was not closed before is noted.
    fn end_session(&self, session: u32);
}

/// Ending TAs, and time.
pub trait Control {
    /// Ends all instances of a TA; how many there were.
    fn kill(&self, uuid: TeeUuid) -> u32;
    /// Time of the normal world.
    ///
    /// # Errors
    /// What the normal world answered.
    fn ree_time(&self) -> Result<TeeTime, TeeResult>;
    /// Time since boot.
    fn system_time(&self) -> TeeTime;
}

/// Random numbers.
pub trait Entropy {
    /// Fills with unpredictable bytes. Interrupts of the normal world come through.
    fn fill(&self, buf: &mut [u8]);
    /// Bytes a second, as just measured.
    fn rate(&self) -> u32;
}

/// Bytes that the rate of random numbers is measured with.
const MEASURED_BYTES: usize = 256;

/// A call of a pseudo-TA.
pub struct PtaCall<'c, 'k, M: Machine + 'static, O: Observer> {
    /// The kernel.
    pub kernel: &'k Kernel<M, O>,
    /// Whose call it is.
    pub guest: GuestId,
    pub(super) call: RefCell<&'c mut Call<'k, M, O>>,
    /// The TA that asks, if one does.
    pub(crate) caller: Option<Caller>,
}

impl<'k, M: Machine, O: Observer> Call<'k, M, O> {
    /// Has a pseudo-TA do one step of a session.
    ///
    /// # Errors
    /// The pseudo-TA's.
    pub(crate) fn enter_pseudo(
        &mut self,
        pta: &PseudoTa<O>,
        session: &PseudoSession,
        step: Step<'_>,
    ) -> Result<(), TeeResult> {
        self.require_stack()?;
        self.enter_pseudo_checked(pta, session, step)
    }

    /// As [`Self::run_ta_checked`].
    #[inline(never)]
    pub(crate) fn enter_pseudo_checked(
        &mut self,
        pta: &PseudoTa<O>,
        session: &PseudoSession,
        step: Step<'_>,
    ) -> Result<(), TeeResult> {
        let kernel = self.kernel;
        let state = StateInTable {
            kernel,
            guest: self.guest,
            session: session.id,
        };
        let session = Session {
            id: session.id,
            opener: session.opener,
            login: session.login,
            client: session.client,
            state: &state,
        };
        let (guest, caller) = (self.guest, self.caller);
        let call = PtaCall {
            kernel,
            guest,
            call: RefCell::new(self),
            caller,
        };
        match pta.work {
            Work::Alone(enter) => enter(&session, step),
            Work::Buffers(enter) => enter(&call, &session, step),
            Work::Supplicant(enter) => enter(&call, &session, step),
            Work::System(enter) => enter(&call, &session, step),
            Work::Control(enter) => enter(&call, &session, step),
            Work::Entropy(enter) => enter(&call, &session, step),
            Work::Account(entry) => O::enter_pta(&call, entry, &session, step),
        }
    }
}

/// A session's state where it lies: with the session.
struct StateInTable<'k, M: 'static, O: Observer> {
    kernel: &'k Kernel<M, O>,
    guest: GuestId,
    session: u32,
}

impl<M: Machine, O: Observer> StateOfSession for StateInTable<'_, M, O> {
    fn with_words(&self, words: usize, work: &mut dyn FnMut(&mut [u64])) -> bool {
        let kernel = self.kernel;
        let mut state = kernel.state();
        let sessions = &mut state.guest_mut(self.guest).sessions;
        let Some(session) = sessions.by_id_mut(self.session) else {
            return false;
        };
        let owner = session.owner;
        let grown = session.state.len() >= words
            || kernel
                .as_owner(owner, || try_resize(&mut session.state, words))
                .is_ok();
        if grown {
            work(&mut session.state);
        }
        grown
    }
}

impl<M: Machine, O: Observer> Control for PtaCall<'_, '_, M, O> {
    fn kill(&self, uuid: TeeUuid) -> u32 {
        let mut killed = 0;
        loop {
            // One at a time: ending an instance may enter others.
            let next = {
                let mut state = self.kernel.state();
                let instances = &mut state.guest_mut(self.guest).instances;
                let next = instances.named().find(|(_, found)| {
                    let may_end = found.life != Life::Dead || found.is_kept_crashed();
                    found.uuid == uuid && !found.killed && may_end
                });
                let Some((instance, _)) = next else { break };
                let Some(found) = instances.at_mut(instance) else {
                    break;
                };
                found.killed = true;
                // A busy one ends on its own thread: at its next wait, or by the interrupt sent below.
                found.busy.is_none().then_some(instance)
            };
            killed += 1;
            match next {
                Some(instance) => self.call.borrow_mut().unclaim(instance),
                None => self.kernel.machine.interrupt_others(),
            }
        }
        killed
    }

    fn ree_time(&self) -> Result<TeeTime, TeeResult> {
        self.call.borrow_mut().rpc.time(&self.kernel.machine)
    }

    fn system_time(&self) -> TeeTime {
        TeeTime::from_millis(self.kernel.uptime_millis())
    }
}

impl<M: Machine, O: Observer> Entropy for PtaCall<'_, '_, M, O> {
    fn fill(&self, buf: &mut [u8]) {
        let machine = &self.kernel.machine;
        machine.interruptible(|| machine.random(buf));
    }

    fn rate(&self) -> u32 {
        let machine = &self.kernel.machine;
        let begun = machine.ticks();
        machine.random(&mut [0; MEASURED_BYTES]);
        let ticks = machine.ticks().saturating_sub(begun);
        per_second(MEASURED_BYTES as u64, ticks, machine.ticks_per_second())
    }
}

/// Bytes a second, one at least, of which so many took so many ticks, or less than one.
fn per_second(bytes: u64, ticks: u64, ticks_per_second: u64) -> u32 {
    let rate = bytes.saturating_mul(ticks_per_second) / ticks.max(1);
    u32::try_from(rate).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_rate_is_of_a_second_whatever_a_tick_is() {
        for (bytes, ticks, a_second, rate) in [
            (256, 0, 1000, 256_000),
            (256, 1, 1000, 256_000),
            (256, 2000, 1000, 128),
            (256, 1 << 40, 1000, 1),
            (256, 1, u64::MAX, u32::MAX),
        ] {
            assert_eq!(super::per_second(bytes, ticks, a_second), rate);
        }
    }
}
