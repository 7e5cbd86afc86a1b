//! Marks, and what was allocated between two of them and is still there.
//!
//! **Invariant:** heaps are walked in steps, with no lock held between them; what the question
//! takes is charged to an owner that its answer leaves out.

use crate::api::leaks::{Heaps, LeakServices, MarkRange, Put};
use crate::book::Book;
use crate::heaps::ta_heap;
use crate::heaps::walk::{Groups, HeapRef, to_the_end};
use crate::inspector::Inspector;
use crate::leaks::marks::{Ended, Mark, MarkName};
use tally_abi::TeeResult;
use tally_core::kernel::State;
use tally_ledger::Block;
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;
use tally_records::EndedRow;
use tally_records::LeakRecord;
use tally_records::MarkRow;
use tally_records::ScanRow;
use tally_records::SuspectRow;
use tally_records::ended;

impl<M: Machine> Inspector<'_, M> {
    /// Blocks carry a new number from now on.
    pub(super) fn advance_mark(&self, state: &mut State<Book>) -> Result<u16, TeeResult> {
        let mark = state
            .guest_mut(self.guest)
            .book
            .marks
            .advance()
            .ok_or(TeeResult::OVERFLOW)?;
        self.heap().set_epoch(mark);
        for (_, found) in state.guest(self.guest).instances.iter() {
            if let (Some(space), Some(heap)) = (&found.space, found.heap) {
                ta_heap::set_epoch(&self.machine, space, heap, mark);
            }
        }
        Ok(mark)
    }

    fn diff_of(
        &self,
        heap: HeapRef,
        marks: MarkRange,
        put: Put<'_, LeakRecord>,
    ) -> Result<(), TeeResult> {
        let mut groups = Groups::default();
        let wanted = |block: &Block| {
            block.epoch >= marks.from && (marks.until == 0 || block.epoch < marks.until)
        };
        to_the_end(self.each_block(heap, |block| {
            if wanted(block) {
                groups.add(block, 0)?;
            }
            Ok(())
        }))?;
        for group in groups.sorted() {
            put(&self.dress(heap, group))?;
        }
        Ok(())
    }
}

impl<M: Machine> LeakServices for Inspector<'_, M> {
    fn mark_named(&self, name: &[u8]) -> Result<u16, TeeResult> {
        let name = MarkName::new(name).ok_or(TeeResult::BAD_PARAMETERS)?;
        let mut state = self.state();
        let number = self.advance_mark(&mut state)?;
        state.guest_mut(self.guest).book.marks.set.note(Mark {
            number,
            name,
            at_ms: self.uptime_millis(),
        });
        Ok(number)
    }

    fn mark_row(&self, index: usize) -> Option<MarkRow> {
        let state = self.state();
        let mark = state.guest(self.guest).book.marks.set.iter().nth(index)?;
        Some(MarkRow {
            at_ms: mark.at_ms,
            number: u32::from(mark.number),
            reserved: 0,
            name: mark.name.octets(),
        })
    }

    fn mark_counts(&self) -> (u32, u32) {
        let state = self.state();
        let set = &state.guest(self.guest).book.marks.set;
        let last = set.iter().last().map_or(0, |mark| mark.number);
        (u32::from(last), set.dropped())
    }

    fn knows_mark(&self, number: u16) -> bool {
        self.state().guest(self.guest).book.marks.knows(number)
    }

    fn ended_row(&self, since: u16, index: usize) -> Option<EndedRow> {
        let state = self.state();
        let mut ended = state.guest(self.guest).book.marks.ended.iter();
        let found: &Ended = ended.by_ref().filter(|end| end.mark >= since).nth(index)?;
        Some(EndedRow {
            uuid: found.uuid,
            at_ms: found.at_ms,
            bytes: found.bytes,
            blocks: found.blocks,
            mark: u32::from(found.mark),
            born: u32::from(found.born),
            how: match (found.inconsistent, found.died) {
                (true, _) => ended::UNKNOWN,
                (false, true) => ended::DIED,
                (false, false) => ended::CLOSED,
            },
        })
    }

    fn ended_dropped(&self) -> u32 {
        self.state().guest(self.guest).book.marks.ended.dropped()
    }

    fn diff(
        &self,
        heaps: Heaps,
        marks: MarkRange,
        put: Put<'_, LeakRecord>,
    ) -> Result<(), TeeResult> {
        self.as_owner(OwnerId::CALL, || {
            let mut last = None;
            while let Some(heap) = self.next_heap(heaps, last) {
                last = Some(heap);
                self.diff_of(heap, marks, put)?;
            }
            Ok(())
        })
    }

    fn heap_count(&self, heaps: Heaps) -> usize {
        let mut last = None;
        let mut count = 0;
        while let Some(heap) = self.next_heap(heaps, last) {
            last = Some(heap);
            count += 1;
        }
        count
    }

    fn scan(&self, heaps: Heaps, put: Put<'_, ScanRow>) -> Result<(), TeeResult> {
        self.as_owner(OwnerId::CALL, || self.scan_heaps(heaps, put))
    }

    fn suspects(&self, heaps: Heaps, put: Put<'_, SuspectRow>) -> Result<(), TeeResult> {
        self.as_owner(OwnerId::CALL, || self.list_suspects(heaps, put))
    }

    fn clear(&self, heaps: Heaps) -> Result<u32, TeeResult> {
        self.clear_suspects(heaps)
    }
}
