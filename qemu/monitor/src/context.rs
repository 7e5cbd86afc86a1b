//! One CPU's state of both worlds, as the vectors lay it down.
//!
//! **Invariant:** the offsets that `asm/vectors.s` gets are this struct's own; all that it moves in
//! pairs lies within `stp`'s reach (504 bytes).

use core::mem::{offset_of, size_of};

use tally_board_virt as virt;

pub(crate) use crate::psci::MAX_CPUS;
/// Bytes of secure RAM for each CPU: guard page, stack, context, [`KEPT_BYTES`].
pub(crate) const STACK_STRIDE: usize = 0x8000;
/// Bytes for the floating-point state of a world: Z0 to Z31, P0 to P15 and FFR of 2,048 bits a vector, the longest there are.
pub(crate) const KEPT_BYTES: usize = 32 * 256 + 17 * 32 + 32;
/// Where the CPUs' stacks begin.
pub(crate) const STACKS_BASE: usize = virt::SECURE_RAM_BASE as usize + 0x2_0000;

const _: () = assert!(STACKS_BASE + MAX_CPUS * STACK_STRIDE <= virt::KERNEL_BASE as usize);

/// SCTLR_EL1 with only its RES1 bits: MMU, caches and checks off (Arm ARM DDI 0487, D19.2.127).
const SCTLR_EL1_RESET: u64 = 0x30d0_0800;
/// SPSR: EL1 with its own stack pointer, D, A, I, F masked.
pub(crate) const SPSR_EL1H_MASKED: u64 = 0x3c5;
/// SPSR: EL2 with its own stack pointer, D, A, I, F masked.
pub(crate) const SPSR_EL2H_MASKED: u64 = 0x3c9;

/// Number of EL1 registers each world has a copy of.
const N_SYS: usize = 14;
/// Number of further EL1 registers kept for the normal world alone.
const N_NORMAL_ONLY: usize = 6;
/// General registers that are kept while Rust gives an exception back: x0..x19.
const N_TRAPPED: usize = 20;

/// EL1 registers that each world has for itself, in the order of `save_sys`: SCTLR, TCR, TTBR0,
/// TTBR1, MAIR, VBAR, SP_EL0, SP_EL1, TPIDR_EL0, TPIDRRO_EL0, TPIDR_EL1, CONTEXTIDR, CPACR, CNTKCTL.
///
/// The others that the normal world can write at EL1 on QEMU 7.2's `max` (each encoding tried), and what keeps
/// them from the secure world:
///
/// | registers | kept by |
/// |---|---|
/// | ELR, SPSR, ESR, FAR, PAR, CSSELR | `normal_only`: the kernel overwrites them, the normal world gets its own back |
/// | PMCR | `normal_pmcr`: no cycles are counted |
/// | PMUSERENR | the kernel: 0 while a TA runs, so that it has no access to any of PM\* |
/// | PM\*, the other performance monitors | as above; events: MDCR_EL3.SPME is 0 |
/// | keys of pointer authentication, PACGA | SCR_EL3.APK and API are 0: undefined. SCTLR enables no other signing |
/// | SCXTNUM_EL0, SCXTNUM_EL1 | SCR_EL3.EnSCXT is 0, the kernel's SCTLR.TSCXT is 1 |
/// | allocation tags: TFSR, TFSRE0, RGSR, GCR | SCR_EL3.ATA is 0 |
/// | FPCR, FPSR, V registers | the kernel's CPACR is 0, but while a TA uses them: then the kernel keeps the normal world's |
/// | Z and P registers, FFR, SVCR | `asm/fp.s`, before the kernel can change any |
/// | ZCR, SMCR, SMPRI, ZA | CPTR_EL3 is closed to the secure world |
/// | TPIDR2_EL0 | the kernel's SCTLR.EnTP2 is 0 |
/// | MDSCR, DBG\*, OS\*: debug | MDCR_EL3.SDD is 1: no debug exceptions; EL0 has no way to them |
/// | CNTP, CNTV: timers | the kernel's CNTKCTL is 0; their interrupts are the normal world's |
/// | ICC\* of group 1 | a copy of each world's in the GIC |
/// | ICC_PMR | shared: the normal world sets priorities from 0x80 on, secure interrupts have 0 |
/// | ACTLR, AMAIR, AFSR0, AFSR1, LOR\* | constant zero |
/// | DISR | EL0 has no access, the kernel does not read it |
/// | NZCV, DIT, SSBS, PAN, UAO, SP | PSTATE: every entry sets all of it |
#[derive(Clone, Copy)]
#[repr(C)]
struct SysRegs([u64; N_SYS]);

impl SysRegs {
    const RESET: Self = {
        let mut regs = [0; N_SYS];
        regs[0] = SCTLR_EL1_RESET;
        Self(regs)
    };
}

/// What a CPU has that not each has.
#[derive(Clone, Copy)]
pub(crate) struct Features {
    /// Performance monitors.
    pub(crate) has_pmu: bool,
    /// Scalable vectors.
    pub(crate) has_sve: bool,
    /// Scalable matrices, and streaming vectors.
    pub(crate) has_sme: bool,
    /// All instructions in streaming mode.
    pub(crate) has_fa64: bool,
}

impl Features {
    /// CPTR_EL3 while the secure world runs: SVE and SME are closed to it, and its first use of floating point is looked at
    /// where there is either.
    const fn cptr_secure(self) -> u64 {
        const TFP: u64 = 1 << 10;
        if self.has_sve || self.has_sme { TFP } else { 0 }
    }
}

/// What the vectors save and load; lies at the top of the CPU's EL3 stack.
#[repr(C, align(64))]
pub(crate) struct CpuContext {
    /// The kernel's vector table, or 0 while this CPU has no secure world.
    pub(crate) secure_table: u64,
    /// SCR_EL3 while the secure world runs.
    secure_scr: u64,
    /// The normal world's x4..x30.
    normal_gp: [u64; 27],
    /// The normal world's ELR_EL3.
    normal_elr: u64,
    normal_sys: SysRegs,
    /// ELR, SPSR, ESR, FAR, PAR, CSSELR_EL1.
    normal_only: [u64; N_NORMAL_ONLY],
    secure_sys: SysRegs,
    normal_spsr: u64,
    normal_scr: u64,
    /// The normal world's x0..x3: an SMC's arguments, then its results.
    pub(crate) normal_args: [u64; 4],
    /// EL3 stack pointer that waits in `enter_secure`, or 0.
    monitor_sp: u64,
    /// This CPU's number.
    pub(crate) cpu: u64,
    /// Whether the CPU has performance monitors: 0 or 1.
    has_pmu: u64,
    /// The normal world's PMCR_EL0.
    normal_pmcr: u64,
    /// x0..x19 of a level whose exception is given back, or x8..x11 of one that uses floating point.
    trapped_gp: [u64; N_TRAPPED],
    /// CPTR_EL3 while the secure world runs.
    cptr_secure: u64,
    /// Bit 0: the CPU has SVE; bit 1: SME; bit 2: FFR in streaming mode.
    scalable: u64,
    /// What of the normal world's floating-point state lies behind this struct: see `asm/fp.s`.
    kept: u64,
    kept_fpsr: u64,
    padding: [u64; 4],
}

const _: () = assert!(offset_of!(CpuContext, secure_sys) + 96 <= 504);
const _: () = assert!(size_of::<CpuContext>() == 832);
const _: () = assert!(KEPT_BYTES.is_multiple_of(64));

impl CpuContext {
    /// A CPU as after reset: no secure world yet, the normal world not started.
    pub(crate) fn reset(cpu: u64, secure_scr: u64, normal_scr: u64, features: Features) -> Self {
        Self {
            secure_table: 0,
            secure_scr,
            normal_gp: [0; 27],
            normal_elr: 0,
            normal_sys: SysRegs::RESET,
            normal_only: [0; N_NORMAL_ONLY],
            secure_sys: SysRegs::RESET,
            normal_spsr: 0,
            normal_scr,
            normal_args: [0; 4],
            monitor_sp: 0,
            cpu,
            has_pmu: features.has_pmu.into(),
            normal_pmcr: 0,
            trapped_gp: [0; N_TRAPPED],
            cptr_secure: features.cptr_secure(),
            scalable: u64::from(features.has_sve)
                | u64::from(features.has_sme) << 1
                | u64::from(features.has_fa64) << 2,
            kept: 0,
            kept_fpsr: 0,
            padding: [0; 4],
        }
    }

    /// Makes the normal world start at `entry` in the state that PSCI asks for (MMU off, interrupts
    /// masked) with `x0`, at EL2 if there is one.
    pub(crate) fn start_normal(&mut self, entry: u64, x0: u64, has_el2: bool) {
        self.normal_gp = [0; 27];
        self.normal_elr = entry;
        self.normal_sys = SysRegs::RESET;
        self.normal_only = [0; N_NORMAL_ONLY];
        self.normal_pmcr = 0;
        self.normal_spsr = if has_el2 {
            SPSR_EL2H_MASKED
        } else {
            SPSR_EL1H_MASKED
        };
        self.normal_args = [x0, 0, 0, 0];
    }
}

/// Offsets for `asm/vectors.s` and `asm/fp.s`.
pub(crate) mod offset {
    use super::{CpuContext, offset_of};

    pub(crate) const SECURE_ENTRY: usize = offset_of!(CpuContext, secure_table);
    pub(crate) const NORMAL_GP: usize = offset_of!(CpuContext, normal_gp);
    pub(crate) const NORMAL_SYS: usize = offset_of!(CpuContext, normal_sys);
    pub(crate) const NORMAL_ONLY: usize = offset_of!(CpuContext, normal_only);
    pub(crate) const SECURE_SYS: usize = offset_of!(CpuContext, secure_sys);
    pub(crate) const NORMAL_SPSR: usize = offset_of!(CpuContext, normal_spsr);
    pub(crate) const NORMAL_SCR: usize = offset_of!(CpuContext, normal_scr);
    pub(crate) const NORMAL_ARGS: usize = offset_of!(CpuContext, normal_args);
    pub(crate) const MONITOR_SP: usize = offset_of!(CpuContext, monitor_sp);
    pub(crate) const HAS_PMU: usize = offset_of!(CpuContext, has_pmu);
    pub(crate) const NORMAL_PMCR: usize = offset_of!(CpuContext, normal_pmcr);
    pub(crate) const CPTR_SECURE: usize = offset_of!(CpuContext, cptr_secure);
    pub(crate) const SCALABLE: usize = offset_of!(CpuContext, scalable);
    pub(crate) const KEPT: usize = offset_of!(CpuContext, kept);
    pub(crate) const KEPT_FPSR: usize = offset_of!(CpuContext, kept_fpsr);
    pub(crate) const TRAPPED_GP: usize = offset_of!(CpuContext, trapped_gp);
}
