//! Leak marks by number and name, and TA instances that ended since.
//!
//! A block carries the number of the mark that was last when it was allocated, so that "since mark
//! n" needs no copy of anything. What this table adds is which numbers are marks that somebody set
//! (scans take numbers too), what they are called, and when that was.
//!
//! **Invariant:** numbers rise; a full table drops its oldest entry and counts that.

use tally_abi::TeeUuid;
use tally_abi::pta::memleak::MARK_NAME;
use tally_records::{EndedRow, MarkRow, ended};

/// Most marks that are known at a time.
pub const MAX_MARKS: usize = 64;
/// Most ended instances that are known at a time.
pub const MAX_ENDED: usize = 32;

/// A mark that somebody set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Its number, from 1.
    pub number: u16,
    /// Its name, zero padded; empty if it has none.
    pub name: MarkName,
    /// Milliseconds since boot.
    pub at_ms: u64,
}

/// A mark's name: printable, and at most [`MARK_NAME`] - 1 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkName([u8; MARK_NAME]);

impl MarkName {
    /// A name of these bytes; `None` if it is too long, or has others than visible ASCII.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut name = [0; MARK_NAME];
        if bytes.len() >= MARK_NAME || !bytes.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        name[..bytes.len()].copy_from_slice(bytes);
        Some(Self(name))
    }

    /// Zero padded.
    #[must_use]
    pub const fn bytes(&self) -> [u8; MARK_NAME] {
        self.0
    }
}

/// A TA instance that is no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Which TA.
    pub uuid: TeeUuid,
    /// Milliseconds since boot.
    pub at_ms: u64,
    /// Mark that was last when it ended.
    pub mark: u16,
    /// Mark that was last when it was loaded.
    pub born: u16,
    /// It panicked, crashed or was killed.
    pub died: bool,
    /// Its heap's books did not add up: what it had not freed is not known.
    pub inconsistent: bool,
    /// Bytes that it had not freed.
    pub bytes: u64,
    /// Blocks of them.
    pub blocks: u32,
}

/// The last `N` of what was noted, oldest first.
#[derive(Debug)]
pub struct Ring<T, const N: usize> {
    items: [T; N],
    /// Items ever noted.
    noted: u32,
}

impl<T: Copy + Default, const N: usize> Ring<T, N> {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            items: [T::default(); N],
            noted: 0,
        }
    }

    /// Adds an item in place of the oldest.
    pub fn note(&mut self, item: T) {
        self.items[self.noted as usize % N] = item;
        self.noted = self.noted.wrapping_add(1);
    }

    /// The items that are left, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.numbered().map(|(_, item)| item)
    }

    /// The items that are left, oldest first, with their numbers, of which each has one for good.
    pub fn numbered(&self) -> impl Iterator<Item = (u32, &T)> {
        let first = self.dropped();
        (first..self.noted).map(|n| (n, &self.items[n as usize % N]))
    }

    /// How many items had to go.
    #[must_use]
    pub fn dropped(&self) -> u32 {
        self.noted.saturating_sub(N as u32)
    }
}

impl<T: Copy + Default, const N: usize> Default for Ring<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// All that there is about marks.
#[derive(Debug, Default)]
pub struct Marks {
    /// Number of the last mark or scan: what new blocks carry.
    last: u16,
    /// Marks that somebody set.
    pub set: Ring<Mark, MAX_MARKS>,
    /// Instances that ended.
    pub ended: Ring<Ended, MAX_ENDED>,
}

impl Marks {
    /// Number that new blocks carry.
    #[must_use]
    pub const fn last(&self) -> u16 {
        self.last
    }

    /// Takes the next number, for blocks from now on. `None` when there is none left.
    pub fn advance(&mut self) -> Option<u16> {
        self.last = self.last.checked_add(1)?;
        Some(self.last)
    }

    /// The next mark that somebody set, oldest first, and where to go on.
    #[must_use]
    pub fn next_set(&self, cursor: u64) -> Option<(MarkRow, u64)> {
        let mark = self
            .set
            .iter()
            .find(|mark| u64::from(mark.number) > cursor)?;
        let row = MarkRow {
            at_ms: mark.at_ms,
            number: mark.number.into(),
            reserved: 0,
            name: mark.name.bytes(),
        };
        Some((row, mark.number.into()))
    }

    /// The next instance that ended since a mark, oldest first, and where to go on.
    #[must_use]
    pub fn next_ended(&self, since: u32, cursor: u64) -> Option<(EndedRow, u64)> {
        let ended = self
            .ended
            .numbered()
            .skip_while(|(number, _)| u64::from(*number) < cursor);
        let mut since = ended.filter(|(_, end)| u32::from(end.mark) >= since);
        let (number, found) = since.next()?;
        let row = EndedRow {
            uuid: found.uuid,
            at_ms: found.at_ms,
            bytes: found.bytes,
            blocks: found.blocks,
            mark: found.mark.into(),
            born: found.born.into(),
            how: match (found.inconsistent, found.died) {
                (true, _) => ended::UNKNOWN,
                (false, true) => ended::DIED,
                (false, false) => ended::CLOSED,
            },
        };
        Some((row, u64::from(number) + 1))
    }

    /// Marks that somebody set as blocks tell them apart: the last one that was set by then.
    pub(crate) fn before(&self, number: u16) -> u16 {
        let earlier = self.set.iter().filter(|mark| mark.number <= number);
        earlier.last().map_or(0, |mark| mark.number)
    }

    /// Whether somebody set this mark and it is known still.
    #[must_use]
    pub fn knows(&self, number: u16) -> bool {
        self.set.iter().any(|mark| mark.number == number)
    }
}

#[cfg(test)]
mod tests {
    use super::{Ended, MAX_MARKS, Mark, MarkName, Marks};

    #[test]
    fn a_full_table_counts_what_it_drops() {
        let mut marks = Marks::default();
        for _ in 0..MAX_MARKS + 3 {
            let number = marks.advance().unwrap();
            marks.set.note(Mark {
                number,
                ..Mark::default()
            });
        }
        assert_eq!(marks.set.dropped(), 3);
        let numbers: Vec<u16> = marks.set.iter().map(|mark| mark.number).collect();
        assert_eq!(numbers, (4..=MAX_MARKS as u16 + 3).collect::<Vec<_>>());
        assert!(!marks.knows(3) && marks.knows(4));
    }

    #[test]
    fn an_instance_that_was_born_before_a_mark_and_ended_after_it_ended_since() {
        let mut marks = Marks::default();
        for (born, mark) in [(0, 1), (1, 2), (0, 3)] {
            marks.ended.note(Ended {
                born,
                mark,
                ..Ended::default()
            });
        }
        let since = |mark| -> Vec<u32> {
            let next = |cursor| marks.next_ended(mark, cursor);
            let rows = core::iter::successors(next(0), |(_, cursor)| next(*cursor));
            rows.map(|(row, _)| row.mark).collect()
        };
        for (mark, told) in [(0, &[1, 2, 3][..]), (2, &[2, 3]), (3, &[3]), (4, &[])] {
            assert_eq!(since(mark), told, "{mark}");
        }
    }

    #[test]
    fn numbers_end_and_do_not_wrap() {
        let mut marks = Marks::default();
        for number in 1..=u16::MAX {
            assert_eq!(marks.advance(), Some(number));
        }
        assert_eq!(marks.advance(), None);
        assert_eq!(marks.last(), u16::MAX);
    }

    #[test]
    fn a_name_is_visible_and_fits() {
        assert_eq!(
            MarkName::new(b"before-switch").unwrap().bytes()[..6],
            *b"before"
        );
        assert!(MarkName::new(b"fifteen-bytes!!").is_some());
        assert!(MarkName::new(b"sixteen-bytes!!!").is_none());
        for bad in [
            &b"two words"[..],
            b"tab\t",
            b"\x1b[2J",
            b"zero\0",
            "\u{e9}".as_bytes(),
        ] {
            assert!(MarkName::new(bad).is_none(), "{bad:?}");
        }
        assert_eq!(MarkName::new(b""), Some(MarkName::default()));
    }
}
