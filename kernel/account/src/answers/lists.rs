//! Every list of the account, section by section.
//!
//! **Invariant:** what one step does is bounded, and it holds locks only for itself.

use crate::api::{Lists, Rows};
use crate::heaps::pools::HeapRef;
use crate::heaps::question::{PoolError, Step};
use crate::heaps::rows::{MAX_CLASSES, SITES_STEP};
use crate::inspector::Inspector;
use crate::moment;
use crate::past::{history, unfreed_sites};
use crate::selected::{instance_from, is_dead};
use tally_abi::TeeResult;
use tally_mem::machine::Machine;
use tally_records::{
    BlockRow, ChunkRow, ClassRow, CommandRow, EndedRow, EventRow, FailureRow, HeldRow, HistoryRow,
    LeakRecord, MarkRow, MeminfoRow, OwnerRow, PoolRow, Record, RegionRow, Selector, SessionRow,
    SiteRow, SnapshotRow, SuspectRow, TaDetail, UnfreedRow, part,
};

/// Where the place of a heap stands in a cursor; below it is where to go on in that heap.
const PLACE_SHIFT: u32 = 48;
/// Blocks or chunks of one step.
const STEP: usize = 24;

impl<M: Machine> Lists for Inspector<'_, M> {
    fn list(
        &self,
        section: u32,
        of: &Selector,
        cursor: u64,
        out: &mut dyn Rows,
    ) -> Result<Option<u64>, TeeResult> {
        match section {
            MeminfoRow::SECTION => {
                let rows = moment::meminfo(&self.state().pages);
                whole(out, &rows)
            }
            OwnerRow::SECTION => whole(out, &self.owner_rows()?),
            HistoryRow::SECTION => self.history(out),
            UnfreedRow::SECTION => self.unfreed(out),
            PoolRow::SECTION => self.each(cursor, out, |at| self.next_pool(at)),
            TaDetail::SECTION => {
                self.loaded(of)?;
                self.each(cursor, out, |at| self.next_ta(of, at))
            }
            RegionRow::SECTION => {
                self.alive(of)?;
                self.each(cursor, out, |at| self.next_region(of, at))
            }
            SessionRow::SECTION => {
                self.loaded(of)?;
                self.each(cursor, out, |at| self.next_session(of, at))
            }
            SiteRow::SECTION => {
                self.in_heaps::<_, SITES_STEP>(of, cursor, out, |heap, at, rows| {
                    self.site_rows(heap, at, rows)
                })
            }
            ClassRow::SECTION => {
                self.in_heaps::<_, MAX_CLASSES>(of, cursor, out, |heap, _, rows| {
                    let count = self.class_rows(heap, rows)?;
                    Ok(Step { count, next: 0 })
                })
            }
            BlockRow::SECTION => self.in_heaps::<_, STEP>(of, cursor, out, |heap, at, rows| {
                self.block_rows(heap, at, rows)
            }),
            ChunkRow::SECTION => self.in_heaps::<_, STEP>(of, cursor, out, |heap, at, rows| {
                self.chunk_rows(heap, at, rows)
            }),
            LeakRecord::SECTION => {
                self.alive(of)?;
                self.heap_by_heap(of, cursor, |heap| self.live_in(heap, of.since, out))
            }
            SuspectRow::SECTION => {
                self.alive(of)?;
                self.heap_by_heap(of, cursor, |heap| self.suspects_in(heap, out))
            }
            FailureRow::SECTION => self.each(cursor, out, |at| self.next_failure(at)),
            HeldRow::SECTION => self.each(cursor, out, |at| self.next_held(at)),
            CommandRow::SECTION => self.each(cursor, out, |at| {
                self.state().guest(self.guest).book.commands.next(of, at)
            }),
            EventRow::SECTION => self.each(cursor, out, |at| {
                self.state().guest(self.guest).book.orders.next(at)
            }),
            MarkRow::SECTION => self.each(cursor, out, |at| {
                self.state().guest(self.guest).book.marks.next_set(at)
            }),
            EndedRow::SECTION => self.each(cursor, out, |at| {
                let state = self.state();
                state.guest(self.guest).book.marks.next_ended(of.since, at)
            }),
            SnapshotRow::SECTION => self.each(cursor, out, |at| {
                self.state().guest(self.guest).book.snapshots.next(at)
            }),
            _ => Err(TeeResult::NOT_SUPPORTED),
        }
    }

    fn dropped(&self, section: u32) -> u64 {
        let state = self.state();
        let book = &state.guest(self.guest).book;
        match section {
            HistoryRow::SECTION => book.history.dropped().into(),
            UnfreedRow::SECTION => book.unfreed.dropped().into(),
            CommandRow::SECTION => book.commands.dropped(),
            EventRow::SECTION => book.orders.totals().dropped,
            MarkRow::SECTION => book.marks.set.dropped().into(),
            EndedRow::SECTION => book.marks.ended.dropped().into(),
            _ => 0,
        }
    }
}

/// All rows at once.
fn whole<T: Record>(out: &mut dyn Rows, rows: &[T]) -> Result<Option<u64>, TeeResult> {
    for row in rows {
        out.put(row.as_bytes())?;
    }
    Ok(None)
}

impl<M: Machine> Inspector<'_, M> {
    /// The rows that `next` finds behind a cursor: one, and as many as there is room for.
    fn each<T: Record>(
        &self,
        cursor: u64,
        out: &mut dyn Rows,
        next: impl Fn(u64) -> Option<(T, u64)>,
    ) -> Result<Option<u64>, TeeResult> {
        let mut cursor = cursor;
        loop {
            let Some((row, behind)) = next(cursor) else {
                return Ok(None);
            };
            out.put(row.as_bytes())?;
            cursor = behind;
            self.breathe();
            if out.room() < size_of::<T>() {
                return Ok(Some(cursor));
            }
        }
    }

    /// What `ask` tells of the heaps that are meant, `N` rows a step at most. Of several, one that ends meanwhile,
    /// or whose books make no sense, has no more.
    fn in_heaps<T: Record, const N: usize>(
        &self,
        of: &Selector,
        cursor: u64,
        out: &mut dyn Rows,
        ask: impl Fn(HeapRef, u64, &mut [T]) -> Result<Step, PoolError>,
    ) -> Result<Option<u64>, TeeResult> {
        let several = matches!(of.part, part::ALL | part::TAS);
        let (mut place, mut at) = split(cursor);
        loop {
            let heap = if several {
                self.heap_from(of, place)
            } else {
                let heap = self.heap_of(of)?;
                (cursor == 0 || heap.place() == place).then_some(heap)
            };
            let Some(heap) = heap else { return Ok(None) };
            if heap.place() != place {
                (place, at) = (heap.place(), 0);
            }
            let mut rows = [T::default(); N];
            // The first chunk comes with the tables before it.
            let room = N.min(out.room() / size_of::<T>()).max(2);
            let step = match ask(heap, at, &mut rows[..room]) {
                Ok(step) => step,
                Err(_) if several => Step::default(),
                Err(error) => return Err(error.into()),
            };
            for row in &rows[..step.count] {
                out.put(row.as_bytes())?;
            }
            self.breathe();
            at = step.next;
            if at == 0 {
                if !several {
                    return Ok(None);
                }
                place += 1;
            }
            if out.room() < 2 * size_of::<T>() {
                return Ok(Some(join(place, at)));
            }
        }
    }

    /// Has `list` tell all of the next heap that is meant.
    fn heap_by_heap(
        &self,
        of: &Selector,
        cursor: u64,
        list: impl FnOnce(HeapRef) -> Result<(), TeeResult>,
    ) -> Result<Option<u64>, TeeResult> {
        let (place, _) = split(cursor);
        let Some(heap) = self.heap_from(of, place) else {
            return Ok(None);
        };
        list(heap)?;
        Ok(Some(join(heap.place() + 1, 0)))
    }

    /// What TAs used that have ended.
    fn history(&self, out: &mut dyn Rows) -> Result<Option<u64>, TeeResult> {
        let mut rows = [HistoryRow::default(); history::ROWS];
        let count = {
            let state = self.state();
            let latest = state.guest(self.guest).book.history.latest_first();
            copy(latest, &mut rows)
        };
        whole(out, &rows[..count])
    }

    /// What they had not freed.
    fn unfreed(&self, out: &mut dyn Rows) -> Result<Option<u64>, TeeResult> {
        let mut rows = [UnfreedRow::default(); unfreed_sites::ROWS];
        let count = {
            let state = self.state();
            let all = state.guest(self.guest).book.unfreed.rows().iter();
            copy(all.copied(), &mut rows)
        };
        whole(out, &rows[..count])
    }

    /// Whether a TA that is named is loaded.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`.
    pub(crate) fn loaded(&self, of: &Selector) -> Result<(), TeeResult> {
        let state = self.state();
        let found = || instance_from(state.guest(self.guest), of, 0).is_some();
        if of.names_a_ta() && !found() {
            return Err(TeeResult::ITEM_NOT_FOUND);
        }
        Ok(())
    }

    /// Whether a TA that is named has memory.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`, `TARGET_DEAD`.
    pub(crate) fn alive(&self, of: &Selector) -> Result<(), TeeResult> {
        self.loaded(of)?;
        if of.names_a_ta() && is_dead(self.state().guest(self.guest), of) {
            return Err(TeeResult::TARGET_DEAD);
        }
        Ok(())
    }
}

fn copy<T>(from: impl Iterator<Item = T>, to: &mut [T]) -> usize {
    let mut count = 0;
    for (row, place) in from.zip(to) {
        *place = row;
        count += 1;
    }
    count
}

/// Place of a heap, and where to go on in it.
const fn split(cursor: u64) -> (usize, u64) {
    let at = cursor & ((1 << PLACE_SHIFT) - 1);
    ((cursor >> PLACE_SHIFT) as usize, at)
}

const fn join(place: usize, at: u64) -> u64 {
    (place as u64) << PLACE_SHIFT | at
}
