//! History of ended TAs: the memory they used.
//!
//! **Invariant:** a row is of one UUID, all its ended instances together; a full table gives up the row
//! that is longest unchanged, and counts it.

use crate::past::remains::Remains;
use tally_abi::TeeUuid;
use tally_core::ta::task::End;
use tally_records::{HistoryRow, consistency};

/// UUIDs that are remembered.
pub const ROWS: usize = 32;

/// An instance that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Which TA.
    pub uuid: TeeUuid,
    /// How.
    pub end: End,
    /// What is left of it.
    pub remains: Remains,
    /// Heap bytes declared.
    pub heap_size: u64,
    /// Stack bytes.
    pub stack_size: u64,
    /// Most bytes charged.
    pub charged_max: u64,
    /// Objects and operations that it had not closed.
    pub unclosed: u32,
}

/// The table.
#[derive(Debug)]
pub struct History {
    rows: [HistoryRow; ROWS],
    /// When each row was changed last, counted in ends; 0 for a row that is not used.
    changed: [u64; ROWS],
    ends: u64,
    dropped: u32,
}

impl History {
    /// Nothing has ended yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            rows: [HistoryRow::default(); ROWS],
            changed: [0; ROWS],
            ends: 0,
            dropped: 0,
        }
    }

    /// Adds an instance that has ended.
    pub fn note(&mut self, ended: &Ended) {
        self.ends += 1;
        let at = self.place_for(ended.uuid);
        self.changed[at] = self.ends;
        let row = &mut self.rows[at];
        let heap = &ended.remains.heap;
        row.ended = row.ended.saturating_add(1);
        row.heap_max = row.heap_max.max(heap.alloc.max_allocated.into());
        row.heap_size = row.heap_size.max(ended.heap_size);
        row.stack_max = row.stack_max.max(ended.remains.stack_deepest);
        row.stack_size = row.stack_size.max(ended.stack_size);
        row.charged_max = row.charged_max.max(ended.charged_max);
        row.refused = row.refused.saturating_add(heap.alloc.num_alloc_fail.into());
        let biggest = u64::from(heap.alloc.biggest_alloc_fail);
        if biggest > row.biggest_refused {
            row.biggest_refused = biggest;
            row.biggest_refused_used = heap.alloc.biggest_alloc_fail_used.into();
        }
        let is_lost = heap.inconsistent == consistency::INCONSISTENT;
        row.inconsistent = row.inconsistent.saturating_add(is_lost.into());
        let (blocks, bytes) = match ended.end {
            End::Orderly => {
                row.unclosed = row.unclosed.saturating_add(ended.unclosed);
                (&mut row.unfreed_blocks, &mut row.unfreed_bytes)
            }
            End::Died => {
                row.died = row.died.saturating_add(1);
                (&mut row.held_blocks, &mut row.held_bytes)
            }
        };
        *blocks = blocks.saturating_add(heap.live_blocks);
        *bytes = bytes.saturating_add(heap.alloc.allocated.into());
    }

    /// Restarts maxima and refusals. What ended, and with what, stays told.
    pub fn restart(&mut self) {
        for row in &mut self.rows {
            *row = HistoryRow {
                heap_max: 0,
                stack_max: 0,
                charged_max: 0,
                refused: 0,
                biggest_refused: 0,
                biggest_refused_used: 0,
                ..*row
            };
        }
    }

    /// The rows, latest first.
    pub fn latest_first(&self) -> impl Iterator<Item = HistoryRow> + '_ {
        let mut order: [usize; ROWS] = core::array::from_fn(|n| n);
        order.sort_unstable_by_key(|at| core::cmp::Reverse(self.changed[*at]));
        let used = order.into_iter().filter(|at| self.changed[*at] != 0);
        used.map(|at| self.rows[at])
    }

    /// Rows that were given up.
    #[must_use]
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }

    fn place_for(&mut self, uuid: TeeUuid) -> usize {
        let used = |at: &usize| self.changed[*at] != 0;
        let known = (0..ROWS)
            .filter(used)
            .find(|at| self.rows[*at].uuid == uuid);
        if let Some(at) = known {
            return at;
        }
        let oldest = (0..ROWS).min_by_key(|at| self.changed[*at]).unwrap_or(0);
        if self.changed[oldest] != 0 {
            self.dropped = self.dropped.saturating_add(1);
        }
        self.rows[oldest] = HistoryRow {
            uuid,
            ..HistoryRow::default()
        };
        oldest
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{End, Ended, History, ROWS, consistency};
    use crate::past::remains::Remains;
    use tally_abi::TeeUuid;

    fn ended(uuid: u128, end: End, blocks: u64) -> Ended {
        let mut remains = Remains::default();
        remains.heap.live_blocks = blocks;
        remains.heap.alloc.allocated = blocks as u32 * 10;
        remains.heap.alloc.max_allocated = 100 + blocks as u32;
        remains.stack_deepest = 50;
        Ended {
            uuid: TeeUuid::from_u128(uuid),
            end,
            remains,
            heap_size: 1000,
            stack_size: 2000,
            charged_max: 3000,
            unclosed: 1,
        }
    }

    #[test]
    fn ends_of_one_ta_add_up() {
        let mut history = History::new();
        history.note(&ended(1, End::Orderly, 2));
        history.note(&ended(1, End::Died, 7));
        history.note(&ended(1, End::Orderly, 0));
        let row = history.latest_first().next().unwrap();
        assert_eq!((row.ended, row.died), (3, 1));
        assert_eq!((row.unfreed_blocks, row.unfreed_bytes), (2, 20));
        assert_eq!((row.held_blocks, row.held_bytes), (7, 70));
        assert_eq!(row.unclosed, 2, "who dies closes nothing");
        assert_eq!((row.heap_max, row.stack_max), (107, 50));
        assert_eq!(history.latest_first().count(), 1);
    }

    #[test]
    fn books_that_did_not_add_up_are_counted() {
        // Bug: such an end read as if all had been freed.
        let mut history = History::new();
        let mut lost = ended(1, End::Orderly, 0);
        lost.remains.heap.inconsistent = consistency::INCONSISTENT;
        history.note(&lost);
        history.note(&ended(1, End::Orderly, 0));
        let row = history.latest_first().next().unwrap();
        assert_eq!((row.ended, row.inconsistent), (2, 1));
    }

    #[test]
    fn refusals_outlive_the_instances_that_met_them() {
        let mut history = History::new();
        for (count, biggest, used) in [(1, 40_000, 24), (2, 30_000, 900), (0, 0, 0)] {
            let mut ended = ended(1, End::Orderly, 0);
            ended.remains.heap.alloc.num_alloc_fail = count;
            ended.remains.heap.alloc.biggest_alloc_fail = biggest;
            ended.remains.heap.alloc.biggest_alloc_fail_used = used;
            history.note(&ended);
        }
        let row = history.latest_first().next().unwrap();
        assert_eq!(row.refused, 3);
        assert_eq!(
            (row.biggest_refused, row.biggest_refused_used),
            (40_000, 24)
        );
    }

    #[test]
    fn a_restart_forgets_maxima_and_refusals_and_no_more() {
        let mut history = History::new();
        let mut refused = ended(1, End::Orderly, 2);
        refused.remains.heap.alloc.num_alloc_fail = 1;
        refused.remains.heap.alloc.biggest_alloc_fail = 30_000_000;
        refused.remains.heap.alloc.biggest_alloc_fail_used = 24;
        history.note(&refused);
        history.restart();
        let row = history.latest_first().next().unwrap();
        assert_eq!((row.heap_max, row.stack_max, row.charged_max), (0, 0, 0));
        let refusals = [row.refused, row.biggest_refused, row.biggest_refused_used];
        assert_eq!(refusals, [0; 3]);
        assert_eq!((row.ended, row.heap_size, row.stack_size), (1, 1000, 2000));
        assert_eq!((row.unfreed_blocks, row.unfreed_bytes), (2, 20));
        history.note(&ended(1, End::Orderly, 0));
        let row = history.latest_first().next().unwrap();
        assert_eq!((row.ended, row.heap_max, row.refused), (2, 100, 0));
    }

    #[test]
    fn a_full_table_gives_up_the_oldest_and_counts_it() {
        let mut history = History::new();
        for uuid in 1..=ROWS as u128 {
            history.note(&ended(uuid, End::Orderly, 0));
        }
        history.note(&ended(1, End::Orderly, 0));
        assert_eq!(history.dropped(), 0);
        history.note(&ended(99, End::Orderly, 0));
        assert_eq!(history.dropped(), 1);
        let uuids: Vec<TeeUuid> = history.latest_first().map(|row| row.uuid).collect();
        assert_eq!(uuids[..2], [99, 1].map(TeeUuid::from_u128));
        assert!(!uuids.contains(&TeeUuid::from_u128(2)));
        assert_eq!(uuids.len(), ROWS);
    }
}
