//! A line editor over a byte stream (VT100 keys and answers).
//!
//! **Invariant:** the cursor is inside the line; only printable ASCII gets into it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// Lines kept in the history.
const HISTORY: usize = 64;

/// What a byte led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Nothing to do.
    None,
    /// A line was entered.
    Line(String),
    /// Ctrl-C: the line was given up.
    Cancel,
    /// Ctrl-D on an empty line.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    Csi(u8),
}

/// Gives the words that could stand in place of the last of `words`.
pub(crate) type Complete<'a> = &'a dyn Fn(&[&str]) -> Vec<String>;

/// The editor.
#[derive(Debug)]
pub(crate) struct Editor {
    prompt: String,
    line: Vec<u8>,
    cursor: usize,
    escape: Escape,
    history: Vec<Vec<u8>>,
    /// Position in the history; its length is the line being typed.
    place: usize,
    kept: Vec<u8>,
    last_was_cr: bool,
}

impl Editor {
    /// An editor without history.
    pub(crate) const fn new() -> Self {
        Self {
            prompt: String::new(),
            line: Vec::new(),
            cursor: 0,
            escape: Escape::None,
            history: Vec::new(),
            place: 0,
            kept: Vec::new(),
            last_was_cr: false,
        }
    }

    /// Begins a line.
    pub(crate) fn begin(&mut self, prompt: &str, out: &mut dyn Write) -> fmt::Result {
        self.prompt = prompt.into();
        self.line.clear();
        self.cursor = 0;
        self.place = self.history.len();
        out.write_str(prompt)
    }

    /// The history, oldest first.
    #[cfg(target_os = "none")]
    pub(crate) fn history(&self) -> impl Iterator<Item = String> {
        self.history.iter().map(|line| text(line))
    }

    /// Takes a byte.
    pub(crate) fn feed(
        &mut self,
        byte: u8,
        complete: Complete<'_>,
        out: &mut dyn Write,
    ) -> Result<Event, fmt::Error> {
        let after_cr = core::mem::replace(&mut self.last_was_cr, byte == b'\r');
        match (self.escape, byte) {
            (Escape::Begun, b'[' | b'O') => {
                self.escape = Escape::Csi(0);
                return Ok(Event::None);
            }
            (Escape::Begun, _) => {
                self.escape = Escape::None;
                return Ok(Event::None);
            }
            (Escape::Csi(_), b'0'..=b'9') => {
                self.escape = Escape::Csi(byte);
                return Ok(Event::None);
            }
            (Escape::Csi(_), b';') => return Ok(Event::None),
            (Escape::Csi(number), key) => {
                self.escape = Escape::None;
                self.key(number, key);
                self.redraw(out)?;
                return Ok(Event::None);
            }
            (Escape::None, _) => {}
        }
        match byte {
            b'\n' if after_cr => return Ok(Event::None),
            b'\r' | b'\n' => {
                self.cursor = self.line.len();
                self.redraw(out)?;
                out.write_str("\n")?;
                return Ok(Event::Line(self.enter()));
            }
            0x1b => {
                self.escape = Escape::Begun;
                return Ok(Event::None);
            }
            3 => {
                out.write_str("^C\n")?;
                return Ok(Event::Cancel);
            }
            4 if self.line.is_empty() => {
                out.write_str("\n")?;
                return Ok(Event::End);
            }
            4 => self.delete(),
            b'\t' => return self.complete(complete, out).map(|()| Event::None),
            1 => self.cursor = 0,
            2 => self.cursor = self.cursor.saturating_sub(1),
            5 => self.cursor = self.line.len(),
            6 => self.cursor = (self.cursor + 1).min(self.line.len()),
            8 | 0x7f if self.cursor > 0 => {
                self.cursor -= 1;
                self.delete();
            }
            0x0b => self.line.truncate(self.cursor),
            0x0c => out.write_str("\x1b[2J\x1b[H")?,
            0x0e => self.go(1),
            0x10 => self.go(-1),
            0x15 => {
                self.line.drain(..self.cursor);
                self.cursor = 0;
            }
            0x17 => self.delete_word(),
            b' '..=b'~' => {
                self.line.insert(self.cursor, byte);
                self.cursor += 1;
                if self.cursor == self.line.len() {
                    out.write_char(char::from(byte))?;
                    return Ok(Event::None);
                }
            }
            _ => return Ok(Event::None),
        }
        self.redraw(out)?;
        Ok(Event::None)
    }

    fn key(&mut self, number: u8, key: u8) {
        match (number, key) {
            (_, b'A') => self.go(-1),
            (_, b'B') => self.go(1),
            (_, b'C') => self.cursor = (self.cursor + 1).min(self.line.len()),
            (_, b'D') => self.cursor = self.cursor.saturating_sub(1),
            (_, b'H') | (b'1' | b'7', b'~') => self.cursor = 0,
            (_, b'F') | (b'4' | b'8', b'~') => self.cursor = self.line.len(),
            (b'3', b'~') => self.delete(),
            _ => {}
        }
    }

    fn delete(&mut self) {
        if self.cursor < self.line.len() {
            self.line.remove(self.cursor);
        }
    }

    fn delete_word(&mut self) {
        let before = &self.line[..self.cursor];
        let end = before.iter().rposition(|&b| b != b' ').map_or(0, |i| i + 1);
        let start = before[..end]
            .iter()
            .rposition(|&b| b == b' ')
            .map_or(0, |i| i + 1);
        self.line.drain(start..self.cursor);
        self.cursor = start;
    }

    fn go(&mut self, by: isize) {
        let Some(to) = self.place.checked_add_signed(by) else {
            return;
        };
        if to > self.history.len() {
            return;
        }
        if self.place == self.history.len() {
            self.kept = self.line.clone();
        }
        self.place = to;
        self.line = self.history.get(to).unwrap_or(&self.kept).clone();
        self.cursor = self.line.len();
    }

    fn enter(&mut self) -> String {
        let line = core::mem::take(&mut self.line);
        let entered = text(&line);
        let blank = entered.trim().is_empty();
        if !blank && self.history.last() != Some(&line) {
            if self.history.len() == HISTORY {
                self.history.remove(0);
            }
            self.history.push(line);
        }
        entered
    }

    fn redraw(&self, out: &mut dyn Write) -> fmt::Result {
        write!(out, "\r{}{}\x1b[K", self.prompt, text(&self.line))?;
        match self.line.len() - self.cursor {
            0 => Ok(()),
            back => write!(out, "\x1b[{back}D"),
        }
    }

    fn complete(&mut self, complete: Complete<'_>, out: &mut dyn Write) -> fmt::Result {
        let before = text(&self.line[..self.cursor]);
        let command = before.rsplit([';', '&']).next().unwrap_or("");
        let mut words: Vec<&str> = command.split_whitespace().collect();
        if command.is_empty() || command.ends_with(' ') {
            words.push("");
        }
        let typed = words.last().map_or(0, |word| word.len());
        let found = complete(&words);
        let Some(first) = found.first() else {
            return Ok(());
        };
        let common = found.iter().fold(first.len(), |n, other| {
            let same = first.bytes().zip(other.bytes());
            same.take_while(|(a, b)| a == b).count().min(n)
        });
        let mut insert = first.as_bytes().get(typed..common).unwrap_or(&[]).to_vec();
        if found.len() == 1 {
            insert.push(b' ');
        }
        if insert.is_empty() {
            out.write_str("\n")?;
            for word in &found {
                write!(out, "{word}  ")?;
            }
            out.write_str("\n")?;
        }
        let at = self.cursor;
        self.cursor += insert.len();
        self.line.splice(at..at, insert);
        self.redraw(out)
    }
}

fn text(line: &[u8]) -> String {
    line.iter().map(|&b| char::from(b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(words: &[&str]) -> Vec<String> {
        let all = ["help", "heap", "hello", "jobs"];
        let typed = words.last().copied().unwrap_or("");
        all.iter()
            .filter(|c| c.starts_with(typed))
            .map(|&c| c.into())
            .collect()
    }

    fn enter(editor: &mut Editor, keys: &str) -> Event {
        let mut out = String::new();
        editor.begin("> ", &mut out).unwrap();
        let mut last = Event::None;
        for byte in keys.bytes() {
            last = editor.feed(byte, &commands, &mut out).unwrap();
        }
        last
    }

    fn check(keys: &str, line: &str) {
        let mut editor = Editor::new();
        assert_eq!(
            enter(&mut editor, keys),
            Event::Line(line.into()),
            "{keys:?}"
        );
    }

    #[test]
    fn keys_edit_the_line() {
        check("abc\r", "abc");
        check("abc\x1b[D\x1b[DX\r", "aXbc");
        check("abc\x01X\x05Y\r", "XabcY");
        check("abc\x1b[HX\x1b[F!\r", "Xabc!");
        check("abc\x7f\x7fd\r", "ad");
        check("one two\x17three\r", "one three");
        check("one two\x15x\r", "x");
        check("one\x02\x02\x0b\r", "o");
        check("one\x01\x04\r", "ne");
        check("a\x1b[3~b\r", "ab");
        check("a\x1b[1;5Cb\u{7}\r", "ab");
    }

    #[test]
    fn tab_completes_as_far_as_it_is_clear() {
        check("j\t\r", "jobs ");
        check("he\t\r", "he");
        check("a; hel\tl\t\r", "a; hello ");
        check("z\t\r", "z");
    }

    #[test]
    fn history_goes_back_and_forth() {
        let mut editor = Editor::new();
        enter(&mut editor, "one\r");
        enter(&mut editor, "two\r");
        assert_eq!(
            enter(&mut editor, "\x1b[A\x1b[A\r"),
            Event::Line("one".into())
        );
        let event = enter(&mut editor, "new\x1b[A\x1b[B\r");
        assert_eq!(event, Event::Line("new".into()));
        assert_eq!(
            enter(&mut editor, "\x1b[A\x1b[A\x1b[A\x1b[A\x1b[A\x1b[A\r"),
            Event::Line("one".into())
        );
    }

    #[test]
    fn control_c_gives_up_and_control_d_ends() {
        let mut editor = Editor::new();
        assert_eq!(enter(&mut editor, "abc\x03"), Event::Cancel);
        assert_eq!(enter(&mut editor, "\x04"), Event::End);
    }

    #[test]
    fn line_feed_after_carriage_return_is_not_another_line() {
        let mut editor = Editor::new();
        assert_eq!(enter(&mut editor, "a\r\n"), Event::None);
        assert_eq!(enter(&mut editor, "b\n"), Event::Line("b".into()));
    }
}
