//! Crash reports: what is printed when the kernel itself fails, and the machine's end.
//!
//! **Invariant:** takes no lock and allocates nothing; a crash inside a report ends the machine
//! without another report.

use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::console::{self, ConsoleWriter};
use crate::exception::CrashFrame;
use crate::layout::{self, image_offset};
use crate::mmu::{self, StackKind};
use crate::percpu;
use crate::thread::{self, Hooks};

/// Status of a machine whose kernel crashed (EX_SOFTWARE).
const CRASH_STATUS: u32 = 70;

/// Frames that a backtrace prints at most.
const MAX_FRAMES: usize = 32;

/// The CPU that reports a crash, plus 1.
static REPORTER: AtomicU32 = AtomicU32::new(NOBODY);
const NOBODY: u32 = 0;
const ENDING: u32 = u32::MAX;

/// Prints lines with the prefix of an error.
struct Report {
    out: ConsoleWriter,
    /// The hooks that were registered when the crash came.
    hooks: &'static (dyn Hooks + Sync),
}

impl Report {
    fn line(&mut self, text: fmt::Arguments<'_>) {
        // Writing to the console cannot fail.
        let _ = console::write_prefix(&mut self.out, 'E');
        let _ = writeln!(self.out, "{text}");
    }
}

/// Gives every line the prefix of an error.
struct Prefixed {
    out: ConsoleWriter,
    at_start: bool,
}

impl Write for Prefixed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive('\n') {
            if self.at_start {
                console::write_prefix(&mut self.out, 'E')?;
            }
            self.out.write_str(piece)?;
            self.at_start = piece.ends_with('\n');
        }
        Ok(())
    }
}

impl Report {
    /// The registers of a crash; of a panic, what the panicking function left in them.
    fn registers(&mut self, frame: &CrashFrame) {
        self.line(format_args!("Image kernel: {:016x}", layout::short_id()));
        self.line(format_args!(
            "esr {:#010x} far {:#018x} pc {:#018x} pstate {:#010x}",
            frame.esr, frame.far, frame.pc, frame.pstate
        ));
        for (row, registers) in frame.x.chunks(4).enumerate() {
            let mut out = Prefixed {
                out: self.out,
                at_start: true,
            };
            for (column, value) in registers.iter().enumerate() {
                let _ = write!(out, "x{:<2} {value:016x} ", row * 4 + column);
            }
            let _ = if row == 7 {
                writeln!(out, "sp  {:016x}", frame.sp)
            } else {
                writeln!(out)
            };
        }
    }
}

/// Entered from the vectors, on the emergency stack.
pub(crate) extern "C" fn crash_entry(frame: &CrashFrame, vector: u64) -> ! {
    let mut report = begin();
    let what = match (vector % 4, frame.esr >> 26 & 0x3f) {
        (0, 0x25) if frame.esr & 1 << 6 != 0 => "bad write",
        (0, 0x25) => "bad read",
        (0, 0x21) => "bad jump",
        (0, 0x26) => "misaligned stack pointer",
        (0, 0x22) => "misaligned program counter",
        (0, 0x3c) => "breakpoint",
        (0, 0) => "undefined instruction",
        (0, _) => "unexpected exception",
        (3, _) => "system error",
        _ => "unexpected interrupt",
    };
    report.line(format_args!(
        "Kernel crash: {what} at address {:#x}",
        frame.far
    ));
    match overflown(frame) {
        Some(StackKind::Thread(index)) => {
            report.line(format_args!("Stack overflow: thread {index}"));
        }
        Some(StackKind::Cpu(index)) => report.line(format_args!("Stack overflow: CPU {index}")),
        Some(StackKind::Emergency(index)) => {
            report.line(format_args!(
                "Stack overflow: emergency stack of CPU {index}"
            ));
        }
        Some(StackKind::Boot) => report.line(format_args!("Stack overflow: boot")),
        None => {}
    }
    report.registers(frame);
    report.line(format_args!("Call stack:"));
    // A bad jump leaves its origin in the link register.
    report_address(&mut report, frame.pc);
    if image_offset(frame.pc).is_none() {
        report_address(&mut report, frame.x[30]);
    }
    walk(frame.x[29], |address| report_address(&mut report, address));
    finish(&mut report)
}

/// Reports a Rust panic and ends the machine. For the roof's `#[panic_handler]`.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    let frame = CrashFrame::here();
    let mut report = begin();
    match info.location() {
        Some(place) => report.line(format_args!(
            "Panic at {}:{}: {}",
            place.file(),
            place.line(),
            info.message()
        )),
        None => report.line(format_args!("Panic: {}", info.message())),
    }
    report.registers(&frame);
    report.line(format_args!("Call stack:"));
    walk(frame_pointer(), |address| {
        report_address(&mut report, address)
    });
    finish(&mut report)
}

/// Stores return addresses of the caller's stack, innermost first; returns how many.
pub fn backtrace(addresses: &mut [u64]) -> usize {
    let mut count = 0;
    walk(frame_pointer(), |address| {
        if let Some(place) = addresses.get_mut(count) {
            *place = address;
            count += 1;
        }
    });
    count
}

/// Claims the report for this CPU. CPUs that enter from now on, or crash as well, stop.
fn begin() -> Report {
    // SAFETY: masks everything.
    unsafe { asm!("msr daifset, #0xf", options(nostack, preserves_flags)) };
    let me = percpu::index() as u32 + 1;
    match REPORTER.compare_exchange(NOBODY, me, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Report {
            out: ConsoleWriter,
            hooks: thread::park_all(),
        },
        Err(reporter) if reporter == me => {
            let mut report = Report {
                out: ConsoleWriter,
                hooks: thread::park_all(),
            };
            report.line(format_args!("Crash while reporting a crash"));
            end_machine(&mut report)
        }
        // Another CPU reports.
        Err(_) => park(),
    }
}

fn finish(report: &mut Report) -> ! {
    report.hooks.panic_account(&mut Prefixed {
        out: report.out,
        at_start: true,
    });
    end_machine(report)
}

/// Switches the machine off; the last line of the report is its status.
fn end_machine(report: &mut Report) -> ! {
    /// PL061: GPIODIR, and the data register that changes one line alone.
    const DIRECTION: u64 = 0x400;
    const LINE: u8 = 1 << tally_board::POWER_OFF_LINE;
    const DATA: u64 = (LINE as u64) << 2;
    report.line(format_args!("status {CRASH_STATUS}"));
    // A crash from here on must not begin another report.
    REPORTER.store(ENDING, Ordering::Release);
    let register = |offset| mmu::direct(tally_board::SECURE_GPIO + offset) as *mut u8;
    // SAFETY: the GPIO's registers are mapped as device memory beside the UART's (config.rs).
    unsafe {
        register(DIRECTION).write_volatile(LINE);
        register(DATA).write_volatile(0);
        register(DATA).write_volatile(LINE);
    }
    park()
}

/// Stops this CPU for good.
pub(crate) fn park() -> ! {
    loop {
        // SAFETY: masks everything and waits.
        unsafe { asm!("msr daifset, #0xf", "wfi", options(nomem, nostack)) };
    }
}

/// The stack whose guard the crash touched.
fn overflown(frame: &CrashFrame) -> Option<StackKind> {
    let in_guard = |address: u64| {
        let (kind, stack) = mmu::stack_at(address)?;
        (address < stack.start).then_some(kind)
    };
    in_guard(frame.far).or_else(|| in_guard(frame.sp))
}

#[inline(always)]
fn frame_pointer() -> u64 {
    let fp;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, x29", out(reg) fp, options(nomem, nostack, preserves_flags)) };
    fp
}

/// Calls `visit` with the return address of each frame from frame pointer `fp` on, as long as
/// frames ascend on one stack.
fn walk(mut fp: u64, mut visit: impl FnMut(u64)) {
    let Some((_, stack)) = mmu::stack_at(fp) else {
        return;
    };
    let mut lowest = stack.start;
    for _ in 0..MAX_FRAMES {
        if !fp.is_multiple_of(16) || fp < lowest || fp > stack.end - 16 {
            return;
        }
        // SAFETY: two words on a mapped stack, by the check above.
        let [next, address] = unsafe { (fp as *const [u64; 2]).read_volatile() };
        if address == 0 {
            return;
        }
        visit(address);
        lowest = fp + 16;
        fp = next;
    }
}

fn report_address(report: &mut Report, address: u64) {
    let Some(offset) = image_offset(address) else {
        report.line(format_args!(" {address:#018x}"));
        return;
    };
    match layout::sites().and_then(|table| table.lookup(offset)) {
        Some(site) => report.line(format_args!(
            " kernel+{offset:#x} {} ({}:{})",
            site.function, site.file, site.line
        )),
        None => report.line(format_args!(" kernel+{offset:#x}")),
    }
}
