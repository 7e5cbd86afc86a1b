//! Exceptions of the normal world: interrupts are counted, those of an [`attempt`] are caught, everything else
//! ends the machine.
//!
//! **Invariant:** an interrupt preserves every register of what it interrupts (the target has no
//! floating point).

use aarch64_cpu::registers::{ELR_EL1, ESR_EL1, FAR_EL1, Readable, SPSR_EL1};
use core::arch::global_asm;

use super::{console, cpu, interrupts};

global_asm!(
    r#"
    .macro unexpected index
    .balign 128
        mov     x0, #\index
        b       {unexpected}
    .endm

    // An attempt's exception: what the vector finds, then on behind the instruction.
    .macro synchronous index
    .balign 128
        mrs     x14, tpidr_el1
        cbz     x14, 1f
        msr     tpidr_el1, xzr
        mov     x9, #\index
        mrs     x10, esr_el1
        mrs     x11, elr_el1
        mrs     x12, spsr_el1
        mrs     x13, daif
        msr     elr_el1, x14
        eret
    1:  mov     x0, #\index
        b       {unexpected}
    .endm

    .section .text.vectors, "ax"
    .balign 2048
    .global vectors
    vectors:
        synchronous 0
        unexpected 1
        unexpected 2
        unexpected 3
        synchronous 4
    .balign 128
        b       interrupted
        unexpected 6
        unexpected 7
        unexpected 8
        unexpected 9
        unexpected 10
        unexpected 11
        unexpected 12
        unexpected 13
        unexpected 14
        unexpected 15

    interrupted:
        stp     x29, x30, [sp, #-192]!
        stp     x0, x1, [sp, #16]
        stp     x2, x3, [sp, #32]
        stp     x4, x5, [sp, #48]
        stp     x6, x7, [sp, #64]
        stp     x8, x9, [sp, #80]
        stp     x10, x11, [sp, #96]
        stp     x12, x13, [sp, #112]
        stp     x14, x15, [sp, #128]
        stp     x16, x17, [sp, #144]
        mrs     x0, elr_el1
        mrs     x1, spsr_el1
        stp     x18, x0, [sp, #160]
        str     x1, [sp, #176]
        mov     x29, sp
        bl      {interrupt}
        ldr     x1, [sp, #176]
        ldp     x18, x0, [sp, #160]
        msr     spsr_el1, x1
        msr     elr_el1, x0
        ldp     x16, x17, [sp, #144]
        ldp     x14, x15, [sp, #128]
        ldp     x12, x13, [sp, #112]
        ldp     x10, x11, [sp, #96]
        ldp     x8, x9, [sp, #80]
        ldp     x6, x7, [sp, #64]
        ldp     x4, x5, [sp, #48]
        ldp     x2, x3, [sp, #32]
        ldp     x0, x1, [sp, #16]
        ldp     x29, x30, [sp], #192
        eret
    "#,
    unexpected = sym unexpected,
    interrupt = sym interrupt,
);

unsafe extern "C" {
    pub(super) fn vectors();
}

/// A synchronous exception of this world's EL1, as its vector found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    /// Which vector it came to.
    pub(crate) vector: u64,
    /// ESR_EL1.
    pub(crate) syndrome: u64,
    /// ELR_EL1, less the address of the instruction.
    pub(crate) offset: u64,
    /// SPSR_EL1.
    pub(crate) pstate: u64,
    /// DAIF in the handler.
    pub(crate) masks: u64,
}

/// Executes one instruction with interrupts masked and the condition flags set to `FLAGS`, on the stack of
/// the level or on that of EL0, and catches its exception. It may read and write x0, and read x1.
macro_rules! attempt {
    ($instruction:literal, own_stack: $own:expr, x0: $x0:expr) => {
        attempt!($instruction, own_stack: $own, x0: $x0, x1: 0_u64)
    };
    ($instruction:literal, own_stack: $own:expr, x0: $x0:expr, x1: $x1:expr) => {{
        use $crate::machine::exceptions::{Exception, FLAGS, NONE};
        let (vector, syndrome, pstate, masks, elr, at): (u64, u64, u64, u64, u64, u64);
        let mut x0: u64 = $x0;
        // SAFETY:
        // 1. The instruction changes x0 at most; what it raises returns behind it (`synchronous` above).
        // 2. Nothing between uses a stack, and the stack pointer that is selected comes back.
        unsafe {
            core::arch::asm!(
                "mrs x16, daif",
                "msr daifset, #0xf",
                "adr x9, 3f",
                "msr tpidr_el1, x9",
                "mov x9, {none}",
                "msr spsel, {own}",
                "msr nzcv, {flags}",
                concat!("2: ", $instruction),
                "3: msr spsel, #1",
                "msr tpidr_el1, xzr",
                "msr daif, x16",
                "adr {at}, 2b",
                none = const NONE,
                own = in(reg) u64::from($own),
                flags = in(reg) FLAGS,
                at = out(reg) at,
                inout("x0") x0, in("x1") $x1,
                out("x9") vector, out("x10") syndrome, out("x11") elr, out("x12") pstate, out("x13") masks,
                out("x14") _, out("x16") _,
                options(nostack),
            );
        }
        let offset = elr.wrapping_sub(at);
        let exception = Exception { vector, syndrome, offset, pstate, masks };
        if vector == NONE { Ok(x0) } else { Err(exception) }
    }};
}
pub(crate) use attempt;

/// Condition flags before an attempted instruction: N and C.
pub(crate) const FLAGS: u64 = 0b1010 << 28;
/// No vector.
pub(crate) const NONE: u64 = 0xff;

extern "C" fn interrupt() {
    interrupts::handle();
}

extern "C" fn unexpected(index: u64) -> ! {
    console::emergency(format_args!(
        "normal world, CPU {}: unexpected exception {index}: ESR {:#x} FAR {:#x} ELR {:#x} SPSR {:#x}\n",
        cpu::index(),
        ESR_EL1.get(),
        FAR_EL1.get(),
        ELR_EL1.get(),
        SPSR_EL1.get(),
    ));
    super::end(1)
}
