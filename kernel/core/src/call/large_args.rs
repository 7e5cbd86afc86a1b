//! Memory references too large to be taken in, or mapped, at one go: in steps, between which interrupts and
//! other CPUs have their turn.
//!
//! **Invariant:** no lock is held between two steps; whatever fails, nothing stays mapped or lent.

use crate::call::Call;
use crate::call::args::{Arg, ArgMemory, Args, is_output};
use crate::call::shm::{STEP_BYTES, ShmRef, is_large};
use crate::kernel::{Kernel, State, page_count};
use crate::observer::Observer;
use crate::ta::enter::Mapped;
use crate::ta::instance::InstanceRef;
use tally_abi::TeeResult;
use tally_mem::addr::{PAGE_SIZE, UserVa};
use tally_mem::machine::Machine;
use tally_mem::mem::Mem;
use tally_mem::region::{Place, Prot};

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
        for (index, item) in args.items.iter().enumerate() {
            if let Arg::Memref {
                memory: ArgMemory::Shm(shm_ref, offset),
                given,
                ..
            } = item
                && is_large(*given)
            {
                let prot = if is_output(args.kind(index)) {
                    Prot::READ_WRITE
                } else {
                    Prot::READ
                };
                let part = (*offset, *given);
                if let Err(err) = self.map_in_steps(instance, shm_ref, part, prot, index, mapped) {
                    let mut state = self.kernel.state();
                    self.kernel.unmap_params(&mut state, instance, mapped);
                    return Err(err);
                }
            }
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
