//! Reading a TA's heap from outside.
//!
//! **Invariant:** the TA's books are untrusted: bounded work, every offset checked, and what does
//! not add up is "inconsistent".

use crate::book::Book;
use crate::heaps::c_heap;
use crate::inspector::Inspector;
use core::cell::Cell;
use tally_abi::pta::MAX_FRAMES;
use tally_abi::pta::stats::AllocStats;
use tally_core::ta::instance::{Instance, InstanceRef};
use tally_ledger::Block;
use tally_ledger::view::{Reader, TopSites, TopWalk, View};
use tally_ledger::{
    ALARM_OFFSET, Config, MARK_OFFSET, PEAK_OFFSET, SiteInfo, Stats, Strategy, Tracking,
};
use tally_mem::addr::{PAGE_SIZE, PhysAddr, UserVa};
use tally_mem::machine::Machine;
use tally_mem::mem::Mem;
use tally_mem::space::AddressSpace;
use tally_records::PoolStats;
use tally_records::strategy;
use tally_records::tracking;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Why a heap cannot be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeapError {
    /// Its TA ended, or has no heap yet.
    Gone,
    /// Its bookkeeping does not add up.
    Inconsistent,
}

/// Pages whose places are remembered while a heap is read.
const PAGES: usize = 8;
/// Most call sites that the books of a TA's heap may tell apart: reading each of them takes some 20,000 instructions.
const MAX_SITES: u16 = 256;
const _: () = assert!(Config::TA.sites <= MAX_SITES);

/// A TA's heap as memory to read, for as long as its address space does not change.
pub(crate) struct HeapMemory<'a, M> {
    machine: &'a M,
    space: &'a AddressSpace,
    base: UserVa,
    committed: usize,
    /// Pages by their number in the heap, counted from 1, and where they are.
    pages: [Cell<(usize, PhysAddr)>; PAGES],
}

impl<M: Machine> HeapMemory<'_, M> {
    /// Where page `number` of the heap is, if it was ever touched.
    fn page(&self, number: usize) -> Option<PhysAddr> {
        let slot = self.pages.get(number % PAGES)?;
        let (known, place) = slot.get();
        if known == number + 1 {
            return Some(place);
        }
        let va = self.base.checked_add((number * PAGE_SIZE) as u64)?;
        let place = self.space.own_page(self.machine, va)?;
        slot.set((number + 1, place));
        Some(place)
    }
}

impl<M: Machine> Reader for HeapMemory<'_, M> {
    fn read(&self, offset: usize, buf: &mut [u8]) -> bool {
        let end = offset.checked_add(buf.len());
        if end.is_none_or(|end| end > self.committed) {
            return false;
        }
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let inside = at % PAGE_SIZE;
            let len = rest.len().min(PAGE_SIZE - inside);
            let (piece, more) = rest.split_at_mut(len);
            match self.page(at / PAGE_SIZE) {
                Some(page) => self
                    .machine
                    .read_secure(PhysAddr(page.0 + inside as u64), piece),
                // Never touched.
                None => piece.fill(0),
            }
            (at, rest) = (at + len, more);
        }
        true
    }
}

/// Opens the heap at `base`.
///
/// # Errors
/// [`HeapError`].
pub(crate) fn open<'a, M: Machine>(
    machine: &'a M,
    space: &'a AddressSpace,
    base: UserVa,
) -> Result<View<HeapMemory<'a, M>>, HeapError> {
    let committed = space.heap().map_or(0, |heap| heap.committed);
    if committed == 0 {
        return Err(HeapError::Gone);
    }
    let committed = usize::try_from(committed).map_err(|_| HeapError::Inconsistent)?;
    let memory = HeapMemory {
        machine,
        space,
        base,
        committed,
        pages: [const { Cell::new((0, PhysAddr(0))) }; PAGES],
    };
    let view = View::open(memory, committed).map_err(|_| HeapError::Inconsistent)?;
    // No TA of ours has as many; the figures are sums over all of them.
    if view.site_count() > MAX_SITES {
        return Err(HeapError::Inconsistent);
    }
    Ok(view)
}

/// Copies live blocks from a cursor on, which is 0 at first: how many, and where to go on.
///
/// # Errors
/// [`HeapError::Inconsistent`].
pub(crate) fn blocks<M: Machine>(
    view: &View<HeapMemory<'_, M>>,
    cursor: u64,
    out: &mut [Block],
) -> Result<(usize, Option<u64>), HeapError> {
    let (count, next) = view
        .blocks(cursor, out)
        .map_err(|_| HeapError::Inconsistent)?;
    Ok((count, (next != 0).then_some(next)))
}

/// What tells at once whether a heap has changed. Blocks that took each other's place do not show.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub(crate) struct HeapKey {
    /// The header's maximum, and what it falls short of.
    words: [u64; 2],
    committed: u64,
}

impl HeapKey {
    /// Of an instance's heap by now; zeros if it has none.
    pub(crate) fn of<M: Machine>(machine: &M, found: &Instance<Book>) -> Self {
        let mut key = Self::default();
        if let (Some(space), Some(heap)) = (&found.space, found.heap)
            && let Some(words) = heap.checked_add(PEAK_OFFSET as u64)
        {
            key.committed = space.heap().map_or(0, |heap| heap.committed);
            // Fails only where the heap was never touched.
            let _ = space.peek_words(machine, words, &mut key.words);
        } else {
            let [links, first, second] = c_heap::words(machine, found);
            (key.words, key.committed) = ([first, second], links);
        }
        key
    }
}

/// What the header alone says, beside blocks and calls that were found `before`. A bounded number of instructions that no
/// TA chooses.
pub(crate) fn header<M: Machine>(
    machine: &M,
    space: &AddressSpace,
    heap: UserVa,
    before: &PoolStats,
) -> PoolStats {
    match open(machine, space, heap) {
        Ok(view) => pool_stats(&Stats {
            live_blocks: before.live_blocks,
            num_get: before.num_get,
            num_release: before.num_release,
            records: before.records,
            ..view.header()
        }),
        Err(_) => unreadable(space),
    }
}

/// What header and call sites say, without a walk.
pub fn figures<M: Machine>(machine: &M, space: &AddressSpace, heap: UserVa) -> PoolStats {
    match open(machine, space, heap) {
        Ok(view) => pool_stats(&view.figures()),
        Err(_) => unreadable(space),
    }
}

fn unreadable(space: &AddressSpace) -> PoolStats {
    PoolStats {
        // A TA that has not used its heap yet has nothing that could be wrong.
        inconsistent: u32::from(space.heap().is_some_and(|heap| heap.committed != 0)),
        ..PoolStats::default()
    }
}

/// A pool's figures as clients get them.
#[must_use]
pub fn pool_stats(stats: &Stats) -> PoolStats {
    let clamp = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    PoolStats {
        alloc: AllocStats {
            desc: [0; 32],
            free2_sum: stats.free2_sum,
            allocated: clamp(stats.allocated),
            max_allocated: clamp(stats.max_allocated),
            size: clamp(stats.size),
            num_alloc_fail: clamp(stats.num_alloc_fail),
            biggest_alloc_fail: clamp(stats.biggest_alloc_fail),
            biggest_alloc_fail_used: clamp(stats.biggest_alloc_fail_used),
        },
        num_get: stats.num_get,
        num_release: stats.num_release,
        largest_free: stats.largest_free,
        live_blocks: stats.live_blocks,
        // Without a walk the padding is not known, but the records are.
        metadata: stats
            .metadata
            .max(stats.tables.saturating_add(stats.records)),
        tables: stats.tables,
        records: stats.records,
        strategy: match stats.strategy {
            Strategy::Segregated => strategy::DEFAULT,
            Strategy::FirstFit => strategy::FIRST_FIT,
            Strategy::BestFit => strategy::BEST_FIT,
        },
        tracking: match stats.tracking {
            Tracking::Full => tracking::FULL,
            Tracking::Accounts => tracking::ACCOUNTS,
            Tracking::Light => tracking::LIGHT,
            Tracking::Off => tracking::OFF,
        },
        ..PoolStats::default()
    }
}

/// Has blocks allocated from now on carry `mark`.
pub fn set_mark<M: Machine>(machine: &M, space: &AddressSpace, heap: UserVa, mark: u16) {
    // Fails only where the heap was never touched: its first blocks will be younger anyway.
    let _ = heap
        .checked_add(MARK_OFFSET as u64)
        .is_some_and(|va| space.poke(machine, va, &mark.to_be_bytes()));
}

/// Has the pool ring when more than `bytes` are live, which is a new maximum of its own.
pub(crate) fn set_alarm<M: Machine>(machine: &M, space: &AddressSpace, heap: UserVa, bytes: u64) {
    // Fails only where the heap was never touched; the next call finds it.
    let _ = heap
        .checked_add(ALARM_OFFSET as u64)
        .is_some_and(|va| space.poke(machine, va, &bytes.to_le_bytes()));
}

/// As [`set_alarm`], before the TA has made a pool of the memory or touched any of it.
pub(crate) fn set_first_alarm<M: Machine>(
    memory: &mut Mem<'_, M>,
    space: &mut AddressSpace,
    heap: UserVa,
    bytes: u64,
) {
    // Fails only where the TA took less than a pool's header, of which it can make no pool.
    let _ = heap
        .checked_add(ALARM_OFFSET as u64)
        .is_some_and(|va| space.write_user(memory, va, &bytes.to_le_bytes()).is_ok());
}

impl<M: Machine> Inspector<'_, M> {
    /// The call sites of a TA's heap that hold most bytes, biggest first; their frames become offsets in the image, and
    /// those that are in none are left out.
    pub(crate) fn top_sites(&self, instance: InstanceRef, sites: &mut [SiteInfo]) -> TopSites {
        let mut walk = TopWalk::default();
        loop {
            let state = self.state();
            let Some(found) = state.instance(instance) else {
                return TopSites::default();
            };
            let (Some(space), Some(heap)) = (&found.space, found.heap) else {
                return TopSites::default();
            };
            let Ok(view) = open(&self.machine, space, heap) else {
                return TopSites::default();
            };
            if let Some(top) = view.top_sites_step(&mut walk, sites) {
                for site in &mut sites[..top.count] {
                    site.frames = image_frames(found, &site.frames);
                }
                return top;
            }
            drop(state);
            self.breathe();
        }
    }
}

/// Return addresses as offsets in the image; those that are in none are left out.
pub(crate) fn image_frames(found: &Instance<Book>, frames: &[u64]) -> [u64; MAX_FRAMES] {
    let frames = frames.iter().take_while(|frame| **frame != 0);
    let inside = frames.filter_map(|frame| found.image_offset(*frame));
    let mut offsets = [0; MAX_FRAMES];
    for (place, offset) in offsets.iter_mut().zip(inside) {
        *place = offset;
    }
    offsets
}
