//! Text in lines that fit a terminal.
//!
//! A line that is too long loses the UUIDs that stand in brackets behind names, then is broken between words.
//!
//! **Invariant:** a line that fits, and text without a terminal, is written as it came.

use alloc::string::String;
use core::fmt::{self, Write};

use tally_abi::TeeUuid;

/// Characters of a UUID.
const UUID_LEN: usize = 36;
/// Blanks in front of what a line is continued with, more than in front of the line itself.
const INDENT: usize = 4;
/// With fewer columns nothing is broken.
const LEAST_COLUMNS: usize = 40;

/// Output to a terminal of so many columns, if it is one.
pub(crate) struct Fitted<'a> {
    out: &'a mut dyn Write,
    columns: Option<usize>,
    line: String,
    /// Whether anything was written.
    pub(crate) is_begun: bool,
}

impl<'a> Fitted<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, columns: Option<usize>) -> Self {
        Self {
            out,
            columns: columns.filter(|columns| *columns >= LEAST_COLUMNS),
            line: String::new(),
            is_begun: false,
        }
    }

    /// Writes what has no line end.
    pub(crate) fn end(&mut self) -> fmt::Result {
        self.out.write_str(&core::mem::take(&mut self.line))
    }

    fn write_line(&mut self, columns: usize) -> fmt::Result {
        let line = core::mem::take(&mut self.line);
        // A terminal goes on by itself behind its last column.
        if line.chars().count() <= columns {
            return writeln!(self.out, "{line}");
        }
        let line = without_uuids(&line);
        let indent = line.len() - line.trim_start().len();
        let indent = (indent + INDENT).min(columns / 2);
        let (mut rest, mut lead) = (line.as_str(), 0);
        while rest.chars().count() > columns - lead {
            let end = rest.char_indices().nth(columns - lead);
            let end = end.map_or(rest.len(), |(at, _)| at);
            let blanks = rest.len() - rest.trim_start().len();
            // At a blank, but not in front of the first word; a word that is longer stays whole.
            let is_between = |at: &usize| *at > blanks;
            let before = rest.get(..=end).and_then(|part| part.rfind(' '));
            let behind = || rest.get(end..)?.find(' ').map(|at| end + at);
            let Some(at) = before.filter(is_between).or_else(behind) else {
                break;
            };
            let (first, other) = rest.split_at(at);
            writeln!(self.out, "{:lead$}{}", "", first.trim_end())?;
            (rest, lead) = (other.trim_start(), indent);
        }
        writeln!(self.out, "{:lead$}{rest}", "")
    }
}

impl Write for Fitted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.is_begun |= !text.is_empty();
        let Some(columns) = self.columns else {
            return self.out.write_str(text);
        };
        for part in text.split_inclusive('\n') {
            self.line.push_str(part.trim_end_matches('\n'));
            if part.ends_with('\n') {
                self.write_line(columns)?;
            }
        }
        Ok(())
    }
}

/// A line without the UUIDs that stand in brackets.
fn without_uuids(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once(" (") {
        out.push_str(before);
        let uuid = behind.get(..UUID_LEN).map(str::parse::<TeeUuid>);
        let after = behind
            .get(UUID_LEN..)
            .and_then(|after| after.strip_prefix(')'));
        rest = match (uuid, after) {
            (Some(Ok(_)), Some(after)) => after,
            _ => {
                out.push_str(" (");
                behind
            }
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(columns: Option<usize>, text: &str) -> String {
        let mut out = String::new();
        let mut fitted = Fitted::new(&mut out, columns);
        // In pieces, as it is written.
        for piece in text.split_inclusive(' ') {
            fitted.write_str(piece).expect("strings take everything");
        }
        fitted.end().expect("as above");
        out
    }

    const ROW: &str = "     4 ta       ta                     -        944           2     19 hello (7a11e110-0001-4c6e-8d01-5ec0de000001)\n";

    #[test]
    fn a_row_fits_without_the_uuids_of_names() {
        let fit = fitted(Some(80), ROW);
        assert!(fit.ends_with(" 19 hello\n"), "{fit}");
        assert_eq!(fitted(Some(200), ROW), ROW);
        assert_eq!(fitted(None, ROW), ROW);
        // What has no name keeps its UUID, and other brackets stay.
        let bare = "7a11e110-0001-4c6e-8d01-5ec0de000001 (of two)";
        assert_eq!(without_uuids(bare), bare);
        assert_eq!(without_uuids("a (b) (c"), "a (b) (c");
    }

    #[test]
    fn a_line_is_broken_between_words_and_none_is_lost() {
        let text = "  most: used since boot or `teestat reset`; set: half as much again, what was refused too, \
                    in whole pages\nshort\nlast";
        for columns in [40, 60, 80, 200] {
            let fit = fitted(Some(columns), text);
            assert!(fit.lines().all(|line| line.len() <= columns), "{fit}");
            let words = |text: &str| {
                text.split_whitespace()
                    .map(String::from)
                    .collect::<alloc::vec::Vec<_>>()
            };
            assert_eq!(words(&fit), words(text));
            assert!(fit.ends_with("\nshort\nlast"));
        }
        let wide = "x".repeat(100);
        let lines = alloc::format!("one {wide} two\n");
        assert_eq!(
            fitted(Some(60), &lines),
            alloc::format!("one\n    {wide}\n    two\n")
        );
    }
}
