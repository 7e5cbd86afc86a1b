//! The longest way of the firmware and the secure kernel with interrupts masked.
//!
//! A way begins where the secure world is entered, or masks its interrupts, and ends where it is left, or
//! lets them in. Where the kernel restores a mask that it saved, nothing is assumed to change, so that the
//! figure may be too large, never too small.
//!
//! **Invariant:** as for all counts, exact on one virtual CPU.

use super::{KERNEL, TA};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// `MSR DAIFSet, #imm` and `MSR DAIFClr, #imm`, the immediate at bit 8 (Arm ARM DDI 0487, C6.2 MSR).
const SET_MASK: u32 = 0xd503_40df;
const CLEAR_MASK: u32 = 0xd503_40ff;
const IMMEDIATE: u32 = 0xf << 8;
/// F, of the immediate: the normal world's interrupts reach the secure world as FIQ.
const FIQ: u32 = 1 << 8;
const ERET: u32 = 0xd69f_03e0;
/// Exception vectors are a table of this size, at a multiple of it.
const VECTORS_BYTES: u64 = 0x800;

/// What an instruction does to the mask.
const NOTHING: u64 = 0;
const MASKS: u64 = 1;
const UNMASKS: u64 = 2;
const EFFECT: u64 = 3;

static LENGTH: AtomicU64 = AtomicU64::new(0);
static LONGEST: AtomicU64 = AtomicU64::new(0);
static MASKED: AtomicBool = AtomicBool::new(true);
/// World of the last instruction.
static LAST: AtomicUsize = AtomicUsize::new(KERNEL);
/// Where the kernel's vectors are, known from a TA's first exception; 0 before.
static VECTORS: AtomicU64 = AtomicU64::new(0);

/// What has to be known of an instruction of the secure world when it runs: where it is, to the size of a
/// vector table, and what it does.
pub(super) fn describe(world: usize, vaddr: u64, word: u32) -> u64 {
    let effect = match word & !IMMEDIATE {
        SET_MASK if word & FIQ != 0 => MASKS,
        CLEAR_MASK if word & FIQ != 0 => UNMASKS,
        _ if word == ERET => UNMASKS,
        _ => NOTHING,
    };
    // The firmware masks for good, and its return does not change that.
    let effect = if world == KERNEL { effect } else { MASKS };
    vaddr & !(VECTORS_BYTES - 1) | effect
}

/// An instruction of the firmware or the kernel is about to run.
pub(super) fn step(world: usize, described: u64) {
    let table = described & !(VECTORS_BYTES - 1);
    let last = LAST.swap(world, Relaxed);
    if world == KERNEL && last == TA && VECTORS.load(Relaxed) == 0 {
        VECTORS.store(table, Relaxed);
    }
    let interrupted = world == KERNEL && table == VECTORS.load(Relaxed);
    match described & EFFECT {
        UNMASKS => {
            end();
            MASKED.store(false, Relaxed);
            return;
        }
        MASKS => MASKED.store(true, Relaxed),
        _ if interrupted => MASKED.store(true, Relaxed),
        _ => {}
    }
    if MASKED.load(Relaxed) {
        LENGTH.store(LENGTH.load(Relaxed) + 1, Relaxed);
    }
}

/// An instruction of a TA or the normal world is about to run.
pub(super) fn left(world: usize) {
    LAST.store(world, Relaxed);
    end();
    // However the secure world is entered, it is entered masked.
    MASKED.store(true, Relaxed);
}

fn end() {
    let length = LENGTH.swap(0, Relaxed);
    if length > LONGEST.load(Relaxed) {
        LONGEST.store(length, Relaxed);
    }
}

/// The longest way since this was last asked.
pub(super) fn take_longest() -> u64 {
    LONGEST.swap(0, Relaxed)
}
