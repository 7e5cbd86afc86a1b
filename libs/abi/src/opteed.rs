//! The dispatcher's protocol between EL3 and the trusted OS.
//!
//! Source: optee_os `core/arch/arm/include/sm/teesmc_opteed.h`, arm-trusted-firmware
//! `services/spd/opteed/`. At cold boot the OS is entered with x0 = address of a pageable part
//! (0), x1 = its memory limit (0), x2 = device tree address, x3 = 0 or a transfer list.

/// Return ids that the OS passes in x0 with `smc #0`.
pub mod ret {
    /// Initialised; x1 = physical address of the vector table ([`super::Vector`]).
    pub const ENTRY_DONE: u64 = 0xbe00_0000;
    /// This CPU is up; x1 = 0 or an error.
    pub const ON_DONE: u64 = 0xbe00_0001;
    /// This CPU may go down; x1 = 0 or an error.
    pub const OFF_DONE: u64 = 0xbe00_0002;
    /// Suspend prepared; x1 = 0 or an error.
    pub const SUSPEND_DONE: u64 = 0xbe00_0003;
    /// Resumed; x1 = 0 or an error.
    pub const RESUME_DONE: u64 = 0xbe00_0004;
    /// A call is done or suspended; x1..x4 go to the normal world's x0..x3.
    pub const CALL_DONE: u64 = 0xbe00_0005;
    /// A secure interrupt was handled.
    pub const FIQ_DONE: u64 = 0xbe00_0006;
    /// Ready for power off.
    pub const SYSTEM_OFF_DONE: u64 = 0xbe00_0007;
    /// Ready for reset.
    pub const SYSTEM_RESET_DONE: u64 = 0xbe00_0008;
}

/// Entries of the vector table: one 4-byte branch instruction each, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Vector {
    /// Yielding SMC; x0..x7 are the normal world's.
    YieldSmc = 0,
    /// Fast SMC; x0..x7 are the normal world's.
    FastSmc = 1,
    /// A secondary CPU starts; MMU off.
    CpuOn = 2,
    /// This CPU goes down.
    CpuOff = 3,
    /// This CPU comes back.
    CpuResume = 4,
    /// This CPU is suspended.
    CpuSuspend = 5,
    /// A secure interrupt came while the normal world ran.
    Fiq = 6,
    /// Power off.
    SystemOff = 7,
    /// Reset.
    SystemReset = 8,
}

impl Vector {
    /// Byte offset of the entry from the table's start.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self as u64 * 4
    }
}
