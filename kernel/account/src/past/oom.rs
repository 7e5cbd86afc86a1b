//! Out-of-memory report of a TA's heap: the limit met, and who has the memory.
//!
//! **Invariant:** names the pool, the owner, the limit, the call stack and the biggest call sites; reads the TA's
//! heap from outside, in steps. Nothing is locked while it is written.

use crate::book::Report;
use crate::inspector::Inspector;
use core::fmt::{self, Write};
use tally_abi::TeeUuid;
use tally_core::observer::{Limit, Refusal};
use tally_core::ta::instance::InstanceRef;
use tally_core::ta::obituary;
use tally_ledger::SiteInfo;
use tally_ledger::view::TopSites;
use tally_mem::addr::PAGE_SIZE;
use tally_mem::machine::{Machine, UserContext};
use tally_mem::text::Blocks;
use tally_mem::text::label;
use tally_records::{FailureRow, PoolStats, failed_pool, limit, owner_kind, word};

/// Frames of the call stack that are shown.
const MAX_FRAMES: usize = 8;
/// Call sites that are named.
const TOP_SITES: usize = 5;

/// The pool that a limit is of.
const fn pool_of(limit: Limit) -> u32 {
    match limit {
        Limit::HeapSize => failed_pool::TA_HEAP,
        Limit::Quota => failed_pool::TA_QUOTA,
        Limit::SecureRam => failed_pool::TA_RAM,
        Limit::KernelHeap => failed_pool::KERNEL_HEAP,
    }
}

/// What is known of a refusal. Frames are offsets in the image.
struct Facts {
    refusal: Refusal,
    uuid: TeeUuid,
    image_id: u64,
    session: u32,
    /// What it has, once it has a heap.
    memory: Option<Memory>,
    /// Where the TA stands, innermost first: where it made the system call, then return addresses.
    frames: [Option<u64>; MAX_FRAMES + 1],
    /// Figures of its heap.
    pool: PoolStats,
}

/// Memory of a TA, and that of all.
struct Memory {
    heap_max: u64,
    charged_pages: u32,
    limit_pages: u32,
    available_pages: u32,
    /// Bytes of all TAs.
    used: u64,
    /// Bytes that all TAs can have.
    size: u64,
}

impl<M: Machine> Inspector<'_, M> {
    /// Says that a heap does not grow: on the console, in the log, and to who asks.
    #[inline(never)]
    pub(crate) fn report_heap(
        &self,
        instance: InstanceRef,
        context: &UserContext,
        refusal: &Refusal,
    ) {
        if let Some(pool) = self.ta_pool_in_steps(instance) {
            self.report_pool(instance, context, refusal, &pool);
        }
    }

    /// Out of line, as what it calls: each takes much of the stack.
    #[inline(never)]
    fn report_pool(
        &self,
        instance: InstanceRef,
        context: &UserContext,
        refusal: &Refusal,
        pool: &PoolStats,
    ) {
        let Some(facts) = self.facts(instance, context, refusal, pool) else {
            return;
        };
        self.breathe();
        let mut sites = [SiteInfo::default(); TOP_SITES];
        let top = self.top_sites(instance, &mut sites);
        let sites = &sites[..top.count];
        self.report(&facts, &top, sites);
        self.log(&facts, &top, sites);
    }

    /// Writes the report on the console and keeps it for clients.
    #[inline(never)]
    fn report(&self, facts: &Facts, top: &TopSites, sites: &[SiteInfo]) {
        let mut report = Report::EMPTY;
        // A report that is cut is still a report.
        let _ = self
            .machine
            .interruptible(|| facts.write(&mut report, top, sites));
        for line in report.text().lines() {
            self.machine.interruptible(|| log::error!("{line}"));
        }
        let mut state = self.state();
        let kept = &mut state.guest_mut(self.guest).book.last_oom;
        // In place: as a value it would lie on the stack twice.
        kept.clone_from(&report);
    }

    #[inline(never)]
    fn log(&self, facts: &Facts, top: &TopSites, sites: &[SiteInfo]) {
        let mut row = facts.row(top, sites);
        row.at_ms = self.uptime_millis();
        self.note_failure(&row, None);
    }

    /// While the TA does not know of a refusal, its heap's figures count it all the same.
    pub(crate) fn note_refused(&self, instance: InstanceRef, size: Option<u64>) {
        if let Some(found) = self.state().instance_mut(instance) {
            found.notes.maxima.set_refused(size);
        }
    }

    #[inline(never)]
    fn facts(
        &self,
        instance: InstanceRef,
        context: &UserContext,
        refusal: &Refusal,
        pool: &PoolStats,
    ) -> Option<Facts> {
        let state = self.state();
        let found = state.instance(instance)?;
        let mut frames = [None; MAX_FRAMES + 1];
        let mut places = frames.iter_mut();
        obituary::walk(&self.machine, found, context, |pc| {
            let place = places.next();
            place.map(|place| *place = found.image_offset(pc)).is_some()
        });
        let all = state.pages.figures();
        let has_heap = found.heap.is_some();
        let space = found.space.as_ref().filter(|_| has_heap);
        let memory = space.map(|space| Memory {
            heap_max: space.heap().map_or(0, |heap| heap.max),
            charged_pages: space.quota_used(),
            limit_pages: space.limit_pages(),
            available_pages: state.pages.available(),
            used: all.allocated,
            size: all.size,
        });
        Some(Facts {
            refusal: *refusal,
            uuid: found.uuid,
            image_id: found.image_id,
            session: found.task.map_or(0, |task| task.session),
            memory,
            frames,
            pool: *pool,
        })
    }
}

impl Facts {
    /// As it is logged; the time is the caller's to set.
    fn row(&self, top: &TopSites, sites: &[SiteInfo]) -> FailureRow {
        const PAGE: u64 = PAGE_SIZE as u64;
        let mut row = FailureRow {
            pool: pool_of(self.refusal.limit),
            size: self.refusal.size,
            owner_kind: owner_kind::TA,
            owner: self.uuid,
            session: self.session,
            label: label("ta"),
            image: self.uuid,
            image_id: self.image_id,
            ..FailureRow::default()
        };
        let Some(memory) = &self.memory else {
            return row;
        };
        match self.refusal.limit {
            // The kernel heap tells the rest itself.
            Limit::KernelHeap => {}
            Limit::HeapSize => {
                row.used = self.pool.alloc.allocated.into();
                row.pool_size = memory.heap_max;
                row.largest_free = self.pool.largest_free;
            }
            Limit::Quota => {
                row.used = u64::from(memory.charged_pages) * PAGE;
                row.pool_size = u64::from(memory.limit_pages) * PAGE;
                row.largest_free = row.pool_size.saturating_sub(row.used);
            }
            Limit::SecureRam => {
                row.used = memory.used;
                row.pool_size = memory.size;
                row.largest_free = u64::from(memory.available_pages) * PAGE;
            }
        }
        // The first is where the system call was made, which is no return address; what is not in the image says
        // nothing to anybody.
        let returns = self.frames.iter().skip(1).flatten();
        for (place, offset) in row.frames.iter_mut().zip(returns) {
            *place = *offset;
        }
        row.top_blocks = u32::try_from(top.blocks).unwrap_or(u32::MAX);
        row.live_blocks = u32::try_from(top.live_blocks).unwrap_or(u32::MAX);
        for (place, site) in row.top.iter_mut().zip(sites) {
            place.bytes = site.live_bytes.into();
            for (frame, offset) in place.frames.iter_mut().zip(&site.frames) {
                *frame = *offset;
            }
            row.tops += 1;
        }
        row
    }

    /// As it is read.
    fn write(&self, out: &mut Report, top: &TopSites, sites: &[SiteInfo]) -> fmt::Result {
        let uuid = self.uuid;
        writeln!(
            out,
            "Memory allocation failed: size {} pool TA heap owner TA {uuid}",
            self.refusal.size
        )?;
        let limit = word(limit::WORDS, pool_of(self.refusal.limit));
        writeln!(out, "  the limit is {limit}")?;
        let Some(memory) = &self.memory else {
            return Ok(());
        };
        writeln!(
            out,
            "  {} of {} bytes allocated, largest free chunk {}, to grow to {}, at most {}",
            self.pool.alloc.allocated,
            self.pool.alloc.size,
            self.pool.largest_free,
            self.refusal.wanted,
            memory.heap_max
        )?;
        writeln!(
            out,
            "  {} of {} pages charged to the TA, {} pages of secure RAM left",
            memory.charged_pages, memory.limit_pages, memory.available_pages
        )?;
        writeln!(out, "Image {uuid}: {:016x}", self.image_id)?;
        writeln!(out, "Call stack:")?;
        for offset in self.frames.iter().take(MAX_FRAMES).flatten() {
            writeln!(out, " {uuid}+{offset:#x}")?;
        }
        writeln!(out, "{top}")?;
        for site in sites {
            let blocks = Blocks(site.live_blocks.into());
            write!(out, " {} bytes in {blocks}", site.live_bytes)?;
            for offset in site.frames.iter().take_while(|offset| **offset != 0) {
                write!(out, " {uuid}+{offset:#x}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}
