//! Numbers modulo an odd one, in Montgomery's form, on slices of words.
//!
//! The words' arithmetic is `crypto-bigint`'s. Its numbers of fixed size would be compiled once for each length of a key
//! and each curve (240 KiB for six curves), those of any size allocate; here one code serves all lengths.
//!
//! **Invariant:** what an operation takes depends on lengths and moduli, never on the numbers, unless its name says
//! `public`. A number is less than its modulus.

use super::{Error, Words};
use crypto_bigint::{Choice, Limb, UintRef};

/// Numbers of the table of [`Modulus::power`].
pub(super) const TABLE: usize = 16;

/// An odd modulus without leading zeros. All numbers have as many words, a `product` has twice as many.
#[derive(Clone, Copy, Debug)]
pub struct Modulus<'m> {
    /// The modulus itself.
    pub number: &'m UintRef,
    /// R squared modulo the modulus, where R is 2 to the power of the bits that its words have.
    r_squared: &'m UintRef,
    /// The negative inverse of the modulus modulo 2^64.
    inverse: Limb,
}

impl<'m> Modulus<'m> {
    /// From the big-endian number, which is kept in `words`; what goes with it is kept in `r_squared`, as long. `product` is scratch of
    /// twice that. `None` if it is even, 1, or too long.
    #[must_use]
    pub const fn new(
        modulus: &[u8],
        words: &'m mut [Limb],
        r_squared: &'m mut [Limb],
        product: &mut [Limb],
    ) -> Option<Self> {
        if !read(modulus, words) {
            return None;
        }
        let limbs = significant(words);
        if limbs == 0 || words[0].0 & 1 == 0 || (limbs == 1 && words[0].0 == 1) {
            return None;
        }
        let number = UintRef::new(words).leading(limbs);
        let r_squared = UintRef::new_mut(r_squared).leading_mut(limbs);
        let inverse = negative_inverse(number.as_limbs()[0]);
        // Its own square is not needed to compute it.
        let unfinished = Modulus {
            number,
            r_squared: number,
            inverse,
        };
        unfinished.square_r(r_squared, UintRef::new_mut(product).leading_mut(2 * limbs));
        Some(Self {
            number,
            r_squared,
            inverse,
        })
    }

    /// From what [`Self::new`] had kept, without the words that the modulus has not.
    #[must_use]
    pub const fn kept(words: &'m [Limb], r_squared: &'m [Limb]) -> Self {
        Self {
            number: UintRef::new(words),
            r_squared: UintRef::new(r_squared),
            inverse: negative_inverse(words[0]),
        }
    }

    /// Words of its numbers.
    #[must_use]
    pub const fn limbs(self) -> usize {
        self.number.nlimbs()
    }

    /// Bytes of the modulus.
    #[must_use]
    pub const fn bytes(self) -> usize {
        bits(self.number.as_limbs()).div_ceil(8)
    }

    /// Writes the modulus, big-endian, into as many bytes as it has.
    pub fn write(self, to: &mut [u8]) {
        write(self.number, to);
    }

    /// The highest power of 2 below the modulus, doubled until it is R times 2 to the power of the words, and squared
    /// six times, is R times 2 to the power of 64 times the words, which is R squared.
    const fn square_r(self, power: &mut UintRef, product: &mut UintRef) {
        let limbs = self.limbs();
        power.fill(Limb::ZERO);
        let top = bits(self.number.as_limbs()) - 1;
        power.as_mut_limbs()[top / 64] = Limb(1 << (top % 64));
        let mut n = top;
        while n < 65 * limbs {
            let carry = power.shl1_assign();
            self.subtract_once(power, carry);
            n += 1;
        }
        let mut n = 0;
        while n < 6 {
            square(power, product);
            self.reduce(product, power);
            n += 1;
        }
    }

    /// Subtracts the modulus of a number with a carry that is less than twice as much, unless it is less.
    const fn subtract_once(self, number: &mut UintRef, carry: Limb) {
        let borrow = number.borrowing_sub_assign(self.number, Limb::ZERO);
        let was_less = Choice::from_u8_lsb((borrow.0 & 1 & !carry.0) as u8);
        number.conditional_add_assign(self.number, Limb::ZERO, was_less);
    }

    /// Montgomery's reduction (Handbook of Applied Cryptography 14.32): `product` / R modulo the modulus, for a product less
    /// than the modulus times R.
    pub const fn reduce(self, product: &mut UintRef, to: &mut UintRef) {
        let limbs = self.limbs();
        let mut n = 0;
        while n < limbs {
            let row = product.trailing_mut(n).leading_mut(limbs);
            let factor = row.as_limbs()[0].wrapping_mul(self.inverse);
            let carry = add_row(row, self.number, factor);
            // The word is 0 now, and stands for that which the carry belongs to.
            row.as_mut_limbs()[0] = carry;
            n += 1;
        }
        let (carries, high) = product.split_at_mut(limbs);
        let carry = high.carrying_add_assign(carries, Limb::ZERO);
        self.subtract_once(high, carry);
        to.copy_from(high);
    }

    /// `x` times `y` / R.
    pub const fn multiply(self, x: &UintRef, y: &UintRef, product: &mut UintRef, to: &mut UintRef) {
        multiply(x, y, product);
        self.reduce(product, to);
    }

    /// `x` becomes its product with `y` / R.
    pub const fn multiply_assign(self, x: &mut UintRef, y: &UintRef, product: &mut UintRef) {
        multiply(x, y, product);
        self.reduce(product, x);
    }

    /// `x` becomes its square / R.
    pub const fn square_assign(self, x: &mut UintRef, product: &mut UintRef) {
        square(x, product);
        self.reduce(product, x);
    }

    /// Adds `y` to `x`.
    pub const fn add_assign(self, x: &mut UintRef, y: &UintRef) {
        let carry = x.carrying_add_assign(y, Limb::ZERO);
        self.subtract_once(x, carry);
    }

    /// Subtracts `y` from `x`.
    pub const fn subtract_assign(self, x: &mut UintRef, y: &UintRef) {
        let borrow = x.borrowing_sub_assign(y, Limb::ZERO);
        let choice = Choice::from_u8_lsb((borrow.0 & 1) as u8);
        x.conditional_add_assign(self.number, Limb::ZERO, choice);
    }

    /// Whether a number of as many words is less than the modulus.
    #[must_use]
    pub fn has(self, number: &UintRef) -> bool {
        let pairs = number.iter().zip(self.number.iter());
        let borrow = pairs.fold(Limb::ZERO, |borrow, (x, y)| x.borrowing_sub(*y, borrow).1);
        borrow.0 != 0
    }

    /// Into Montgomery's form: times R.
    pub const fn enter_assign(self, x: &mut UintRef, product: &mut UintRef) {
        self.multiply_assign(x, self.r_squared, product);
    }

    /// Out of it: / R.
    pub const fn leave_assign(self, x: &mut UintRef, product: &mut UintRef) {
        let (low, high) = product.split_at_mut(self.limbs());
        low.copy_from(x);
        high.fill(Limb::ZERO);
        self.reduce(product, x);
    }

    /// 1 in Montgomery's form.
    pub const fn one(self, product: &mut UintRef, to: &mut UintRef) {
        to.copy_from(self.r_squared);
        self.leave_assign(to, product);
    }

    /// A number of any length modulo the modulus: pieces as long as it, the highest first. `piece` is scratch.
    pub fn remainder(
        self,
        wide: &UintRef,
        piece: &mut UintRef,
        product: &mut UintRef,
        to: &mut UintRef,
    ) {
        to.fill(Limb::ZERO);
        for words in wide.as_limbs().chunks(self.limbs()).rev() {
            // What came before, times R.
            self.enter_assign(to, product);
            piece.fill(Limb::ZERO);
            piece.leading_mut(words.len()).copy_from_slice(words);
            // Less than R is less than the modulus after a reduction.
            self.leave_assign(piece, product);
            self.enter_assign(piece, product);
            self.add_assign(to, piece);
        }
    }

    /// `base` to the power of a secret exponent, all in Montgomery's form; every one of the exponent's words counts.
    pub fn power(self, base: &UintRef, exponent: &UintRef, work: Work<'_>, to: &mut UintRef) {
        let limbs = self.limbs();
        let product = work.product;
        self.one(product, to);
        for (n, entry) in work
            .table
            .as_mut_limbs()
            .chunks_exact_mut(limbs)
            .enumerate()
        {
            UintRef::new_mut(entry).copy_from(to);
            if n + 1 < TABLE {
                self.multiply_assign(to, base, product);
            }
        }
        self.one(product, to);
        for word in exponent.as_limbs().iter().rev() {
            for digit in (0..64 / 4).rev() {
                for _ in 0..4 {
                    self.square_assign(to, product);
                }
                let digit = (word.0 >> (4 * digit)) as u8 % TABLE as u8;
                for (n, entry) in (0_u8..).zip(work.table.as_limbs().chunks_exact(limbs)) {
                    let is_it = Choice::from_u8_eq(n, digit);
                    work.entry.conditional_copy_from_slice(entry, is_it);
                }
                self.multiply_assign(to, work.entry, product);
            }
        }
    }

    /// `base` to the power of `exponent`, both numbers as they are written; `base` is in Montgomery's form afterwards.
    ///
    /// # Errors
    /// [`Error::Length`]: too few `words`.
    pub(super) fn raise(
        self,
        base: &mut UintRef,
        exponent: &UintRef,
        product: &mut UintRef,
        words: &mut Words<'_>,
        to: &mut UintRef,
    ) -> Result<(), Error> {
        let limbs = self.limbs();
        let (table, entry) = (words.number(TABLE * limbs)?, words.number(limbs)?);
        self.enter_assign(base, product);
        let work = Work {
            product,
            table,
            entry,
        };
        self.power(base, exponent, work, to);
        self.leave_assign(to, product);
        Ok(())
    }

    /// As [`Self::power`] for an exponent that everybody may know, big-endian.
    pub fn power_public(
        self,
        base: &UintRef,
        exponent: &[u8],
        product: &mut UintRef,
        to: &mut UintRef,
    ) {
        let bits = exponent
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
        let mut bits = bits.skip_while(|bit| *bit == 0);
        if bits.next().is_none() {
            return self.one(product, to);
        }
        to.copy_from(base);
        for bit in bits {
            self.square_assign(to, product);
            if bit == 1 {
                self.multiply_assign(to, base, product);
            }
        }
    }
}

/// Scratch of [`Modulus::power`].
#[derive(Debug)]
pub struct Work<'w> {
    /// Of two numbers.
    pub product: &'w mut UintRef,
    /// Of [`TABLE`] numbers.
    pub table: &'w mut UintRef,
    /// Of one number.
    pub entry: &'w mut UintRef,
}

/// Reads a big-endian number; false if it is too long. Only zeros may be too much.
#[must_use]
pub const fn read(bytes: &[u8], to: &mut [Limb]) -> bool {
    let mut n = 0;
    while n < to.len() {
        to[n] = Limb::ZERO;
        n += 1;
    }
    let mut n = 0;
    while n < bytes.len() {
        let byte = bytes[bytes.len() - 1 - n];
        if n / 8 < to.len() {
            to[n / 8].0 |= (byte as u64) << (8 * (n % 8));
        } else if byte != 0 {
            return false;
        }
        n += 1;
    }
    true
}

/// Writes a number, big-endian, into as many bytes as there are; the number fits.
pub fn write(number: &UintRef, to: &mut [u8]) {
    to.fill(0);
    for (bytes, limb) in to.rchunks_mut(8).zip(number.iter()) {
        let limb = limb.0.to_be_bytes();
        bytes.copy_from_slice(&limb[8 - bytes.len()..]);
    }
}

/// Words up to the highest that is not 0.
const fn significant(words: &[Limb]) -> usize {
    let mut limbs = words.len();
    while limbs > 0 && words[limbs - 1].0 == 0 {
        limbs -= 1;
    }
    limbs
}

/// Bits of a number that everybody may know.
#[must_use]
pub const fn bits(words: &[Limb]) -> usize {
    match significant(words) {
        0 => 0,
        limbs => 64 * limbs - words[limbs - 1].0.leading_zeros() as usize,
    }
}

/// Whether a number is 0.
#[must_use]
pub fn is_zero(number: &UintRef) -> bool {
    number.is_zero().to_bool()
}

/// Whether two numbers of as many words are the same.
#[must_use]
pub fn are_equal(x: &UintRef, y: &UintRef) -> bool {
    let different = x
        .iter()
        .zip(y.iter())
        .fold(0, |bits, (x, y)| bits | (x.0 ^ y.0));
    different == 0
}

/// Of an odd word, modulo 2^64: each of Newton's steps doubles the bits that are right, of which an odd number is its own
/// inverse in three.
#[must_use]
pub const fn negative_inverse(odd: Limb) -> Limb {
    let mut inverse = odd.0;
    let mut n = 0;
    while n < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.0.wrapping_mul(inverse)));
        n += 1;
    }
    Limb(inverse.wrapping_neg())
}

/// Adds `x` times `factor` to a number of as many words. The carry. Most of all work is done here: four words at a time.
#[inline(always)]
const fn add_row(row: &mut UintRef, x: &UintRef, factor: Limb) -> Limb {
    const STEP: usize = 4;
    let (row, row_rest) = row.as_mut_limbs().as_chunks_mut::<STEP>();
    let (x, x_rest) = x.as_limbs().as_chunks::<STEP>();
    let (mut carry, mut n) = (Limb::ZERO, 0);
    while n < row.len() && n < x.len() {
        let (row, x) = (&mut row[n], &x[n]);
        (row[0], carry) = x[0].carrying_mul_add(factor, row[0], carry);
        (row[1], carry) = x[1].carrying_mul_add(factor, row[1], carry);
        (row[2], carry) = x[2].carrying_mul_add(factor, row[2], carry);
        (row[3], carry) = x[3].carrying_mul_add(factor, row[3], carry);
        n += 1;
    }
    let mut n = 0;
    while n < row_rest.len() && n < x_rest.len() {
        (row_rest[n], carry) = x_rest[n].carrying_mul_add(factor, row_rest[n], carry);
        n += 1;
    }
    carry
}

/// Two numbers, and a product of as many words as both have.
pub const fn multiply(x: &UintRef, y: &UintRef, to: &mut UintRef) {
    to.fill(Limb::ZERO);
    let mut n = 0;
    while n < x.nlimbs() {
        let (row, above) = to.trailing_mut(n).split_at_mut(y.nlimbs());
        let carry = add_row(row, y, x.as_limbs()[n]);
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
        let carry = add_row(row, x.trailing(n + 1), x.as_limbs()[n]);
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
