//! A trusted OS of a page, for testing the monitor: it checks the state it is entered in, and
//! answers a few calls of its own. Goes with `fake_normal`.
//!
//! Fast calls: 0xb2000001 adds one to each of x1..x3; 0xb2000002 raises secure SGI 8, which comes in
//! as FIQ once the normal world runs; 0xb2000003 returns what a senseless SMC of its own gave;
//! 0xb2000004 overwrites EL1 registers of the normal world; 0xb2000005 returns ISR_EL1. A yielding call
//! returns the sum of x0..x7, TPIDR_EL1 and how many FIQs this CPU has had.
//!
//! **Invariant:** a check that fails ends in an undefined instruction at S-EL1, with no vectors: the
//! run never ends by itself.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

#[cfg(target_os = "none")]
core::arch::global_asm!(
    r#"
.macro return_id id
    ldr     x0, =0xbe000000 + \id
    smc     #0
    udf     #0
.endm
.macro check_masked
    mrs     x9, currentel
    cmp     x9, #4
    b.ne    bad
    mrs     x9, daif
    cmp     x9, #0x3c0
    b.ne    bad
    mrs     x9, spsel
    cbz     x9, bad
.endm
.macro check_tpidr
    mrs     x9, mpidr_el1
    and     x9, x9, #0xff
    add     x9, x9, #0x5ec, lsl #12
    mrs     x10, tpidr_el1
    cmp     x9, x10
    b.ne    bad
    mrs     x9, sp_el0
    cmp     x9, #0x77
    b.ne    bad
.endm
.macro check_reset
    mrs     x9, sctlr_el1
    tst     x9, #1
    b.ne    bad
    mrs     x9, ttbr0_el1
    cbnz    x9, bad
    mrs     x9, mpidr_el1
    and     x9, x9, #0xff
    add     x9, x9, #0x5ec, lsl #12
    msr     tpidr_el1, x9
    mov     x9, #0x77
    msr     sp_el0, x9
    msr     contextidr_el1, xzr         // counts FIQs
.endm

.section .text.secure, "ax"
.global payload_entry
payload_entry:
    check_masked
    orr     x9, x0, x1
    orr     x9, x9, x3
    cbnz    x9, bad
    ldr     x9, ={RAM}
    cmp     x2, x9
    b.ne    bad
    check_reset
    adr     x1, table
    return_id 0
table:
    b       yielding
    b       fast
    b       cpu_on
    b       cpu_off
    b       cpu_resume
    b       cpu_suspend
    b       fiq
    b       system_off
    b       system_reset
yielding:
    check_masked
    check_tpidr
    add     x0, x0, x1
    add     x2, x2, x3
    add     x4, x4, x5
    add     x6, x6, x7
    add     x0, x0, x2
    add     x4, x4, x6
    add     x1, x0, x4
    mrs     x2, tpidr_el1
    mrs     x3, contextidr_el1
    mov     x4, #0x11
    return_id 5
fast:
    and     w9, w0, #0xff
    cmp     w9, #1
    b.eq    1f
    cmp     w9, #2
    b.eq    2f
    cmp     w9, #3
    b.eq    3f
    cmp     w9, #4
    b.eq    4f
    cmp     w9, #5
    b.eq    5f
    mov     x1, #0x55
    return_id 5
1:  add     x1, x1, #1
    add     x2, x2, #1
    add     x3, x3, #1
    mov     x4, #0x22
    return_id 5
2:  mrs     x9, mpidr_el1
    and     x9, x9, #0xf
    mov     x10, #1
    lsl     x10, x10, x9
    orr     x10, x10, #(8 << 24)
    msr     S3_0_C12_C11_5, x10         // ICC_SGI1R_EL1
    isb
    mov     x1, #0
    return_id 5
3:  mov     x30, #0x1234
    mov     x29, #0x5678
    ldr     x0, =0xbe001234
    smc     #0
    mov     x1, x0
    mov     x9, #0x1234
    cmp     x30, x9
    b.ne    bad
    mov     x9, #0x5678
    cmp     x29, x9
    b.ne    bad
    ldr     x0, =0xbe000000             // ENTRY_DONE that nobody waits for
    smc     #0
    mov     x2, x0
    return_id 5
4:  mov     x9, #0x2
    msr     csselr_el1, x9
    mov     x9, #0x4440
    msr     elr_el1, x9
    msr     far_el1, x9
    msr     esr_el1, x9
    mov     x9, #0x3c5
    msr     spsr_el1, x9
    adr     x9, table
    at      s1e1r, x9
    isb
    msr     tpidr_el0, x9
    msr     tpidrro_el0, x9
    mov     x1, #0
    return_id 5
5:  mrs     x1, isr_el1
    return_id 5
cpu_on:
    check_masked
    check_reset
    mov     x1, #0
    return_id 1
cpu_off:
    check_masked
    check_tpidr
    mov     x1, #0
    return_id 2
cpu_suspend:
    check_masked
    check_tpidr
    mov     x1, #0
    return_id 3
cpu_resume:
    check_masked
    check_tpidr
    mov     x1, #0
    return_id 4
fiq:
    check_masked
    check_tpidr
    mrs     x9, S3_0_C12_C12_0          // ICC_IAR1_EL1
    cmp     x9, #8
    b.ne    bad
    msr     S3_0_C12_C12_1, x9          // ICC_EOIR1_EL1
    mrs     x10, contextidr_el1
    add     x10, x10, #1
    msr     contextidr_el1, x10
    return_id 6
system_off:
    check_masked
    mov     x1, #0
    return_id 7
system_reset:
    check_masked
    mov     x1, #0
    return_id 8
bad:
    udf     #0
.ltorg
"#,
    RAM = const tally_board_virt::RAM_BASE,
);
