//! What is held and not undone, and the events of the audit, for clients.
//!
//! **Invariant:** changes nothing but the test-only fault.
//! **Knows nothing of:** how wrong orders are noticed.

use super::CallServices;
use crate::audit::Totals;
use crate::buffers::{Channel, Mapping};
use crate::kernel::State;
use crate::pta_api::AuditServices;
use crate::session::{Opener, Session, Target};
use tally_abi::pta::audit::{EventRow, HeldRow, Who, held, ledger};
use tally_abi::pta::inspect::CommandRow;
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::machine::Machine;

fn channel_row(state: &State, channel: &Channel) -> HeldRow {
    HeldRow {
        kind: held::CHANNEL,
        handle: channel.id,
        who: channel.who,
        bytes: state.buffers.through(channel.id).1,
        at_ms: channel.at_ms,
        stack: state.audit.stack(channel.stack),
        ..HeldRow::default()
    }
}

impl<M: Machine> CallServices<'_, M> {
    fn mapping_row(&self, state: &State, mapping: &Mapping) -> HeldRow {
        HeldRow {
            kind: held::MAPPING,
            handle: mapping.node().channel,
            who: mapping.who,
            bytes: mapping.bytes(),
            place: self.kernel.shown_address(mapping.va().0),
            at_ms: mapping.object().at_ms,
            stack: state.audit.stack(mapping.stack),
            ..HeldRow::default()
        }
    }

    fn session_row(&self, state: &State, session: &Session) -> Option<HeldRow> {
        let Opener::Ta(instance) = session.opener else {
            return None;
        };
        let opener = state.guest.instances.at(instance);
        let target = match session.target {
            Target::Pseudo(index) => self.kernel.ptas.get(index).map(|pta| pta.uuid),
            Target::Ta(target) => state.guest.instances.at(target).map(|found| found.uuid),
        };
        Some(HeldRow {
            kind: held::SESSION,
            handle: session.id,
            who: Who {
                ta: opener.map(|found| found.uuid).unwrap_or_default(),
                instance: instance.generation,
                ..Who::default()
            },
            target: target.unwrap_or_default(),
            ..HeldRow::default()
        })
    }
}

impl<M: Machine> AuditServices for CallServices<'_, M> {
    fn held(&self, index: usize) -> Option<HeldRow> {
        let state = self.kernel.state();
        let channels = state.buffers.channels().iter();
        let mappings = state.buffers.mappings().iter();
        let shared = state.guest.shm.registered().map(|(cookie, bytes)| HeldRow {
            kind: held::SHARED_MEMORY,
            bytes,
            place: cookie,
            ..HeldRow::default()
        });
        let sessions = state.guest.sessions.iter();
        channels
            .map(|channel| channel_row(&state, channel))
            .chain(mappings.map(|mapping| self.mapping_row(&state, mapping)))
            .chain(shared)
            .chain(sessions.filter_map(|(_, session)| self.session_row(&state, session)))
            .nth(index)
    }

    fn audit_event(&self, index: usize) -> Option<EventRow> {
        self.kernel.state().audit.row(index)
    }

    fn audit_totals(&self) -> Totals {
        self.kernel.state().audit.totals()
    }

    fn command(&self, uuid: TeeUuid, index: usize) -> Option<CommandRow> {
        self.kernel.state().commands.row(uuid, index).copied()
    }

    fn commands_dropped(&self) -> u64 {
        self.kernel.state().commands.dropped()
    }

    fn ledger(&self, uuid: TeeUuid, what: u32) -> Result<(), TeeResult> {
        let mut state = self.kernel.state();
        match what {
            ledger::DETAIL | ledger::PLAIN => {
                if !state.commands.set_detail(uuid, what == ledger::DETAIL) {
                    return Err(TeeResult::OUT_OF_MEMORY);
                }
            }
            ledger::CLEAR => state.commands.clear(uuid),
            _ => return Err(TeeResult::BAD_PARAMETERS),
        }
        Ok(())
    }

    fn set_buffer_fault(&self, on: bool) -> Result<(), TeeResult> {
        if self.kernel.fault.is_none() {
            return Err(TeeResult::NOT_SUPPORTED);
        }
        let lost = self.kernel.state().buffers.set_faulty(on);
        // Without the lock: there can be many.
        drop(lost);
        Ok(())
    }
}
