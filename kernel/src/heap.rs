//! The kernel heap: a ledger pool behind the global allocator.
//!
//! **Invariant:** every block carries the owner that the current thread works for and the call
//! stack that asked for it; a refused request is reported where it happens and kept for clients.
//! **Knows nothing of:** what blocks are for.

use core::alloc::{GlobalAlloc, Layout};
use core::fmt::{self, Write};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use tally_abi::pta::MAX_FRAMES;
use tally_abi::pta::control::PoolStats;
use tally_abi::pta::inspect::{FailureRow, failed_pool};
use tally_arch::{Arm, IrqLock, current_owner, image_offset, sites, stack_bounds};
use tally_core::heap::{BlockAt, KernelHeap};
use tally_core::inspect::failures::Failures;
use tally_core::inspect::pools::{PoolError, Question, Step, answer};
use tally_core::services::label;
use tally_core::ta_heap::pool_stats;
use tally_ledger::view::{Inconsistent, TopSites};
use tally_ledger::{
    AllocError, Block, CallStack, Caller, Config, Origin, Pool, SiteId, SiteInfo, StackBounds,
    Strategy, Walkable,
};
use tally_mem::machine::{Clock, millis};
use tally_mem::owner::OwnerId;
use tally_mem::text::{Blocks, TextBuffer};

/// Whether somebody can ask.
const TELLS: bool = cfg!(feature = "stats");
/// How the pool is made. More frames than a TA's heap has: the way into the allocator takes some.
const CONFIG: Config = Config {
    strategy: if cfg!(feature = "first-fit") {
        Strategy::FirstFit
    } else if cfg!(feature = "best-fit") {
        Strategy::BestFit
    } else {
        Strategy::Segregated
    },
    depth: if TELLS { 6 } else { 0 },
    accounts: TELLS,
    ..Config::KERNEL
};
/// Frames kept of each call stack.
const DEPTH: usize = CONFIG.depth as usize;
/// Call sites named in an out-of-memory report.
const TOP_SITES: usize = 5;
/// Bytes kept of the last out-of-memory report.
const REPORT_BYTES: usize = 1024;

type Report = TextBuffer<REPORT_BYTES>;

/// The global allocator.
pub(crate) struct Heap {
    pool: IrqLock<Option<Pool>>,
    /// Address of the pool, 0 before there is one.
    base: AtomicU64,
    last_oom: IrqLock<Report>,
    failures: IrqLock<Failures>,
}

#[global_allocator]
pub(crate) static HEAP: Heap = Heap {
    pool: IrqLock::new(None),
    base: AtomicU64::new(0),
    last_oom: IrqLock::new(Report::EMPTY),
    failures: IrqLock::new(Failures::EMPTY),
};

impl Heap {
    /// Makes the pool from zeroed memory. False if it is no good for one, or there is one already.
    pub(crate) fn init(&self, memory: &'static mut [MaybeUninit<u8>]) -> bool {
        let mut pool = self.pool.lock();
        let Some(base) = NonNull::new(memory.as_mut_ptr().cast::<u8>()) else {
            return false;
        };
        if pool.is_some() {
            return false;
        }
        // SAFETY:
        // 1. `memory` is exclusive and lives for good, by its type.
        // 2. The caller zeroed it.
        *pool = unsafe { Pool::create(base, memory.len(), memory.len(), &CONFIG) }.ok();
        self.base.store(base.addr().get() as u64, Ordering::Relaxed);
        pool.is_some()
    }

    fn with<R>(&self, read: impl FnOnce(&mut Pool) -> R) -> Option<R> {
        self.pool.lock().as_mut().map(read)
    }

    #[cold]
    #[inline(never)]
    fn refused(&self, error: &AllocError, stack: &CallStack) {
        let mut top = [SiteInfo::default(); TOP_SITES];
        let told = self.with(|pool| {
            let largest_free = pool.stats().map_or(0, |stats| stats.largest_free);
            (pool.top_sites(&mut top), largest_free)
        });
        let (found, largest_free) = told.unwrap_or_default();
        let top = &top[..found.count];
        let mut report = Report::EMPTY;
        // A report that is cut is still a report.
        let _ = write_report(&mut report, error, largest_free, stack, (found, top));
        for line in report.text().lines() {
            log::error!("{line}");
        }
        *self.last_oom.lock() = report;
        let owner = OwnerId(error.owner.0);
        let row = FailureRow {
            largest_free,
            ..failure_row(error, stack, (found, top))
        };
        self.failures.lock().note(row, Some(owner));
    }
}

fn failure_row(
    error: &AllocError,
    stack: &CallStack,
    (found, top): (TopSites, &[SiteInfo]),
) -> FailureRow {
    let offset = |address: u64| image_offset(address).unwrap_or(0);
    let mut row = FailureRow {
        at_ms: millis(Arm.ticks(), Arm.ticks_per_second()),
        size: error.requested as u64,
        used: error.allocated as u64,
        pool_size: error.size as u64,
        pool: failed_pool::KERNEL_HEAP,
        top_blocks: u32::try_from(found.blocks).unwrap_or(u32::MAX),
        live_blocks: u32::try_from(found.live_blocks).unwrap_or(u32::MAX),
        ..FailureRow::default()
    };
    for (frame, address) in row.frames.iter_mut().zip(stack.frames()) {
        *frame = offset(*address);
    }
    for (place, site) in row.top.iter_mut().zip(top) {
        place.bytes = site.live_bytes.into();
        for (frame, address) in place.frames.iter_mut().zip(way_in(&site.frames)) {
            *frame = offset(*address);
        }
        row.tops += 1;
    }
    row
}

fn write_report(
    out: &mut Report,
    error: &AllocError,
    largest_free: u64,
    stack: &CallStack,
    (found, top): (TopSites, &[SiteInfo]),
) -> fmt::Result {
    writeln!(
        out,
        "Memory allocation failed: size {} align {} pool Heap owner {}",
        error.requested, error.align, error.owner.0
    )?;
    writeln!(
        out,
        "  {} of {} bytes allocated, largest free chunk {largest_free}",
        error.allocated, error.size
    )?;
    writeln!(out, "Call stack:")?;
    for frame in stack.frames() {
        write!(out, " ")?;
        write_frame(out, *frame)?;
    }
    writeln!(out, "{found}")?;
    for site in top {
        let blocks = Blocks(site.live_blocks.into());
        write!(out, " {} bytes in {blocks} ", site.live_bytes)?;
        write_frame(out, own_frame(&site.frames))?;
    }
    Ok(())
}

/// The first frame that has a name, which the table of sites gives to the kernel's own code.
fn own_frame(frames: &[u64]) -> u64 {
    let named = frames
        .iter()
        .copied()
        .find(|frame| name_of(*frame).is_some_and(is_own));
    named.unwrap_or(frames.first().copied().unwrap_or(0))
}

/// The frames from the one on that [`own_frame`] chooses.
fn way_in(frames: &[u64]) -> &[u64] {
    let own = own_frame(frames);
    let at = frames.iter().position(|frame| *frame == own);
    frames.get(at.unwrap_or(0)..).unwrap_or_default()
}

/// Whether a name says more than "the allocator".
fn is_own(name: tally_abi::sites::SiteName<'_>) -> bool {
    !name.file.starts_with("alloc/")
        && !name.file.starts_with("core/")
        && !name.file.ends_with("kernel/src/heap.rs")
        && !name.file.ends_with("kernel/core/src/fallible.rs")
}

fn name_of(address: u64) -> Option<tally_abi::sites::SiteName<'static>> {
    sites()?.lookup(image_offset(address)?)
}

fn write_frame(out: &mut dyn Write, address: u64) -> fmt::Result {
    match (name_of(address), image_offset(address)) {
        (Some(name), _) => writeln!(out, "{} {}:{}", name.function, name.file, name.line),
        (None, Some(offset)) => writeln!(out, "kernel+{offset:#x}"),
        (None, None) => writeln!(out, "{address:#x}"),
    }
}

fn walkable() -> Walkable {
    let (lo, hi) = stack_bounds();
    StackBounds { lo, hi }.walkable()
}

// SAFETY:
// 1. The pool gives out blocks of the layout asked for, which overlap nothing else.
// 2. A lock guards it, with interrupts masked, so that no thread is suspended while it holds it.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the kernel is compiled with frame pointers.
        let caller = unsafe { Caller::capture(DEPTH, walkable()) };
        let owner = tally_ledger::OwnerId(current_owner().0);
        let known = self.with(|pool| {
            pool.set_owner(owner);
            pool.alloc_known::<{ CONFIG.accounts }>(layout, &caller)
        });
        match known {
            Some(Some(block)) => block.as_ptr(),
            // SAFETY: as above.
            Some(None) => self.alloc_slowly(layout, owner, unsafe { Origin::capture() }),
            None => core::ptr::null_mut(),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, _layout: Layout) {
        let Some(block) = NonNull::new(ptr) else {
            return;
        };
        // SAFETY: the caller gives the block up.
        let known = self.with(|pool| unsafe { pool.free_known::<{ CONFIG.accounts }>(block) });
        if known == Some(false) {
            self.free_slowly(block);
        }
    }
}

impl Heap {
    /// Allocates for a call site that is new, or what is not at hand.
    #[cold]
    #[inline(never)]
    fn alloc_slowly(
        &self,
        layout: Layout,
        owner: tally_ledger::OwnerId,
        origin: Origin,
    ) -> *mut u8 {
        let stack = origin.stack(DEPTH, walkable());
        match self.with(|pool| pool.alloc(layout, owner, &stack)) {
            Some(Ok(block)) => block.as_ptr(),
            Some(Err(error)) => {
                self.refused(&error, &stack);
                core::ptr::null_mut()
            }
            None => core::ptr::null_mut(),
        }
    }

    #[cold]
    #[inline(never)]
    fn free_slowly(&self, block: NonNull<u8>) {
        // SAFETY: `dealloc`, the only caller, was given the block up.
        let freed = self.with(|pool| unsafe { pool.free(block) });
        if let Some(Err(error)) = freed {
            panic!("kernel heap: {error:?} at {block:p}");
        }
    }
}

impl KernelHeap for Heap {
    fn stats(&self) -> PoolStats {
        let stats = self.with(|pool| pool.stats());
        let mut stats = match stats {
            Some(Ok(stats)) => pool_stats(&stats),
            Some(Err(_)) | None => PoolStats {
                inconsistent: 1,
                ..PoolStats::default()
            },
        };
        stats.alloc.desc = label("Heap");
        stats
    }

    fn reset(&self) {
        self.with(Pool::reset);
    }

    fn set_epoch(&self, epoch: u16) {
        self.with(|pool| pool.set_epoch(epoch));
    }

    fn account(&self, owner: OwnerId) -> (u32, u32) {
        if !TELLS {
            return (0, 0);
        }
        self.with(|pool| pool.account(tally_ledger::OwnerId(owner.0)))
            .unwrap_or((0, 0))
    }

    fn range(&self) -> Range<u64> {
        let base = self.base.load(Ordering::Relaxed);
        let bytes = self.with(|pool| pool.committed()).unwrap_or(0);
        base..base + bytes as u64
    }

    fn blocks(&self, cursor: u64, out: &mut [Block]) -> Result<(usize, Option<u64>), Inconsistent> {
        let listed = self.with(|pool| pool.blocks(cursor, out));
        let (count, next) = listed.unwrap_or(Ok((0, 0)))?;
        Ok((count, (next != 0).then_some(next)))
    }

    fn look_up(&self, work: &mut dyn FnMut(&BlockAt<'_>)) {
        let pool = self.pool.lock();
        let view = pool.as_ref().and_then(|pool| pool.view().ok());
        // The kernel's own books make sense; where they do not, its next allocation says so.
        work(&|offset| view.as_ref()?.block_at(offset as usize).ok().flatten());
    }

    fn frames(&self, site: SiteId) -> [u64; MAX_FRAMES] {
        let frames = self.with(|pool| pool.frames(site)).flatten();
        frames.map_or([0; MAX_FRAMES], |frames| {
            frames.map(|frame| image_offset(frame).unwrap_or(0))
        })
    }

    fn dump(&self, out: &mut dyn Write) {
        // One block at a time, so that no other CPU waits for the console.
        let mut cursor = 0;
        loop {
            let mut block = [Block::default()];
            let step = self.with(|pool| {
                let (count, next) = pool.blocks(cursor, &mut block).ok()?;
                let [block] = block;
                let found = (count == 1).then(|| (block.size, pool.frames(block.site)));
                Some((found, next))
            });
            let Some(Some((found, next))) = step else {
                break;
            };
            if let Some((size, frames)) = found {
                let frame = own_frame(&frames.unwrap_or_default());
                let line = match name_of(frame) {
                    Some(name) => writeln!(out, "buffer: {size} bytes {}:{}", name.file, name.line),
                    None => writeln!(out, "buffer: {size} bytes {frame:#x}"),
                };
                if line.is_err() {
                    break;
                }
            }
            if next == 0 {
                break;
            }
            cursor = next;
        }
    }

    fn name_site(&self, offset: u64, out: &mut dyn Write) -> bool {
        let Some(name) = sites().and_then(|sites| sites.lookup(offset)) else {
            return false;
        };
        write!(out, "{} {}:{}", name.function, name.file, name.line).is_ok()
    }

    fn call_stack(&self, frames: &mut [u64; MAX_FRAMES]) {
        // SAFETY: the kernel is compiled with frame pointers.
        let origin = unsafe { Origin::capture() };
        let stack = origin.stack(MAX_FRAMES, walkable());
        // The first one is the caller's own.
        for (frame, address) in frames.iter_mut().zip(stack.frames().iter().skip(1)) {
            *frame = image_offset(*address).unwrap_or(0);
        }
    }

    fn ask(&self, cursor: u64, question: &mut Question<'_>) -> Result<Step, PoolError> {
        self.with(|pool| answer(&pool.view()?, cursor, question, image_offset))
            .unwrap_or(Err(PoolError::Inconsistent))
    }

    fn base(&self) -> u64 {
        self.base.load(Ordering::Relaxed)
    }

    fn with_failures(&self, work: &mut dyn FnMut(&mut Failures)) {
        work(&mut self.failures.lock());
    }

    fn last_oom(&self, out: &mut dyn Write) -> bool {
        let report = *self.last_oom.lock();
        !report.text().is_empty() && out.write_str(report.text()).is_ok()
    }
}
