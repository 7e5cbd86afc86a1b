//! Mapping buffers into the TA that asks.
//!
//! **Invariant:** what fails leaves nothing mapped and no page taken; at most one mapping is undone
//! under one lock.

use crate::kernel::{Kernel, State};
use crate::observer::{Observer, WrongOrder};
use crate::pta::buffers::{BufferError, BufferObject, Channel, RegionNode};
use crate::pta::services::{BufferServices, PtaCall};
use crate::refused::Refused;
use crate::ta::session::Caller;
use tally_abi::TeeResult;
use tally_abi::pta::vdec::MAX_BYTES;
use tally_mem::addr::{PAGE_SHIFT, UserVa, pages_for};
use tally_mem::machine::Machine;
use tally_mem::mem::Mem;
use tally_mem::pages::PageUse;
use tally_mem::region::{Place, RegionKind};

impl<M: Machine, O: Observer> PtaCall<'_, '_, M, O> {
    pub(super) fn asking(&self) -> Result<Caller, TeeResult> {
        self.caller.ok_or(TeeResult::ACCESS_DENIED)
    }

    /// Maps `pages` pages for a channel that was found, charged to the TA.
    fn map(
        &self,
        state: &mut State<O>,
        caller: &Caller,
        channel: u32,
        pages: u32,
        mapped: O::Trace,
    ) -> Result<UserVa, TeeResult> {
        let kernel = self.kernel;
        if let Err(refused) = state.guest(self.guest).admit_buffer(caller.instance) {
            state.refuse(Refused::Entry(refused));
            return Err(BufferError::OutOfMemory.into());
        }
        let (allocator, guest) = state.split(self.guest);
        guest.share_quota(caller.instance);
        let buffers = &mut guest.buffers;
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
        let placed = kernel.as_owner(owner, || {
            let mut memory = Mem::new(allocator, &kernel.machine);
            let place = Place::random(kernel.random_u64());
            let kind = RegionKind::Buffer;
            let va = space.map_lent(&mut memory, kind, frames(), pages, place)?;
            let node = RegionNode {
                number: 0,
                channel,
                slot: caller.instance.slot() as u32,
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
                .add(caller.instance, mapped, node, object)
                .map_err(|err| {
                    let bytes = u64::from(pages) << PAGE_SHIFT;
                    let undone = space.unmap(&mut memory, va, bytes);
                    debug_assert_eq!(undone, Ok(()), "a buffer that was just mapped");
                    TeeResult::from(err)
                })?;
            Ok(va)
        });
        if placed.is_err() {
            for frame in frames() {
                let freed = allocator.free(frame);
                debug_assert_eq!(freed, Ok(()), "a page that was just taken");
            }
        }
        placed
    }
}

impl<M: Machine, O: Observer> BufferServices for PtaCall<'_, '_, M, O> {
    fn open_channel(&self) -> Result<u32, TeeResult> {
        let caller = self.asking()?;
        let mut state = self.kernel.state();
        if let Err(refused) = state.guest(self.guest).admit_channel(caller.instance) {
            state.refuse(Refused::Entry(refused));
            return Err(BufferError::OutOfMemory.into());
        }
        let opened = O::trace(self.kernel, &mut state, &caller);
        let id = state.guest_mut(self.guest).buffers.open(Channel {
            id: 0,
            instance: caller.instance,
            session: caller.target,
            opened,
        });
        if id.is_err() {
            O::release(&mut state, self.guest, opened);
        }
        Ok(id?)
    }

    fn close_channel(&self, id: u32) -> Result<(), TeeResult> {
        let caller = self.asking()?;
        let kernel = self.kernel;
        let said = {
            let mut state = kernel.state();
            let buffers = &state.guest(self.guest).buffers;
            let found = buffers.channel(id, caller.instance, caller.target);
            let opened = found.ok_or(BufferError::NoChannel)?.opened;
            let (mappings, bytes, mapped) = buffers.through(id);
            let said = match mapped {
                Some(mapped) => {
                    let order = WrongOrder::CloseBeforeUnmap {
                        caller,
                        channel: id,
                        opened,
                        mappings,
                        bytes,
                        mapped,
                    };
                    O::wrong_order(kernel, &mut state, self.guest, order)
                }
                None => None,
            };
            Kernel::<M, O>::forget_channel(&mut state, self.guest, id);
            said
        };
        if let Some(event) = said {
            O::say(kernel, self.guest, event);
        }
        loop {
            let mut state = kernel.state();
            if state.guest(self.guest).buffers.is_faulty() {
                // The fault that tests switch on: nobody undoes what the TA did not.
                return Ok(());
            }
            let Some(at) = state.guest(self.guest).buffers.find_by_channel(id) else {
                return Ok(());
            };
            let mapping = state.guest_mut(self.guest).buffers.take(at);
            kernel.undo(&mut state, mapping);
        }
    }

    fn map_buffer(&self, id: u32, bytes: u32) -> Result<u64, TeeResult> {
        let caller = self.asking()?;
        if bytes == 0 || bytes > MAX_BYTES {
            return Err(BufferError::BadSize.into());
        }
        let mut state = self.kernel.state();
        let buffers = &state.guest(self.guest).buffers;
        let found = buffers.channel(id, caller.instance, caller.target);
        found.ok_or(BufferError::NoChannel)?;
        let mapped = O::trace(self.kernel, &mut state, &caller);
        let pages = pages_for(bytes as usize) as u32;
        let placed = self.map(&mut state, &caller, id, pages, mapped);
        if placed.is_err() {
            O::release(&mut state, self.guest, mapped);
        }
        placed.map(|va| va.0)
    }

    fn unmap_buffer(&self, id: u32, va: u64) -> Result<(), TeeResult> {
        let caller = self.asking()?;
        let kernel = self.kernel;
        let said = {
            let mut state = kernel.state();
            let buffers = &mut state.guest_mut(self.guest).buffers;
            if buffers
                .channel(id, caller.instance, caller.target)
                .is_some()
            {
                let at = buffers.find(caller.instance, id, UserVa(va));
                let at = at.ok_or(BufferError::NotMapped)?;
                let mapping = buffers.take(at);
                kernel.undo(&mut state, mapping);
                return Ok(());
            }
            let order = WrongOrder::UnmapWithoutChannel {
                caller,
                channel: id,
            };
            O::wrong_order(kernel, &mut state, self.guest, order)
        };
        if let Some(event) = said {
            O::say(kernel, self.guest, event);
        }
        Err(BufferError::NoChannel.into())
    }

    fn end_session(&self, session: u32) {
        self.kernel.end_buffers_of_session(self.guest, session);
    }
}
