//! Leak marks by number and name.
//!
//! **Invariant:** a name stands for the newest mark of that name.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use tally_records::MarkRow;

use crate::text::{Count, Label};

/// Most marks that an error names.
const NEAREST: usize = 3;

/// The marks that the kernel knows, oldest first, and how many older ones it has given up.
pub(crate) struct Marks(pub(crate) Vec<MarkRow>, pub(crate) u32);

impl Marks {
    /// The mark that `word` names, or what is wrong with it.
    pub(crate) fn named(&self, word: &str) -> Result<&MarkRow, String> {
        let by_number = word.parse().ok().and_then(|number: u32| {
            let mut marks = self.0.iter();
            marks.find(|mark| mark.number == number)
        });
        let mut newest_first = self.0.iter().rev();
        by_number
            .or_else(|| newest_first.find(|mark| name(mark) == word))
            .ok_or_else(|| self.unknown(word))
    }

    /// The newest mark, or what is wrong.
    pub(crate) fn last(&self) -> Result<&MarkRow, String> {
        self.0.last().ok_or_else(none_set)
    }

    /// Numbers of the marks from `from` on and before `until` (0: all).
    pub(crate) fn between(&self, from: u32, until: u32) -> Vec<u32> {
        let numbers = self.0.iter().map(|mark| mark.number);
        numbers
            .filter(|&number| number >= from && (until == 0 || number < until))
            .collect()
    }

    fn unknown(&self, word: &str) -> String {
        if self.0.is_empty() {
            return format!("there is no mark `{word}`; {}", none_set());
        }
        let number = word.parse::<u32>().ok();
        let mut nearest: Vec<(usize, &MarkRow)> = self
            .0
            .iter()
            .map(|mark| {
                let far = match number {
                    Some(number) => mark.number.abs_diff(number) as usize,
                    // A mark without a name is not what was meant.
                    None if name(mark).is_empty() => usize::MAX,
                    None => distance(word, &name(mark)),
                };
                (far, mark)
            })
            .collect();
        nearest.sort_by_key(|(far, mark)| (*far, core::cmp::Reverse(mark.number)));
        let names: Vec<String> = nearest
            .iter()
            .take(NEAREST)
            .map(|(_, mark)| title(mark))
            .collect();
        let dropped = match self.1 {
            0 => String::new(),
            n => format!("; {} dropped", Count(n.into(), "older mark")),
        };
        format!(
            "there is no mark `{word}`; nearest are: {} (`leaks marks` lists all){dropped}",
            names.join(", ")
        )
    }
}

fn none_set() -> String {
    String::from("no mark is set; `teestat leaks mark` sets one")
}

/// A mark's name, empty if it has none.
pub(crate) fn name(mark: &MarkRow) -> String {
    format!("{}", Label(&mark.name))
}

/// A mark's number with its name.
pub(crate) fn title(mark: &MarkRow) -> String {
    match name(mark) {
        name if name.is_empty() => format!("{}", mark.number),
        name => format!("{} `{name}`", mark.number),
    }
}

/// How many bytes must be put in, left out or changed to make one word of another (Levenshtein).
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u32, text: &str) -> MarkRow {
        let mut row = MarkRow {
            number,
            ..MarkRow::default()
        };
        row.name[..text.len()].copy_from_slice(text.as_bytes());
        row
    }

    fn marks() -> Marks {
        Marks(
            alloc::vec![
                mark(2, "start"),
                mark(3, ""),
                mark(7, "switch"),
                mark(9, "switch"),
            ],
            0,
        )
    }

    #[test]
    fn numbers_and_names_find_marks_and_the_newest_wins() {
        let marks = marks();
        let found = |word| marks.named(word).map(|mark| mark.number);
        assert_eq!(found("2"), Ok(2));
        assert_eq!(found("start"), Ok(2));
        assert_eq!(found("switch"), Ok(9));
        assert_eq!(found("7"), Ok(7));
        assert!(marks.named("").is_err() || found("") == Ok(3));
        assert_eq!(marks.last().map(|mark| mark.number), Ok(9));
        assert_eq!(marks.between(3, 0), [3, 7, 9]);
        assert_eq!(marks.between(2, 9), [2, 3, 7]);
    }

    #[test]
    fn an_unknown_mark_is_answered_with_the_nearest() {
        let why = |word| marks().named(word).map(|_| ()).unwrap_err();
        assert_eq!(
            why("swich"),
            "there is no mark `swich`; nearest are: 9 `switch`, 7 `switch`, 2 `start` \
             (`leaks marks` lists all)"
        );
        assert_eq!(
            why("8"),
            "there is no mark `8`; nearest are: 9 `switch`, 7 `switch`, 3 \
             (`leaks marks` lists all)"
        );
        // Bug: one that was given up was answered as if it had never been.
        let full = Marks(Vec::from([mark(7, "")]), 6);
        assert!(
            full.named("3")
                .is_err_and(|why| why.ends_with("lists all); 6 older marks dropped"))
        );
        let none = Marks(Vec::new(), 0);
        assert!(
            none.named("x")
                .is_err_and(|why| why.contains("no mark is set"))
        );
        assert!(none.last().is_err());
    }

    #[test]
    fn distance_is_levenshteins() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
