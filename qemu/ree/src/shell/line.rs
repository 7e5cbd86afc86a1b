//! A line editor over a byte stream (VT100 answers).
//!
//! **Invariant:** the cursor is inside the line; only printable ASCII gets into it; what is shown is one copy
//! of the line, on as many rows as it takes. A change in its middle is shown by [`Editor::settle`]: what comes together is
//! drawn once.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::keys::{Decoder, Key};
use super::words;

/// Lines kept in the history.
const HISTORY: usize = 256;
/// Bytes that a line may have.
const MAX_LINE: usize = 8 << 10;
/// Rings the terminal's bell.
const BELL: &str = "\x07";
/// Columns of a terminal that has not said how many it has.
#[cfg(target_os = "none")]
pub(crate) const USUAL_COLUMNS: usize = 80;
/// With fewer, nothing can be drawn.
const LEAST_COLUMNS: usize = 8;

/// What a byte led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Nothing to do.
    None,
    /// A line was entered.
    Line(String),
    /// Ctrl-C: the line was given up.
    Discarded,
    /// Ctrl-C on an empty line.
    Interrupt,
    /// Ctrl-D on an empty line.
    End,
}

/// Gives the words that could stand in place of the last of those in the command.
pub(crate) type Complete<'a> = &'a dyn Fn(&words::Begun) -> Vec<String>;

/// A search in the history.
#[derive(Debug, Default)]
struct Search {
    query: Vec<u8>,
    /// Where it was found; the history's length before the first.
    place: usize,
    /// Whether the query is nowhere further back.
    missed: bool,
    /// The line that was typed before.
    before: Vec<u8>,
}

/// The editor.
#[derive(Debug)]
pub(crate) struct Editor {
    prompt: String,
    columns: usize,
    decoder: Decoder,
    line: Vec<u8>,
    cursor: usize,
    /// Row of the cursor, from that where the prompt begins.
    row: usize,
    history: Vec<Vec<u8>>,
    /// Position in the history; its length is the line being typed.
    place: usize,
    kept: Vec<u8>,
    search: Option<Search>,
    /// Whether the terminal shows an older line.
    is_stale: bool,
}

impl Editor {
    /// An editor without history, for a terminal of so many columns.
    pub(crate) fn new(columns: usize) -> Self {
        Self {
            prompt: String::new(),
            columns: columns.max(LEAST_COLUMNS),
            decoder: Decoder::default(),
            line: Vec::new(),
            cursor: 0,
            row: 0,
            history: Vec::new(),
            place: 0,
            kept: Vec::new(),
            search: None,
            is_stale: false,
        }
    }

    /// Begins a line.
    pub(crate) fn begin(&mut self, prompt: &str, out: &mut dyn Write) -> fmt::Result {
        self.prompt = prompt.into();
        self.line.clear();
        self.cursor = 0;
        self.row = 0;
        self.place = self.history.len();
        self.search = None;
        self.is_stale = false;
        out.write_str(prompt)
    }

    /// Shows the line as it is, when nothing more is there to be taken.
    pub(crate) fn settle(&mut self, out: &mut dyn Write) -> fmt::Result {
        match self.is_stale {
            true => self.redraw(out),
            false => Ok(()),
        }
    }

    /// Shows the line anew, in the row where the cursor is now: something else was written over it.
    #[cfg(target_os = "none")]
    pub(crate) fn show_again(&mut self, out: &mut dyn Write) -> fmt::Result {
        self.row = 0;
        self.redraw(out)
    }

    /// Columns of the terminal, as last heard of.
    #[cfg(target_os = "none")]
    pub(crate) const fn columns(&self) -> usize {
        self.columns
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
        let Some(key) = self.decoder.take(byte) else {
            return Ok(Event::None);
        };
        if self.search.is_some() {
            // What it showed before the line goes with it.
            self.is_stale = true;
            if self.search_key(key) {
                return Ok(Event::None);
            }
        }
        match key {
            Key::Enter => {
                self.leave(out)?;
                return Ok(Event::Line(self.enter()));
            }
            Key::Interrupt => {
                self.go_behind(out)?;
                out.write_str("^C\r\n")?;
                return Ok(match self.line.is_empty() {
                    true => Event::Interrupt,
                    false => Event::Discarded,
                });
            }
            Key::EndOfInput if self.line.is_empty() => {
                self.leave(out)?;
                return Ok(Event::End);
            }
            Key::Tab => self.complete(complete, out)?,
            Key::ClearScreen => {
                self.row = 0;
                out.write_str("\x1b[2J\x1b[H")?;
            }
            Key::Columns(columns) => {
                self.columns = columns.max(LEAST_COLUMNS);
                // The terminal has broken the rows anew.
                self.row = (self.prompt.len() + self.cursor) / self.columns;
            }
            Key::Foreign => return out.write_str(BELL).map(|()| Event::None),
            Key::Char(_) if self.line.len() == MAX_LINE => {
                return out.write_str(BELL).map(|()| Event::None);
            }
            Key::Char(byte) => {
                self.line.insert(self.cursor, byte);
                self.cursor += 1;
                if self.cursor == self.line.len() && !self.is_stale {
                    return self.append(byte, out).map(|()| Event::None);
                }
            }
            key => self.edit(key),
        }
        self.is_stale = true;
        Ok(Event::None)
    }

    fn edit(&mut self, key: Key) {
        match key {
            Key::Left => self.cursor = self.cursor.saturating_sub(1),
            Key::Right => self.cursor = (self.cursor + 1).min(self.line.len()),
            Key::WordLeft => self.cursor = self.word_start(),
            Key::WordRight => self.cursor = self.word_end(),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.line.len(),
            Key::Older => self.go(-1),
            Key::Newer => self.go(1),
            Key::Backspace => self.erase(self.cursor.saturating_sub(1), self.cursor),
            Key::Delete | Key::EndOfInput => {
                self.erase(self.cursor, (self.cursor + 1).min(self.line.len()));
            }
            Key::EraseWord => self.erase(self.word_start(), self.cursor),
            Key::EraseNextWord => self.erase(self.cursor, self.word_end()),
            Key::EraseToStart => self.erase(0, self.cursor),
            Key::EraseToEnd => self.line.truncate(self.cursor),
            Key::Search => {
                self.search = Some(Search {
                    place: self.history.len(),
                    before: self.line.clone(),
                    ..Search::default()
                });
            }
            Key::Char(_)
            | Key::Enter
            | Key::Tab
            | Key::Foreign
            | Key::Interrupt
            | Key::ClearScreen
            | Key::LeaveSearch
            | Key::Columns(_) => {}
        }
    }

    /// Takes a key of a search; false if the key ends it and is one of the line found.
    fn search_key(&mut self, key: Key) -> bool {
        let newest = self.history.len();
        let Some(search) = &mut self.search else {
            return false;
        };
        match key {
            Key::Char(byte) => {
                search.query.push(byte);
                let from = search.place.saturating_add(1).min(newest);
                self.find(from);
            }
            Key::Backspace => {
                search.query.pop();
                self.find(newest);
            }
            Key::Search => {
                let from = search.place;
                self.find(from);
            }
            Key::LeaveSearch => {
                self.line = core::mem::take(&mut search.before);
                self.cursor = self.line.len();
                self.search = None;
            }
            _ => {
                self.search = None;
                return false;
            }
        }
        true
    }

    /// Finds the newest line before this place that has what is searched for.
    fn find(&mut self, before: usize) {
        let Some(search) = &mut self.search else {
            return;
        };
        let has = |line: &Vec<u8>| {
            let query = &search.query[..];
            query.is_empty() || line.windows(query.len()).any(|part| part == query)
        };
        let lines = self.history.get(..before).unwrap_or_default();
        let found = lines.iter().rposition(has);
        search.missed = found.is_none();
        if let Some(place) = found {
            search.place = place;
            self.line = lines[place].clone();
            self.cursor = self.line.len();
        }
    }

    fn erase(&mut self, from: usize, to: usize) {
        self.line.drain(from..to);
        self.cursor = from;
    }

    /// Where the word before the cursor begins.
    fn word_start(&self) -> usize {
        let before = &self.line[..self.cursor];
        let end = before.iter().rposition(|&b| b != b' ').map_or(0, |i| i + 1);
        let blank = before[..end].iter().rposition(|&b| b == b' ');
        blank.map_or(0, |i| i + 1)
    }

    /// Where the word after the cursor ends.
    fn word_end(&self) -> usize {
        let after = &self.line[self.cursor..];
        let word = after.iter().take_while(|&&b| b == b' ').count();
        let len = after[word..].iter().take_while(|&&b| b != b' ').count();
        self.cursor + word + len
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

    /// What stands before the line.
    fn head(&self) -> String {
        match &self.search {
            None => self.prompt.clone(),
            Some(search) => {
                let missed = if search.missed { "nothing has " } else { "" };
                format!("(search) {missed}`{}`: ", text(&search.query))
            }
        }
    }

    /// A character behind all others.
    fn append(&mut self, byte: u8, out: &mut dyn Write) -> fmt::Result {
        out.write_char(char::from(byte))?;
        self.go_on(self.prompt.len() + self.line.len(), out)
    }

    /// Behind `len` characters: a terminal stays in its last column until another one comes.
    fn go_on(&mut self, len: usize, out: &mut dyn Write) -> fmt::Result {
        self.row = len / self.columns;
        match len % self.columns {
            0 if len > 0 => out.write_str(" \r"),
            _ => Ok(()),
        }
    }

    fn redraw(&mut self, out: &mut dyn Write) -> fmt::Result {
        self.is_stale = false;
        if self.row > 0 {
            write!(out, "\x1b[{}A", self.row)?;
        }
        let head = self.head();
        write!(out, "\r\x1b[J{head}{}", text(&self.line))?;
        self.go_on(head.len() + self.line.len(), out)?;
        if self.cursor == self.line.len() {
            return Ok(());
        }
        let at = head.len() + self.cursor;
        let (row, column) = (at / self.columns, at % self.columns);
        if self.row > row {
            write!(out, "\x1b[{}A", self.row - row)?;
        }
        self.row = row;
        out.write_str("\r")?;
        match column {
            0 => Ok(()),
            column => write!(out, "\x1b[{column}C"),
        }
    }

    /// Goes behind the line.
    fn go_behind(&mut self, out: &mut dyn Write) -> fmt::Result {
        if self.is_stale || self.cursor < self.line.len() {
            self.cursor = self.line.len();
            self.redraw(out)?;
        }
        Ok(())
    }

    /// Goes to the start of the row below the line, which stays as it is.
    fn leave(&mut self, out: &mut dyn Write) -> fmt::Result {
        self.go_behind(out)?;
        match (self.prompt.len() + self.line.len()) % self.columns {
            0 => Ok(()),
            _ => out.write_str("\r\n"),
        }
    }

    fn complete(&mut self, complete: Complete<'_>, out: &mut dyn Write) -> fmt::Result {
        let begun = words::begun(&text(&self.line[..self.cursor]));
        let found = complete(&begun);
        let Some(first) = found.first() else {
            return Ok(());
        };
        let typed = begun.words.last().map_or(0, String::len);
        let common = found.iter().fold(first.len(), |n, other| {
            let same = first.bytes().zip(other.bytes());
            same.take_while(|(a, b)| a == b).count().min(n)
        });
        let mut insert = first.as_bytes().get(typed..common).unwrap_or(&[]).to_vec();
        if found.len() == 1 && !first.ends_with([':', '>', '=']) {
            insert.push(b' ');
        }
        if insert.is_empty() {
            let cursor = self.cursor;
            self.leave(out)?;
            self.list(&found, out)?;
            (self.cursor, self.row) = (cursor, 0);
        }
        let at = self.cursor;
        self.cursor += insert.len();
        self.line.splice(at..at, insert);
        Ok(())
    }

    /// Words in rows that fit.
    fn list(&self, words: &[String], out: &mut dyn Write) -> fmt::Result {
        let mut column = 0;
        for word in words {
            if column > 0 && column + word.len() >= self.columns {
                out.write_str("\r\n")?;
                column = 0;
            }
            write!(out, "{word}  ")?;
            column += word.len() + 2;
        }
        out.write_str("\r\n")
    }
}

fn text(line: &[u8]) -> String {
    line.iter().map(|&b| char::from(b)).collect()
}

#[cfg(test)]
mod tests;
