//! Text of bounded length, for reports that must not need memory.
//!
//! **Invariant:** what does not fit is cut, never split within a character when it is read.

use core::ascii::escape_default;
use core::fmt;

/// A name as a zero-padded field.
#[must_use]
pub const fn label<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let text = text.as_bytes();
    let mut at = 0;
    while at < text.len() && at < N - 1 {
        field[at] = text[at];
        at += 1;
    }
    field
}

/// The text of a [`label`].
#[must_use]
pub fn label_text(field: &[u8]) -> &str {
    let len = field.iter().position(|byte| *byte == 0);
    let text = field.get(..len.unwrap_or(field.len())).unwrap_or_default();
    core::str::from_utf8(text).unwrap_or_default()
}

/// So many blocks, as text.
#[derive(Clone, Copy, Debug)]
pub struct Blocks(pub u64);

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} block{plural}", self.0)
    }
}

/// Text of others as one line: what a terminal obeys or does not show, and what is no UTF-8, is written out.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

/// Whether a character does anything but stand there: controls, and formats that turn or hide text.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for piece in chunk.valid().split_inclusive(is_hidden) {
                let shown = piece.trim_end_matches(is_hidden);
                f.write_str(shown)?;
                for c in piece.chars().skip_while(|c| !is_hidden(*c)) {
                    match u8::try_from(c) {
                        Ok(byte) if byte.is_ascii() => escape_default(byte).fmt(f)?,
                        _ => c.escape_default().fmt(f)?,
                    }
                }
            }
            for byte in chunk.invalid() {
                escape_default(*byte).fmt(f)?;
            }
        }
        Ok(())
    }
}

/// Text of at most `N` bytes.
#[derive(Clone, Copy, Debug)]
pub struct TextBuffer<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> TextBuffer<N> {
    /// No text.
    pub const EMPTY: Self = Self {
        bytes: [0; N],
        len: 0,
    };

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }
}

impl<const N: usize> fmt::Write for TextBuffer<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let len = text.len().min(room.len());
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        if len == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Blocks, Escaped, TextBuffer};
    use core::fmt::Write;

    #[test]
    fn one_block_is_no_blocks() {
        let told = [0, 1, 2].map(|count| std::format!("{}", Blocks(count)));
        assert_eq!(told, ["0 blocks", "1 block", "2 blocks"]);
    }

    #[test]
    fn text_is_cut_at_a_character() {
        let mut text = TextBuffer::<4>::EMPTY;
        assert!(write!(text, "abc\u{e9}").is_err());
        assert_eq!(text.text(), "abc");
    }

    #[test]
    fn no_text_moves_a_terminal() {
        for (text, shown) in [
            ("", ""),
            (
                "plain \\ \"\u{e9}\u{20ac}\u{1f980}",
                "plain \\ \"\u{e9}\u{20ac}\u{1f980}",
            ),
            ("\u{1b}[2J\r\n\t\0\u{7f}", "\\x1b[2J\\r\\n\\t\\x00\\x7f"),
            ("a\u{9b}1mb\u{85}\u{2028}", "a\\u{9b}1mb\\u{85}\\u{2028}"),
            (
                "\u{202e}cba\u{2066}\u{200b}",
                "\\u{202e}cba\\u{2066}\\u{200b}",
            ),
        ] {
            assert_eq!(std::format!("{}", Escaped(text.as_bytes())), shown);
        }
        let broken = std::format!("{}", Escaped(b"a\xc3\x1bb\xe2\x82"));
        assert_eq!(broken, "a\\xc3\\x1bb\\xe2\\x82");
    }
}
