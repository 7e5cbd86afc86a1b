//! The console: PL011 at [`virt::NORMAL_UART`], output by line, input polled.
//!
//! **Invariant:** one lock for the device; [`emergency`] alone goes around it.

use arm_pl011_uart::{PL011Registers, Uart};
use core::fmt::{self, Write};
use core::ptr::NonNull;
use spin::{Mutex, Once};
use tally_board_virt as virt;

static UART: Once<Mutex<Uart<'static>>> = Once::new();

fn device() -> Uart<'static> {
    let base = core::ptr::with_exposed_provenance_mut::<PL011Registers>(virt::NORMAL_UART as usize);
    let regs = match NonNull::new(base) {
        // SAFETY:
        // 1. The PL011's registers are there, mapped as device memory.
        // 2. `UART` holds the one instance; `emergency` makes another only to end the machine.
        Some(regs) => unsafe { arm_pl011_uart::UniqueMmioPointer::new(regs) },
        None => unreachable!("the UART is not at address 0"),
    };
    Uart::new(regs)
}

/// Takes the device into use (QEMU's needs no line settings).
pub(crate) fn init() {
    UART.call_once(|| {
        let mut uart = device();
        // 115200 of the reference clock of 24 MHz: both are known to fit.
        let _ = uart.enable(
            arm_pl011_uart::LineConfig {
                data_bits: arm_pl011_uart::DataBits::Bits8,
                parity: arm_pl011_uart::Parity::None,
                stop_bits: arm_pl011_uart::StopBits::One,
            },
            115_200,
            24_000_000,
        );
        Mutex::new(uart)
    });
}

fn put(uart: &mut Uart<'_>, text: &str) {
    for &byte in text.as_bytes() {
        while uart.is_tx_fifo_full() {
            core::hint::spin_loop();
        }
        uart.write_word(byte);
    }
}

/// A writer to the console. What is written at a time goes out whole, formatted text too: what the other
/// CPU says comes before it or after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console;

/// The device while its lock is held.
struct Held<'d>(&'d mut Uart<'static>);

impl Write for Held<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        put(self.0, text);
        Ok(())
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if let Some(uart) = UART.get() {
            put(&mut uart.lock(), text);
        }
        Ok(())
    }

    fn write_fmt(&mut self, what: fmt::Arguments<'_>) -> fmt::Result {
        match UART.get() {
            Some(uart) => Held(&mut uart.lock()).write_fmt(what),
            None => Ok(()),
        }
    }
}

/// A byte that was typed, if any.
pub(crate) fn poll_byte() -> Option<u8> {
    let mut uart = UART.get()?.lock();
    // A byte with a framing error is as good as none.
    uart.read_word().ok().flatten()
}

/// Writes whatever happens to the lock: for a world that is about to end.
pub(crate) fn emergency(what: fmt::Arguments<'_>) {
    // There is nobody left to tell about a failure.
    let _ = Held(&mut device()).write_fmt(what);
}
