// Floating-point state of the normal world beyond what the kernel keeps.
//
// A kernel saves V0 to V31, FPCR and FPSR before it lets a TA have them, as TF-A's contract has it. Where the CPU has SVE or
// SME that is not all: a write to V clears the rest of Z, and streaming mode has registers of its own. Where the secure world
// may use V and not Z, what of Z, P and FFR is beyond 128 bits a vector may be lost as well (QEMU clears it). So CPTR_EL3.TFP traps
// the secure world's first use of any of them, and all of it is saved here and is back before the normal world goes on.
// CPUs without either do not trap.
//
// CpuContext: CPTR_SECURE, what CPTR_EL3 is while the secure world runs. SCALABLE, bit 0 SVE, bit 1 SME, bit 2 FFR in streaming
// mode. KEPT, what is saved: bit 0 anything, bit 1 of streaming mode, which leaving it clears, bit 2 FFR. KEPT_FPSR, which leaving
// streaming mode sets. The area itself follows the context: Z0 to Z31, P0 to P15, FFR, for the longest vectors.

.arch_extension sve

.macro z_registers operation
    \operation z0, [x9]
    .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    \operation z\n, [x9, #\n, mul vl]
    .endr
.endm

.macro p_registers operation
    \operation p0, [x10]
    .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    \operation p\n, [x10, #\n, mul vl]
    .endr
.endm

// x9 = Z0's place, x10 = P0's.
.macro area
    add     x9, sp, #{CONTEXT_SIZE}
    addvl   x10, x9, #16
    addvl   x10, x10, #16
.endm

.section .text.fp, "ax"
// The secure world's first use of them since it was entered. x30 is in TPIDR_EL3.
keep_registers:
    add     x30, sp, #{TRAPPED_GP}
    stp     x8, x9, [x30]
    stp     x10, x11, [x30, #16]
    mov     x8, #{CPTR_OPEN}
    msr     cptr_el3, x8
    isb
    ldr     x11, [sp, #{SCALABLE}]
    and     x8, x11, #1
    orr     x8, x8, x8, lsl #2
    tbz     x11, #1, 1f
    mrs     x9, S3_3_C4_C2_2            // SVCR: bit 0 streaming mode
    tbz     x9, #0, 1f
    and     x8, x11, #4
    orr     x8, x8, #3
1:  str     x8, [sp, #{KEPT}]
    cbz     x8, 4f                      // SME alone, not in streaming mode: V is all
    area
    z_registers str
    p_registers str
    tbz     x8, #2, 2f
    rdffr   p0.b
    str     p0, [x10, #16, mul vl]
2:  tbz     x8, #1, 4f
    mrs     x9, fpsr
    str     x9, [sp, #{KEPT_FPSR}]
    .inst   0xd503427f                  // smstop sm
4:  ldp     x8, x9, [x30]
    ldp     x10, x11, [x30, #16]
    mrs     x30, tpidr_el3
    eret

// x11 = where to go on. Clobbers x8 to x10.
give_registers_back:
    mov     x8, #{CPTR_OPEN}
    msr     cptr_el3, x8
    isb
    ldr     x8, [sp, #{KEPT}]
    tbz     x8, #1, 1f
    .inst   0xd503437f                  // smstart sm
    ldr     x9, [sp, #{KEPT_FPSR}]
    msr     fpsr, x9
1:  area
    tbz     x8, #2, 2f
    ldr     p0, [x10, #16, mul vl]
    wrffr   p0.b
2:  p_registers ldr
    z_registers ldr
    str     xzr, [sp, #{KEPT}]
    br      x11
