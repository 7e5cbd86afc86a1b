//! Lines that TAs and their loader print on the secure console.
//!
//! **Invariant:** each is marked as theirs and has no character that a terminal obeys, so that none can be taken
//! for the kernel's or hides one.

use core::fmt;
use tally_mem::text::Escaped;

/// Who prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// A TA.
    Ta,
    /// The loader, before the TA runs.
    Loader,
}

impl Speaker {
    fn mark(self) -> &'static str {
        match self {
            Self::Ta => "/TA:",
            Self::Loader => "/LD:",
        }
    }
}

/// One line, as it is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    speaker: Speaker,
    text: &'a [u8],
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = self.speaker.mark();
        // Levels of OP-TEE's trace, whose lines have their mark already.
        let is_marked = self.text.split_first().is_some_and(|(level, rest)| {
            b"EWIDFM".contains(level) && rest.starts_with(mark.as_bytes())
        });
        if !is_marked {
            write!(f, "I{mark} ")?;
        }
        write!(f, "{}", Escaped(self.text))
    }
}

/// The lines of a text, which may have been cut in the middle of a character.
pub(super) fn lines(speaker: Speaker, text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let whole = match str::from_utf8(text) {
        Err(err) if err.error_len().is_none() => text.get(..err.valid_up_to()),
        _ => None,
    };
    let lines = whole.unwrap_or(text).split_inclusive(|byte| *byte == b'\n');
    lines.map(move |line| Line {
        speaker,
        text: line.strip_suffix(b"\n").unwrap_or(line),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    fn shown(speaker: Speaker, text: impl AsRef<[u8]>, expected: &[&str]) {
        let lines = lines(speaker, text.as_ref()).map(|line| line.to_string());
        assert_eq!(lines.collect::<Vec<_>>(), expected);
    }

    /// Lines of TAs went to the console as they were: a TA could print a crash of the kernel's (issue 12, case 6).
    #[test]
    fn a_ta_prints_no_line_of_the_kernels() {
        let forged = "I/TA: hello\nE/TC:0 00 Kernel crash\n\u{1b}[2JM/MON: status 71\r\n\n";
        let expected = [
            "I/TA: hello",
            "I/TA: E/TC:0 00 Kernel crash",
            "I/TA: \\x1b[2JM/MON: status 71\\r",
            "I/TA: ",
        ];
        shown(Speaker::Ta, forged, &expected);
        shown(Speaker::Ta, "E/LD: refused", &["I/TA: E/LD: refused"]);
        shown(
            Speaker::Ta,
            "\u{8}\u{8}E/TC: back",
            &["I/TA: \\x08\\x08E/TC: back"],
        );
    }

    #[test]
    fn lines_with_a_mark_of_their_own_keep_it() {
        for line in ["E/TA: a", "D/TA:  main:3 b", "F/TA: \u{e9}"] {
            shown(Speaker::Ta, line, &[line]);
        }
        shown(Speaker::Loader, "E/LD: a\n", &["E/LD: a"]);
        shown(Speaker::Loader, "E/TA: a", &["I/LD: E/TA: a"]);
        shown(Speaker::Ta, "X/TA: a", &["I/TA: X/TA: a"]);
        shown(Speaker::Ta, "", &[]);
    }

    /// A text is cut at 512 bytes, wherever that is.
    #[test]
    fn a_cut_character_is_left_out() {
        let text = "I/TA: \u{20ac}".as_bytes();
        for cut in 6..9 {
            shown(Speaker::Ta, &text[..cut], &["I/TA: "]);
        }
        shown(Speaker::Ta, text, &["I/TA: \u{20ac}"]);
        shown(Speaker::Ta, b"\xffa", &["I/TA: \\xffa"]);
    }
}
