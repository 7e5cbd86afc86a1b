//! Rows that read the same, as one: a loop that was unrolled allocates at several addresses of one line.
//!
//! **Invariant:** bytes and blocks of the rows add up to those of the snapshot; rows come in the order in which the
//! first of each was.

use crate::account::Account;
use crate::names::Stack;
use std::collections::HashMap;
use std::hash::Hash;
use tally_records::{LeakRecord, SiteRow};

/// Call sites of all pools; peaks are added up, as `teestat allocinfo` does.
#[must_use]
pub fn sites(account: &Account) -> Vec<(SiteRow, &Stack)> {
    let rows = account.snapshot.sites.iter().zip(&account.sites);
    merged(
        rows,
        |row, stack| (row.pool, row.is_counted(), stack.lines()),
        |site, row| {
            site.live_bytes = site.live_bytes.saturating_add(row.live_bytes);
            site.live_blocks = site.live_blocks.saturating_add(row.live_blocks);
            site.allocations = site.allocations.saturating_add(row.allocations);
            site.peak_bytes = site.peak_bytes.saturating_add(row.peak_bytes);
        },
    )
}

/// Live blocks of each owner, a session being one.
#[must_use]
pub fn live(account: &Account) -> Vec<(LeakRecord, &Stack)> {
    let rows = account.snapshot.live.iter().zip(&account.live);
    merged(
        rows,
        |row, stack| {
            let owner = (row.owner_kind, row.session, row.owner, row.label);
            (owner, row.image, stack.lines())
        },
        |first, row| {
            first.bytes = first.bytes.saturating_add(row.bytes);
            first.blocks = first.blocks.saturating_add(row.blocks);
            if first.block_size != row.block_size {
                first.block_size = 0;
            }
        },
    )
}

fn merged<'a, T: Copy + 'a, K: Eq + Hash>(
    rows: impl Iterator<Item = (&'a T, &'a Stack)>,
    key: impl Fn(&T, &'a Stack) -> K,
    add: impl Fn(&mut T, &T),
) -> Vec<(T, &'a Stack)> {
    let mut known = HashMap::new();
    let mut out: Vec<(T, &Stack)> = Vec::new();
    for (row, stack) in rows {
        let at = *known.entry(key(row, stack)).or_insert(out.len());
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
    use crate::names::{Build, Names};
    use crate::sample;
    use crate::snapshot::Snapshot;
    use tally_abi::TeeUuid;
    use tally_symbols::dwarf::Frame;

    /// Calls all addresses of a TA one line.
    struct OneLine;

    impl Names for OneLine {
        fn frames(&self, _build: Build, _offset: u64) -> Vec<Frame> {
            vec![Frame {
                function: "leak_in_this_function".into(),
                file: "tas/heap/src/ta.rs".into(),
                line: 158,
            }]
        }

        fn program(&self, _uuid: TeeUuid) -> Option<String> {
            None
        }

        fn lacks(&self, _build: Build) -> bool {
            false
        }
    }

    /// `leak_in_this_function` was there twice, with 2,372 bytes and with 408.
    #[test]
    fn rows_that_read_the_same_are_one_and_sums_are_kept() {
        let mut snapshot: Snapshot = sample::machine(3);
        let mut site = snapshot.sites[0];
        let mut live = snapshot.live[0];
        site.frames[0] += 8;
        live.frames[0] += 8;
        live.block_size = 3;
        snapshot.sites.push(site);
        snapshot.live.push(live);
        let account = Account::new(snapshot, "", &OneLine);
        let bytes = |rows: &[SiteRow]| rows.iter().map(|row| row.live_bytes).sum::<u64>();
        let rows: Vec<SiteRow> = sites(&account).into_iter().map(|(row, _)| row).collect();
        assert!(rows.len() < account.snapshot.sites.len());
        assert_eq!(bytes(&rows), bytes(&account.snapshot.sites));
        let held = |rows: &[LeakRecord]| rows.iter().map(|row| row.bytes).sum::<u64>();
        let rows: Vec<LeakRecord> = super::live(&account)
            .into_iter()
            .map(|(row, _)| row)
            .collect();
        assert!(rows.len() < account.snapshot.live.len());
        assert_eq!(held(&rows), held(&account.snapshot.live));
        assert_eq!(rows[0].block_size, 0);
    }
}
