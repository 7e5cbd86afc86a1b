//! Channels and buffers at the end of a session or a TA.
//!
//! **Invariant:** a TA that ends leaves no channel, no mapping and no page of a buffer; a bounded
//! number of each is undone.

use crate::guest_id::GuestId;
use crate::kernel::{Kernel, State};
use crate::observer::{Observer, WrongOrder};
use crate::pta::buffers::{Channel, Mapping};
use crate::ta::instance::InstanceRef;
use tally_mem::machine::Machine;
use tally_mem::mem::Mem;
use tally_mem::owner::OwnerId;

impl<M: Machine, O: Observer> Kernel<M, O> {
    /// Frees the memory of a mapping that is not in its TA any more. By the test-only fault, its
    /// objects stay.
    pub(super) fn discard(&self, state: &mut State<O>, mapping: Mapping<O::Trace>) {
        let guest = mapping.instance.guest();
        let object = *mapping.object();
        for n in 0..object.pages {
            let freed = state.pages.free(object.first.offset(n));
            debug_assert_eq!(freed, Ok(()), "a buffer's page that nobody knows");
        }
        O::release(state, guest, mapping.mapped);
        let buffers = &mut state.guest_mut(guest).buffers;
        self.as_owner(OwnerId::STATS, || buffers.lose(mapping));
    }

    /// Unmaps a mapping from its TA, if that lives, and discards it.
    pub(super) fn undo(&self, state: &mut State<O>, mapping: Mapping<O::Trace>) {
        let (pages, guest) = state.split(mapping.instance.guest());
        let instance = guest.instances.at_mut(mapping.instance);
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

    /// A TA ended, and its address space is gone: so are its channels and buffers, one under one lock.
    pub(crate) fn end_buffers_of(&self, instance: InstanceRef) {
        let guest = instance.guest();
        // What each channel has is told before any of it goes.
        let mut told = None;
        loop {
            let mut state = self.state();
            let channels = state.guest(guest).buffers.channels().iter();
            let owned = channels.filter(|channel| channel.instance == instance);
            let untold = owned.filter(|channel| told.is_none_or(|id| channel.id > id));
            let Some(channel) = untold.min_by_key(|channel| channel.id).copied() else {
                break;
            };
            told = Some(channel.id);
            self.note_end(&mut state, guest, &channel);
            drop(state);
            self.breathe();
        }
        loop {
            let mut state = self.state();
            let Some(at) = state.guest(guest).buffers.find_by_instance(instance) else {
                break;
            };
            let mapping = state.guest_mut(guest).buffers.take(at);
            self.discard(&mut state, mapping);
            drop(state);
            self.breathe();
        }
        let mut state = self.state();
        while let Some(id) = state.guest(guest).buffers.channel_of_instance(instance) {
            Self::forget_channel(&mut state, guest, id);
        }
    }

    /// A session to a pseudo-TA is closed: so are its channels, and their buffers are unmapped, one
    /// under one lock.
    pub(super) fn end_buffers_of_session(&self, guest: GuestId, session: u32) {
        loop {
            let mut state = self.state();
            let Some(id) = state.guest(guest).buffers.channel_of_session(session) else {
                return;
            };
            let mut channels = state.guest(guest).buffers.channels().iter();
            let found = channels.find(|channel| channel.id == id).copied();
            let said = found.and_then(|channel| self.note_end(&mut state, guest, &channel));
            while let Some(at) = state.guest(guest).buffers.find_by_channel(id) {
                let mapping = state.guest_mut(guest).buffers.take(at);
                self.undo(&mut state, mapping);
                drop(state);
                self.breathe();
                state = self.state();
            }
            Self::forget_channel(&mut state, guest, id);
            drop(state);
            if let Some(event) = said {
                O::say(self, guest, event);
            }
        }
    }

    /// Takes a channel out, and what it keeps.
    pub(super) fn forget_channel(state: &mut State<O>, guest: GuestId, id: u32) {
        if let Some(channel) = state.guest_mut(guest).buffers.remove_channel(id) {
            O::release(state, guest, channel.opened);
        }
    }

    fn note_end(
        &self,
        state: &mut State<O>,
        guest: GuestId,
        channel: &Channel<O::Trace>,
    ) -> Option<u64> {
        let (mappings, bytes, _) = state.guest(guest).buffers.through(channel.id);
        let order = WrongOrder::EndBeforeClose {
            channel: channel.id,
            opened: channel.opened,
            mappings,
            bytes,
        };
        O::wrong_order(self, state, guest, order)
    }
}
