//! RSA (RFC 8017): the two operations on numbers.
//!
//! The exponent of a private operation is another one each time: a random multiple of what makes no difference is added to it.
//! What comes out is checked with the public key, so a fault in half of the work does not tell a prime (Boneh, DeMillo, Lipton).

use super::montgomery::{Modulus, TABLE, is_zero, multiply, read, write};
use super::{Error, Random, Result, Words};
use crypto_bigint::{Limb, UintRef};
use zeroize::Zeroize;

/// Bytes of the shortest modulus and of the longest.
pub const MODULUS_LEN: core::ops::RangeInclusive<usize> = 32..=512;
/// Words of a public exponent.
const EXPONENT_LIMBS: usize = 4;

/// A public key: big-endian numbers.
#[derive(Clone, Copy, Debug)]
pub struct PublicKey<'k> {
    /// n.
    pub modulus: &'k [u8],
    /// e.
    pub exponent: &'k [u8],
}

/// What makes private operations fast: big-endian numbers.
#[derive(Clone, Copy, Debug)]
pub struct Primes<'k> {
    /// p and q.
    pub primes: [&'k [u8]; 2],
    /// d modulo p - 1 and q - 1.
    pub exponents: [&'k [u8]; 2],
    /// The inverse of q modulo p.
    pub coefficient: &'k [u8],
}

/// A private key: big-endian numbers.
#[derive(Clone, Copy, Debug)]
pub struct PrivateKey<'k> {
    /// n and e.
    pub public: PublicKey<'k>,
    /// d.
    pub exponent: &'k [u8],
    /// If they are known.
    pub primes: Option<Primes<'k>>,
}

/// Without leading zeros.
#[must_use]
pub fn trim(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// Bytes of a modulus, and of everything that is encrypted or signed with it.
#[must_use]
pub fn modulus_len(modulus: &[u8]) -> usize {
    trim(modulus).len()
}

/// Bits of a modulus.
#[must_use]
pub fn modulus_bits(modulus: &[u8]) -> usize {
    let modulus = trim(modulus);
    let above = modulus
        .first()
        .map_or(0, |first| first.leading_zeros() as usize);
    8 * modulus.len() - above
}

/// Words of scratch for a key.
#[must_use]
pub const fn scratch_words(modulus: &[u8]) -> usize {
    (TABLE + 14) * modulus.len().div_ceil(8) + 4 * EXPONENT_LIMBS
}

/// Words of a key's numbers.
fn limbs(key: &PublicKey<'_>) -> Result<usize> {
    let len = modulus_len(key.modulus);
    if MODULUS_LEN.contains(&len) {
        Ok(len.div_ceil(8))
    } else {
        Err(Error::Key)
    }
}

/// `input` to the power of e. `to` has [`modulus_len`] bytes.
///
/// # Errors
/// [`Error::Key`]; [`Error::Length`] if `input` is not below the modulus, or there are too few `words`.
pub fn public(key: &PublicKey<'_>, input: &[u8], words: &mut [Limb], to: &mut [u8]) -> Result<()> {
    let limbs = limbs(key)?;
    let mut words = Words(words);
    let product = words.take(2 * limbs)?;
    let (n, r_squared) = (words.take(limbs)?, words.take(limbs)?);
    let modulus = Modulus::new(key.modulus, n, r_squared, product).ok_or(Error::Key)?;
    public_by(modulus, key.exponent, input, words.0, to)
}

/// Words of scratch of [`public_by`] for a modulus of so many words.
#[must_use]
pub const fn public_words(limbs: usize) -> usize {
    4 * limbs
}

/// As [`public`], with a modulus that is there.
///
/// # Errors
/// As [`public`].
pub fn public_by(
    modulus: Modulus<'_>,
    exponent: &[u8],
    input: &[u8],
    words: &mut [Limb],
    to: &mut [u8],
) -> Result<()> {
    let (limbs, mut words) = (modulus.limbs(), Words(words));
    let (number, power) = (words.number(limbs)?, words.number(limbs)?);
    let product = words.number(2 * limbs)?;
    if !read(input, number.as_mut_limbs()) || !modulus.has(number) || to.len() != modulus.bytes() {
        return Err(Error::Length);
    }
    encrypt(modulus, exponent, number, product, power)?;
    write(power, to);
    Ok(())
}

/// `number` to the power of e; `number` is in Montgomery's form afterwards.
fn encrypt(
    modulus: Modulus<'_>,
    exponent: &[u8],
    number: &mut UintRef,
    product: &mut UintRef,
    power: &mut UintRef,
) -> Result<()> {
    if trim(exponent).is_empty() || trim(exponent).len() > 8 * EXPONENT_LIMBS {
        return Err(Error::Key);
    }
    modulus.enter_assign(number, product);
    modulus.power_public(number, exponent, product, power);
    modulus.leave_assign(power, product);
    Ok(())
}

/// `input` to the power of d. `to` has [`modulus_len`] bytes.
///
/// # Errors
/// [`Error::Key`], also if the private key does not undo what the public key does; [`Error::Length`] if `input` is not below the
/// modulus, or there are too few `words`.
pub fn private(
    key: &PrivateKey<'_>,
    input: &[u8],
    words: &mut [Limb],
    random: &mut impl Random,
    to: &mut [u8],
) -> Result<()> {
    let limbs = limbs(&key.public)?;
    let mut words = Words(words);
    let product = words.take(2 * limbs)?;
    let (n, r_squared) = (words.take(limbs)?, words.take(limbs)?);
    let modulus = Modulus::new(key.public.modulus, n, r_squared, product).ok_or(Error::Key)?;
    let number = words.number(limbs)?;
    if !read(input, number.as_mut_limbs())
        || !modulus.has(number)
        || to.len() != modulus_len(key.public.modulus)
    {
        return Err(Error::Length);
    }
    let result = words.number(limbs)?;
    let product = UintRef::new_mut(product);
    let mut secret = [0; 8];
    random.fill(&mut secret);
    let blinding = Limb(u64::from_le_bytes(secret));
    secret.zeroize();
    match &key.primes {
        Some(primes) => by_primes(primes, number, blinding, product, words.again(), result)?,
        None => {
            by_exponent(
                modulus,
                key,
                number,
                blinding,
                product,
                words.again(),
                result,
            )?;
        }
    }
    if !modulus.has(result) {
        return Err(Error::Key);
    }
    let (again, power) = (words.number(limbs)?, words.number(limbs)?);
    again.copy_from(result);
    encrypt(modulus, key.public.exponent, again, product, power)?;
    if !super::montgomery::are_equal(power, number) {
        return Err(Error::Key);
    }
    write(result, to);
    Ok(())
}

/// By d, to which a multiple of e d - 1 is added, which is one of the order.
fn by_exponent(
    modulus: Modulus<'_>,
    key: &PrivateKey<'_>,
    number: &UintRef,
    blinding: Limb,
    product: &mut UintRef,
    mut words: Words<'_>,
    result: &mut UintRef,
) -> Result<()> {
    let limbs = modulus.limbs();
    let (d, e) = (words.number(limbs)?, words.number(EXPONENT_LIMBS)?);
    if !read(key.exponent, d.as_mut_limbs()) || !read(key.public.exponent, e.as_mut_limbs()) {
        return Err(Error::Key);
    }
    let order = words.number(limbs + EXPONENT_LIMBS)?;
    multiply(d, e, order);
    order.borrowing_sub_assign_limb(Limb::ONE, Limb::ZERO);
    let exponent = words.number(limbs + EXPONENT_LIMBS + 1)?;
    blind(d, order, blinding, exponent);
    let base = words.number(limbs)?;
    base.copy_from(number);
    modulus.raise(base, exponent, product, &mut words, result)
}

/// `exponent` = `d` + `blinding` times `order`, which has a word less.
fn blind(d: &UintRef, order: &UintRef, blinding: Limb, exponent: &mut UintRef) {
    exponent.fill(Limb::ZERO);
    exponent.leading_mut(d.nlimbs()).copy_from(d);
    exponent.carrying_add_assign_mul_limb(order, blinding, Limb::ZERO);
}

/// By both primes, put together by Garner's formula.
fn by_primes(
    key: &Primes<'_>,
    number: &UintRef,
    blinding: Limb,
    product: &mut UintRef,
    mut words: Words<'_>,
    result: &mut UintRef,
) -> Result<()> {
    let limbs = number.nlimbs();
    let [p, q] = key.primes;
    let [dp, dq] = key.exponents;
    let (q_words, r_squared) = (words.take(limbs)?, words.take(limbs)?);
    let (by_q, by_p) = (words.number(limbs)?, words.number(limbs)?);
    let q = Modulus::new(q, q_words, r_squared, product.as_mut_limbs()).ok_or(Error::Key)?;
    let by_q = by_q.leading_mut(q.limbs());
    by_prime(q, dq, number, blinding, product, words.again(), by_q)?;
    let (p_words, r_squared) = (words.take(limbs)?, words.take(limbs)?);
    let p = Modulus::new(p, p_words, r_squared, product.as_mut_limbs()).ok_or(Error::Key)?;
    let by_p = by_p.leading_mut(p.limbs());
    by_prime(p, dp, number, blinding, product, words.again(), by_p)?;

    let short = product.leading_mut(2 * p.limbs());
    let (piece, other) = (words.number(p.limbs())?, words.number(p.limbs())?);
    p.remainder(by_q, piece, short, other);
    p.subtract_assign(by_p, other);
    if !read(key.coefficient, other.as_mut_limbs()) || !p.has(other) {
        return Err(Error::Key);
    }
    p.enter_assign(other, short);
    p.multiply_assign(by_p, other, short);
    // Its words above those of n are 0 if the primes are n's; what is lost otherwise, the check finds.
    let whole = words.number(p.limbs() + q.limbs())?;
    multiply(by_p, q.number, whole);
    whole.carrying_add_assign(by_q, Limb::ZERO);
    let limbs = limbs.min(whole.nlimbs());
    result.fill(Limb::ZERO);
    result.leading_mut(limbs).copy_from(whole.leading(limbs));
    Ok(())
}

/// The power modulo a prime, by an exponent to which a multiple of the prime less 1 is added.
fn by_prime(
    prime: Modulus<'_>,
    exponent: &[u8],
    number: &UintRef,
    blinding: Limb,
    product: &mut UintRef,
    mut words: Words<'_>,
    result: &mut UintRef,
) -> Result<()> {
    let limbs = prime.limbs();
    let product = product.leading_mut(2 * limbs);
    let (d, order, blinded) = (
        words.number(limbs)?,
        words.number(limbs)?,
        words.number(limbs + 1)?,
    );
    if !read(exponent, d.as_mut_limbs()) || is_zero(d) {
        return Err(Error::Key);
    }
    order.copy_from(prime.number);
    order.borrowing_sub_assign_limb(Limb::ONE, Limb::ZERO);
    blind(d, order, blinding, blinded);
    let (base, piece) = (words.number(limbs)?, order);
    prime.remainder(number, piece, product, base);
    prime.raise(base, blinded, product, &mut words, result)
}
