// Reset of every CPU, the secondaries' parking place, and the MMU.
//
// Parked CPUs own no memory: they halt in `wfi` and leave only by group 0 SGI {WAKE_SGI}, which
// nothing but PSCI CPU_ON sends, exactly once per CPU_ON. They are deaf to group 1 meanwhile.

.section .text.reset, "ax"
.global monitor_reset
monitor_reset:
    msr     daifset, #0xf
    adrp    x0, monitor_vectors
    add     x0, x0, :lo12:monitor_vectors
    msr     vbar_el3, x0
    ldr     x0, =0x30c51830             // RES1 bits and I; M, C off
    msr     sctlr_el3, x0
    ldr     x0, ={SCR_SECURE}
    msr     scr_el3, x0
    isb
    mrs     x0, mpidr_el1
    ands    x0, x0, #0xff
    b.ne    monitor_park

    ldr     x1, =monitor_data_start
    ldr     x2, =monitor_data_end
    ldr     x3, =monitor_data_load
1:  cmp     x1, x2
    b.hs    2f
    ldp     x4, x5, [x3], #16
    stp     x4, x5, [x1], #16
    b       1b
2:  ldr     x1, =monitor_bss_start
    ldr     x2, =monitor_bss_end
3:  cmp     x1, x2
    b.hs    4f
    stp     xzr, xzr, [x1], #16
    b       3b
4:  bl      mmu_and_stack
    bl      monitor_primary
    b       .

// Halts this CPU until CPU_ON, then starts it afresh. Never returns. No stack, no memory, MMU on or
// off.
.global monitor_park
monitor_park:
    msr     daifset, #0xf
    mrs     x0, mpidr_el1
    and     x0, x0, #0xff
    cmp     x0, #{MAX_CPUS}
    b.hs    9f
    // Interrupt interface: system registers, group 0 only.
    mov     x1, #0xf
    msr     S3_6_C12_C12_5, x1          // ICC_SRE_EL3
    isb
    msr     S3_6_C12_C12_7, xzr         // ICC_IGRPEN1_EL3: deaf to group 1
    mov     x1, #0xff
    msr     S3_0_C4_C6_0, x1            // ICC_PMR_EL1
    mov     x1, #1
    msr     S3_0_C12_C12_6, x1          // ICC_IGRPEN0_EL1
    isb
    // Redistributor: awake, SGI group 0 (the reset state) and enabled.
    ldr     x2, ={GICR}
    add     x2, x2, x0, lsl #17
    ldr     w3, [x2, #0x14]             // GICR_WAKER
    bic     w3, w3, #2                  // ProcessorSleep
    str     w3, [x2, #0x14]
5:  ldr     w3, [x2, #0x14]
    tbnz    w3, #2, 5b                  // ChildrenAsleep
    add     x2, x2, #0x10000
    mov     w3, #(1 << {WAKE_SGI})
    str     w3, [x2, #0x100]            // GICR_ISENABLER0
    dsb     sy
6:  wfi
    mrs     x1, S3_0_C12_C8_0           // ICC_IAR0_EL1
    cmp     x1, #{WAKE_SGI}
    b.ne    6b
    msr     S3_0_C12_C8_1, x1           // ICC_EOIR0_EL1
    isb
    bl      mmu_and_stack
    bl      monitor_secondary
9:  wfi
    b       9b

// Turns the MMU and caches on and takes this CPU's stack; returns x0 = its context, x1 = its
// number.
mmu_and_stack:
    ldr     x1, =0x04ff                 // 0: normal write-back, 1: device nGnRE
    msr     mair_el3, x1
    ldr     x1, =0x80803520             // 4 GiB, 4 KiB granule, inner shareable write-back
    msr     tcr_el3, x1
    adrp    x1, monitor_l1
    add     x1, x1, :lo12:monitor_l1
    msr     ttbr0_el3, x1
    tlbi    alle3
    dsb     sy
    isb
    ldr     x1, =0x30cd183d             // RES1, WXN, I, SA, C, M
    msr     sctlr_el3, x1
    isb
    mrs     x1, mpidr_el1
    and     x1, x1, #0xff
    ldr     x0, ={STACKS_BASE} + {STACK_STRIDE} - {CONTEXT_SIZE}
    mov     x2, #{STACK_STRIDE}
    madd    x0, x1, x2, x0
    mov     sp, x0
    mov     x29, xzr
    ret
.ltorg
