    .pushsection .text.memory_ops, "ax", %progbits
    // x0: to, x1: from, x2: bytes; returns x0.
    .balign 64
    .global memcpy
    .global tally_copy
memcpy:
tally_copy:
    mov     x3, x0
    subs    x2, x2, #128
    b.lo    10f
8:  ldp     x4, x5, [x1]
    ldp     x6, x7, [x1, #16]
    ldp     x8, x9, [x1, #32]
    ldp     x10, x11, [x1, #48]
    ldp     x12, x13, [x1, #64]
    ldp     x14, x15, [x1, #80]
    stp     x4, x5, [x3]
    stp     x6, x7, [x3, #16]
    ldp     x4, x5, [x1, #96]
    ldp     x6, x7, [x1, #112]
    add     x1, x1, #128
    stp     x8, x9, [x3, #32]
    stp     x10, x11, [x3, #48]
    stp     x12, x13, [x3, #64]
    stp     x14, x15, [x3, #80]
    stp     x4, x5, [x3, #96]
    stp     x6, x7, [x3, #112]
    add     x3, x3, #128
    subs    x2, x2, #128
    b.hs    8b
10: adds    x2, x2, #64
    b.mi    2f
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
    // The low six bits of x2 are those of the rest.
2:  tbz     x2, #5, 3f
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
5:  tst     x2, #7
    b.eq    9f
    tbz     x2, #2, 6f
    ldr     w4, [x1], #4
    str     w4, [x3], #4
6:  tbz     x2, #1, 7f
    ldrh    w4, [x1], #2
    strh    w4, [x3], #2
7:  tbz     x2, #0, 9f
    ldrb    w4, [x1]
    strb    w4, [x3]
9:  ret

    .balign 64
    .global memmove
memmove:
    sub     x4, x0, x1
    cmp     x4, x2
    b.hs    memcpy
    // The target begins inside the source: from the end.
    add     x1, x1, x2
    add     x3, x0, x2
    subs    x2, x2, #32
    b.lo    2f
1:  ldp     x4, x5, [x1, #-16]
    ldp     x6, x7, [x1, #-32]!
    stp     x4, x5, [x3, #-16]
    stp     x6, x7, [x3, #-32]!
    subs    x2, x2, #32
    b.hs    1b
2:  tbz     x2, #4, 3f
    ldp     x4, x5, [x1, #-16]!
    stp     x4, x5, [x3, #-16]!
3:  tbz     x2, #3, 4f
    ldr     x4, [x1, #-8]!
    str     x4, [x3, #-8]!
4:  tbz     x2, #2, 5f
    ldr     w4, [x1, #-4]!
    str     w4, [x3, #-4]!
5:  tbz     x2, #1, 6f
    ldrh    w4, [x1, #-2]!
    strh    w4, [x3, #-2]!
6:  tbz     x2, #0, 7f
    ldrb    w4, [x1, #-1]
    strb    w4, [x3, #-1]
7:  ret

    // x0: to, x1: bytes.
    .balign 64
    .global tally_zero
tally_zero:
    mov     x2, x1
    mov     x1, xzr
    // x0: to, w1: byte, x2: bytes; returns x0.
    .global memset
memset:
    mov     x3, x0
    ands    x1, x1, #0xff
    b.eq    3f
    mov     x4, #0x0101010101010101
    mul     x1, x1, x4
1:  subs    x2, x2, #64
    b.lo    5f
2:  stp     x1, x1, [x3]
    stp     x1, x1, [x3, #16]
    stp     x1, x1, [x3, #32]
    stp     x1, x1, [x3, #48]
    add     x3, x3, #64
    subs    x2, x2, #64
    b.hs    2b
    b       5f
    // Zero: whole lines at once where there are several.
3:  cmp     x2, #256
    b.lo    1b
    mrs     x4, dczid_el0
    cmp     x4, #4
    b.ne    1b
    // 64-byte blocks, allowed. Up to the first block's start:
    stp     xzr, xzr, [x3]
    stp     xzr, xzr, [x3, #16]
    stp     xzr, xzr, [x3, #32]
    stp     xzr, xzr, [x3, #48]
    add     x4, x3, #64
    and     x4, x4, #~63
    sub     x5, x4, x3
    sub     x2, x2, x5
    mov     x3, x4
    subs    x2, x2, #256
    b.lo    12f
4:  dc      zva, x3
    add     x4, x3, #64
    dc      zva, x4
    add     x4, x3, #128
    dc      zva, x4
    add     x4, x3, #192
    dc      zva, x4
    add     x3, x3, #256
    subs    x2, x2, #256
    b.hs    4b
12: adds    x2, x2, #192
    b.lo    5f
13: dc      zva, x3
    add     x3, x3, #64
    subs    x2, x2, #64
    b.hs    13b
5:  tbz     x2, #5, 6f
    stp     x1, x1, [x3]
    stp     x1, x1, [x3, #16]
    add     x3, x3, #32
6:  tbz     x2, #4, 7f
    stp     x1, x1, [x3], #16
7:  tbz     x2, #3, 8f
    str     x1, [x3], #8
8:  tst     x2, #7
    b.eq    9f
    tbz     x2, #2, 10f
    str     w1, [x3], #4
10: tbz     x2, #1, 11f
    strh    w1, [x3], #2
11: tbz     x2, #0, 9f
    strb    w1, [x3]
9:  ret
    .popsection
