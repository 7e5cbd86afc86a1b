//! Unfreed blocks of ended TAs, by call site.
//!
//! **Invariant:** a row is of one build of a TA, one way to end and one call stack, all ended instances together; a full table
//! keeps the rows of most bytes, and counts what it gives up.

use alloc::vec::Vec;
use tally_mem::fallible::{HeapExhausted, vec_with_capacity};
use tally_records::UnfreedRow;

/// Call sites that are remembered.
pub const ROWS: usize = 32;

/// The table.
#[derive(Debug, Default)]
pub struct UnfreedSites {
    rows: Vec<UnfreedRow>,
    dropped: u32,
}

impl UnfreedSites {
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
    pub fn note(&mut self, one: &UnfreedRow) {
        let key = |row: &UnfreedRow| (row.uuid, row.image_id, row.died, row.frames);
        let at = match self.rows.iter().position(|row| key(row) == key(one)) {
            Some(at) => at,
            None => {
                if self.rows.len() == ROWS {
                    self.dropped = self.dropped.saturating_add(1);
                    // The smallest is last.
                    if self.rows.last().is_some_and(|last| last.bytes >= one.bytes) {
                        return;
                    }
                    self.rows.pop();
                }
                self.rows.push(UnfreedRow {
                    bytes: 0,
                    blocks: 0,
                    instances: 0,
                    ..*one
                });
                self.rows.len() - 1
            }
        };
        let row = &mut self.rows[at];
        row.bytes = row.bytes.saturating_add(one.bytes);
        row.blocks = row.blocks.saturating_add(one.blocks);
        row.instances = row.instances.saturating_add(one.instances);
        self.rows
            .sort_unstable_by_key(|row| core::cmp::Reverse(row.bytes));
    }

    /// The rows, most bytes first.
    #[must_use]
    pub fn rows(&self) -> &[UnfreedRow] {
        &self.rows
    }

    /// Rows that were given up, or had no room.
    #[must_use]
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::{ROWS, UnfreedSites};
    use tally_abi::TeeUuid;
    use tally_abi::pta::MAX_FRAMES;
    use tally_records::UnfreedRow;

    const TA: TeeUuid = TeeUuid::from_u128(1);

    fn one(uuid: TeeUuid, frame: u64, bytes: u64, blocks: u64) -> UnfreedRow {
        let mut frames = [0; MAX_FRAMES];
        frames[0] = frame;
        UnfreedRow {
            uuid,
            frames,
            bytes,
            blocks,
            instances: 1,
            ..UnfreedRow::default()
        }
    }

    #[test]
    fn ends_of_one_build_of_a_ta_add_up_by_call_site() {
        let mut left = UnfreedSites::new().unwrap();
        left.note(&one(TA, 8, 28, 1));
        left.note(&one(TA, 8, 56, 2));
        left.note(&UnfreedRow {
            died: 1,
            ..one(TA, 8, 7, 1)
        });
        left.note(&UnfreedRow {
            image_id: 5,
            ..one(TA, 8, 6, 1)
        });
        left.note(&one(TeeUuid::from_u128(2), 8, 900, 1));
        let told: Vec<_> = left
            .rows()
            .iter()
            .map(|row| (row.bytes, row.blocks, row.instances, row.died))
            .collect();
        assert_eq!(
            told,
            [(900, 1, 1, 0), (84, 3, 2, 0), (7, 1, 1, 1), (6, 1, 1, 0)]
        );
        assert_eq!(left.dropped(), 0);
    }

    #[test]
    fn a_full_table_keeps_the_biggest_and_counts_the_others() {
        let mut left = UnfreedSites::new().unwrap();
        for n in 1..=ROWS as u64 {
            left.note(&one(TA, n, 100 + n, 1));
        }
        // One that is too small, and one that is known.
        left.note(&one(TA, 1000, 50, 1));
        left.note(&one(TA, 1, 10, 1));
        let bytes = |left: &UnfreedSites, n| left.rows().get(n).map(|row: &UnfreedRow| row.bytes);
        assert_eq!((left.dropped(), bytes(&left, ROWS - 1)), (1, Some(102)));
        left.note(&one(TA, 2000, 5000, 1));
        assert_eq!((left.dropped(), bytes(&left, 0)), (2, Some(5000)));
        assert_eq!(bytes(&left, ROWS - 1), Some(103));
        assert_eq!(bytes(&left, ROWS), None);
    }
}
