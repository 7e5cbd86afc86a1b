//! Floating-point and SIMD registers for tests: filled and copied out, in programs that are built without them.
//!
//! **Invariant:** nothing here uses a register that it does not name, so that what was filled is there until somebody else
//! changes it.
//!
//! Source: Arm ARM DDI 0487, B1.2.
#![no_std]
#![cfg(target_os = "none")]

use core::arch::{asm, global_asm};

/// V0 to V31.
pub type Vectors = [u128; 32];

/// Bytes of Z0 to Z31, P0 to P15 and FFR with vectors of 2,048 bits, the longest there are.
pub const SCALABLE_BYTES: usize = 32 * 256 + 17 * 32;

/// Z0 to Z31, P0 to P15 and FFR, without gaps for the vectors' length.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Scalable(pub [u8; SCALABLE_BYTES]);

impl Scalable {
    /// All bytes 0.
    #[must_use]
    pub const fn zeroed() -> Self {
        Self([0; SCALABLE_BYTES])
    }
}

unsafe extern "C" {
    fn tally_simd_fill(seed: u64);
    fn tally_simd_copy(to: *mut Vectors);
    fn tally_simd_fill_scalable(seed: u64, unused: u64, with_ffr: u64);
    fn tally_simd_copy_scalable(to: *mut Scalable, with_ffr: u64);
}

/// What [`fill`] puts into them.
#[must_use]
pub fn filled(seed: u64) -> Vectors {
    core::array::from_fn(|n| {
        let word = u128::from(seed.wrapping_add(n as u64));
        word | word << 64
    })
}

/// Gives each V register a value of its own.
pub fn fill(seed: u64) {
    // SAFETY: the program uses none of these registers.
    unsafe { tally_simd_fill(seed) }
}

/// What is in the V registers.
#[must_use]
pub fn copy() -> Vectors {
    let mut vectors = [0; 32];
    // SAFETY: as large as 32 registers.
    unsafe { tally_simd_copy(&raw mut vectors) };
    vectors
}

/// FPCR, whose bits 22 and 23 are the rounding mode.
#[must_use]
pub fn control() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!(".arch_extension fp", "mrs {}, fpcr", ".arch_extension nofp", out(reg) value) };
    value
}

/// FPSR, whose bits 0 to 4 tell of what was inexact and the like.
#[must_use]
pub fn status() -> u64 {
    let value;
    // SAFETY: reads a register.
    unsafe { asm!(".arch_extension fp", "mrs {}, fpsr", ".arch_extension nofp", out(reg) value) };
    value
}

/// Sets FPSR.
pub fn set_status(value: u64) {
    // SAFETY: the program does not compute with floating point.
    unsafe { asm!(".arch_extension fp", "msr fpsr, {}", ".arch_extension nofp", in(reg) value) };
}

/// Sets FPCR.
pub fn set_control(value: u64) {
    // SAFETY: the program does not compute with floating point.
    unsafe { asm!(".arch_extension fp", "msr fpcr, {}", ".arch_extension nofp", in(reg) value) };
}

/// Gives each Z register a value of its own in all its length, and sets predicates, FFR if it can be had; for CPUs with SVE
/// or, in streaming mode, SME.
pub fn fill_scalable(seed: u64, with_ffr: bool) {
    // SAFETY: as `fill`.
    unsafe { tally_simd_fill_scalable(seed, 0, u64::from(with_ffr)) }
}

/// What is in the Z and P registers and, if it can be had, in FFR.
pub fn copy_scalable(to: &mut Scalable, with_ffr: bool) {
    // SAFETY: as large as they are at most.
    unsafe { tally_simd_copy_scalable(to, u64::from(with_ffr)) }
}

/// Enters streaming mode or leaves it; clears the registers. For CPUs with SME.
pub fn set_streaming(on: bool) {
    // SAFETY: smstart sm and smstop sm; the program uses none of these registers.
    unsafe {
        if on {
            asm!(".inst 0xd503437f", options(nostack));
        } else {
            asm!(".inst 0xd503427f", options(nostack));
        }
    }
}

global_asm!(
    r#"
    .pushsection .text.simd, "ax"
    .arch_extension simd
    .arch_extension sve
    .global tally_simd_fill
tally_simd_fill:
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    dup     v\n\().2d, x0
    add     x0, x0, #1
    .endr
    ret

    .global tally_simd_copy
tally_simd_copy:
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    str     q\n, [x0, #(16 * \n)]
    .endr
    ret

    .global tally_simd_fill_scalable
tally_simd_fill_scalable:
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    index   z\n\().d, x0, #1
    add     x0, x0, #100
    .endr
    mov     x1, #10
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    whilelo p\n\().b, xzr, x1
    add     x1, x1, #15
    .endr
    cbz     x2, 1f
    wrffr   p5.b
1:  ret

    .global tally_simd_copy_scalable
tally_simd_copy_scalable:
    str     z0, [x0]
    .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    str     z\n, [x0, #\n, mul vl]
    .endr
    addvl   x2, x0, #16
    addvl   x2, x2, #16
    str     p0, [x2]
    .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    str     p\n, [x2, #\n, mul vl]
    .endr
    cbz     x1, 1f
    rdffr   p0.b
    str     p0, [x2, #16, mul vl]
    ldr     p0, [x2]
1:  ret
    .arch_extension nosve
    .arch_extension nosimd
    .popsection
    "#
);
