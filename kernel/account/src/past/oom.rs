//! Out-of-memory report of a TA's heap: the limit met, and who has the memory.
//!
//! **Invariant:** names the pool, the owner, the limit, the call stack and the biggest call sites; reads the TA's
//! heap from outside.

use crate::book::{Book, Report};
use crate::heaps::ta_heap;
use crate::inspector::Inspector;
use core::fmt::{self, Write};
use tally_core::observer::{Limit, Refusal};
use tally_core::ta::instance::{Instance, InstanceRef};
use tally_core::ta::obituary;
use tally_ledger::SiteInfo;
use tally_mem::addr::PAGE_SIZE;
use tally_mem::machine::{Machine, UserContext};
use tally_mem::pages::PageAllocator;
use tally_mem::text::Blocks;
use tally_mem::text::label;
use tally_records::FailureRow;
use tally_records::PoolStats;
use tally_records::failed_pool;
use tally_records::owner_kind;

/// Frames of the call stack that are shown.
const MAX_FRAMES: usize = 8;
/// Call sites that are named.
const TOP_SITES: usize = 5;

/// What a limit is called.
pub(crate) const fn limit_text(limit: Limit) -> &'static str {
    match limit {
        Limit::HeapSize => "the heap size that the TA declares",
        Limit::Quota => "the TA's page quota",
        Limit::SecureRam => "secure RAM (pool \"Physical TA memory\")",
        Limit::KernelHeap => "the kernel heap (pool \"Heap\")",
    }
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
        let machine = &self.machine;
        let Some(pool) = self.ta_pool_in_steps(instance) else {
            return;
        };
        let mut state = self.state();
        let (pages, guest) = state.split(instance.guest());
        let Some(found) = guest.instances.at(instance) else {
            return;
        };
        report(
            &mut guest.book.last_oom,
            machine,
            pages,
            found,
            context,
            refusal,
            &pool,
        );
        let mut row = failure_row(machine, pages, found, context, refusal, &pool);
        row.at_ms = self.uptime_millis();
        self.note_failure(&row, None);
    }

    /// While the TA does not know of a refusal, its heap's figures count it all the same.
    pub(crate) fn note_refused(&self, instance: InstanceRef, size: Option<u64>) {
        if let Some(found) = self.state().instance_mut(instance) {
            found.notes.maxima.set_refused(size);
        }
    }
}

/// The refusal as it is logged; the time is the caller's to set.
#[inline(never)]
fn failure_row<M: Machine>(
    machine: &M,
    pages: &PageAllocator,
    instance: &Instance<Book>,
    context: &UserContext,
    refusal: &Refusal,
    pool: &PoolStats,
) -> FailureRow {
    const PAGE: u64 = PAGE_SIZE as u64;
    let mut row = FailureRow {
        size: refusal.size,
        owner_kind: owner_kind::TA,
        owner: instance.uuid,
        session: instance.task.map_or(0, |task| task.session),
        label: label("ta"),
        image: instance.uuid,
        image_id: instance.image_id,
        ..FailureRow::default()
    };
    let (Some(space), Some(heap)) = (&instance.space, instance.heap) else {
        return row;
    };
    match refusal.limit {
        // The kernel heap tells the rest itself.
        Limit::KernelHeap => row.pool = failed_pool::KERNEL_HEAP,
        Limit::HeapSize => {
            row.pool = failed_pool::TA_HEAP;
            row.used = pool.alloc.allocated.into();
            row.pool_size = space.heap().map_or(0, |heap| heap.max);
            row.largest_free = pool.largest_free;
        }
        Limit::Quota => {
            row.pool = failed_pool::TA_QUOTA;
            row.used = u64::from(space.charged_pages()) * PAGE;
            row.pool_size = u64::from(space.limit_pages()) * PAGE;
            row.largest_free = row.pool_size.saturating_sub(row.used);
        }
        Limit::SecureRam => {
            let all = pages.figures();
            row.pool = failed_pool::TA_RAM;
            row.used = all.allocated;
            row.pool_size = all.size;
            row.largest_free = u64::from(pages.available()) * PAGE;
        }
    }
    // The first is where the system call was made, which is no return address.
    let mut is_first = true;
    let mut used = 0;
    obituary::walk(machine, instance, context, |pc| {
        let offset = instance.image_offset(pc).filter(|_| !is_first);
        is_first = false;
        match (offset, row.frames.get_mut(used)) {
            (_, None) => return false,
            // What is not in the image says nothing to anybody.
            (None, Some(_)) => {}
            (Some(offset), Some(frame)) => {
                *frame = offset;
                used += 1;
            }
        }
        true
    });
    let mut sites = [SiteInfo::default(); 4];
    let top = ta_heap::top_sites(machine, space, heap, &mut sites);
    row.top_blocks = u32::try_from(top.blocks).unwrap_or(u32::MAX);
    row.live_blocks = u32::try_from(top.live_blocks).unwrap_or(u32::MAX);
    for (place, site) in row.top.iter_mut().zip(&sites[..top.count]) {
        place.bytes = site.live_bytes.into();
        let frames = site.frames.iter();
        let offsets = frames.filter_map(|frame| instance.image_offset(*frame));
        for (frame, offset) in place.frames.iter_mut().zip(offsets) {
            *frame = offset;
        }
        row.tops += 1;
    }
    row
}

/// Writes the report on the console and keeps it for clients. `pool`: the figures of the TA's heap.
#[inline(never)]
fn report<M: Machine>(
    report: &mut Report,
    machine: &M,
    pages: &PageAllocator,
    instance: &Instance<Book>,
    context: &UserContext,
    refusal: &Refusal,
    pool: &PoolStats,
) {
    *report = Report::EMPTY;
    // A report that is cut is still a report.
    let _ = write(report, machine, pages, instance, context, refusal, pool);
    for line in report.text().lines() {
        log::error!("{line}");
    }
}

fn write<M: Machine>(
    out: &mut Report,
    machine: &M,
    pages: &PageAllocator,
    instance: &Instance<Book>,
    context: &UserContext,
    refusal: &Refusal,
    pool: &PoolStats,
) -> fmt::Result {
    let uuid = instance.uuid;
    writeln!(
        out,
        "Memory allocation failed: size {} pool TA heap owner TA {uuid}",
        refusal.size
    )?;
    writeln!(out, "  the limit is {}", limit_text(refusal.limit))?;
    let (Some(space), Some(heap)) = (&instance.space, instance.heap) else {
        return Ok(());
    };
    let max = space.heap().map_or(0, |heap| heap.max);
    writeln!(
        out,
        "  {} of {} bytes allocated, largest free chunk {}, to grow to {}, at most {max}",
        pool.alloc.allocated, pool.alloc.size, pool.largest_free, refusal.wanted
    )?;
    writeln!(
        out,
        "  {} of {} pages charged to the TA, {} pages of secure RAM left",
        space.charged_pages(),
        space.limit_pages(),
        pages.available()
    )?;
    writeln!(out, "Call stack:")?;
    let mut frames = 0;
    obituary::walk(machine, instance, context, |pc| {
        frames += 1;
        let written = match instance.image_offset(pc) {
            Some(offset) => writeln!(out, " {uuid}+{offset:#x}"),
            None => Ok(()),
        };
        written.is_ok() && frames < MAX_FRAMES
    });
    let mut sites = [SiteInfo::default(); TOP_SITES];
    let top = ta_heap::top_sites(machine, space, heap, &mut sites);
    writeln!(out, "{top}")?;
    for site in &sites[..top.count] {
        let blocks = Blocks(site.live_blocks.into());
        write!(out, " {} bytes in {blocks}", site.live_bytes)?;
        for frame in site
            .frames
            .iter()
            .filter_map(|frame| instance.image_offset(*frame))
        {
            write!(out, " {uuid}+{frame:#x}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
