//! Fields of curves: numbers modulo a prime of at most 521 bits, as values.
//!
//! **Invariant:** an element is in Montgomery's form and less than the prime; its words above the prime's are 0.

use super::montgomery::{Modulus, are_equal, is_zero, read, write};
use super::{Error, Result, Words};
use crypto_bigint::{Choice, Limb, UintRef};

/// Words of an element.
pub(super) const LIMBS: usize = 9;
/// Bytes of the longest element.
pub(super) const MAX_BYTES: usize = 66;
/// Words of scratch of a field.
pub(super) const FIELD_WORDS: usize = 2 * LIMBS;

/// An element.
pub(super) type Element = [Limb; LIMBS];
/// 0.
pub(super) const ZERO: Element = [Limb::ZERO; LIMBS];

/// Arithmetic modulo a prime.
#[derive(Debug)]
pub(super) struct Field<'m> {
    modulus: Modulus<'m>,
    product: [Limb; 2 * LIMBS],
}

impl<'m> Field<'m> {
    /// Of a prime that is a constant of ours, big-endian.
    pub(super) fn new(prime: &[u8], words: &mut Words<'m>) -> Result<Self> {
        let mut product = [Limb::ZERO; 2 * LIMBS];
        let (number, r_squared) = (words.take(LIMBS)?, words.take(LIMBS)?);
        let modulus = Modulus::new(prime, number, r_squared, &mut product).ok_or(Error::Length)?;
        Ok(Self { modulus, product })
    }

    /// Words of its numbers.
    pub(super) fn limbs(&self) -> usize {
        self.modulus.limbs()
    }

    /// An element of big-endian bytes; `None` if the number is not less than the prime.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Option<Element> {
        self.read_plain(bytes).map(|number| self.enter(&number))
    }

    /// As [`Self::read`], but the number itself.
    pub(super) fn read_plain(&self, bytes: &[u8]) -> Option<Element> {
        let mut number = ZERO;
        let number_part = &mut number[..self.limbs()];
        let is_one = read(bytes, number_part) && self.modulus.has(UintRef::new(number_part));
        is_one.then_some(number)
    }

    /// A number of less than twice the prime, less the prime if it is not below.
    pub(super) fn reduce_once(&self, number: &Element) -> Element {
        self.add(number, &ZERO)
    }

    /// A little-endian number of any length modulo the prime.
    pub(super) fn reduce_wide<const WORDS: usize>(&mut self, bytes: &[u8]) -> Element {
        let (mut wide, mut piece, mut result) = ([Limb::ZERO; WORDS], ZERO, ZERO);
        for (limb, bytes) in wide.iter_mut().zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            limb.0 = u64::from_le_bytes(word);
        }
        let (modulus, part) = (self.modulus, self.limbs());
        let piece = UintRef::new_mut(&mut piece[..part]);
        let result_part = UintRef::new_mut(&mut result[..part]);
        modulus.remainder(UintRef::new(&wide), piece, self.product(), result_part);
        result
    }

    /// Big-endian bytes of an element.
    pub(super) fn write(&mut self, element: &Element, to: &mut [u8]) {
        let number = self.leave(element);
        self.write_plain(&number, to);
    }

    /// Big-endian bytes of a number.
    pub(super) fn write_plain(&self, number: &Element, to: &mut [u8]) {
        write(UintRef::new(&number[..self.limbs()]), to);
    }

    /// Into Montgomery's form.
    pub(super) fn enter(&mut self, number: &Element) -> Element {
        let mut element = *number;
        let (modulus, part) = (self.modulus, self.limbs());
        modulus.enter_assign(UintRef::new_mut(&mut element[..part]), self.product());
        element
    }

    /// Out of it.
    pub(super) fn leave(&mut self, element: &Element) -> Element {
        let mut number = *element;
        let (modulus, part) = (self.modulus, self.limbs());
        modulus.leave_assign(UintRef::new_mut(&mut number[..part]), self.product());
        number
    }

    fn product(&mut self) -> &mut UintRef {
        let len = 2 * self.limbs();
        UintRef::new_mut(&mut self.product[..len])
    }

    /// 1.
    pub(super) fn one(&mut self) -> Element {
        let mut one = ZERO;
        let (modulus, part) = (self.modulus, self.limbs());
        modulus.one(self.product(), UintRef::new_mut(&mut one[..part]));
        one
    }

    /// x y.
    pub(super) fn multiply(&mut self, x: &Element, y: &Element) -> Element {
        let mut result = ZERO;
        let (modulus, part) = (self.modulus, self.limbs());
        modulus.multiply(
            UintRef::new(&x[..part]),
            UintRef::new(&y[..part]),
            self.product(),
            UintRef::new_mut(&mut result[..part]),
        );
        result
    }

    /// x x.
    pub(super) fn square(&mut self, x: &Element) -> Element {
        let mut result = *x;
        let (modulus, part) = (self.modulus, self.limbs());
        modulus.square_assign(UintRef::new_mut(&mut result[..part]), self.product());
        result
    }

    /// x + y.
    pub(super) fn add(&self, x: &Element, y: &Element) -> Element {
        let (mut result, part) = (*x, self.limbs());
        let sum = UintRef::new_mut(&mut result[..part]);
        self.modulus.add_assign(sum, UintRef::new(&y[..part]));
        result
    }

    /// x - y.
    pub(super) fn subtract(&self, x: &Element, y: &Element) -> Element {
        let (mut result, part) = (*x, self.limbs());
        let difference = UintRef::new_mut(&mut result[..part]);
        self.modulus
            .subtract_assign(difference, UintRef::new(&y[..part]));
        result
    }

    /// To the power of a number that everybody may know, big-endian.
    pub(super) fn power_public(&mut self, x: &Element, exponent: &[u8]) -> Element {
        let mut result = ZERO;
        let (modulus, part) = (self.modulus, self.limbs());
        let result_part = UintRef::new_mut(&mut result[..part]);
        modulus.power_public(
            UintRef::new(&x[..part]),
            exponent,
            self.product(),
            result_part,
        );
        result
    }

    /// 1 / x, by Fermat; 0 of 0.
    pub(super) fn invert(&mut self, x: &Element) -> Element {
        let mut exponent = ZERO;
        let part = self.limbs();
        let exponent = UintRef::new_mut(&mut exponent[..part]);
        exponent.copy_from(self.modulus.number);
        exponent.borrowing_sub_assign_limb(Limb(2), Limb::ZERO);
        let mut bytes = [0; 8 * LIMBS];
        write(exponent, &mut bytes);
        self.power_public(x, &bytes)
    }
}

/// Whether it is 0.
pub(super) fn is_none(element: &Element) -> bool {
    is_zero(UintRef::new(element))
}

/// Whether they are the same.
pub(super) fn is_same(x: &Element, y: &Element) -> bool {
    are_equal(UintRef::new(x), UintRef::new(y))
}

/// `x` becomes `y` if it is chosen.
pub(super) fn choose(x: &mut Element, y: &Element, choice: Choice) {
    UintRef::new_mut(x).conditional_copy_from(UintRef::new(y), choice);
}
