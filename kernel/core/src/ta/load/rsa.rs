//! RSA signatures of TA images: RSASSA-PSS and RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017).
//!
//! The arithmetic is `crypto-bigint`'s, on the stack: the `rsa` crate allocates on paths that
//! cannot report failure, and the kernel may not abort for want of memory. The key is public, so
//! variable time is no concern.
//!
//! **Invariant:** a signature that is not exactly as long as the modulus is refused.

use core::fmt::Debug;
use core::ops::RangeInclusive;
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, Uint};
use sha2::{Digest, Sha256};
use tally_abi::shdr::algo;

/// Bytes of a SHA-256 digest.
pub const DIGEST_LEN: usize = 32;
/// Bytes of a modulus, in steps of 8: 2048 to 4096 bits.
pub const MODULUS_LEN: RangeInclusive<usize> = 256..=MAX_MODULUS_LEN;
/// Bytes of the longest modulus.
pub const MAX_MODULUS_LEN: usize = 512;
/// `DigestInfo` prefix of a SHA-256 digest (RFC 8017 §9.2 note 1).
const SHA256_PREFIX: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// A public key of whatever length.
pub trait Verify: Debug + Sync {
    /// Bytes of its modulus, and so of its signatures.
    fn modulus_len(&self) -> usize;

    /// Whether `signature` by algorithm `algorithm` (see [`algo`]) is this key's over `digest`.
    fn verifies(&self, algorithm: u32, digest: &[u8; DIGEST_LEN], signature: &[u8]) -> bool;
}

/// A public key with exponent 65537 whose modulus has so many words of 64 bits.
#[derive(Debug)]
pub struct PublicKey<const LIMBS: usize> {
    params: FixedMontyParams<LIMBS>,
}

impl<const LIMBS: usize> PublicKey<LIMBS> {
    const LEN: usize = LIMBS * 8;

    /// From the big-endian modulus; `None` if a small number divides it, or it has fewer bits than its words have or more,
    /// or than [`MODULUS_LEN`] says: the numbers that stand in for a key (all ones, as in erased flash) have small divisors.
    /// Costs nothing at run time when it initialises a constant.
    #[must_use]
    pub const fn from_modulus(modulus: &[u8]) -> Option<Self> {
        let is_allowed = *MODULUS_LEN.start() <= Self::LEN && Self::LEN <= *MODULUS_LEN.end();
        if !is_allowed || modulus.len() != Self::LEN {
            return None;
        }
        if modulus[0] & 0x80 == 0 || has_small_divisor(modulus) {
            return None;
        }
        let n: Uint<LIMBS> = Uint::from_be_slice(modulus);
        match n.to_odd().into_option_copied() {
            Some(odd) => Some(Self {
                params: params_of(odd),
            }),
            None => None,
        }
    }
}

impl<const LIMBS: usize> Verify for PublicKey<LIMBS> {
    fn modulus_len(&self) -> usize {
        Self::LEN
    }

    fn verifies(&self, algorithm: u32, digest: &[u8; DIGEST_LEN], signature: &[u8]) -> bool {
        if signature.len() != Self::LEN {
            return false;
        }
        let s: Uint<LIMBS> = Uint::from_be_slice(signature);
        if s >= *self.params.modulus().as_ref() {
            return false;
        }
        let mut encoded = [0; MAX_MODULUS_LEN];
        let Some(encoded) = encoded.get_mut(..Self::LEN) else {
            return false;
        };
        self.power(&s, encoded);
        match algorithm {
            algo::RSASSA_PKCS1_PSS_MGF1_SHA256 => pss_holds(encoded, digest),
            algo::RSASSA_PKCS1_V1_5_SHA256 => pkcs1_v1_5_holds(encoded, digest),
            _ => false,
        }
    }
}

impl<const LIMBS: usize> PublicKey<LIMBS> {
    /// A number to the power of 65537, big-endian. Its own function: the arithmetic's numbers are off the stack afterwards.
    #[inline(never)]
    fn power(&self, s: &Uint<LIMBS>, to: &mut [u8]) {
        let base = FixedMontyForm::new(s, &self.params);
        let power = base.square_repeat_vartime(16).mul(&base).retrieve();
        let limbs = power.as_limbs().iter().rev();
        for (bytes, limb) in to.chunks_exact_mut(8).zip(limbs) {
            bytes.copy_from_slice(&limb.0.to_be_bytes());
        }
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

const fn params_of<const LIMBS: usize>(odd: Odd<Uint<LIMBS>>) -> FixedMontyParams<LIMBS> {
    FixedMontyParams::new_vartime(odd)
}

/// EMSA-PSS-VERIFY (RFC 8017 §9.1.2) with any salt length; the modulus is a multiple of 8 bits.
fn pss_holds(encoded: &[u8], digest: &[u8; DIGEST_LEN]) -> bool {
    let Some((&0xbc, rest)) = encoded.split_last() else {
        return false;
    };
    let Some(split) = rest.len().checked_sub(DIGEST_LEN) else {
        return false;
    };
    let (masked, hash) = rest.split_at(split);
    let mut db = [0_u8; MAX_MODULUS_LEN];
    let Some(db) = db.get_mut(..masked.len()) else {
        return false;
    };
    db.copy_from_slice(masked);
    if db[0] & 0x80 != 0 {
        return false;
    }
    for (counter, chunk) in (0_u32..).zip(db.chunks_mut(DIGEST_LEN)) {
        let mask = Sha256::new()
            .chain_update(hash)
            .chain_update(counter.to_be_bytes())
            .finalize();
        for (byte, mask) in chunk.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    db[0] &= 0x7f;
    let Some(one) = db.iter().position(|&byte| byte != 0) else {
        return false;
    };
    if db[one] != 1 {
        return false;
    }
    let salt = &db[one + 1..];
    let expected = Sha256::new()
        .chain_update([0; 8])
        .chain_update(digest)
        .chain_update(salt)
        .finalize();
    expected.as_slice() == hash
}

/// EMSA-PKCS1-v1_5 (RFC 8017 §9.2): compared with the one valid encoding.
fn pkcs1_v1_5_holds(encoded: &[u8], digest: &[u8; DIGEST_LEN]) -> bool {
    let Some((rest, last)) = encoded.split_last_chunk::<DIGEST_LEN>() else {
        return false;
    };
    let Some((rest, prefix)) = rest.split_last_chunk::<{ SHA256_PREFIX.len() }>() else {
        return false;
    };
    let [0, 1, padding @ .., 0] = rest else {
        return false;
    };
    last == digest && *prefix == SHA256_PREFIX && padding.iter().all(|byte| *byte == 0xff)
}
