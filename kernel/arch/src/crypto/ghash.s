// GHASH (SP 800-38D, 6.4): multiplication of polynomials modulo x^128 + x^7 + x^2 + x + 1. With the bits of each byte in the other
// order, a block's bits are coefficients from the lowest one on.
//
// Source: Arm ARM DDI 0487, C7.2 (PMULL, PMULL2).

// V13 to V15, low, middle and high, += \block * \power; \swapped has its halves swapped. \first starts with nothing.
.macro multiply block, power, swapped, first
    .ifnb \first
    pmull   v13.1q, v\block\().1d, v\power\().1d
    pmull2  v15.1q, v\block\().2d, v\power\().2d
    pmull   v14.1q, v\block\().1d, v\swapped\().1d
    pmull2  v16.1q, v\block\().2d, v\swapped\().2d
    eor     v14.16b, v14.16b, v16.16b
    .else
    pmull   v16.1q, v\block\().1d, v\power\().1d
    pmull2  v18.1q, v\block\().2d, v\power\().2d
    eor     v13.16b, v13.16b, v16.16b
    eor     v15.16b, v15.16b, v18.16b
    pmull   v16.1q, v\block\().1d, v\swapped\().1d
    pmull2  v18.1q, v\block\().2d, v\swapped\().2d
    eor     v14.16b, v14.16b, v16.16b
    eor     v14.16b, v14.16b, v18.16b
    .endif
.endm

// \to = V13 to V15 reduced. V17 is x^7 + x^2 + x + 1 twice, V19 zero.
.macro reduce to
    ext     v16.16b, v19.16b, v14.16b, #8
    ext     v18.16b, v14.16b, v19.16b, #8
    eor     v13.16b, v13.16b, v16.16b
    eor     v15.16b, v15.16b, v18.16b
    pmull2  v16.1q, v15.2d, v17.2d
    ext     v18.16b, v19.16b, v16.16b, #8
    ext     v16.16b, v16.16b, v19.16b, #8
    eor     v13.16b, v13.16b, v18.16b
    eor     v15.16b, v15.16b, v16.16b
    pmull   v16.1q, v15.1d, v17.1d
    eor     v\to\().16b, v13.16b, v16.16b
.endm

.macro constants
    mov     x9, #0x87
    dup     v17.2d, x9
    movi    v19.2d, #0
.endm

    .pushsection .text, "ax"
    // x0: the key, followed by room for its powers 2 to 4; all have the bits of each byte in the other order afterwards.
    .global tally_ghash_powers
tally_ghash_powers:
    begin_section 10
    constants
    ldr     q5, [x0]
    rbit    v5.16b, v5.16b
    ext     v9.16b, v5.16b, v5.16b, #8
    multiply 5, 5, 9, first
    reduce 6
    multiply 6, 5, 9, first
    reduce 7
    multiply 7, 5, 9, first
    reduce 8
    st1     {v5.16b, v6.16b, v7.16b, v8.16b}, [x0]
    end_section 10

    // x0: a key's powers, x1: the hash, x2: blocks, x3: how many, at least one.
    .global tally_ghash
tally_ghash:
    begin_section 10
    constants
    ld1     {v5.16b, v6.16b, v7.16b, v8.16b}, [x0]
    ldr     q4, [x1]
    ext     v9.16b, v5.16b, v5.16b, #8
    rbit    v4.16b, v4.16b
    subs    x3, x3, #4
    b.lo    2f
    ext     v10.16b, v6.16b, v6.16b, #8
    ext     v11.16b, v7.16b, v7.16b, #8
    ext     v12.16b, v8.16b, v8.16b, #8
1:  ld1     {v0.16b, v1.16b, v2.16b, v3.16b}, [x2], #64
    rbit    v0.16b, v0.16b
    rbit    v1.16b, v1.16b
    rbit    v2.16b, v2.16b
    rbit    v3.16b, v3.16b
    eor     v0.16b, v0.16b, v4.16b
    multiply 0, 8, 12, first
    multiply 1, 7, 11
    multiply 2, 6, 10
    multiply 3, 5, 9
    reduce 4
    subs    x3, x3, #4
    b.hs    1b
2:  adds    x3, x3, #4
    b.eq    4f
3:  ld1     {v0.16b}, [x2], #16
    rbit    v0.16b, v0.16b
    eor     v0.16b, v0.16b, v4.16b
    multiply 0, 5, 9, first
    reduce 4
    subs    x3, x3, #1
    b.ne    3b
4:  rbit    v4.16b, v4.16b
    str     q4, [x1]
    end_section 10
    .popsection

    .arch_extension nosha3
    .arch_extension nosha2
    .arch_extension noaes
    .arch_extension nosimd
    .arch_extension nofp
