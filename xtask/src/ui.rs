//! Progress of xtask's work: one line a step, on standard error.
//!
//! **Invariant:** results go to standard output, progress to standard error; colour only where
//! the stream is a terminal (anstream decides). Nothing that a guest has said moves the terminal.

use anstyle::{AnsiColor, Style};
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use tally_mem::text::is_hidden;

/// For things that went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// For things that failed.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// For things one should look at.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// For the secure world's console.
pub(crate) const SECURE: Style = AnsiColor::Cyan.on_default().dimmed();

static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Makes cargo's own progress visible.
pub(crate) fn set_verbose(on: bool) {
    VERBOSE.store(on, Ordering::Relaxed);
}

/// Whether more than what is usual was asked for.
pub(crate) fn asked_verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// Whether cargo's own progress is visible: asked for, or somebody is watching.
pub(crate) fn verbose() -> bool {
    asked_verbose() || std::io::stderr().is_terminal()
}

/// Text of others' making as a terminal can take it: what would move it, hide letters or turn them around is
/// written out. Lines and tabs stay.
pub(crate) fn plain(text: &str) -> String {
    let moves = |letter| is_hidden(letter) && !matches!(letter, '\n' | '\t');
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if moves(letter) {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Reports a step, aligned with cargo's own lines.
pub(crate) fn step(verb: &str, what: impl std::fmt::Display) {
    clear();
    anstream::eprintln!("{GOOD}{verb:>12}{GOOD:#} {}", plain(&what.to_string()));
}

/// Whether the terminal's last line says what runs.
static RUNNING: AtomicBool = AtomicBool::new(false);

/// Says what runs, on a terminal alone, until something else is said or this is dropped.
pub(crate) struct Running;

/// Shows that `what` runs.
pub(crate) fn running(what: &str) -> Running {
    clear();
    if std::io::stderr().is_terminal() {
        anstream::eprint!("{GOOD}{:>12}{GOOD:#} {what}", "Running");
        RUNNING.store(true, Ordering::Relaxed);
    }
    Running
}

impl Drop for Running {
    fn drop(&mut self) {
        clear();
    }
}

/// Takes away what [`running`] has shown.
fn clear() {
    if RUNNING.swap(false, Ordering::Relaxed) {
        // Back to the line's start, and clear it.
        anstream::eprint!("\r\x1b[2K");
    }
}

/// Reports something worth a look that does not stop the work.
pub(crate) fn warn(what: impl std::fmt::Display) {
    clear();
    let what = plain(&what.to_string());
    anstream::eprintln!("{WARN}{:>12}{WARN:#} {what}", "Warning");
}

/// Reports what ended the work.
pub(crate) fn error(what: impl std::fmt::Display) {
    clear();
    anstream::eprintln!("{BAD}error:{BAD:#} {}", plain(&what.to_string()));
}

/// Groups the digits of `n` by thousands.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{plain, thousands};

    #[test]
    fn nothing_that_a_guest_says_moves_the_terminal() {
        // Bug: a test's reason set the window's title, filled the clipboard and cleared the screen.
        // Bug: the Arabic letter mark was let through.
        let controls = ('\0'..='\x1f').chain('\x7f'..='\u{9f}');
        let marks = ['\u{61c}', '\u{200e}', '\u{200f}'];
        let turns = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        for letter in controls.chain(marks).chain(turns) {
            let said = format!("a{letter}b");
            let is_kept = ['\t', '\n'].contains(&letter);
            assert_eq!(plain(&said) == said, is_kept, "{letter:?}");
            assert_eq!(plain(&said).contains(letter), is_kept, "{letter:?}");
        }
        assert_eq!(plain("abc\tü€\u{1f980}\n"), "abc\tü€\u{1f980}\n");
        assert_eq!(plain("\x1b]0;title\x07"), "\\u{1b}]0;title\\u{7}");
    }

    #[test]
    fn thousands_groups_from_the_right() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (12_345_678, "12,345,678"),
        ];
        for (n, text) in cases {
            assert_eq!(thousands(n), text);
        }
    }
}
