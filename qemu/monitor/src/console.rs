//! A few lines on the secure UART, each beginning `M/MON: `.
//!
//! **Invariant:** a line is written whole or by a CPU that is about to end the machine.

use core::fmt::{self, Write};
use core::ptr::NonNull;

use arm_pl011_uart::UniqueMmioPointer;
use arm_pl011_uart::{DataBits, LineConfig, PL011Registers, Parity, StopBits, Uart};
use spin::mutex::SpinMutex;
use tally_board_virt as virt;

static CONSOLE: SpinMutex<Option<Uart<'static>>> = SpinMutex::new(None);

/// Baud rate and clock of the PL011; QEMU ignores both.
const BAUD: u32 = 115_200;
const CLOCK_HZ: u32 = 24_000_000;

fn open() -> Option<Uart<'static>> {
    let registers = NonNull::new(virt::SECURE_UART as *mut PL011Registers)?;
    // SAFETY:
    // 1. The address is the secure PL011's, mapped as device memory for good.
    // 2. The kernel also writes to it, but never while the monitor runs on the same CPU; between
    //    CPUs characters may interleave, which harms nothing but looks.
    Some(Uart::new(unsafe { UniqueMmioPointer::new(registers) }))
}

/// Turns the UART on.
pub(crate) fn init() {
    let config = LineConfig {
        data_bits: DataBits::Bits8,
        parity: Parity::None,
        stop_bits: StopBits::One,
    };
    let Some(mut uart) = open() else { return };
    if uart.enable(config, BAUD, CLOCK_HZ).is_ok() {
        *CONSOLE.lock() = Some(uart);
    }
}

/// Writes one line.
pub(crate) fn line(args: fmt::Arguments<'_>) {
    if let Some(uart) = CONSOLE.lock().as_mut() {
        write_line(uart, args);
    }
}

/// Writes one line without regard to who else writes: for a CPU that ends the machine.
pub(crate) fn last_line(args: fmt::Arguments<'_>) {
    if let Some(mut uart) = open() {
        write_line(&mut uart, args);
    }
}

fn write_line(uart: &mut Uart<'static>, args: fmt::Arguments<'_>) {
    // The PL011 driver's `write_str` has no failure of its own.
    let _ = write!(uart, "M/MON: {args}\r\n");
}
