//! Text of bounded length, for reports that must not need memory.
//!
//! **Invariant:** what does not fit is cut, never split within a character when it is read.
//! **Knows nothing of:** what it says.

use core::fmt;

/// Text of at most `N` octets.
#[derive(Clone, Copy, Debug)]
pub struct TextBuffer<const N: usize> {
    octets: [u8; N],
    len: usize,
}

impl<const N: usize> TextBuffer<N> {
    /// No text.
    pub const EMPTY: Self = Self {
        octets: [0; N],
        len: 0,
    };

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        let octets = self.octets.get(..self.len).unwrap_or_default();
        octets
            .utf8_chunks()
            .next()
            .map_or("", |chunk| chunk.valid())
    }
}

impl<const N: usize> fmt::Write for TextBuffer<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.octets.get_mut(self.len..).unwrap_or_default();
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
    use super::TextBuffer;
    use core::fmt::Write;

    #[test]
    fn text_is_cut_at_a_character() {
        let mut text = TextBuffer::<4>::EMPTY;
        assert!(write!(text, "abc\u{e9}").is_err());
        assert_eq!(text.text(), "abc");
    }
}
