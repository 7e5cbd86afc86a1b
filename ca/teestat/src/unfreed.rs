//! Unfreed blocks of ended TAs, by call site.
//!
//! **Invariant:** places that read the same are one, biggest first.

use alloc::string::String;
use alloc::vec::Vec;

use tally_records::{HistoryRow, UnfreedRow};

use crate::growth::Amount;

/// A place, and what all its call sites left.
pub(crate) struct UnfreedPlace {
    /// The first call site's row, with the sums.
    pub(crate) row: UnfreedRow,
    /// The call stack.
    pub(crate) stack: Vec<String>,
}

/// All places that are kept.
#[derive(Default)]
pub(crate) struct Unfreed {
    pub(crate) places: Vec<UnfreedPlace>,
    /// Call sites that had no room.
    pub(crate) dropped: u32,
}

impl Unfreed {
    /// Places of these rows, whose call stacks `named` tells.
    pub(crate) fn of(
        rows: &[UnfreedRow],
        dropped: u32,
        mut named: impl FnMut(&UnfreedRow) -> Vec<String>,
    ) -> Self {
        let mut places: Vec<UnfreedPlace> = Vec::new();
        for row in rows {
            let stack = named(row);
            let same = |other: &&mut UnfreedPlace| {
                (other.row.uuid, other.row.died) == (row.uuid, row.died) && other.stack == stack
            };
            match places.iter_mut().find(same) {
                Some(UnfreedPlace { row: sum, .. }) => {
                    sum.bytes = sum.bytes.saturating_add(row.bytes);
                    sum.blocks = sum.blocks.saturating_add(row.blocks);
                    // An instance may have left some at each of them.
                    sum.instances = sum.instances.max(row.instances);
                }
                None => places.push(UnfreedPlace { row: *row, stack }),
            }
        }
        places.sort_by_key(|place| core::cmp::Reverse(place.row.bytes));
        Self { places, dropped }
    }

    /// What a TA had not freed besides what is told by place; `died`: of its instances that died.
    pub(crate) fn rest(&self, row: &HistoryRow, died: bool) -> Amount {
        let (blocks, bytes) = if died {
            (row.held_blocks, row.held_bytes)
        } else {
            (row.unfreed_blocks, row.unfreed_bytes)
        };
        let places = self.places.iter().map(|place| &place.row);
        let told = places.filter(|place| place.uuid == row.uuid && (place.died != 0) == died);
        told.fold(Amount { blocks, bytes }, |rest, place| Amount {
            blocks: rest.blocks.saturating_sub(place.blocks),
            bytes: rest.bytes.saturating_sub(place.bytes),
        })
    }
}
