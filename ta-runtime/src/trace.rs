//! Text to the secure console, a line at a time.
//!
//! **Invariant:** one system call a line; a line longer than [`LINE_BYTES`] is cut into pieces, between characters.

use crate::syscall;
use core::fmt::{self, Write};
#[cfg(target_os = "none")]
use log::{Level, LevelFilter, Log, Metadata, Record};

/// Bytes of the line buffer.
pub const LINE_BYTES: usize = 192;

/// A writer that sends whole lines.
pub struct Trace {
    buffer: [u8; LINE_BYTES],
    len: usize,
}

impl Trace {
    /// An empty line.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            buffer: [0; LINE_BYTES],
            len: 0,
        }
    }

    /// Prints formatted text.
    pub fn print(args: fmt::Arguments<'_>) {
        let mut trace = Self::new();
        // The writer never fails; a value's own formatting may, and then the line ends there.
        let _ = trace.write_fmt(args);
        trace.flush();
    }

    /// Adds to the line, sending it whenever the buffer is full.
    fn write_piece(&mut self, mut text: &str) {
        while !text.is_empty() {
            let room = self.buffer.get_mut(self.len..).unwrap_or_default();
            let (now, later) = text.split_at(text.floor_char_boundary(room.len()));
            for (to, from) in room.iter_mut().zip(now.as_bytes()) {
                *to = *from;
            }
            self.len += now.len();
            text = later;
            if !text.is_empty() {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        if let Some(text) = self.buffer.get(..self.len)
            && !text.is_empty()
        {
            syscall::log(text);
        }
        self.len = 0;
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for line in text.split_inclusive('\n') {
            self.write_piece(line);
            if line.ends_with('\n') {
                self.flush();
            }
        }
        Ok(())
    }
}

/// The `log` crate's logger: `I/TA: message`, other levels with their origin as OP-TEE does.
#[cfg(target_os = "none")]
struct Logger;

#[cfg(target_os = "none")]
impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let letter = match record.level() {
            Level::Error => 'E',
            Level::Warn => 'W',
            Level::Info => 'I',
            Level::Debug => 'D',
            Level::Trace => 'F',
        };
        match record.level() {
            Level::Info => Trace::print(format_args!("{letter}/TA: {}\n", record.args())),
            _ => {
                let (target, line) = (record.target(), record.line().unwrap_or(0));
                let args = record.args();
                Trace::print(format_args!("{letter}/TA: {target}:{line} {args}\n"));
            }
        }
    }

    fn flush(&self) {}
}

/// Makes `log`'s macros print.
#[cfg(target_os = "none")]
pub(crate) fn init() {
    static LOGGER: Logger = Logger;
    // An error means that the TA has installed its own: that one stays.
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}

/// Prints text.
#[macro_export]
macro_rules! trace_print {
    ($($arg:tt)*) => ($crate::trace::Trace::print(::core::format_args!($($arg)*)));
}

/// Prints a line.
#[macro_export]
macro_rules! trace_println {
    () => ($crate::trace_print!("\n"));
    ($fmt:expr) => ($crate::trace_print!(::core::concat!($fmt, "\n")));
    ($fmt:expr, $($arg:tt)*) => ($crate::trace_print!(::core::concat!($fmt, "\n"), $($arg)*));
}
