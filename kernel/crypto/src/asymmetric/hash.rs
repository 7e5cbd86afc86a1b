//! Digests and codes of texts in a few pieces, for schemes and derivations.

use crate::symmetric::hash::{Algorithm, Hash, MAX_DIGEST};
use crate::symmetric::mac::Hmac;
use crate::symmetric::xor;
use core::ops::Deref;
use zeroize::Zeroize;

/// What a hash made of a text; zeroed when it goes.
#[derive(Clone, Debug)]
pub struct Hashed {
    bytes: [u8; MAX_DIGEST],
    len: usize,
}

impl Hashed {
    fn new(algorithm: Algorithm, finish: impl FnOnce(&mut [u8])) -> Self {
        let mut hashed = Self {
            bytes: [0; MAX_DIGEST],
            len: algorithm.bytes(),
        };
        finish(&mut hashed.bytes[..hashed.len]);
        hashed
    }

    /// Adds another one of the same hash, bit by bit.
    pub(super) fn xor(&mut self, other: &Self) {
        xor(&mut self.bytes, &other.bytes);
    }
}

impl Deref for Hashed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Hashed {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl Algorithm {
    /// Bytes of a digest; of those that give as many as one wants, as many as the longest has.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.digest_bytes().unwrap_or(MAX_DIGEST)
    }

    /// The digest of pieces, one behind the other.
    #[must_use]
    #[inline(never)]
    pub fn of(self, pieces: &[&[u8]]) -> Hashed {
        let mut hash = Hash::new(self);
        for piece in pieces {
            hash.update(piece);
        }
        Hashed::new(self, |to| hash.finish(to))
    }

    /// HMAC of pieces.
    #[must_use]
    pub(super) fn mac(self, key: &[u8], pieces: &[&[u8]]) -> Hashed {
        finish_mac(self, Hmac::new(self, key), pieces)
    }
}

/// HMAC of pieces, by one that has its key.
#[inline(never)]
pub(super) fn finish_mac(algorithm: Algorithm, mut mac: Hmac, pieces: &[&[u8]]) -> Hashed {
    for piece in pieces {
        mac.update(piece);
    }
    Hashed::new(algorithm, |to| mac.finish(to))
}
