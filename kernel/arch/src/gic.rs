//! The GICv3 CPU interface as the secure world sees it.
//!
//! **Invariant:** nothing secure is enabled yet; a secure interrupt that comes nevertheless is
//! acknowledged, completed and logged.
//! **Knows nothing of:** distributor and redistributors, which the firmware set up.
//!
//! Source: GIC architecture specification IHI 0069, chapter 12.

use core::arch::asm;

use aarch64_cpu::registers::ID_AA64PFR0_EL1;
use log::warn;
use tock_registers::interfaces::Readable;

/// Interrupt ids from here on mean that nothing is pending.
const SPECIAL: u64 = 1020;

/// Whether the CPU interface's system registers exist.
fn present() -> bool {
    ID_AA64PFR0_EL1.get() >> 24 & 0xf != 0
}

/// Lets interrupts of every priority through and enables secure group 1 on this CPU. Runs before
/// the normal world does on this CPU.
pub(crate) fn init_cpu() {
    if !present() {
        return;
    }
    // SAFETY: registers of the CPU interface; they exist, and the firmware lets us use them.
    unsafe {
        asm!(
            "mrs {value}, icc_sre_el1",
            "orr {value}, {value}, #1",
            "msr icc_sre_el1, {value}",
            "isb",
            "mov {value}, #0xff",
            "msr icc_pmr_el1, {value}",
            "mov {value}, #1",
            "msr icc_igrpen1_el1, {value}",
            "isb",
            value = out(reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// Takes a secure interrupt.
pub(crate) fn handle_native() {
    if !present() {
        return;
    }
    let id: u64;
    // SAFETY: acknowledges what is pending for secure group 1.
    unsafe {
        asm!(
            "mrs {id}, icc_iar1_el1",
            "dsb sy",
            id = out(reg) id,
            options(nostack, preserves_flags),
        );
    }
    if id & 0xff_ffff >= SPECIAL {
        return;
    }
    warn!("unexpected secure interrupt {id}");
    // SAFETY: completes what was acknowledged above.
    unsafe {
        asm!(
            "msr icc_eoir1_el1, {id}",
            "isb",
            id = in(reg) id,
            options(nostack, preserves_flags),
        );
    }
}
