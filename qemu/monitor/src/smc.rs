//! The normal world's SMCs that are the monitor's own: PSCI and SMCCC.
//!
//! Source: ARM DEN 0022 (PSCI), ARM DEN 0028 (SMCCC).
//!
//! **Invariant:** every function is answered; what is not known is "unknown function" (-1).

use arm_psci::ErrorCode;
use tally_abi::opteed::Vector;

use crate::context::CpuContext;
use crate::psci::{Outcome, Start};
use crate::{boot, gic, power, sysreg, world};

const SMCCC_VERSION: u32 = 0x8000_0000;
const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
/// 1.2: the first that keeps x4..x17, and without the SVE hint bit of 1.3 in function ids.
const SMCCC_1_2: u64 = 0x1_0002;
const UNKNOWN: u64 = u64::MAX;
/// Owner of PSCI: standard secure services.
const OWNER_STANDARD: u32 = 4;

/// Answers a call; the normal world's x0..x3 are in the context.
#[unsafe(no_mangle)]
extern "C" fn monitor_normal_smc(context: &mut CpuContext) {
    let args = context.normal_args;
    // The function id is w0.
    let id = args[0] as u32;
    context.normal_args[0] = match id {
        SMCCC_VERSION => SMCCC_1_2,
        SMCCC_ARCH_FEATURES => match args[1] as u32 {
            SMCCC_VERSION | SMCCC_ARCH_FEATURES => 0,
            _ => UNKNOWN,
        },
        _ if (id >> 24) & 0x3f == OWNER_STANDARD => psci(context, &args),
        _ => UNKNOWN,
    };
}

fn psci(context: &mut CpuContext, args: &[u64; 4]) -> u64 {
    match boot::CPUS.call(args) {
        Outcome::Return(value) => value,
        Outcome::Wake(cpu) => match gic::wake(cpu) {
            Ok(()) => 0,
            Err(_) => {
                boot::CPUS.set_off(cpu);
                ErrorCode::InternalFailure.into()
            }
        },
        Outcome::Off => cpu_off(context),
        Outcome::Standby => {
            wait_for_interrupt();
            0
        }
        Outcome::PowerDown(start) => suspend(context, start),
        Outcome::SystemOff => {
            tell_secure(context, Vector::SystemOff, 0);
            power::off()
        }
        Outcome::SystemReset => {
            tell_secure(context, Vector::SystemReset, 0);
            power::reset()
        }
    }
}

/// Runs the kernel's entry `vector` with x0 = `argument` and returns its answer.
fn tell_secure(context: &mut CpuContext, vector: Vector, argument: u64) -> u64 {
    if context.secure_table == 0 {
        return 0;
    }
    let entry = context.secure_table + vector.offset();
    world::enter_secure(context, entry, [argument, 0, 0, 0]).value
}

fn cpu_off(context: &mut CpuContext) -> u64 {
    if tell_secure(context, Vector::CpuOff, 0) != 0 {
        return ErrorCode::Denied.into();
    }
    boot::CPUS.set_off(context.cpu as usize);
    world::park()
}

/// A power-down suspend: the CPU keeps its power, and loses its normal-world state.
fn suspend(context: &mut CpuContext, start: Start) -> u64 {
    tell_secure(context, Vector::CpuSuspend, 0);
    wait_for_interrupt();
    tell_secure(context, Vector::CpuResume, 0);
    context.start_normal(start.entry, start.context_id, sysreg::has_el2());
    world::enter_normal(context)
}

fn wait_for_interrupt() {
    // SAFETY: waits; a pending interrupt ends it even though EL3 masks all.
    unsafe { core::arch::asm!("dsb sy", "wfi", options(nostack)) };
}
