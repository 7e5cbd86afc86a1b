// AES (FIPS 197). x0 is a key's fifteen round keys, of which it has the last; w1 its rounds: 10, 12 or 14; x2 blocks, x3 how many,
// at least one. No branch and no address depends on a key or a text.
//
// V8 to V22 are the round keys, V0 to V7 four blocks and what goes with each.
//
// Source: Arm ARM DDI 0487, C7.2 (AESD to AESMC).

.macro load_round_keys
    ld1     {v8.16b, v9.16b, v10.16b, v11.16b}, [x0], #64
    ld1     {v12.16b, v13.16b, v14.16b, v15.16b}, [x0], #64
    ld1     {v16.16b, v17.16b, v18.16b, v19.16b}, [x0], #64
    ld1     {v20.16b, v21.16b, v22.16b}, [x0]
.endm

.macro invert_round_key n
    aesimc  v\n\().16b, v\n\().16b
.endm

// Round keys of the equivalent inverse cipher (FIPS 197, 5.3.5).
.macro invert_round_keys
    .irp n, 13,14,15,16,17,18,19,20,21
    invert_round_key \n
    .endr
    tbz     w1, #2, .Linverted\@
    invert_round_key 11
    invert_round_key 12
    tbz     w1, #1, .Linverted\@
    invert_round_key 9
    invert_round_key 10
.Linverted\@:
.endm

.macro round_of operation, mix, key, block
    \operation v\block\().16b, v\key\().16b
    \mix    v\block\().16b, v\block\().16b
.endm

.macro round operation, mix, key, blocks:vararg
    .irp n, \blocks
    round_of \operation, \mix, \key, \n
    .endr
.endm

.macro last_round_of operation, key, final, block
    \operation v\block\().16b, v\key\().16b
    eor     v\block\().16b, v\block\().16b, v\final\().16b
.endm

.macro last_round operation, key, final, blocks:vararg
    .irp n, \blocks
    last_round_of \operation, \key, \final, \n
    .endr
.endm

.macro encrypt blocks:vararg
    tbz     w1, #2, .Lten\@
    tbz     w1, #1, .Ltwelve\@
    round aese, aesmc, 8, \blocks
    round aese, aesmc, 9, \blocks
.Ltwelve\@:
    round aese, aesmc, 10, \blocks
    round aese, aesmc, 11, \blocks
.Lten\@:
    round aese, aesmc, 12, \blocks
    round aese, aesmc, 13, \blocks
    round aese, aesmc, 14, \blocks
    round aese, aesmc, 15, \blocks
    round aese, aesmc, 16, \blocks
    round aese, aesmc, 17, \blocks
    round aese, aesmc, 18, \blocks
    round aese, aesmc, 19, \blocks
    round aese, aesmc, 20, \blocks
    last_round aese, 21, 22, \blocks
.endm

.macro decrypt blocks:vararg
    round aesd, aesimc, 22, \blocks
    round aesd, aesimc, 21, \blocks
    round aesd, aesimc, 20, \blocks
    round aesd, aesimc, 19, \blocks
    round aesd, aesimc, 18, \blocks
    round aesd, aesimc, 17, \blocks
    round aesd, aesimc, 16, \blocks
    round aesd, aesimc, 15, \blocks
    round aesd, aesimc, 14, \blocks
    tbz     w1, #2, .Lten\@
    round aesd, aesimc, 13, \blocks
    round aesd, aesimc, 12, \blocks
    tbz     w1, #1, .Ltwelve\@
    round aesd, aesimc, 11, \blocks
    round aesd, aesimc, 10, \blocks
    last_round aesd, 9, 8, \blocks
    b       .Ldone\@
.Ltwelve\@:
    last_round aesd, 11, 10, \blocks
    b       .Ldone\@
.Lten\@:
    last_round aesd, 13, 12, \blocks
.Ldone\@:
.endm

// Exclusive or of four registers with others.
.macro combine with0, with1, with2, with3
    eor     v0.16b, v0.16b, v\with0\().16b
    eor     v1.16b, v1.16b, v\with1\().16b
    eor     v2.16b, v2.16b, v\with2\().16b
    eor     v3.16b, v3.16b, v\with3\().16b
.endm

.macro each_block direction
    subs    x3, x3, #4
    b.lo    2f
1:  ld1     {v0.16b, v1.16b, v2.16b, v3.16b}, [x2]
    \direction 0, 1, 2, 3
    st1     {v0.16b, v1.16b, v2.16b, v3.16b}, [x2], #64
    subs    x3, x3, #4
    b.hs    1b
2:  adds    x3, x3, #4
    b.eq    4f
3:  ld1     {v0.16b}, [x2]
    \direction 0
    st1     {v0.16b}, [x2], #16
    subs    x3, x3, #1
    b.ne    3b
4:
.endm

    .pushsection .text, "ax"
    .global tally_aes_encrypt
tally_aes_encrypt:
    begin_section 12
    load_round_keys
    each_block encrypt
    end_section 12

    .global tally_aes_decrypt
tally_aes_decrypt:
    begin_section 12
    load_round_keys
    invert_round_keys
    each_block decrypt
    end_section 12

    // x4: the chain.
    .global tally_aes_cbc_encrypt
tally_aes_cbc_encrypt:
    begin_section 12
    load_round_keys
    ld1     {v0.16b}, [x4]
1:  ld1     {v1.16b}, [x2]
    eor     v0.16b, v0.16b, v1.16b
    encrypt 0
    st1     {v0.16b}, [x2], #16
    subs    x3, x3, #1
    b.ne    1b
    st1     {v0.16b}, [x4]
    end_section 12

    // x4: the chain. The blocks stay.
    .global tally_aes_cbc_mac
tally_aes_cbc_mac:
    begin_section 12
    load_round_keys
    ld1     {v0.16b}, [x4]
1:  ld1     {v1.16b}, [x2], #16
    eor     v0.16b, v0.16b, v1.16b
    encrypt 0
    subs    x3, x3, #1
    b.ne    1b
    st1     {v0.16b}, [x4]
    end_section 12

    // x4: the chain.
    .global tally_aes_cbc_decrypt
tally_aes_cbc_decrypt:
    begin_section 12
    load_round_keys
    invert_round_keys
    ld1     {v23.16b}, [x4]
    subs    x3, x3, #4
    b.lo    2f
1:  ld1     {v0.16b, v1.16b, v2.16b, v3.16b}, [x2]
    ld1     {v4.16b, v5.16b, v6.16b, v7.16b}, [x2]
    decrypt 0, 1, 2, 3
    combine 23, 4, 5, 6
    mov     v23.16b, v7.16b
    st1     {v0.16b, v1.16b, v2.16b, v3.16b}, [x2], #64
    subs    x3, x3, #4
    b.hs    1b
2:  adds    x3, x3, #4
    b.eq    4f
3:  ld1     {v0.16b}, [x2]
    mov     v4.16b, v0.16b
    decrypt 0
    eor     v0.16b, v0.16b, v23.16b
    mov     v23.16b, v4.16b
    st1     {v0.16b}, [x2], #16
    subs    x3, x3, #1
    b.ne    3b
4:  st1     {v23.16b}, [x4]
    end_section 12

// Puts the counter in V23 into \block and makes the next one; V24 is 1.
.macro next_counter block
    rev64   v\block\().16b, v23.16b
    add     v23.2d, v23.2d, v24.2d
.endm

    // x4, x5: the counter's high half and its low one, which does not wrap.
    .global tally_aes_ctr
tally_aes_ctr:
    begin_section 13
    load_round_keys
    fmov    d23, x5
    ins     v23.d[1], x4
    ext     v23.16b, v23.16b, v23.16b, #8
    movi    v24.2d, #0
    mov     x9, #1
    ins     v24.d[1], x9
    subs    x3, x3, #4
    b.lo    2f
1:  next_counter 0
    next_counter 1
    next_counter 2
    next_counter 3
    encrypt 0, 1, 2, 3
    ld1     {v4.16b, v5.16b, v6.16b, v7.16b}, [x2]
    combine 4, 5, 6, 7
    st1     {v0.16b, v1.16b, v2.16b, v3.16b}, [x2], #64
    subs    x3, x3, #4
    b.hs    1b
2:  adds    x3, x3, #4
    b.eq    4f
3:  next_counter 0
    encrypt 0
    ld1     {v4.16b}, [x2]
    eor     v0.16b, v0.16b, v4.16b
    st1     {v0.16b}, [x2], #16
    subs    x3, x3, #1
    b.ne    3b
4:  end_section 13

// Puts the tweak into \register, and makes the next one in x5 and x6.
.macro next_tweak register
    fmov    d\register, x5
    ins     v\register\().d[1], x6
    asr     x9, x6, #63
    and     x9, x9, x10
    extr    x6, x6, x5, #63
    eor     x5, x9, x5, lsl #1
.endm

.macro xts direction
    ldp     x5, x6, [x4]
    mov     x10, #0x87
    subs    x3, x3, #4
    b.lo    2f
1:  next_tweak 4
    next_tweak 5
    next_tweak 6
    next_tweak 7
    ld1     {v0.16b, v1.16b, v2.16b, v3.16b}, [x2]
    combine 4, 5, 6, 7
    \direction 0, 1, 2, 3
    combine 4, 5, 6, 7
    st1     {v0.16b, v1.16b, v2.16b, v3.16b}, [x2], #64
    subs    x3, x3, #4
    b.hs    1b
2:  adds    x3, x3, #4
    b.eq    4f
3:  next_tweak 4
    ld1     {v0.16b}, [x2]
    eor     v0.16b, v0.16b, v4.16b
    \direction 0
    eor     v0.16b, v0.16b, v4.16b
    st1     {v0.16b}, [x2], #16
    subs    x3, x3, #1
    b.ne    3b
4:  stp     x5, x6, [x4]
.endm

    // x4: the tweak.
    .global tally_aes_xts_encrypt
tally_aes_xts_encrypt:
    begin_section 12
    load_round_keys
    xts encrypt
    end_section 12

    // x4: the tweak.
    .global tally_aes_xts_decrypt
tally_aes_xts_decrypt:
    begin_section 12
    load_round_keys
    invert_round_keys
    xts decrypt
    end_section 12

// w5 = each byte of w5 substituted (FIPS 197, 5.2). V1 is zero. Four columns that are the same are so after ShiftRows.
.macro substitute_word
    dup     v0.4s, w5
    aese    v0.16b, v1.16b
    umov    w5, v0.s[0]
.endm

// Words of the schedule, each its predecessor combined with the one a key's length before.
.macro schedule_words count
    .rept \count
    ldr     w6, [x1], #4
    eor     w5, w5, w6
    str     w5, [x0], #4
    .endr
.endm

    // x0: where the round keys go, the key's words first; w2: how many they are, 4, 6 or 8.
    .global tally_aes_schedule
tally_aes_schedule:
    begin_section 2
    movi    v1.2d, #0
    mov     x1, x0
    add     w3, w2, #7                  // round keys
    add     x3, x0, x3, lsl #4
    add     x0, x0, x2, lsl #2
    ldr     w5, [x0, #-4]
    mov     w4, #1
    mov     w7, #0x1b
1:  substitute_word
    eor     w5, w4, w5, ror #8
    lsl     w4, w4, #1
    tst     w4, #0x100
    csel    w4, w7, w4, ne
    schedule_words 4
    cmp     x0, x3
    b.eq    3f
    cmp     w2, #6
    b.lo    1b
    b.eq    2f
    substitute_word
    schedule_words 2
2:  schedule_words 2
    cmp     x0, x3
    b.ne    1b
3:  end_section 2
    .popsection
