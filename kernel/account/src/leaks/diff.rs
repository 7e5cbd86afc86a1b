//! Marks, and what was allocated between two of them and is still there.
//!
//! **Invariant:** heaps are walked in steps, with no lock held between them; what the question
//! takes is charged to an owner that its answer leaves out.

use crate::api::Rows;
use crate::book::Book;
use crate::heaps::pools::HeapRef;
use crate::heaps::ta_heap;
use crate::heaps::walk::{Groups, to_the_end};
use crate::inspector::Inspector;
use crate::leaks::marks::{Mark, MarkName};
use tally_abi::TeeResult;
use tally_core::kernel::State;
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;
use zerocopy::IntoBytes;

impl<M: Machine> Inspector<'_, M> {
    /// Blocks carry a new number from now on.
    pub(super) fn advance_mark(&self, state: &mut State<Book>) -> Result<u16, TeeResult> {
        let mark = state
            .guest_mut(self.guest)
            .book
            .marks
            .advance()
            .ok_or(TeeResult::OVERFLOW)?;
        self.heap().set_mark(mark);
        for (_, found) in state.guest(self.guest).instances.iter() {
            if let (Some(space), Some(heap)) = (&found.space, found.heap) {
                ta_heap::set_mark(&self.machine, space, heap, mark);
            }
        }
        Ok(mark)
    }

    /// Sets a mark and returns its number.
    pub(crate) fn set_mark(&self, name: &[u8]) -> Result<u16, TeeResult> {
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

    /// Live blocks of a heap by owner, call stack and mark, biggest first.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; those of `out`.
    pub(crate) fn live_in(
        &self,
        heap: HeapRef,
        since: u32,
        out: &mut dyn Rows,
    ) -> Result<(), TeeResult> {
        self.as_owner(OwnerId::CALL, || {
            let mut groups = Groups::default();
            to_the_end(self.each_block(heap, |block| {
                if u32::from(block.mark) >= since {
                    let mark = {
                        let state = self.state();
                        state.guest(self.guest).book.marks.before(block.mark)
                    };
                    groups.add(block, mark, 0)?;
                }
                Ok(())
            }))?;
            let mut rows = self.machine.interruptible(|| groups.sorted()).iter();
            rows.try_for_each(|group| {
                self.breathe();
                out.put(self.dress(heap, group).as_bytes())
            })
        })
    }
}
