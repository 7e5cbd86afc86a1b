//! CPUs: which one this is, starting the others, calls to the firmware, time.
//!
//! **Invariant:** the other CPUs are started at most once.

use aarch64_cpu::registers::{CNTFRQ_EL0, CNTPCT_EL0, MPIDR_EL1, Readable};
use core::arch::asm;

use super::{boot, interrupts};
use spin::Once;
use teec::smc::Conduit;

/// Number of this CPU.
pub(crate) fn index() -> usize {
    (MPIDR_EL1.get() & 0xff) as usize
}

static OTHERS: Once<usize> = Once::new();

/// Starts all other CPUs; how many the firmware has started.
pub(crate) fn start_others() -> usize {
    let start = |cpu: &usize| {
        let stack = boot::stack_end(*cpu);
        smccc::psci::cpu_on::<smccc::Smc>(*cpu as u64, boot::secondary_entry(), stack).is_ok()
    };
    *OTHERS.call_once(|| (1..interrupts::cpus()).filter(start).count())
}

/// Whether others were started.
pub(crate) fn others_started() -> bool {
    OTHERS.get().is_some_and(|count| *count > 0)
}

/// Has the firmware power the machine off. Comes back only if it refuses.
pub(crate) fn system_off() {
    // Nothing to be done about a refusal: the host will find the machine silent.
    let _ = smccc::psci::system_off::<smccc::Smc>();
}

/// Microseconds since the counter began.
pub(crate) fn micros() -> u64 {
    let frequency = CNTFRQ_EL0.get().max(1);
    (u128::from(CNTPCT_EL0.get()) * 1_000_000 / u128::from(frequency)) as u64
}

/// Waits for an interrupt or a [`wake`] of another CPU.
pub(crate) fn doze() {
    aarch64_cpu::asm::wfe();
}

/// Wakes the other CPUs from [`doze`].
pub(crate) fn wake() {
    // SAFETY: a barrier and a hint; they touch no memory and no register.
    unsafe { asm!("dsb ishst", "sev", options(nostack, preserves_flags)) }
}

/// Marks a point in the instruction stream for measurement: `hint #N` has no effect on the CPU.
#[inline(always)]
pub(crate) fn mark<const N: u32>() {
    // SAFETY: hints above 31 that are not allocated execute as no-ops (Arm ARM DDI 0487, C6.2).
    unsafe { asm!("hint #{n}", n = const N, options(nostack, preserves_flags)) }
}

/// The secure monitor call instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Smc;

impl Conduit for Smc {
    #[inline]
    fn smc(&self, regs: [u32; 8]) -> [u32; 8] {
        let [function, args @ ..] = regs;
        smccc::smc32(function, args)
    }
}
