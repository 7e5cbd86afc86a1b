//! Heaps of C TAs, which lie in the TA's own data.
//!
//! **Invariant:** bounded work under one lock, from memory of the TA's own that it may write; nothing is written there.

use crate::book::Book;
use crate::heaps::pools::HeapRef;
use crate::heaps::question::{Course, PoolError, Question, Step};
use crate::heaps::ta_heap::pool_stats;
use crate::inspector::Inspector;
use core::cell::Cell;
use tally_bget::{HeapWords, Inconsistent, Reader, Totals, View, heap_words};
use tally_core::ta::instance::{Instance, InstanceRef};
use tally_ledger::{Block, Stats};
use tally_mem::addr::{PAGE_SIZE, PhysAddr, UserVa};
use tally_mem::machine::Machine;
use tally_mem::region::{Backing, Prot, RegionKind};
use tally_mem::space::AddressSpace;
use tally_records::{PoolStats, consistency};

// The reader has its own tests under Miri (`libs/bget`); whole heaps of a TA take it a quarter of an hour.
#[cfg(all(test, not(miri)))]
mod tests;

/// Pages whose places are remembered while a heap is read.
const PAGES: usize = 8;
/// Chunks looked at under one lock.
const STEP: usize = 32;
/// Blocks looked at under one lock.
const BLOCKS: usize = 24;
/// Steps of a walk for each page that the TA may have. One that is not the last passes by 12 chunks or more, of 32 bytes
/// at least: all that a page has room for is passed by in 11.
const STEPS_A_PAGE: u64 = 11;
/// Steps besides, for the words that end pools.
const MORE_STEPS: u64 = 16;
/// How often a walk is begun anew because the heap was changed meanwhile.
const TRIES: usize = 3;

/// Where a page is: nowhere while it was never touched.
type PagePlace = Option<PhysAddr>;

/// A C TA's memory, for as long as its address space does not change.
pub(crate) struct TaMemory<'a, M> {
    machine: &'a M,
    space: &'a AddressSpace,
    /// Pages by their number, and where they are.
    pages: [Cell<Option<(u64, PagePlace)>>; PAGES],
}

impl<M: Machine> TaMemory<'_, M> {
    /// Where page `number` is, if the TA may write it.
    fn page(&self, number: u64) -> Option<PagePlace> {
        let slot = self.pages.get(number as usize % PAGES)?;
        if let Some((known, place)) = slot.get()
            && known == number
        {
            return Some(place);
        }
        let va = UserVa(number * PAGE_SIZE as u64);
        let region = self.space.region_at(va)?;
        let may = matches!(region.kind(), RegionKind::Segment | RegionKind::Mapped)
            && region.backing() == Backing::Zero
            && region.prot().contains(Prot::WRITE);
        let place = may.then(|| self.space.own_page(self.machine, va))?;
        slot.set(Some((number, place)));
        Some(place)
    }
}

impl<M: Machine> Reader for TaMemory<'_, M> {
    fn read(&self, va: u64, buf: &mut [u8]) -> bool {
        if va.checked_add(buf.len() as u64).is_none() {
            return false;
        }
        let (mut at, mut rest) = (va, buf);
        while !rest.is_empty() {
            let inside = at % PAGE_SIZE as u64;
            let len = rest.len().min(PAGE_SIZE - inside as usize);
            let (piece, more) = rest.split_at_mut(len);
            match self.page(at / PAGE_SIZE as u64) {
                None => return false,
                Some(None) => piece.fill(0),
                Some(Some(page)) => self.machine.read_secure(PhysAddr(page.0 + inside), piece),
            }
            (at, rest) = (at + len as u64, more);
        }
        true
    }
}

/// Where the loader found heads of free lists.
fn free_lists(found: &Instance<Book>) -> &[u64] {
    let kept = found.kept.as_deref();
    kept.map_or(&[0], |kept| &kept.free_lists)
}

/// Whether an instance may have such a heap.
pub(crate) fn may_have(found: &Instance<Book>) -> bool {
    found.heap.is_none() && free_lists(found)[0] != 0
}

/// The memory of one that may have such a heap.
fn memory<'a, M: Machine>(machine: &'a M, found: &'a Instance<Book>) -> Option<TaMemory<'a, M>> {
    let space = found.space.as_ref().filter(|_| may_have(found))?;
    Some(TaMemory {
        machine,
        space,
        pages: [const { Cell::new(None) }; PAGES],
    })
}

/// Opens an instance's heap; `None` if it has none, or not yet.
///
/// # Errors
/// It makes no sense.
pub(crate) fn open<'a, M: Machine>(
    machine: &'a M,
    found: &'a Instance<Book>,
) -> Result<Option<View<TaMemory<'a, M>>>, Inconsistent> {
    let Some(memory) = memory(machine, found) else {
        return Ok(None);
    };
    match View::open(memory, free_lists(found)) {
        // The kit's entry point makes a pool before a session is open.
        Ok(None) if found.has_served => Err(Inconsistent),
        opened => opened,
    }
}

/// Goes on along a course in an instance's heap.
///
/// # Errors
/// [`PoolError::Changed`].
fn follow<R: Reader>(
    view: &View<R>,
    found: &Instance<Book>,
    course: &mut Course,
) -> Result<(), PoolError> {
    let pages = found.space.as_ref().map_or(0, AddressSpace::limit_pages);
    course.follow(view.places(), most_steps(pages))
}

/// Steps after which a walk over sound pools in so many pages is through.
const fn most_steps(pages: u32) -> u64 {
    pages as u64 * STEPS_A_PAGE + MORE_STEPS
}

/// Answers from an instance's heap.
///
/// # Errors
/// [`PoolError`].
pub(crate) fn ask<M: Machine>(
    machine: &M,
    found: &Instance<Book>,
    course: &mut Course,
    question: &mut Question<'_>,
) -> Result<Step, PoolError> {
    let Some(view) = open(machine, found)? else {
        return Ok(Step::default());
    };
    follow(&view, found, course)?;
    let cursor = course.at;
    let (count, next) = match question {
        // Nothing is written down of either.
        Question::Sites(_) | Question::Class(_) | Question::Overruns(_) => (0, 0),
        Question::Blocks(out) => view.blocks(cursor, out)?,
        Question::Chunks(out) => view.chunks(cursor, out)?,
        Question::Check => (0, view.check(cursor).map_err(PoolError::Damaged)?),
        // Blocks are found by a walk.
        Question::BlockAt(out) => {
            **out = None;
            (0, 0)
        }
        Question::Bytes(out) => {
            if !view.read(cursor, out) {
                return Err(PoolError::Inconsistent);
            }
            (out.len(), 0)
        }
        Question::Figures(out) => {
            **out = view.header();
            (usize::from(view.is_counted() && view.is_sound()), 0)
        }
    };
    Ok(Step { count, next })
}

/// Where the heap begins.
pub(crate) fn base<M: Machine>(machine: &M, found: &Instance<Book>) -> u64 {
    let view = open(machine, found).ok().flatten();
    view.map_or(0, |view| view.base())
}

/// What tells at once whether the heap has changed; zeros if there is none. A bounded number of instructions that no TA
/// chooses.
pub(crate) fn words<M: Machine>(machine: &M, found: &Instance<Book>) -> HeapWords {
    let memory = memory(machine, found);
    memory.map_or_else(HeapWords::default, |memory| {
        heap_words(&memory, free_lists(found))
    })
}

impl<M: Machine> Inspector<'_, M> {
    /// The instance, if it may be the heap of a C TA.
    pub(crate) fn of_c(&self, heap: HeapRef) -> Option<InstanceRef> {
        let HeapRef::Ta(instance) = heap else {
            return None;
        };
        let state = self.state();
        state
            .instance(instance)
            .is_some_and(may_have)
            .then_some(instance)
    }

    /// The live block of a heap that has the byte at an offset, found by a walk in steps.
    ///
    /// # Errors
    /// [`PoolError`].
    pub(crate) fn c_block_at(
        &self,
        heap: HeapRef,
        offset: usize,
    ) -> Result<Option<Block>, PoolError> {
        let mut course = Course::default();
        loop {
            let mut blocks = [Block::default(); BLOCKS];
            let step = self.ask_heap(heap, &mut course, &mut Question::Blocks(&mut blocks))?;
            let mut some = blocks[..step.count].iter();
            let behind = some.find(|block| offset < block.offset + block.usable);
            if let Some(block) = behind {
                return Ok((block.offset <= offset).then_some(*block));
            }
            if course.at == 0 {
                return Ok(None);
            }
            self.breathe();
        }
    }

    /// All figures of an instance's heap, walked in steps; `None` if the instance is gone.
    pub(crate) fn c_pool_in_steps(&self, instance: InstanceRef) -> Option<PoolStats> {
        let (inconsistent, stats) = self.c_stats_in_steps(instance)?;
        Some(PoolStats {
            inconsistent,
            ..pool_stats(&stats)
        })
    }

    /// The same as the reader has them, and whether they add up.
    pub(crate) fn c_stats_in_steps(&self, instance: InstanceRef) -> Option<(u32, Stats)> {
        let mut found = (consistency::SOUND, Stats::default());
        for _ in 0..TRIES {
            found = self.walk_c_heap(instance)?;
            if found.0 != consistency::CHANGING {
                break;
            }
        }
        Some(found)
    }

    #[inline(never)]
    fn walk_c_heap(&self, instance: InstanceRef) -> Option<(u32, Stats)> {
        let before = words(&self.machine, self.state().instance(instance)?);
        let (mut totals, mut course) = (Totals::default(), Course::default());
        loop {
            let state = self.state();
            let found = state.instance(instance)?;
            let (mut moved, mut walked) = (false, Err(Inconsistent));
            let mut stats = Stats::default();
            match open(&self.machine, found) {
                Ok(None) => return Some((consistency::SOUND, stats)),
                Ok(Some(view)) => {
                    stats = view.header();
                    moved = follow(&view, found, &mut course).is_err();
                    if !moved {
                        walked = view.walk(&mut totals, STEP);
                    }
                    if walked == Ok(true) {
                        match view.stats(&totals) {
                            Ok(all) => stats = all,
                            Err(Inconsistent) => walked = Err(Inconsistent),
                        }
                    }
                }
                Err(Inconsistent) => {}
            }
            if walked == Ok(false) {
                drop(state);
                self.breathe();
                continue;
            }
            let has_changed = moved || before != words(&self.machine, found);
            return Some(match walked {
                Ok(_) if !has_changed => (consistency::SOUND, stats),
                // Whoever is inside may be in the middle of a change.
                _ if has_changed || found.task.is_some() => (consistency::CHANGING, stats),
                _ => (consistency::INCONSISTENT, stats),
            });
        }
    }
}
