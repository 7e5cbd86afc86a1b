//! The secure console: the `log` crate's logger over the secure PL011, in OP-TEE's line format.
//!
//! **Invariant:** lines of several CPUs do not mix. A line is written under a lock, with
//! interrupts masked.
//!
//! Source: optee_os lib/libutils/ext/trace.c: `I/TC: text`; other levels have the longer prefix
//! with core, thread (blank outside of threads) and place.

use core::fmt::{self, Write};
use core::ptr::NonNull;

use arm_pl011_uart::{PL011Registers, Uart, UniqueMmioPointer};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::lock::IrqLock;
use crate::{mmu, percpu, thread};

/// Records with this target are a TA's own lines, which have their mark and nothing that a terminal obeys.
const USER_TARGET: &str = "ta";

struct Logger(IrqLock<()>);

static LOGGER: Logger = Logger(IrqLock::new(()));

/// Writes to the console without taking its lock: for crash reports. `\n` becomes `\r\n`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConsoleWriter;

impl Write for ConsoleWriter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let registers = mmu::direct(tally_board::SECURE_UART) as *mut PL011Registers;
        let Some(registers) = NonNull::new(registers) else {
            return Err(fmt::Error);
        };
        // SAFETY:
        // 1. The direct map has the secure UART as device memory.
        // 2. Whoever writes holds the logger's lock, or is the last one to run; and a UART that
        //    two CPUs write to mixes characters, nothing else.
        let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(registers) });
        for &byte in text.as_bytes() {
            if byte == b'\n' {
                put(&mut uart, b'\r');
            }
            put(&mut uart, byte);
        }
        Ok(())
    }
}

fn put(uart: &mut Uart<'_>, byte: u8) {
    while uart.is_tx_fifo_full() {
        core::hint::spin_loop();
    }
    uart.write_word(byte);
}

/// Registers the logger. The firmware has set the UART up.
pub(crate) fn init() {
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Writes the prefix of a kernel line.
pub(crate) fn write_prefix(out: &mut impl Write, severity: char) -> fmt::Result {
    write!(out, "{severity}/TC:{} ", percpu::index())?;
    match thread::current_thread() {
        Some(thread) => write!(out, "{thread:02} "),
        None => out.write_str("   "),
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let _guard = self.0.lock();
        let mut out = ConsoleWriter;
        // Writing to the console cannot fail.
        let _ = if record.target() == USER_TARGET {
            writeln!(out, "{}", record.args())
        } else {
            write_record(&mut out, record)
        };
    }

    fn flush(&self) {}
}

fn write_record(out: &mut ConsoleWriter, record: &Record<'_>) -> fmt::Result {
    let severity = match record.level() {
        Level::Info => return writeln!(out, "I/TC: {}", record.args()),
        Level::Error => 'E',
        Level::Warn => 'W',
        Level::Debug => 'D',
        Level::Trace => 'F',
    };
    write_prefix(out, severity)?;
    if let (Some(path), Some(line)) = (record.module_path(), record.line()) {
        let module = path.rsplit("::").next().unwrap_or(path);
        write!(out, "{module}:{line} ")?;
    }
    writeln!(out, "{}", record.args())
}
