//! The last refused allocations, of every pool.
//!
//! **Invariant:** a full log drops the oldest entry of whoever has most, so that nobody drops what is others'; the
//! numbers of entries tell how many were dropped. An entry names its owner, even when the owner is gone.

use crate::kinds::wire_kind;
use core::cmp::Reverse;
use tally_abi::TeeUuid;
use tally_core::owners::OwnerName;
use tally_mem::owner::OwnerId;
use tally_records::FailureRow;

/// How many are kept.
pub const KEPT: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Entry {
    row: FailureRow,
    /// Whose name the row still wants.
    owner: Option<OwnerId>,
}

/// The log.
#[derive(Debug)]
pub struct Failures {
    entries: [Option<Entry>; KEPT],
    count: u64,
}

impl Failures {
    /// Nothing was refused yet.
    pub const EMPTY: Self = Self {
        entries: [const { None }; KEPT],
        count: 0,
    };

    /// Adds a refusal; its number is set here. `owner`: who is to be named later.
    pub fn note(&mut self, mut row: FailureRow, owner: Option<OwnerId>) {
        self.count += 1;
        row.number = self.count;
        let place = self.place();
        self.entries[place] = Some(Entry { row, owner });
    }

    /// A free place, or that of the oldest entry of whoever has most: a TA, or all others together.
    fn place(&self) -> usize {
        let rows = || self.entries.iter().flatten().map(|entry| &entry.row);
        let same = |asker| rows().filter(|row| asker_of(row) == asker).count();
        let goes = |entry: &Option<Entry>| {
            // What is free goes first.
            let row = &entry.as_ref()?.row;
            Some((Reverse(same(asker_of(row))), row.number))
        };
        let places = self.entries.iter().enumerate();
        let first = places.min_by_key(|(_, entry)| goes(entry));
        first.map_or(0, |(place, _)| place)
    }

    /// Names an owner in the entries that want it named.
    pub fn settle(&mut self, owner: OwnerId, name: &OwnerName) {
        for entry in self.entries.iter_mut().flatten() {
            if entry.owner == Some(owner) {
                entry.row = with_owner(entry.row, name);
                entry.owner = None;
            }
        }
    }

    /// The oldest refusal of this number or a later one, and who is to be named in it.
    #[must_use]
    pub fn from(&self, number: u64) -> Option<(FailureRow, Option<OwnerId>)> {
        let later = self.entries.iter().flatten();
        let later = later.filter(|entry| entry.row.number >= number);
        let oldest = later.min_by_key(|entry| entry.row.number)?;
        Some((oldest.row, oldest.owner))
    }
}

/// The TA that asked, or for which it was; nil for all others.
fn asker_of(row: &FailureRow) -> TeeUuid {
    if row.image == TeeUuid::nil() {
        row.owner
    } else {
        row.image
    }
}

/// The row with its owner named.
pub(super) fn with_owner(mut row: FailureRow, name: &OwnerName) -> FailureRow {
    (row.owner_kind, row.session) = wire_kind(name.kind);
    row.owner = name.uuid;
    row.label = name.label.field();
    row
}

#[cfg(test)]
mod tests {
    use super::{Failures, KEPT};
    use tally_abi::TeeUuid;
    use tally_core::owners::Label;
    use tally_core::owners::{OwnerKind, OwnerName};
    use tally_mem::owner::OwnerId;
    use tally_records::{FailureRow, owner_kind};

    #[test]
    fn a_full_log_drops_its_oldest() {
        let mut log = Failures::EMPTY;
        assert!(log.from(0).is_none());
        for size in 1..=KEPT as u64 + 3 {
            let row = FailureRow {
                size,
                ..FailureRow::default()
            };
            log.note(row, None);
        }
        let mut seen = Vec::new();
        while let Some((row, _)) = log.from(seen.last().map_or(0, |number| number + 1)) {
            assert_eq!(row.number, row.size);
            seen.push(row.number);
        }
        assert_eq!(seen, (4..=KEPT as u64 + 3).collect::<Vec<u64>>());
    }

    #[test]
    fn who_is_refused_again_and_again_drops_their_own() {
        // Bug: sixteen refused calls of any client, and what a TA was refused was not to be seen any more.
        let mut log = Failures::EMPTY;
        let note = |log: &mut Failures, owner: u128| {
            // Only what a TA's own heap is refused has an image.
            let uuid = TeeUuid::from_u128(owner);
            let row = FailureRow {
                image: if owner == 1 { uuid } else { TeeUuid::nil() },
                owner: uuid,
                ..FailureRow::default()
            };
            log.note(row, None);
        };
        for image in [1, 2, 1] {
            note(&mut log, image);
        }
        for _ in 0..100 {
            note(&mut log, 0);
        }
        let numbers = |log: &Failures| {
            let mut numbers = Vec::new();
            while let Some((row, _)) = log.from(numbers.last().map_or(0, |last| last + 1)) {
                numbers.push(row.number);
            }
            numbers
        };
        let told = [1, 2, 3].into_iter().chain(91..=103);
        assert_eq!(numbers(&log), told.collect::<Vec<u64>>());
        // Another one takes of whoever has most.
        note(&mut log, 3);
        let told = [1, 2, 3].into_iter().chain(92..=104);
        assert_eq!(numbers(&log), told.collect::<Vec<u64>>());
    }

    #[test]
    fn an_owner_is_named_before_it_goes() {
        let mut log = Failures::EMPTY;
        for owner in [7, 8] {
            log.note(FailureRow::default(), Some(OwnerId(owner)));
        }
        let uuid = TeeUuid::from_u128(5);
        let name = OwnerName {
            kind: OwnerKind::Session(0x102),
            uuid,
            label: Label::Session,
        };
        log.settle(OwnerId(7), &name);
        let (row, wanted) = log.from(0).unwrap();
        assert_eq!(wanted, None);
        assert_eq!((row.owner, row.session), (uuid, 0x102));
        assert_eq!(row.owner_kind, owner_kind::SESSION);
        assert_eq!(log.from(2).unwrap().1, Some(OwnerId(8)));
    }
}
