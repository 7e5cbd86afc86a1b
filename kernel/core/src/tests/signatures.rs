//! Signatures, by the formulas of RFC 8017 and with one thing wrong at a time.

pub(super) mod openssl;

use super::MULTI;
use crate::ta::load::image::{self, Refusal, Trust};
use crate::ta::load::rsa::{DIGEST_LEN, PublicKey};
use crate::testing::held::HeldImage;
use crate::testing::signing::{TRUST, bytes_of};
use crate::testing::world::{KEY, MODULUS, MODULUS_LEN, sign_encoded, signed_image};
use crypto_bigint::U2048;
use sha2::{Digest, Sha256};
use tally_abi::TeeResult;
use tally_abi::image::ImageFault;
use tally_abi::shdr::algo;

const PSS: u32 = algo::RSASSA_PKCS1_PSS_MGF1_SHA256;
const PKCS: u32 = algo::RSASSA_PKCS1_V1_5_SHA256;
const DIGEST: [u8; DIGEST_LEN] = [0x3c; DIGEST_LEN];
/// Bytes of an encoded message before its hash and its last byte.
const DB_LEN: usize = MODULUS_LEN - DIGEST_LEN - 1;

/// EMSA-PSS-ENCODE (RFC 8017 §9.1.1); `change` is made to the data block before it is masked.
fn pss(salt: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let hash = Sha256::new()
        .chain_update([0; 8])
        .chain_update(DIGEST)
        .chain_update(salt)
        .finalize();
    let mut encoded = vec![0; DB_LEN];
    encoded[DB_LEN - salt.len() - 1] = 1;
    encoded[DB_LEN - salt.len()..].copy_from_slice(salt);
    change(&mut encoded);
    for (counter, chunk) in (0_u32..).zip(encoded.chunks_mut(DIGEST_LEN)) {
        let mask = Sha256::new()
            .chain_update(hash)
            .chain_update(counter.to_be_bytes())
            .finalize();
        chunk
            .iter_mut()
            .zip(mask)
            .for_each(|(byte, mask)| *byte ^= mask);
    }
    encoded[0] &= 0x7f;
    encoded.extend_from_slice(&hash);
    encoded.push(0xbc);
    encoded
}

fn is_taken(algorithm: u32, encoded: &[u8]) -> bool {
    KEY.verifies(algorithm, &DIGEST, &sign_encoded(encoded))
}

/// EMSA-PKCS1-v1_5 (RFC 8017 §9.2).
fn pkcs() -> Vec<u8> {
    let info = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
        0x05, 0x00, 0x04, 0x20,
    ];
    let mut encoded = vec![0xff; MODULUS_LEN];
    let info_at = MODULUS_LEN - DIGEST_LEN - info.len();
    encoded[0] = 0;
    encoded[1] = 1;
    encoded[info_at - 1] = 0;
    encoded[info_at..MODULUS_LEN - DIGEST_LEN].copy_from_slice(&info);
    encoded[MODULUS_LEN - DIGEST_LEN..].copy_from_slice(&DIGEST);
    encoded
}

#[test]
fn a_signature_of_either_kind_is_the_keys_and_of_no_other_digest() {
    for salt in [0, 1, 20, 32, DB_LEN - 1] {
        let encoded = pss(&vec![0xa5; salt], |_| ());
        assert!(is_taken(PSS, &encoded), "salt of {salt} bytes");
        assert!(!is_taken(PKCS, &encoded));
        assert!(!is_taken(0, &encoded));
        let signature = sign_encoded(&encoded);
        assert!(!KEY.verifies(PSS, &[0x3d; DIGEST_LEN], &signature));
    }
    assert!(is_taken(PKCS, &pkcs()));
    assert!(!is_taken(PSS, &pkcs()));
    let signature = sign_encoded(&pkcs());
    assert!(!KEY.verifies(PKCS, &[0x3d; DIGEST_LEN], &signature));
}

#[test]
fn an_encoded_message_with_one_thing_wrong_is_refused() {
    let salt = [0xa5; 32];
    let one = DB_LEN - salt.len() - 1;
    for (at, value) in [
        (one, 2),
        (one, 0),
        (one - 1, 2),
        (40, 1),
        (0, 0x40),
        (one + 1, 0),
    ] {
        let encoded = pss(&salt, |db| db[at] = value);
        assert!(
            !is_taken(PSS, &encoded),
            "{value} at {at} of the data block"
        );
    }
    assert!(!is_taken(PSS, &pss(&salt, |db| db.fill(0))), "no salt");
    let good = pss(&salt, |_| ());
    for at in [1, DB_LEN - 1, DB_LEN, MODULUS_LEN - 2, MODULUS_LEN - 1] {
        let mut encoded = good.clone();
        encoded[at] ^= 1;
        assert!(!is_taken(PSS, &encoded), "byte {at}");
    }
    // The highest bit, which no mask may leave: of a message that is less than the modulus still.
    let low = (0..=u8::MAX)
        .map(|n| pss(&[n; 32], |_| ()))
        .find(|encoded| encoded[0] < 0x10);
    let mut high = low.unwrap();
    assert!(is_taken(PSS, &high));
    high[0] |= 0x80;
    assert!(!is_taken(PSS, &high));
    for at in [0, 1, 2, 203, 204, 205, 223, 224, MODULUS_LEN - 1] {
        let mut encoded = pkcs();
        encoded[at] ^= 2;
        assert!(!is_taken(PKCS, &encoded), "byte {at}");
    }
}

#[test]
fn a_signature_has_the_length_of_the_modulus_and_is_less() {
    // One that stays as long when the modulus is added to it, which changes nothing of its powers.
    let low = (0..=u8::MAX)
        .map(|n| sign_encoded(&pss(&[n; 32], |_| ())))
        .find(|signature| signature[0] < 0x60);
    let low = low.unwrap();
    assert!(KEY.verifies(PSS, &DIGEST, &low));
    let sum = U2048::from_be_slice(&low).wrapping_add(&MODULUS);
    let sum = sum.to_be_bytes();
    assert!(!KEY.verifies(PSS, &DIGEST, sum.as_ref()));
    assert!(!KEY.verifies(PSS, &DIGEST, MODULUS.to_be_bytes().as_ref()));
    assert!(!KEY.verifies(PSS, &DIGEST, &low[1..]));
    assert!(!KEY.verifies(PSS, &DIGEST, &[&[0], &low[..]].concat()));
    assert!(!KEY.verifies(PSS, &DIGEST, &[]));
}

#[test]
fn a_kernel_without_a_key_refuses_what_any_key_signed() {
    let image = signed_image(MULTI, &[0; 64]);
    let [longer, modulus] = [openssl::RSA_4096, openssl::RSA_3072].map(|key| key[0]);
    let longer = PublicKey::from_modulus(&bytes(longer)).unwrap();
    let other = PublicKey::from_modulus(&bytes(modulus)).unwrap();
    let verify = |keys: &[&PublicKey]| {
        let trust = Trust { keys, ..TRUST };
        image::verify(&HeldImage::new(&image), MULTI, trust, |_, _, _| Ok(()))
    };
    assert!(verify(&[KEY]).is_ok());
    // Whichever of several it is.
    assert!(verify(&[&longer, KEY, &other]).is_ok());
    assert_eq!(
        verify(&[&longer, &other]),
        Err(Refusal::Image(ImageFault::Signature))
    );
    assert_eq!(verify(&[]), Err(Refusal::Image(ImageFault::NoKey)));
    assert_eq!(TeeResult::from(ImageFault::NoKey), TeeResult::SECURITY);
}

#[test]
fn a_modulus_is_odd_and_has_the_bits_that_its_words_have() {
    let is_taken = |modulus: &[u8]| PublicKey::from_modulus(modulus).is_some();
    // No small number divides it.
    let mut good = [0xc5; MODULUS_LEN];
    good[MODULUS_LEN - 1] = 0x13;
    assert!(is_taken(&good));
    for (place, byte) in [(0, 0x45), (0, 0), (MODULUS_LEN - 1, 0xc4)] {
        let mut bad = good;
        bad[place] = byte;
        assert!(!is_taken(&bad), "{place}");
    }
    // The stand-in that anybody can factor, as erased flash has it.
    assert!(!is_taken(&[0xff; MODULUS_LEN]));
    assert!(!is_taken(&[0xc5; MODULUS_LEN]));
    for len in [0, 1, 128, MODULUS_LEN - 1, MODULUS_LEN + 1, 512] {
        assert!(!is_taken(&vec![0xc5; len]), "{len}");
    }
    // Neither shorter ones nor longer ones than the limits.
    let modulus = bytes(openssl::RSA_4096[0]);
    assert!(PublicKey::from_modulus(&modulus[..248]).is_none());
    let longer = [&modulus[..], &modulus[504..]].concat();
    assert!(PublicKey::from_modulus(&longer).is_none());
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// Checks what OpenSSL signed.
fn check([modulus, pkcs, pss]: [&str; 3]) {
    let key = PublicKey::from_modulus(&bytes(modulus)).unwrap();
    for (algorithm, other, signature) in [(PKCS, PSS, pkcs), (PSS, PKCS, pss)] {
        let signature = bytes(signature);
        assert!(key.verifies(algorithm, &DIGEST, &signature));
        assert!(!key.verifies(other, &DIGEST, &signature));
        assert!(!key.verifies(algorithm, &[0x3d; DIGEST_LEN], &signature));
        assert!(!key.verifies(algorithm, &DIGEST, &signature[1..]));
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut wrong = signature.clone();
            wrong[at] ^= 1;
            assert!(!key.verifies(algorithm, &DIGEST, &wrong), "{at}");
        }
    }
}

/// The longest key, made by the compiler as those of a kernel's build are.
static LONGEST: Option<PublicKey> = PublicKey::from_modulus(&bytes_of::<512>(openssl::RSA_4096[0]));

#[test]
fn keys_of_3072_and_4096_bits_sign_as_openssl_does() {
    let signature = bytes(openssl::RSA_4096[1]);
    let longest = LONGEST.as_ref().unwrap();
    assert!(longest.verifies(PKCS, &DIGEST, &signature));
    check(openssl::RSA_3072);
    check(openssl::RSA_4096);
}
