//! The kernel heap's books, open to the account.

use crate::heap::{Heap, name_of, own_frame, walkable};
use core::fmt::Write;
use core::ops::Range;
use core::sync::atomic::Ordering;
use tally_abi::pta::MAX_FRAMES;
use tally_account::heaps::kernel_heap::{BlockAt, HeapBooks, HeapMoment};
use tally_account::heaps::question::{PoolError, Question, Step, answer};
use tally_account::heaps::ta_heap::pool_stats;
use tally_account::past::failures::Failures;
use tally_arch::{Arm, image_offset, sites};
use tally_core::owners::MAX_OWNERS;
use tally_ledger::view::{Inconsistent, TopSites};
use tally_ledger::{AllocError, Block, CallStack, Origin, Pool, SiteId, SiteInfo, Stats};
use tally_mem::machine::{Clock, millis};
use tally_mem::owner::OwnerId;
use tally_mem::text::label;
use tally_records::{FailureRow, PoolStats, failed_pool};

impl Heap {
    /// Keeps a refused request for clients.
    pub(super) fn note_refused(
        &self,
        error: &AllocError,
        largest_free: u64,
        stack: &CallStack,
        top: (TopSites, &[SiteInfo]),
    ) {
        let row = FailureRow {
            largest_free,
            ..failure_row(error, stack, top)
        };
        let owner = OwnerId(error.owner.0);
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

/// The frames from the one on that [`own_frame`] chooses.
fn way_in(frames: &[u64]) -> &[u64] {
    let own = own_frame(frames);
    let at = frames.iter().position(|frame| *frame == own);
    frames.get(at.unwrap_or(0)..).unwrap_or_default()
}

/// A pool's figures as clients get them.
fn figures(stats: Option<Result<Stats, Inconsistent>>) -> PoolStats {
    let mut figures = match stats {
        Some(Ok(stats)) => pool_stats(&stats),
        Some(Err(_)) | None => PoolStats {
            inconsistent: 1,
            ..PoolStats::default()
        },
    };
    figures.alloc.desc = label("Heap");
    figures
}

/// Figures without a walk.
fn at_once(pool: &Pool) -> Result<Stats, Inconsistent> {
    Ok(pool.view()?.figures())
}

impl HeapBooks for Heap {
    fn stats(&self) -> PoolStats {
        figures(self.with(|pool| at_once(pool)))
    }

    fn moment(&self) -> HeapMoment {
        let mut accounts = [(0, 0); MAX_OWNERS];
        let stats = self.with(|pool| {
            for (copy, account) in accounts.iter_mut().zip(pool.accounts()) {
                *copy = account;
            }
            at_once(pool)
        });
        HeapMoment {
            stats: figures(stats),
            accounts,
        }
    }

    fn reset(&self) {
        self.with(Pool::reset);
    }

    fn set_mark(&self, mark: u16) {
        self.with(|pool| pool.set_mark(mark));
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
        self.last_oom.write(out)
    }
}
