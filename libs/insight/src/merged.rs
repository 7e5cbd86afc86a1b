//! Rows that read the same, as one: a loop that was unrolled allocates at several addresses of one
//! line.
//!
//! **Invariant:** bytes and blocks of the rows add up to those that were given; rows come in the
//! order in which the first of each was.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use tally_records::{HistoryRow, LeakRecord, Placed, SiteRow, SuspectRow, UnfreedRow};

use crate::growth::Amount;
use crate::names::{Names, Stack};

/// Rows, each with its call stack.
pub type Rows<T> = Vec<(T, Stack)>;

/// Call sites; peaks are added up.
#[must_use]
pub fn sites(names: &dyn Names, rows: &[SiteRow]) -> Rows<SiteRow> {
    let key = |row: &SiteRow| (row.pool, row.is_counted());
    merged(names, rows, key, SiteRow::add)
}

/// Live blocks of each owner, a session being one.
#[must_use]
pub fn live(names: &dyn Names, rows: &[LeakRecord]) -> Rows<LeakRecord> {
    let key = |row: &LeakRecord| (row.owner_kind, row.session, row.owner, row.label, row.image);
    merged(names, rows, key, LeakRecord::add)
}

/// Blocks that nothing points to, most bytes first.
#[must_use]
pub fn suspects(names: &dyn Names, rows: &[SuspectRow]) -> Rows<SuspectRow> {
    let key = |row: &SuspectRow| {
        let leak = &row.leak;
        let owner = (leak.owner_kind, leak.session, leak.owner, leak.label);
        (owner, leak.image, row.first_scan)
    };
    let mut found = merged(names, rows, key, |row, other| row.leak.add(&other.leak));
    found.sort_by_key(|(row, _)| core::cmp::Reverse(row.leak.bytes));
    found
}

/// What TAs had not freed when they ended, most bytes first.
#[must_use]
pub fn unfreed(names: &dyn Names, rows: &[UnfreedRow]) -> Rows<UnfreedRow> {
    let mut found = merged(
        names,
        rows,
        |row| (row.uuid, row.died),
        |sum, row| {
            sum.bytes = sum.bytes.saturating_add(row.bytes);
            sum.blocks = sum.blocks.saturating_add(row.blocks);
            // An instance may have left some at each of them.
            sum.instances = sum.instances.max(row.instances);
        },
    );
    found.sort_by_key(|(row, _)| core::cmp::Reverse(row.bytes));
    found
}

/// What a TA had not freed besides what is told by place; `died`: of its instances that died.
#[must_use]
pub fn unfreed_elsewhere(places: &[(UnfreedRow, Stack)], row: &HistoryRow, died: bool) -> Amount {
    let (blocks, bytes) = if died {
        (row.held_blocks, row.held_bytes)
    } else {
        (row.unfreed_blocks, row.unfreed_bytes)
    };
    let told = places.iter().map(|(place, _)| place);
    let told = told.filter(|place| place.uuid == row.uuid && (place.died != 0) == died);
    told.fold(Amount { blocks, bytes }, |rest, place| {
        rest.less(Amount {
            blocks: place.blocks,
            bytes: place.bytes,
        })
    })
}

fn merged<T: Placed + Copy, K: Ord>(
    names: &dyn Names,
    rows: &[T],
    key: impl Fn(&T) -> K,
    add: impl Fn(&mut T, &T),
) -> Rows<T> {
    let mut known = BTreeMap::new();
    let mut out: Rows<T> = Vec::new();
    for row in rows {
        let stack = Stack::of(names, row);
        let at = *known.entry((key(row), stack.key())).or_insert(out.len());
        match out.get_mut(at) {
            Some((first, _)) => add(first, row),
            None => out.push((*row, stack)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Frame;
    use crate::sample;
    use alloc::string::String;
    use alloc::vec;
    use tally_abi::TeeUuid;
    use tally_records::Origin;

    /// Calls all addresses but one of each image the same.
    struct OneLine;

    impl Names for OneLine {
        fn name_of(&self, _: TeeUuid) -> Option<String> {
            None
        }

        fn functions(&self, _: Origin, offset: u64) -> Vec<Frame> {
            let function = if offset == 2 { "keep" } else { "leak" };
            vec![Frame {
                file: "tas/heap/src/ta.rs".into(),
                line: 158,
                ..Frame::named(function)
            }]
        }
    }

    /// `leak_in_this_function` was there twice, with 2,372 bytes and with 408.
    #[test]
    fn rows_that_read_the_same_are_one_and_sums_are_kept() {
        let mut snapshot = sample::machine(3);
        let mut site = snapshot.sites[0];
        let mut live = snapshot.live[0];
        site.frames[0] += 8;
        live.frames[0] += 8;
        live.block_size = 3;
        snapshot.sites.push(site);
        snapshot.live.push(live);
        let bytes = |rows: &[SiteRow]| rows.iter().map(|row| row.live_bytes).sum::<u64>();
        let rows = sites(&OneLine, &snapshot.sites);
        let rows: Vec<SiteRow> = rows.into_iter().map(|(row, _)| row).collect();
        assert!(rows.len() < snapshot.sites.len());
        assert_eq!(bytes(&rows), bytes(&snapshot.sites));
        let held = |rows: &[LeakRecord]| rows.iter().map(|row| row.bytes).sum::<u64>();
        let rows = super::live(&OneLine, &snapshot.live);
        let rows: Vec<LeakRecord> = rows.into_iter().map(|(row, _)| row).collect();
        assert!(rows.len() < snapshot.live.len());
        assert_eq!(held(&rows), held(&snapshot.live));
        assert_eq!(rows[0].block_size, 0);
    }

    #[test]
    fn call_sites_that_read_the_same_are_one() {
        let row = |site, live_blocks| SiteRow {
            site,
            live_blocks,
            live_bytes: 28 * live_blocks,
            allocations: live_blocks,
            frames: [site.into(), 0, 0, 0, 0, 0, 0, 0],
            ..SiteRow::default()
        };
        // An unrolled loop has several return addresses on one line.
        let found = sites(&OneLine, &[row(1, 9), row(2, 5), row(3, 1)]);
        let found = found
            .iter()
            .map(|(row, _)| (row.live_blocks, row.live_bytes));
        assert!(found.eq([(10, 280), (5, 140)]));
    }

    #[test]
    fn what_is_of_no_place_that_is_kept_is_told_as_such() {
        let row = HistoryRow {
            unfreed_blocks: 5,
            unfreed_bytes: 100,
            held_blocks: 1,
            held_bytes: 8,
            ..HistoryRow::default()
        };
        let place = UnfreedRow {
            bytes: 60,
            blocks: 3,
            ..UnfreedRow::default()
        };
        let places = unfreed(&OneLine, &[place, place]);
        let rest = |died| unfreed_elsewhere(&places, &row, died);
        assert_eq!((rest(false).bytes, rest(false).blocks), (0, 0));
        assert_eq!((rest(true).bytes, rest(true).blocks), (8, 1));
        let rest = unfreed_elsewhere(&places[..0], &row, false);
        assert_eq!((rest.bytes, rest.blocks), (100, 5));
    }
}
