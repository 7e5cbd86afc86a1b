// memcpy, memmove and memset for EL0, 64 octets an iteration, general registers only.
// They take the place of compiler_builtins' weak ones. Unaligned accesses are allowed at EL0.

    .section .text.memcpy, "ax", %progbits
    .globl memcpy
    .type memcpy, %function
    .balign 16
memcpy:
    // Loads of a chunk come before its stores, so this is also a forward memmove.
    mov     x3, x0
    subs    x2, x2, #64
    b.lo    2f
1:  ldp     x4, x5, [x1]
    ldp     x6, x7, [x1, #16]
    ldp     x8, x9, [x1, #32]
    ldp     x10, x11, [x1, #48]
    add     x1, x1, #64
    stp     x4, x5, [x3]
    stp     x6, x7, [x3, #16]
    stp     x8, x9, [x3, #32]
    stp     x10, x11, [x3, #48]
    add     x3, x3, #64
    subs    x2, x2, #64
    b.hs    1b
2:  // x2 = what is left - 64: its low six bits are what is left.
    tbz     x2, #5, 3f
    ldp     x4, x5, [x1]
    ldp     x6, x7, [x1, #16]
    add     x1, x1, #32
    stp     x4, x5, [x3]
    stp     x6, x7, [x3, #16]
    add     x3, x3, #32
3:  tbz     x2, #4, 4f
    ldp     x4, x5, [x1], #16
    stp     x4, x5, [x3], #16
4:  tbz     x2, #3, 5f
    ldr     x4, [x1], #8
    str     x4, [x3], #8
5:  tbz     x2, #2, 6f
    ldr     w4, [x1], #4
    str     w4, [x3], #4
6:  tbz     x2, #1, 7f
    ldrh    w4, [x1], #2
    strh    w4, [x3], #2
7:  tbz     x2, #0, 8f
    ldrb    w4, [x1]
    strb    w4, [x3]
8:  ret
    .size memcpy, . - memcpy

    .section .text.memmove, "ax", %progbits
    .globl memmove
    .type memmove, %function
    .balign 16
memmove:
    sub     x3, x0, x1
    cmp     x3, x2
    b.hs    memcpy                  // Destination below the source, or no overlap.
    add     x1, x1, x2
    add     x3, x0, x2
    subs    x2, x2, #64
    b.lo    2f
1:  ldp     x4, x5, [x1, #-16]
    ldp     x6, x7, [x1, #-32]
    ldp     x8, x9, [x1, #-48]
    ldp     x10, x11, [x1, #-64]
    sub     x1, x1, #64
    stp     x4, x5, [x3, #-16]
    stp     x6, x7, [x3, #-32]
    stp     x8, x9, [x3, #-48]
    stp     x10, x11, [x3, #-64]
    sub     x3, x3, #64
    subs    x2, x2, #64
    b.hs    1b
2:  tbz     x2, #5, 3f
    ldp     x4, x5, [x1, #-16]
    ldp     x6, x7, [x1, #-32]
    sub     x1, x1, #32
    stp     x4, x5, [x3, #-16]
    stp     x6, x7, [x3, #-32]
    sub     x3, x3, #32
3:  tbz     x2, #4, 4f
    ldp     x4, x5, [x1, #-16]!
    stp     x4, x5, [x3, #-16]!
4:  tbz     x2, #3, 5f
    ldr     x4, [x1, #-8]!
    str     x4, [x3, #-8]!
5:  tbz     x2, #2, 6f
    ldr     w4, [x1, #-4]!
    str     w4, [x3, #-4]!
6:  tbz     x2, #1, 7f
    ldrh    w4, [x1, #-2]!
    strh    w4, [x3, #-2]!
7:  tbz     x2, #0, 8f
    ldrb    w4, [x1, #-1]
    strb    w4, [x3, #-1]
8:  ret
    .size memmove, . - memmove

    .section .text.memset, "ax", %progbits
    .globl memset
    .type memset, %function
    .balign 16
memset:
    mov     x3, x0
    and     x4, x1, #0xff
    mov     x5, #0x0101010101010101
    mul     x4, x4, x5
    subs    x2, x2, #64
    b.lo    2f
1:  stp     x4, x4, [x3]
    stp     x4, x4, [x3, #16]
    stp     x4, x4, [x3, #32]
    stp     x4, x4, [x3, #48]
    add     x3, x3, #64
    subs    x2, x2, #64
    b.hs    1b
2:  tbz     x2, #5, 3f
    stp     x4, x4, [x3]
    stp     x4, x4, [x3, #16]
    add     x3, x3, #32
3:  tbz     x2, #4, 4f
    stp     x4, x4, [x3], #16
4:  tbz     x2, #3, 5f
    str     x4, [x3], #8
5:  tbz     x2, #2, 6f
    str     w4, [x3], #4
6:  tbz     x2, #1, 7f
    strh    w4, [x3], #2
7:  tbz     x2, #0, 8f
    strb    w4, [x3]
8:  ret
    .size memset, . - memset
