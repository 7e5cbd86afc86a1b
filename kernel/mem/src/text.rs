//! Text of bounded length, for reports that must not need memory.
//!
//! **Invariant:** what does not fit is cut, never split within a character when it is read.

use core::fmt;

/// A name as a zero-padded field.
#[must_use]
pub fn label<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let len = text.len().min(N - 1);
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
    field
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
    use super::{Blocks, TextBuffer};
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
}
