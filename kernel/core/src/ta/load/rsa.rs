//! RSA signatures of TA images: RSASSA-PSS and RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017).
//!
//! The arithmetic is `crypto-bigint`'s, on the stack: the `rsa` crate allocates on paths that
//! cannot report failure, and the kernel may not abort for want of memory. The key is public, so
//! variable time is no concern.
//!
//! **Invariant:** a signature that is not exactly as long as the modulus is refused.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U2048, Uint};
use sha2::{Digest, Sha256};
use tally_abi::shdr::algo;

/// Bytes of a SHA-256 digest.
pub const DIGEST_LEN: usize = 32;
/// Bytes of a modulus.
pub const MODULUS_LEN: usize = 256;
/// `DigestInfo` prefix of a SHA-256 digest (RFC 8017 §9.2 note 1).
const SHA256_PREFIX: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// A 2048-bit public key with exponent 65537.
#[derive(Debug)]
pub struct PublicKey {
    params: FixedMontyParams<{ U2048::LIMBS }>,
}

impl PublicKey {
    /// From the big-endian modulus; `None` if a small number divides it, or it has fewer bits than [`MODULUS_LEN`]
    /// says or more: the numbers that stand in for a key (all ones, as in erased flash) have small divisors. Costs nothing at run time when it initialises a constant.
    #[must_use]
    pub const fn from_modulus(modulus: &[u8]) -> Option<Self> {
        if modulus.len() != MODULUS_LEN || modulus[0] & 0x80 == 0 || has_small_divisor(modulus) {
            return None;
        }
        let n: U2048 = Uint::from_be_slice(modulus);
        match n.to_odd().into_option_copied() {
            Some(odd) => Some(Self {
                params: params_of(odd),
            }),
            None => None,
        }
    }

    /// Whether `signature` by algorithm `algorithm` (see [`algo`]) is this key's over `digest`.
    #[must_use]
    pub fn verifies(&self, algorithm: u32, digest: &[u8; DIGEST_LEN], signature: &[u8]) -> bool {
        if signature.len() != MODULUS_LEN {
            return false;
        }
        let s: U2048 = Uint::from_be_slice(signature);
        if s >= *self.params.modulus().as_ref() {
            return false;
        }
        let base = FixedMontyForm::new(&s, &self.params);
        let power = base.square_repeat_vartime(16).mul(&base);
        let encoded = power.retrieve().to_be_bytes();
        let encoded: &[u8] = encoded.as_ref();
        match algorithm {
            algo::RSASSA_PKCS1_PSS_MGF1_SHA256 => pss_holds(encoded, digest),
            algo::RSASSA_PKCS1_V1_5_SHA256 => pkcs1_v1_5_holds(encoded, digest),
            _ => false,
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

const fn params_of(odd: Odd<U2048>) -> FixedMontyParams<{ U2048::LIMBS }> {
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
    let mut db = [0_u8; MODULUS_LEN];
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
    let mut expected = [0xff_u8; MODULUS_LEN];
    let info = MODULUS_LEN - DIGEST_LEN - SHA256_PREFIX.len();
    expected[0] = 0;
    expected[1] = 1;
    expected[info - 1] = 0;
    expected[info..info + SHA256_PREFIX.len()].copy_from_slice(&SHA256_PREFIX);
    expected[MODULUS_LEN - DIGEST_LEN..].copy_from_slice(digest);
    encoded == expected
}
