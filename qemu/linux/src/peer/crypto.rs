//! Cryptography of OP-TEE's test TA `crypto_perf`: the same TA calls the secure world for each piece.
//!
//! Source: optee_test 4.5 `ta/crypto_perf/{include/ta_crypto_perf.h,ta_crypto_perf.c}`.

use tally_abi::TeeUuid;
use teec::{Context, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue, Session};

use crate::bench::{self, Outcome};
use crate::measures::measure_in_pieces;
use crate::results::Results;

const TA: TeeUuid = TeeUuid::from_u128(0x02a42f43_d8b7_4a57_aa4d_87bd9b5587cb);
/// `(value in: a = 0 to encrypt, b = bits of the key; value in: a = mode)`.
const CMD_CIPHER_PREPARE: u32 = 0;
/// `(memref inout, memref inout, value in: a = times, b = bytes of a piece)`.
const CMD_CIPHER_PROCESS: u32 = 1;
/// `(value in: a = algorithm)`.
const CMD_HASH_PREPARE: u32 = 3;
/// `(memref in, memref out, value in: a = times, b = offset)`.
const CMD_HASH_PROCESS: u32 = 4;
/// `(value in: a = algorithm, b = bits; value in: a = mode)`.
const CMD_PAIR_PREPARE: u32 = 5;
/// `(memref inout)`: attributes that are told, packed: how many, and of each its identifier and two values.
const CMD_PAIR_ATTRIBUTES: u32 = 9;
/// `(value in: a = bits, b = times)`.
const CMD_PAIR_GENERATE: u32 = 10;

/// Digests and codes: name, `TA_SHA_*` or `TA_HMAC_*`.
const HASHES: &[(&str, u32)] = &[("sha256", 2), ("sha512", 4), ("hmac_sha256", 8)];
/// Ciphers: name, `TA_AES_*`, bits.
const CIPHERS: &[(&str, u32, u32)] = &[
    ("aes128_ecb", 0, 128),
    ("aes128_ctr", 2, 128),
    ("aes128_gcm", 4, 128),
    ("aes256_gcm", 4, 256),
];
/// New pairs of keys: name, `ALGO_*`, bits, and the curve that some are told.
const PAIRS: &[(&str, u32, u32, Option<u32>)] = &[
    ("p256_new_pair", 3, 256, Some(TEE_ECC_CURVE_NIST_P256)),
    ("x25519_new_pair", 5, 256, None),
];
/// The curve of a pair, and one of them (GPD_SPE_010 6.10, table 6-11 and 6-14).
const TEE_ATTR_ECC_CURVE: u32 = 0xf000_0441;
const TEE_ECC_CURVE_NIST_P256: u32 = 3;
/// Sizes of what is worked on at once.
const SIZES: &[(&str, usize)] = &[("16", 16), ("1k", 1024), ("64k", 65536)];
/// Longest result: a digest, with room.
const RESULT: usize = 128;

/// Measures all of it.
pub(super) fn run(results: &mut Results, context: &Context<'_>) -> Outcome {
    for &(name, algorithm) in HASHES {
        let mut session = bench::open(context, TA)?;
        invoke(
            &mut session,
            CMD_HASH_PREPARE,
            value(algorithm, 0),
            ParamNone,
            ParamNone,
        )?;
        for &(size, bytes) in SIZES {
            hash(results, &mut session, &format!("{name}_{size}"), bytes)?;
        }
        session.close().map_err(|error| error.to_string())?;
    }
    for &(name, mode, bits) in CIPHERS {
        for &(size, bytes) in SIZES {
            let mut session = bench::open(context, TA)?;
            let (key, mode) = (value(0, bits), value(mode, 0));
            invoke(&mut session, CMD_CIPHER_PREPARE, key, mode, ParamNone)?;
            cipher(results, &mut session, &format!("{name}_{size}"), bytes)?;
            session.close().map_err(|error| error.to_string())?;
        }
    }
    for &(name, algorithm, bits, curve) in PAIRS {
        let mut session = bench::open(context, TA)?;
        let of = value(algorithm, bits);
        invoke(&mut session, CMD_PAIR_PREPARE, of, value(0, 0), ParamNone)?;
        if let Some(curve) = curve {
            let mut told = [1, TEE_ATTR_ECC_CURVE, curve, 0]
                .map(u32::to_le_bytes)
                .concat();
            let told = ParamTmpRef::new_inout(&mut told);
            invoke(
                &mut session,
                CMD_PAIR_ATTRIBUTES,
                told,
                ParamNone,
                ParamNone,
            )?;
        }
        let pieces = 4;
        measure_in_pieces(results, name, (1, pieces), || {
            invoke(
                &mut session,
                CMD_PAIR_GENERATE,
                value(bits, pieces),
                ParamNone,
                ParamNone,
            )
        })?;
        session.close().map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// As many pieces as make the way to the TA small beside them.
const fn pieces(bytes: usize) -> u32 {
    if bytes < 4096 { 64 } else { 2 }
}

fn hash(results: &mut Results, session: &mut Session<'_>, name: &str, bytes: usize) -> Outcome {
    let (from, mut to) = (vec![7; bytes], [0; RESULT]);
    let pieces = pieces(bytes);
    measure_in_pieces(results, name, (1, pieces), || {
        let from = ParamTmpRef::new_input(&from);
        let to = ParamTmpRef::new_output(&mut to);
        invoke(session, CMD_HASH_PROCESS, from, to, value(pieces, 0))
    })
}

fn cipher(results: &mut Results, session: &mut Session<'_>, name: &str, bytes: usize) -> Outcome {
    let pieces = pieces(bytes);
    let mut from = vec![7; bytes * pieces as usize];
    let mut to = from.clone();
    measure_in_pieces(results, name, (1, pieces), || {
        let from = ParamTmpRef::new_inout(&mut from);
        let to = ParamTmpRef::new_inout(&mut to);
        let how = value(1, bytes as u32);
        invoke(session, CMD_CIPHER_PROCESS, from, to, how)
    })
}

const fn value(a: u32, b: u32) -> ParamValue {
    ParamValue::new(a, b, ParamType::ValueInput)
}

fn invoke<A: teec::Param, B: teec::Param, C: teec::Param>(
    session: &mut Session<'_>,
    command: u32,
    first: A,
    second: B,
    third: C,
) -> Outcome {
    let mut operation = Operation::new(0, first, second, third, ParamNone);
    session
        .invoke_command(command, &mut operation)
        .map_err(|error| format!("crypto_perf, command {command}: {error}"))
}
