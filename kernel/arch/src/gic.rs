//! The GICv3 CPU interface as the secure world sees it.
//!
//! **Invariant:** the one secure interrupt is the SGI by which CPUs call each other out of their TAs; any
//! other one that comes is acknowledged, completed and logged.
//!
//! Source: GIC architecture specification IHI 0069, chapter 12.

use core::arch::asm;

use aarch64_cpu::registers::ID_AA64PFR0_EL1;
use log::warn;
use tock_registers::interfaces::Readable;

/// Interrupt ids from here on mean that nothing is pending.
const SPECIAL: u64 = 1020;

/// Calls another CPU out of the TA that it runs. The firmware gives SGIs 8 to 14 to secure group 1 and
/// enables them (TF-A: those up to 15).
const LEAVE_SGI: u64 = 8;

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

/// Sends [`LEAVE_SGI`] to all CPUs but this one.
pub(crate) fn interrupt_others() {
    /// ICC_SGI1R_EL1: interrupt id from this bit on.
    const INTID_SHIFT: u64 = 24;
    /// ICC_SGI1R_EL1.IRM: to all but this CPU.
    const ALL_OTHERS: u64 = 1 << 40;
    if !present() {
        return;
    }
    // SAFETY:
    // 1. Generates an interrupt of the current security state, which each CPU handles as below.
    // 2. The barrier has it come after what was written before.
    unsafe {
        asm!(
            "dsb ishst",
            "msr icc_sgi1r_el1, {value}",
            "isb",
            value = in(reg) ALL_OTHERS | LEAVE_SGI << INTID_SHIFT,
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
    if id & 0xff_ffff != LEAVE_SGI {
        warn!("unexpected secure interrupt {id}");
    }
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
