//! Report of an ending instance: dmalloc's "not freed", by call site.
//!
//! **Invariant:** bounded work under one lock, from the TA's books as they are, those of a C TA in steps; nothing is
//! locked while a line is written. The caller has claimed the instance.

use crate::heaps::c_heap;
use crate::heaps::ta_heap::{self, image_frames};
use crate::inspector::Inspector;
use crate::leaks::marks;
use crate::past::history::Ended;
use crate::past::remains::Remains;
use core::fmt::{self, Write};
use tally_abi::TeeUuid;
use tally_abi::pta::MAX_FRAMES;
use tally_core::guest::Guest;
use tally_core::ta::crypto::Holdings;
use tally_core::ta::instance::{InstanceRef, Life};
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
/// Steps of the search for them. Only heaps for debugging have any.
const OVERRUN_STEPS: usize = 64;

impl<M: Machine> Inspector<'_, M> {
    /// Notes the end of an instance that is about to lose its memory.
    pub(crate) fn note_end(&self, instance: InstanceRef, end: End) {
        let remains = self.remains(instance);
        if let Some(remains) = &remains {
            let entered = self.note_ended(instance, end, remains);
            if let Some(uuid) = entered {
                self.print_overruns(instance, uuid);
            }
        }
        self.note_instance_end(instance, end, remains.as_ref());
        let mut state = self.state();
        let (pages, guest) = state.split(instance.guest());
        guest.book.orders.forget_closed(instance);
        if let Some(found) = guest.instances.at_mut(instance) {
            found.notes.remains = remains;
            if let Some(findings) = found.notes.scans.findings.take() {
                findings.destroy(pages);
            }
        }
    }

    /// Tells what it had not freed, and its UUID if it could be entered. Out of line, as
    /// [`Self::note_instance_end`]: what is freed next must not lie below it.
    #[inline(never)]
    fn note_ended(&self, instance: InstanceRef, end: End, remains: &Remains) -> Option<TeeUuid> {
        let (uuid, image_id, is_of_c) = match self.state().instance(instance) {
            // What never could be entered has used nothing.
            Some(found) if found.life != Life::Loading => {
                (found.uuid, found.image_id, c_heap::may_have(found))
            }
            _ => return None,
        };
        let mut sites = [SiteInfo::default(); TOP_SITES];
        let mut top = TopSites::default();
        if remains.heap.live_blocks != 0 {
            top = self.top_sites(instance, &mut sites);
        }
        let sites = &sites[..top.count];
        // The kit's own code leaves a block in every C TA: that is in the history.
        if end == End::Orderly && remains.heap.live_blocks != 0 && !is_of_c {
            self.print_unfreed((uuid, image_id), remains, &top, sites);
        }
        if remains.heap.inconsistent == consistency::INCONSISTENT {
            log::error!(
                "TA {uuid} ended, and its heap's books do not add up: what it had not freed is not known"
            );
        }
        let mut state = self.state();
        let Guest {
            instances, book, ..
        } = state.guest_mut(instance.guest());
        let found = instances.at(instance)?;
        for site in sites {
            book.unfreed.note(&UnfreedRow {
                uuid,
                image_id,
                frames: site.frames,
                bytes: site.live_bytes.into(),
                blocks: site.live_blocks.into(),
                instances: 1,
                died: u32::from(end == End::Died),
            });
        }
        let heap = found.space.as_ref().and_then(|space| space.heap());
        let ended = Ended {
            uuid,
            end,
            remains: *remains,
            heap_size: heap.map_or(0, |heap| declared(heap, remains)),
            stack_size: found.stack_len,
            charged_max: u64::from(remains.charged_max) * PAGE_SIZE as u64,
            unclosed: found.holdings().map_or(0, Holdings::len),
        };
        book.history.note(&ended);
        Some(uuid)
    }

    /// Notes that an instance ends, with what its heap still holds. One that was never ready is no
    /// instance to anybody.
    #[inline(never)]
    fn note_instance_end(&self, instance: InstanceRef, end: End, remains: Option<&Remains>) {
        let mut state = self.state();
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
    #[inline(never)]
    fn print_overruns(&self, instance: InstanceRef, uuid: TeeUuid) {
        let mut overruns = [Overrun::default(); MAX_OVERRUNS];
        let mut cursor = 0;
        for _ in 0..OVERRUN_STEPS {
            let Some((count, next)) = self.overruns(instance, cursor, &mut overruns) else {
                return;
            };
            for overrun in &overruns[..count] {
                let frames = self.frames_of(instance, overrun);
                let mut line = TextBuffer::<320>::EMPTY;
                // A line that is cut is still a line.
                let _ = write_overrun(&mut line, uuid, overrun, &frames);
                log::error!("{}", line.text());
                self.breathe();
            }
            cursor = next;
            if count != 0 || cursor == 0 {
                return;
            }
            self.breathe();
        }
    }

    /// The next of them, and where to go on.
    fn overruns(
        &self,
        instance: InstanceRef,
        cursor: u64,
        out: &mut [Overrun],
    ) -> Option<(usize, u64)> {
        let state = self.state();
        let found = state.instance(instance)?;
        let view = ta_heap::open(&self.machine, found.space.as_ref()?, found.heap?).ok()?;
        view.overruns(cursor, out).ok()
    }

    /// Where such a block was allocated, in the image.
    fn frames_of(&self, instance: InstanceRef, overrun: &Overrun) -> [u64; MAX_FRAMES] {
        let state = self.state();
        let frames = state.instance(instance).and_then(|found| {
            let view = ta_heap::open(&self.machine, found.space.as_ref()?, found.heap?).ok()?;
            let frames = view.frames(overrun.block.site).ok()?;
            Some(image_frames(found, &frames))
        });
        frames.unwrap_or_default()
    }

    #[inline(never)]
    fn print_unfreed(
        &self,
        (uuid, image_id): (TeeUuid, u64),
        remains: &Remains,
        top: &TopSites,
        sites: &[SiteInfo],
    ) {
        log::error!(
            "TA {uuid} ended with {} bytes in {} not freed",
            remains.heap.alloc.allocated,
            Blocks(remains.heap.live_blocks)
        );
        if top.is_partial() {
            log::error!("{top}");
        }
        log::error!("Image {uuid}: {image_id:016x}");
        for site in sites {
            let mut line = TextBuffer::<320>::EMPTY;
            // A line that is cut is still a line.
            let _ = write_site(&mut line, uuid, site);
            log::error!("{}", line.text());
            self.breathe();
        }
    }
}

fn write_overrun(
    out: &mut dyn Write,
    uuid: TeeUuid,
    overrun: &Overrun,
    frames: &[u64],
) -> fmt::Result {
    write!(
        out,
        "TA {uuid} wrote past the end of a block: byte {} of {}, allocated at",
        overrun.at, overrun.block.size
    )?;
    write_frames(out, uuid, frames)
}

/// What a TA declared as its heap: what it reserved, less the books.
fn declared(heap: HeapRange, remains: &Remains) -> u64 {
    let blocks = u64::from(remains.heap.alloc.size);
    let books = heap.committed.saturating_sub(blocks);
    heap.max.saturating_sub(books)
}

fn write_site(out: &mut dyn Write, uuid: TeeUuid, site: &SiteInfo) -> fmt::Result {
    let blocks = Blocks(site.live_blocks.into());
    write!(out, " {} bytes in {blocks}", site.live_bytes)?;
    write_frames(out, uuid, &site.frames)
}

/// Offsets in the image.
fn write_frames(out: &mut dyn Write, uuid: TeeUuid, offsets: &[u64]) -> fmt::Result {
    for offset in offsets.iter().take_while(|offset| **offset != 0) {
        write!(out, " {uuid}+{offset:#x}")?;
    }
    Ok(())
}
