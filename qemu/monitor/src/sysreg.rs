//! EL3's own control registers: what traps, what is routed where, which features lower levels get.
//!
//! **Invariant:** the secure world takes all interrupts itself; the normal world's secure interrupts
//! come to EL3; floating point, SVE and SME never trap at EL3.

use crate::context::Features;
use core::arch::asm;

/// Reads a system register by name.
macro_rules! read_sysreg {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading an EL3-accessible system register has no side effect on memory.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack)) };
        value
    }};
}
pub(crate) use read_sysreg;

/// Writes a system register by name; unsafe.
macro_rules! write_sysreg {
    ($name:literal, $value:expr) => {
        core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) $value, options(nostack))
    };
}
pub(crate) use write_sysreg;

/// SCR_EL3 bits (Arm ARM DDI 0487, D19.2.117).
mod scr {
    pub(super) const NS: u64 = 1 << 0;
    pub(super) const FIQ: u64 = 1 << 2;
    pub(super) const RES1: u64 = 3 << 4;
    pub(super) const HCE: u64 = 1 << 8;
    pub(super) const SIF: u64 = 1 << 9;
    pub(super) const RW: u64 = 1 << 10;
    pub(super) const ST: u64 = 1 << 11;
    pub(super) const APK_API: u64 = 3 << 16;
    pub(super) const EN_SCXT: u64 = 1 << 25;
    pub(super) const ATA: u64 = 1 << 26;
    pub(super) const FGT_EN: u64 = 1 << 27;
    pub(super) const ECV_EN: u64 = 1 << 28;
    pub(super) const HX_EN: u64 = 1 << 38;
    pub(super) const EN_TP2: u64 = 1 << 41;
}

/// SCR_EL3 while the secure world runs: AArch64, secure timer for S-EL1, no instruction fetch from
/// normal-world memory, interrupts to S-EL1. Trapped: signing and keys of pointer authentication, numbers of
/// software contexts and allocation tags, all of which are the normal world's.
pub(crate) const SCR_SECURE: u64 = scr::RES1 | scr::RW | scr::ST | scr::SIF;

/// SCR_EL3 while the normal world runs: secure interrupts (FIQ) to EL3, nothing else trapped.
pub(crate) fn scr_normal() -> u64 {
    let hce = if has_el2() { scr::HCE } else { 0 };
    hce | scr::NS
        | scr::FIQ
        | scr::RES1
        | scr::RW
        | scr::APK_API
        | scr::EN_SCXT
        | scr::ATA
        | scr::FGT_EN
        | scr::ECV_EN
        | scr::HX_EN
        | scr::EN_TP2
}

/// Whether the CPU has EL2 (QEMU's `virtualization=on`).
pub(crate) fn has_el2() -> bool {
    (read_sysreg!("id_aa64pfr0_el1") >> 8) & 0xf != 0
}

/// Whether EL2 is above the EL1 that was interrupted: in the normal world, the secure one has none.
pub(crate) fn is_el2_below() -> bool {
    has_el2() && read_sysreg!("scr_el3") & scr::NS != 0
}

/// CPTR_EL3 while the normal world runs: EZ (SVE) and ESM (SME) not trapped; TFP, TTA, TCPAC clear.
pub(crate) const CPTR_OPEN: u64 = 1 << 8 | 1 << 12;

/// What this CPU has.
pub(crate) fn features() -> Features {
    let has_sme = (read_sysreg!("id_aa64pfr1_el1") >> 24) & 0xf != 0;
    Features {
        has_pmu: !matches!(read_sysreg!("id_aa64dfr0_el1") >> 8 & 0xf, 0 | 0xf),
        has_sve: (read_sysreg!("id_aa64pfr0_el1") >> 32) & 0xf != 0,
        has_sme,
        // ID_AA64SMFR0_EL1.
        has_fa64: has_sme && read_sysreg!("S3_0_C0_C4_5") >> 63 != 0,
    }
}

/// This CPU's number, MPIDR affinity 0.
pub(crate) fn cpu_number() -> usize {
    (read_sysreg!("mpidr_el1") & 0xff) as usize
}

/// Sets up what EL3 controls for the lower levels on this CPU.
pub(crate) fn init_el3() {
    /// Secure self-hosted debug disabled, no events counted in the secure world; profiling and trace
    /// buffers the normal world's.
    const MDCR: u64 = 1 << 16 | 3 << 12 | 3 << 24;
    let Features {
        has_sve,
        has_sme,
        has_fa64,
        ..
    } = features();
    // SAFETY:
    // 1. None of these registers changes how EL3 itself translates or fetches.
    // 2. ZCR_EL3 and SMCR_EL3 are touched only where the ID registers say that they exist.
    unsafe {
        asm!("msr mdcr_el3, {}", in(reg) MDCR, options(nomem, nostack));
        asm!("msr cptr_el3, {}", "isb", in(reg) CPTR_OPEN, options(nomem, nostack));
        if has_sve {
            asm!("msr S3_6_C1_C2_0, {}", in(reg) 0xfu64, options(nomem, nostack));
        }
        if has_sme {
            asm!("msr S3_6_C1_C2_6, {}", in(reg) u64::from(has_fa64) << 31 | 0xf, options(nomem, nostack));
        }
        asm!("isb", options(nomem, nostack));
    }
}
