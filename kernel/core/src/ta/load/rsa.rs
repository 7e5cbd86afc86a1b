//! RSA signatures of TA images: RSASSA-PSS and RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017).
//!
//! The arithmetic is `crypto-bigint`'s on slices, so that keys of every length share it, those of the build and those
//! that images bring: the `rsa` crate allocates on paths that cannot report failure, and the kernel may not abort for
//! want of memory. The key is public, so variable time is no concern.
//!
//! **Invariant:** a signature that is not exactly as long as the modulus is refused.

use core::ops::RangeInclusive;
use crypto_bigint::{Limb, UintRef};
use sha2::{Digest, Sha256};
use tally_abi::shdr::algo;

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
/// `DigestInfo` prefix of a SHA-256 digest (RFC 8017 §9.2 note 1).
const SHA256_PREFIX: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// A number of as many words as the modulus has; those above are 0.
type Number = [Limb; MAX_LIMBS];
/// A product of two.
type Product = [Limb; 2 * MAX_LIMBS];

/// A public key with exponent 65537.
#[derive(Debug)]
pub struct PublicKey {
    limbs: usize,
    modulus: Number,
    /// R squared modulo the modulus, where R is 2 to the power of the modulus' bits (Montgomery's).
    r_squared: Number,
    /// The negative inverse of the modulus modulo 2^64.
    inverse: Limb,
}

impl PublicKey {
    /// One that verifies nothing, until [`Self::set`].
    pub const NONE: Self = Self {
        limbs: 0,
        modulus: [Limb::ZERO; MAX_LIMBS],
        r_squared: [Limb::ZERO; MAX_LIMBS],
        inverse: Limb::ZERO,
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
        if modulus[0] & 0x80 == 0 || modulus[len - 1] & 1 == 0 {
            return false;
        }
        read(modulus, &mut self.modulus);
        self.limbs = len / 8;
        self.inverse = negative_inverse(self.modulus[0]);
        self.square_r();
        true
    }

    /// The modulus without the words that it has not.
    const fn modulus(&self) -> &UintRef {
        UintRef::new(&self.modulus).leading(self.limbs)
    }

    /// R is less than twice the modulus. So R - modulus is 1 in Montgomery's form, which doubled as often as there are
    /// words, and then squared six times, is 2 to the power of 64 times the words, which is R.
    const fn square_r(&mut self) {
        let mut number = [Limb::ZERO; MAX_LIMBS];
        let power = UintRef::new_mut(&mut number).leading_mut(self.limbs);
        power.borrowing_sub_assign(self.modulus(), Limb::ZERO);
        let mut n = 0;
        while n < self.limbs {
            let carry = power.shl1_assign();
            self.subtract(power, carry);
            n += 1;
        }
        let mut product = [Limb::ZERO; 2 * MAX_LIMBS];
        let product = UintRef::new_mut(&mut product).leading_mut(2 * self.limbs);
        let mut n = 0;
        while n < 6 {
            square(power, product);
            self.reduce(product, power);
            n += 1;
        }
        self.r_squared = number;
    }

    /// Subtracts the modulus of a number with a carry that is not less, but less than twice as much.
    const fn subtract(&self, number: &mut UintRef, carry: Limb) {
        if carry.0 != 0 || !is_less(number, self.modulus()) {
            number.borrowing_sub_assign(self.modulus(), Limb::ZERO);
        }
    }

    /// Montgomery's reduction (Handbook of Applied Cryptography 14.32): `product` / R modulo the modulus.
    const fn reduce(&self, product: &mut UintRef, to: &mut UintRef) {
        let mut n = 0;
        while n < self.limbs {
            let row = product.trailing_mut(n).leading_mut(self.limbs);
            let factor = row.as_limbs()[0].wrapping_mul(self.inverse);
            let carry = row.carrying_add_assign_mul_limb(self.modulus(), factor, Limb::ZERO);
            // The word is 0 now, and stands for that which the carry belongs to.
            row.as_mut_limbs()[0] = carry;
            n += 1;
        }
        let (carries, high) = product.split_at_mut(self.limbs);
        let carry = high.carrying_add_assign(carries, Limb::ZERO);
        self.subtract(high, carry);
        to.copy_from(high);
    }

    /// A number to the power of 65537, big-endian. Its own function: the arithmetic's numbers are off the stack afterwards.
    #[inline(never)]
    fn power(&self, number: &Number, to: &mut [u8]) {
        let number = UintRef::new(number).leading(self.limbs);
        let r_squared = UintRef::new(&self.r_squared).leading(self.limbs);
        let mut power: Number = [Limb::ZERO; MAX_LIMBS];
        let power = UintRef::new_mut(&mut power).leading_mut(self.limbs);
        let mut product: Product = [Limb::ZERO; 2 * MAX_LIMBS];
        let product = UintRef::new_mut(&mut product).leading_mut(2 * self.limbs);
        multiply(number, r_squared, product);
        self.reduce(product, power);
        for _ in 0..16 {
            square(power, product);
            self.reduce(product, power);
        }
        // By a number that is not in Montgomery's form, which leaves none.
        multiply(power, number, product);
        self.reduce(product, power);
        write(power, to);
    }

    /// The modulus, big-endian.
    pub(super) fn write_modulus<'t>(&self, to: &'t mut [u8; MAX_MODULUS_LEN]) -> &'t [u8] {
        let (to, _) = to.split_at_mut(self.limbs * 8);
        write(self.modulus(), to);
        to
    }

    /// Whether `signature` by algorithm `algorithm` (see [`algo`]) is this key's over `digest`.
    #[must_use]
    pub fn verifies(&self, algorithm: u32, digest: &[u8; DIGEST_LEN], signature: &[u8]) -> bool {
        let len = self.limbs * 8;
        if len == 0 || signature.len() != len {
            return false;
        }
        let mut number = [Limb::ZERO; MAX_LIMBS];
        read(signature, &mut number);
        let is_number = is_less(UintRef::new(&number).leading(self.limbs), self.modulus());
        let mut encoded = [0; MAX_MODULUS_LEN];
        let Some(encoded) = encoded.get_mut(..len).filter(|_| is_number) else {
            return false;
        };
        self.power(&number, encoded);
        match algorithm {
            algo::RSASSA_PKCS1_PSS_MGF1_SHA256 => pss_holds(encoded, digest),
            algo::RSASSA_PKCS1_V1_5_SHA256 => pkcs1_v1_5_holds(encoded, digest),
            _ => false,
        }
    }
}

/// A big-endian number of whole words that fits.
const fn read(bytes: &[u8], to: &mut Number) {
    let mut n = 0;
    while let Some((_, last)) = bytes.split_at(bytes.len() - 8 * n).0.split_last_chunk() {
        to[n] = Limb(u64::from_be_bytes(*last));
        n += 1;
    }
}

/// A number, big-endian.
fn write(number: &UintRef, to: &mut [u8]) {
    for (bytes, limb) in to.chunks_exact_mut(8).zip(number.iter().rev()) {
        bytes.copy_from_slice(&limb.0.to_be_bytes());
    }
}

/// Compares two numbers of as many words.
const fn is_less(x: &UintRef, y: &UintRef) -> bool {
    let mut n = x.nlimbs();
    while n > 0 {
        n -= 1;
        let (x, y) = (x.as_limbs()[n].0, y.as_limbs()[n].0);
        if x != y {
            return x < y;
        }
    }
    false
}

/// Of an odd word, modulo 2^64: each of Newton's steps doubles the bits that are right, of which an odd number is its own
/// inverse in three.
const fn negative_inverse(odd: Limb) -> Limb {
    let mut inverse = odd.0;
    let mut n = 0;
    while n < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.0.wrapping_mul(inverse)));
        n += 1;
    }
    Limb(inverse.wrapping_neg())
}

/// Two numbers of as many words, and a product of twice as many.
const fn multiply(x: &UintRef, y: &UintRef, to: &mut UintRef) {
    to.fill(Limb::ZERO);
    let limbs = x.nlimbs();
    let mut n = 0;
    while n < limbs {
        let (row, above) = to.trailing_mut(n).split_at_mut(limbs);
        let carry = row.carrying_add_assign_mul_limb(y, x.as_limbs()[n], Limb::ZERO);
        above.as_mut_limbs()[0] = carry;
        n += 1;
    }
}

/// As [`multiply`] of a number with itself: each pair of words once, doubled, and the squares of the words.
const fn square(x: &UintRef, to: &mut UintRef) {
    to.fill(Limb::ZERO);
    let limbs = x.nlimbs();
    let mut n = 0;
    while n + 1 < limbs {
        let (row, above) = to.trailing_mut(2 * n + 1).split_at_mut(limbs - n - 1);
        let carry =
            row.carrying_add_assign_mul_limb(x.trailing(n + 1), x.as_limbs()[n], Limb::ZERO);
        above.as_mut_limbs()[0] = carry;
        n += 1;
    }
    to.shl1_assign();
    let (mut n, mut carry) = (0, Limb::ZERO);
    let to = to.as_mut_limbs();
    while n < limbs {
        let word = x.as_limbs()[n];
        (to[2 * n], carry) = word.carrying_mul_add(word, to[2 * n], carry);
        (to[2 * n + 1], carry) = to[2 * n + 1].carrying_add(carry, Limb::ZERO);
        n += 1;
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
