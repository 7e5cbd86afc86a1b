//! Use of trusted storage, by TA.
//!
//! **Invariant:** a row is of one UUID, all its instances together; what a full table gives up is added to the row of nobody.

use tally_abi::TeeUuid;
use tally_core::ta::storage::StorageCall;
use tally_records::StorageRow;

/// TAs that are told apart.
pub const ROWS: usize = 16;

/// The table.
#[derive(Debug)]
pub struct Stored {
    /// The latest ones, with the number of the call that changed each last; 0 for a row that is not used.
    rows: [(StorageRow, u64); ROWS],
    /// All others.
    others: StorageRow,
    calls: u64,
}

impl Stored {
    /// Nobody has asked for anything.
    pub const EMPTY: Self = Self {
        rows: [(NOTHING, 0); ROWS],
        others: NOTHING,
        calls: 0,
    };

    /// Adds a call of a TA's.
    pub fn note(&mut self, uuid: TeeUuid, call: &StorageCall) {
        self.calls += 1;
        let at = self.place_for(uuid);
        let (row, changed) = &mut self.rows[at];
        *changed = self.calls;
        row.uuid = uuid;
        let called = StorageRow {
            calls: 1,
            failed: call.failed.into(),
            corrupt: call.corrupt.into(),
            requests: call.requests.into(),
            read: call.read,
            written: call.written,
            ticks: call.ticks,
            ..NOTHING
        };
        add(row, &called);
    }

    /// Rows by number, from one on: the latest, and then what others did, if there are any.
    #[must_use]
    pub fn next(&self, cursor: u64) -> Option<(StorageRow, u64)> {
        let used = |at: usize| self.rows.get(at).filter(|(_, changed)| *changed != 0);
        let at = (cursor as usize..ROWS).find(|at| used(*at).is_some());
        if let Some(at) = at {
            return Some((self.rows[at].0, at as u64 + 1));
        }
        let is_told = cursor <= ROWS as u64 && self.others.calls != 0;
        is_told.then_some((self.others, ROWS as u64 + 1))
    }

    fn place_for(&mut self, uuid: TeeUuid) -> usize {
        let known = |(row, changed): &(StorageRow, u64)| *changed != 0 && row.uuid == uuid;
        if let Some(at) = self.rows.iter().position(known) {
            return at;
        }
        let oldest = (0..ROWS).min_by_key(|at| self.rows[*at].1).unwrap_or(0);
        let (row, _) = core::mem::replace(&mut self.rows[oldest], (NOTHING, 0));
        add(&mut self.others, &row);
        oldest
    }
}

/// A row of nothing.
const NOTHING: StorageRow = StorageRow {
    uuid: TeeUuid::nil(),
    objects: 0,
    handles: 0,
    bytes: 0,
    calls: 0,
    failed: 0,
    requests: 0,
    read: 0,
    written: 0,
    corrupt: 0,
    ticks: 0,
};

/// Adds what was done.
fn add(to: &mut StorageRow, row: &StorageRow) {
    for (sum, figure) in [
        (&mut to.calls, row.calls),
        (&mut to.failed, row.failed),
        (&mut to.requests, row.requests),
        (&mut to.read, row.read),
        (&mut to.written, row.written),
        (&mut to.corrupt, row.corrupt),
        (&mut to.ticks, row.ticks),
    ] {
        *sum = sum.wrapping_add(figure);
    }
}

#[cfg(test)]
mod tests {
    use super::{ROWS, Stored};
    use tally_abi::TeeUuid;
    use tally_core::ta::storage::StorageCall;
    use tally_records::StorageRow;

    fn rows(stored: &Stored) -> Vec<StorageRow> {
        let mut cursor = 0;
        std::iter::from_fn(|| {
            let (row, next) = stored.next(cursor)?;
            cursor = next;
            Some(row)
        })
        .collect()
    }

    #[test]
    fn calls_of_a_ta_add_up() {
        let mut stored = Stored::EMPTY;
        assert!(rows(&stored).is_empty());
        let call = StorageCall {
            requests: 3,
            read: 10,
            ticks: 5,
            ..StorageCall::default()
        };
        let bad = StorageCall {
            failed: true,
            corrupt: true,
            written: 7,
            ..call
        };
        stored.note(TeeUuid::from_u128(1), &call);
        stored.note(TeeUuid::from_u128(2), &call);
        stored.note(TeeUuid::from_u128(1), &bad);
        let rows = rows(&stored);
        assert_eq!(rows.len(), 2);
        let one = rows[0];
        assert_eq!((one.calls, one.failed, one.corrupt), (2, 1, 1));
        assert_eq!((one.requests, one.read, one.written), (6, 20, 7));
        assert_eq!(one.ticks, 10);
    }

    #[test]
    fn what_a_full_table_gives_up_is_told_together() {
        let mut stored = Stored::EMPTY;
        let call = StorageCall {
            requests: 1,
            ..StorageCall::default()
        };
        for uuid in 1..=ROWS as u128 + 2 {
            stored.note(TeeUuid::from_u128(uuid), &call);
            // Who calls again and again stays.
            stored.note(TeeUuid::from_u128(1), &call);
        }
        let rows = rows(&stored);
        assert_eq!(rows.len(), ROWS + 1);
        let of = |uuid| rows.iter().find(|row| row.uuid == TeeUuid::from_u128(uuid));
        assert_eq!(of(1).unwrap().calls, ROWS as u64 + 3);
        assert!(of(2).is_none() && of(3).is_none());
        assert_eq!(rows[ROWS].uuid, TeeUuid::nil());
        assert_eq!(rows[ROWS].calls, 2);
    }
}
