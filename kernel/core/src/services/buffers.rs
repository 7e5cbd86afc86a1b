//! Mapping buffers into the TA that asks, and noticing when it is done in the wrong order.
//!
//! **Invariant:** what fails leaves nothing mapped and no page taken; at most one mapping is undone
//! under one lock.
//! **Knows nothing of:** which pseudo-TA it does this for.

use super::CallServices;
use crate::audit::{Event, StackId};
use crate::buffers::{BufferError, BufferObject, Channel, Closed, RegionNode};
use crate::call::Caller;
use crate::kernel::State;
use crate::pta_api::BufferServices;
use tally_abi::TeeResult;
use tally_abi::pta::audit::event;
use tally_abi::pta::vdec::MAX_BYTES;
use tally_mem::addr::{PAGE_SHIFT, UserVa, pages_for};
use tally_mem::machine::Machine;
use tally_mem::mem::Mem;
use tally_mem::pages::PageUse;
use tally_mem::region::{Place, Prot, RegionKind};

impl<M: Machine> CallServices<'_, M> {
    fn asking(&self) -> Result<Caller, TeeResult> {
        self.caller.ok_or(TeeResult::ACCESS_DENIED)
    }

    /// Maps `pages` pages for a channel that was found, charged to the TA.
    fn map(
        &self,
        state: &mut State,
        caller: &Caller,
        channel: &Channel,
        pages: u32,
        stack: StackId,
    ) -> Result<UserVa, TeeResult> {
        let kernel = self.kernel;
        if !state.buffers.has_room() {
            return Err(BufferError::OutOfMemory.into());
        }
        let State {
            pages: allocator,
            guest,
            buffers,
            ..
        } = state;
        let found = guest.instances.at_mut(caller.instance);
        let found = found.ok_or(TeeResult::TARGET_DEAD)?;
        let owner = found.owner;
        let space = found.space.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
        let first = allocator
            .alloc_adjacent(pages, PageUse::SecureBuffer, owner)
            .map_err(|_| TeeResult::OUT_OF_MEMORY)?;
        let frames = || (0..u64::from(pages)).map(move |n| first.offset(n));
        for frame in frames() {
            kernel.machine.zero_page(frame);
        }
        let mapped = kernel.as_owner(owner, || {
            let mut memory = Mem::new(allocator, &kernel.machine);
            let place = Place::random(kernel.random_u64());
            let kind = RegionKind::Buffer;
            let va =
                space.map_borrowed(&mut memory, kind, frames(), pages, Prot::READ_WRITE, place)?;
            let node = RegionNode {
                number: 0,
                channel: channel.id,
                slot: caller.instance.slot as u32,
                generation: caller.instance.generation,
                first_page: (va.0 >> PAGE_SHIFT) as u32,
                pages,
                session: caller.session,
            };
            let object = BufferObject {
                first,
                pages: u64::from(pages),
                at_ms: kernel.uptime_millis(),
                number: 0,
            };
            buffers
                .add(channel.who, stack, node, object)
                .map_err(|err| {
                    let bytes = u64::from(pages) << PAGE_SHIFT;
                    let undone = space.unmap(&mut memory, va, bytes);
                    debug_assert_eq!(undone, Ok(()), "a buffer that was just mapped");
                    TeeResult::from(err)
                })?;
            Ok(va)
        });
        if mapped.is_err() {
            for frame in frames() {
                let freed = allocator.free(frame);
                debug_assert_eq!(freed, Ok(()), "a page that was just taken");
            }
        }
        mapped
    }
}

impl<M: Machine> BufferServices for CallServices<'_, M> {
    fn open_channel(&self) -> Result<u32, TeeResult> {
        let caller = self.asking()?;
        let kernel = self.kernel;
        let mut state = kernel.state();
        let stack = kernel.stack_of(&state, &caller);
        let stack = state.audit.keep(&stack);
        let channel = Channel {
            id: 0,
            instance: caller.instance,
            who: kernel.who(&state, &caller),
            stack,
            at_ms: kernel.uptime_millis(),
        };
        let opened = state.buffers.open(channel);
        if opened.is_err() {
            state.audit.release(stack);
        }
        Ok(opened?)
    }

    fn close_channel(&self, id: u32) -> Result<(), TeeResult> {
        let caller = self.asking()?;
        let kernel = self.kernel;
        let said = {
            let mut state = kernel.state();
            let found = state.buffers.channel(id, caller.instance, caller.target);
            let channel = *found.ok_or(BufferError::NoChannel)?;
            let (mappings, bytes, mapped_at) = state.buffers.through(id);
            let mut said = None;
            if mappings != 0 {
                let stack = kernel.stack_of(&state, &caller);
                let stack = state.audit.keep(&stack);
                let event = Event {
                    kind: event::CLOSE_BEFORE_UNMAP,
                    channel: id,
                    mappings,
                    bytes,
                    cause: 0,
                    who: channel.who,
                    stack,
                    earlier: mapped_at,
                };
                let (number, row) = kernel.note(&mut state, event);
                said = row;
                let forgotten = state.buffers.remember(Closed {
                    channel: id,
                    instance: caller.instance,
                    event: number,
                    stack,
                    bytes,
                });
                if let Some(forgotten) = forgotten {
                    state.audit.release(forgotten.stack);
                }
            }
            kernel.forget_channel(&mut state, id);
            said
        };
        if let Some(row) = said {
            kernel.say(&row);
        }
        loop {
            let mut state = kernel.state();
            if state.buffers.is_faulty() {
                // The fault that tests switch on: nobody undoes what the TA did not.
                return Ok(());
            }
            let Some(at) = state.buffers.find_by_channel(id) else {
                return Ok(());
            };
            let mapping = state.buffers.take(at);
            kernel.undo(&mut state, mapping);
        }
    }

    fn map_buffer(&self, id: u32, bytes: u32) -> Result<u64, TeeResult> {
        let caller = self.asking()?;
        if bytes == 0 || bytes > MAX_BYTES {
            return Err(BufferError::BadSize.into());
        }
        let kernel = self.kernel;
        let mut state = kernel.state();
        let found = state.buffers.channel(id, caller.instance, caller.target);
        let channel = *found.ok_or(BufferError::NoChannel)?;
        let stack = kernel.stack_of(&state, &caller);
        let stack = state.audit.keep(&stack);
        let pages = pages_for(bytes as usize) as u32;
        let mapped = self.map(&mut state, &caller, &channel, pages, stack);
        if mapped.is_err() {
            state.audit.release(stack);
        }
        mapped.map(|va| va.0)
    }

    fn unmap_buffer(&self, id: u32, va: u64) -> Result<(), TeeResult> {
        let caller = self.asking()?;
        let kernel = self.kernel;
        let said = {
            let mut state = kernel.state();
            let open = state.buffers.channel(id, caller.instance, caller.target);
            if open.is_some() {
                let at = state.buffers.find(caller.instance, id, UserVa(va));
                let at = at.ok_or(BufferError::NotMapped)?;
                let mapping = state.buffers.take(at);
                kernel.undo(&mut state, mapping);
                return Ok(());
            }
            let closed = state.buffers.closed(id, caller.instance);
            let closed = closed.ok_or(BufferError::NoChannel)?;
            let stack = kernel.stack_of(&state, &caller);
            let stack = state.audit.keep(&stack);
            let event = Event {
                kind: event::UNMAP_AFTER_CLOSE,
                channel: id,
                mappings: 1,
                bytes: closed.bytes,
                cause: closed.event,
                who: kernel.who(&state, &caller),
                stack,
                earlier: closed.stack,
            };
            let (_, row) = kernel.note(&mut state, event);
            state.audit.release(stack);
            row
        };
        if let Some(row) = said {
            kernel.say(&row);
        }
        Err(BufferError::NoChannel.into())
    }
}
