//! Asking a pool, the kernel's or a TA's, in steps of bounded work.
//!
//! **Invariant:** the state is locked, and the heap is, for one step at a time; what is told of a pool that
//! changes between two steps was so at the time of some step.

use crate::book::Book;
use crate::heaps::question::{PoolError, Question, Step, answer};
use crate::heaps::ta_heap;
use crate::inspector::Inspector;
use crate::which::{Which, instance_from};
use tally_abi::pta::stats::AllocStats;
use tally_core::guest::Guest;
use tally_core::kernel::State;
use tally_core::ta::instance::{Instance, InstanceRef, Life};
use tally_mem::addr::PAGE_SIZE;
use tally_mem::machine::Machine;
use tally_mem::text::label;
use tally_records::PoolStats;

impl<M: Machine> Inspector<'_, M> {
    /// One step with the kernel heap (no TA is named), or with the heap of the first instance meant.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn ask_pool(
        &self,
        which: Which,
        cursor: u64,
        question: &mut Question<'_>,
    ) -> Result<Step, PoolError> {
        if which.uuid.is_none() {
            return self.heap().ask(cursor, question);
        }
        let state = self.state();
        let (_, found) = first_of(state.guest(self.guest), which)?;
        self.ask_ta(found, cursor, question)
    }

    /// One step with an instance's heap.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn ask_ta(
        &self,
        found: &Instance<Book>,
        cursor: u64,
        question: &mut Question<'_>,
    ) -> Result<Step, PoolError> {
        let (Some(space), Some(heap)) = (&found.space, found.heap) else {
            return Ok(Step::default());
        };
        // A heap that was reserved and not used yet has nothing.
        if space.heap().is_none_or(|heap| heap.committed == 0) {
            return Ok(Step::default());
        }
        let view =
            ta_heap::open(&self.machine, space, heap).map_err(|_| PoolError::Inconsistent)?;
        answer(&view, cursor, question, |address| {
            found.image_offset(address)
        })
    }

    /// The pool of pages that TAs draw from, under the name that `xtest --stats` knows.
    pub(crate) fn ta_ram(&self, state: &State<Book>) -> PoolStats {
        let figures = state.pages.figures();
        PoolStats {
            alloc: AllocStats {
                desc: label("Physical TA memory"),
                free2_sum: figures.free2_sum,
                allocated: clamp(figures.allocated),
                max_allocated: clamp(figures.max_allocated),
                size: clamp(figures.size),
                num_alloc_fail: figures.failures,
                biggest_alloc_fail: clamp(figures.biggest_failure),
                biggest_alloc_fail_used: clamp(figures.biggest_failure_used),
            },
            num_get: figures.gets,
            num_release: figures.releases,
            largest_free: figures.largest_free,
            live_blocks: figures.allocated / PAGE_SIZE as u64,
            promised: figures.promised,
            ..PoolStats::default()
        }
    }

    /// Where a pool begins, in the kernel's addresses or in the TA's; 0 if that is hidden.
    #[must_use]
    pub fn pool_base(&self, which: Which) -> u64 {
        if which.uuid.is_none() {
            return self.shown_address(self.heap().base());
        }
        let state = self.state();
        let base = first_of(state.guest(self.guest), which)
            .ok()
            .and_then(|(_, found)| found.heap);
        self.shown_address(base.map_or(0, |base| base.0))
    }
}

fn clamp(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The first instance meant that has memory, else the first that is not dead.
fn first_of(
    guest: &Guest<Book>,
    which: Which,
) -> Result<(InstanceRef, &Instance<Book>), PoolError> {
    let mut found = Err(PoolError::NotLoaded);
    let mut from = 0;
    while let Some((instance, meant)) = instance_from(guest, which, from) {
        if meant.space.is_some() {
            return Ok((instance, meant));
        }
        if meant.life != Life::Dead {
            found = found.or(Ok((instance, meant)));
        } else if found.is_err() {
            found = Err(PoolError::Dead);
        }
        from = instance.slot() + 1;
    }
    found
}
