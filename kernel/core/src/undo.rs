//! What becomes of channels and buffers when a session or a TA ends, and what is said of a wrong
//! order.
//!
//! **Invariant:** a TA that ends leaves no channel, no mapping and no page of a buffer; a bounded
//! number of each is undone.
//! **Knows nothing of:** who asked for them in the first place.

use crate::audit::{Event, StackId};
use crate::buffers::{Channel, Mapping};
use crate::call::Caller;
use crate::instance::InstanceRef;
use crate::kernel::{Kernel, State};
use crate::obituary;
use tally_abi::pta::audit::{EventRow, Stack, Who, event};
use tally_mem::machine::Machine;
use tally_mem::mem::Mem;
use tally_mem::text::TextBuffer;

impl<M: Machine> Kernel<M> {
    /// Where a TA stands that called the kernel, and where the kernel does.
    #[inline(never)]
    pub fn stack_of(&self, state: &State, caller: &Caller) -> Stack {
        let mut stack = Stack::default();
        self.heap.call_stack(&mut stack.kernel);
        if let Some(instance) = state.guest.instances.at(caller.instance) {
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

    /// Who asks.
    pub fn who(&self, state: &State, caller: &Caller) -> Who {
        let instance = state.guest.instances.at(caller.instance);
        let sessions = &state.guest.sessions;
        let served = sessions.iter().find(|(_, s)| s.id == caller.session);
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

    /// Notes an event; its row, if it happened for the first time.
    pub fn note(&self, state: &mut State, event: Event) -> (u64, Option<EventRow>) {
        let (number, first) = state.audit.note(event, self.uptime_millis());
        let row = first.then(|| state.audit.numbered(number)).flatten();
        (number, row)
    }

    /// Frees the memory of a mapping that is not in its TA any more. By the test-only fault, its
    /// objects stay.
    pub fn discard(&self, state: &mut State, mapping: Mapping) {
        let object = *mapping.object();
        for n in 0..object.pages {
            let freed = state.pages.free(object.first.offset(n));
            debug_assert_eq!(freed, Ok(()), "a buffer's page that nobody knows");
        }
        state.audit.release(mapping.stack);
        let buffers = &mut state.buffers;
        self.as_owner(tally_mem::owner::OwnerId::STATS, || buffers.lose(mapping));
    }

    /// Unmaps a mapping from its TA, if that lives, and discards it.
    pub fn undo(&self, state: &mut State, mapping: Mapping) {
        let State { pages, guest, .. } = state;
        let instance = guest.instances.at_mut(mapping.instance());
        if let Some(space) = instance.and_then(|found| found.space.as_mut()) {
            let (va, bytes) = (mapping.va(), mapping.bytes());
            let undone = space.unmap(&mut Mem::new(pages, &self.machine), va, bytes);
            if let Err(err) = undone {
                // The pages stay in use rather than be somebody else's.
                log::error!("buffer stays mapped: {err:?}");
                return;
            }
        }
        self.discard(state, mapping);
    }

    /// A TA ended, and its address space is gone: so are its channels and buffers.
    pub fn end_buffers_of(&self, state: &mut State, instance: InstanceRef) {
        while let Some(closed) = state.buffers.forget_closed(instance) {
            state.audit.release(closed.stack);
        }
        let owned = |channel: &&Channel| channel.instance == instance;
        let mut said = None;
        for n in 0..state.buffers.channels().len() {
            if let Some(channel) = state.buffers.channels().iter().filter(owned).nth(n) {
                let channel = *channel;
                said = self.note_end(state, &channel).or(said);
            }
        }
        while let Some(at) = state.buffers.find_by_instance(instance) {
            let mapping = state.buffers.take(at);
            self.discard(state, mapping);
        }
        while let Some(id) = state.buffers.channel_of_instance(instance) {
            self.forget_channel(state, id);
        }
        if let Some(row) = said {
            self.say(&row);
        }
    }

    /// A session to a pseudo-TA is closed: so are its channels, and their buffers are unmapped.
    pub fn end_buffers_of_session(&self, state: &mut State, session: u32) {
        while let Some(id) = state.buffers.channel_of_session(session) {
            let found = state.buffers.channels().iter().find(|c| c.id == id);
            let said = found
                .copied()
                .and_then(|channel| self.note_end(state, &channel));
            while let Some(at) = state.buffers.find_by_channel(id) {
                let mapping = state.buffers.take(at);
                self.undo(state, mapping);
            }
            self.forget_channel(state, id);
            if let Some(row) = said {
                self.say(&row);
            }
        }
    }

    /// Takes a channel out, and what it keeps.
    pub fn forget_channel(&self, state: &mut State, id: u32) {
        if let Some(channel) = state.buffers.remove_channel(id) {
            state.audit.release(channel.stack);
        }
    }

    fn note_end(&self, state: &mut State, channel: &Channel) -> Option<EventRow> {
        let (mappings, bytes, _) = state.buffers.through(channel.id);
        let event = Event {
            kind: event::END_BEFORE_CLOSE,
            channel: channel.id,
            mappings,
            bytes,
            cause: 0,
            who: channel.who,
            stack: StackId::NONE,
            earlier: channel.stack,
        };
        self.note(state, event).1
    }

    /// Says on the secure console what happened, and where.
    pub fn say(&self, row: &EventRow) {
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
        self.say_stack(row, at, &row.stack);
        self.say_stack(row, earlier, &row.earlier);
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
            if self.heap.name_site(*frame, &mut name) {
                log::warn!("  {}", name.text());
            } else {
                log::warn!("  kernel+{frame:#x}");
            }
        }
    }
}
