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
use tally_core::guest::MAX_INSTANCES;
use tally_mem::machine::Machine;
use tally_records::{
    BlockRow, CacheRow, ChunkRow, ClassRow, CommandRow, EndedRow, EventRow, FailureRow, HeldRow,
    HistoryRow, LeakRecord, MarkRow, MeminfoRow, OwnerRow, PoolRow, Record, RegionRow, Selector,
    SessionRow, SiteRow, SnapshotRow, StorageRow, SuspectRow, TaDetail, UnfreedRow, part,
};

/// Where a heap's slot and generation stand in a cursor; below them is where to go on in that heap, which is an offset
/// in it, or the number of a site.
const SLOT_SHIFT: u32 = 56;
const GENERATION_SHIFT: u32 = 32;
const GENERATIONS: u64 = 0xff_ffff;
const _: () = assert!(MAX_INSTANCES < 1 << (u64::BITS - SLOT_SHIFT));
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
            MeminfoRow::SECTION => self.meminfo(out),
            OwnerRow::SECTION => self.owners(out),
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
                self.in_heaps::<_, SITES_STEP>(of, cursor, out, 1, |heap, at, rows| {
                    self.site_rows(heap, at, rows)
                })
            }
            ClassRow::SECTION => {
                self.in_heaps::<_, MAX_CLASSES>(of, cursor, out, MAX_CLASSES, |heap, _, rows| {
                    let count = self.class_rows(heap, rows)?;
                    Ok(Step { count, next: 0 })
                })
            }
            BlockRow::SECTION => self.in_heaps::<_, STEP>(of, cursor, out, 1, |heap, at, rows| {
                self.block_rows(heap, at, rows)
            }),
            // The first chunk comes with the tables before it.
            ChunkRow::SECTION => self.in_heaps::<_, STEP>(of, cursor, out, 2, |heap, at, rows| {
                self.chunk_rows(heap, at, rows)
            }),
            LeakRecord::SECTION => {
                self.known_mark(of)?;
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
            StorageRow::SECTION => self.each(cursor, out, |at| self.next_stored(at)),
            CacheRow::SECTION => self.each(cursor, out, |at| self.next_cache(at)),
            EventRow::SECTION => self.each(cursor, out, |at| {
                self.state().guest(self.guest).book.orders.next(at)
            }),
            MarkRow::SECTION => self.each(cursor, out, |at| {
                self.state().guest(self.guest).book.marks.next_set(at)
            }),
            EndedRow::SECTION => {
                self.known_mark(of)?;
                self.each(cursor, out, |at| {
                    let state = self.state();
                    state.guest(self.guest).book.marks.next_ended(of.since, at)
                })
            }
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

impl<M: Machine> Inspector<'_, M> {
    /// All rows, which are of one moment.
    #[inline(never)]
    fn whole<T: Record>(&self, out: &mut dyn Rows, rows: &[T]) -> Result<Option<u64>, TeeResult> {
        for row in rows {
            out.put(row.as_bytes())?;
            self.breathe();
        }
        Ok(None)
    }

    /// The rows that `next` finds behind a cursor: one, and as many as there is room for. Out of line, as all that holds
    /// rows: what one list keeps of them must not weigh on the others' stack.
    #[inline(never)]
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
    #[inline(never)]
    fn in_heaps<T: Record, const N: usize>(
        &self,
        of: &Selector,
        cursor: u64,
        out: &mut dyn Rows,
        least: usize,
        ask: impl Fn(HeapRef, u64, &mut [T]) -> Result<Step, PoolError>,
    ) -> Result<Option<u64>, TeeResult> {
        let several = matches!(of.part, part::ALL | part::TAS);
        let (mut place, mut at) = split(cursor);
        let mut begun = cursor == 0;
        let mut told = false;
        loop {
            let heap = if several {
                self.heap_from(of, place.slot)
            } else {
                let heap = self.heap_of(of)?;
                (begun || Place::of(heap) == place).then_some(heap)
            };
            let Some(heap) = heap else { return Ok(None) };
            if Place::of(heap) != place {
                // Its own, or that of one that has come in the place of another.
                (place, at) = (Place::of(heap), 0);
            }
            begun = false;
            let room = out.room() / size_of::<T>();
            if told && room < least {
                return Ok(Some(join(place, at)));
            }
            let mut rows = [T::default(); N];
            let room = N.min(room.max(least));
            let step = match ask(heap, at, &mut rows[..room]) {
                Ok(step) => step,
                Err(_) if several => Step::default(),
                Err(error) => return Err(error.into()),
            };
            for row in &rows[..step.count] {
                out.put(row.as_bytes())?;
            }
            told |= step.count > 0;
            self.breathe();
            at = step.next;
            if at == 0 {
                if !several {
                    return Ok(None);
                }
                place = Place::after(place);
            }
        }
    }

    /// # Errors
    /// `BAD_PARAMETERS` for a mark that was never set, or is forgotten.
    fn known_mark(&self, of: &Selector) -> Result<(), TeeResult> {
        let state = self.state();
        let marks = &state.guest(self.guest).book.marks;
        let is_known = u16::try_from(of.since).is_ok_and(|mark| mark == 0 || marks.knows(mark));
        is_known.then_some(()).ok_or(TeeResult::BAD_PARAMETERS)
    }

    /// Has `list` tell all of the next heap that is meant.
    #[inline(never)]
    fn heap_by_heap(
        &self,
        of: &Selector,
        cursor: u64,
        list: impl FnOnce(HeapRef) -> Result<(), TeeResult>,
    ) -> Result<Option<u64>, TeeResult> {
        let (place, _) = split(cursor);
        let Some(heap) = self.heap_from(of, place.slot) else {
            return Ok(None);
        };
        list(heap)?;
        Ok(Some(join(Place::after(Place::of(heap)), 0)))
    }

    #[inline(never)]
    fn meminfo(&self, out: &mut dyn Rows) -> Result<Option<u64>, TeeResult> {
        let rows = moment::meminfo(&self.state().pages);
        self.whole(out, &rows)
    }

    #[inline(never)]
    fn owners(&self, out: &mut dyn Rows) -> Result<Option<u64>, TeeResult> {
        self.whole(out, &self.owner_rows()?)
    }

    /// What TAs used that have ended.
    #[inline(never)]
    fn history(&self, out: &mut dyn Rows) -> Result<Option<u64>, TeeResult> {
        let mut rows = [HistoryRow::default(); history::ROWS];
        let count = {
            let state = self.state();
            let latest = state.guest(self.guest).book.history.latest_first();
            copy(latest, &mut rows)
        };
        self.whole(out, &rows[..count])
    }

    /// What they had not freed.
    #[inline(never)]
    fn unfreed(&self, out: &mut dyn Rows) -> Result<Option<u64>, TeeResult> {
        let mut rows = [UnfreedRow::default(); unfreed_sites::ROWS];
        let count = {
            let state = self.state();
            let all = state.guest(self.guest).book.unfreed.rows().iter();
            copy(all.copied(), &mut rows)
        };
        self.whole(out, &rows[..count])
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

/// The place of a heap among all, and which of those that were ever there it is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    slot: usize,
    /// As much of the instance's number as a cursor has room for.
    generation: u64,
}

impl Place {
    const fn of(heap: HeapRef) -> Self {
        let generation = match heap {
            HeapRef::Kernel => 0,
            HeapRef::Ta(instance) => instance.generation as u64 & GENERATIONS,
        };
        Self {
            slot: heap.place(),
            generation,
        }
    }

    /// That of whatever comes behind it.
    const fn after(self) -> Self {
        Self {
            slot: self.slot + 1,
            generation: 0,
        }
    }
}

/// Place of a heap, and where to go on in it.
const fn split(cursor: u64) -> (Place, u64) {
    let place = Place {
        slot: (cursor >> SLOT_SHIFT) as usize,
        generation: cursor >> GENERATION_SHIFT & GENERATIONS,
    };
    (place, cursor & ((1 << GENERATION_SHIFT) - 1))
}

const fn join(place: Place, at: u64) -> u64 {
    (place.slot as u64) << SLOT_SHIFT | place.generation << GENERATION_SHIFT | at
}
