//! Keys of a terminal, from the bytes it sends (VT100, xterm).

/// What was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A printable ASCII character.
    Char(u8),
    /// A character of Unicode that is none of ASCII's.
    Foreign,
    Enter,
    Tab,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    EndOfInput,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    Older,
    Newer,
    Backspace,
    Delete,
    EraseWord,
    EraseNextWord,
    EraseToStart,
    EraseToEnd,
    ClearScreen,
    /// Ctrl-R.
    Search,
    /// Ctrl-G.
    LeaveSearch,
    /// No key: the terminal has so many columns, as xterm reports it (`CSI 8 ; ROWS ; COLUMNS t`).
    Columns(usize),
}

/// Most numbers of a control sequence that are looked at.
const NUMBERS: usize = 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Plain,
    /// Behind an escape character, which is also what Alt sends first.
    Escaped,
    /// In a control sequence, with its numbers and how many have begun.
    Sequence([u16; NUMBERS], usize),
}

/// What of a key has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Decoder {
    state: State,
    last_was_return: bool,
}

impl Decoder {
    /// Takes a byte; the key that ends with it, if it means something.
    pub(crate) fn take(&mut self, byte: u8) -> Option<Key> {
        let after_return = core::mem::replace(&mut self.last_was_return, byte == b'\r');
        match core::mem::take(&mut self.state) {
            State::Plain if byte == b'\n' && after_return => None,
            State::Plain => self.plain(byte),
            State::Escaped => self.escaped(byte),
            State::Sequence(numbers, count) => self.sequence(numbers, count, byte),
        }
    }

    fn plain(&mut self, byte: u8) -> Option<Key> {
        Some(match byte {
            0x01 => Key::Home,
            0x02 => Key::Left,
            0x03 => Key::Interrupt,
            0x04 => Key::EndOfInput,
            0x05 => Key::End,
            0x06 => Key::Right,
            0x07 => Key::LeaveSearch,
            0x08 | 0x7f => Key::Backspace,
            b'\t' => Key::Tab,
            b'\r' | b'\n' => Key::Enter,
            0x0b => Key::EraseToEnd,
            0x0c => Key::ClearScreen,
            0x0e => Key::Newer,
            0x10 => Key::Older,
            0x12 => Key::Search,
            0x15 => Key::EraseToStart,
            0x17 => Key::EraseWord,
            0x1b => {
                self.state = State::Escaped;
                return None;
            }
            b' '..=b'~' => Key::Char(byte),
            // What begins one in UTF-8 (RFC 3629); the bytes behind it are no keys.
            0xc2..=0xf4 => Key::Foreign,
            _ => return None,
        })
    }

    fn escaped(&mut self, byte: u8) -> Option<Key> {
        match byte {
            b'[' | b'O' => self.state = State::Sequence([0; NUMBERS], 0),
            0x1b => self.state = State::Escaped,
            b'b' => return Some(Key::WordLeft),
            b'f' => return Some(Key::WordRight),
            b'd' => return Some(Key::EraseNextWord),
            0x08 | 0x7f => return Some(Key::EraseWord),
            0x03 => return Some(Key::Interrupt),
            _ => {}
        }
        None
    }

    fn sequence(&mut self, mut numbers: [u16; NUMBERS], count: usize, byte: u8) -> Option<Key> {
        match byte {
            b'0'..=b'9' => {
                if let Some(number) = numbers.get_mut(count) {
                    let digit = u16::from(byte - b'0');
                    *number = number.saturating_mul(10).saturating_add(digit);
                }
                self.state = State::Sequence(numbers, count);
            }
            b';' => self.state = State::Sequence(numbers, (count + 1).min(NUMBERS)),
            // What else stands before the last byte (ECMA-48, 5.4).
            b' '..=b'?' => self.state = State::Sequence(numbers, count),
            0x1b => self.state = State::Escaped,
            0x03 => return Some(Key::Interrupt),
            _ => return named(numbers, byte),
        }
        None
    }
}

/// The key of a whole control sequence; its second number tells Alt, Ctrl and Shift.
fn named(numbers: [u16; NUMBERS], last: u8) -> Option<Key> {
    let is_modified = numbers[1] > 1;
    Some(match (numbers, last) {
        (_, b'A') => Key::Older,
        (_, b'B') => Key::Newer,
        (_, b'C') if is_modified => Key::WordRight,
        (_, b'C') => Key::Right,
        (_, b'D') if is_modified => Key::WordLeft,
        (_, b'D') => Key::Left,
        (_, b'H') | ([1 | 7, ..], b'~') => Key::Home,
        (_, b'F') | ([4 | 8, ..], b'~') => Key::End,
        ([3, ..], b'~') if is_modified => Key::EraseNextWord,
        ([3, ..], b'~') => Key::Delete,
        ([8, _, columns], b't') => Key::Columns(columns.into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn keys(bytes: &str) -> Vec<Key> {
        let mut decoder = Decoder::default();
        bytes.bytes().filter_map(|b| decoder.take(b)).collect()
    }

    #[test]
    fn sequences_of_terminals_are_keys() {
        assert_eq!(keys("\x1b[A\x1bOA\x10"), [Key::Older; 3]);
        // Ctrl and Alt with an arrow, and Alt with a letter.
        assert_eq!(keys("\x1b[1;5D\x1b[1;3D\x1bb"), [Key::WordLeft; 3]);
        assert_eq!(keys("\x1b[1;5C\x1b[1;3C\x1bf"), [Key::WordRight; 3]);
        assert_eq!(keys("\x1b[H\x1b[1~\x1b[7~\x01"), [Key::Home; 4]);
        assert_eq!(keys("\x1b[3~\x1b[3;5~"), [Key::Delete, Key::EraseNextWord]);
        assert_eq!(keys("\x1b[8;24;132t"), [Key::Columns(132)]);
    }

    #[test]
    fn what_means_nothing_leaves_nothing_behind() {
        for nothing in [
            "\x1b[24~",
            "\x1b[?2004h",
            "\x1b[1;2;3;4;5;66666R",
            "\x1bz",
            "\x1b[200~",
        ] {
            let mut typed = alloc::string::String::from(nothing);
            typed.push('x');
            assert_eq!(keys(&typed), [Key::Char(b'x')], "{nothing:?}");
        }
        assert!(keys("\0").is_empty());
        // Bug: they vanished without a sign.
        assert_eq!(keys("\u{e9}\u{20ac}\u{1f980}"), [Key::Foreign; 3]);
    }

    #[test]
    fn ctrl_c_is_seen_wherever_it_comes() {
        for begun in ["", "\x1b", "\x1b[", "\x1b[1;"] {
            let typed = alloc::format!("{begun}\x03");
            assert_eq!(keys(&typed), [Key::Interrupt], "{begun:?}");
        }
    }

    #[test]
    fn line_feed_after_carriage_return_is_not_another_enter() {
        assert_eq!(keys("\r\n\n\r"), [Key::Enter; 3]);
    }
}
