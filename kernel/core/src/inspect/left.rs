//! What TAs had not freed when they ended, by call site.
//!
//! **Invariant:** a row is of one TA, one way to end and one call stack, all ended instances together; a full table
//! keeps the rows of most bytes, and counts what it gives up.
//! **Knows nothing of:** heaps, living instances.

use super::history::End;
use crate::fallible::{HeapExhausted, vec_with_capacity};
use alloc::vec::Vec;
use tally_abi::TeeUuid;
use tally_abi::pta::MAX_FRAMES;
use tally_abi::pta::inspect::UnfreedRow;

/// Call sites that are remembered.
pub const ROWS: usize = 32;

/// The table.
#[derive(Debug)]
pub struct Left {
    rows: Vec<UnfreedRow>,
    dropped: u32,
}

impl Left {
    /// An empty table.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn new() -> Result<Self, HeapExhausted> {
        Ok(Self {
            rows: vec_with_capacity(ROWS)?,
            dropped: 0,
        })
    }

    /// Adds what an instance that has ended had of a call site.
    pub fn note(
        &mut self,
        uuid: TeeUuid,
        end: End,
        frames: [u64; MAX_FRAMES],
        bytes: u64,
        blocks: u64,
    ) {
        let died = u32::from(end == End::Died);
        let is_it = |row: &UnfreedRow| (row.uuid, row.died, row.frames) == (uuid, died, frames);
        let at = match self.rows.iter().position(is_it) {
            Some(at) => at,
            None => {
                if self.rows.len() == ROWS {
                    self.dropped = self.dropped.saturating_add(1);
                    // The smallest is last.
                    if self.rows.last().is_some_and(|last| last.bytes >= bytes) {
                        return;
                    }
                    self.rows.pop();
                }
                self.rows.push(UnfreedRow {
                    uuid,
                    frames,
                    died,
                    ..UnfreedRow::default()
                });
                self.rows.len() - 1
            }
        };
        let row = &mut self.rows[at];
        row.bytes = row.bytes.saturating_add(bytes);
        row.blocks = row.blocks.saturating_add(blocks);
        row.instances = row.instances.saturating_add(1);
        self.rows
            .sort_unstable_by_key(|row| core::cmp::Reverse(row.bytes));
    }

    /// The `index`-th row, most bytes first.
    #[must_use]
    pub fn row(&self, index: usize) -> Option<UnfreedRow> {
        self.rows.get(index).copied()
    }

    /// Rows that were given up, or had no room.
    #[must_use]
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::{End, Left, MAX_FRAMES, ROWS};
    use tally_abi::TeeUuid;

    const TA: TeeUuid = TeeUuid::from_u128(1);

    fn frames(first: u64) -> [u64; MAX_FRAMES] {
        let mut frames = [0; MAX_FRAMES];
        frames[0] = first;
        frames
    }

    #[test]
    fn ends_of_one_ta_add_up_by_call_site() {
        let mut left = Left::new().unwrap();
        left.note(TA, End::Orderly, frames(8), 28, 1);
        left.note(TA, End::Orderly, frames(8), 56, 2);
        left.note(TA, End::Died, frames(8), 7, 1);
        left.note(TeeUuid::from_u128(2), End::Orderly, frames(8), 900, 1);
        let rows = (0..).map_while(|n| left.row(n));
        let told: Vec<_> = rows
            .map(|row| (row.bytes, row.blocks, row.instances, row.died))
            .collect();
        assert_eq!(told, [(900, 1, 1, 0), (84, 3, 2, 0), (7, 1, 1, 1)]);
        assert_eq!(left.dropped(), 0);
    }

    #[test]
    fn a_full_table_keeps_the_biggest_and_counts_the_others() {
        let mut left = Left::new().unwrap();
        for n in 1..=ROWS as u64 {
            left.note(TA, End::Orderly, frames(n), 100 + n, 1);
        }
        // One that is too small, and one that is known.
        left.note(TA, End::Orderly, frames(1000), 50, 1);
        left.note(TA, End::Orderly, frames(1), 10, 1);
        let bytes = |left: &Left, n| left.row(n).map(|row| row.bytes);
        assert_eq!((left.dropped(), bytes(&left, ROWS - 1)), (1, Some(102)));
        left.note(TA, End::Orderly, frames(2000), 5000, 1);
        assert_eq!((left.dropped(), bytes(&left, 0)), (2, Some(5000)));
        assert_eq!(bytes(&left, ROWS - 1), Some(103));
        assert_eq!(bytes(&left, ROWS), None);
    }
}
