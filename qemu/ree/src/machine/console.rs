//! The console: PL011 at [`virt::NORMAL_UART`], output by line, input by interrupt.
//!
//! **Invariant:** one lock for sending; [`emergency`] alone goes around it. Only CPU 0 receives.

use super::cpu;
use super::interrupts::CPUS;
use crate::output::Output;
use crate::typed::Typed;
use alloc::format;
use alloc::string::String;
use arm_pl011_uart::{Interrupts, PL011Registers, Uart};
use core::fmt::{self, Write};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use spin::{Mutex, MutexGuard, Once};
use tally_board_virt as virt;

static UART: Once<Mutex<Uart<'static>>> = Once::new();
static TYPED: Typed = Typed::new();
/// Whether a line is being typed at a prompt, whether something was written over it, and whether that ended its line.
static IS_PROMPTED: AtomicBool = AtomicBool::new(false);
static IS_OVERWRITTEN: AtomicBool = AtomicBool::new(false);
static IS_AT_LINE_START: AtomicBool = AtomicBool::new(true);
/// Whether bytes are left in the device, because there is no room for them.
static IS_HELD_UP: AtomicBool = AtomicBool::new(false);

fn device() -> Uart<'static> {
    let base = core::ptr::with_exposed_provenance_mut::<PL011Registers>(virt::NORMAL_UART as usize);
    let regs = match NonNull::new(base) {
        // SAFETY:
        // 1. The PL011's registers are there, mapped as device memory.
        // 2. `UART` holds the one instance that sends, but for `emergency`, which may mix with it; what receives
        //    on CPU 0 touches no register that sending writes.
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
        uart.set_interrupt_masks(RECEIVING);
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
    if let Some(last) = text.as_bytes().last() {
        IS_AT_LINE_START.store(*last == b'\n', Ordering::Relaxed);
    }
}

/// The device, for this CPU's output: what another than the first says goes below the prompt, not over it.
fn for_output<'a>(uart: &'a Mutex<Uart<'static>>) -> MutexGuard<'a, Uart<'static>> {
    let mut uart = uart.lock();
    if cpu::index() != 0 && IS_PROMPTED.swap(false, Ordering::Relaxed) {
        put(&mut uart, "\r\n");
        IS_OVERWRITTEN.store(true, Ordering::Relaxed);
    }
    uart
}

/// A line is being typed at a prompt, or not any more.
pub(crate) fn set_prompted(is_prompted: bool) {
    IS_PROMPTED.store(is_prompted, Ordering::Relaxed);
}

/// Whether the prompt is to be shown again, below the whole lines that came meanwhile. Says so once.
pub(crate) fn wants_prompt() -> bool {
    IS_AT_LINE_START.load(Ordering::Relaxed) && IS_OVERWRITTEN.swap(false, Ordering::Relaxed)
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
        match &mut *diverted().lock() {
            Some(output) => output.take(text, &mut show),
            None => show(text),
        }
        Ok(())
    }

    fn write_fmt(&mut self, what: fmt::Arguments<'_>) -> fmt::Result {
        if is_diverted() {
            return self.write_str(&format!("{what}"));
        }
        Direct.write_fmt(what)
    }
}

/// A writer to the console, wherever the output of a command goes: for complaints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direct;

impl Write for Direct {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        show(text);
        Ok(())
    }

    fn write_fmt(&mut self, what: fmt::Arguments<'_>) -> fmt::Result {
        match UART.get() {
            Some(uart) => Held(&mut for_output(uart)).write_fmt(what),
            None => Ok(()),
        }
    }
}

fn show(text: &str) {
    if let Some(uart) = UART.get() {
        put(&mut for_output(uart), text);
    }
}

/// Where the output of this CPU's command goes.
fn diverted() -> &'static Mutex<Option<Output>> {
    static DIVERTED: [Mutex<Option<Output>>; CPUS] = [const { Mutex::new(None) }; CPUS];
    &DIVERTED[cpu::index() % CPUS]
}

/// Whether the output of this CPU's command goes elsewhere, or through filters.
pub(crate) fn is_diverted() -> bool {
    diverted().lock().is_some()
}

/// Has output of this CPU go this way from here on.
pub(crate) fn divert(output: Output) {
    *diverted().lock() = Some(output);
}

/// As [`Output::end`]: output of this CPU goes to the console again.
pub(crate) fn end_diverting(status: u8) -> Result<u8, String> {
    let output = diverted().lock().take();
    output.map_or(Ok(status), |output| output.end(status, &mut show))
}

/// Something has come, or lies there for a while.
const RECEIVING: Interrupts = Interrupts::RXI.union(Interrupts::RTI);

/// Takes in what the device has received; called from its interrupt, on CPU 0.
pub(super) fn receive() {
    let mut uart = device();
    // Before it is read: what comes then raises it again.
    uart.clear_interrupts(RECEIVING);
    while !TYPED.is_full() {
        match uart.read_word() {
            Ok(Some(byte)) => TYPED.put(byte),
            Ok(None) => return,
            // A byte with a framing error is as good as none.
            Err(_) => {}
        }
    }
    uart.set_interrupt_masks(Interrupts::empty());
    IS_HELD_UP.store(true, Ordering::Relaxed);
}

/// A byte that was typed, if any; nothing is typed for other CPUs than the first.
pub(crate) fn typed_byte() -> Option<u8> {
    if cpu::index() != 0 {
        return None;
    }
    let byte = TYPED.take();
    if byte.is_none() && IS_HELD_UP.swap(false, Ordering::Relaxed) {
        device().set_interrupt_masks(RECEIVING);
    }
    byte
}

/// A line of commands begins on CPU 0, or has ended.
pub(crate) fn set_running(is_running: bool) {
    TYPED.set_running(is_running);
}

/// How often ctrl-C was typed since the commands that run on this CPU began.
pub(crate) fn breaks() -> u32 {
    match cpu::index() {
        0 => TYPED.breaks(),
        _ => 0,
    }
}

/// Writes whatever happens to the lock: for a world that is about to end.
pub(crate) fn emergency(what: fmt::Arguments<'_>) {
    // There is nobody left to tell about a failure.
    let _ = Held(&mut device()).write_fmt(what);
}
