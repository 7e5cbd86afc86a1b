//! System calls by which a TA's heap comes to be and grows.
//!
//! **Invariant:** a heap that may not grow is as it was, and is reported once, by the call that says what the memory
//! was for.

use crate::call::Call;
use crate::observer::{Limit, Observer, Refusal};
use crate::ta::instance::InstanceRef;
use tally_abi::TeeResult;
use tally_mem::addr::{PAGE_SIZE, UserVa};
use tally_mem::machine::{Access, Machine, UserContext};
use tally_mem::mem::Mem;
use zerocopy::IntoBytes;

/// Largest heap a TA can set aside addresses for.
const MAX_HEAP: u64 = 1 << 30;

impl<M: Machine, O: Observer> Call<'_, M, O> {
    #[inline(never)]
    pub(super) fn sys_heap_reserve(
        &self,
        instance: InstanceRef,
        max_bytes: u64,
        out: UserVa,
    ) -> Result<(), TeeResult> {
        let kernel = self.kernel;
        let random = kernel.random_u64();
        if max_bytes == 0 || max_bytes > MAX_HEAP {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let mut state = kernel.state();
        let (pages, guest) = state.split(instance.guest());
        let found = guest.to_grow(instance).ok_or(TeeResult::TARGET_DEAD)?;
        if found.heap.is_some() {
            return Err(TeeResult::BAD_STATE);
        }
        let owner = found.owner;
        let space = found.space.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
        space.check_access(out, size_of::<u64>() as u64, Access::Write)?;
        let max_bytes = max_bytes.next_multiple_of(PAGE_SIZE as u64);
        let mut memory = Mem::new(pages, &kernel.machine);
        space.check_window(&mut memory, (max_bytes / PAGE_SIZE as u64) as u32)?;
        let base = kernel.as_owner(owner, || space.heap_reserve(&mut memory, max_bytes, random))?;
        found.heap = Some(base);
        kernel.write_ta(&mut state, instance, out, base.0.as_bytes())
    }

    #[inline(never)]
    pub(super) fn sys_heap_grow(
        &mut self,
        instance: InstanceRef,
        context: &UserContext,
    ) -> Result<(), TeeResult> {
        let [bytes, size] = [context.x[0], context.x[1]];
        let Err(limit) = self.grow_heap(instance, bytes, size == 0)? else {
            return Ok(());
        };
        // A size is told once all was tried: that is a refused allocation of the TA's.
        if size != 0 {
            let refusal = Refusal {
                size,
                wanted: bytes,
                limit,
            };
            O::heap_refused(self.kernel, instance, context, &refusal);
        }
        Err(TeeResult::OUT_OF_MEMORY)
    }

    fn grow_heap(
        &self,
        instance: InstanceRef,
        bytes: u64,
        is_attempt: bool,
    ) -> Result<Result<(), Limit>, TeeResult> {
        let kernel = self.kernel;
        let mut state = kernel.state();
        let (pages, guest) = state.split(instance.guest());
        let found = guest.to_grow(instance).ok_or(TeeResult::TARGET_DEAD)?;
        let owner = found.owner;
        let space = found.space.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
        let heap = space.heap().ok_or(TeeResult::BAD_STATE)?;
        let is_first = heap.committed == 0;
        let more = bytes.saturating_sub(heap.committed);
        if more == 0 {
            return Ok(Ok(()));
        }
        if bytes > heap.max {
            return Ok(Err(Limit::HeapSize));
        }
        let mut memory = Mem::new(pages, &kernel.machine);
        let grown = kernel.as_owner(owner, || space.heap_grow(&mut memory, more));
        if grown.is_err() {
            // Told by the caller, and not again. What something else follows does not count.
            if is_attempt {
                pages.withdraw_refused();
            } else {
                pages.settle_refused();
            }
        } else if is_first {
            O::heap_begins(kernel, &mut state, instance);
        }
        Ok(grown.map(drop).map_err(Limit::from))
    }
}
