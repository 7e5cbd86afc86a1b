//! Report of an ending instance: dmalloc's "not freed", by call site.
//!
//! **Invariant:** bounded work, from the TA's books as they are.

use crate::book::Book;
use crate::heaps::ta_heap;
use crate::inspector::Inspector;
use crate::leaks::marks;
use crate::past::history::Ended;
use crate::past::remains::Remains;
use core::fmt::{self, Write};
use tally_abi::pta::MAX_FRAMES;
use tally_core::guest::Guest;
use tally_core::kernel::State;
use tally_core::ta::instance::{Instance, InstanceRef, Life};
use tally_core::ta::task::End;
use tally_ledger::view::TopSites;
use tally_ledger::{Overrun, SiteInfo};
use tally_mem::addr::PAGE_SIZE;
use tally_mem::machine::Machine;
use tally_mem::space::HeapRange;
use tally_mem::text::{Blocks, TextBuffer};
use tally_records::UnfreedRow;
use tally_records::consistency;

/// Call sites that are named and kept, the biggest ones.
const TOP_SITES: usize = 8;
/// Overwritten blocks that are named.
const MAX_OVERRUNS: usize = 4;
/// Steps of the search for them, a millisecond at most: the state is locked. Only heaps for debugging have any.
const OVERRUN_STEPS: usize = 64;

impl<M: Machine> Inspector<'_, M> {
    /// Notes the end of an instance that is about to lose its memory.
    pub(crate) fn note_end(&self, state: &mut State<Book>, instance: InstanceRef, end: End) {
        let remains = self.remains(state, instance);
        if let Some(remains) = &remains {
            self.note_ended(state, instance, end, remains);
        }
        self.note_instance_end(state, instance, end, remains.as_ref());
        let (pages, guest) = state.split(instance.guest());
        guest.book.orders.forget_closed(instance);
        if let Some(found) = guest.instances.at_mut(instance) {
            found.notes.remains = remains;
            if let Some(findings) = found.notes.scans.findings.take() {
                findings.destroy(pages);
            }
        }
    }

    fn note_ended(
        &self,
        state: &mut State<Book>,
        instance: InstanceRef,
        end: End,
        remains: &Remains,
    ) {
        let Guest {
            instances, book, ..
        } = state.guest_mut(instance.guest());
        let Some(found) = instances.at(instance) else {
            return;
        };
        // What never could be entered has used nothing.
        if found.life == Life::Loading {
            return;
        }
        let mut sites = [SiteInfo::default(); TOP_SITES];
        let mut top = TopSites::default();
        if remains.heap.live_blocks != 0
            && let (Some(space), Some(heap)) = (&found.space, found.heap)
        {
            top = ta_heap::top_sites(&self.machine, space, heap, &mut sites);
        }
        let sites = &sites[..top.count];
        if end == End::Orderly && remains.heap.live_blocks != 0 {
            print_unfreed(found, remains, &top, sites);
        }
        if remains.heap.inconsistent == consistency::INCONSISTENT {
            log::error!(
                "TA {} ended, and its heap's books do not add up: what it had not freed is not known",
                found.uuid
            );
        }
        for site in sites {
            book.unfreed.note(&UnfreedRow {
                uuid: found.uuid,
                image_id: found.image_id,
                frames: image_frames(found, &site.frames),
                bytes: site.live_bytes.into(),
                blocks: site.live_blocks.into(),
                instances: 1,
                died: u32::from(end == End::Died),
            });
        }
        self.print_overruns(found);
        let heap = found.space.as_ref().and_then(|space| space.heap());
        let ended = Ended {
            uuid: found.uuid,
            end,
            remains: *remains,
            heap_size: heap.map_or(0, |heap| declared(heap, remains)),
            stack_size: found.stack_len,
            charged_max: u64::from(remains.charged_max) * PAGE_SIZE as u64,
        };
        book.history.note(&ended);
    }

    /// Notes that an instance ends, with what its heap still holds. One that was never ready is no
    /// instance to anybody.
    fn note_instance_end(
        &self,
        state: &mut State<Book>,
        instance: InstanceRef,
        end: End,
        remains: Option<&Remains>,
    ) {
        let Some(found) = state.instance(instance) else {
            return;
        };
        if found.life != Life::Ready {
            return;
        }
        let heap = remains.map(|remains| remains.heap).unwrap_or_default();
        let ended = marks::Ended {
            uuid: found.uuid,
            at_ms: self.uptime_millis(),
            mark: state.guest(instance.guest()).book.marks.last(),
            born: found.notes.birth_mark,
            died: end == End::Died,
            inconsistent: heap.inconsistent == consistency::INCONSISTENT,
            bytes: u64::from(heap.alloc.allocated),
            blocks: u32::try_from(heap.live_blocks).unwrap_or(u32::MAX),
        };
        state
            .guest_mut(instance.guest())
            .book
            .marks
            .ended
            .note(ended);
    }

    /// Names live blocks past whose end the TA wrote, if its heap has guard bytes.
    fn print_overruns(&self, found: &Instance<Book>) {
        let (Some(space), Some(heap)) = (&found.space, found.heap) else {
            return;
        };
        let Ok(view) = ta_heap::open(&self.machine, space, heap) else {
            return;
        };
        let mut overruns = [Overrun::default(); MAX_OVERRUNS];
        let mut cursor = 0;
        for _ in 0..OVERRUN_STEPS {
            let Ok((count, next)) = view.overruns(cursor, &mut overruns) else {
                return;
            };
            for overrun in &overruns[..count] {
                let frames = view.frames(overrun.block.site).unwrap_or_default();
                let mut line = TextBuffer::<320>::EMPTY;
                // A line that is cut is still a line.
                let _ = write_overrun(&mut line, found, overrun, &frames);
                log::error!("{}", line.text());
            }
            cursor = next;
            if count != 0 || cursor == 0 {
                return;
            }
        }
    }
}

fn print_unfreed(found: &Instance<Book>, remains: &Remains, top: &TopSites, sites: &[SiteInfo]) {
    log::error!(
        "TA {} ended with {} bytes in {} not freed",
        found.uuid,
        remains.heap.alloc.allocated,
        Blocks(remains.heap.live_blocks)
    );
    if top.is_partial() {
        log::error!("{top}");
    }
    for site in sites {
        let mut line = TextBuffer::<320>::EMPTY;
        // A line that is cut is still a line.
        let _ = write_site(&mut line, found, site);
        log::error!("{}", line.text());
    }
}

/// Return addresses as offsets in the image; those that are in none are left out.
fn image_frames(found: &Instance<Book>, frames: &[u64]) -> [u64; MAX_FRAMES] {
    let frames = frames.iter().take_while(|frame| **frame != 0);
    let inside = frames.filter_map(|frame| found.image_offset(*frame));
    let mut offsets = [0; MAX_FRAMES];
    for (place, offset) in offsets.iter_mut().zip(inside) {
        *place = offset;
    }
    offsets
}

fn write_overrun(
    out: &mut dyn Write,
    found: &Instance<Book>,
    overrun: &Overrun,
    frames: &[u64],
) -> fmt::Result {
    write!(
        out,
        "TA {} wrote past the end of a block: byte {} of {}, allocated at",
        found.uuid, overrun.at, overrun.block.size
    )?;
    write_frames(out, found, frames)
}

/// What a TA declared as its heap: what it reserved, less the books.
fn declared(heap: HeapRange, remains: &Remains) -> u64 {
    let blocks = u64::from(remains.heap.alloc.size);
    let books = heap.committed.saturating_sub(blocks);
    heap.max.saturating_sub(books)
}

fn write_site(out: &mut dyn Write, found: &Instance<Book>, site: &SiteInfo) -> fmt::Result {
    let blocks = Blocks(site.live_blocks.into());
    write!(out, " {} bytes in {blocks}", site.live_bytes)?;
    write_frames(out, found, &site.frames)
}

fn write_frames(out: &mut dyn Write, found: &Instance<Book>, frames: &[u64]) -> fmt::Result {
    let frames = frames.iter().take_while(|frame| **frame != 0);
    for offset in frames.filter_map(|frame| found.image_offset(*frame)) {
        write!(out, " {}+{offset:#x}", found.uuid)?;
    }
    Ok(())
}
