// SHA-1, SHA-256 and SHA-512 (FIPS 180-4): x0 the state, x1 blocks, x2 how many, at least one.
//
// Source: Arm ARM DDI 0487, C7.2 (SHA1C to SHA512SU1).

// Four rounds. V2 is a to d, \e is e, \next_e becomes that of the next four. \w0 to \w3 are the message, from these rounds on.
.macro sha1_rounds choice, k, e, next_e, w0, w1, w2, w3, last=no
    add     v13.4s, v\w0\().4s, v\k\().4s
    sha1h   s\next_e, s2
    sha1\choice q2, s\e, v13.4s
    .ifc \last, no
    sha1su0 v\w0\().4s, v\w1\().4s, v\w2\().4s
    sha1su1 v\w0\().4s, v\w3\().4s
    .endif
.endm

    .pushsection .text, "ax"
    .global tally_sha1
tally_sha1:
    begin_section 7
    ldr     q0, [x0]
    ldr     s1, [x0, #16]
    adrp    x9, tally_sha1_constants
    add     x9, x9, :lo12:tally_sha1_constants
    ld4r    {v9.4s, v10.4s, v11.4s, v12.4s}, [x9]
1:  ld1     {v5.16b, v6.16b, v7.16b, v8.16b}, [x1], #64
    mov     v2.16b, v0.16b
    mov     v3.16b, v1.16b
    rev32   v5.16b, v5.16b
    rev32   v6.16b, v6.16b
    rev32   v7.16b, v7.16b
    rev32   v8.16b, v8.16b
    sha1_rounds c, 9, 3, 4, 5, 6, 7, 8
    sha1_rounds c, 9, 4, 3, 6, 7, 8, 5
    sha1_rounds c, 9, 3, 4, 7, 8, 5, 6
    sha1_rounds c, 9, 4, 3, 8, 5, 6, 7
    sha1_rounds c, 9, 3, 4, 5, 6, 7, 8
    sha1_rounds p, 10, 4, 3, 6, 7, 8, 5
    sha1_rounds p, 10, 3, 4, 7, 8, 5, 6
    sha1_rounds p, 10, 4, 3, 8, 5, 6, 7
    sha1_rounds p, 10, 3, 4, 5, 6, 7, 8
    sha1_rounds p, 10, 4, 3, 6, 7, 8, 5
    sha1_rounds m, 11, 3, 4, 7, 8, 5, 6
    sha1_rounds m, 11, 4, 3, 8, 5, 6, 7
    sha1_rounds m, 11, 3, 4, 5, 6, 7, 8
    sha1_rounds m, 11, 4, 3, 6, 7, 8, 5
    sha1_rounds m, 11, 3, 4, 7, 8, 5, 6
    sha1_rounds p, 12, 4, 3, 8, 5, 6, 7
    sha1_rounds p, 12, 3, 4, 5, 6, 7, 8, last
    sha1_rounds p, 12, 4, 3, 6, 7, 8, 5, last
    sha1_rounds p, 12, 3, 4, 7, 8, 5, 6, last
    sha1_rounds p, 12, 4, 3, 8, 5, 6, 7, last
    add     v0.4s, v0.4s, v2.4s
    add     v1.4s, v1.4s, v3.4s
    subs    x2, x2, #1
    b.ne    1b
    str     q0, [x0]
    str     s1, [x0, #16]
    end_section 7

// Four rounds with \k, their constants, which it changes. V2 is a to d, V3 is e to h.
.macro sha256_rounds k, w0, w1, w2, w3, last=no
    add     v\k\().4s, v\k\().4s, v\w0\().4s
    mov     v4.16b, v2.16b
    .ifc \last, no
    sha256su0 v\w0\().4s, v\w1\().4s
    .endif
    sha256h q2, q3, v\k\().4s
    sha256h2 q3, q4, v\k\().4s
    .ifc \last, no
    sha256su1 v\w0\().4s, v\w2\().4s, v\w3\().4s
    .endif
.endm

    .global tally_sha256
tally_sha256:
    begin_section 7
    ldp     q0, q1, [x0]
    adrp    x10, tally_sha256_constants
    add     x10, x10, :lo12:tally_sha256_constants
1:  mov     x9, x10
    ld1     {v5.16b, v6.16b, v7.16b, v8.16b}, [x1], #64
    mov     v2.16b, v0.16b
    mov     v3.16b, v1.16b
    rev32   v5.16b, v5.16b
    rev32   v6.16b, v6.16b
    rev32   v7.16b, v7.16b
    rev32   v8.16b, v8.16b
    .rept 3
    ld1     {v9.4s, v10.4s, v11.4s, v12.4s}, [x9], #64
    sha256_rounds 9, 5, 6, 7, 8
    sha256_rounds 10, 6, 7, 8, 5
    sha256_rounds 11, 7, 8, 5, 6
    sha256_rounds 12, 8, 5, 6, 7
    .endr
    ld1     {v9.4s, v10.4s, v11.4s, v12.4s}, [x9]
    sha256_rounds 9, 5, 6, 7, 8, last
    sha256_rounds 10, 6, 7, 8, 5, last
    sha256_rounds 11, 7, 8, 5, 6, last
    sha256_rounds 12, 8, 5, 6, 7, last
    add     v0.4s, v0.4s, v2.4s
    add     v1.4s, v1.4s, v3.4s
    subs    x2, x2, #1
    b.ne    1b
    stp     q0, q1, [x0]
    end_section 7

// Two rounds with \k, their constants. \ab to \gh are the state by twos; \gh becomes the next \ab, \free the next \ef.
.macro sha512_rounds k, ab, cd, ef, gh, free, w0, w1, w4, w5, w7, last
    add     v\k\().2d, v\k\().2d, v\w0\().2d
    ext     v29.16b, v\ef\().16b, v\gh\().16b, #8
    ext     v\k\().16b, v\k\().16b, v\k\().16b, #8
    ext     v30.16b, v\cd\().16b, v\ef\().16b, #8
    add     v\gh\().2d, v\gh\().2d, v\k\().2d
    sha512h q\gh, q29, v30.2d
    add     v\free\().2d, v\cd\().2d, v\gh\().2d
    sha512h2 q\gh, q\cd, v\ab\().2d
    .ifc \last, no
    ext     v31.16b, v\w4\().16b, v\w5\().16b, #8
    sha512su0 v\w0\().2d, v\w1\().2d
    sha512su1 v\w0\().2d, v\w7\().2d, v31.2d
    .endif
.endm

// Eight rounds, of which the message's registers are by their order.
.macro sha512_eight w0, w1, w2, w3, w4, w5, w6, w7, ab, cd, ef, gh, free, last=no
    ld1     {v24.2d, v25.2d, v26.2d, v27.2d}, [x9], #64
    sha512_rounds 24, \ab, \cd, \ef, \gh, \free, \w0, \w1, \w4, \w5, \w7, \last
    sha512_rounds 25, \gh, \ab, \free, \ef, \cd, \w1, \w2, \w5, \w6, \w0, \last
    sha512_rounds 26, \ef, \gh, \cd, \free, \ab, \w2, \w3, \w6, \w7, \w1, \last
    sha512_rounds 27, \free, \ef, \ab, \cd, \gh, \w3, \w4, \w7, \w0, \w2, \last
.endm

    .global tally_sha512
tally_sha512:
    begin_section 16
    ld1     {v0.2d, v1.2d, v2.2d, v3.2d}, [x0]
    adrp    x10, tally_sha512_constants
    add     x10, x10, :lo12:tally_sha512_constants
1:  mov     x9, x10
    ld1     {v16.16b, v17.16b, v18.16b, v19.16b}, [x1], #64
    ld1     {v20.16b, v21.16b, v22.16b, v23.16b}, [x1], #64
    .irp n, 16,17,18,19,20,21,22,23
    rev64   v\n\().16b, v\n\().16b
    .endr
    mov     v4.16b, v0.16b
    mov     v5.16b, v1.16b
    mov     v6.16b, v2.16b
    mov     v7.16b, v3.16b
    sha512_eight 16, 17, 18, 19, 20, 21, 22, 23, 4, 5, 6, 7, 8
    sha512_eight 20, 21, 22, 23, 16, 17, 18, 19, 5, 8, 7, 4, 6
    sha512_eight 16, 17, 18, 19, 20, 21, 22, 23, 8, 6, 4, 5, 7
    sha512_eight 20, 21, 22, 23, 16, 17, 18, 19, 6, 7, 5, 8, 4
    sha512_eight 16, 17, 18, 19, 20, 21, 22, 23, 7, 4, 8, 6, 5
    sha512_eight 20, 21, 22, 23, 16, 17, 18, 19, 4, 5, 6, 7, 8
    sha512_eight 16, 17, 18, 19, 20, 21, 22, 23, 5, 8, 7, 4, 6
    sha512_eight 20, 21, 22, 23, 16, 17, 18, 19, 8, 6, 4, 5, 7
    sha512_eight 16, 17, 18, 19, 20, 21, 22, 23, 6, 7, 5, 8, 4, last
    sha512_eight 20, 21, 22, 23, 16, 17, 18, 19, 7, 4, 8, 6, 5, last
    add     v0.2d, v0.2d, v4.2d
    add     v1.2d, v1.2d, v5.2d
    add     v2.2d, v2.2d, v6.2d
    add     v3.2d, v3.2d, v7.2d
    subs    x2, x2, #1
    b.ne    1b
    st1     {v0.2d, v1.2d, v2.2d, v3.2d}, [x0]
    end_section 16
    .popsection

    .pushsection .rodata.tally_crypto, "a"
    .balign 16
tally_sha1_constants:
    .word   0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6
tally_sha256_constants:                 // by twos, the first one below
    .quad   0x71374491428a2f98, 0xe9b5dba5b5c0fbcf, 0x59f111f13956c25b, 0xab1c5ed5923f82a4
    .quad   0x12835b01d807aa98, 0x550c7dc3243185be, 0x80deb1fe72be5d74, 0xc19bf1749bdc06a7
    .quad   0xefbe4786e49b69c1, 0x240ca1cc0fc19dc6, 0x4a7484aa2de92c6f, 0x76f988da5cb0a9dc
    .quad   0xa831c66d983e5152, 0xbf597fc7b00327c8, 0xd5a79147c6e00bf3, 0x1429296706ca6351
    .quad   0x2e1b213827b70a85, 0x53380d134d2c6dfc, 0x766a0abb650a7354, 0x92722c8581c2c92e
    .quad   0xa81a664ba2bfe8a1, 0xc76c51a3c24b8b70, 0xd6990624d192e819, 0x106aa070f40e3585
    .quad   0x1e376c0819a4c116, 0x34b0bcb52748774c, 0x4ed8aa4a391c0cb3, 0x682e6ff35b9cca4f
    .quad   0x78a5636f748f82ee, 0x8cc7020884c87814, 0xa4506ceb90befffa, 0xc67178f2bef9a3f7
tally_sha512_constants:
    .quad   0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc
    .quad   0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118
    .quad   0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2
    .quad   0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694
    .quad   0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65
    .quad   0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5
    .quad   0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4
    .quad   0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70
    .quad   0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df
    .quad   0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b
    .quad   0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30
    .quad   0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8
    .quad   0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8
    .quad   0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3
    .quad   0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec
    .quad   0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b
    .quad   0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178
    .quad   0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b
    .quad   0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c
    .quad   0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817
    .popsection
