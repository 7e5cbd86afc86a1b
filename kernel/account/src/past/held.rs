//! Things held: channels, mappings, shared memory and sessions that are not undone.

use crate::book::{Book, Trace};
use crate::inspector::Inspector;
use tally_core::guest::Guest;
use tally_core::kernel::State;
use tally_core::pta::buffers::{Channel, Mapping};
use tally_core::ta::session::{Opener, Session, Target};
use tally_mem::machine::Machine;
use tally_records::{HeldRow, Who, held};

/// Where the kind stands in a cursor, counted from 1 in the order of the list; below it is the number to go on from.
const KIND_SHIFT: u32 = 48;

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

    /// The next thing that is held, and where to go on.
    pub(crate) fn next_held(&self, cursor: u64) -> Option<(HeldRow, u64)> {
        let state = self.state();
        let guest = state.guest(self.guest);
        let from = cursor & ((1 << KIND_SHIFT) - 1);
        let behind = |kind: u64, number: u64| kind << KIND_SHIFT | (number + 1);
        let start = |kind: u64| {
            if cursor >> KIND_SHIFT == kind {
                from
            } else {
                0
            }
        };
        let kind = cursor >> KIND_SHIFT;
        if kind <= 1 {
            let channels = guest.buffers.channels().iter();
            let later = channels.filter(|channel| u64::from(channel.id) >= start(1));
            if let Some(channel) = later.min_by_key(|channel| channel.id) {
                return Some((channel_row(guest, channel), behind(1, channel.id.into())));
            }
        }
        if kind <= 2 {
            let mappings = guest.buffers.mappings().iter();
            let number = |mapping: &&Mapping<Trace>| u64::from(mapping.node().number);
            let later = mappings.filter(|mapping| number(mapping) >= start(2));
            if let Some(mapping) = later.min_by_key(number) {
                return Some((
                    self.mapping_row(&state, mapping),
                    behind(2, number(&mapping)),
                ));
            }
        }
        if kind <= 3 {
            let mut shared = guest.shm.registered();
            if let Some(one) = shared.find(|one| one.slot as u64 >= start(3)) {
                let row = HeldRow {
                    kind: held::SHARED_MEMORY,
                    bytes: one.bytes,
                    place: one.cookie,
                    at_ms: one.since_ms,
                    uses: one.uses,
                    ..HeldRow::default()
                };
                return Some((row, behind(3, one.slot as u64)));
            }
        }
        let sessions = guest
            .sessions
            .iter()
            .filter(|(slot, _)| *slot as u64 >= start(4));
        let mut held = sessions.filter_map(|(slot, session)| {
            let row = self.session_row(&state, session)?;
            Some((row, behind(4, slot as u64)))
        });
        held.next()
    }
}
