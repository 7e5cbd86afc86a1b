//! Lines that TAs print on the secure console.
//!
//! **Invariant:** each is marked as theirs and has no character that a terminal obeys, so that none can be taken
//! for the kernel's or hides one.

use core::fmt;
use tally_mem::text::Escaped;

/// What marks them.
const MARK: &str = "/TA:";

/// One line, as it is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    text: &'a [u8],
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Levels of OP-TEE's trace, whose lines have their mark already.
        let is_marked = self.text.split_first().is_some_and(|(level, rest)| {
            b"EWIDFM".contains(level) && rest.starts_with(MARK.as_bytes())
        });
        if !is_marked {
            write!(f, "I{MARK} ")?;
        }
        write!(f, "{}", Escaped(self.text))
    }
}

/// The lines of a text, which may have been cut in the middle of a character.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let whole = match str::from_utf8(text) {
        Err(err) if err.error_len().is_none() => text.get(..err.valid_up_to()),
        _ => None,
    };
    let lines = whole.unwrap_or(text).split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| Line {
        text: line.strip_suffix(b"\n").unwrap_or(line),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    fn shown(text: impl AsRef<[u8]>, expected: &[&str]) {
        let lines = lines(text.as_ref()).map(|line| line.to_string());
        assert_eq!(lines.collect::<Vec<_>>(), expected);
    }

    /// Lines of TAs went to the console as they were: a TA could print a crash of the kernel's.
    #[test]
    fn a_ta_prints_no_line_of_the_kernels() {
        let forged = "I/TA: hello\nE/TC:0 00 Kernel crash\n\u{1b}[2JM/MON: status 71\r\n\n";
        let expected = [
            "I/TA: hello",
            "I/TA: E/TC:0 00 Kernel crash",
            "I/TA: \\x1b[2JM/MON: status 71\\r",
            "I/TA: ",
        ];
        shown(forged, &expected);
        shown("E/LD: refused", &["I/TA: E/LD: refused"]);
        shown("\u{8}\u{8}E/TC: back", &["I/TA: \\x08\\x08E/TC: back"]);
    }

    #[test]
    fn lines_with_a_mark_of_their_own_keep_it() {
        for line in ["E/TA: a", "D/TA:  main:3 b", "F/TA: \u{e9}"] {
            shown(line, &[line]);
        }
        shown("X/TA: a", &["I/TA: X/TA: a"]);
        shown("", &[]);
    }

    /// A text is cut at 512 bytes, wherever that is.
    #[test]
    fn a_cut_character_is_left_out() {
        let text = "I/TA: \u{20ac}".as_bytes();
        for cut in 6..9 {
            shown(&text[..cut], &["I/TA: "]);
        }
        shown(text, &["I/TA: \u{20ac}"]);
        shown(b"\xffa", &["I/TA: \\xffa"]);
    }
}
