//! The end after an exception that EL3 did not expect, or a panic of the monitor.
//!
//! **Invariant:** prints what it can and ends the machine with status [`STATUS`]; a crash in here
//! ends it without one.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use tally_abi::shdr::{BuildId, short_id};

use crate::sysreg::{cpu_number, read_sysreg};
use crate::{console, power};

/// The machine's status after a crash of the monitor.
const STATUS: u64 = 71;

/// Where the crash vector saves registers, and a stack that is surely good.
#[repr(C, align(16))]
pub(crate) struct CrashArea {
    /// x0..x30, SP_EL3.
    frame: UnsafeCell<[u64; 32]>,
    stack: UnsafeCell<[u8; 3840]>,
}

// SAFETY: written by the crash vector only; two CPUs crashing at once garble a report, no more.
unsafe impl Sync for CrashArea {}

/// The one crash area.
pub(crate) static CRASH_AREA: CrashArea = CrashArea {
    frame: UnsafeCell::new([0; 32]),
    stack: UnsafeCell::new([0; 3840]),
};

static CRASHED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    /// What the linker wrote into the note behind its header (linker/monitor.ld).
    static __build_id: BuildId;
}

/// Says which build crashed.
fn image_line() {
    // SAFETY:
    // 1. The linker script asserts that the note has a header of 16 bytes and these 20 behind it.
    // 2. Constants in flash, and bytes of any value are valid.
    let build = unsafe { __build_id };
    console::last_line(format_args!("Image monitor: {:016x}", short_id(&build)));
}

#[unsafe(no_mangle)]
extern "C" fn monitor_crash(vector: u64) -> ! {
    if CRASHED.swap(true, Ordering::Relaxed) {
        power::off();
    }
    // SAFETY: the vector has filled the frame and nothing writes to it now.
    let frame = unsafe { *CRASH_AREA.frame.get() };
    console::last_line(format_args!(
        "unexpected exception, vector {vector}, CPU {}",
        cpu_number()
    ));
    image_line();
    console::last_line(format_args!(
        "esr {:#x} elr {:#x} spsr {:#x} far {:#x} scr {:#x}",
        read_sysreg!("esr_el3"),
        read_sysreg!("elr_el3"),
        read_sysreg!("spsr_el3"),
        read_sysreg!("far_el3"),
        read_sysreg!("scr_el3"),
    ));
    for (index, quad) in frame.chunks_exact(4).enumerate() {
        if let [a, b, c, d] = quad {
            let first = index * 4;
            console::last_line(format_args!(
                "x{first:<2} {a:016x} {b:016x} {c:016x} {d:016x}"
            ));
        }
    }
    power::exit(STATUS)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    console::last_line(format_args!("{info}"));
    power::exit(STATUS)
}

/// Ends the machine because booting cannot go on.
pub(crate) fn refuse(why: core::fmt::Arguments<'_>) -> ! {
    console::last_line(why);
    power::exit(STATUS)
}
