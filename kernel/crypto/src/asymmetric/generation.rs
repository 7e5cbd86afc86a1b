//! New RSA keys (FIPS 186-5 §A.1.3), candidate by candidate, so that somebody can wait for one without holding anything up.
//!
//! Numbers are big-endian. `words` is scratch of [`scratch_words`].

use super::discrete::random_bits;
use super::montgomery::{
    Modulus, TABLE, Work, are_equal, is_zero, multiply, negative_inverse, read, write,
};
use super::rsa::MODULUS_LEN;
use super::{Error, Random, Result, Word, Words};
use crypto_bigint::{Limb, UintRef};

/// Small primes but 2, by which most candidates are divided.
const SMALL: &[u16; 171] = &{
    let (mut primes, mut found, mut number) = ([0; 171], 0, 3);
    while found < primes.len() {
        let mut n = 0;
        while n < found && number % primes[n] != 0 {
            n += 1;
        }
        if n == found {
            primes[found] = number;
            found += 1;
        }
        number += 2;
    }
    primes
};

/// Words of scratch for a key of so many bits.
#[must_use]
pub const fn scratch_words(bits: usize) -> usize {
    (TABLE + 16) * bits.div_ceil(64)
}

/// A search for the primes of a key.
#[derive(Debug)]
pub struct Search {
    bits: usize,
    exponent: u64,
    has_first: bool,
    /// Candidates left until something must be wrong.
    left: usize,
}

impl Search {
    /// For a key of so many bits and with this public exponent, which is odd, more than 1, and less than 2^64.
    ///
    /// # Errors
    /// [`Error::Length`] for another length, [`Error::Key`] for another exponent.
    pub fn new(bits: usize, exponent: &[u8]) -> Result<Self> {
        if bits < 8 * MODULUS_LEN.start() || bits > 8 * MODULUS_LEN.end() {
            return Err(Error::Length);
        }
        let mut word = [Limb::ZERO];
        let is_word = read(exponent, &mut word);
        let [Limb(exponent)] = word;
        if !is_word || exponent.is_multiple_of(2) || exponent < 3 {
            return Err(Error::Key);
        }
        // A candidate of so many bits is a prime once in 0.35 times as many.
        Ok(Self {
            bits,
            exponent,
            has_first: false,
            left: 64 * bits,
        })
    }

    /// Bytes of the primes, the first and the second.
    #[must_use]
    pub const fn prime_bytes(&self) -> [usize; 2] {
        [
            self.bits.div_ceil(2).div_ceil(8),
            (self.bits / 2).div_ceil(8),
        ]
    }

    /// Tries one candidate; true once both primes are there.
    ///
    /// # Errors
    /// [`Error::Random`], [`Error::Length`].
    pub fn step(
        &mut self,
        words: &mut [Word],
        random: &mut impl Random,
        [first, second]: [&mut [u8]; 2],
    ) -> Result<bool> {
        self.left = self.left.checked_sub(1).ok_or(Error::Random)?;
        let [first_len, second_len] = self.prime_bytes();
        if first.len() != first_len || second.len() != second_len {
            return Err(Error::Length);
        }
        let (bits, prime, other) = if self.has_first {
            (self.bits / 2, second, Some(&*first))
        } else {
            (self.bits.div_ceil(2), first, None)
        };
        let mut scratch = Words(words);
        let candidate = scratch.number(bits.div_ceil(64))?;
        random_bits(candidate, bits, random);
        // The product of two such has all its bits.
        for bit in [0, bits - 1, bits - 2] {
            candidate.set_bit_vartime(bit as u32, true);
        }
        write(candidate, prime);
        // Far enough from each other: they differ in what is highest.
        if other.is_some_and(|other| other[..8] == prime[..8])
            || !self.is_suitable(candidate, scratch.again())?
            || !is_prime(prime, words, random)?
        {
            return Ok(false);
        }
        let found_both = self.has_first;
        self.has_first = true;
        Ok(found_both)
    }

    /// Whether no small prime divides it, and none that divides the exponent what is one less.
    fn is_suitable(&self, candidate: &UintRef, mut words: Words<'_>) -> Result<bool> {
        let halves = || {
            candidate
                .iter()
                .rev()
                .flat_map(|limb| [limb.0 >> 32, limb.0 & 0xffff_ffff])
        };
        let is_divided = SMALL.iter().any(|prime| {
            let prime = u64::from(*prime);
            halves().fold(0, |rest, half| (rest << 32 | half) % prime) == 0
        });
        if is_divided {
            return Ok(false);
        }
        let order = words.number(candidate.nlimbs())?;
        order.copy_from(candidate);
        order.borrowing_sub_assign_limb(Limb::ONE, Limb::ZERO);
        Ok(self.cofactor(order).is_some())
    }

    /// The number of times that `order` and 1 must be taken so that the exponent divides the sum: the negative inverse of `order`
    /// modulo the exponent. `None` if there is none.
    fn cofactor(&self, order: &UintRef) -> Option<u64> {
        let (mut number, mut r_squared, mut product) =
            ([Limb::ZERO], [Limb::ZERO], [Limb::ZERO; 2]);
        let (mut piece, mut rest) = ([Limb::ZERO], [Limb::ZERO]);
        let exponent = self.exponent.to_be_bytes();
        let exponent = Modulus::new(&exponent, &mut number, &mut r_squared, &mut product)?;
        exponent.remainder(
            order,
            UintRef::new_mut(&mut piece),
            UintRef::new_mut(&mut product),
            UintRef::new_mut(&mut rest),
        );
        // Euclid's algorithm: each is `factor` times `order` modulo the exponent.
        let (mut last, mut this) = ((self.exponent, 0_i128), (rest[0].0, 1_i128));
        while this.0 != 0 {
            let quotient = last.0 / this.0;
            let next = (last.0 % this.0, last.1 - i128::from(quotient) * this.1);
            (last, this) = (this, next);
        }
        let inverse = if last.1 < 0 {
            last.1 + i128::from(self.exponent)
        } else {
            last.1
        };
        let inverse = u64::try_from(inverse).ok().filter(|_| last.0 == 1)?;
        Some(self.exponent - inverse)
    }

    /// The inverse of the exponent modulo `order`, into a number that is one word longer.
    fn private(&self, order: &UintRef, to: &mut UintRef) -> Result<()> {
        let cofactor = self.cofactor(order).ok_or(Error::Key)?;
        to.fill(Limb::ZERO);
        to.as_mut_limbs()[0] = Limb::ONE;
        to.carrying_add_assign_mul_limb(order, Limb(cofactor), Limb::ZERO);
        divide_exactly(to, self.exponent);
        Ok(())
    }

    /// Makes a key of both primes.
    ///
    /// # Errors
    /// [`Error::Length`] if there is too little room, [`Error::Key`] if [`Self::step`] did not say that they are there.
    pub fn finish(
        &self,
        words: &mut [Word],
        [first, second]: [&[u8]; 2],
        key: NewKey<'_>,
    ) -> Result<()> {
        let mut words = Words(words);
        let limbs = self.bits.div_ceil(2).div_ceil(64);
        let [p, q] = [words.number(limbs)?, words.number(limbs)?];
        if !read(first, p.as_mut_limbs()) || !read(second, q.as_mut_limbs()) {
            return Err(Error::Length);
        }
        let product = words.number(2 * limbs)?;
        multiply(p, q, product);
        write_fitting(product, key.modulus)?;
        let longer = words.number(limbs + 1)?;
        for (prime, to) in [&mut *p, &mut *q].into_iter().zip(key.exponents) {
            prime.borrowing_sub_assign_limb(Limb::ONE, Limb::ZERO);
            self.private(prime, longer)?;
            write_fitting(longer, to)?;
        }
        multiply(p, q, product);
        let longest = words.number(2 * limbs + 1)?;
        self.private(product, longest)?;
        write_fitting(longest, key.exponent)?;

        // 1 / q modulo p, by Fermat.
        let (number, r_squared) = (words.take(limbs)?, words.take(limbs)?);
        let p_modulus =
            Modulus::new(first, number, r_squared, product.as_mut_limbs()).ok_or(Error::Key)?;
        q.carrying_add_assign(UintRef::new(&[Limb::ONE]), Limb::ZERO);
        p.borrowing_sub_assign_limb(Limb::ONE, Limb::ZERO);
        let (base, inverse, entry) = (
            words.number(limbs)?,
            words.number(limbs)?,
            words.number(limbs)?,
        );
        let table = words.number(TABLE * limbs)?;
        p_modulus.remainder(q, entry, product, base);
        p_modulus.enter_assign(base, product);
        p_modulus.power(
            base,
            p,
            Work {
                product,
                table,
                entry,
            },
            inverse,
        );
        p_modulus.leave_assign(inverse, product);
        write_fitting(inverse, key.coefficient)
    }
}

/// Where the numbers of a new key go, but its primes.
#[derive(Debug)]
pub struct NewKey<'k> {
    /// n.
    pub modulus: &'k mut [u8],
    /// d.
    pub exponent: &'k mut [u8],
    /// d modulo p - 1 and q - 1.
    pub exponents: [&'k mut [u8]; 2],
    /// The inverse of q modulo p.
    pub coefficient: &'k mut [u8],
}

/// Writes a number if it fits.
fn write_fitting(number: &UintRef, to: &mut [u8]) -> Result<()> {
    if super::montgomery::bits(number.as_limbs()) > 8 * to.len() {
        return Err(Error::Length);
    }
    write(number, to);
    Ok(())
}

/// Divides by an odd number that leaves nothing, from the lowest word on (Jebelean).
fn divide_exactly(number: &mut UintRef, divisor: u64) {
    let inverse = negative_inverse(Limb(divisor)).0.wrapping_neg();
    let mut borrow = Limb::ZERO;
    for limb in number.as_mut_limbs() {
        let (rest, under) = limb.0.overflowing_sub(borrow.0);
        *limb = Limb(rest.wrapping_mul(inverse));
        let (_, high) = limb.carrying_mul_add(Limb(divisor), Limb::ZERO, Limb::ZERO);
        borrow = Limb(high.0 + u64::from(under));
    }
}

/// Miller-Rabin rounds for random candidates of so many bits (FIPS 186-5 table B.1), and more for those that it does not name.
const fn rounds(bits: usize) -> usize {
    match bits {
        1024.. => 5,
        512.. => 8,
        _ => 40,
    }
}

/// Whether an odd number above 3 without leading zeros is a prime, with a probability of error below 2^-100 if it is random.
///
/// # Errors
/// [`Error::Length`] if there are too few words.
pub fn is_prime(number: &[u8], words: &mut [Word], random: &mut impl Random) -> Result<bool> {
    let limbs = number.len().div_ceil(8);
    let mut words = Words(words);
    let (copy, r_squared, product) = (
        words.take(limbs)?,
        words.take(limbs)?,
        words.take(2 * limbs)?,
    );
    let Some(modulus) = Modulus::new(number, copy, r_squared, product) else {
        return Ok(false);
    };
    let limbs = modulus.limbs();
    let product = UintRef::new_mut(product).leading_mut(2 * limbs);
    let [one, minus_one, exponent, base, power, entry] = [(); 6].map(|()| words.number(limbs));
    let (one, minus_one, exponent) = (one?, minus_one?, exponent?);
    let (base, power, entry, table) = (base?, power?, entry?, words.number(TABLE * limbs)?);
    modulus.one(product, one);
    minus_one.copy_from(modulus.number);
    minus_one.borrowing_sub_assign(one, Limb::ZERO);
    exponent.copy_from(modulus.number);
    exponent.borrowing_sub_assign_limb(Limb::ONE, Limb::ZERO);
    let twos = exponent.trailing_zeros_vartime();
    exponent.unbounded_shr_assign_vartime(twos);
    let bits = super::montgomery::bits(modulus.number.as_limbs());
    for _ in 0..rounds(bits) {
        // Any number stands for one in Montgomery's form; not 0, 1 or -1.
        random_bits(base, bits - 1, random);
        if is_zero(base) || are_equal(base, one) || are_equal(base, minus_one) {
            continue;
        }
        let work = Work {
            product: &mut *product,
            table: &mut *table,
            entry: &mut *entry,
        };
        modulus.power(base, exponent, work, power);
        let mut is_probable = are_equal(power, one);
        for _ in 0..twos {
            is_probable |= are_equal(power, minus_one);
            modulus.square_assign(power, product);
        }
        if !is_probable {
            return Ok(false);
        }
    }
    Ok(true)
}
