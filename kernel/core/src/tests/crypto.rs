//! Cryptography of TAs: what it gives, what it refuses, and whose it is.

use super::*;
use crate::testing::caller::Caller;
use tally_abi::crypto::{
    UteeAttribute, UteeObjectInfo, algorithm, attribute, handle_flag, mode, object_type, usage,
};
use tally_abi::ta::svc;
use tally_crypto::symmetric::Direction;
use tally_crypto::symmetric::block::Algorithm::Aes;
use tally_crypto::symmetric::cipher::{Cipher, Mode};
use tally_crypto::symmetric::hash::{Algorithm, Hash};
use zerocopy::{FromBytes, IntoBytes};

const OK: TeeResult = TeeResult::SUCCESS;
const KEY: [u8; 16] = [7; 16];
const NOWHERE: u64 = 0x6f_0000_0000;

/// Runs `test` with a TA.
fn with_ta(test: impl FnOnce(&Caller<'_>)) {
    leaves_nothing(|world| {
        let ta = Caller::new(world, MULTI);
        test(&ta);
        ta.close();
    });
}

/// An object with a secret.
fn key(ta: &Caller<'_>, object_type: u32, secret: &[u8]) -> u64 {
    let bits = 8 * secret.len() as u64;
    let object = ta.handle(svc::CRYP_OBJ_ALLOC, &[object_type.into(), bits]);
    let object = object.unwrap();
    let (attributes, bytes) = (ta.memory + 0xf000, ta.memory + 0xf100);
    ta.store(bytes, secret);
    ta.store(
        attributes,
        one(attribute::SECRET_VALUE, bytes, secret.len() as u64).as_bytes(),
    );
    ta.expect(OK, svc::CRYP_OBJ_POPULATE, &[object, attributes, 1]);
    object
}

const fn one(id: u32, a: u64, b: u64) -> UteeAttribute {
    UteeAttribute {
        a,
        b,
        id,
        padding: 0,
    }
}

fn state(ta: &Caller<'_>, algorithm: u32, mode: u32, keys: [u64; 2]) -> Result<u64, TeeResult> {
    let args = [algorithm.into(), mode.into(), keys[0], keys[1]];
    ta.handle(svc::CRYP_STATE_ALLOC, &args)
}

fn digest(ta: &Caller<'_>) -> u64 {
    let state = state(ta, algorithm::SHA256, mode::DIGEST, [0; 2]).unwrap();
    ta.expect(OK, svc::HASH_INIT, &[state, 0, 0]);
    state
}

/// A cipher of [`KEY`] that has begun.
fn cipher(ta: &Caller<'_>, algorithm: u32) -> u64 {
    let key = key(ta, object_type::AES, &KEY);
    let state = state(ta, algorithm, mode::ENCRYPT, [key, 0]).unwrap();
    ta.store(ta.memory + 0xf200, &[1; 16]);
    ta.expect(OK, svc::CIPHER_INIT, &[state, ta.memory + 0xf200, 16]);
    state
}

fn info(ta: &Caller<'_>, object: u64) -> UteeObjectInfo {
    let out = ta.memory + 0xf300;
    ta.expect(OK, svc::CRYP_OBJ_GET_INFO, &[object, out]);
    UteeObjectInfo::read_from_bytes(&ta.load(out, size_of::<UteeObjectInfo>())).unwrap()
}

#[test]
fn a_digest_is_that_of_all_pieces_with_interrupts_between_them() {
    let text: Vec<u8> = (0..20_000_u32).map(|n| (n * 7) as u8).collect();
    leaves_nothing(|world| {
        let ta = Caller::new(world, MULTI);
        let (from, out, len) = (ta.memory, ta.memory + 0x8000, ta.memory + 0x8100);
        ta.store(from, &text);
        let state = digest(&ta);
        let before = world.kernel.machine.interruptible_calls();
        ta.expect(OK, svc::HASH_UPDATE, &[state, from, 19_000]);
        let windows = world.kernel.machine.interruptible_calls() - before;
        assert!(windows >= 19_000 / 1024, "{windows}");
        ta.expect(OK, svc::HASH_UPDATE, &[state, 0, 0]);
        // With too little room it is told, and nothing is done.
        ta.store(len, 31_u64.as_bytes());
        let rest = [state, from + 19_000, 1000, out, len];
        ta.expect(TeeResult::SHORT_BUFFER, svc::HASH_FINAL, &rest);
        assert_eq!(ta.load_u64(len), 32);
        ta.store(len, 40_u64.as_bytes());
        ta.expect(OK, svc::HASH_FINAL, &rest);
        assert_eq!(ta.load_u64(len), 32);
        let (mut hash, mut expected) = (Hash::new(Algorithm::Sha256), [0; 32]);
        hash.update(&text);
        hash.finish(&mut expected);
        assert_eq!(ta.load(out, 32), expected);
        ta.expect(TeeResult::BAD_STATE, svc::HASH_UPDATE, &[state, from, 1]);
        ta.close();
    });
}

#[test]
fn another_tas_handles_name_nothing() {
    leaves_nothing(|world| {
        let (ta, other) = (Caller::new(world, MULTI), Caller::new(world, SHARED));
        let object = key(&ta, object_type::AES, &KEY);
        let second = key(&ta, object_type::AES, &KEY);
        let state = digest(&ta);
        // The other one has such entries, by other handles.
        for _ in 0..2 {
            let gone = [key(&other, object_type::AES, &KEY), digest(&other)];
            other.expect(OK, svc::CRYP_OBJ_CLOSE, &gone[..1]);
            other.expect(OK, svc::CRYP_STATE_FREE, &gone[1..]);
        }
        let own = [0; 2].map(|_| key(&other, object_type::AES, &KEY));
        let own_state = digest(&other);
        let wild = [
            0,
            1,
            0xff,
            u64::from(u32::MAX),
            object + (1 << 32),
            u64::MAX,
        ];
        let out = other.memory;
        for handle in [object, second, state].into_iter().chain(wild) {
            for (number, args) in [
                (svc::CRYP_OBJ_GET_INFO, vec![handle, out]),
                (svc::CRYP_OBJ_RESTRICT_USAGE, vec![handle, 0]),
                (svc::CRYP_OBJ_CLOSE, vec![handle]),
                (svc::CRYP_OBJ_RESET, vec![handle]),
                (svc::CRYP_OBJ_POPULATE, vec![handle, out, 0]),
                (svc::CRYP_OBJ_COPY, vec![handle, handle]),
                (svc::CRYP_OBJ_GENERATE_KEY, vec![handle, 128, 0, 0]),
            ] {
                other.expect(TeeResult::BAD_STATE, number, &args);
            }
            let args = [handle, attribute::SECRET_VALUE.into(), out, out];
            other.expect(TeeResult::ITEM_NOT_FOUND, svc::CRYP_OBJ_GET_ATTR, &args);
            for (number, args) in [
                (svc::CRYP_STATE_COPY, vec![handle, handle]),
                (svc::CRYP_STATE_FREE, vec![handle]),
                (svc::HASH_INIT, vec![handle, 0, 0]),
                (svc::HASH_UPDATE, vec![handle, out, 1]),
                (svc::CIPHER_INIT, vec![handle, out, 16]),
                (svc::CIPHER_UPDATE, vec![handle, out, 16, out, out]),
                (svc::AUTHENC_INIT, vec![handle, out, 12, 16, 0, 0]),
            ] {
                other.expect(TeeResult::BAD_PARAMETERS, number, &args);
            }
            let args = [algorithm::AES_CTR.into(), 0, handle, 0, out];
            if handle != 0 {
                other.expect(TeeResult::BAD_STATE, svc::CRYP_STATE_ALLOC, &args);
            }
        }
        assert_eq!(info(&ta, object).size_bits, 128);
        for (free, handle) in [
            (svc::CRYP_OBJ_CLOSE, own[0]),
            (svc::CRYP_OBJ_CLOSE, own[1]),
            (svc::CRYP_STATE_FREE, own_state),
        ] {
            other.expect(OK, free, &[handle]);
        }
        other.close();
        ta.close();
    });
}

#[test]
fn buffers_may_overlap_in_every_way() {
    let text: Vec<u8> = (0..3000_u32).map(|n| (n * 5) as u8).collect();
    with_ta(|ta| {
        for (number, chain) in [
            (algorithm::AES_CBC_NOPAD, Mode::Cbc),
            (algorithm::AES_CTR, Mode::Ctr),
            (algorithm::AES_CTS, Mode::Cts),
        ] {
            let len = if chain == Mode::Cbc { 2992 } else { 3000 };
            let mut with = Cipher::new((Aes, chain), Direction::Encrypt, [&KEY, &[]], &[1; 16]);
            let with = with.as_mut().unwrap();
            let mut expected = text[..len].to_vec();
            let tail = with.tail(len as u64).unwrap();
            with.update(&mut expected[..len - tail]);
            with.finish(&mut expected[len - tail..]);
            for shift in [
                -3000_i64, -512, -16, -1, 0, 1, 15, 16, 511, 512, 513, 2999, 3000,
            ] {
                let state = cipher(ta, number);
                let (from, room) = (ta.memory + 0x4000, ta.memory + 0x8000);
                let to = from.wrapping_add_signed(shift);
                ta.store(from, &text);
                ta.store(room, (len as u64).as_bytes());
                let args = [state, from, len as u64, to, room];
                ta.expect(OK, svc::CIPHER_FINAL, &args);
                assert!(ta.load(to, len) == expected, "{chain:?} by {shift}");
                assert_eq!(ta.load_u64(room), len as u64);
                ta.expect(OK, svc::CRYP_STATE_FREE, &[state]);
            }
        }
    });
}

#[test]
fn a_short_buffer_is_told_the_length_and_nothing_is_done() {
    with_ta(|ta| {
        let state = cipher(ta, algorithm::AES_CTR);
        let (from, to, room) = (ta.memory, ta.memory + 0x1000, ta.memory + 0x2000);
        ta.store(room, 99_u64.as_bytes());
        let args = [state, from, 100, to, room];
        for number in [svc::CIPHER_UPDATE, svc::CIPHER_FINAL] {
            ta.expect(TeeResult::SHORT_BUFFER, number, &args);
            assert_eq!(ta.load_u64(room), 100);
            ta.store(room, 99_u64.as_bytes());
        }
        ta.expect(
            TeeResult::SHORT_BUFFER,
            svc::CIPHER_UPDATE,
            &[state, from, 100, to, 0],
        );
        assert_eq!(ta.load(to, 100), [0; 100]);
        let key = key(ta, object_type::AES, &KEY);
        let state = self::state(ta, algorithm::AES_GCM, mode::ENCRYPT, [key, 0]).unwrap();
        ta.expect(OK, svc::AUTHENC_INIT, &[state, from, 12, 16, 0, 0]);
        let (tag, tag_room) = (ta.memory + 0x3000, ta.memory + 0x3100);
        let args = [state, from, 100, to, room, tag, tag_room];
        ta.store(tag_room, 16_u64.as_bytes());
        ta.expect(TeeResult::SHORT_BUFFER, svc::AUTHENC_ENC_FINAL, &args);
        assert_eq!(ta.load_u64(room), 100);
        ta.store(tag_room, 15_u64.as_bytes());
        ta.expect(TeeResult::SHORT_BUFFER, svc::AUTHENC_ENC_FINAL, &args);
        assert_eq!(
            (ta.load_u64(tag_room), ta.load(to, 100)),
            (16, vec![0; 100])
        );
        ta.expect(OK, svc::AUTHENC_ENC_FINAL, &args);
        assert_ne!(ta.load(tag, 16), [0; 16]);
    });
}

#[test]
fn a_text_whose_tag_is_wrong_is_refused() {
    with_ta(|ta| {
        let (from, to, room) = (ta.memory, ta.memory + 0x1000, ta.memory + 0x2000);
        let (tag, tag_room) = (ta.memory + 0x3000, ta.memory + 0x3100);
        for number in [algorithm::AES_GCM, algorithm::AES_CCM] {
            for len in [0, 5, 1500] {
                let begin = |mode| {
                    let key = key(ta, object_type::AES, &KEY);
                    let state = state(ta, number, mode, [key, 0]).unwrap();
                    let nonce = ta.memory + 0x4000;
                    ta.expect(OK, svc::AUTHENC_INIT, &[state, nonce, 12, 16, 700, len]);
                    ta.expect(OK, svc::AUTHENC_UPDATE_AAD, &[state, nonce, 600]);
                    ta.expect(OK, svc::AUTHENC_UPDATE_AAD, &[state, nonce, 100]);
                    state
                };
                ta.store(room, len.as_bytes());
                ta.store(tag_room, 16_u64.as_bytes());
                let state = begin(mode::ENCRYPT);
                let args = [state, from, len, to, room, tag, tag_room];
                ta.expect(OK, svc::AUTHENC_ENC_FINAL, &args);
                ta.expect(OK, svc::CRYP_STATE_FREE, &[state]);
                for (tag_len, result) in [
                    (16, OK),
                    (15, TeeResult::MAC_INVALID),
                    (8, TeeResult::MAC_INVALID),
                ] {
                    let state = begin(mode::DECRYPT);
                    let args = [state, to, len, to + 0x800, room, tag, tag_len];
                    ta.expect(result, svc::AUTHENC_DEC_FINAL, &args);
                    if tag_len == 16 {
                        ta.expect(TeeResult::BAD_STATE, svc::AUTHENC_DEC_FINAL, &args);
                    }
                    ta.expect(OK, svc::CRYP_STATE_FREE, &[state]);
                }
                assert_eq!(ta.load(to + 0x800, len as usize), vec![0; len as usize]);
                let byte = ta.load(tag + 15, 1)[0];
                ta.store(tag + 15, &[byte ^ 1]);
                let state = begin(mode::DECRYPT);
                let args = [state, to, len, to, room, tag, 16];
                ta.expect(TeeResult::MAC_INVALID, svc::AUTHENC_DEC_FINAL, &args);
                ta.expect(OK, svc::CRYP_STATE_FREE, &[state]);
            }
        }
    });
}

#[test]
fn lengths_and_addresses_that_are_nobodys_are_refused_before_anything_is_done() {
    with_ta(|ta| {
        let (mine, room) = (ta.memory, ta.memory + 0x2000);
        let hash = digest(ta);
        let stream = cipher(ta, algorithm::AES_CTR);
        let denied = TeeResult::ACCESS_DENIED;
        let object = ta.handle(svc::CRYP_OBJ_ALLOC, &[object_type::AES.into(), 256]);
        let object = object.unwrap();
        for len in [
            Caller::<()>::MEMORY + 1,
            1 << 32,
            u64::MAX - mine,
            u64::MAX - 1,
            u64::MAX,
        ] {
            ta.expect(denied, svc::HASH_UPDATE, &[hash, mine, len]);
            ta.expect(denied, svc::HASH_FINAL, &[hash, mine, len, mine, room]);
            ta.expect(denied, svc::CIPHER_UPDATE, &[stream, mine, len, mine, room]);
            ta.expect(denied, svc::CIPHER_INIT, &[stream, mine, len]);
            ta.store(room, len.as_bytes());
            ta.expect(denied, svc::HASH_FINAL, &[hash, mine, 1, mine, room]);
            ta.expect(denied, svc::CIPHER_UPDATE, &[stream, mine, 16, mine, room]);
            let many = ta.call(svc::CRYP_OBJ_POPULATE, &[object, mine, len]);
            assert!([denied, TeeResult::OVERFLOW].contains(&many), "{many}");
            ta.store(mine, one(attribute::SECRET_VALUE, mine, len).as_bytes());
            ta.expect(denied, svc::CRYP_OBJ_POPULATE, &[object, mine, 1]);
        }
        ta.store(room, 16_u64.as_bytes());
        for nowhere in [NOWHERE, 1, u64::MAX - 8, u64::MAX] {
            ta.expect(denied, svc::HASH_UPDATE, &[hash, nowhere, 1]);
            ta.expect(denied, svc::HASH_FINAL, &[hash, mine, 1, mine, nowhere]);
            ta.expect(
                denied,
                svc::CIPHER_UPDATE,
                &[stream, nowhere, 16, mine, room],
            );
            ta.expect(
                denied,
                svc::CIPHER_UPDATE,
                &[stream, mine, 16, nowhere, room],
            );
            ta.expect(
                denied,
                svc::CRYP_OBJ_ALLOC,
                &[object_type::AES.into(), 128, nowhere],
            );
            ta.expect(denied, svc::CRYP_OBJ_GET_INFO, &[object, nowhere]);
            ta.expect(denied, svc::CRYP_OBJ_POPULATE, &[object, nowhere, 1]);
        }
        ta.expect(TeeResult::BAD_PARAMETERS, svc::HASH_UPDATE, &[hash, 0, 1]);
        // Attributes that overlap what they refer to, or one another, are copied once.
        let list = [one(attribute::SECRET_VALUE, mine, 24); 13];
        ta.store(mine, list.as_bytes());
        for count in [2, 12, 13] {
            ta.expect(
                TeeResult::ITEM_NOT_FOUND,
                svc::CRYP_OBJ_POPULATE,
                &[object, mine, count],
            );
        }
        ta.expect(OK, svc::CRYP_OBJ_POPULATE, &[object, mine, 1]);
        assert_eq!(info(ta, object).size_bits, 192);
        // What was refused did nothing.
        ta.store(room, 64_u64.as_bytes());
        ta.expect(OK, svc::HASH_FINAL, &[hash, 0, 0, room + 8, room]);
        let (mut empty, mut expected) = (Hash::new(Algorithm::Sha256), [0; 32]);
        empty.finish(&mut expected);
        assert_eq!(ta.load(room + 8, 32), expected);
    });
}

#[test]
fn an_object_has_the_attributes_of_its_type_once() {
    with_ta(|ta| {
        let (list, bytes) = (ta.memory, ta.memory + 0x1000);
        let alloc = |kind: u32, bits: u64| ta.handle(svc::CRYP_OBJ_ALLOC, &[kind.into(), bits]);
        for (kind, bits) in [
            (object_type::AES, 129),
            (object_type::AES, 320),
            (object_type::DES3, 64),
            (object_type::HMAC_SHA256, 184),
            (object_type::RSA_KEYPAIR, 4097),
            (object_type::GENERIC_SECRET, 1 << 32),
            (0, 0),
        ] {
            assert_eq!(alloc(kind, bits), Err(TeeResult::NOT_SUPPORTED), "{kind:x}");
        }
        let populate = |object, attributes: &[UteeAttribute]| {
            ta.store(list, attributes.as_bytes());
            let count = attributes.len() as u64;
            ta.call(svc::CRYP_OBJ_POPULATE, &[object, list, count])
        };
        let secret = |len| one(attribute::SECRET_VALUE, bytes, len);
        let aes = alloc(object_type::AES, 192).unwrap();
        assert_eq!(populate(aes, &[]), TeeResult::ITEM_NOT_FOUND);
        let other = one(attribute::RSA_MODULUS, bytes, 16);
        assert_eq!(populate(aes, &[other]), TeeResult::ITEM_NOT_FOUND);
        assert_eq!(
            populate(aes, &[secret(16), secret(16)]),
            TeeResult::ITEM_NOT_FOUND
        );
        assert_eq!(populate(aes, &[secret(33)]), TeeResult::SECURITY);
        assert_eq!(populate(aes, &[secret(32)]), TeeResult::BAD_STATE);
        assert_eq!(populate(aes, &[secret(17)]), TeeResult::BAD_PARAMETERS);
        assert_eq!(info(ta, aes).flags, 0);
        assert_eq!(populate(aes, &[secret(16)]), OK);
        assert_eq!(populate(aes, &[secret(16)]), TeeResult::BAD_PARAMETERS);
        let expected = UteeObjectInfo {
            object_type: object_type::AES,
            size_bits: 128,
            max_size_bits: 192,
            usage: usage::ALL,
            flags: handle_flag::INITIALIZED,
            ..UteeObjectInfo::default()
        };
        assert_eq!(info(ta, aes), expected);

        // Keys without bits of parity.
        let des = alloc(object_type::DES3, 112).unwrap();
        assert_eq!(populate(des, &[secret(16)]), OK);
        assert_eq!(info(ta, des).size_bits, 112);

        // All primes, or none.
        let rsa = alloc(object_type::RSA_KEYPAIR, 512).unwrap();
        ta.store(bytes, &[1; 512]);
        let numbers = [
            attribute::RSA_MODULUS,
            attribute::RSA_PUBLIC_EXPONENT,
            attribute::RSA_PRIVATE_EXPONENT,
            attribute::RSA_PRIME1,
            attribute::RSA_PRIME2,
            attribute::RSA_EXPONENT1,
            attribute::RSA_EXPONENT2,
            attribute::RSA_COEFFICIENT,
        ]
        .map(|id| one(id, bytes, 64));
        for count in [2, 4, 7] {
            assert_eq!(populate(rsa, &numbers[..count]), TeeResult::ITEM_NOT_FOUND);
        }
        assert_eq!(populate(rsa, &numbers[1..]), TeeResult::ITEM_NOT_FOUND);
        let long = one(attribute::RSA_PUBLIC_EXPONENT, bytes, 65);
        let with_long = [numbers[0], long, numbers[2]];
        assert_eq!(populate(rsa, &with_long), TeeResult::BAD_PARAMETERS);
        // Zeros before a number do not count.
        ta.store(bytes, &[0; 60]);
        assert_eq!(populate(rsa, &with_long), OK);
        let (out, room) = (ta.memory + 0x2000, ta.memory + 0x3000);
        ta.store(room, 100_u64.as_bytes());
        let args = [rsa, attribute::RSA_PUBLIC_EXPONENT.into(), out, room];
        ta.expect(OK, svc::CRYP_OBJ_GET_ATTR, &args);
        assert_eq!(
            (ta.load_u64(room), ta.load(out, 6)),
            (5, vec![1, 1, 1, 1, 1, 0])
        );
        let args = [rsa, attribute::RSA_PRIME1.into(), out, room];
        ta.expect(TeeResult::ITEM_NOT_FOUND, svc::CRYP_OBJ_GET_ATTR, &args);

        // A curve tells the size, and is two numbers.
        let ec = alloc(object_type::ECDSA_PUBLIC_KEY, 521).unwrap();
        let point = |curve| {
            [
                one(attribute::ECC_PUBLIC_VALUE_X, bytes, 48),
                one(attribute::ECC_PUBLIC_VALUE_Y, bytes, 48),
                one(attribute::ECC_CURVE, curve, 9),
            ]
        };
        assert_eq!(populate(ec, &point(99)), TeeResult::NOT_SUPPORTED);
        assert_eq!(populate(ec, &point(4)), OK);
        assert_eq!(info(ta, ec).size_bits, 384);
        let args = [ec, attribute::ECC_CURVE.into(), out, room];
        ta.store(room, 7_u64.as_bytes());
        ta.expect(TeeResult::SHORT_BUFFER, svc::CRYP_OBJ_GET_ATTR, &args);
        ta.store(room, 8_u64.as_bytes());
        ta.expect(OK, svc::CRYP_OBJ_GET_ATTR, &args);
        assert_eq!(ta.load_u64(out), 4);
    });
}

#[test]
fn a_secret_is_read_only_where_it_may_be() {
    with_ta(|ta| {
        let object = key(ta, object_type::GENERIC_SECRET, &[5; 100]);
        let (out, room) = (ta.memory, ta.memory + 0x1000);
        let args = [object, attribute::SECRET_VALUE.into(), out, room];
        ta.store(room, 99_u64.as_bytes());
        ta.expect(TeeResult::SHORT_BUFFER, svc::CRYP_OBJ_GET_ATTR, &args);
        assert_eq!(ta.load_u64(room), 100);
        ta.expect(OK, svc::CRYP_OBJ_GET_ATTR, &args);
        assert_eq!(ta.load(out, 100), [5; 100]);
        let restrict = u64::from(!usage::EXTRACTABLE);
        ta.expect(OK, svc::CRYP_OBJ_RESTRICT_USAGE, &[object, restrict]);
        ta.expect(
            OK,
            svc::CRYP_OBJ_RESTRICT_USAGE,
            &[object, u64::from(usage::ALL)],
        );
        ta.expect(TeeResult::BAD_PARAMETERS, svc::CRYP_OBJ_GET_ATTR, &args);
        // Nor from a copy.
        let copy = ta.handle(
            svc::CRYP_OBJ_ALLOC,
            &[object_type::GENERIC_SECRET.into(), 800],
        );
        let copy = copy.unwrap();
        ta.expect(OK, svc::CRYP_OBJ_COPY, &[copy, object]);
        let args = [copy, attribute::SECRET_VALUE.into(), out, room];
        ta.expect(TeeResult::BAD_PARAMETERS, svc::CRYP_OBJ_GET_ATTR, &args);
        ta.expect(OK, svc::CRYP_OBJ_RESET, &[copy]);
        ta.expect(TeeResult::BAD_PARAMETERS, svc::CRYP_OBJ_GET_ATTR, &args);
        ta.expect(
            TeeResult::BAD_PARAMETERS,
            svc::CRYP_OBJ_COPY,
            &[object, copy],
        );
        ta.expect(OK, svc::CRYP_OBJ_GENERATE_KEY, &[copy, 128, 0, 0]);
        ta.expect(
            TeeResult::BAD_STATE,
            svc::CRYP_OBJ_GENERATE_KEY,
            &[copy, 128, 0, 0],
        );
        ta.store(room, 100_u64.as_bytes());
        ta.expect(OK, svc::CRYP_OBJ_GET_ATTR, &args);
        assert_eq!(ta.load_u64(room), 16);
        let small = ta.handle(
            svc::CRYP_OBJ_ALLOC,
            &[object_type::GENERIC_SECRET.into(), 80],
        );
        let small = small.unwrap();
        // There is room for every secret of the type, whatever the object's size is: OP-TEE's xtest 4015 derives more.
        ta.expect(OK, svc::CRYP_OBJ_COPY, &[small, object]);
        ta.expect(OK, svc::CRYP_OBJ_RESET, &[small]);
        ta.expect(OK, svc::CRYP_OBJ_GENERATE_KEY, &[small, 128, 0, 0]);
        let aes = ta.handle(svc::CRYP_OBJ_ALLOC, &[object_type::AES.into(), 256]);
        let copied = [aes.unwrap(), object];
        ta.expect(TeeResult::BAD_PARAMETERS, svc::CRYP_OBJ_COPY, &copied);
    });
}

#[test]
fn a_states_keys_are_its_own_and_of_its_type() {
    with_ta(|ta| {
        let bad = Err(TeeResult::BAD_PARAMETERS);
        let aes = key(ta, object_type::AES, &KEY);
        let hmac = key(ta, object_type::HMAC_SHA256, &[1; 32]);
        for (number, keys) in [
            (algorithm::AES_CTR, [0, 0]),
            (algorithm::AES_CTR, [hmac, 0]),
            (algorithm::AES_CTR, [aes, aes]),
            (algorithm::AES_XTS, [aes, 0]),
            (algorithm::HMAC_SHA256, [aes, 0]),
            (algorithm::SHA256, [hmac, 0]),
        ] {
            assert_eq!(state(ta, number, mode::ENCRYPT, keys), bad, "{number:x}");
        }
        for (number, result) in [
            (0x1000_0f10, TeeResult::NOT_IMPLEMENTED),
            (0x3000_0f10, TeeResult::NOT_SUPPORTED),
            (0x0000_0010, TeeResult::NOT_SUPPORTED),
        ] {
            assert_eq!(state(ta, number, mode::ENCRYPT, [aes, 0]), Err(result));
        }
        let held = state(ta, algorithm::AES_CTR, mode::ENCRYPT, [aes, 0]).unwrap();
        assert_eq!(state(ta, algorithm::AES_CTR, mode::ENCRYPT, [aes, 0]), bad);
        ta.expect(TeeResult::ITEM_NOT_FOUND, svc::CRYP_OBJ_CLOSE, &[aes]);
        let (iv, room) = (ta.memory, ta.memory + 0x100);
        ta.expect(
            TeeResult::BAD_STATE,
            svc::CIPHER_UPDATE,
            &[held, iv, 1, iv, room],
        );
        ta.expect(TeeResult::BAD_PARAMETERS, svc::CIPHER_INIT, &[held, iv, 15]);
        ta.expect(TeeResult::BAD_PARAMETERS, svc::CIPHER_INIT, &[held, iv, 17]);
        ta.expect(TeeResult::BAD_PARAMETERS, svc::HASH_INIT, &[held, 0, 0]);
        ta.expect(
            TeeResult::BAD_STATE,
            svc::AUTHENC_INIT,
            &[held, iv, 12, 16, 0, 0],
        );
        ta.expect(OK, svc::CRYP_OBJ_RESET, &[aes]);
        ta.expect(TeeResult::BAD_PARAMETERS, svc::CIPHER_INIT, &[held, iv, 16]);
        // The key goes with its state.
        ta.expect(OK, svc::CRYP_STATE_FREE, &[held]);
        ta.expect(TeeResult::BAD_STATE, svc::CRYP_OBJ_CLOSE, &[aes]);
        ta.expect(OK, svc::CRYP_OBJ_CLOSE, &[hmac]);
        ta.expect(TeeResult::BAD_STATE, svc::CRYP_OBJ_CLOSE, &[hmac]);
    });
}

#[test]
fn a_copied_state_goes_its_own_way() {
    with_ta(|ta| {
        let (from, out, room) = (ta.memory, ta.memory + 0x100, ta.memory + 0x200);
        let finish = |state| {
            ta.store(room, 32_u64.as_bytes());
            ta.expect(OK, svc::HASH_FINAL, &[state, from, 5, out, room]);
            ta.load(out, 32)
        };
        let first = digest(ta);
        ta.expect(OK, svc::HASH_UPDATE, &[first, from, 10]);
        let second = state(ta, algorithm::SHA256, mode::DIGEST, [0; 2]).unwrap();
        ta.expect(OK, svc::CRYP_STATE_COPY, &[second, first]);
        ta.expect(OK, svc::CRYP_STATE_COPY, &[second, second]);
        assert_eq!(finish(second), finish(first));
        let other = state(ta, algorithm::SHA1, mode::DIGEST, [0; 2]).unwrap();
        ta.expect(
            TeeResult::BAD_PARAMETERS,
            svc::CRYP_STATE_COPY,
            &[other, first],
        );
    });
}

#[test]
fn a_ta_takes_no_more_than_it_leaves_to_others() {
    leaves_nothing(|world| {
        let takes_all = |ta: &Caller<'_>| {
            let rsa = [object_type::RSA_KEYPAIR.into(), 4096];
            let taken = (0..100).take_while(|_| ta.handle(svc::CRYP_OBJ_ALLOC, &rsa).is_ok());
            let taken = taken.count();
            ta.expect(
                TeeResult::OUT_OF_MEMORY,
                svc::CRYP_OBJ_ALLOC,
                &[rsa[0], rsa[1], ta.memory],
            );
            taken
        };
        let (first, second) = (Caller::new(world, MULTI), Caller::new(world, SHARED));
        let most = takes_all(&first);
        assert!(most >= 8, "{most}");
        let half = takes_all(&second);
        assert!(half.abs_diff(most / 2) <= 1, "{half} of {most}");
        // Whoever comes after two that take all they may has something, too.
        let third = Caller::new(world, SINGLE);
        let quarter = takes_all(&third);
        assert!(quarter.abs_diff(most / 4) <= 1, "{quarter} of {most}");
        first.close();
        assert!(takes_all(&third) > quarter);
        second.close();
        third.close();
    });
}

#[test]
fn keys_that_a_ta_leaves_go_one_by_one_with_interrupts_between_them() {
    leaves_nothing(|world| {
        let windows = |keys: u32| {
            let ta = Caller::new(world, MULTI);
            for _ in 0..keys {
                key(&ta, object_type::GENERIC_SECRET, &[1; 512]);
            }
            let before = world.kernel.machine.interruptible_calls();
            ta.close();
            world.kernel.machine.interruptible_calls() - before
        };
        assert_eq!(windows(30), windows(0) + 30);
    });
}
