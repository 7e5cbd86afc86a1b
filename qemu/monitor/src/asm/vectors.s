// EL3 vectors and the world switch.
//
// While a lower level runs, SP_EL3 points at this CPU's context (context.rs), which lies right
// above its EL3 stack: an exception finds its save area in sp, and Rust can be called at once.
// TPIDR_EL3 keeps the interrupted x30.
//
// What is saved where:
//   normal -> secure  x4-x30, ELR/SPSR_EL3 and all of the normal world's EL1 registers; the
//                     secure world's SECURE set is loaded.  x0-x7 pass through.
//   secure -> normal  the secure world's SECURE set; everything of the normal world is loaded.
//                     x1-x4 pass through as x0-x3.
//   trap              x0-x19, and back: see `give_back`.
// The secure world's general registers x8-x30 and its ELR, SPSR, ESR, FAR, PAR and CSSELR_EL1 do
// not survive CALL_DONE: each entry through its vector table starts anew.

.macro save_sys base
    mrs     x8, sctlr_el1
    mrs     x9, tcr_el1
    stp     x8, x9, [sp, #\base]
    mrs     x10, ttbr0_el1
    mrs     x11, ttbr1_el1
    stp     x10, x11, [sp, #\base + 16]
    mrs     x12, mair_el1
    mrs     x13, vbar_el1
    stp     x12, x13, [sp, #\base + 32]
    mrs     x14, sp_el0
    mrs     x15, sp_el1
    stp     x14, x15, [sp, #\base + 48]
    mrs     x16, tpidr_el0
    mrs     x17, tpidrro_el0
    stp     x16, x17, [sp, #\base + 64]
    mrs     x18, tpidr_el1
    mrs     x19, contextidr_el1
    stp     x18, x19, [sp, #\base + 80]
    mrs     x20, cpacr_el1
    mrs     x21, cntkctl_el1
    stp     x20, x21, [sp, #\base + 96]
.endm

.macro load_sys base
    ldp     x8, x9, [sp, #\base]
    msr     sctlr_el1, x8
    msr     tcr_el1, x9
    ldp     x10, x11, [sp, #\base + 16]
    msr     ttbr0_el1, x10
    msr     ttbr1_el1, x11
    ldp     x12, x13, [sp, #\base + 32]
    msr     mair_el1, x12
    msr     vbar_el1, x13
    ldp     x14, x15, [sp, #\base + 48]
    msr     sp_el0, x14
    msr     sp_el1, x15
    ldp     x16, x17, [sp, #\base + 64]
    msr     tpidr_el0, x16
    msr     tpidrro_el0, x17
    ldp     x18, x19, [sp, #\base + 80]
    msr     tpidr_el1, x18
    msr     contextidr_el1, x19
    ldp     x20, x21, [sp, #\base + 96]
    msr     cpacr_el1, x20
    msr     cntkctl_el1, x21
.endm

// The part of the normal world's EL1 state that the secure world has no copy of. The performance
// monitors, where there are some, stop for the secure world and are closed to its EL0.
.macro save_sys_normal_only
    mrs     x8, elr_el1
    mrs     x9, spsr_el1
    stp     x8, x9, [sp, #{NORMAL_ONLY}]
    mrs     x10, esr_el1
    mrs     x11, far_el1
    stp     x10, x11, [sp, #{NORMAL_ONLY} + 16]
    mrs     x12, par_el1
    mrs     x13, csselr_el1
    stp     x12, x13, [sp, #{NORMAL_ONLY} + 32]
    ldr     x8, [sp, #{HAS_PMU}]
    cbz     x8, 7f
    mrs     x9, pmcr_el0
    str     x9, [sp, #{NORMAL_PMCR}]
    orr     x9, x9, #(1 << 5)           // DP: no cycles where events may not be counted
    msr     pmcr_el0, x9
7:
.endm

.macro load_sys_normal_only
    ldp     x8, x9, [sp, #{NORMAL_ONLY}]
    msr     elr_el1, x8
    msr     spsr_el1, x9
    ldp     x10, x11, [sp, #{NORMAL_ONLY} + 16]
    msr     esr_el1, x10
    msr     far_el1, x11
    ldp     x12, x13, [sp, #{NORMAL_ONLY} + 32]
    msr     par_el1, x12
    msr     csselr_el1, x13
    ldr     x8, [sp, #{HAS_PMU}]
    cbz     x8, 7f
    ldr     x9, [sp, #{NORMAL_PMCR}]
    msr     pmcr_el0, x9
7:
.endm

// x4-x30 (x30 from TPIDR_EL3), ELR_EL3, SPSR_EL3. Clobbers x28, x29.
.macro save_normal_gp
    stp     x4, x5, [sp, #{NORMAL_GP}]
    stp     x6, x7, [sp, #{NORMAL_GP} + 16]
    stp     x8, x9, [sp, #{NORMAL_GP} + 32]
    stp     x10, x11, [sp, #{NORMAL_GP} + 48]
    stp     x12, x13, [sp, #{NORMAL_GP} + 64]
    stp     x14, x15, [sp, #{NORMAL_GP} + 80]
    stp     x16, x17, [sp, #{NORMAL_GP} + 96]
    stp     x18, x19, [sp, #{NORMAL_GP} + 112]
    stp     x20, x21, [sp, #{NORMAL_GP} + 128]
    stp     x22, x23, [sp, #{NORMAL_GP} + 144]
    stp     x24, x25, [sp, #{NORMAL_GP} + 160]
    stp     x26, x27, [sp, #{NORMAL_GP} + 176]
    stp     x28, x29, [sp, #{NORMAL_GP} + 192]
    mrs     x28, tpidr_el3
    mrs     x29, elr_el3
    stp     x28, x29, [sp, #{NORMAL_GP} + 208]
    mrs     x28, spsr_el3
    str     x28, [sp, #{NORMAL_SPSR}]
.endm

.macro load_normal_gp_and_eret
    ldp     x30, x29, [sp, #{NORMAL_GP} + 208]
    ldr     x28, [sp, #{NORMAL_SPSR}]
    ldr     x27, [sp, #{NORMAL_SCR}]
    msr     elr_el3, x29
    msr     spsr_el3, x28
    msr     scr_el3, x27
    ldp     x4, x5, [sp, #{NORMAL_GP}]
    ldp     x6, x7, [sp, #{NORMAL_GP} + 16]
    ldp     x8, x9, [sp, #{NORMAL_GP} + 32]
    ldp     x10, x11, [sp, #{NORMAL_GP} + 48]
    ldp     x12, x13, [sp, #{NORMAL_GP} + 64]
    ldp     x14, x15, [sp, #{NORMAL_GP} + 80]
    ldp     x16, x17, [sp, #{NORMAL_GP} + 96]
    ldp     x18, x19, [sp, #{NORMAL_GP} + 112]
    ldp     x20, x21, [sp, #{NORMAL_GP} + 128]
    ldp     x22, x23, [sp, #{NORMAL_GP} + 144]
    ldp     x24, x25, [sp, #{NORMAL_GP} + 160]
    ldp     x26, x27, [sp, #{NORMAL_GP} + 176]
    ldp     x28, x29, [sp, #{NORMAL_GP} + 192]
    eret
.endm

// x0-x3, for the paths that do not pass results in them. Out of stp's reach.
.macro save_normal_args
    str     x0, [sp, #{NORMAL_ARGS}]
    str     x1, [sp, #{NORMAL_ARGS} + 8]
    str     x2, [sp, #{NORMAL_ARGS} + 16]
    str     x3, [sp, #{NORMAL_ARGS} + 24]
.endm

.macro load_normal_args
    ldr     x0, [sp, #{NORMAL_ARGS}]
    ldr     x1, [sp, #{NORMAL_ARGS} + 8]
    ldr     x2, [sp, #{NORMAL_ARGS} + 16]
    ldr     x3, [sp, #{NORMAL_ARGS} + 24]
.endm

// What the CPU has of floating point is the secure world's to use from here on, once it is kept. Clobbers x8.
.macro registers_to_secure
    ldr     x8, [sp, #{CPTR_SECURE}]
    msr     cptr_el3, x8
.endm

// ... and the normal world's again. Clobbers x8 to x11.
.macro registers_to_normal
    ldr     x8, [sp, #{KEPT}]
    adr     x11, 6f
    cbnz    x8, give_registers_back
    mov     x8, #{CPTR_OPEN}
    msr     cptr_el3, x8
6:
.endm

.macro crash_vector number
    .balign 128
    msr     tpidr_el3, x30
    mov     x30, #\number
    b       crash
.endm

.section .text.vectors, "ax"
.balign 2048
.global monitor_vectors
monitor_vectors:
    // Current level, SP_EL0: never used.
    crash_vector 0
    crash_vector 1
    crash_vector 2
    crash_vector 3
    // Current level, SP_EL3: a fault of the monitor itself.
    crash_vector 4
    crash_vector 5
    crash_vector 6
    crash_vector 7

    // Lower level, AArch64, synchronous: SMC, or a trap that nothing asked for.
    .balign 128
    msr     tpidr_el3, x30
    mrs     x30, scr_el3
    tbz     x30, #0, from_secure
    mrs     x30, esr_el3
    ubfx    x30, x30, #26, #6
    cmp     x30, #0x17                  // SMC from AArch64
    b.ne    give_back
    ubfx    w30, w0, #24, #6
    cmp     w30, #50                    // owners 50..63: trusted OS
    b.hs    normal_calls_secure
    b       normal_calls_monitor

    crash_vector 9                      // IRQ: never routed here
    // FIQ: a secure interrupt came while the normal world ran.
    .balign 128
    b       secure_interrupt
    crash_vector 11                     // SError: never routed here
    // Lower level, AArch32.
    .balign 128
    msr     tpidr_el3, x30
    b       give_back
    crash_vector 13
    .balign 128
    b       secure_interrupt
    crash_vector 15

.balign 64
normal_calls_secure:
    save_normal_gp
    ldp     x28, x29, [sp, #{SECURE_ENTRY}] // vector table, SCR_EL3
    cbz     x28, no_secure_world
    lsr     w27, w0, #31                // table[0] yielding, table[1] fast
    add     x28, x28, x27, lsl #2
enter_from_normal:                      // x28 = entry, x29 = SCR_EL3
    mov     x27, #{SPSR_EL1H_MASKED}
    msr     elr_el3, x28
    msr     spsr_el3, x27
    msr     scr_el3, x29
    save_sys {NORMAL_SYS}
    save_sys_normal_only
    registers_to_secure
    load_sys {SECURE_SYS}
    eret

.balign 64
from_secure:
    mrs     x30, esr_el3
    ubfx    x30, x30, #26, #6
    cmp     x30, #0x17
    b.ne    secure_traps
    mov     w30, #(0xbe000005 & 0xffff) // CALL_DONE
    movk    w30, #(0xbe000005 >> 16), lsl #16
    cmp     w0, w30
    b.ne    secure_returns_otherwise
    mov     x0, x1
    mov     x1, x2
    mov     x2, x3
    mov     x3, x4
    save_sys {SECURE_SYS}
resume_normal:
    registers_to_normal
    load_sys {NORMAL_SYS}
    load_sys_normal_only
    load_normal_gp_and_eret

secure_traps:                           // x30 = the exception's class
    cmp     x30, #0x07                  // floating point: CPTR_EL3.TFP
    b.eq    keep_registers
    b       give_back

// x30 = CALL_DONE, w0 something else.
secure_returns_otherwise:
    add     w30, w30, #1                // FIQ_DONE
    cmp     w0, w30
    b.ne    1f
    save_sys {SECURE_SYS}
    load_normal_args
    b       resume_normal
1:  sub     w30, w30, #6                // ENTRY_DONE .. SYSTEM_RESET_DONE
    sub     w30, w0, w30
    cmp     w30, #8
    b.hi    2f
    ldr     x30, [sp, #{MONITOR_SP}]
    cbz     x30, 2f                     // nobody waits for it
    save_sys {SECURE_SYS}
    registers_to_normal
    load_sys {NORMAL_SYS}
    load_sys_normal_only
    str     xzr, [sp, #{MONITOR_SP}]
    mov     sp, x30                     // back into monitor_enter_secure's caller
    ldp     x19, x20, [sp]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    add     sp, sp, #96
    ret                                 // x0 = return id, x1 = its argument
2:  mov     x0, #-1
    mrs     x30, tpidr_el3
    eret

secure_interrupt:
    msr     tpidr_el3, x30
    save_normal_gp
    save_normal_args
    ldp     x28, x29, [sp, #{SECURE_ENTRY}]
    cbz     x28, crash_fiq
    mrs     x0, elr_el3
    add     x28, x28, #{FIQ_OFFSET}
    b       enter_from_normal

no_secure_world:
    mov     x0, #-1
    load_normal_gp_and_eret

normal_calls_monitor:
    save_normal_gp
    save_normal_args
    mov     x0, sp
    bl      monitor_normal_smc
    load_normal_args
    load_normal_gp_and_eret

// fn monitor_enter_secure(context, entry, x0, x1, x2, x3) -> (return id, argument)
// Runs the secure world from `entry` until it returns with one of its ids but CALL_DONE and
// FIQ_DONE.
.global monitor_enter_secure
monitor_enter_secure:
    sub     sp, sp, #96
    stp     x19, x20, [sp]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    mov     x6, sp
    mov     sp, x0
    str     x6, [sp, #{MONITOR_SP}]
    save_sys {NORMAL_SYS}
    save_sys_normal_only
    ldr     x6, [sp, #{SECURE_ENTRY} + 8]
    mov     x7, #{SPSR_EL1H_MASKED}
    msr     elr_el3, x1
    msr     spsr_el3, x7
    msr     scr_el3, x6
    registers_to_secure
    load_sys {SECURE_SYS}
    mov     x0, x2
    mov     x1, x3
    mov     x2, x4
    mov     x3, x5
    mov     x4, xzr
    mov     x5, xzr
    mov     x6, xzr
    mov     x7, xzr
    eret

// fn monitor_enter_normal(context) -> !: loads all of the normal world's state.
.global monitor_enter_normal
monitor_enter_normal:
    mov     sp, x0
    load_normal_args
    b       resume_normal

// Gives an exception that is no SMC back to the lower level that caused it, as an undefined
// instruction. x30 is in TPIDR_EL3. Where `monitor_enter_secure` waits for the secure world, the
// stack goes on below it.
give_back:
    add     x30, sp, #{TRAPPED_GP}
    stp     x0, x1, [x30]
    stp     x2, x3, [x30, #16]
    stp     x4, x5, [x30, #32]
    stp     x6, x7, [x30, #48]
    stp     x8, x9, [x30, #64]
    stp     x10, x11, [x30, #80]
    stp     x12, x13, [x30, #96]
    stp     x14, x15, [x30, #112]
    stp     x16, x17, [x30, #128]
    stp     x18, x19, [x30, #144]
    mov     x19, sp
    ldr     x0, [sp, #{MONITOR_SP}]
    cbz     x0, 1f
    mov     sp, x0
1:  bl      {GIVE_BACK}
    mov     sp, x19
    add     x30, sp, #{TRAPPED_GP}
    ldp     x0, x1, [x30]
    ldp     x2, x3, [x30, #16]
    ldp     x4, x5, [x30, #32]
    ldp     x6, x7, [x30, #48]
    ldp     x8, x9, [x30, #64]
    ldp     x10, x11, [x30, #80]
    ldp     x12, x13, [x30, #96]
    ldp     x14, x15, [x30, #112]
    ldp     x16, x17, [x30, #128]
    ldp     x18, x19, [x30, #144]
    mrs     x30, tpidr_el3
    eret

crash_fiq:
    ldr     x30, [sp, #{NORMAL_GP} + 208]
    msr     tpidr_el3, x30
    mov     x30, #10
// x30 = vector number, TPIDR_EL3 = the interrupted x30. SP_EL0 is given up to free a register.
crash:
    msr     sp_el0, x29
    adrp    x29, {CRASH_FRAME}
    add     x29, x29, :lo12:{CRASH_FRAME}
    stp     x0, x1, [x29]
    stp     x2, x3, [x29, #16]
    stp     x4, x5, [x29, #32]
    stp     x6, x7, [x29, #48]
    stp     x8, x9, [x29, #64]
    stp     x10, x11, [x29, #80]
    stp     x12, x13, [x29, #96]
    stp     x14, x15, [x29, #112]
    stp     x16, x17, [x29, #128]
    stp     x18, x19, [x29, #144]
    stp     x20, x21, [x29, #160]
    stp     x22, x23, [x29, #176]
    stp     x24, x25, [x29, #192]
    stp     x26, x27, [x29, #208]
    mrs     x27, sp_el0
    stp     x28, x27, [x29, #224]
    mrs     x27, tpidr_el3
    mov     x28, sp
    stp     x27, x28, [x29, #240]
    add     x28, x29, #{CRASH_STACK_END}
    mov     sp, x28
    mov     x0, x30
    mov     x29, xzr
    bl      monitor_crash
    b       .
