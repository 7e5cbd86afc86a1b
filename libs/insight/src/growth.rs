//! Growth from one snapshot to another, by owner and call stack.
//!
//! **Invariant:** the differences add up to the difference of the snapshots' live bytes. Call
//! stacks that read the same are one (a loop that was unrolled allocates at several addresses).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use tally_abi::TeeUuid;
use tally_records::LeakRecord;

use crate::account::Account;
use crate::names::{Frame, Stack};

crate::answer! {
    /// Bytes and blocks at one moment.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Amount {
        /// Bytes asked for.
        pub bytes: u64,
        /// Blocks.
        pub blocks: u64,
    }
}

impl Amount {
    /// With other blocks besides.
    pub fn add(&mut self, record: &LeakRecord) {
        self.bytes = self.bytes.saturating_add(record.bytes);
        self.blocks = self.blocks.saturating_add(record.blocks.into());
    }

    /// Without those; nothing is less than none.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            blocks: self.blocks.saturating_sub(other.blocks),
        }
    }
}

/// One owner and call stack in two snapshots.
#[derive(Clone, Debug)]
pub struct Change {
    /// Pool: the TA whose heap it is, nil for the kernel's.
    pub image: TeeUuid,
    /// Owner for people.
    pub owner: String,
    /// Where it was allocated.
    pub stack: Stack,
    /// In the first snapshot.
    pub before: Amount,
    /// In the second.
    pub after: Amount,
}

impl Change {
    /// Bytes that it grew by.
    #[must_use]
    pub fn bytes(&self) -> i64 {
        difference(self.after.bytes, self.before.bytes)
    }

    /// Blocks that it grew by.
    #[must_use]
    pub fn blocks(&self) -> i64 {
        difference(self.after.blocks, self.before.blocks)
    }
}

/// `after - before`, at the limits if it does not fit.
#[must_use]
pub fn difference(after: u64, before: u64) -> i64 {
    i64::try_from(i128::from(after) - i128::from(before)).unwrap_or(if after > before {
        i64::MAX
    } else {
        i64::MIN
    })
}

/// Image, owner, functions.
type Key = (TeeUuid, String, Vec<Frame>);

/// What is live of each of `changes` in an account, in their order.
#[must_use]
pub fn amounts(account: &Account, changes: &[Change]) -> Vec<Amount> {
    let mut live: BTreeMap<Key, Amount> = BTreeMap::new();
    for record in &account.snapshot.live {
        let stack = account.stack(record);
        let key: Key = (stack.image, account.owner_of(record), stack.key());
        live.entry(key).or_default().add(record);
    }
    let amount = |change: &Change| {
        let key: Key = (change.image, change.owner.clone(), change.stack.key());
        live.get(&key).copied().unwrap_or_default()
    };
    changes.iter().map(amount).collect()
}

/// Everything that is live in either of them; what grew most comes first.
#[must_use]
pub fn between(before: &Account, after: &Account) -> Vec<Change> {
    let mut changes: BTreeMap<Key, Change> = BTreeMap::new();
    for (account, second) in [(before, false), (after, true)] {
        for record in &account.snapshot.live {
            let (owner, stack) = (account.owner_of(record), account.stack(record));
            let key: Key = (stack.image, owner.clone(), stack.key());
            let change = changes.entry(key).or_insert_with(|| Change {
                image: stack.image,
                owner,
                stack,
                before: Amount::default(),
                after: Amount::default(),
            });
            let amount = if second {
                &mut change.after
            } else {
                &mut change.before
            };
            amount.add(record);
        }
    }
    let mut changes: Vec<Change> = changes.into_values().collect();
    changes.sort_by_key(|change| core::cmp::Reverse((change.bytes(), change.after.bytes)));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::NoSymbols;
    use crate::sample;

    fn account(cycle: u64) -> Account {
        Account::new(sample::machine(cycle), "", &NoSymbols)
    }

    #[test]
    fn what_leaks_in_each_cycle_comes_first_and_sums_are_kept() {
        let (before, after) = (account(1), account(4));
        let changes = between(&before, &after);
        assert_eq!(changes[0].bytes(), 3 * sample::LEAK_BYTES as i64);
        assert_eq!(changes[0].blocks(), 3 * sample::LEAK_BLOCKS as i64);
        let live = |account: &Account| account.snapshot.live.iter().map(|r| r.bytes).sum::<u64>();
        let sum: i64 = changes.iter().map(Change::bytes).sum();
        assert_eq!(sum, difference(live(&after), live(&before)));
    }

    #[test]
    fn nothing_grows_between_a_snapshot_and_itself() {
        let once = account(2);
        assert!(between(&once, &once).iter().all(|c| c.bytes() == 0));
    }

    #[test]
    fn differences_stop_at_the_limits() {
        assert_eq!(difference(u64::MAX, 0), i64::MAX);
        assert_eq!(difference(0, u64::MAX), i64::MIN);
        assert_eq!(difference(3, 5), -2);
    }
}
