//! Curves y² = x³ - 3x + b of prime order: those of NIST, and SM2's.
//!
//! One formula adds any two points, equal ones and the one at infinity among them (Renes, Costello, Batina: Complete addition
//! formulas for prime order elliptic curves, algorithm 4).
//!
//! **Invariant:** a point is on its curve.

use super::field::{Element, FIELD_WORDS, Field, MAX_BYTES, ZERO, is_none, is_same};
use super::montgomery::read;
use super::multiple::{Addition, multiple, table_words};
use super::{Error, MAX_DRAWS, Random, Result, Words};
use crypto_bigint::{Limb, UintRef};
use zeroize::Zeroize;

/// A curve: big-endian constants.
#[derive(Debug)]
pub struct Curve {
    /// Bits of the order, and of the prime.
    pub bits: usize,
    /// It is SM2's, whose signatures are others.
    pub is_sm2: bool,
    prime: &'static [u8],
    order: &'static [u8],
    b: &'static [u8],
    generator: [&'static [u8]; 2],
}

/// Bytes of a text of hexadecimal digits.
pub(super) const fn hex<const N: usize>(text: &str) -> [u8; N] {
    let (text, mut bytes, mut n) = (text.as_bytes(), [0; N], 0);
    assert!(text.len() == 2 * N, "another length");
    while n < 2 * N {
        let digit = match text[n] {
            digit @ b'0'..=b'9' => digit - b'0',
            digit => digit - b'a' + 10,
        };
        bytes[n / 2] = bytes[n / 2] << 4 | digit;
        n += 1;
    }
    bytes
}

/// NIST's P-192 (SP 800-186, as those that follow).
pub const P192: &Curve = &Curve {
    bits: 192,
    is_sm2: false,
    prime: &hex::<24>("fffffffffffffffffffffffffffffffeffffffffffffffff"),
    order: &hex::<24>("ffffffffffffffffffffffff99def836146bc9b1b4d22831"),
    b: &hex::<24>("64210519e59c80e70fa7e9ab72243049feb8deecc146b9b1"),
    generator: [
        &hex::<24>("188da80eb03090f67cbf20eb43a18800f4ff0afd82ff1012"),
        &hex::<24>("07192b95ffc8da78631011ed6b24cdd573f977a11e794811"),
    ],
};

/// P-224.
pub const P224: &Curve = &Curve {
    bits: 224,
    is_sm2: false,
    prime: &hex::<28>("ffffffffffffffffffffffffffffffff000000000000000000000001"),
    order: &hex::<28>("ffffffffffffffffffffffffffff16a2e0b8f03e13dd29455c5c2a3d"),
    b: &hex::<28>("b4050a850c04b3abf54132565044b0b7d7bfd8ba270b39432355ffb4"),
    generator: [
        &hex::<28>("b70e0cbd6bb4bf7f321390b94a03c1d356c21122343280d6115c1d21"),
        &hex::<28>("bd376388b5f723fb4c22dfe6cd4375a05a07476444d5819985007e34"),
    ],
};

/// P-256.
pub const P256: &Curve = &Curve {
    bits: 256,
    is_sm2: false,
    prime: &hex::<32>("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
    order: &hex::<32>("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
    b: &hex::<32>("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"),
    generator: [
        &hex::<32>("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
        &hex::<32>("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
    ],
};

/// P-384.
pub const P384: &Curve = &Curve {
    bits: 384,
    is_sm2: false,
    prime: &hex::<48>(
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
    ),
    order: &hex::<48>(
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    ),
    b: &hex::<48>(
        "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
    ),
    generator: [
        &hex::<48>(
            "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
        ),
        &hex::<48>(
            "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
        ),
    ],
};

/// P-521.
pub const P521: &Curve = &Curve {
    bits: 521,
    is_sm2: false,
    prime: &hex::<66>(concat!(
        "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    )),
    order: &hex::<66>(concat!(
        "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa",
        "51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
    )),
    b: &hex::<66>(concat!(
        "0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109",
        "e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00",
    )),
    generator: [
        &hex::<66>(concat!(
            "00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3d",
            "baa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66",
        )),
        &hex::<66>(concat!(
            "011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e66",
            "2c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650",
        )),
    ],
};

/// SM2's recommended curve (GB/T 32918.5).
pub const SM2: &Curve = &Curve {
    bits: 256,
    is_sm2: true,
    prime: &hex::<32>("fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff"),
    order: &hex::<32>("fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123"),
    b: &hex::<32>("28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93"),
    generator: [
        &hex::<32>("32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7"),
        &hex::<32>("bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0"),
    ],
};

impl Curve {
    /// Bytes of a coordinate and of a private key.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bits.div_ceil(8)
    }
}

/// Words of scratch of a curve.
pub const SCRATCH_WORDS: usize = 2 * FIELD_WORDS + table_words(3);

/// A point x, y, z, which stand for (x / z, y / z); at infinity z is 0.
pub(super) type Point = [Element; 3];

/// Arithmetic on a curve and modulo its order.
#[derive(Debug)]
pub(super) struct Group<'m> {
    field: Field<'m>,
    /// Numbers modulo the order.
    pub(super) scalars: Field<'m>,
    curve: &'static Curve,
    b: Element,
    table: &'m mut [Limb],
}

impl<'m> Group<'m> {
    /// With [`SCRATCH_WORDS`].
    pub(super) fn new(curve: &'static Curve, words: &'m mut [Limb]) -> Result<Self> {
        let mut words = Words(words);
        let mut field = Field::new(curve.prime, &mut words)?;
        let scalars = Field::new(curve.order, &mut words)?;
        let b = field.read(curve.b).ok_or(Error::Key)?;
        let table = words.take(table_words(3))?;
        Ok(Self {
            field,
            scalars,
            curve,
            b,
            table,
        })
    }

    /// The coefficients a = -3 and b, and the generator: big-endian. For curves of 256 bits.
    pub(super) fn constants(&self) -> ([u8; 32], &'static [u8], [&'static [u8]; 2]) {
        let mut a = [0; 32];
        a.copy_from_slice(self.curve.prime);
        // No borrow: the lowest byte is more than 3.
        a[31] -= 3;
        (a, self.curve.b, self.curve.generator)
    }

    /// The point that generates all.
    pub(super) fn generator(&mut self) -> Result<Point> {
        let [x, y] = self.curve.generator;
        self.point(x, y)
    }

    /// A point that somebody says is on the curve: big-endian coordinates.
    pub(super) fn point(&mut self, x: &[u8], y: &[u8]) -> Result<Point> {
        let field = &mut self.field;
        let (x, y) = (
            field.read(x).ok_or(Error::Key)?,
            field.read(y).ok_or(Error::Key)?,
        );
        let z = field.one();
        // x³ - 3x + b = (x² - 3) x + b
        let three = field.add(&field.add(&z, &z), &z);
        let square = field.square(&x);
        let cube = field.multiply(&field.subtract(&square, &three), &x);
        let right = field.add(&cube, &self.b);
        if is_same(&field.square(&y), &right) {
            Ok([x, y, z])
        } else {
            Err(Error::Key)
        }
    }

    /// A multiple, by a secret number below the order.
    pub(super) fn multiply(&mut self, scalar: &Element, point: &Point) -> Point {
        let limbs = self.scalars.limbs();
        let table = core::mem::take(&mut self.table);
        let product = multiple(self, table, &scalar[..limbs], point);
        self.table = table;
        product
    }

    /// Writes x and y as long as the curve's coordinates, of which `y` may be left out; there is none at infinity.
    pub(super) fn write(
        &mut self,
        point: &Point,
        x: &mut [u8],
        y: Option<&mut [u8]>,
    ) -> Result<()> {
        if is_none(&point[2]) {
            return Err(Error::Key);
        }
        let field = &mut self.field;
        let inverse = field.invert(&point[2]);
        let affine = field.multiply(&point[0], &inverse);
        field.write(&affine, x);
        if let Some(y) = y {
            let affine = field.multiply(&point[1], &inverse);
            field.write(&affine, y);
        }
        Ok(())
    }

    /// A private key: a number from 1 to the order less 1.
    pub(super) fn scalar(&self, bytes: &[u8]) -> Result<Element> {
        let scalar = self
            .scalars
            .read_plain(bytes)
            .filter(|scalar| !is_none(scalar));
        scalar.ok_or(Error::Key)
    }

    /// A new private key.
    pub(super) fn random_scalar(&self, random: &mut impl Random) -> Result<Element> {
        let mut bytes = [0; MAX_BYTES];
        let bytes = &mut bytes[..self.curve.bytes()];
        for _ in 0..MAX_DRAWS {
            random.fill(bytes);
            bytes[0] &= 0xff >> (8 * bytes.len() - self.curve.bits);
            if let Ok(scalar) = self.scalar(bytes) {
                bytes.zeroize();
                return Ok(scalar);
            }
        }
        Err(Error::Random)
    }

    /// The leftmost bits of a digest, as many as the order has, modulo the order (FIPS 186-5 §6.4.1).
    pub(super) fn digest(&self, digest: &[u8]) -> Element {
        let mut bytes = [0; MAX_BYTES];
        let len = digest.len().min(self.curve.bytes());
        bytes[..len].copy_from_slice(&digest[..len]);
        let bytes = &bytes[..len];
        let mut number = ZERO;
        let part = self.scalars.limbs();
        // As long as the order at most.
        let _ = read(bytes, &mut number[..part]);
        let above = (8 * len).saturating_sub(self.curve.bits);
        UintRef::new_mut(&mut number).unbounded_shr_assign_vartime(above as u32);
        self.scalars.reduce_once(&number)
    }

    /// The x coordinate of a point modulo the order.
    pub(super) fn x_modulo_order(&mut self, point: &Point) -> Result<Element> {
        let mut bytes = [0; MAX_BYTES];
        let bytes = &mut bytes[..self.curve.bytes()];
        self.write(point, bytes, None)?;
        let mut number = ZERO;
        let part = self.scalars.limbs();
        let _ = read(bytes, &mut number[..part]);
        Ok(self.scalars.reduce_once(&number))
    }
}

impl Addition<3> for Group<'_> {
    fn neutral(&mut self) -> Point {
        [ZERO, self.field.one(), ZERO]
    }

    fn add(&mut self, [px, py, pz]: &Point, [qx, qy, qz]: &Point) -> Point {
        let field = &mut self.field;
        let xx = field.multiply(px, qx);
        let yy = field.multiply(py, qy);
        let zz = field.multiply(pz, qz);
        // Each is the sum of both mixed products.
        let xy = cross(field, (px, py), (qx, qy), (&xx, &yy));
        let yz = cross(field, (py, pz), (qy, qz), (&yy, &zz));
        let xz = cross(field, (px, pz), (qx, qz), (&xx, &zz));
        let scaled = field.multiply(&self.b, &zz);
        let scaled = field.subtract(&xz, &scaled);
        let scaled = triple(field, &scaled);
        let low = field.subtract(&yy, &scaled);
        let high = field.add(&yy, &scaled);
        let zz = triple(field, &zz);
        let mixed = field.multiply(&self.b, &xz);
        let mixed = field.subtract(&field.subtract(&mixed, &zz), &xx);
        let mixed = triple(field, &mixed);
        let xx = field.subtract(&triple(field, &xx), &zz);
        let (x, other) = (field.multiply(&high, &xy), field.multiply(&yz, &mixed));
        let x = field.subtract(&x, &other);
        let (y, other) = (field.multiply(&high, &low), field.multiply(&xx, &mixed));
        let y = field.add(&y, &other);
        let (z, other) = (field.multiply(&yz, &low), field.multiply(&xy, &xx));
        let z = field.add(&z, &other);
        [x, y, z]
    }
}

/// (p1 + p2)(q1 + q2) - p1 q1 - p2 q2.
fn cross(
    field: &mut Field<'_>,
    p: (&Element, &Element),
    q: (&Element, &Element),
    products: (&Element, &Element),
) -> Element {
    let sums = (field.add(p.0, p.1), field.add(q.0, q.1));
    let product = field.multiply(&sums.0, &sums.1);
    field.subtract(&product, &field.add(products.0, products.1))
}

/// 3x.
fn triple(field: &Field<'_>, x: &Element) -> Element {
    field.add(&field.add(x, x), x)
}
