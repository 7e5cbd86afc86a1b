//! The counter, and random numbers.
//!
//! **Invariant:** random bytes come out of SHA-256 over a seed that is never given out; where
//! the CPU has RNDR, every seed comes from it. No byte is given out twice, and none that was given
//! out is kept.

use core::arch::asm;

use aarch64_cpu::registers::{CNTFRQ_EL0, ID_AA64ISAR0_EL1};
use log::warn;
use sha2::{Digest, Sha256};
use tally_mem::machine::Clock;
use tock_registers::interfaces::Readable;

use crate::Arm;
use crate::lock::IrqLock;

/// State of the generator: 0 until first used.
struct Generator {
    seeded: bool,
    state: [u8; 32],
    /// Output that nobody has had yet: the last `left` bytes. Most requests are small.
    reserve: [u8; BLOCK],
    left: usize,
}

/// Bytes that are made at a time.
const BLOCK: usize = 32;

static GENERATOR: IrqLock<Generator> = IrqLock::new(Generator {
    seeded: false,
    state: [0; 32],
    reserve: [0; BLOCK],
    left: 0,
});

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
        if buf.len() > generator.left {
            generator.stir();
        }
        for chunk in buf.chunks_mut(BLOCK) {
            generator.give(chunk);
        }
    }
}

#[inline]
fn ticks() -> u64 {
    let ticks;
    // SAFETY: reads a register.
    unsafe { asm!("isb", "mrs {}, cntpct_el0", out(reg) ticks, options(nostack, preserves_flags)) };
    ticks
}

impl Generator {
    /// Mixes fresh entropy in.
    fn stir(&mut self) {
        let mut hash = Sha256::new_with_prefix(self.state);
        if has_rndr() {
            for _ in 0..4 {
                hash.update(rndr().to_le_bytes());
            }
        } else {
            let samples = if self.seeded { 1 } else { JITTER_SAMPLES };
            if !self.seeded {
                warn!("no RNDR: random numbers come from the counter's jitter alone");
            }
            for _ in 0..samples {
                hash.update(ticks().to_le_bytes());
            }
        }
        self.seeded = true;
        self.state = hash.finalize().into();
    }

    /// Fills `out`, of at most [`BLOCK`] bytes.
    fn give(&mut self, out: &mut [u8]) {
        if out.len() > self.left {
            self.reserve = self.next();
            self.left = BLOCK;
        }
        let begin = BLOCK - self.left;
        let given = &mut self.reserve[begin..begin + out.len()];
        out.copy_from_slice(given);
        given.fill(0);
        self.left -= out.len();
    }

    /// Next bytes; the state moves on, so that earlier output cannot be told from it.
    fn next(&mut self) -> [u8; BLOCK] {
        let output = Sha256::new_with_prefix(self.state)
            .chain_update(b"out")
            .finalize();
        self.state = Sha256::new_with_prefix(self.state)
            .chain_update(b"next")
            .finalize()
            .into();
        output.into()
    }
}

fn has_rndr() -> bool {
    ID_AA64ISAR0_EL1.get() >> 60 != 0
}

fn rndr() -> u64 {
    loop {
        let (value, failed): (u64, u64);
        // SAFETY: the caller saw that the register exists. Z is set where it had nothing to give.
        unsafe {
            asm!(
                "mrs {value}, s3_3_c2_c4_0",
                "cset {failed}, eq",
                value = out(reg) value,
                failed = out(reg) failed,
                options(nomem, nostack),
            );
        }
        if failed == 0 {
            return value;
        }
    }
}
