//! System calls by which a TA's heap comes to be and grows.
//!
//! **Invariant:** a heap that may not grow is as it was, and is reported once, by the call that says what the memory
//! was for.
//! **Knows nothing of:** what the TA makes of the pages, but for where its pool has the alarm.

use crate::call::Call;
use crate::instance::InstanceRef;
use crate::kernel::State;
use crate::oom::{self, Limit, Refusal};
use crate::ta_heap;
use tally_abi::TeeResult;
use tally_abi::pta::watch::trigger;
use tally_mem::addr::UserVa;
use tally_mem::machine::{Access, Machine, UserContext};
use tally_mem::mem::Mem;
use zerocopy::IntoBytes;

/// Largest heap a TA can set aside addresses for.
const MAX_HEAP: u64 = 1 << 30;

impl<M: Machine> Call<'_, M> {
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
        let State { guest, .. } = &mut *state;
        let quota = u64::from(guest.ta_quota_pages) * tally_mem::addr::PAGE_SIZE as u64;
        if max_bytes > quota {
            return Err(TeeResult::OUT_OF_MEMORY);
        }
        let found = guest
            .instances
            .at_mut(instance)
            .ok_or(TeeResult::TARGET_DEAD)?;
        if found.heap.is_some() {
            return Err(TeeResult::BAD_STATE);
        }
        let owner = found.owner;
        let space = found.space.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
        space.check_access(out, size_of::<u64>() as u64, Access::Write)?;
        let max_bytes = max_bytes.next_multiple_of(tally_mem::addr::PAGE_SIZE as u64);
        let base = kernel.as_owner(owner, || space.heap_reserve(max_bytes, random))?;
        found.heap = Some(base);
        kernel.write_ta(&mut state, instance, out, base.0.as_bytes())
    }

    pub(super) fn sys_heap_grow(
        &mut self,
        instance: InstanceRef,
        context: &UserContext,
    ) -> Result<(), TeeResult> {
        let [bytes, size] = [context.x[0], context.x[1]];
        let Err(limit) = self.grow_heap(instance, bytes)? else {
            return Ok(());
        };
        // A size is told once all was tried: that is a refused allocation of the TA's.
        if size != 0 {
            let refusal = Refusal {
                size,
                wanted: bytes,
                limit,
            };
            self.report_heap(instance, context, &refusal);
            self.note_refused(instance, Some(size));
            self.capture(trigger::FAILURE, instance, size);
            self.note_refused(instance, None);
        }
        Err(TeeResult::OUT_OF_MEMORY)
    }

    /// While the TA does not know of a refusal, its heap's figures count it all the same.
    fn note_refused(&self, instance: InstanceRef, size: Option<u64>) {
        let mut state = self.kernel.state();
        if let Some(found) = state.guest.instances.at_mut(instance) {
            found.remembered.set_refused(size);
        }
    }

    fn grow_heap(&self, instance: InstanceRef, bytes: u64) -> Result<Result<(), Limit>, TeeResult> {
        let kernel = self.kernel;
        let mut state = kernel.state();
        let State {
            pages,
            guest,
            snapshots,
            ..
        } = &mut *state;
        let found = guest
            .instances
            .at_mut(instance)
            .ok_or(TeeResult::TARGET_DEAD)?;
        let owner = found.owner;
        let space = found.space.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
        let heap = space.heap().ok_or(TeeResult::BAD_STATE)?;
        let is_first = heap.committed == 0;
        if is_first {
            found.heap_mark = guest.marks.last();
        }
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
            // Told by the caller, and not again.
            space.take_refused();
            pages.take_refused();
        } else if is_first
            && let Some(alarm) = snapshots.heap_alarm(found.uuid)
            && let Some(base) = found.heap
        {
            // The pool that the TA makes of these pages keeps it.
            ta_heap::set_first_alarm(&mut Mem::new(pages, &kernel.machine), space, base, alarm);
        }
        Ok(grown.map(drop).map_err(Limit::from))
    }

    /// Says that a heap does not grow: on the console, in the log, and to who asks.
    fn report_heap(&self, instance: InstanceRef, context: &UserContext, refusal: &Refusal) {
        let kernel = self.kernel;
        let machine = &kernel.machine;
        let Some(pool) = kernel.ta_pool_in_steps(instance) else {
            return;
        };
        let mut state = kernel.state();
        let State {
            pages,
            guest,
            last_oom,
            ..
        } = &mut *state;
        let Some(found) = guest.instances.at(instance) else {
            return;
        };
        *last_oom = oom::report(machine, pages, found, context, refusal, &pool);
        let mut row = oom::failure_row(machine, pages, found, context, refusal, &pool);
        row.at_ms = kernel.uptime_millis();
        kernel.note_failure(&row, None);
    }
}
