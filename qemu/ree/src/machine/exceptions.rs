//! Exceptions of the normal world: interrupts are counted, everything else ends the machine.
//!
//! **Invariant:** an interrupt preserves every register of what it interrupts (the target has no
//! floating point).

use aarch64_cpu::registers::{ELR_EL1, ESR_EL1, FAR_EL1, Readable, SPSR_EL1};
use core::arch::global_asm;

use super::{console, cpu, interrupts, semihosting};

global_asm!(
    r#"
    .macro unexpected index
    .balign 128
        mov     x0, #\index
        b       {unexpected}
    .endm

    .section .text.vectors, "ax"
    .balign 2048
    .global vectors
    vectors:
        unexpected 0
        unexpected 1
        unexpected 2
        unexpected 3
        unexpected 4
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
    semihosting::exit(1)
}
