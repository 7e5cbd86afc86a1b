//! Wrong orders noted and said: who, where, and what they go against.

use crate::book::{Book, Trace};
use crate::inspector::Inspector;
use crate::past::wrong_orders::{Closed, Event, StackId};
use tally_core::kernel::State;
use tally_core::observer::WrongOrder;
use tally_core::ta::obituary;
use tally_core::ta::session::Caller;
use tally_mem::machine::Machine;
use tally_mem::text::TextBuffer;
use tally_records::{EventRow, Stack, Who, event};

impl<M: Machine> Inspector<'_, M> {
    /// Where a TA stands that called the kernel, and where the kernel does that told the observer: this is part
    /// of the observer's function.
    #[inline(always)]
    pub(crate) fn stack_of(&self, state: &State<Book>, caller: &Caller) -> Stack {
        let mut stack = Stack::default();
        self.heap().call_stack(&mut stack.kernel);
        if let Some(instance) = state.instance(caller.instance) {
            let mut frames = stack.ta.iter_mut();
            obituary::walk_frames(&self.machine, instance, caller.frame, |pc| {
                // Addresses outside of the image say nothing to anybody.
                let Some(offset) = instance.image_offset(pc) else {
                    return false;
                };
                frames.next().map(|frame| *frame = offset).is_some()
            });
        }
        stack
    }

    /// Who calls.
    pub(crate) fn who(&self, state: &State<Book>, caller: &Caller) -> Who {
        let guest = state.guest(self.guest);
        let instance = guest.instances.at(caller.instance);
        let mut sessions = guest.sessions.iter();
        let served = sessions.find(|(_, session)| session.id == caller.session);
        let (login, client) = served.map_or_else(Default::default, |(_, s)| (s.login, s.client));
        Who {
            ta: instance.map(|found| found.uuid).unwrap_or_default(),
            session: caller.session,
            login,
            client,
            pta_session: caller.target,
            instance: caller.instance.generation,
        }
    }

    /// Notes a wrong order; the event's number if it happened for the first time.
    #[inline(always)]
    pub(crate) fn note_order(
        &self,
        state: &mut State<Book>,
        order: WrongOrder<Trace>,
    ) -> Option<u64> {
        let now_ms = self.uptime_millis();
        let stack = match &order {
            WrongOrder::CloseBeforeUnmap { caller, .. }
            | WrongOrder::UnmapWithoutChannel { caller, .. } => self.stack_of(state, caller),
            WrongOrder::EndBeforeClose { .. } => Stack::default(),
        };
        match order {
            WrongOrder::CloseBeforeUnmap {
                caller,
                channel,
                opened,
                mappings,
                bytes,
                mapped,
            } => {
                let orders = &mut state.guest_mut(self.guest).book.orders;
                let stack = orders.keep(&stack);
                let event = Event {
                    kind: event::CLOSE_BEFORE_UNMAP,
                    channel,
                    mappings,
                    bytes,
                    cause: 0,
                    who: opened.who,
                    stack,
                    earlier: mapped.stack,
                };
                let (number, is_first) = orders.note(event, now_ms);
                orders.remember(Closed {
                    channel,
                    instance: caller.instance,
                    event: number,
                    stack,
                    bytes,
                });
                is_first.then_some(number)
            }
            WrongOrder::UnmapWithoutChannel { caller, channel } => {
                let orders = &state.guest(self.guest).book.orders;
                let closed = orders.closed(channel, caller.instance)?;
                let who = self.who(state, &caller);
                let orders = &mut state.guest_mut(self.guest).book.orders;
                let stack = orders.keep(&stack);
                let event = Event {
                    kind: event::UNMAP_AFTER_CLOSE,
                    channel,
                    mappings: 1,
                    bytes: closed.bytes,
                    cause: closed.event,
                    who,
                    stack,
                    earlier: closed.stack,
                };
                let (number, is_first) = orders.note(event, now_ms);
                orders.release(stack);
                is_first.then_some(number)
            }
            WrongOrder::EndBeforeClose {
                channel,
                opened,
                mappings,
                bytes,
            } => {
                let event = Event {
                    kind: event::END_BEFORE_CLOSE,
                    channel,
                    mappings,
                    bytes,
                    cause: 0,
                    who: opened.who,
                    stack: StackId::NONE,
                    earlier: opened.stack,
                };
                let (number, is_first) =
                    state.guest_mut(self.guest).book.orders.note(event, now_ms);
                is_first.then_some(number)
            }
        }
    }

    /// Says on the secure console what happened, and where.
    pub(crate) fn say(&self, number: u64) {
        let row = self.state().guest(self.guest).book.orders.numbered(number);
        let Some(row) = row else { return };
        let Who {
            ta,
            session,
            login,
            client,
            pta_session,
            ..
        } = row.who;
        let (channel, mappings, bytes) = (row.channel, row.mappings, row.bytes);
        let (what, at, earlier) = match row.kind {
            event::CLOSE_BEFORE_UNMAP => ("closed before it was unmapped", "closed", "mapped"),
            event::UNMAP_AFTER_CLOSE => ("unmapped after it was closed", "unmapped", "closed"),
            _ => ("never closed", "ended", "opened"),
        };
        log::warn!(
            "audit {}: channel {channel} {what}, {mappings} mappings, {bytes} bytes",
            row.number
        );
        log::warn!(
            " TA {ta} for session {session:#x} of client {client}, login {login:#x}; its session {pta_session:#x}"
        );
        self.say_stack(&row, at, &row.stack);
        self.say_stack(&row, earlier, &row.earlier);
    }

    fn say_stack(&self, row: &EventRow, what: &str, stack: &Stack) {
        if *stack == Stack::default() {
            return;
        }
        log::warn!(" {what} at:");
        for frame in stack.ta.iter().take_while(|&&frame| frame != 0) {
            log::warn!("  {}+{frame:#x}", row.who.ta);
        }
        for frame in stack.kernel.iter().take_while(|&&frame| frame != 0) {
            let mut name = TextBuffer::<160>::EMPTY;
            if self.heap().name_site(*frame, &mut name) {
                log::warn!("  {}", name.text());
            } else {
                log::warn!("  kernel+{frame:#x}");
            }
        }
    }
}
