//! The counter, and random numbers.
//!
//! **Invariant:** where the CPU has RNDR, the first seed comes from it and so does all that is mixed in later; a
//! kernel that gets none does not start.

use core::arch::asm;

use aarch64_cpu::registers::{CNTFRQ_EL0, ID_AA64ISAR0_EL1};
use log::warn;
use tally_mem::machine::Clock;
use tock_registers::interfaces::Readable;

use crate::Arm;
use crate::lock::IrqLock;
use crate::random::Generator;

static GENERATOR: IrqLock<Generator> = IrqLock::new(Generator::new());

/// Words of RNDR in a seed.
const WORDS: usize = 4;
/// How often RNDR is asked for one of them: at boot, where there is time and nothing else, and later.
const TRIES_AT_BOOT: usize = 1 << 20;
const TRIES: usize = 10;
/// Samples of the counter that a seed is made of where there is no RNDR.
const JITTER_SAMPLES: usize = 256;

impl Clock for Arm {
    #[inline]
    fn ticks(&self) -> u64 {
        ticks()
    }

    fn ticks_per_second(&self) -> u64 {
        CNTFRQ_EL0.get().max(1)
    }

    fn random(&self, buf: &mut [u8]) {
        let mut generator = GENERATOR.lock();
        if generator.is_short_of(buf.len()) {
            // The seed of before is as secret as it was: without fresh words the generator goes on with it.
            let _ = if has_rndr() {
                generator.reseed(WORDS, TRIES, rndr)
            } else {
                generator.reseed(1, 1, || Some(ticks()))
            };
        }
        generator.fill(buf);
    }

    fn stir(&self, words: [u64; 4]) {
        GENERATOR.lock().stir(&words);
    }
}

/// Seeds the generator, at boot.
pub(crate) fn seed() {
    let mut generator = GENERATOR.lock();
    let seeded = if has_rndr() {
        generator.reseed(WORDS, TRIES_AT_BOOT, rndr)
    } else {
        warn!("no RNDR: random numbers come from the counter's jitter alone");
        generator.reseed(JITTER_SAMPLES, 1, || Some(ticks()))
    };
    assert!(seeded.is_ok(), "RNDR gives no random numbers: {seeded:?}");
}

#[inline]
fn ticks() -> u64 {
    let ticks;
    // SAFETY: reads a register.
    unsafe { asm!("isb", "mrs {}, cntpct_el0", out(reg) ticks, options(nostack, preserves_flags)) };
    ticks
}

fn has_rndr() -> bool {
    ID_AA64ISAR0_EL1.get() >> 60 != 0
}

/// A random number; none if the CPU has none now. The caller saw that the register exists.
fn rndr() -> Option<u64> {
    let (value, failed): (u64, u64);
    // SAFETY: reads a register, which sets Z where it had nothing to give.
    unsafe {
        asm!(
            "mrs {value}, s3_3_c2_c4_0",
            "cset {failed}, eq",
            value = out(reg) value,
            failed = out(reg) failed,
            options(nomem, nostack),
        );
    }
    (failed == 0).then_some(value)
}
