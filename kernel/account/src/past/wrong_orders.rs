//! Wrong orders: a ring of events, and the call stacks that they name.
//!
//! **Invariant:** bounded: a full ring drops its oldest event and counts it, a call stack without
//! room is counted and shown as none. A call stack stays as long as something names it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use tally_core::ta::instance::InstanceRef;
use tally_mem::fallible::{HeapExhausted, vec_with_capacity};
use tally_records::{EventRow, Stack, Who};

/// Events kept.
pub const MAX_EVENTS: usize = 32;
/// Different call stacks kept.
pub const MAX_STACKS: usize = 48;

/// Channels remembered that were closed too early.
const MAX_CLOSED: usize = 32;

/// Names a call stack that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackId(u16);

impl StackId {
    /// None, or no room for it.
    pub const NONE: Self = Self(u16::MAX);
}

/// Something done in the wrong order.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// One of [`tally_records::event`].
    pub kind: u32,
    /// Channel.
    pub channel: u32,
    /// Mappings concerned.
    pub mappings: u32,
    /// Bytes of them.
    pub bytes: u64,
    /// Number of the event that came before, or 0.
    pub cause: u64,
    /// Who did it.
    pub who: Who,
    /// Where.
    pub stack: StackId,
    /// What it goes against.
    pub earlier: StackId,
}

#[derive(Debug)]
struct Noted {
    event: Event,
    number: u64,
    at_ms: u64,
    last_ms: u64,
    times: u64,
}

#[derive(Debug)]
struct Kept {
    stack: Stack,
    uses: u32,
}

/// A channel that was closed while it had mappings.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// The channel.
    pub channel: u32,
    /// The TA that closed it.
    pub instance: InstanceRef,
    /// Number of the event.
    pub event: u64,
    /// Where it was closed.
    pub stack: StackId,
    /// Bytes that it had mapped.
    pub bytes: u64,
}

/// Counts of what was seen and what had no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events ever, repeated ones too.
    pub events: u64,
    /// Events that the ring has no more.
    pub dropped: u64,
    /// Call stacks that had no room.
    pub stacks_dropped: u64,
}

/// Events and call stacks.
#[derive(Debug, Default)]
pub struct WrongOrders {
    stacks: Vec<Kept>,
    events: VecDeque<Noted>,
    closed: Vec<Closed>,
    /// Number of the last event.
    count: u64,
    totals: Totals,
}

impl WrongOrders {
    /// Nothing happened yet. All the memory that it will ever need is taken now.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn new() -> Result<Self, HeapExhausted> {
        let mut events = VecDeque::new();
        events
            .try_reserve_exact(MAX_EVENTS)
            .map_err(|_| HeapExhausted)?;
        Ok(Self {
            stacks: vec_with_capacity(MAX_STACKS)?,
            events,
            closed: vec_with_capacity(MAX_CLOSED)?,
            count: 0,
            totals: Totals::default(),
        })
    }

    /// Keeps a call stack until [`Self::release`].
    pub fn keep(&mut self, stack: &Stack) -> StackId {
        let same = self.stacks.iter().position(|kept| kept.stack == *stack);
        let unused = || self.stacks.iter().position(|kept| kept.uses == 0);
        let at = match same.or_else(unused) {
            Some(at) => at,
            None if self.stacks.len() < MAX_STACKS => {
                self.stacks.push(Kept {
                    stack: *stack,
                    uses: 0,
                });
                self.stacks.len() - 1
            }
            None => {
                self.totals.stacks_dropped += 1;
                return StackId::NONE;
            }
        };
        self.stacks[at].stack = *stack;
        self.stacks[at].uses += 1;
        StackId(at as u16)
    }

    /// Keeps it for one more.
    pub fn keep_also(&mut self, id: StackId) -> StackId {
        if let Some(kept) = self.stacks.get_mut(usize::from(id.0)) {
            kept.uses += 1;
        }
        id
    }

    /// One needs it no more.
    pub fn release(&mut self, id: StackId) {
        if let Some(kept) = self.stacks.get_mut(usize::from(id.0)) {
            kept.uses = kept.uses.saturating_sub(1);
        }
    }

    /// The frames.
    #[must_use]
    pub fn stack(&self, id: StackId) -> Stack {
        let kept = self.stacks.get(usize::from(id.0));
        kept.map(|kept| kept.stack).unwrap_or_default()
    }

    /// Notes an event, which keeps its call stacks by itself; its number, and whether it is the
    /// first of its kind.
    pub fn note(&mut self, event: Event, now_ms: u64) -> (u64, bool) {
        self.totals.events += 1;
        let key = |e: &Event| (e.kind, e.who, e.stack, e.earlier);
        let again = self.events.iter_mut().rev();
        if let Some(noted) = again
            .into_iter()
            .find(|noted| key(&noted.event) == key(&event))
        {
            noted.times += 1;
            noted.last_ms = now_ms;
            return (noted.number, false);
        }
        if self.events.len() == MAX_EVENTS
            && let Some(oldest) = self.events.pop_front()
        {
            self.totals.dropped += 1;
            self.release(oldest.event.stack);
            self.release(oldest.event.earlier);
        }
        self.keep_also(event.stack);
        self.keep_also(event.earlier);
        self.count += 1;
        self.events.push_back(Noted {
            event,
            number: self.count,
            at_ms: now_ms,
            last_ms: now_ms,
            times: 1,
        });
        (self.count, true)
    }

    /// Remembers a channel that was closed too early, in place of the oldest.
    pub fn remember(&mut self, closed: Closed) {
        if self.closed.len() == MAX_CLOSED {
            let forgotten = self.closed.remove(0);
            self.release(forgotten.stack);
        }
        self.closed.push(closed);
    }

    /// The channel of this TA that was closed too early, if it is remembered.
    #[must_use]
    pub fn closed(&self, channel: u32, instance: InstanceRef) -> Option<Closed> {
        let mut closed = self.closed.iter();
        let found = closed.find(|c| c.channel == channel && c.instance == instance);
        found.copied()
    }

    /// Forgets the channels that this TA closed too early, since the TA ends.
    pub fn forget_closed(&mut self, instance: InstanceRef) {
        while let Some(at) = self.closed.iter().position(|c| c.instance == instance) {
            let forgotten = self.closed.remove(at);
            self.release(forgotten.stack);
        }
    }

    /// The next event, oldest first, and where to go on.
    #[must_use]
    pub fn next(&self, cursor: u64) -> Option<(EventRow, u64)> {
        let noted = self.events.iter().find(|noted| noted.number > cursor)?;
        Some((self.row(noted), noted.number))
    }

    fn row(&self, noted: &Noted) -> EventRow {
        let event = &noted.event;
        EventRow {
            number: noted.number,
            at_ms: noted.at_ms,
            last_ms: noted.last_ms,
            times: noted.times,
            kind: event.kind,
            channel: event.channel,
            mappings: event.mappings,
            reserved: 0,
            bytes: event.bytes,
            cause: event.cause,
            who: event.who,
            stack: self.stack(event.stack),
            earlier: self.stack(event.earlier),
        }
    }

    /// The event of this number, if the ring has it still.
    #[must_use]
    pub fn numbered(&self, number: u64) -> Option<EventRow> {
        let noted = self.events.iter().find(|noted| noted.number == number);
        noted.map(|noted| self.row(noted))
    }

    /// Counts.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(frame: u64) -> Stack {
        Stack {
            ta: [frame; 8],
            kernel: [frame; 8],
        }
    }

    fn oldest(audit: &WrongOrders) -> Option<EventRow> {
        audit.next(0).map(|(row, _)| row)
    }

    fn event(kind: u32, stack: StackId) -> Event {
        Event {
            kind,
            channel: 1,
            mappings: 1,
            bytes: 4096,
            cause: 0,
            who: Who::default(),
            stack,
            earlier: StackId::NONE,
        }
    }

    #[test]
    fn the_same_event_again_is_counted_in_its_row() {
        let mut audit = WrongOrders::new().unwrap();
        let at = audit.keep(&stack(1));
        assert_eq!(audit.note(event(0, at), 10), (1, true));
        assert_eq!(audit.note(event(0, at), 20), (1, false));
        let row = oldest(&audit).unwrap();
        assert_eq!((row.times, row.at_ms, row.last_ms), (2, 10, 20));
        assert_eq!(row.stack, stack(1));
        assert!(audit.next(1).is_none());
    }

    #[test]
    fn a_full_ring_counts_what_it_drops() {
        let mut audit = WrongOrders::new().unwrap();
        for kind in 0..MAX_EVENTS as u32 + 3 {
            audit.note(event(kind, StackId::NONE), 0);
        }
        assert_eq!(audit.totals().dropped, 3);
        assert_eq!(oldest(&audit).unwrap().kind, 3);
        assert!(audit.numbered(3).is_none());
        assert_eq!(audit.numbered(4).unwrap().kind, 3);
    }

    #[test]
    fn a_call_stack_stays_as_long_as_something_names_it() {
        let mut audit = WrongOrders::new().unwrap();
        let first = audit.keep(&stack(0));
        audit.note(event(0, first), 0);
        audit.release(first);
        for n in 1..MAX_STACKS as u64 {
            assert_ne!(audit.keep(&stack(n)), StackId::NONE);
        }
        assert_eq!(audit.keep(&stack(1000)), StackId::NONE);
        assert_eq!(audit.totals().stacks_dropped, 1);
        assert_eq!(oldest(&audit).unwrap().stack, stack(0));
        // The ring goes round, and the first one's place serves another.
        for kind in 1..=MAX_EVENTS as u32 {
            audit.note(event(kind, StackId::NONE), 0);
        }
        assert_eq!(audit.keep(&stack(1000)), first);
    }
}
