//! Growth between two marks, by call site and cycle.
//!
//! **Invariant:** groups that read the same are one place; a place's cycles add up to its total.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use tally_abi::TeeUuid;
use tally_records::{EndedRow, LeakRecord, MarkRow};

/// Blocks and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
}

impl Amount {
    fn add(&mut self, record: &LeakRecord) {
        self.blocks = self.blocks.saturating_add(u64::from(record.blocks));
        self.bytes = self.bytes.saturating_add(record.bytes);
    }
}

/// An owner and a call stack, and what it holds that was allocated between the marks.
#[derive(Debug)]
pub(crate) struct Place {
    /// Owner, and size of the blocks. Its figures are the total.
    pub(crate) record: LeakRecord,
    /// Names of the frames, innermost first.
    pub(crate) stack: Vec<String>,
    /// What each cycle left.
    pub(crate) cycles: Vec<Amount>,
    /// What was there before the first mark, and is still.
    pub(crate) before: Amount,
}

impl Place {
    /// What each cycle left, if that was always the same.
    pub(crate) fn steady(&self) -> Option<Amount> {
        let first = *self.cycles.first()?;
        self.cycles
            .iter()
            .all(|cycle| *cycle == first)
            .then_some(first)
    }

    /// By how many percent it grew; `None` if there was nothing before.
    pub(crate) fn percent(&self) -> Option<u64> {
        let grown = self.record.bytes.saturating_mul(100);
        grown.checked_div(self.before.bytes)
    }
}

/// The answer to `leaks diff` and `leaks list`.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    /// The first mark; `None`: since ever.
    pub(crate) from: Option<MarkRow>,
    /// The second mark; `None`: until now.
    pub(crate) until: Option<MarkRow>,
    /// Marks between the two, the first included: how many cycles there were.
    pub(crate) cycles: usize,
    /// Biggest first.
    pub(crate) places: Vec<Place>,
    /// TA instances that ended meanwhile.
    pub(crate) ended: Vec<EndedRow>,
    /// Such instances that the kernel could not note.
    pub(crate) ended_dropped: u32,
    /// What a list of all live blocks does not have.
    pub(crate) left_out: Amount,
    /// Instances whose heaps' books do not add up, so that nothing is told of them.
    pub(crate) unreadable: Vec<(TeeUuid, u32)>,
}

impl Growth {
    /// Adds a group that cycle number `cycle` left; `None`: that was there before.
    pub(crate) fn add(&mut self, record: LeakRecord, stack: Vec<String>, cycle: Option<usize>) {
        let cycles = self.cycles.max(1);
        // Each cycle may have sessions of its own; what they do alike is one place.
        let session = |r: &LeakRecord| if cycles > 1 { 0 } else { r.session };
        let key = |r: &LeakRecord| (r.owner_kind, session(r), r.owner, r.label, r.image);
        let at = self
            .places
            .iter()
            .position(|place| key(&place.record) == key(&record) && place.stack == stack);
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
                let total = &mut place.record;
                total.bytes = total.bytes.saturating_add(record.bytes);
                total.blocks = total.blocks.saturating_add(record.blocks);
                if total.block_size != record.block_size {
                    total.block_size = 0;
                }
            }
            None => place.before.add(&record),
        }
    }

    /// Puts the places in order.
    pub(crate) fn sort(&mut self) {
        self.places
            .sort_by_key(|place| core::cmp::Reverse((place.record.bytes, place.record.blocks)));
    }

    /// What is held in the heap of one image (nil: the kernel's).
    pub(crate) fn of_image(&self, image: TeeUuid) -> Amount {
        let mut total = Amount::default();
        for place in self
            .places
            .iter()
            .filter(|place| place.record.image == image)
        {
            total.add(&place.record);
        }
        total
    }

    /// All places together.
    pub(crate) fn total(&self) -> Amount {
        let mut total = Amount::default();
        for place in &self.places {
            total.add(&place.record);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(session: u32, blocks: u32, size: u32) -> LeakRecord {
        LeakRecord {
            bytes: u64::from(blocks * size),
            blocks,
            block_size: size,
            session,
            ..LeakRecord::default()
        }
    }

    fn stack(name: &str) -> Vec<String> {
        vec![String::from(name)]
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
        assert_eq!((cache.stack[0].as_str(), cache.steady()), ("cache", None));
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
