//! RSA signatures of TA images: RSASSA-PSS and RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017).
//!
//! The key is public, so variable time is no concern.
//!
//! **Invariant:** a signature that is not exactly as long as the modulus is refused.

use core::ops::RangeInclusive;
use tally_abi::shdr::algo;
use tally_crypto::asymmetric::Word;
use tally_crypto::asymmetric::montgomery::Modulus;
use tally_crypto::asymmetric::padding::{self, Hashes};
use tally_crypto::asymmetric::rsa;
use tally_crypto::symmetric::hash::Algorithm as Hash;

/// Bytes of a SHA-256 digest.
pub const DIGEST_LEN: usize = 32;
/// Bytes of a modulus, in steps of 8: 2048 to 4096 bits.
pub const MODULUS_LEN: RangeInclusive<usize> = 256..=MAX_MODULUS_LEN;
/// Bytes of the longest modulus.
pub const MAX_MODULUS_LEN: usize = 512;
/// Words of the longest modulus.
const MAX_LIMBS: usize = MAX_MODULUS_LEN / 8;
/// The one exponent of all keys, big-endian.
pub const EXPONENT: [u8; 3] = [1, 0, 1];
/// A number of as many words as the modulus has; those above are 0.
type Number = [Word; MAX_LIMBS];
/// A product of two.
type Product = [Word; 2 * MAX_LIMBS];
const _: () = assert!(size_of::<Number>() == MAX_MODULUS_LEN);
const _: () = assert!(size_of::<Product>() == 2 * MAX_MODULUS_LEN);

/// A public key with exponent 65537.
#[derive(Debug)]
pub struct PublicKey {
    limbs: usize,
    modulus: Number,
    /// What [`Modulus`] keeps with it.
    r_squared: Number,
}

impl PublicKey {
    /// One that verifies nothing, until [`Self::set`].
    pub const NONE: Self = Self {
        limbs: 0,
        modulus: [Word::ZERO; MAX_LIMBS],
        r_squared: [Word::ZERO; MAX_LIMBS],
    };

    /// From the big-endian modulus; `None` if [`Self::set`] refuses it or a small number divides it: the numbers that
    /// stand in for a key (all ones, as in erased flash) have small divisors. Costs nothing at run time when it
    /// initialises a constant.
    #[must_use]
    pub const fn from_modulus(modulus: &[u8]) -> Option<Self> {
        let mut key = Self::NONE;
        if !has_small_divisor(modulus) && key.set(modulus) {
            Some(key)
        } else {
            None
        }
    }

    /// Makes it the key with this big-endian modulus. Refused, and then none, is one that is even, has fewer bits than
    /// its words have, or more or fewer words than [`MODULUS_LEN`] says.
    #[must_use]
    pub const fn set(&mut self, modulus: &[u8]) -> bool {
        *self = Self::NONE;
        let len = modulus.len();
        if len < *MODULUS_LEN.start() || *MODULUS_LEN.end() < len || !len.is_multiple_of(8) {
            return false;
        }
        if modulus[0] & 0x80 == 0 {
            return false;
        }
        let mut product: Product = [Word::ZERO; 2 * MAX_LIMBS];
        if Modulus::new(
            modulus,
            &mut self.modulus,
            &mut self.r_squared,
            &mut product,
        )
        .is_none()
        {
            *self = Self::NONE;
            return false;
        }
        self.limbs = len / 8;
        true
    }

    /// The modulus; there is one.
    fn modulus(&self) -> Modulus<'_> {
        Modulus::kept(&self.modulus[..self.limbs], &self.r_squared[..self.limbs])
    }

    /// Decrypts a signature; false if it is none. Its own function: the numbers are off the stack afterwards.
    #[inline(never)]
    fn decrypt(&self, signature: &[u8], to: &mut [u8]) -> bool {
        let mut words = [Word::ZERO; rsa::public_words(MAX_LIMBS)];
        rsa::public_by(self.modulus(), &EXPONENT, signature, &mut words, to).is_ok()
    }

    /// The modulus, big-endian.
    pub(super) fn write_modulus<'t>(&self, to: &'t mut [u8; MAX_MODULUS_LEN]) -> &'t [u8] {
        let (to, _) = to.split_at_mut(self.limbs * 8);
        self.modulus().write(to);
        to
    }

    /// Whether `signature` by algorithm `algorithm` (see [`algo`]) is this key's over `digest`.
    #[must_use]
    pub fn verifies(&self, algorithm: u32, digest: &[u8; DIGEST_LEN], signature: &[u8]) -> bool {
        let len = self.limbs * 8;
        if len == 0 || signature.len() != len {
            return false;
        }
        let mut encoded = [0; MAX_MODULUS_LEN];
        let encoded = &mut encoded[..len];
        if !self.decrypt(signature, encoded) {
            return false;
        }
        let hash = Hash::Sha256;
        let verified = match algorithm {
            algo::RSASSA_PKCS1_PSS_MGF1_SHA256 => {
                let hashes = Hashes { hash, mask: hash };
                padding::verify_pss(hashes, digest, None, 8 * len, encoded)
            }
            algo::RSASSA_PKCS1_V1_5_SHA256 => padding::verify_pkcs1(Some(hash), digest, encoded),
            _ => return false,
        };
        verified.is_ok()
    }
}

/// Whether an odd number below 256 divides a big-endian number.
const fn has_small_divisor(number: &[u8]) -> bool {
    let mut divisor = 3;
    while divisor < 256 {
        let (mut rest, mut at) = (0, 0);
        while at < number.len() {
            rest = (rest * 256 + number[at] as u32) % divisor;
            at += 1;
        }
        if rest == 0 {
            return true;
        }
        divisor += 2;
    }
    false
}
