//! Asking a pool, the kernel's or a TA's, in steps of bounded work.
//!
//! **Invariant:** the state is locked, and the heap is, for one step at a time; what is told of a pool that
//! changes between two steps was so at the time of some step.

use crate::book::Book;
use crate::heaps::c_heap;
use crate::heaps::question::{Course, PoolError, Question, Step, answer};
use crate::heaps::ta_heap;
use crate::inspector::Inspector;
use crate::selected::{instance_from, means};
use tally_abi::TeeUuid;
use tally_abi::pta::stats::AllocStats;
use tally_core::kernel::State;
use tally_core::ta::instance::{Instance, InstanceRef, Life};
use tally_mem::addr::PAGE_SIZE;
use tally_mem::machine::Machine;
use tally_mem::pages::PoolFigures;
use tally_mem::text::label;
use tally_records::{PoolRow, PoolStats, Selector, consistency, pool_kind};

/// One heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeapRef {
    /// The kernel's.
    Kernel,
    /// A TA's.
    Ta(InstanceRef),
}

impl HeapRef {
    /// Its place among all heaps: the kernel's first, then those of TAs by their slots.
    pub(crate) const fn place(self) -> usize {
        match self {
            Self::Kernel => 0,
            Self::Ta(instance) => 1 + instance.slot(),
        }
    }
}

impl<M: Machine> Inspector<'_, M> {
    /// The first heap that is meant at this place or behind it.
    pub(crate) fn heap_from(&self, selector: &Selector, place: usize) -> Option<HeapRef> {
        if place == 0 && selector.means_the_kernel() {
            return Some(HeapRef::Kernel);
        }
        let state = self.state();
        let mut instances = state.guest(self.guest).instances.named();
        instances.find_map(|(instance, found)| {
            let heap = HeapRef::Ta(instance);
            let wanted = heap.place() >= place && found.life == Life::Ready;
            (wanted && means(selector, found)).then_some(heap)
        })
    }

    /// The heaps that are meant.
    pub(crate) fn heaps(&self, selector: &Selector) -> impl Iterator<Item = HeapRef> {
        let mut place = 0;
        core::iter::from_fn(move || {
            let heap = self.heap_from(selector, place)?;
            place = heap.place() + 1;
            Some(heap)
        })
    }

    /// The kernel heap, or that of the first instance meant that has memory, else of the first that is not dead.
    ///
    /// # Errors
    /// [`PoolError::NotLoaded`], [`PoolError::Dead`].
    pub(crate) fn heap_of(&self, selector: &Selector) -> Result<HeapRef, PoolError> {
        if selector.means_the_kernel() {
            return Ok(HeapRef::Kernel);
        }
        let state = self.state();
        let guest = state.guest(self.guest);
        let mut heap = Err(PoolError::NotLoaded);
        let mut from = 0;
        while let Some((instance, found)) = instance_from(guest, selector, from) {
            if found.space.is_some() {
                return Ok(HeapRef::Ta(instance));
            }
            if found.life != Life::Dead {
                heap = heap.or(Ok(HeapRef::Ta(instance)));
            } else if heap.is_err() {
                heap = Err(PoolError::Dead);
            }
            from = instance.slot() + 1;
        }
        heap
    }

    /// The TA whose heap it is; nil: the kernel's.
    pub(crate) fn heap_owner(&self, heap: HeapRef) -> TeeUuid {
        match heap {
            HeapRef::Kernel => TeeUuid::nil(),
            HeapRef::Ta(instance) => {
                let state = self.state();
                let found = state.instance(instance);
                found.map(|found| found.uuid).unwrap_or_default()
            }
        }
    }

    /// One step with a heap, after which the course is where the next begins.
    ///
    /// # Errors
    /// [`PoolError`].
    pub(crate) fn ask_heap(
        &self,
        heap: HeapRef,
        course: &mut Course,
        question: &mut Question<'_>,
    ) -> Result<Step, PoolError> {
        let step = match heap {
            HeapRef::Kernel => self.heap().ask(course.at, question),
            HeapRef::Ta(instance) => {
                let state = self.state();
                let found = state.instance(instance).ok_or(PoolError::NotLoaded)?;
                if found.life == Life::Dead {
                    return Err(PoolError::Dead);
                }
                self.ask_ta(found, course, question)
            }
        }?;
        course.at = step.next;
        Ok(step)
    }

    /// One step with an instance's heap.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn ask_ta(
        &self,
        found: &Instance<Book>,
        course: &mut Course,
        question: &mut Question<'_>,
    ) -> Result<Step, PoolError> {
        let (Some(space), Some(heap)) = (&found.space, found.heap) else {
            return c_heap::ask(&self.machine, found, course, question);
        };
        // A heap that was reserved and not used yet has nothing.
        if space.heap().is_none_or(|heap| heap.committed == 0) {
            return Ok(Step::default());
        }
        let view =
            ta_heap::open(&self.machine, space, heap).map_err(|_| PoolError::Inconsistent)?;
        answer(&view, course.at, question, |address| {
            found.image_offset(address)
        })
    }

    /// The pool of pages that TAs draw from. Walks the records of all pages.
    pub(crate) fn ta_ram(&self, state: &State<Book>) -> PoolStats {
        pages_pool(&state.pages.figures())
    }

    /// The same by now, without a walk: where pages changed hands since it was `walked`, free runs are those of then.
    pub(crate) fn ta_ram_by_now(&self, state: &State<Book>, walked: &PoolStats) -> PoolStats {
        let now = pages_pool(&state.pages.figures_at_once());
        let key = |pool: &PoolStats| (pool.num_get, pool.num_release, pool.promised);
        let free = now.alloc.size.saturating_sub(now.alloc.allocated);
        let mut pool = PoolStats {
            largest_free: walked.largest_free.min(free.into()),
            ..now
        };
        pool.alloc.free2_sum = walked.alloc.free2_sum;
        if key(&now) != key(walked) {
            pool.inconsistent = consistency::CHANGING;
        }
        pool
    }

    /// The next pool: the kernel heap, the pages that TAs draw from, then every TA's heap; and where to go on.
    pub(crate) fn next_pool(&self, cursor: u64) -> Option<(PoolRow, u64)> {
        let row = |kind, instance, pool| PoolRow {
            pool,
            kind,
            instance,
        };
        match cursor {
            0 => {
                let pool = self.kernel_pool_in_steps();
                Some((row(pool_kind::KERNEL_HEAP, 0, pool), 1))
            }
            1 => Some((row(pool_kind::TA_MEMORY, 0, self.ta_ram(&self.state())), 2)),
            _ => {
                let mut from = cursor as usize - 2;
                loop {
                    let (instance, behind) = self.instance_after(from)?;
                    // One that has just gone has none.
                    if let Some(pool) = self.ta_pool_in_steps(instance) {
                        let row = row(pool_kind::TA_HEAP, instance.generation, pool);
                        return Some((row, behind as u64 + 2));
                    }
                    from = behind;
                }
            }
        }
    }

    /// Where a heap begins, in the kernel's addresses or in the TA's; 0 if that is hidden.
    pub(crate) fn heap_base(&self, heap: HeapRef) -> u64 {
        let base = match heap {
            HeapRef::Kernel => self.heap().base(),
            HeapRef::Ta(instance) => {
                let state = self.state();
                let found = state.instance(instance);
                found.map_or(0, |found| match found.heap {
                    Some(base) => base.0,
                    None => c_heap::base(&self.machine, found),
                })
            }
        };
        self.shown_address(base)
    }
}

fn clamp(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The pages' pool under the name that `xtest --stats` knows.
fn pages_pool(figures: &PoolFigures) -> PoolStats {
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
