//! Running TAs at EL0.
//!
//! **Invariant:** the address space of a TA is installed only while its code runs.
//!
//! Source: Arm ARM DDI 0487, D24.2.40 (ESR_EL1).

use core::arch::naked_asm;

use aarch64_cpu::registers::{ESR_EL1, FAR_EL1};
use tally_abi::TeeUuid;
use tally_mem::machine::{Abort, Access, Trap, UserContext, UserCpu, UserRoot, Vectors};
use tock_registers::interfaces::Readable;

use crate::exception::kind;
use crate::{Arm, gic, vectors};

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(UserContext, x) == 0);
    assert!(offset_of!(UserContext, sp) == 248);
    assert!(offset_of!(UserContext, pc) == 256);
    assert!(offset_of!(UserContext, pstate) == 264);
    assert!(offset_of!(UserContext, tpidr) == 272);
};

unsafe extern "C" {
    /// Runs at EL0 until an exception, whose kind it returns.
    fn tally_run_user(context: *mut UserContext, ttbr0: u64) -> u64;
}

impl UserCpu for Arm {
    #[inline]
    fn run_user(&self, context: &mut UserContext, root: UserRoot) -> Trap {
        let ttbr0 = root.table.addr().0 | u64::from(root.asid) << 48;
        // SAFETY:
        // 1. `context` is ours for the time of the call.
        // 2. The table translates addresses of TTBR0 only, which the kernel never uses.
        // 3. The caller keeps the table alive.
        match unsafe { tally_run_user(context, ttbr0) } {
            kind::SYNC => sync_trap(),
            kind::IRQ => {
                gic::handle_native();
                Trap::SecureInterrupt
            }
            kind::FIQ => Trap::ForeignInterrupt,
            _ => Trap::Fault { esr: ESR_EL1.get() },
        }
    }

    fn lend_vectors(&self, vectors: &Vectors) -> bool {
        vectors::lend(vectors)
    }

    #[inline]
    fn take_vectors(&self) {
        vectors::take();
    }

    fn interrupt_others(&self) {
        gic::interrupt_others();
    }

    fn laid_out(&self, program: TeeUuid, base: u64) {
        let number = program.to_u128();
        tally_laid_out((number >> 64) as u64, number as u64, base);
    }
}

/// Does nothing. A debugger that stops here finds a program's UUID, both halves of it, and its base in x0 to x2
/// (tools/gdb/tally.py).
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn tally_laid_out(_high: u64, _low: u64, _base: u64) {
    naked_asm!("ret")
}

#[inline]
fn sync_trap() -> Trap {
    const FLOATING_POINT: u64 = 0x07;
    const SVC64: u64 = 0x15;
    const INSTRUCTION_ABORT: u64 = 0x20;
    const DATA_ABORT: u64 = 0x24;
    const WRITE: u64 = 1 << 6;
    const CACHE_MAINTENANCE: u64 = 1 << 8;

    let esr = ESR_EL1.get();
    let syndrome = esr & 0x1ff_ffff;
    let access = match esr >> 26 & 0x3f {
        SVC64 if syndrome & 0xffff == 0 => return Trap::Syscall,
        FLOATING_POINT => return Trap::Vectors { esr },
        INSTRUCTION_ABORT => Access::Execute,
        // Cache maintenance counts as a write in the syndrome, but only reads.
        DATA_ABORT if syndrome & (WRITE | CACHE_MAINTENANCE) == WRITE => Access::Write,
        DATA_ABORT => Access::Read,
        _ => return Trap::Fault { esr },
    };
    // Fault status: 0b0001LL translation, 0b0010LL access flag, 0b0011LL permission.
    match syndrome >> 2 & 0xf {
        fault @ 1..=3 => Trap::Abort(Abort {
            va: FAR_EL1.get(),
            esr,
            access,
            translation: fault == 1,
        }),
        // Address size fault at any level comes from a wild address as well.
        0 => Trap::Abort(Abort {
            va: FAR_EL1.get(),
            esr,
            access,
            translation: true,
        }),
        _ => Trap::Fault { esr },
    }
}
