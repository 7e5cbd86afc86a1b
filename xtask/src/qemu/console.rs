//! The two consoles of a run, on their way to the person.
//!
//! **Invariant:** secure lines are shown whole and never in the middle of a normal line, with names for the
//! addresses in them; where they are not asked for, deaths of TAs are told. Both consoles are recorded, the first
//! [`MAX_KEPT`] bytes of each.

use super::Output;
use super::deaths::{self, Deaths};
use crate::symbols::Symbols;
use crate::ui;
use std::io::{IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

/// Records and shows.
pub(crate) struct Console<'a> {
    output: Output,
    show_secure: bool,
    terminal: bool,
    normal: Vec<u8>,
    secure: Vec<u8>,
    secure_line: Vec<u8>,
    deaths: Deaths,
    /// Deaths that were not told.
    counted: u64,
    symbols: Symbols<'a>,
    /// Secure lines that wait for the normal world to end its own.
    waiting: Vec<String>,
    at_line_start: bool,
}

/// Bytes of a console that are recorded, however much a guest prints.
const MAX_KEPT: usize = 64 << 20;

impl<'a> Console<'a> {
    pub(crate) fn new(output: Output, show_secure: bool, symbols: Symbols<'a>) -> Self {
        Self {
            output,
            show_secure,
            terminal: std::io::stdout().is_terminal(),
            normal: Vec::new(),
            secure: Vec::new(),
            secure_line: Vec::new(),
            deaths: Deaths::default(),
            counted: 0,
            symbols,
            waiting: Vec::new(),
            at_line_start: true,
        }
    }

    /// Takes output of the normal world. Carriage returns are the serial line's affair: they
    /// are dropped unless a terminal shows them.
    pub(crate) fn normal(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let plain = bytes
            .split(|&byte| byte == b'\r')
            .collect::<Vec<_>>()
            .concat();
        let shown = if self.output == Output::Interactive {
            bytes
        } else {
            &plain
        };
        if self.output != Output::Captured {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(shown)?;
            stdout.flush()?;
        }
        if let Some(&last) = plain.last() {
            self.at_line_start = last == b'\n';
        }
        keep(&mut self.normal, &plain);
        if self.at_line_start {
            self.show_waiting();
        }
        Ok(())
    }

    /// Takes output of the secure world.
    pub(crate) fn secure(&mut self, bytes: &[u8]) {
        // Line by line: bytes one by one took seconds for what a guest may print.
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (piece, ends) = match piece.split_last() {
                Some((b'\n', line)) => (line, true),
                _ => (piece, false),
            };
            for part in piece.split(|&byte| byte == b'\r') {
                keep(&mut self.secure, part);
                keep(&mut self.secure_line, part);
            }
            if ends {
                keep(&mut self.secure, b"\n");
                self.show_secure_line();
            }
        }
    }

    /// How many deaths were not told.
    pub(crate) fn counted(&self) -> u64 {
        self.counted
    }

    /// The recorded consoles, normal and secure.
    pub(crate) fn finish(mut self) -> (String, String) {
        if !self.secure_line.is_empty() {
            self.show_secure_line();
        }
        if !self.waiting.is_empty() && !self.at_line_start {
            anstream::println!();
        }
        self.show_waiting();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&self.normal), text(&self.secure))
    }

    fn show_secure_line(&mut self) {
        let line = std::mem::take(&mut self.secure_line);
        if self.output == Output::Captured {
            return;
        }
        let line = String::from_utf8_lossy(&line);
        if self.show_secure {
            let named = self.symbols.annotate(&line);
            self.waiting.extend(named.lines().map(str::to_owned));
        } else if self.output == Output::ShownAlone {
            self.counted += u64::from(self.deaths.take(&line).is_some());
        } else if let Some(death) = self.deaths.take(&line) {
            self.waiting.extend(death.lines(&mut self.symbols));
        } else if let Some(refusal) = deaths::unloaded(&line) {
            self.waiting.push(refusal);
        }
        if self.at_line_start {
            self.show_waiting();
        }
    }

    fn show_waiting(&mut self) {
        let style = ui::SECURE;
        let mark = if self.terminal { "" } else { "secure| " };
        for line in self.waiting.drain(..) {
            let line = ui::plain(&line);
            match self.show_secure {
                true => anstream::println!("{style}{mark}{line}{style:#}"),
                // What nobody has asked for is no output.
                false => anstream::eprintln!("{style}{line}{style:#}"),
            }
        }
    }
}

/// Appends, up to [`MAX_KEPT`] in all.
fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = MAX_KEPT.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// Follows the file that QEMU writes the secure console to.
pub(crate) struct SecureTail {
    path: PathBuf,
    offset: u64,
}

impl SecureTail {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, offset: 0 }
    }

    /// Hands over what is new; returns whether there was something.
    pub(crate) fn poll(&mut self, console: &mut Console<'_>) -> bool {
        let Ok(mut file) = std::fs::File::open(&self.path) else {
            return false;
        };
        let mut bytes = Vec::new();
        let read = file
            .seek(SeekFrom::Start(self.offset))
            .and_then(|_| file.read_to_end(&mut bytes));
        let Ok(n @ 1..) = read else { return false };
        self.offset += n as u64;
        console.secure(&bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: a minute of `soak` told 2,741 lines of deaths that it had made itself.
    #[test]
    fn deaths_on_purpose_are_counted_and_not_told() {
        let mut report = deaths::tests::report("E/TA: words", "cause", &["0x1"]).join("\n");
        report.push('\n');
        for (output, counted) in [(Output::ShownAlone, 2), (Output::Shown, 0)] {
            let mut console = Console::new(output, false, Symbols::none());
            // In the middle of a line, where all waits.
            console.at_line_start = false;
            for _ in 0..2 {
                console.secure(report.as_bytes());
                console.secure(b"I/TC: another line\n");
            }
            assert_eq!(console.counted(), counted);
            assert_eq!(console.waiting.is_empty(), counted > 0);
        }
    }

    #[test]
    fn recorded_consoles_have_plain_line_ends() {
        let mut console = Console::new(Output::Captured, false, Symbols::none());
        console.normal(b"one\r\ntwo\r\n").unwrap();
        console.secure(b"I/TC: up\r\npart");
        let (normal, secure) = console.finish();
        assert_eq!(normal, "one\ntwo\n");
        assert_eq!(secure, "I/TC: up\npart");
    }
}
