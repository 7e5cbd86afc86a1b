//! Key pairs, ECDSA (FIPS 186-5 §6) and ECDH (SP 800-56A §5.7.1.2) on curves of prime order.
//!
//! Numbers are big-endian; what is written is as long as the curve's coordinates. `words` is scratch of
//! [`SCRATCH_WORDS`](super::curve::SCRATCH_WORDS).

use super::curve::{Curve, Group};
use super::field::{is_none, is_same};
use super::multiple::Addition;
use super::{Error, MAX_DRAWS, Random, Result, Word};

/// A point's coordinates.
#[derive(Clone, Copy, Debug)]
pub struct PublicKey<'k> {
    /// x.
    pub x: &'k [u8],
    /// y.
    pub y: &'k [u8],
}

/// Makes a private key, and its public one.
///
/// # Errors
/// [`Error::Random`].
pub fn generate(
    curve: &'static Curve,
    words: &mut [Word],
    random: &mut impl Random,
    private: &mut [u8],
    public: [&mut [u8]; 2],
) -> Result<()> {
    let mut group = Group::new(curve, words)?;
    let scalar = group.random_scalar(random)?;
    let generator = group.generator()?;
    let point = group.multiply(&scalar, &generator);
    let [x, y] = public;
    group.write(&point, x, Some(y))?;
    group.scalars.write_plain(&scalar, private);
    Ok(())
}

/// The secret that both sides compute: x of the other's point multiplied.
///
/// # Errors
/// [`Error::Key`].
pub fn agree(
    curve: &'static Curve,
    private: &[u8],
    other: PublicKey<'_>,
    words: &mut [Word],
    secret: &mut [u8],
) -> Result<()> {
    let mut group = Group::new(curve, words)?;
    let scalar = group.scalar(private)?;
    let point = group.point(other.x, other.y)?;
    let point = group.multiply(&scalar, &point);
    group.write(&point, secret, None)
}

/// Signs a digest: r and s, one behind the other.
///
/// # Errors
/// [`Error::Key`], [`Error::Random`]; [`Error::Length`] if `signature` is not twice as long as a coordinate.
pub fn sign(
    curve: &'static Curve,
    private: &[u8],
    digest: &[u8],
    words: &mut [Word],
    random: &mut impl Random,
    signature: &mut [u8],
) -> Result<()> {
    if signature.len() != 2 * curve.bytes() {
        return Err(Error::Length);
    }
    let mut group = Group::new(curve, words)?;
    let private = group.scalar(private)?;
    let digest = group.digest(digest);
    let generator = group.generator()?;
    for _ in 0..MAX_DRAWS {
        let nonce = group.random_scalar(random)?;
        let point = group.multiply(&nonce, &generator);
        let r = group.x_modulo_order(&point)?;
        let scalars = &mut group.scalars;
        // s = (digest + r private) / nonce
        let product = scalars.enter(&private);
        let product = scalars.multiply(&product, &r);
        let sum = scalars.add(&product, &digest);
        let nonce = scalars.enter(&nonce);
        let inverse = scalars.invert(&nonce);
        let s = scalars.multiply(&inverse, &sum);
        if !is_none(&r) && !is_none(&s) {
            let (r_bytes, s_bytes) = signature.split_at_mut(curve.bytes());
            scalars.write_plain(&r, r_bytes);
            scalars.write_plain(&s, s_bytes);
            return Ok(());
        }
    }
    Err(Error::Random)
}

/// Whether a signature of a digest holds.
///
/// # Errors
/// [`Error::Signature`]; [`Error::Key`].
pub fn verify(
    curve: &'static Curve,
    public: PublicKey<'_>,
    digest: &[u8],
    words: &mut [Word],
    signature: &[u8],
) -> Result<()> {
    if signature.len() != 2 * curve.bytes() {
        return Err(Error::Signature);
    }
    let mut group = Group::new(curve, words)?;
    let point = group.point(public.x, public.y)?;
    let digest = group.digest(digest);
    let (r, s) = signature.split_at(curve.bytes());
    let r = group.scalar(r).map_err(|_| Error::Signature)?;
    let s = group.scalar(s).map_err(|_| Error::Signature)?;
    let scalars = &mut group.scalars;
    let s = scalars.enter(&s);
    let inverse = scalars.invert(&s);
    let by_digest = scalars.multiply(&inverse, &digest);
    let by_r = scalars.multiply(&inverse, &r);
    let generator = group.generator()?;
    let first = group.multiply(&by_digest, &generator);
    let second = group.multiply(&by_r, &point);
    let sum = group.add(&first, &second);
    let x = group.x_modulo_order(&sum).map_err(|_| Error::Signature)?;
    if is_same(&x, &r) {
        Ok(())
    } else {
        Err(Error::Signature)
    }
}
