//! Floating-point and SIMD registers: the normal world's, but while a TA that uses them runs.
//!
//! The kernel is built without, so what is lent to a TA stays in the CPU while the kernel works for it, and nobody else
//! pays. What a CPU has beyond V0 to V31, FPCR and FPSR (SVE, SME) is the firmware's to keep, as TF-A has it
//! (`CTX_INCLUDE_SVE_REGS`, `ENABLE_SVE_FOR_SWD`).
//!
//! **Invariant:** CPACR_EL1.FPEN lets EL0 through exactly while this CPU's [`Lent`] has somebody's registers in the CPU; that
//! somebody is the TA that ran here last, and no thread leaves a CPU with them.
//!
//! Source: Arm ARM DDI 0487, D24.2.30 (CPACR_EL1), B1.2 (registers).

use core::arch::global_asm;
use core::sync::atomic::{AtomicPtr, Ordering};
use tally_mem::machine::Vectors;

use crate::percpu;

/// What a CPU has lent.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Lent {
    /// The normal world's, while it is not in the CPU.
    normal: Vectors,
    /// Where they go whose registers are in the CPU, or null for the normal world.
    holder: AtomicPtr<Vectors>,
}

impl Lent {
    /// Nothing.
    pub(crate) const fn nothing() -> Self {
        Self {
            normal: Vectors::zero(),
            holder: AtomicPtr::new(core::ptr::null_mut()),
        }
    }
}

unsafe extern "C" {
    /// Stores what is in the CPU to `from` and loads `to`.
    fn tally_vectors_swap(from: *const Vectors, to: *const Vectors);
    /// Opens them to EL0 and EL1.
    fn tally_vectors_open();
    /// Closes them.
    fn tally_vectors_close();
}

/// Uses them once, so that a firmware that does not let the secure world says so when the machine starts rather than when a
/// TA is the first.
pub(crate) fn probe() {
    if tally_board::FLOATING_POINT {
        let normal = &percpu::this().lent.normal;
        // SAFETY: as in `lend`.
        unsafe {
            tally_vectors_open();
            tally_vectors_swap(normal, normal);
            tally_vectors_close();
        }
    }
}

/// Lends them; they are the normal world's so far.
pub(crate) fn lend(vectors: &Vectors) -> bool {
    if !tally_board::FLOATING_POINT {
        return false;
    }
    take();
    let lent = &percpu::this().lent;
    // SAFETY:
    // 1. The kernel uses none of these registers.
    // 2. Both are 528 bytes, aligned to 16, of cells that may change under a shared reference.
    unsafe {
        tally_vectors_open();
        tally_vectors_swap(&raw const lent.normal, vectors);
    }
    lent.holder
        .store(core::ptr::from_ref(vectors).cast_mut(), Ordering::Relaxed);
    true
}

/// Takes back what is lent.
#[inline]
pub(crate) fn take() {
    if !percpu::this().lent.holder.load(Ordering::Relaxed).is_null() {
        take_lent();
    }
}

#[cold]
fn take_lent() {
    let lent = &percpu::this().lent;
    let holder = lent.holder.swap(core::ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: as in `lend`; the holder stays until it is taken, by the contract of `UserCpu::lend_vectors`.
    unsafe {
        tally_vectors_swap(holder, &raw const lent.normal);
        tally_vectors_close();
    }
}

global_asm!(
    r#"
    .pushsection .text, "ax"
    .arch_extension fp
    .arch_extension simd
    .global tally_vectors_open
tally_vectors_open:
    mov     x2, #(3 << 20)
    msr     cpacr_el1, x2
    isb
    ret

    .global tally_vectors_close
tally_vectors_close:
    msr     cpacr_el1, xzr
    isb
    ret

    .macro vector_registers operation, base
    \operation q0, q1, [\base]
    \operation q2, q3, [\base, #32]
    \operation q4, q5, [\base, #64]
    \operation q6, q7, [\base, #96]
    \operation q8, q9, [\base, #128]
    \operation q10, q11, [\base, #160]
    \operation q12, q13, [\base, #192]
    \operation q14, q15, [\base, #224]
    \operation q16, q17, [\base, #256]
    \operation q18, q19, [\base, #288]
    \operation q20, q21, [\base, #320]
    \operation q22, q23, [\base, #352]
    \operation q24, q25, [\base, #384]
    \operation q26, q27, [\base, #416]
    \operation q28, q29, [\base, #448]
    \operation q30, q31, [\base, #480]
    .endm

    // x0: where those in the CPU go, x1: where the others are.
    .global tally_vectors_swap
tally_vectors_swap:
    mrs     x2, fpsr
    mrs     x3, fpcr
    vector_registers stp, x0
    add     x0, x0, #512
    stp     x2, x3, [x0]
    vector_registers ldp, x1
    add     x1, x1, #512
    ldp     x2, x3, [x1]
    msr     fpsr, x2
    msr     fpcr, x3
    ret
    .arch_extension nosimd
    .arch_extension nofp
    .popsection
    "#
);
