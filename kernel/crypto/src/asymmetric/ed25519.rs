//! Ed25519, pure, with a context, and of a hash (RFC 8032 §5.1). Keys and signatures are bytes as the RFC has them.

use super::curve::hex;
use super::field::{Element, FIELD_WORDS, Field, ZERO, is_none, is_same};
use super::hash::Hashed;
use super::multiple::{Addition, multiple, table_words};
use super::{Error, Result, Word, Words};
use crate::symmetric::hash::Algorithm as Hash;
use zeroize::Zeroize;

/// Bytes of a private key and of a public one.
pub const KEY_LEN: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;
/// Words of scratch.
pub const SCRATCH_WORDS: usize = 2 * FIELD_WORDS + table_words(4);

const PRIME: [u8; 32] = hex("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed");
const ORDER: [u8; 32] = hex("1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed");
const D: [u8; 32] = hex("52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3");
const GENERATOR_Y: [u8; 32] =
    hex("6666666666666666666666666666666666666666666666666666666666666658");
/// (p - 5) / 8.
const ROOT_EXPONENT: [u8; 32] =
    hex("0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffd");
/// (p - 1) / 4.
const QUARTER_EXPONENT: [u8; 32] =
    hex("1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffb");

/// What a signature is of.
#[derive(Clone, Copy, Debug)]
pub enum Variant<'c> {
    /// The message.
    Pure,
    /// The message, in a context of at most 255 bytes.
    Context(&'c [u8]),
    /// The message's SHA-512, in a context of at most 255 bytes.
    Hashed(&'c [u8]),
}

impl Variant<'_> {
    /// SHA-512 of what distinguishes the variant and of three pieces.
    fn hash(self, first: &[u8], second: &[u8], message: &[u8]) -> Result<Hashed> {
        let (flag, context, digest) = match self {
            Self::Pure => return Ok(Hash::Sha512.of(&[first, second, message])),
            Self::Context(context) => (0, context, None),
            Self::Hashed(context) => (1, context, Some(Hash::Sha512.of(&[message]))),
        };
        let len = u8::try_from(context.len()).map_err(|_| Error::Length)?;
        let name = b"SigEd25519 no Ed25519 collisions";
        let message = digest.as_deref().unwrap_or(message);
        Ok(Hash::Sha512.of(&[name, &[flag, len], context, first, second, message]))
    }
}

/// A point x, y, z, t, which stand for (x / z, y / z), and t for x y / z.
type Point = [Element; 4];

/// The curve.
struct Group<'m> {
    field: Field<'m>,
    scalars: Field<'m>,
    d: Element,
    table: &'m mut [Word],
}

impl Addition<4> for Group<'_> {
    fn neutral(&mut self) -> Point {
        let one = self.field.one();
        [ZERO, one, one, ZERO]
    }

    /// Hisil, Wong, Carter, Dawson: Twisted Edwards curves revisited, §3.1; complete as d is no square.
    fn add(&mut self, [px, py, pz, pt]: &Point, [qx, qy, qz, qt]: &Point) -> Point {
        let field = &mut self.field;
        let a = field.multiply(&field.subtract(py, px), &field.subtract(qy, qx));
        let b = field.multiply(&field.add(py, px), &field.add(qy, qx));
        let c = field.multiply(pt, qt);
        let c = field.multiply(&c, &self.d);
        let c = field.add(&c, &c);
        let d = field.multiply(pz, qz);
        let d = field.add(&d, &d);
        let (e, f) = (field.subtract(&b, &a), field.subtract(&d, &c));
        let (g, h) = (field.add(&d, &c), field.add(&b, &a));
        let (x, y) = (field.multiply(&e, &f), field.multiply(&g, &h));
        [x, y, field.multiply(&f, &g), field.multiply(&e, &h)]
    }
}

impl<'m> Group<'m> {
    fn new(words: &'m mut [Word]) -> Result<Self> {
        let mut words = Words(words);
        let mut field = Field::new(&PRIME, &mut words)?;
        let scalars = Field::new(&ORDER, &mut words)?;
        let d = field.read(&D).ok_or(Error::Key)?;
        let table = words.take(table_words(4))?;
        Ok(Self {
            field,
            scalars,
            d,
            table,
        })
    }

    fn multiply(&mut self, scalar: &Element, point: &Point) -> Point {
        let table = core::mem::take(&mut self.table);
        let product = multiple(self, table, &scalar[..4], point);
        self.table = table;
        product
    }

    fn multiply_generator(&mut self, scalar: &Element) -> Result<Point> {
        let mut bytes = GENERATOR_Y;
        bytes.reverse();
        let generator = self.read(&bytes)?;
        Ok(self.multiply(scalar, &generator))
    }

    /// Bytes of a point (RFC 8032 §5.1.2).
    fn write(&mut self, point: &Point) -> [u8; KEY_LEN] {
        let field = &mut self.field;
        let inverse = field.invert(&point[2]);
        let (x, y) = (
            field.multiply(&point[0], &inverse),
            field.multiply(&point[1], &inverse),
        );
        let mut bytes = [0; KEY_LEN];
        field.write(&y, &mut bytes);
        bytes[0] |= (field.leave(&x)[0].0 as u8) << 7;
        bytes.reverse();
        bytes
    }

    /// The point of these bytes (RFC 8032 §5.1.3).
    fn read(&mut self, bytes: &[u8; KEY_LEN]) -> Result<Point> {
        let field = &mut self.field;
        let mut bytes = *bytes;
        bytes.reverse();
        let is_odd = bytes[0] >> 7;
        bytes[0] &= 0x7f;
        let y = field.read(&bytes).ok_or(Error::Key)?;
        let one = field.one();
        let square = field.square(&y);
        let u = field.subtract(&square, &one);
        let v = field.multiply(&self.d, &square);
        let v = field.add(&v, &one);
        // x = u v³ (u v⁷)^((p - 5) / 8), or as much times a root of -1.
        let v2 = field.square(&v);
        let v3 = field.multiply(&v2, &v);
        let uv3 = field.multiply(&u, &v3);
        let v4 = field.square(&v2);
        let uv7 = field.multiply(&uv3, &v4);
        let root = field.power_public(&uv7, &ROOT_EXPONENT);
        let mut x = field.multiply(&uv3, &root);
        let squared = field.square(&x);
        let squared = field.multiply(&squared, &v);
        if !is_same(&squared, &u) {
            if !is_none(&field.add(&squared, &u)) {
                return Err(Error::Key);
            }
            let two = field.add(&one, &one);
            let root = field.power_public(&two, &QUARTER_EXPONENT);
            x = field.multiply(&x, &root);
        }
        if is_none(&x) && is_odd == 1 {
            return Err(Error::Key);
        }
        if field.leave(&x)[0].0 as u8 & 1 != is_odd {
            x = field.subtract(&ZERO, &x);
        }
        let t = field.multiply(&x, &y);
        Ok([x, y, one, t])
    }
}

/// The secret number and the prefix of a private key.
fn expand(group: &mut Group<'_>, private: &[u8; KEY_LEN]) -> (Element, Hashed) {
    let hashed = Hash::Sha512.of(&[private]);
    let mut bytes = [0; KEY_LEN];
    bytes.copy_from_slice(&hashed[..KEY_LEN]);
    bytes[0] &= 0xf8;
    bytes[KEY_LEN - 1] = bytes[KEY_LEN - 1] & 0x7f | 0x40;
    // Modulo the order: the generator's multiples are the same.
    let scalar = group.scalars.reduce_wide::<4>(&bytes);
    bytes.zeroize();
    (scalar, hashed)
}

/// The public key of a private one.
///
/// # Errors
/// [`Error::Length`] if there are less than [`SCRATCH_WORDS`].
pub fn public(private: &[u8; KEY_LEN], words: &mut [Word]) -> Result<[u8; KEY_LEN]> {
    let mut group = Group::new(words)?;
    let (scalar, _) = expand(&mut group, private);
    let point = group.multiply_generator(&scalar)?;
    Ok(group.write(&point))
}

/// Signs.
///
/// # Errors
/// [`Error::Length`].
pub fn sign(
    variant: Variant<'_>,
    private: &[u8; KEY_LEN],
    public: &[u8; KEY_LEN],
    message: &[u8],
    words: &mut [Word],
) -> Result<[u8; SIGNATURE_LEN]> {
    let mut group = Group::new(words)?;
    let (scalar, hashed) = expand(&mut group, private);
    let nonce = variant.hash(&hashed[KEY_LEN..], &[], message)?;
    let nonce = group.scalars.reduce_wide::<8>(&nonce);
    let point = group.multiply_generator(&nonce)?;
    let r = group.write(&point);
    let challenge = variant.hash(&r, public, message)?;
    let scalars = &mut group.scalars;
    let challenge = scalars.reduce_wide::<8>(&challenge);
    let challenge = scalars.enter(&challenge);
    let product = scalars.multiply(&challenge, &scalar);
    let s = scalars.add(&product, &nonce);
    let mut signature = [0; SIGNATURE_LEN];
    let (r_bytes, s_bytes) = signature.split_at_mut(KEY_LEN);
    r_bytes.copy_from_slice(&r);
    scalars.write_plain(&s, s_bytes);
    s_bytes.reverse();
    Ok(signature)
}

/// Whether a signature holds.
///
/// # Errors
/// [`Error::Signature`]; [`Error::Key`]; [`Error::Length`].
pub fn verify(
    variant: Variant<'_>,
    public: &[u8; KEY_LEN],
    message: &[u8],
    signature: &[u8; SIGNATURE_LEN],
    words: &mut [Word],
) -> Result<()> {
    let mut group = Group::new(words)?;
    let [mut x, y, z, mut t] = group.read(public)?;
    let [r, mut s] = [0, KEY_LEN].map(|at| core::array::from_fn(|n| signature[at + n]));
    s.reverse();
    let s = group.scalars.read_plain(&s).ok_or(Error::Signature)?;
    let challenge = variant.hash(&r, public, message)?;
    let challenge = group.scalars.reduce_wide::<8>(&challenge);
    // s generator - challenge public = r
    x = group.field.subtract(&ZERO, &x);
    t = group.field.subtract(&ZERO, &t);
    let first = group.multiply_generator(&s)?;
    let second = group.multiply(&challenge, &[x, y, z, t]);
    let sum = group.add(&first, &second);
    if group.write(&sum) == r {
        Ok(())
    } else {
        Err(Error::Signature)
    }
}
