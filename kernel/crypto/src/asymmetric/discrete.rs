//! DSA (FIPS 186-4 §4) and Diffie-Hellman (PKCS #3) modulo a prime.
//!
//! Numbers are big-endian. That the domain's are what they should be is the word of whoever gave them: p is odd, or refused.
//! `words` is scratch of [`scratch_words`].

use super::montgomery::{Modulus, TABLE, are_equal, is_zero, read, write};
use super::rsa::{modulus_bits, trim};
use super::{Error, MAX_DRAWS, Random, Result, Word, Words};
use crypto_bigint::{Limb, UintRef};

/// Bytes of the longest p.
pub const MAX_BYTES: usize = 512;

/// The numbers that keys of DSA share.
#[derive(Clone, Copy, Debug)]
pub struct Domain<'k> {
    /// The prime.
    pub p: &'k [u8],
    /// The order, a prime.
    pub q: &'k [u8],
    /// The generator.
    pub g: &'k [u8],
}

/// Words of scratch for a prime.
#[must_use]
pub const fn scratch_words(p: &[u8]) -> usize {
    (TABLE + 16) * p.len().div_ceil(8)
}

/// Bytes of r and of s.
#[must_use]
pub fn order_len(q: &[u8]) -> usize {
    trim(q).len()
}

/// A modulus and what its numbers take.
struct Numbers<'w> {
    modulus: Modulus<'w>,
    product: &'w mut UintRef,
}

impl<'w> Numbers<'w> {
    fn new(modulus: &[u8], words: &mut Words<'w>) -> Result<Self> {
        let len = trim(modulus).len();
        if !(1..=MAX_BYTES).contains(&len) {
            return Err(Error::Key);
        }
        let limbs = len.div_ceil(8);
        let (number, r_squared, product) = (
            words.take(limbs)?,
            words.take(limbs)?,
            words.take(2 * limbs)?,
        );
        let modulus = Modulus::new(modulus, number, r_squared, product).ok_or(Error::Key)?;
        Ok(Self {
            modulus,
            product: UintRef::new_mut(product),
        })
    }

    fn limbs(&self) -> usize {
        self.modulus.limbs()
    }

    /// A number below the modulus.
    fn read(&self, bytes: &[u8], words: &mut Words<'w>) -> Result<&'w mut UintRef> {
        let number = words.number(self.limbs())?;
        let is_one = read(bytes, number.as_mut_limbs()) && self.modulus.has(number);
        if is_one { Ok(number) } else { Err(Error::Key) }
    }

    /// As [`Self::read`], and not 0.
    fn read_nonzero(&self, bytes: &[u8], words: &mut Words<'w>) -> Result<&'w mut UintRef> {
        let number = self.read(bytes, words)?;
        if is_zero(number) {
            Err(Error::Key)
        } else {
            Ok(number)
        }
    }

    /// One from 1 to the modulus less 1, of at most so many bits.
    fn random(
        &self,
        bits: usize,
        random: &mut impl Random,
        words: &mut Words<'w>,
    ) -> Result<&'w mut UintRef> {
        let number = words.number(self.limbs())?;
        for _ in 0..MAX_DRAWS {
            random_bits(number, bits, random);
            if self.modulus.has(number) && !is_zero(number) {
                return Ok(number);
            }
        }
        Err(Error::Random)
    }

    /// `base`, which is in Montgomery's form afterwards, to a secret power.
    fn power(
        &mut self,
        base: &mut UintRef,
        exponent: &UintRef,
        mut words: Words<'_>,
        to: &mut UintRef,
    ) -> Result<()> {
        self.modulus
            .raise(base, exponent, self.product, &mut words, to)
    }

    /// The leftmost bits of a digest, as many as the modulus has, modulo it.
    fn digest(&mut self, digest: &[u8], words: &mut Words<'w>) -> Result<&'w mut UintRef> {
        let bits = super::montgomery::bits(self.modulus.number.as_limbs());
        let len = digest.len().min(bits.div_ceil(8));
        let number = words.number(self.limbs())?;
        let digest = &digest[..len];
        if !read(digest, number.as_mut_limbs()) {
            return Err(Error::Length);
        }
        number.unbounded_shr_assign_vartime((8 * len).saturating_sub(bits) as u32);
        // Less than twice the modulus; a 0 is added for the subtraction.
        let zero = words.number(self.limbs())?;
        zero.fill(Limb::ZERO);
        self.modulus.add_assign(number, zero);
        Ok(number)
    }
}

/// Random words of so many bits.
pub(super) fn random_bits(number: &mut UintRef, bits: usize, random: &mut impl Random) {
    number.fill(Limb::ZERO);
    for (n, limb) in number.as_mut_limbs().iter_mut().enumerate() {
        let left = bits.saturating_sub(64 * n);
        if left == 0 {
            break;
        }
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        limb.0 = u64::from_le_bytes(bytes) >> (64 - left.min(64));
    }
}

/// Makes a key of DSA: x and y, as long as there is room for.
///
/// # Errors
/// [`Error::Key`], [`Error::Random`], [`Error::Length`].
pub fn generate_dsa(
    domain: &Domain<'_>,
    words: &mut [Word],
    random: &mut impl Random,
    x: &mut [u8],
    y: &mut [u8],
) -> Result<()> {
    let bits = modulus_bits(domain.q);
    generate_dh(
        domain.p,
        domain.g,
        Some(domain.q),
        bits,
        words,
        random,
        [x, y],
    )
}

/// Makes a key of Diffie-Hellman, below q if there is one, of so many bits if that is not 0: x and y, as long as there is room for.
///
/// # Errors
/// [`Error::Key`], [`Error::Random`], [`Error::Length`].
pub fn generate_dh(
    p: &[u8],
    g: &[u8],
    q: Option<&[u8]>,
    bits: usize,
    words: &mut [Word],
    random: &mut impl Random,
    [x, y]: [&mut [u8]; 2],
) -> Result<()> {
    let mut words = Words(words);
    let mut of_p = Numbers::new(p, &mut words)?;
    let generator = of_p.read_nonzero(g, &mut words)?;
    let below = Numbers::new(q.unwrap_or(p), &mut words)?;
    let most = modulus_bits(q.unwrap_or(p));
    let bits = if bits == 0 { most } else { bits.min(most) };
    let private = below.random(bits, random, &mut words)?;
    let public = words.number(of_p.limbs())?;
    of_p.power(generator, private, words, public)?;
    if 8 * x.len() < bits || 8 * y.len() < modulus_bits(p) {
        return Err(Error::Length);
    }
    write(private, x);
    write(public, y);
    Ok(())
}

/// The secret that both sides compute, as long as there is room for.
///
/// # Errors
/// [`Error::Key`], also if the other's number is 0, 1 or p - 1; [`Error::Length`].
pub fn agree(
    p: &[u8],
    x: &[u8],
    other: &[u8],
    words: &mut [Word],
    secret: &mut [u8],
) -> Result<()> {
    let mut words = Words(words);
    let mut of_p = Numbers::new(p, &mut words)?;
    let base = of_p.read_nonzero(other, &mut words)?;
    let next = words.number(of_p.limbs())?;
    next.copy_from(base);
    next.add_assign_limb(Limb::ONE);
    let is_one = base.as_limbs()[0].0 == 1 && base.as_limbs()[1..].iter().all(|limb| limb.0 == 0);
    if is_one || are_equal(next, of_p.modulus.number) {
        return Err(Error::Key);
    }
    let exponent = of_p.read_nonzero(x, &mut words)?;
    let power = words.number(of_p.limbs())?;
    if 8 * secret.len() < modulus_bits(p) {
        return Err(Error::Length);
    }
    of_p.power(base, exponent, words, power)?;
    write(power, secret);
    Ok(())
}

/// Nonces drawn until neither r nor s is 0, which no honest domain makes them: another costs a power each.
const SIGN_DRAWS: usize = 2;

/// Signs a digest: r and s, each as long as q.
///
/// # Errors
/// [`Error::Key`], [`Error::Random`], [`Error::Length`].
pub fn sign(
    domain: &Domain<'_>,
    x: &[u8],
    digest: &[u8],
    words: &mut [Word],
    random: &mut impl Random,
    signature: &mut [u8],
) -> Result<()> {
    let len = order_len(domain.q);
    if signature.len() != 2 * len {
        return Err(Error::Length);
    }
    let mut words = Words(words);
    let mut of_p = Numbers::new(domain.p, &mut words)?;
    let mut of_q = Numbers::new(domain.q, &mut words)?;
    let generator = of_p.read_nonzero(domain.g, &mut words)?;
    let private = of_q.read_nonzero(x, &mut words)?;
    let digest = of_q.digest(digest, &mut words)?;
    let (base, power) = (words.number(of_p.limbs())?, words.number(of_p.limbs())?);
    let (r, s, piece) = (
        words.number(of_q.limbs())?,
        words.number(of_q.limbs())?,
        words.number(of_q.limbs())?,
    );
    for _ in 0..SIGN_DRAWS {
        let mut words = words.again();
        let nonce = of_q.random(modulus_bits(domain.q), random, &mut words)?;
        base.copy_from(generator);
        of_p.power(base, nonce, words.again(), power)?;
        let (q, product) = (of_q.modulus, &mut *of_q.product);
        q.remainder(power, piece, product, r);
        // s = (digest + r x) / nonce
        s.copy_from(private);
        q.enter_assign(s, product);
        q.multiply_assign(s, r, product);
        q.add_assign(s, digest);
        q.enter_assign(nonce, product);
        invert(&mut of_q, nonce, piece);
        of_q.modulus.multiply_assign(s, piece, of_q.product);
        if !is_zero(r) && !is_zero(s) {
            let (r_bytes, s_bytes) = signature.split_at_mut(len);
            write(r, r_bytes);
            write(s, s_bytes);
            return Ok(());
        }
    }
    Err(Error::Random)
}

/// 1 / x modulo a prime, by Fermat, all in Montgomery's form.
fn invert(numbers: &mut Numbers<'_>, x: &UintRef, to: &mut UintRef) {
    let mut bytes = [0; MAX_BYTES];
    let limbs = numbers.limbs();
    let bytes = &mut bytes[..8 * limbs];
    to.copy_from(numbers.modulus.number);
    to.borrowing_sub_assign_limb(Limb(2), Limb::ZERO);
    write(to, bytes);
    numbers.modulus.power_public(x, bytes, numbers.product, to);
}

/// Whether a signature of a digest holds.
///
/// # Errors
/// [`Error::Signature`], [`Error::Key`].
pub fn verify(
    domain: &Domain<'_>,
    y: &[u8],
    digest: &[u8],
    words: &mut [Word],
    signature: &[u8],
) -> Result<()> {
    let len = order_len(domain.q);
    if signature.len() != 2 * len {
        return Err(Error::Signature);
    }
    let mut words = Words(words);
    let of_p = Numbers::new(domain.p, &mut words)?;
    let mut of_q = Numbers::new(domain.q, &mut words)?;
    let generator = of_p.read_nonzero(domain.g, &mut words)?;
    let public = of_p.read_nonzero(y, &mut words)?;
    let (r, s) = signature.split_at(len);
    let r = of_q
        .read_nonzero(r, &mut words)
        .map_err(|_| Error::Signature)?;
    let s = of_q
        .read_nonzero(s, &mut words)
        .map_err(|_| Error::Signature)?;
    let digest = of_q.digest(digest, &mut words)?;
    let inverse = words.number(of_q.limbs())?;
    of_q.modulus.enter_assign(s, of_q.product);
    invert(&mut of_q, s, inverse);
    of_q.modulus.multiply_assign(digest, inverse, of_q.product);
    of_q.modulus.multiply_assign(inverse, r, of_q.product);
    let (p, product) = (of_p.modulus, of_p.product);
    let (first, second) = (words.number(p.limbs())?, words.number(p.limbs())?);
    let exponent = words.take(of_q.limbs())?;
    let mut bytes = [0; MAX_BYTES];
    let bytes = &mut bytes[..8 * exponent.len()];
    for (base, exponent, to) in [
        (generator, digest, &mut *first),
        (public, inverse, &mut *second),
    ] {
        write(exponent, bytes);
        p.enter_assign(base, product);
        p.power_public(base, bytes, product, to);
    }
    p.multiply_assign(first, second, product);
    p.leave_assign(first, product);
    of_q.modulus.remainder(first, s, of_q.product, inverse);
    if are_equal(inverse, r) {
        Ok(())
    } else {
        Err(Error::Signature)
    }
}
