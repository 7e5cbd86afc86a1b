//! X25519 and X448 (RFC 7748). All bytes are little-endian, as the RFC has them.

use super::field::{Element, FIELD_WORDS, Field, ZERO, choose, is_none};
use super::{Error, Result, Word, Words};
use crypto_bigint::Choice;

/// A curve: Montgomery's.
#[derive(Debug)]
pub struct Curve {
    /// Bytes of keys and secrets.
    pub bytes: usize,
    /// Big-endian.
    prime: &'static [u8],
    /// (A - 2) / 4, big-endian.
    a24: [u8; 4],
    /// x of the generator.
    generator: u8,
    /// Bits of a private key that are 0: of its first byte and of its last.
    clear: [u8; 2],
    /// The highest bit of the last byte that is set.
    set: u8,
    /// Bits of a public key's last byte that count.
    public: u8,
}

/// Words of scratch.
pub const SCRATCH_WORDS: usize = FIELD_WORDS;
/// Bytes of the longest key.
pub const MAX_BYTES: usize = 56;

/// Curve25519.
pub const X25519: &Curve = &Curve {
    bytes: 32,
    prime: &{
        let mut prime = [0xff; 32];
        prime[0] = 0x7f;
        prime[31] = 0xed;
        prime
    },
    a24: 121_665_u32.to_be_bytes(),
    generator: 9,
    clear: [0x07, 0x80],
    set: 0x40,
    public: 0x7f,
};

/// Curve448.
pub const X448: &Curve = &Curve {
    bytes: 56,
    prime: &{
        let mut prime = [0xff; 56];
        prime[27] = 0xfe;
        prime
    },
    a24: 39_081_u32.to_be_bytes(),
    generator: 5,
    clear: [0x03, 0x00],
    set: 0x80,
    public: 0xff,
};

/// The public key of a private one.
///
/// # Errors
/// [`Error::Length`].
pub fn public(curve: &Curve, private: &[u8], words: &mut [Word], to: &mut [u8]) -> Result<()> {
    let mut generator = [0; MAX_BYTES];
    generator[0] = curve.generator;
    agree(curve, private, &generator[..curve.bytes], words, to)
}

/// The secret that both sides compute.
///
/// # Errors
/// [`Error::Key`] if it is 0, as some public keys have it for all private ones; [`Error::Length`].
pub fn agree(
    curve: &Curve,
    private: &[u8],
    public: &[u8],
    words: &mut [Word],
    secret: &mut [u8],
) -> Result<()> {
    let len = curve.bytes;
    if private.len() != len || public.len() != len || secret.len() != len {
        return Err(Error::Length);
    }
    let mut field = Field::new(curve.prime, &mut Words(words))?;
    let mut bytes = [0; MAX_BYTES];
    let bytes = &mut bytes[..len];
    bytes.copy_from_slice(public);
    bytes[len - 1] &= curve.public;
    bytes.reverse();
    let mut number = ZERO;
    // As long as the prime; and less than twice as much.
    let _ = super::montgomery::read(bytes, &mut number[..len.div_ceil(8)]);
    let number = field.reduce_once(&number);
    let x = field.enter(&number);
    let a24 = field.read(&curve.a24).ok_or(Error::Length)?;
    let result = ladder(&mut field, curve, private, &x, &a24);
    let is_zero = is_none(&result);
    field.write(&result, secret);
    secret.reverse();
    if is_zero { Err(Error::Key) } else { Ok(()) }
}

/// The ladder of RFC 7748 §5.
fn ladder(
    field: &mut Field<'_>,
    curve: &Curve,
    private: &[u8],
    x: &Element,
    a24: &Element,
) -> Element {
    let (mut x2, mut z2, mut x3, mut z3) = (field.one(), ZERO, *x, field.one());
    let mut swapped = 0;
    for n in (0..8 * curve.bytes).rev() {
        let byte = n / 8;
        let mut bits = private[byte];
        if byte == 0 {
            bits &= !curve.clear[0];
        }
        if byte == curve.bytes - 1 {
            bits = bits & !curve.clear[1] | curve.set;
        }
        let bit = bits >> (n % 8) & 1;
        swap(swapped ^ bit, &mut x2, &mut x3);
        swap(swapped ^ bit, &mut z2, &mut z3);
        swapped = bit;
        let a = field.add(&x2, &z2);
        let b = field.subtract(&x2, &z2);
        let (aa, bb) = (field.square(&a), field.square(&b));
        let e = field.subtract(&aa, &bb);
        let (c, d) = (field.add(&x3, &z3), field.subtract(&x3, &z3));
        let (da, cb) = (field.multiply(&d, &a), field.multiply(&c, &b));
        x3 = field.square(&field.add(&da, &cb));
        z3 = field.square(&field.subtract(&da, &cb));
        z3 = field.multiply(x, &z3);
        x2 = field.multiply(&aa, &bb);
        z2 = field.multiply(a24, &e);
        z2 = field.multiply(&e, &field.add(&aa, &z2));
    }
    swap(swapped, &mut x2, &mut x3);
    swap(swapped, &mut z2, &mut z3);
    let inverse = field.invert(&z2);
    field.multiply(&x2, &inverse)
}

/// Exchanges two elements if the bit is set.
fn swap(bit: u8, x: &mut Element, y: &mut Element) {
    let (choice, before) = (Choice::from_u8_lsb(bit), *x);
    choose(x, y, choice);
    choose(y, &before, choice);
}
