//! Growth between two marks, by call site and cycle.
//!
//! **Invariant:** groups that read the same are one place; a place's cycles add up to its total.

use alloc::vec;
use alloc::vec::Vec;

use tally_abi::TeeUuid;
use tally_records::{EndedRow, LeakRecord, MarkRow};

use crate::growth::Amount;
use crate::names::Stack;

/// An owner and a call stack, and what it holds that was allocated between the marks.
#[derive(Debug)]
pub struct Place {
    /// Owner, and size of the blocks. Its figures are the total.
    pub record: LeakRecord,
    /// Where they were allocated.
    pub stack: Stack,
    /// What each cycle left.
    pub cycles: Vec<Amount>,
    /// What was there before the first mark, and is still.
    pub before: Amount,
}

impl Place {
    /// What each cycle left, if that was always the same.
    #[must_use]
    pub fn steady(&self) -> Option<Amount> {
        let first = *self.cycles.first()?;
        self.cycles
            .iter()
            .all(|cycle| *cycle == first)
            .then_some(first)
    }

    /// By how many percent it grew; `None` if there was nothing before.
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        let grown = self.record.bytes.saturating_mul(100);
        grown.checked_div(self.before.bytes)
    }
}

/// The answer to `leaks diff` and `leaks list`.
#[derive(Debug, Default)]
pub struct Growth {
    /// The first mark; `None`: since ever.
    pub from: Option<MarkRow>,
    /// The second mark; `None`: until now.
    pub until: Option<MarkRow>,
    /// Marks between the two, the first included: how many cycles there were.
    pub cycles: usize,
    /// Biggest first.
    pub places: Vec<Place>,
    /// TA instances that ended meanwhile.
    pub ended: Vec<EndedRow>,
    /// Such instances that the kernel could not note.
    pub ended_dropped: u32,
    /// What a list of all live blocks does not have.
    pub left_out: Amount,
    /// Instances whose heaps' books do not add up, so that nothing is told of them.
    pub unreadable: Vec<(TeeUuid, u32)>,
}

impl Growth {
    /// Adds a group that cycle number `cycle` left; `None`: that was there before.
    pub fn add(&mut self, record: LeakRecord, stack: Stack, cycle: Option<usize>) {
        let cycles = self.cycles.max(1);
        // Each cycle may have sessions of its own; what they do alike is one place.
        let session = |r: &LeakRecord| if cycles > 1 { 0 } else { r.session };
        let key = |r: &LeakRecord| (r.owner_kind, session(r), r.owner, r.label, r.image);
        let at = self.places.iter().position(|place| {
            key(&place.record) == key(&record) && place.stack.key() == stack.key()
        });
        let at = match (at, cycle) {
            (Some(at), _) => at,
            // What did not grow is no place.
            (None, None) => return,
            (None, Some(_)) => {
                let new = LeakRecord {
                    bytes: 0,
                    blocks: 0,
                    session: session(&record),
                    ..record
                };
                self.places.push(Place {
                    record: new,
                    stack,
                    cycles: vec![Amount::default(); cycles],
                    before: Amount::default(),
                });
                self.places.len() - 1
            }
        };
        let place = &mut self.places[at];
        match cycle.map(|cycle| place.cycles.get_mut(cycle)) {
            Some(amount) => {
                if let Some(amount) = amount {
                    amount.add(&record);
                }
                place.record.add(&record);
            }
            None => place.before.add(&record),
        }
    }

    /// Puts the places in order.
    pub fn sort(&mut self) {
        self.places
            .sort_by_key(|place| core::cmp::Reverse((place.record.bytes, place.record.blocks)));
    }

    /// What is held in the heap of one image (nil: the kernel's).
    #[must_use]
    pub fn of_image(&self, image: TeeUuid) -> Amount {
        self.sum(|place| place.record.image == image)
    }

    /// All places together.
    #[must_use]
    pub fn total(&self) -> Amount {
        self.sum(|_| true)
    }

    fn sum(&self, is_meant: impl Fn(&Place) -> bool) -> Amount {
        let mut total = Amount::default();
        let meant = self.places.iter().filter(|place| is_meant(place));
        meant.for_each(|place| total.add(&place.record));
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{Call, Frame};

    fn group(session: u32, blocks: u32, size: u32) -> LeakRecord {
        LeakRecord {
            bytes: u64::from(blocks * size),
            blocks,
            block_size: size,
            session,
            ..LeakRecord::default()
        }
    }

    fn stack(name: &str) -> Stack {
        Stack {
            calls: vec![Call {
                offset: 4,
                frames: vec![Frame::named(name)],
            }],
            ..Stack::default()
        }
    }

    #[test]
    fn cycles_add_up_and_the_same_every_time_is_said() {
        let mut growth = Growth {
            cycles: 3,
            ..Growth::default()
        };
        for cycle in 0..3 {
            growth.add(group(10 + cycle as u32, 1, 28), stack("open"), Some(cycle));
            growth.add(group(0, cycle as u32, 100), stack("cache"), Some(cycle));
        }
        growth.add(group(0, 4, 28), stack("open"), None);
        growth.add(group(0, 4, 28), stack("elsewhere"), None);
        growth.sort();
        assert_eq!(
            growth.total(),
            Amount {
                blocks: 6,
                bytes: 384
            }
        );
        let [cache, open] = &growth.places[..] else {
            panic!("{:?}", growth.places);
        };
        assert_eq!((&cache.stack, cache.steady()), (&stack("cache"), None));
        assert_eq!(cache.percent(), None);
        assert_eq!(
            open.steady(),
            Some(Amount {
                blocks: 1,
                bytes: 28
            })
        );
        assert_eq!((open.record.blocks, open.record.block_size), (3, 28));
        assert_eq!(open.percent(), Some(75));
    }

    #[test]
    fn sessions_are_told_apart_within_one_cycle() {
        let mut growth = Growth {
            cycles: 1,
            ..Growth::default()
        };
        growth.add(group(1, 1, 8), stack("a"), Some(0));
        growth.add(group(2, 1, 16), stack("a"), Some(0));
        growth.add(group(2, 1, 8), stack("a"), Some(0));
        assert_eq!(growth.places.len(), 2);
        assert_eq!(growth.places[1].record.block_size, 0);
    }
}
