//! Audit answers: held resources, and the events of the audit.
//!
//! **Invariant:** changes nothing but the test-only fault.

use crate::api::AuditServices;
use crate::book::{Book, Trace};
use crate::inspector::Inspector;
use crate::past::wrong_orders::Totals;
use tally_abi::pta::audit::ledger;
use tally_abi::{TeeResult, TeeUuid};
use tally_core::guest::Guest;
use tally_core::kernel::State;
use tally_core::pta::buffers::{Channel, Mapping};
use tally_core::ta::session::{Opener, Session, Target};
use tally_mem::machine::Machine;
use tally_records::CommandRow;
use tally_records::EventRow;
use tally_records::HeldRow;
use tally_records::Who;
use tally_records::held;

fn channel_row(guest: &Guest<Book>, channel: &Channel<Trace>) -> HeldRow {
    HeldRow {
        kind: held::CHANNEL,
        handle: channel.id,
        who: channel.opened.who,
        bytes: guest.buffers.through(channel.id).1,
        at_ms: channel.opened.at_ms,
        stack: guest.book.orders.stack(channel.opened.stack),
        ..HeldRow::default()
    }
}

impl<M: Machine> Inspector<'_, M> {
    fn mapping_row(&self, state: &State<Book>, mapping: &Mapping<Trace>) -> HeldRow {
        HeldRow {
            kind: held::MAPPING,
            handle: mapping.node().channel,
            who: mapping.mapped.who,
            bytes: mapping.bytes(),
            place: self.shown_address(mapping.va().0),
            at_ms: mapping.object().at_ms,
            stack: state
                .guest(self.guest)
                .book
                .orders
                .stack(mapping.mapped.stack),
            ..HeldRow::default()
        }
    }

    fn session_row(&self, state: &State<Book>, session: &Session) -> Option<HeldRow> {
        let Opener::Ta(instance) = session.opener else {
            return None;
        };
        let opener = state.instance(instance);
        let target = match session.target {
            Target::Pseudo(index) => self.ptas.get(usize::from(index)).map(|pta| pta.uuid),
            Target::Ta(target) => state.instance(target).map(|found| found.uuid),
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

impl<M: Machine> AuditServices for Inspector<'_, M> {
    fn held(&self, index: usize) -> Option<HeldRow> {
        let look = self;
        let state = self.state();
        let channels = state.guest(self.guest).buffers.channels().iter();
        let mappings = state.guest(self.guest).buffers.mappings().iter();
        let shared = state
            .guest(self.guest)
            .shm
            .registered()
            .map(|(cookie, bytes)| HeldRow {
                kind: held::SHARED_MEMORY,
                bytes,
                place: cookie,
                ..HeldRow::default()
            });
        let sessions = state.guest(self.guest).sessions.iter();
        channels
            .map(|channel| channel_row(state.guest(self.guest), channel))
            .chain(mappings.map(|mapping| look.mapping_row(&state, mapping)))
            .chain(shared)
            .chain(sessions.filter_map(|(_, session)| look.session_row(&state, session)))
            .nth(index)
    }

    fn audit_event(&self, index: usize) -> Option<EventRow> {
        self.state().guest(self.guest).book.orders.row(index)
    }

    fn audit_totals(&self) -> Totals {
        self.state().guest(self.guest).book.orders.totals()
    }

    fn command(&self, uuid: TeeUuid, index: usize) -> Option<CommandRow> {
        self.state()
            .guest(self.guest)
            .book
            .commands
            .row(uuid, index)
            .copied()
    }

    fn commands_dropped(&self) -> u64 {
        self.state().guest(self.guest).book.commands.dropped()
    }

    fn ledger(&self, uuid: TeeUuid, what: u32) -> Result<(), TeeResult> {
        let mut state = self.state();
        match what {
            ledger::DETAIL | ledger::PLAIN => {
                if !state
                    .guest_mut(self.guest)
                    .book
                    .commands
                    .set_detail(uuid, what == ledger::DETAIL)
                {
                    return Err(TeeResult::OUT_OF_MEMORY);
                }
            }
            ledger::CLEAR => state.guest_mut(self.guest).book.commands.clear(uuid),
            _ => return Err(TeeResult::BAD_PARAMETERS),
        }
        Ok(())
    }

    fn set_buffer_fault(&self, on: bool) -> Result<(), TeeResult> {
        if self.fault.is_none() {
            return Err(TeeResult::NOT_SUPPORTED);
        }
        let lost = self.state().guest_mut(self.guest).buffers.set_faulty(on);
        // Without the lock: there can be many.
        drop(lost);
        Ok(())
    }
}
