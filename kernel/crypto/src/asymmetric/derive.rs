//! Keys from secrets: HKDF, the concatenation KDF, PBKDF2.
//!
//! Each writes as many bytes as there is room for.

use super::hash::{Hashed, finish_mac};
use super::{Error, Result};
use crate::symmetric::hash::Algorithm as Hash;
use crate::symmetric::mac::Hmac;

/// HKDF (RFC 5869).
///
/// # Errors
/// [`Error::Length`] if `to` is longer than 255 hashes.
pub fn hkdf(hash: Hash, secret: &[u8], salt: &[u8], info: &[u8], to: &mut [u8]) -> Result<()> {
    if to.len() > 255 * hash.bytes() {
        return Err(Error::Length);
    }
    let key = hash.mac(salt, &[secret]);
    let mut last = None;
    for (n, chunk) in (1_u8..=255).zip(to.chunks_mut(hash.bytes())) {
        let before = last.as_deref().unwrap_or_default();
        let block = hash.mac(&key, &[before, info, &[n]]);
        chunk.copy_from_slice(&block[..chunk.len()]);
        last = Some(block);
    }
    Ok(())
}

/// The single-step KDF of SP 800-56A §5.8.1 with a hash.
///
/// # Errors
/// [`Error::Length`] if `to` is longer than 2^32 - 1 hashes.
pub fn concat(hash: Hash, secret: &[u8], info: &[u8], to: &mut [u8]) -> Result<()> {
    if u32::try_from(to.len() / hash.bytes()).is_err() {
        return Err(Error::Length);
    }
    for (n, chunk) in (1_u32..).zip(to.chunks_mut(hash.bytes())) {
        let block = hash.of(&[&n.to_be_bytes(), secret, info]);
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
    Ok(())
}

/// A block of PBKDF2 with HMAC (RFC 8018 §5.2), round by round: a key may ask for millions.
pub struct Pbkdf2Block<'k> {
    hash: Hash,
    /// Has the password, and nothing else.
    keyed: &'k Hmac,
    last: Hashed,
    sum: Hashed,
}

impl<'k> Pbkdf2Block<'k> {
    /// The block of this number, from 1, after its first round.
    #[must_use]
    pub fn first(hash: Hash, keyed: &'k Hmac, salt: &[u8], number: u32) -> Self {
        let last = finish_mac(hash, keyed.clone(), &[salt, &number.to_be_bytes()]);
        let sum = last.clone();
        Self {
            hash,
            keyed,
            last,
            sum,
        }
    }

    /// After so many more.
    pub fn rounds(&mut self, n: u32) {
        for _ in 0..n {
            self.last = finish_mac(self.hash, self.keyed.clone(), &[&self.last]);
            self.sum.xor(&self.last);
        }
    }

    /// What it is by now.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.sum
    }
}
