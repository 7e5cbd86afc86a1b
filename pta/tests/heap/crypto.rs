//! Keys and operations of a TA, each block of which is refused in turn.

use crate::{
    CHARGED, REFUSED_AFTER, WATCHED_BYTES, WATCHED_OWNER, alone, by_use, with_each_block_refused,
};
use std::sync::atomic::Ordering;
use tally_abi::crypto::{UteeAttribute, algorithm, attribute, curve, mode, object_type};
use tally_abi::ta::svc;
use tally_abi::{TeeResult, TeeUuid};
use tally_account::book::{Book, Shown};
use tally_account::testing::world;
use tally_core::ta::crypto::object::Object;
use tally_core::testing::caller::Caller;
use zerocopy::IntoBytes;

const TA: TeeUuid = TeeUuid::from_u128(0x11);

/// A key, and an operation of each class with one; what the TA holds is as before if something is refused.
fn round(ta: &Caller<'_, Book>) -> Result<(), TeeResult> {
    let held = held(ta);
    let mut taken = Vec::new();
    let done = take(ta, &mut taken);
    for (free, handle) in taken.into_iter().rev() {
        ta.expect(TeeResult::SUCCESS, free, &[handle]);
    }
    assert_eq!(self::held(ta), held);
    done
}

/// Bytes, objects and states.
fn held(ta: &Caller<'_, Book>) -> (usize, usize, usize) {
    let state = ta.world.kernel.state();
    let holdings = state.instance(ta.instance).unwrap().holdings();
    holdings.map_or((0, 0, 0), |held| {
        (held.bytes(), held.objects.len(), held.states.len())
    })
}

fn take(ta: &Caller<'_, Book>, taken: &mut Vec<(u64, u64)>) -> Result<(), TeeResult> {
    let attributes = ta.memory + 0x100;
    let secret = UteeAttribute {
        a: ta.memory,
        b: 16,
        id: attribute::SECRET_VALUE,
        padding: 0,
    };
    ta.store(attributes, secret.as_bytes());
    for (algorithm, mode, begin) in [
        (algorithm::SHA256, mode::DIGEST, svc::HASH_INIT),
        (algorithm::AES_CMAC, mode::MAC, svc::HASH_INIT),
        (algorithm::AES_CTR, mode::ENCRYPT, svc::CIPHER_INIT),
        (algorithm::AES_GCM, mode::ENCRYPT, svc::AUTHENC_INIT),
    ] {
        let mut key = 0;
        if mode != mode::DIGEST {
            key = ta.handle(svc::CRYP_OBJ_ALLOC, &[object_type::AES.into(), 128])?;
            taken.push((svc::CRYP_OBJ_CLOSE, key));
            ta.call(svc::CRYP_OBJ_POPULATE, &[key, attributes, 1])
                .ok()?;
        }
        let args = [algorithm.into(), mode.into(), key, 0];
        let state = ta.handle(svc::CRYP_STATE_ALLOC, &args)?;
        if mode != mode::DIGEST {
            taken.pop();
        }
        taken.push((svc::CRYP_STATE_FREE, state));
        ta.call(begin, &[state, ta.memory, 16, 16, 0, 0]).ok()?;
    }
    sign(ta, taken)
}

/// Makes a pair and signs with it.
fn sign(ta: &Caller<'_, Book>, taken: &mut Vec<(u64, u64)>) -> Result<(), TeeResult> {
    let (attributes, len) = (ta.memory + 0x100, ta.memory + 0x200);
    let curve = UteeAttribute {
        a: curve::NIST_P256.into(),
        b: 0,
        id: attribute::ECC_CURVE,
        padding: 0,
    };
    ta.store(attributes, curve.as_bytes());
    ta.store(len, 64_u64.as_bytes());
    let key = ta.handle(
        svc::CRYP_OBJ_ALLOC,
        &[object_type::ECDSA_KEYPAIR.into(), 256],
    )?;
    taken.push((svc::CRYP_OBJ_CLOSE, key));
    ta.call(svc::CRYP_OBJ_GENERATE_KEY, &[key, 256, attributes, 1])
        .ok()?;
    let args = [algorithm::ECDSA_SHA256.into(), mode::SIGN.into(), key, 0];
    let state = ta.handle(svc::CRYP_STATE_ALLOC, &args)?;
    taken.pop();
    taken.push((svc::CRYP_STATE_FREE, state));
    let args = [state, 0, 0, ta.memory, 32, ta.memory + 0x300, len];
    ta.call(svc::ASYMM_OPERATE, &args).ok()
}

#[test]
fn whichever_block_of_a_tas_cryptography_is_refused_nothing_is_left_behind() {
    let _alone = alone();
    let world = world(tally_pta::ALL, Shown::default());
    world.install(TA, 0, 300);
    let (before, pages) = (world.accounts(), by_use(&world));
    let blocks = CHARGED.load(Ordering::Relaxed);
    let ta = Caller::new(&world, TA);
    let new = CHARGED.load(Ordering::Relaxed);
    for refused in 0..5 {
        REFUSED_AFTER.store(refused, Ordering::Relaxed);
        assert_eq!(round(&ta), Err(TeeResult::OUT_OF_MEMORY));
        // Once it has had something, the table of what it has stays.
        let now = CHARGED.load(Ordering::Relaxed);
        assert_eq!(now, new + isize::from(refused == 4), "block {refused}");
    }
    let own = CHARGED.load(Ordering::Relaxed);
    let is_right = |done| done == Err(TeeResult::OUT_OF_MEMORY);
    let refused = with_each_block_refused(|| round(&ta), is_right);
    // Three keys of two blocks, four states of two, and the tables; a pair and its state, and room to make it and to sign.
    assert!(refused >= 24, "{refused}");
    // What it never gave back goes with it.
    let mut taken = Vec::new();
    assert_eq!(take(&ta, &mut taken), Ok(()));
    assert!(CHARGED.load(Ordering::Relaxed) > own);
    ta.close();
    assert_eq!(CHARGED.load(Ordering::Relaxed), blocks);
    assert_eq!((world.accounts(), by_use(&world)), (before, pages));
}

#[test]
fn a_key_is_charged_to_its_ta() {
    let _alone = alone();
    let world = world(tally_pta::ALL, Shown::default());
    world.install(TA, 0, 300);
    let ta = Caller::new(&world, TA);
    let owner = {
        let state = world.kernel.state();
        state.instance(ta.instance).unwrap().owner
    };
    for bytes in [size_of::<Object>(), 512] {
        WATCHED_BYTES.store(bytes, Ordering::Relaxed);
        let args = [object_type::GENERIC_SECRET.into(), 4000];
        let key = ta.handle(svc::CRYP_OBJ_ALLOC, &args).unwrap();
        WATCHED_BYTES.store(0, Ordering::Relaxed);
        assert_eq!(WATCHED_OWNER.swap(0, Ordering::Relaxed), owner.0, "{bytes}");
        ta.expect(TeeResult::SUCCESS, svc::CRYP_OBJ_CLOSE, &[key]);
    }
    ta.close();
}
