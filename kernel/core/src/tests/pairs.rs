//! Pairs of keys of TAs: what they sign, encrypt and agree on, what is refused, and what is left of it.

use super::*;
use crate::ta::crypto::Holdings;
use crate::testing::caller::Caller;
use tally_abi::crypto::{UteeAttribute, algorithm, attribute, curve, mode, object_type};
use tally_abi::ta::svc;
use zerocopy::IntoBytes;

const OK: TeeResult = TeeResult::SUCCESS;
const NOWHERE: u64 = 0x6f_0000_0000;
/// Where things are in the TA's memory.
const ATTRIBUTES: u64 = 0xe000;
const LEN: u64 = 0xe800;

/// Runs `test` with a TA.
fn with_ta(test: impl FnOnce(&Caller<'_>)) {
    leaves_nothing(|world| {
        let ta = Caller::new(world, MULTI);
        test(&ta);
        ta.close();
    });
}

const fn value(id: u32, a: u64) -> UteeAttribute {
    bytes(id, a, 0)
}

const fn bytes(id: u32, a: u64, b: u64) -> UteeAttribute {
    UteeAttribute {
        a,
        b,
        id,
        padding: 0,
    }
}

/// Stores attributes. Where they are, and how many.
fn attributes(ta: &Caller<'_>, all: &[UteeAttribute]) -> [u64; 2] {
    ta.store(ta.memory + ATTRIBUTES, all.as_bytes());
    [ta.memory + ATTRIBUTES, all.len() as u64]
}

fn object(ta: &Caller<'_>, object_type: u32, bits: u64) -> u64 {
    let args = [object_type.into(), bits];
    ta.handle(svc::CRYP_OBJ_ALLOC, &args).unwrap()
}

/// A new pair.
fn pair(ta: &Caller<'_>, object_type: u32, bits: u64, given: &[UteeAttribute]) -> u64 {
    let object = object(ta, object_type, bits);
    let [at, count] = attributes(ta, given);
    ta.expect(OK, svc::CRYP_OBJ_GENERATE_KEY, &[object, bits, at, count]);
    object
}

/// A copy of a pair, for another state.
fn copy(ta: &Caller<'_>, object_type: u32, bits: u64, from: u64) -> u64 {
    let to = object(ta, object_type, bits);
    ta.expect(OK, svc::CRYP_OBJ_COPY, &[to, from]);
    to
}

fn state(ta: &Caller<'_>, algorithm: u32, mode: u32, key: u64) -> u64 {
    let args = [algorithm.into(), mode.into(), key, 0];
    ta.handle(svc::CRYP_STATE_ALLOC, &args).unwrap()
}

/// An attribute of an object.
fn attribute_of(ta: &Caller<'_>, object: u64, id: u32) -> Vec<u8> {
    let (out, len) = (ta.memory + 0xd000, ta.memory + LEN);
    ta.store(len, 0x800_u64.as_bytes());
    ta.expect(OK, svc::CRYP_OBJ_GET_ATTR, &[object, id.into(), out, len]);
    ta.load(out, ta.load_u64(len) as usize)
}

/// Has a state work on `from` of the memory: what comes out is at `to`.
fn operate(
    ta: &Caller<'_>,
    state: u64,
    given: &[UteeAttribute],
    [from, len, to, room]: [u64; 4],
) -> (TeeResult, u64) {
    let [at, count] = attributes(ta, given);
    ta.store(ta.memory + LEN, room.as_bytes());
    let (from, to) = (ta.memory + from, ta.memory + to);
    let args = [state, at, count, from, len, to, ta.memory + LEN];
    (
        ta.call(svc::ASYMM_OPERATE, &args),
        ta.load_u64(ta.memory + LEN),
    )
}

/// A kind of signature: its pair, bits, what makes one, its algorithm, bytes of a digest and of a signature.
struct Kind(u32, u64, Vec<UteeAttribute>, u32, u64, u64);

fn kinds() -> Vec<Kind> {
    let curve = |which: u32| vec![value(attribute::ECC_CURVE, which.into())];
    let (rsa, ec) = (object_type::RSA_KEYPAIR, object_type::ECDSA_KEYPAIR);
    vec![
        Kind(
            rsa,
            768,
            vec![],
            algorithm::RSASSA_PKCS1_V1_5_SHA256,
            32,
            96,
        ),
        Kind(
            rsa,
            1024,
            vec![],
            algorithm::RSASSA_PKCS1_PSS_MGF1_SHA384,
            48,
            128,
        ),
        Kind(rsa, 512, vec![], algorithm::RSASSA_PKCS1_V1_5, 20, 64),
        Kind(
            ec,
            192,
            curve(curve::NIST_P192),
            algorithm::ECDSA_SHA1,
            20,
            48,
        ),
        Kind(
            ec,
            256,
            curve(curve::NIST_P256),
            algorithm::ECDSA_SHA256,
            32,
            64,
        ),
        Kind(
            ec,
            521,
            curve(curve::NIST_P521),
            algorithm::ECDSA_SHA512,
            64,
            132,
        ),
        Kind(
            object_type::SM2_DSA_KEYPAIR,
            256,
            vec![],
            algorithm::SM2_DSA_SM3,
            32,
            64,
        ),
        Kind(
            object_type::ED25519_KEYPAIR,
            256,
            vec![],
            algorithm::ED25519,
            1000,
            64,
        ),
    ]
}

#[test]
fn a_new_pair_signs_and_its_signatures_hold() {
    with_ta(|ta| {
        ta.store(ta.memory, &[0x5a; 1001]);
        for Kind(object_type, bits, given, algorithm, len, signature_len) in kinds() {
            let key = pair(ta, object_type, bits, &given);
            let public = if algorithm == algorithm::SM2_DSA_SM3 {
                object_type::SM2_DSA_PUBLIC_KEY
            } else {
                object_type
            };
            let other = copy(ta, public, bits, key);
            let sign = state(ta, algorithm, mode::SIGN, key);
            let verify = state(ta, algorithm, mode::VERIFY, other);
            // With too little room it is told.
            let at = [0, len, 0x8000, signature_len - 1];
            assert_eq!(
                operate(ta, sign, &[], at),
                (TeeResult::SHORT_BUFFER, signature_len)
            );
            let at = [0, len, 0x8000, signature_len];
            assert_eq!(
                operate(ta, sign, &[], at),
                (OK, signature_len),
                "{algorithm:#x}"
            );
            let signature = [ta.memory + 0x8000, signature_len];
            let held = |from: u64| {
                let args = [verify, 0, 0, from, len, signature[0], signature[1]];
                ta.call(svc::ASYMM_VERIFY, &args)
            };
            assert_eq!(held(ta.memory), OK, "{algorithm:#x}");
            ta.store(ta.memory + 0x7000, &[0x5b]);
            ta.store(ta.memory + 0x7001, &[0x5a; 1000]);
            assert_eq!(held(ta.memory + 0x7000), TeeResult::SIGNATURE_INVALID);
            ta.store(ta.memory + 0x8004, &[!ta.load(ta.memory + 0x8004, 1)[0]]);
            assert_eq!(
                held(ta.memory),
                TeeResult::SIGNATURE_INVALID,
                "{algorithm:#x}"
            );
            // Who signs does not verify, nor the other way round.
            let args = [sign, 0, 0, ta.memory, len, signature[0], signature[1]];
            ta.expect(TeeResult::BAD_PARAMETERS, svc::ASYMM_VERIFY, &args);
            ta.expect(OK, svc::CRYP_STATE_FREE, &[sign]);
            ta.expect(OK, svc::CRYP_STATE_FREE, &[verify]);
        }
    });
}

#[test]
fn a_text_is_decrypted_by_its_pair_and_one_that_is_none_is_refused() {
    with_ta(|ta| {
        ta.store(ta.memory, b"no more than a message");
        ta.store(ta.memory + 0x100, &algorithm::SHA1.to_le_bytes());
        let options = [
            bytes(attribute::RSA_OAEP_LABEL, ta.memory + 3, 7),
            bytes(attribute::RSA_OAEP_MGF_HASH, ta.memory + 0x100, 4),
        ];
        let rsa = object_type::RSA_KEYPAIR;
        let sm2 = (
            object_type::SM2_PKE_KEYPAIR,
            object_type::SM2_PKE_PUBLIC_KEY,
        );
        type Case<'a> = (u32, u32, u64, u32, &'a [UteeAttribute], u64);
        let cases: [Case<'_>; 4] = [
            (rsa, rsa, 512, algorithm::RSAES_PKCS1_V1_5, &[], 64),
            (
                rsa,
                rsa,
                768,
                algorithm::RSAES_PKCS1_OAEP_MGF1_SHA256,
                &options,
                96,
            ),
            (rsa, rsa, 512, algorithm::RSA_NOPAD, &[], 64),
            (sm2.0, sm2.1, 256, algorithm::SM2_PKE, &[], 22 + 97),
        ];
        for (object_type, public, bits, algorithm, given, text_len) in cases {
            let key = pair(ta, object_type, bits, &[]);
            let other = copy(ta, public, bits, key);
            let encrypt = state(ta, algorithm, mode::ENCRYPT, other);
            let decrypt = state(ta, algorithm, mode::DECRYPT, key);
            let (done, len) = operate(ta, encrypt, given, [0, 22, 0x8000, 0x200]);
            assert_eq!((done, len), (OK, text_len), "{algorithm:#x}");
            let at = [0x8000, len, 0x9000, 0x200];
            assert_eq!(operate(ta, decrypt, given, at), (OK, 22), "{algorithm:#x}");
            assert_eq!(ta.load(ta.memory + 0x9000, 22), b"no more than a message");
            // A label that is another one, a text that is.
            if algorithm == algorithm::RSAES_PKCS1_OAEP_MGF1_SHA256 {
                let (done, _) = operate(ta, decrypt, &options[1..], at);
                assert_eq!(done, TeeResult::BAD_PARAMETERS);
            }
            ta.store(
                ta.memory + 0x8000 + len - 1,
                &[!ta.load(ta.memory + 0x8000 + len - 1, 1)[0]],
            );
            match algorithm {
                algorithm::RSA_NOPAD => {}
                algorithm::SM2_PKE => {
                    assert_eq!(
                        operate(ta, decrypt, given, at).0,
                        TeeResult::CIPHERTEXT_INVALID
                    );
                }
                _ => assert_eq!(operate(ta, decrypt, given, at).0, TeeResult::BAD_PARAMETERS),
            }
            // More than fits.
            if algorithm != algorithm::SM2_PKE {
                let (done, _) = operate(ta, encrypt, given, [0, text_len + 1, 0x8000, 0x200]);
                assert_eq!(done, TeeResult::BAD_PARAMETERS);
            }
            ta.expect(OK, svc::CRYP_STATE_FREE, &[encrypt]);
            ta.expect(OK, svc::CRYP_STATE_FREE, &[decrypt]);
        }
    });
}

/// A prime of 256 bits, and a number to go with it.
const DH_PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    (prime[30], prime[31]) = (0xff, 0x43);
    prime
};

#[test]
fn both_sides_derive_one_secret() {
    with_ta(|ta| {
        ta.store(ta.memory, &DH_PRIME);
        ta.store(ta.memory + 0x100, &[2]);
        let ec = [value(attribute::ECC_CURVE, curve::NIST_P384.into())];
        let dh = [
            bytes(attribute::DH_PRIME, ta.memory, 32),
            bytes(attribute::DH_BASE, ta.memory + 0x100, 1),
        ];
        type Case<'a> = (u32, u64, &'a [UteeAttribute], u32, &'a [u32]);
        let cases: [Case<'_>; 4] = [
            (
                object_type::ECDH_KEYPAIR,
                384,
                &ec,
                algorithm::ECDH_DERIVE_SHARED_SECRET,
                &[attribute::ECC_PUBLIC_VALUE_X, attribute::ECC_PUBLIC_VALUE_Y],
            ),
            (
                object_type::DH_KEYPAIR,
                256,
                &dh,
                algorithm::DH_DERIVE_SHARED_SECRET,
                &[attribute::DH_PUBLIC_VALUE],
            ),
            (
                object_type::X25519_KEYPAIR,
                256,
                &[],
                algorithm::X25519,
                &[attribute::X25519_PUBLIC_VALUE],
            ),
            (
                object_type::X448_KEYPAIR,
                448,
                &[],
                algorithm::X448,
                &[attribute::X448_PUBLIC_VALUE],
            ),
        ];
        for (object_type, bits, given, algorithm, public) in cases {
            let keys = [(); 2].map(|()| pair(ta, object_type, bits, given));
            let publics = keys.map(|key| {
                let numbers: Vec<Vec<u8>> =
                    public.iter().map(|id| attribute_of(ta, key, *id)).collect();
                numbers
            });
            let secrets = [0, 1].map(|n| {
                let derive = state(ta, algorithm, mode::DERIVE, keys[n]);
                let to = object(ta, object_type::GENERIC_SECRET, 8);
                let mut of_other = Vec::new();
                for (place, (id, number)) in (0..).zip(public.iter().zip(&publics[1 - n])) {
                    let at = ta.memory + 0xc000 + 0x100 * place;
                    ta.store(at, number);
                    of_other.push(bytes(*id, at, number.len() as u64));
                }
                let [at, count] = attributes(ta, &of_other);
                ta.expect(OK, svc::CRYP_DERIVE_KEY, &[derive, at, count, to]);
                let secret = attribute_of(ta, to, attribute::SECRET_VALUE);
                // Another number of attributes is refused, and so is what is no secret.
                ta.expect(
                    TeeResult::BAD_PARAMETERS,
                    svc::CRYP_DERIVE_KEY,
                    &[derive, at, count - 1, to],
                );
                let pair = object(ta, object_type::X25519_KEYPAIR, 256);
                let args = [derive, at, count, pair];
                ta.expect(TeeResult::NOT_SUPPORTED, svc::CRYP_DERIVE_KEY, &args);
                for object in [to, pair] {
                    ta.expect(OK, svc::CRYP_OBJ_CLOSE, &[object]);
                }
                ta.expect(OK, svc::CRYP_STATE_FREE, &[derive]);
                secret
            });
            assert_eq!(secrets[0], secrets[1], "{algorithm:#x}");
            assert!(secrets[0].len() >= 31, "{algorithm:#x}");
        }
    });
}

/// RFC 5869 appendix A.1.
#[test]
fn hkdf_derives_the_rfcs_key() {
    with_ta(|ta| {
        let salt: Vec<u8> = (0..13).collect();
        let info: Vec<u8> = (0xf0..0xfa).collect();
        ta.store(ta.memory, &[0x0b; 22]);
        ta.store(ta.memory + 0x100, &salt);
        ta.store(ta.memory + 0x200, &info);
        let key = object(ta, object_type::HKDF_IKM, 176);
        let [at, count] = attributes(ta, &[bytes(attribute::HKDF_IKM, ta.memory, 22)]);
        ta.expect(OK, svc::CRYP_OBJ_POPULATE, &[key, at, count]);
        let derive = state(ta, algorithm::HKDF_SHA256_DERIVE_KEY, mode::DERIVE, key);
        let to = object(ta, object_type::GENERIC_SECRET, 336);
        let given = [
            bytes(attribute::HKDF_SALT_OLD, ta.memory + 0x100, 13),
            bytes(attribute::HKDF_INFO_OLD, ta.memory + 0x200, 10),
            value(attribute::HKDF_OKM_LENGTH, 42),
        ];
        let [at, count] = attributes(ta, &given);
        ta.expect(OK, svc::CRYP_DERIVE_KEY, &[derive, at, count, to]);
        let okm = attribute_of(ta, to, attribute::SECRET_VALUE);
        assert_eq!(okm[..8], [0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a]);
        assert_eq!(okm.len(), 42);
        // Without a length, with an attribute of another derivation, with more than a secret has room for.
        ta.expect(
            TeeResult::BAD_PARAMETERS,
            svc::CRYP_DERIVE_KEY,
            &[derive, at, 2, to],
        );
        for wrong in [
            value(attribute::PBKDF2_ITERATION_COUNT, 1),
            value(attribute::HKDF_OKM_LENGTH, 513),
        ] {
            let [at, count] = attributes(ta, &[given[0], wrong]);
            ta.expect(
                TeeResult::BAD_PARAMETERS,
                svc::CRYP_DERIVE_KEY,
                &[derive, at, count, to],
            );
        }
    });
}

#[test]
fn lengths_and_addresses_that_are_nobodys_are_refused() {
    with_ta(|ta| {
        let key = pair(ta, object_type::ED25519_KEYPAIR, 256, &[]);
        let sign = state(ta, algorithm::ED25519, mode::SIGN, key);
        let rsa = pair(ta, object_type::RSA_KEYPAIR, 512, &[]);
        let encrypt = state(
            ta,
            algorithm::RSAES_PKCS1_OAEP_MGF1_SHA1,
            mode::ENCRYPT,
            rsa,
        );
        let held = || {
            let state = ta.world.kernel.state();
            let found = state.instance(ta.instance).unwrap();
            found.holdings().map_or(0, Holdings::bytes)
        };
        let before = held();
        let (out, len) = (ta.memory + 0x8000, ta.memory + LEN);
        for (from, bytes) in [
            (NOWHERE, 1),
            (ta.memory, u64::MAX),
            (ta.memory, u64::MAX - ta.memory),
            (u64::MAX, 2),
        ] {
            for state in [sign, encrypt] {
                ta.store(len, 64_u64.as_bytes());
                let args = [state, 0, 0, from, bytes, out, len];
                ta.expect(TeeResult::ACCESS_DENIED, svc::ASYMM_OPERATE, &args);
                ta.store(len, bytes.as_bytes());
                let args = [state, 0, 0, ta.memory, 1, from, len];
                ta.expect(TeeResult::ACCESS_DENIED, svc::ASYMM_OPERATE, &args);
                let args = [state, 0, 0, ta.memory, 1, out, NOWHERE];
                ta.expect(TeeResult::ACCESS_DENIED, svc::ASYMM_OPERATE, &args);
            }
            let label = [self::bytes(attribute::RSA_OAEP_LABEL, from, bytes)];
            let [at, count] = attributes(ta, &label);
            ta.store(len, 64_u64.as_bytes());
            let args = [encrypt, at, count, ta.memory, 1, out, len];
            ta.expect(TeeResult::ACCESS_DENIED, svc::ASYMM_OPERATE, &args);
        }
        // More than a TA's share of the heap.
        let at = [0, 0xd000, 0xd000, 64];
        assert_eq!(operate(ta, sign, &[], at).0, TeeResult::OUT_OF_MEMORY);
        assert_eq!(held(), before);
        let at = [0, 0x4000, 0xd000, 64];
        assert_eq!(operate(ta, sign, &[], at).0, OK);
        assert_eq!(held(), before);
        // A context is one of 255 bytes at most.
        for (given, result) in [
            (vec![bytes(attribute::EDDSA_CTX, ta.memory, 255)], OK),
            (
                vec![bytes(attribute::EDDSA_CTX, ta.memory, 256)],
                TeeResult::BAD_PARAMETERS,
            ),
            (
                vec![bytes(attribute::EDDSA_CTX, ta.memory, 1); 2],
                TeeResult::BAD_PARAMETERS,
            ),
            (vec![value(attribute::EDDSA_PREHASH, 1)], OK),
            (
                vec![value(attribute::EDDSA_PREHASH, 2)],
                TeeResult::BAD_PARAMETERS,
            ),
            (
                vec![value(attribute::RSA_PSS_SALT_LENGTH, 1)],
                TeeResult::BAD_PARAMETERS,
            ),
        ] {
            assert_eq!(
                operate(ta, sign, &given, [0, 3, 0x8000, 64]).0,
                result,
                "{given:?}"
            );
        }
    });
}

#[test]
fn keys_that_are_none_cost_a_code() {
    with_ta(|ta| {
        ta.store(ta.memory, &[0xff; 64]);
        ta.store(ta.memory + 0x100, &[0; 64]);
        ta.store(ta.memory + 0x200, &[0x80; 64]);
        // Numbers that are even, 0, and all ones, one for each other.
        for [n, e, d] in [
            [0, 0, 0],
            [0x200, 0, 0x200],
            [0x100, 0x100, 0x100],
            [0, 0x100, 0x200],
        ] {
            let key = object(ta, object_type::RSA_KEYPAIR, 512);
            let number = |id, at| bytes(id, ta.memory + at, 64);
            let given = [
                number(attribute::RSA_MODULUS, n),
                number(attribute::RSA_PUBLIC_EXPONENT, e),
                number(attribute::RSA_PRIVATE_EXPONENT, d),
            ];
            let [at, count] = attributes(ta, &given);
            ta.expect(OK, svc::CRYP_OBJ_POPULATE, &[key, at, count]);
            let decrypt = state(ta, algorithm::RSA_NOPAD, mode::DECRYPT, key);
            let (done, _) = operate(ta, decrypt, &[], [0x180, 8, 0x8000, 64]);
            assert!(
                matches!(done, TeeResult::GENERIC | TeeResult::BAD_PARAMETERS),
                "{done}"
            );
            ta.expect(OK, svc::CRYP_STATE_FREE, &[decrypt]);
        }
        // A point that is on no curve.
        let key = object(ta, object_type::ECDSA_PUBLIC_KEY, 256);
        let given = [
            bytes(attribute::ECC_PUBLIC_VALUE_X, ta.memory + 0x200, 32),
            bytes(attribute::ECC_PUBLIC_VALUE_Y, ta.memory + 0x200, 32),
            value(attribute::ECC_CURVE, curve::NIST_P256.into()),
        ];
        let [at, count] = attributes(ta, &given);
        ta.expect(OK, svc::CRYP_OBJ_POPULATE, &[key, at, count]);
        let verify = state(ta, algorithm::ECDSA_SHA256, mode::VERIFY, key);
        let args = [verify, 0, 0, ta.memory, 32, ta.memory + 0x200, 64];
        ta.expect(TeeResult::SIGNATURE_INVALID, svc::ASYMM_VERIFY, &args);
    });
}

#[test]
fn making_a_pair_lets_interrupts_through_and_ends_with_its_ta() {
    with_ta(|ta| {
        let machine = &ta.world.kernel.machine;
        let before = machine.interruptible_calls();
        let made = pair(ta, object_type::RSA_KEYPAIR, 512, &[]);
        let candidates = machine.interruptible_calls() - before;
        assert!(candidates > 4, "{candidates}");
        assert_eq!(
            attribute_of(ta, made, attribute::RSA_PUBLIC_EXPONENT),
            [1, 0, 1]
        );

        // An even exponent, and one that is too small: nothing is left in the object.
        let object = object(ta, object_type::RSA_KEYPAIR, 512);
        for exponent in [[1, 0, 2], [0, 0, 3]] {
            ta.store(ta.memory, &exponent);
            let given = [bytes(attribute::RSA_PUBLIC_EXPONENT, ta.memory, 3)];
            let [at, count] = attributes(ta, &given);
            let args = [object, 512, at, count];
            ta.expect(TeeResult::BAD_PARAMETERS, svc::CRYP_OBJ_GENERATE_KEY, &args);
        }
        let set_killed = |killed| {
            let mut state = ta.world.kernel.state();
            state.instance_mut(ta.instance).unwrap().killed = killed;
        };
        set_killed(true);
        ta.expect(
            TeeResult::TARGET_DEAD,
            svc::CRYP_OBJ_GENERATE_KEY,
            &[object, 512, 0, 0],
        );
        set_killed(false);
        ta.expect(OK, svc::CRYP_OBJ_GENERATE_KEY, &[object, 512, 0, 0]);
        ta.expect(
            TeeResult::BAD_STATE,
            svc::CRYP_OBJ_GENERATE_KEY,
            &[object, 512, 0, 0],
        );
    });
}

/// Signatures of SM2's curve are SM2's alone, whatever its bits are.
#[test]
fn ecdsa_refuses_the_curve_of_sm2() {
    with_ta(|ta| {
        let of = [value(attribute::ECC_CURVE, curve::SM2.into())];
        let key = pair(ta, object_type::ECDSA_KEYPAIR, 256, &of);
        let how = [algorithm::ECDSA_SHA256.into(), mode::SIGN.into(), key, 0];
        let state = ta.handle(svc::CRYP_STATE_ALLOC, &how).unwrap();
        let (digest, signature, len) = (ta.memory, ta.memory + 0x1000, ta.memory + 0xe800);
        ta.store(len, 64_u64.as_bytes());
        let arguments = [state, 0, 0, digest, 32, signature, len];
        ta.expect(TeeResult::BAD_PARAMETERS, svc::ASYMM_OPERATE, &arguments);
    });
}

#[test]
fn a_long_result_lets_interrupts_through_as_a_long_text_does() {
    with_ta(|ta| {
        let key = pair(ta, object_type::SM2_PKE_KEYPAIR, 256, &[]);
        let of = [object_type::SM2_PKE_PUBLIC_KEY.into(), 256];
        let public = ta.handle(svc::CRYP_OBJ_ALLOC, &of).unwrap();
        ta.expect(TeeResult::SUCCESS, svc::CRYP_OBJ_COPY, &[public, key]);
        let how = [algorithm::SM2_PKE.into(), mode::ENCRYPT.into(), public, 0];
        let state = ta.handle(svc::CRYP_STATE_ALLOC, &how).unwrap();
        let len = ta.memory + 0xe800;
        ta.store(len, 0x6000_u64.as_bytes());
        let before = ta.world.kernel.machine.interruptible_calls();
        let arguments = [state, 0, 0, ta.memory, 16_000, ta.memory + 0x6000, len];
        ta.expect(TeeResult::SUCCESS, svc::ASYMM_OPERATE, &arguments);
        let windows = ta.world.kernel.machine.interruptible_calls() - before;
        assert!(
            windows >= 2 * 16_000 / 512,
            "{windows} for pieces in and out"
        );
    });
}

#[test]
fn a_pair_that_its_object_has_no_room_for_is_refused_before_it_is_sought() {
    with_ta(|ta| {
        let of = [object_type::RSA_KEYPAIR.into(), 256];
        let object = ta.handle(svc::CRYP_OBJ_ALLOC, &of).unwrap();
        let before = ta.world.kernel.machine.interruptible_calls();
        let arguments = [object, 1024, 0, 0];
        ta.expect(
            TeeResult::BAD_PARAMETERS,
            svc::CRYP_OBJ_GENERATE_KEY,
            &arguments,
        );
        let windows = ta.world.kernel.machine.interruptible_calls() - before;
        assert!(windows < 4, "{windows} candidates");
    });
}

#[test]
fn nothing_is_derived_of_a_key_that_was_reset_beneath_its_operation() {
    with_ta(|ta| {
        let of = [object_type::HKDF_IKM.into(), 256];
        let key = ta.handle(svc::CRYP_OBJ_ALLOC, &of).unwrap();
        let given = [bytes(attribute::HKDF_IKM, ta.memory, 32)];
        let at = ta.memory + 0xe000;
        ta.store(at, given.as_bytes());
        ta.expect(TeeResult::SUCCESS, svc::CRYP_OBJ_POPULATE, &[key, at, 1]);
        let how = [algorithm::HKDF.into(), mode::DERIVE.into(), key, 0];
        let state = ta.handle(svc::CRYP_STATE_ALLOC, &how).unwrap();
        let of = [object_type::GENERIC_SECRET.into(), 256];
        let secret = ta.handle(svc::CRYP_OBJ_ALLOC, &of).unwrap();
        ta.store(at, [value(attribute::KDF_KEY_SIZE, 32)].as_bytes());
        ta.expect(TeeResult::SUCCESS, svc::CRYP_OBJ_RESET, &[key]);
        let arguments = [state, at, 1, secret];
        ta.expect(TeeResult::BAD_PARAMETERS, svc::CRYP_DERIVE_KEY, &arguments);
    });
}
