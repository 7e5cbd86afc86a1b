//! Memory references too large to be taken in, mapped, copied or unmapped at one go: in steps, between which
//! interrupts and other CPUs have their turn.
//!
//! **Invariant:** no lock is held between two steps; whatever fails, nothing stays mapped or lent. The callee is claimed,
//! and does not run.

use crate::call::Call;
use crate::call::args::{Arg, ArgMemory, Args, is_input, is_output};
use crate::call::shm::{STEP_BYTES, ShmRef};
use crate::kernel::{Kernel, State, page_count};
use crate::observer::Observer;
use crate::ta::enter::Mapped;
use crate::ta::instance::InstanceRef;
use tally_abi::TeeResult;
use tally_mem::addr::{PAGE_SIZE, UserVa};
use tally_mem::machine::Machine;
use tally_mem::mem::Mem;
use tally_mem::region::{Place, Prot, RegionKind};

/// Bytes copied between two TAs in a step: some 10,000 instructions.
pub(crate) const COPY_BYTES: u64 = 8 * 1024;
/// Pages unmapped in a step: some 5,000 instructions at most.
const UNMAP_PAGES: u32 = 64;

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Maps those parameters that are too large for one step. After an error none of them is mapped.
    ///
    /// # Errors
    /// `TARGET_DEAD` when the instance ended, `OUT_OF_MEMORY` and the like when there is no room.
    #[cold]
    pub(crate) fn map_large(
        &self,
        instance: InstanceRef,
        args: &Args,
        mapped: &mut Mapped,
    ) -> Result<(), TeeResult> {
        let large = args
            .items
            .iter()
            .enumerate()
            .filter(|(_, arg)| arg.is_large());
        for (index, item) in large {
            let Arg::Memref { memory, given, .. } = item else {
                continue;
            };
            let kind = args.kind(index);
            let done = match memory {
                ArgMemory::Null => Ok(()),
                ArgMemory::Shm(shm_ref, offset) => {
                    let prot = if is_output(kind) {
                        Prot::READ_WRITE
                    } else {
                        Prot::READ
                    };
                    let part = (*offset, *given);
                    self.map_in_steps(instance, shm_ref, part, prot, index, mapped)
                }
                ArgMemory::Ta(caller, from) => {
                    let room = self.make_room(instance, *given);
                    room.and_then(|va| {
                        mapped[index] = Some(va);
                        if is_input(kind) {
                            self.copy_in_steps((*caller, *from), (instance, va), *given)
                        } else {
                            Ok(())
                        }
                    })
                }
            };
            if let Err(err) = done {
                self.unmap_in_steps(instance, mapped);
                return Err(err);
            }
        }
        Ok(())
    }

    /// Copies what a TA put out in large references of another TA's, unless something failed before, and unmaps all
    /// that is large.
    ///
    /// # Errors
    /// That of before; `TARGET_DEAD`, `ACCESS_DENIED`, `OUT_OF_MEMORY`.
    #[cold]
    pub(crate) fn end_large(
        &self,
        instance: InstanceRef,
        args: &Args,
        mapped: &Mapped,
        before: Result<(), TeeResult>,
    ) -> Result<(), TeeResult> {
        let mut copied = before;
        let mut large = Mapped::default();
        for (index, item) in args.items.iter().enumerate() {
            let Some(va) = mapped[index].filter(|_| item.is_large()) else {
                continue;
            };
            large[index] = Some(va);
            if let Arg::Memref {
                memory: ArgMemory::Ta(caller, to),
                given,
                size,
            } = item
                && is_output(args.kind(index))
                && copied.is_ok()
            {
                let len = (*size).min(*given);
                copied = self.copy_in_steps((instance, va), (*caller, *to), len);
            }
        }
        self.unmap_in_steps(instance, &large);
        copied
    }

    /// Unmaps parameters.
    fn unmap_in_steps(&self, instance: InstanceRef, mapped: &Mapped) {
        let kernel = self.kernel;
        for va in mapped.iter().flatten() {
            loop {
                let mut state = kernel.state();
                let (pages, guest) = state.split(instance.guest());
                let found = guest.instances.at_mut(instance);
                let Some(space) = found.and_then(|found| found.space.as_mut()) else {
                    return;
                };
                let mut memory = Mem::new(pages, &kernel.machine);
                if space.unmap_last(&mut memory, va.page_base(), UNMAP_PAGES) {
                    break;
                }
                drop(state);
                kernel.breathe();
            }
            kernel.breathe();
        }
    }

    /// Maps zeroed pages for what another TA passes on.
    fn make_room(&self, instance: InstanceRef, len: u64) -> Result<UserVa, TeeResult> {
        let kernel = self.kernel;
        let place = Place::random(kernel.random_u64());
        let mut state = kernel.state();
        let (pages, guest) = state.split(instance.guest());
        let found = guest.to_grow(instance).ok_or(TeeResult::TARGET_DEAD)?;
        let owner = found.owner;
        let space = found.space.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
        let bytes = len
            .checked_next_multiple_of(PAGE_SIZE as u64)
            .ok_or(TeeResult::OUT_OF_MEMORY)?;
        let mut memory = Mem::new(pages, &kernel.machine);
        Ok(kernel.as_owner(owner, || {
            let kind = RegionKind::Param;
            space.map_zero(&mut memory, kind, bytes, Prot::READ_WRITE, place)
        })?)
    }

    /// Copies between two TAs' address spaces.
    fn copy_in_steps(
        &self,
        from: (InstanceRef, UserVa),
        to: (InstanceRef, UserVa),
        len: u64,
    ) -> Result<(), TeeResult> {
        let kernel = self.kernel;
        let mut done = 0;
        while done < len {
            let bytes = (len - done).min(COPY_BYTES);
            let at = |(instance, va): (InstanceRef, UserVa)| (instance, UserVa(va.0 + done));
            kernel.copy_between(&mut kernel.state(), at(from), at(to), bytes)?;
            done += bytes;
            kernel.breathe();
        }
        Ok(())
    }

    /// Maps bytes of an object, from the first one of `part` on and as many as its second says.
    fn map_in_steps(
        &self,
        instance: InstanceRef,
        shm_ref: &ShmRef,
        (offset, len): (u64, u64),
        prot: Prot,
        index: usize,
        mapped: &mut Mapped,
    ) -> Result<(), TeeResult> {
        let kernel = self.kernel;
        let (owner, first) = {
            let state = kernel.state();
            let shm = state.guest(instance.guest()).shm.object(shm_ref);
            let found = state.instance(instance);
            let owner = found.ok_or(TeeResult::TARGET_DEAD)?.owner;
            let shm = shm.ok_or(TeeResult::BAD_PARAMETERS)?;
            let first = (shm.first_offset() as u64 + offset) % PAGE_SIZE as u64;
            (owner, first)
        };
        let count = page_count(first + len)?;
        let va = kernel.as_owner(owner, || {
            let mut state = kernel.state();
            let (pages, guest) = state.split(instance.guest());
            let found = guest.to_grow(instance);
            let space = found.and_then(|found| found.space.as_mut());
            let place = Place::random(kernel.random_u64());
            let mut memory = Mem::new(pages, &kernel.machine);
            let space = space.ok_or(TeeResult::TARGET_DEAD)?;
            let va = space.begin_normal(&mut memory, count, first as usize, prot, place)?;
            Ok::<_, TeeResult>(va)
        })?;
        mapped[index] = Some(va);
        let mut done = 0;
        while done < len {
            // Up to the end of a page, so that no page is in two steps.
            let bytes = (len - done).min(STEP_BYTES - (first + done) % PAGE_SIZE as u64);
            kernel.map_step(
                &mut kernel.state(),
                instance,
                shm_ref,
                (offset + done, bytes),
                va,
            )?;
            done += bytes;
            kernel.machine.interruptible(|| ());
        }
        Ok(())
    }
}

impl<M: Machine, O: Observer> Kernel<M, O> {
    fn map_step(
        &self,
        state: &mut State<O>,
        instance: InstanceRef,
        shm_ref: &ShmRef,
        (offset, len): (u64, u64),
        va: UserVa,
    ) -> Result<(), TeeResult> {
        let (pages, guest) = state.split(instance.guest());
        let shm = guest.shm.object(shm_ref).ok_or(TeeResult::BAD_PARAMETERS)?;
        let found = guest.instances.at_mut(instance);
        let space = found.and_then(|found| found.space.as_mut());
        let space = space.ok_or(TeeResult::TARGET_DEAD)?;
        let count = page_count((shm.first_offset() as u64 + offset) % PAGE_SIZE as u64 + len)?;
        let mut memory = Mem::new(pages, &self.machine);
        Ok(space.map_next(&mut memory, va, shm.pages(offset, len), count)?)
    }
}
