// Keccak-f[1600] (FIPS 202, 3.3): x0 the state, 25 lanes, which are V0 to V24.
//
// Source: Arm ARM DDI 0487, C7.2 (BCAX, EOR3, RAX1, XAR).

// \to = the parity of five lanes.
.macro parity to, a, b, c, d, e
    eor3    v\to\().16b, v\a\().16b, v\b\().16b, v\c\().16b
    eor3    v\to\().16b, v\to\().16b, v\d\().16b, v\e\().16b
.endm

// Step chi of a row. Clobbers V25 and V26.
.macro chi a, b, c, d, e
    mov     v25.16b, v\a\().16b
    mov     v26.16b, v\b\().16b
    bcax    v\a\().16b, v\a\().16b, v\c\().16b, v\b\().16b
    bcax    v\b\().16b, v\b\().16b, v\d\().16b, v\c\().16b
    bcax    v\c\().16b, v\c\().16b, v\e\().16b, v\d\().16b
    bcax    v\d\().16b, v\d\().16b, v25.16b, v\e\().16b
    bcax    v\e\().16b, v\e\().16b, v26.16b, v25.16b
.endm

.macro lanes operation
    \operation d0, d1, [x0, #0]
    \operation d2, d3, [x0, #16]
    \operation d4, d5, [x0, #32]
    \operation d6, d7, [x0, #48]
    \operation d8, d9, [x0, #64]
    \operation d10, d11, [x0, #80]
    \operation d12, d13, [x0, #96]
    \operation d14, d15, [x0, #112]
    \operation d16, d17, [x0, #128]
    \operation d18, d19, [x0, #144]
    \operation d20, d21, [x0, #160]
    \operation d22, d23, [x0, #176]
.endm

    .pushsection .text, "ax"
    .global tally_keccak
tally_keccak:
    begin_section 16
    lanes ldp
    ldr     d24, [x0, #192]
    adrp    x9, tally_keccak_constants
    add     x9, x9, :lo12:tally_keccak_constants
    mov     x10, #24
    // Theta: what is combined with columns 0 to 4 comes into V30, V26, V31, V27, V28.
1:  parity 25, 0, 5, 10, 15, 20
    parity 26, 1, 6, 11, 16, 21
    parity 27, 2, 7, 12, 17, 22
    parity 28, 3, 8, 13, 18, 23
    parity 29, 4, 9, 14, 19, 24
    rax1    v30.2d, v29.2d, v26.2d
    rax1    v31.2d, v26.2d, v28.2d
    rax1    v26.2d, v25.2d, v27.2d
    rax1    v27.2d, v27.2d, v29.2d
    rax1    v28.2d, v28.2d, v25.2d
    // With rho and pi, each lane takes the place of the one before in a circle of all but the first.
    eor     v0.16b, v0.16b, v30.16b
    mov     v25.16b, v1.16b
    xar     v1.2d, v6.2d, v26.2d, #20
    xar     v6.2d, v9.2d, v28.2d, #44
    xar     v9.2d, v22.2d, v31.2d, #3
    xar     v22.2d, v14.2d, v28.2d, #25
    xar     v14.2d, v20.2d, v30.2d, #46
    xar     v20.2d, v2.2d, v31.2d, #2
    xar     v2.2d, v12.2d, v31.2d, #21
    xar     v12.2d, v13.2d, v27.2d, #39
    xar     v13.2d, v19.2d, v28.2d, #56
    xar     v19.2d, v23.2d, v27.2d, #8
    xar     v23.2d, v15.2d, v30.2d, #23
    xar     v15.2d, v4.2d, v28.2d, #37
    xar     v4.2d, v24.2d, v28.2d, #50
    xar     v24.2d, v21.2d, v26.2d, #62
    xar     v21.2d, v8.2d, v27.2d, #9
    xar     v8.2d, v16.2d, v26.2d, #19
    xar     v16.2d, v5.2d, v30.2d, #28
    xar     v5.2d, v3.2d, v27.2d, #36
    xar     v3.2d, v18.2d, v27.2d, #43
    xar     v18.2d, v17.2d, v31.2d, #49
    xar     v17.2d, v11.2d, v26.2d, #54
    xar     v11.2d, v7.2d, v31.2d, #58
    xar     v7.2d, v10.2d, v30.2d, #61
    xar     v10.2d, v25.2d, v26.2d, #63
    chi 0, 1, 2, 3, 4
    chi 5, 6, 7, 8, 9
    chi 10, 11, 12, 13, 14
    chi 15, 16, 17, 18, 19
    chi 20, 21, 22, 23, 24
    ldr     d25, [x9], #8
    eor     v0.16b, v0.16b, v25.16b
    subs    x10, x10, #1
    b.ne    1b
    lanes stp
    str     d24, [x0, #192]
    end_section 16
    .popsection

    .pushsection .rodata.tally_crypto, "a"
    .balign 8
tally_keccak_constants:
    .quad   0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000
    .quad   0x000000000000808b, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009
    .quad   0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a
    .quad   0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003
    .quad   0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a
    .quad   0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008
    .popsection
