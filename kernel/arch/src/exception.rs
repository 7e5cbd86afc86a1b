//! The EL1 vector table.
//!
//! **Invariant:** exceptions from EL0 store the TA's registers and return from
//! `tally_run_user`; interrupts from EL1 come in interruptible windows only and save everything
//! on the thread's stack; everything else goes to the emergency stack and never returns.

use core::arch::{asm, global_asm};

use crate::{crash, percpu, thread};

/// Registers at a crash, as the vector stores them.
#[repr(C)]
pub(crate) struct CrashFrame {
    pub(crate) x: [u64; 31],
    pub(crate) sp: u64,
    pub(crate) pc: u64,
    pub(crate) pstate: u64,
    pub(crate) esr: u64,
    pub(crate) far: u64,
}

impl CrashFrame {
    /// The registers here and now; `pc` is an address in this function's caller.
    #[inline(always)]
    pub(crate) fn here() -> Self {
        let mut frame = Self {
            x: [0; 31],
            sp: 0,
            pc: 0,
            pstate: 0,
            esr: 0,
            far: 0,
        };
        let at = &raw mut frame;
        // SAFETY:
        // 1. Stores 32 words into `frame`, where `x` and then `sp` lie (repr(C)).
        // 2. Changes nothing but the scratch registers that it names.
        unsafe {
            asm!(
                "stp x0, x1, [{at}, #0]",
                "stp x2, x3, [{at}, #16]",
                "stp x4, x5, [{at}, #32]",
                "stp x6, x7, [{at}, #48]",
                "stp x8, x9, [{at}, #64]",
                "stp x10, x11, [{at}, #80]",
                "stp x12, x13, [{at}, #96]",
                "stp x14, x15, [{at}, #112]",
                "stp x16, x17, [{at}, #128]",
                "stp x18, x19, [{at}, #144]",
                "stp x20, x21, [{at}, #160]",
                "stp x22, x23, [{at}, #176]",
                "stp x24, x25, [{at}, #192]",
                "stp x26, x27, [{at}, #208]",
                "stp x28, x29, [{at}, #224]",
                "mov {tmp}, sp",
                "stp x30, {tmp}, [{at}, #240]",
                at = in(reg) at,
                tmp = out(reg) _,
                options(nostack, preserves_flags),
            );
            asm!(
                "adr {pc}, .",
                "mrs {esr}, esr_el1",
                "mrs {far}, far_el1",
                "mrs {pstate}, daif",
                pc = out(reg) frame.pc,
                esr = out(reg) frame.esr,
                far = out(reg) frame.far,
                pstate = out(reg) frame.pstate,
                options(nomem, nostack, preserves_flags),
            );
        }
        frame
    }
}

const CRASH_FRAME_BYTES: usize = size_of::<CrashFrame>();
const _: () = assert!(CRASH_FRAME_BYTES == 288);

/// Kinds of exception from EL0, as `tally_run_user` returns them.
pub(crate) mod kind {
    pub(crate) const SYNC: u64 = 0;
    pub(crate) const IRQ: u64 = 1;
    pub(crate) const FIQ: u64 = 2;
    pub(crate) const SERROR: u64 = 3;
}

global_asm!(
    r#"
    .macro crash_vector number
    .balign 128
    // SP_EL0 and TPIDRRO_EL0 are free: no TA runs again.
    msr     sp_el0, x0
    mov     x0, sp
    msr     tpidrro_el0, x0
    mov     x0, #\number
    b       tally_crash_entry
    .endm

    // sp is where tally_run_user left it: [sp, #96] the context, [sp, #104] scratch.
    .macro user_vector number
    .balign 128
    str     x0, [sp, #104]
    ldr     x0, [sp, #96]
    stp     x1, x2, [x0, #8]
    mov     x1, #\number
    b       tally_user_trap
    .endm

    .macro interrupt_vector handler
    .balign 128
    sub     sp, sp, #192
    stp     x0, x1, [sp]
    adr     x0, \handler
    b       tally_kernel_interrupt
    .endm

    .pushsection .text.vectors, "ax"
    .balign 2048
    .global tally_el1_vectors
tally_el1_vectors:
    crash_vector 0
    crash_vector 1
    crash_vector 2
    crash_vector 3
    crash_vector 4
    interrupt_vector {native}
    interrupt_vector {foreign}
    crash_vector 7
    user_vector {sync}
    user_vector {irq}
    user_vector {fiq}
    user_vector {serror}
    crash_vector 12
    crash_vector 13
    crash_vector 14
    crash_vector 15
    .balign 128

    // x0: handler; x0, x1 saved. What C code may change is saved: x0..x18, x30, ELR, SPSR.
    // x29 too, with x30 as a frame record, so that backtraces go on.
tally_kernel_interrupt:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    mrs     x9, spsr_el1
    mrs     x10, elr_el1
    stp     x18, x9, [sp, #144]
    stp     x30, x10, [sp, #160]
    stp     x29, x30, [sp, #176]
    add     x29, sp, #176
    blr     x0
    ldp     x18, x9, [sp, #144]
    ldp     x30, x10, [sp, #160]
    ldr     x29, [sp, #176]
    msr     spsr_el1, x9
    msr     elr_el1, x10
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x0, x1, [sp]
    add     sp, sp, #192
    eret

    // x0: context, x1: TTBR0. Returns the kind of exception. [sp, #112]: what EL0 of the normal world may do with
    // its performance monitors, which no firmware need keep from ours.
    .balign 64
    .global tally_run_user
tally_run_user:
    sub     sp, sp, #128
    stp     x19, x20, [sp]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    str     x0, [sp, #96]
    mrs     x6, tpidr_el1
    ldr     x6, [x6, #{has_pmu}]
    cbz     x6, 1f
    mrs     x6, pmuserenr_el0
    cbz     x6, 1f
    msr     pmuserenr_el0, xzr
1:  str     x6, [sp, #112]
    dsb     ishst
    msr     ttbr0_el1, x1
    ldp     x2, x3, [x0, #248]
    ldp     x4, x5, [x0, #264]
    and     x4, x4, #0xf0000000
    msr     sp_el0, x2
    msr     elr_el1, x3
    msr     spsr_el1, x4
    msr     tpidr_el0, x5
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret

    // x0: context, x1: kind; the TA's x0 in scratch, its x1 and x2 saved.
tally_user_trap:
    stp     x3, x4, [x0, #24]
    stp     x5, x6, [x0, #40]
    stp     x7, x8, [x0, #56]
    stp     x9, x10, [x0, #72]
    stp     x11, x12, [x0, #88]
    stp     x13, x14, [x0, #104]
    stp     x15, x16, [x0, #120]
    stp     x17, x18, [x0, #136]
    stp     x19, x20, [x0, #152]
    stp     x21, x22, [x0, #168]
    stp     x23, x24, [x0, #184]
    stp     x25, x26, [x0, #200]
    stp     x27, x28, [x0, #216]
    stp     x29, x30, [x0, #232]
    ldr     x2, [sp, #104]
    str     x2, [x0]
    mrs     x6, tpidr_el1
    mrs     x2, sp_el0
    mrs     x3, elr_el1
    ldr     x6, [x6, #{idmap}]
    mrs     x4, spsr_el1
    mrs     x5, tpidr_el0
    msr     ttbr0_el1, x6
    isb
    stp     x2, x3, [x0, #248]
    stp     x4, x5, [x0, #264]
    ldr     x7, [sp, #112]
    cbz     x7, 1f
    msr     pmuserenr_el0, x7
1:  ldp     x19, x20, [sp]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    add     sp, sp, #128
    mov     x0, x1
    ret

    // x0: number of the vector; the old x0 in SP_EL0, the old sp in TPIDRRO_EL0.
tally_crash_entry:
    msr     tpidr_el0, x1
    mrs     x1, tpidr_el1
    ldr     x1, [x1, #{emergency_stack}]
    sub     sp, x1, #{crash_frame}
    mrs     x1, tpidr_el0
    stp     x1, x2, [sp, #8]
    stp     x3, x4, [sp, #24]
    stp     x5, x6, [sp, #40]
    stp     x7, x8, [sp, #56]
    stp     x9, x10, [sp, #72]
    stp     x11, x12, [sp, #88]
    stp     x13, x14, [sp, #104]
    stp     x15, x16, [sp, #120]
    stp     x17, x18, [sp, #136]
    stp     x19, x20, [sp, #152]
    stp     x21, x22, [sp, #168]
    stp     x23, x24, [sp, #184]
    stp     x25, x26, [sp, #200]
    stp     x27, x28, [sp, #216]
    stp     x29, x30, [sp, #232]
    mrs     x2, sp_el0
    str     x2, [sp]
    mrs     x2, tpidrro_el0
    mrs     x3, elr_el1
    stp     x2, x3, [sp, #248]
    mrs     x2, spsr_el1
    mrs     x3, esr_el1
    stp     x2, x3, [sp, #264]
    mrs     x2, far_el1
    str     x2, [sp, #280]
    mov     x1, x0
    mov     x0, sp
    mov     x29, xzr
    bl      {crash}
    b       .
    .popsection
    "#,
    native = sym native_in_kernel,
    foreign = sym thread::foreign_interrupt,
    sync = const kind::SYNC,
    irq = const kind::IRQ,
    fiq = const kind::FIQ,
    serror = const kind::SERROR,
    idmap = const percpu::IDMAP,
    has_pmu = const percpu::HAS_PMU,
    emergency_stack = const percpu::EMERGENCY_STACK,
    crash_frame = const CRASH_FRAME_BYTES,
    crash = sym crash::crash_entry,
);

extern "C" fn native_in_kernel() {
    crate::gic::handle_native();
}
