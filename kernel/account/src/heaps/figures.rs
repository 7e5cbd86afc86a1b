//! All figures of a heap, a TA's or the kernel's, walked in steps.
//!
//! **Invariant:** figures that a heap's owner changed while they were read are not called inconsistent. Those of a walk are
//! not mixed with later ones: then those of the header are given. What is brought up to date in a snapshot's moment
//! has bytes of that moment and blocks and calls of before, or of a C TA all figures of before, and says that it is changing.

use crate::book::Book;
use crate::heaps::c_heap;
use crate::heaps::question::{Course, PoolError, Question, Step};
use crate::heaps::ta_heap::{self, pool_stats};
use crate::inspector::Inspector;
use tally_core::ta::instance::{Instance, InstanceRef};
use tally_ledger::{Chunk, ChunkKind, Stats};
use tally_mem::machine::Machine;
use tally_mem::text::label;
use tally_records::PoolStats;
use tally_records::consistency;

/// Chunks looked at under one lock.
const STEP: usize = 64;
/// How often a walk is begun anew because the heap was changed meanwhile.
const TRIES: usize = 3;

/// What a walk has found so far.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    blocks: u64,
    bytes: u64,
    usable: u64,
    overhead: u64,
    free: u64,
    free2_sum: u64,
    largest: u64,
    /// Bytes of the free chunk that may go on.
    run: u64,
    /// Where that chunk would go on.
    run_end: usize,
}

impl Walk {
    fn add(&mut self, chunk: &Chunk) {
        let size = chunk.size as u64;
        match chunk.kind {
            ChunkKind::Free | ChunkKind::Kept => {
                if !chunk.joins || self.run_end != chunk.offset {
                    self.end_run();
                }
                self.run += size;
                self.run_end = chunk.offset + chunk.size;
                if !chunk.joins {
                    self.end_run();
                }
            }
            ChunkKind::Overhead => {
                self.end_run();
                self.overhead += size;
            }
            ChunkKind::Block(block) => {
                self.end_run();
                self.blocks += 1;
                self.bytes += block.size as u64;
                self.usable += block.usable as u64;
            }
        }
    }

    fn end_run(&mut self) {
        let run = core::mem::take(&mut self.run);
        self.free += run;
        self.free2_sum = self.free2_sum.wrapping_add(run.wrapping_mul(run));
        self.largest = self.largest.max(run);
    }

    /// The figures, if they add up to what the header says.
    fn finish(mut self, mut stats: Stats) -> Option<Stats> {
        self.end_run();
        let adds_up = self.usable + self.free + self.overhead == stats.size
            && self.blocks == stats.live_blocks
            && self.bytes == stats.allocated;
        stats.free_bytes = self.free;
        stats.free2_sum = self.free2_sum;
        stats.largest_free = self.largest;
        stats.usable = self.usable;
        stats.block_metadata = self.overhead;
        stats.metadata += self.overhead;
        adds_up.then_some(stats)
    }
}

/// Whose heap is walked.
#[derive(Clone, Copy)]
enum Walked {
    Kernel,
    Ta(InstanceRef),
}

/// What came of one walk.
enum Outcome {
    /// These are all figures.
    Whole(Stats),
    /// The heap was changed meanwhile; these are the header's figures now.
    Changed(Stats),
    /// The books do not add up, and nobody changed them.
    Inconsistent(Stats),
    /// There is no pool to read.
    None,
}

/// The figures of an instance's heap, put right and with its name.
fn named_pool(found: &Instance<Book>, mut pool: PoolStats) -> PoolStats {
    found.notes.maxima.correct(&mut pool.alloc);
    pool.owner = found.uuid;
    pool.alloc.desc = label("TA heap");
    pool
}

impl<M: Machine> Inspector<'_, M> {
    /// What the books of a TA's heap say of it without a walk: all but the free chunks, nothing of a C TA's. Its last
    /// figures if it is dead.
    #[must_use]
    pub fn ta_pool_at_once(&self, found: &Instance<Book>) -> PoolStats {
        if let Some(remains) = &found.notes.remains {
            return remains.heap;
        }
        let pool = match (&found.space, found.heap) {
            (Some(space), Some(heap)) => ta_heap::figures(&self.machine, space, heap),
            _ => PoolStats::default(),
        };
        named_pool(found, pool)
    }

    /// The figures of a TA's heap that has changed since it was looked at `before`: bytes of now, blocks and calls of then,
    /// all of then of a C TA's, of which only a walk may tell. Its last ones if it is dead. A bounded number of
    /// instructions that no TA chooses.
    pub(crate) fn ta_pool_by_now(&self, found: &Instance<Book>, before: &PoolStats) -> PoolStats {
        if let Some(remains) = &found.notes.remains {
            return remains.heap;
        }
        let pool = match (&found.space, found.heap) {
            (Some(space), Some(heap)) => ta_heap::header(&self.machine, space, heap, before),
            _ => *before,
        };
        let inconsistent = match pool.inconsistent {
            consistency::SOUND if found.heap.is_some() || c_heap::may_have(found) => {
                consistency::CHANGING
            }
            known => known,
        };
        named_pool(
            found,
            PoolStats {
                inconsistent,
                ..pool
            },
        )
    }

    /// The last figures of the heap of a C TA that is about to go; `None` if it may have none.
    pub(crate) fn c_pool_at_end(&self, instance: InstanceRef) -> Option<PoolStats> {
        c_heap::may_have(self.state().instance(instance)?).then_some(())?;
        let pool = self.c_pool_in_steps(instance)?;
        let inconsistent = match pool.inconsistent {
            consistency::SOUND => consistency::SOUND,
            // Nobody goes on who was in the middle of a change.
            _ => consistency::INCONSISTENT,
        };
        let state = self.state();
        let found = state.instance(instance)?;
        Some(named_pool(
            found,
            PoolStats {
                inconsistent,
                ..pool
            },
        ))
    }

    /// All figures of a TA's heap, its last ones if it is dead; `None` if the instance is gone.
    #[must_use]
    pub fn ta_pool_in_steps(&self, instance: InstanceRef) -> Option<PoolStats> {
        let is_of_c = c_heap::may_have(self.state().instance(instance)?);
        let pool = if is_of_c {
            Some(self.c_pool_in_steps(instance)?)
        } else {
            self.pool_in_steps(Walked::Ta(instance))?
        };
        let state = self.state();
        let found = state.instance(instance)?;
        Some(match pool {
            // Its memory may have gone meanwhile.
            Some(pool) if found.notes.remains.is_none() => named_pool(found, pool),
            _ => self.ta_pool_at_once(found),
        })
    }

    /// All figures of the kernel heap, walked in steps, or what it says of itself at once.
    #[must_use]
    pub(crate) fn kernel_pool_in_steps(&self) -> PoolStats {
        match self.pool_in_steps(Walked::Kernel).flatten() {
            Some(mut pool) if pool.inconsistent != consistency::CHANGING => {
                pool.alloc.desc = label("Heap");
                pool
            }
            _ => self.heap().stats(),
        }
    }

    /// All figures; `None` if the instance is gone, `Some(None)` if there is no pool to read.
    fn pool_in_steps(&self, walked: Walked) -> Option<Option<PoolStats>> {
        let mut pool = PoolStats::default();
        for _ in 0..TRIES {
            let (stats, inconsistent) = match self.walk_pool(walked)? {
                Outcome::Whole(stats) => (stats, 0),
                Outcome::Inconsistent(stats) => (stats, consistency::INCONSISTENT),
                Outcome::Changed(stats) => (stats, consistency::CHANGING),
                Outcome::None => return Some(None),
            };
            pool = PoolStats {
                inconsistent,
                ..pool_stats(&stats)
            };
            if inconsistent != consistency::CHANGING {
                break;
            }
        }
        Some(Some(pool))
    }

    #[inline(never)]
    fn walk_pool(&self, walked: Walked) -> Option<Outcome> {
        let mut walk = Walk::default();
        let mut course = Course::default();
        let Some(before) = self.pool_header(walked)? else {
            return Some(Outcome::None);
        };
        let mut broken = false;
        loop {
            let mut chunks = [Chunk::default(); STEP];
            match self.ask_pool(walked, &mut course, &mut Question::Chunks(&mut chunks))? {
                Ok(step) => {
                    for chunk in &chunks[..step.count] {
                        walk.add(chunk);
                    }
                    course.at = step.next;
                }
                Err(
                    PoolError::NotLoaded
                    | PoolError::Dead
                    | PoolError::Inconsistent
                    | PoolError::Damaged(_)
                    | PoolError::Changed,
                ) => {
                    broken = true;
                }
            }
            if course.at == 0 || broken {
                break;
            }
            self.breathe();
        }
        let Some(after) = self.pool_header(walked)? else {
            return Some(Outcome::None);
        };
        Some(if !broken && before == after {
            match walk.finish(after) {
                Some(stats) => Outcome::Whole(stats),
                None if self.is_entered(walked) => Outcome::Changed(after),
                None => Outcome::Inconsistent(after),
            }
        } else if before == after {
            Outcome::Inconsistent(after)
        } else {
            Outcome::Changed(after)
        })
    }

    /// `None` if the instance is gone.
    fn ask_pool(
        &self,
        walked: Walked,
        course: &mut Course,
        question: &mut Question<'_>,
    ) -> Option<Result<Step, PoolError>> {
        match walked {
            Walked::Kernel => Some(self.heap().ask(course.at, question)),
            Walked::Ta(instance) => {
                let state = self.state();
                Some(self.ask_ta(state.instance(instance)?, course, question))
            }
        }
    }

    /// What the header says; `Some(None)` if there is no pool, or its header makes no sense.
    fn pool_header(&self, walked: Walked) -> Option<Option<Stats>> {
        let mut stats = Stats::default();
        let step = self.ask_pool(
            walked,
            &mut Course::default(),
            &mut Question::Figures(&mut stats),
        )?;
        Some(step.ok().filter(|step| step.count == 1).map(|_| stats))
    }

    /// Whether somebody may be in the middle of a change.
    fn is_entered(&self, walked: Walked) -> bool {
        let Walked::Ta(instance) = walked else {
            return false;
        };
        let state = self.state();
        let found = state.instance(instance);
        found.is_some_and(|found| found.task.is_some())
    }
}
