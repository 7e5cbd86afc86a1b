//! The editor on terminals of several widths, as an emulator shows them.

use super::*;
use core::num::NonZero;

fn commands(begun: &words::Begun) -> Vec<String> {
    let all = ["help", "heap", "hello", "jobs"];
    let typed = begun.words.last().map_or("", String::as_str);
    let all = all.iter().filter(|c| c.starts_with(typed));
    all.map(|&c| c.into()).collect()
}

fn side(cells: u16) -> NonZero<u16> {
    NonZero::new(cells).unwrap()
}

/// An editor and a terminal of 24 rows.
struct Typist {
    editor: Editor,
    terminal: vt100::Parser,
}

impl Typist {
    fn new(columns: u16) -> Self {
        Self {
            editor: Editor::new(columns.into()),
            terminal: vt100::Parser::new(side(24), side(columns), 0),
        }
    }

    fn begin(&mut self, keys: &str) -> Event {
        let mut out = String::new();
        self.editor.begin("> ", &mut out).unwrap();
        self.terminal.process(out.as_bytes());
        self.feed(keys)
    }

    /// What the last of these keys led to.
    fn feed(&mut self, keys: &str) -> Event {
        let mut last = Event::None;
        for byte in keys.bytes() {
            let mut out = String::new();
            last = self.editor.feed(byte, &commands, &mut out).unwrap();
            self.editor.settle(&mut out).unwrap();
            self.terminal.process(out.as_bytes());
        }
        last
    }

    /// The rows that are not empty, and where the cursor is in them.
    fn shows(&self) -> (Vec<String>, (u16, u16)) {
        let screen = self.terminal.screen();
        let mut rows: Vec<String> = screen.rows(0, screen.size().1.get()).collect();
        while rows.last().is_some_and(|row| row.trim().is_empty()) {
            rows.pop();
        }
        (rows, screen.cursor_position())
    }

    /// That the terminal shows the line once, broken at its width, with the cursor so many characters on.
    fn check_shown(&self, line: &str, cursor: usize) {
        let shown: Vec<u8> = format!("> {line}").into_bytes();
        let columns = self.editor.columns;
        let rows: Vec<String> = shown.chunks(columns).map(text).collect();
        let at = 2 + cursor;
        let cursor = (at / columns, at % columns);
        let (found, (row, column)) = self.shows();
        let found = (found, (usize::from(row), usize::from(column)));
        assert_eq!(found, (rows, cursor), "{columns} columns");
    }
}

fn check(keys: &str, line: &str) {
    let event = Typist::new(80).begin(keys);
    assert_eq!(event, Event::Line(line.into()), "{keys:?}");
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
}

#[test]
fn keys_go_by_words() {
    check("one two\x1b[1;5DX\r", "one Xtwo");
    check("one two\x1bb\x1bbX\r", "Xone two");
    check("one two\x01\x1b[1;5CX\r", "oneX two");
    check("one two\x01\x1bf\x1bfX\r", "one twoX");
    check("one two\x01\x1bd\r", " two");
    check("one two\x1b\x7f\r", "one ");
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
    let mut typist = Typist::new(80);
    typist.begin("one\r");
    typist.begin("two\r");
    let line = |text: &str| Event::Line(text.into());
    assert_eq!(typist.begin("\x1b[A\x1b[A\r"), line("one"));
    assert_eq!(typist.begin("new\x1b[A\x1b[B\r"), line("new"));
    let up = "\x1b[A".repeat(9);
    assert_eq!(typist.begin(&format!("{up}\r")), line("one"));
}

#[test]
fn ctrl_r_searches_the_history() {
    let mut typist = Typist::new(80);
    for line in ["open hello\r", "teestat alloc\r", "open heap\r"] {
        typist.begin(line);
    }
    let line = |text: &str| Event::Line(text.into());
    assert_eq!(typist.begin("\x12open\r"), line("open heap"));
    assert_eq!(typist.begin("\x12open\x12\r"), line("open hello"));
    // What is found can be edited; what is nowhere leaves the last that was.
    assert_eq!(typist.begin("\x12hello\x01x \r"), line("x open hello"));
    assert_eq!(typist.begin("\x12allocx\x7f\r"), line("teestat alloc"));
    assert_eq!(typist.begin("typed\x12alloc\x07\r"), line("typed"));
    assert_eq!(typist.begin("\x12alloc\x03"), Event::Discarded);
}

#[test]
fn a_search_is_shown_with_what_it_finds() {
    let mut typist = Typist::new(80);
    typist.begin("open hello\r");
    typist.begin("\x12el");
    let (rows, _) = typist.shows();
    assert_eq!(rows[1], "(search) `el`: open hello");
    typist.feed("x");
    let (rows, _) = typist.shows();
    assert_eq!(rows[1], "(search) nothing has `elx`: open hello");
}

#[test]
fn control_c_gives_up_a_line_and_is_told_from_one_on_an_empty_line() {
    let mut typist = Typist::new(80);
    assert_eq!(typist.begin("abc\x03"), Event::Discarded);
    assert_eq!(typist.begin("\x03"), Event::Interrupt);
    assert_eq!(typist.begin("abc\x15\x03"), Event::Interrupt);
    assert_eq!(typist.begin("\x04"), Event::End);
}

/// A line wider than the terminal was drawn again below itself with every key.
#[test]
fn a_line_of_many_rows_is_shown_once() {
    for columns in [60, 80, 200] {
        // One character short of each row's end, at it, and behind it.
        for len in [1, 57, 58, 59, 77, 78, 79, 118, 158, 197, 198, 199, 300] {
            let line: String = ('a'..='z').cycle().take(len).collect();
            let mut typist = Typist::new(columns);
            typist.begin(&line);
            typist.check_shown(&line, len);
            typist.feed("\x1b[D");
            typist.check_shown(&line, len - 1);
            typist.feed("\x01");
            typist.check_shown(&line, 0);
            typist.feed("X\x05");
            typist.check_shown(&format!("X{line}"), len + 1);
            typist.feed("\x7f\x01\x1b[3~");
            typist.check_shown(&line[..len - 1], 0);
            typist.feed("\x15\x0b");
            assert_eq!(typist.shows(), (["> ".into()].into(), (0, 2)), "{columns}");
        }
    }
}

#[test]
fn the_next_prompt_stands_below_all_rows() {
    for len in [57, 58, 59, 118] {
        let line = "x".repeat(len);
        let mut typist = Typist::new(60);
        typist.begin(&format!("{line}\x01\r"));
        typist.begin("next");
        let rows = (2 + len).div_ceil(60);
        assert_eq!(typist.shows().0[rows], "> next", "{len}");
    }
}

#[test]
fn a_terminal_that_changes_its_width_is_drawn_anew() {
    let line = "x".repeat(100);
    let mut typist = Typist::new(200);
    typist.begin(&line);
    typist.terminal.screen_mut().set_size(side(24), side(60));
    typist.terminal.process(b"\x1b[2;43H");
    typist.feed("\x1b[8;24;60t");
    typist.check_shown(&line, 100);
}

#[test]
fn choices_are_listed_in_rows_that_fit() {
    let mut typist = Typist::new(14);
    typist.begin("he\t");
    let rows = ["> he", "help  heap", "hello", "> he"].map(String::from);
    let trimmed: Vec<String> = typist
        .shows()
        .0
        .iter()
        .map(|r| r.trim_end().into())
        .collect();
    assert_eq!(trimmed, rows);
    assert_eq!(typist.shows().1, (3, 4));
}

/// Bug: the line was drawn again for each character in its middle, and a long paste held the shell up for minutes.
#[test]
fn what_is_pasted_into_the_middle_is_drawn_once() {
    let mut typist = Typist::new(80);
    typist.begin("end\x1b[H");
    let mut out = String::new();
    for _ in 0..3000 {
        typist.editor.feed(b'x', &commands, &mut out).unwrap();
    }
    typist.editor.settle(&mut out).unwrap();
    assert!(out.len() < 4000, "{} bytes", out.len());
    let pasted = "x".repeat(3000) + "end";
    assert_eq!(typist.feed("\r"), Event::Line(pasted));
}

/// Bug: Enter in a search left `(search)` and the query before the line on the screen.
#[test]
fn a_line_that_was_found_and_entered_is_shown_behind_the_prompt() {
    let mut typist = Typist::new(80);
    typist.begin("help me\r");
    typist.begin("\x12elp");
    let (rows, _) = typist.shows();
    assert!(rows[1].starts_with("(search) `elp`"), "{rows:?}");
    assert_eq!(typist.feed("\r"), Event::Line("help me".into()));
    assert_eq!(typist.shows().0, ["> help me", "> help me"]);
}

#[test]
fn what_no_line_can_have_rings_the_bell() {
    let mut editor = Editor::new(80);
    let mut out = String::new();
    editor.begin("> ", &mut out).unwrap();
    let long = "y".repeat(MAX_LINE + 1);
    for byte in "\u{e9}".bytes().chain(long.bytes()) {
        editor.feed(byte, &commands, &mut out).unwrap();
    }
    assert_eq!(out.matches(BELL).count(), 2);
}
