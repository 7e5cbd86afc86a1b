//! Hostile calls of cryptography: handles that are its own, gone or nobody's, with attributes and texts of any words.

use crate::ta::{place, raw};
use crate::words;
use core::sync::atomic::{AtomicU32, Ordering};
use ta_runtime::abi::crypto::{UteeAttribute, algorithm, attribute, object_type};
use ta_runtime::abi::ta::svc;
use ta_uuids::hostile::Random;

/// Objects and states that it was given.
static OBJECTS: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];
static STATES: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];

const TYPES: [u32; 8] = [
    object_type::AES,
    object_type::AES,
    object_type::DES3,
    object_type::HMAC_SHA256,
    object_type::GENERIC_SECRET,
    object_type::RSA_KEYPAIR,
    object_type::ECDSA_KEYPAIR,
    object_type::DATA,
];
const BITS: [u64; 8] = [0, 64, 128, 192, 256, 512, 1024, 4096];
const ALGORITHMS: [u32; 16] = [
    algorithm::SHA256,
    algorithm::SHA256,
    algorithm::SHAKE128,
    algorithm::SM3,
    algorithm::HMAC_SHA256,
    algorithm::AES_CMAC,
    algorithm::AES_CBC_MAC_PKCS5,
    algorithm::AES_ECB_NOPAD,
    algorithm::AES_CBC_NOPAD,
    algorithm::AES_CTR,
    algorithm::AES_CTS,
    algorithm::AES_XTS,
    algorithm::DES3_CBC_NOPAD,
    algorithm::AES_CCM,
    algorithm::AES_GCM,
    algorithm::RSA_NOPAD,
];
const ATTRIBUTES: [u32; 8] = [
    attribute::SECRET_VALUE,
    attribute::SECRET_VALUE,
    attribute::SECRET_VALUE,
    attribute::RSA_MODULUS,
    attribute::RSA_PUBLIC_EXPONENT,
    attribute::RSA_PRIVATE_EXPONENT,
    attribute::ECC_CURVE,
    attribute::ECC_PRIVATE_VALUE,
];
/// Lengths that fit keys, blocks, nonces and tags.
const LENGTHS: [u64; 8] = [8, 12, 16, 16, 24, 32, 100, 512];
/// Calls with a state, and an object.
const OF_STATES: [u64; 12] = [
    svc::HASH_INIT,
    svc::HASH_UPDATE,
    svc::HASH_FINAL,
    svc::CIPHER_INIT,
    svc::CIPHER_UPDATE,
    svc::CIPHER_FINAL,
    svc::AUTHENC_INIT,
    svc::AUTHENC_UPDATE_AAD,
    svc::AUTHENC_UPDATE_PAYLOAD,
    svc::AUTHENC_ENC_FINAL,
    svc::AUTHENC_DEC_FINAL,
    svc::CRYP_STATE_COPY,
];
const OF_OBJECTS: [u64; 6] = [
    svc::CRYP_OBJ_GET_INFO,
    svc::CRYP_OBJ_GET_ATTR,
    svc::CRYP_OBJ_RESTRICT_USAGE,
    svc::CRYP_OBJ_RESET,
    svc::CRYP_OBJ_COPY,
    svc::CRYP_OBJ_GENERATE_KEY,
];

fn handle(random: &mut Random, of: &[AtomicU32; 8]) -> u64 {
    match random.below(16) {
        0 => words::word(random),
        1 => 0,
        _ => u64::from(of[random.below(8) as usize].load(Ordering::Relaxed)),
    }
}

fn length(random: &mut Random) -> u64 {
    if random.once_in(6) {
        words::size(random)
    } else {
        random.pick(&LENGTHS, 16)
    }
}

/// A call that gives a handle, which takes another one's place.
fn take(random: &mut Random, of: &[AtomicU32; 8], number: u64, mut args: [u64; 8], out: usize) {
    let mut given = 0_u32;
    args[out] = place(random, &raw mut given as u64);
    if raw(number, args) == 0 {
        of[random.below(8) as usize].store(given, Ordering::Relaxed);
    }
}

/// One call.
pub(crate) fn step(random: &mut Random) {
    let mut args: [u64; 8] = core::array::from_fn(|_| words::word(random));
    match random.below(16) {
        0..2 => {
            args[0] = u64::from(random.pick(&TYPES, object_type::AES));
            args[1] = random.pick(&BITS, 128);
            take(random, &OBJECTS, svc::CRYP_OBJ_ALLOC, args, 2);
        }
        2..5 => {
            let attributes: [UteeAttribute; 3] = core::array::from_fn(|_| UteeAttribute {
                a: words::address(random),
                b: length(random),
                id: random.pick(&ATTRIBUTES, attribute::SECRET_VALUE),
                padding: 0,
            });
            args[0] = handle(random, &OBJECTS);
            args[1] = place(random, attributes.as_ptr() as u64);
            args[2] = random.pick(&[1, 1, 1, 2, 3], 1);
            raw(svc::CRYP_OBJ_POPULATE, args);
        }
        5..7 => {
            args[0] = u64::from(random.pick(&ALGORITHMS, algorithm::SHA256));
            args[1] = random.below(3);
            let keys = random.below(4).min(2);
            args[2] = if keys > 0 {
                handle(random, &OBJECTS)
            } else {
                0
            };
            args[3] = if keys > 1 {
                handle(random, &OBJECTS)
            } else {
                0
            };
            take(random, &STATES, svc::CRYP_STATE_ALLOC, args, 4);
        }
        7..12 => {
            let number = random.pick(&OF_STATES, svc::HASH_INIT);
            let mut room = length(random);
            args[0] = handle(random, &STATES);
            args[2] = length(random);
            match number {
                svc::CRYP_STATE_COPY => args[1] = handle(random, &STATES),
                svc::AUTHENC_INIT => args[3] = random.pick(&[4, 12, 16, 17], 16),
                _ => args[4] = place(random, &raw mut room as u64),
            }
            raw(number, args);
        }
        12..14 => {
            let number = random.pick(&OF_OBJECTS, svc::CRYP_OBJ_RESET);
            args[0] = handle(random, &OBJECTS);
            match number {
                svc::CRYP_OBJ_COPY => args[1] = handle(random, &OBJECTS),
                svc::CRYP_OBJ_GENERATE_KEY => {
                    args[1] = random.pick(&BITS, 128);
                    args[3] = random.below(2);
                }
                _ => {}
            }
            raw(number, args);
        }
        14 => {
            args[0] = handle(random, &OBJECTS);
            raw(svc::CRYP_OBJ_CLOSE, args);
        }
        _ => {
            args[0] = handle(random, &STATES);
            raw(svc::CRYP_STATE_FREE, args);
        }
    }
}
