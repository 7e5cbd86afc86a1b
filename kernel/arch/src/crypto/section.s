// Sections in which the kernel uses V registers: interrupts masked, the registers open to EL1 alone, those used kept on the
// stack and back at the end, which overwrites what was computed with. Nothing of them stays on the stack.
//
// CPACR_EL1 need not be synchronized at the end: the kernel uses none of them elsewhere, and a return to EL0 synchronizes.
//
// Source: Arm ARM DDI 0487, D24.2.30 (CPACR_EL1).

    .arch_extension fp
    .arch_extension simd
    .arch_extension aes
    .arch_extension sha2
    .arch_extension sha3

.set MASKED, 3                          // DAIF: IRQ and FIQ
.set OPEN_EL1, 1 << 20                  // CPACR_EL1.FPEN, bit 0

// Keeps V0 to V(2 * \pairs - 1). Clobbers x15 to x17.
.macro begin_section pairs
    mrs     x16, daif
    msr     daifset, #MASKED
    mrs     x17, cpacr_el1
    orr     x15, x17, #OPEN_EL1
    msr     cpacr_el1, x15
    isb
    sub     sp, sp, #(32 * \pairs + 16)
    stp     x16, x17, [sp]
    stp     q0, q1, [sp, #16]
    stp     q2, q3, [sp, #48]
    keep_pair \pairs, 2, q4, q5
    keep_pair \pairs, 3, q6, q7
    keep_pair \pairs, 4, q8, q9
    keep_pair \pairs, 5, q10, q11
    keep_pair \pairs, 6, q12, q13
    keep_pair \pairs, 7, q14, q15
    keep_pair \pairs, 8, q16, q17
    keep_pair \pairs, 9, q18, q19
    keep_pair \pairs, 10, q20, q21
    keep_pair \pairs, 11, q22, q23
    keep_pair \pairs, 12, q24, q25
    keep_pair \pairs, 13, q26, q27
    keep_pair \pairs, 14, q28, q29
    keep_pair \pairs, 15, q30, q31
.endm

.macro keep_pair pairs, n, a, b
    .if \n < \pairs
    stp     \a, \b, [sp, #(32 * \n + 16)]
    .endif
.endm

// Undoes it. Clobbers x16 and x17.
.macro end_section pairs
    movi    v0.2d, #0
    ldp     q2, q3, [sp, #48]
    stp     q0, q0, [sp, #48]
    return_pair \pairs, 2, q4, q5
    return_pair \pairs, 3, q6, q7
    return_pair \pairs, 4, q8, q9
    return_pair \pairs, 5, q10, q11
    return_pair \pairs, 6, q12, q13
    return_pair \pairs, 7, q14, q15
    return_pair \pairs, 8, q16, q17
    return_pair \pairs, 9, q18, q19
    return_pair \pairs, 10, q20, q21
    return_pair \pairs, 11, q22, q23
    return_pair \pairs, 12, q24, q25
    return_pair \pairs, 13, q26, q27
    return_pair \pairs, 14, q28, q29
    return_pair \pairs, 15, q30, q31
    ldp     q0, q1, [sp, #16]
    stp     xzr, xzr, [sp, #16]
    stp     xzr, xzr, [sp, #32]
    ldp     x16, x17, [sp]
    add     sp, sp, #(32 * \pairs + 16)
    msr     cpacr_el1, x17
    msr     daif, x16
    ret
.endm

.macro return_pair pairs, n, a, b
    .if \n < \pairs
    ldp     \a, \b, [sp, #(32 * \n + 16)]
    stp     q0, q0, [sp, #(32 * \n + 16)]
    .endif
.endm
