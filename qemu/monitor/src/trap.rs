//! Exceptions of lower levels that are no calls: each goes back to the level that caused it, as an undefined
//! instruction.

use crate::sysreg::{self, read_sysreg, write_sysreg};
use crate::undefined::{Features, Level, Origin, SYNDROME};

/// Makes the lower level take an undefined instruction where it was interrupted.
pub(crate) extern "C" fn give_back() {
    let at = read_sysreg!("elr_el3");
    let origin = Origin {
        pstate: read_sysreg!("spsr_el3"),
        hcr: sysreg::is_el2_below().then(|| read_sysreg!("hcr_el2")),
    };
    let features = Features::read(
        read_sysreg!("id_aa64mmfr1_el1"),
        read_sysreg!("id_aa64pfr1_el1"),
    );
    let (entry, vectors) = match origin.level() {
        Level::El1 => {
            // SAFETY: registers of the level that takes the exception, as the CPU itself sets them then.
            unsafe {
                write_sysreg!("elr_el1", at);
                write_sysreg!("spsr_el1", origin.pstate);
                write_sysreg!("esr_el1", SYNDROME);
            }
            let entry = origin.enter(read_sysreg!("sctlr_el1"), features);
            (entry, read_sysreg!("vbar_el1"))
        }
        Level::El2 => {
            // SAFETY: as above; EL2 exists.
            unsafe {
                write_sysreg!("elr_el2", at);
                write_sysreg!("spsr_el2", origin.pstate);
                write_sysreg!("esr_el2", SYNDROME);
            }
            let entry = origin.enter(read_sysreg!("sctlr_el2"), features);
            (entry, read_sysreg!("vbar_el2"))
        }
    };
    // SAFETY: where EL3 returns to: the handler of the level itself, in its own world.
    unsafe {
        write_sysreg!("elr_el3", vectors & !0x7ff | entry.vector_offset);
        write_sysreg!("spsr_el3", entry.pstate);
    }
}
