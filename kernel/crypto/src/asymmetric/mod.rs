//! Public-key algorithms and derivation of keys: pure functions of big-endian numbers.
//!
//! Big numbers lie in scratch that the caller brings, which is zeroed after each use, so that stacks stay small.

pub mod curve;
pub mod derive;
pub mod discrete;
pub mod ec;
pub mod ed25519;
mod field;
pub mod generation;
pub mod hash;
pub mod montgomery;
mod multiple;
pub mod padding;
pub mod rsa;
pub mod sm2;
pub mod xdh;

use crypto_bigint::{Limb, UintRef};

/// A word of scratch.
pub type Word = Limb;

/// Why an operation gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The key is none: a number is missing, too long, even, or does not fit the others.
    Key,
    /// The text is too long or too short for the key, or is not below its modulus; or the room is too small.
    Length,
    /// A signature does not hold.
    Signature,
    /// A text was not encrypted for this key.
    Padding,
    /// No candidate in as many tries as are reasonable: the source of random numbers, or a parameter, is broken.
    Random,
}

/// Of an operation.
pub type Result<T> = core::result::Result<T, Error>;

/// Draws of random numbers until one is suitable, of which at least every second is.
const MAX_DRAWS: usize = 128;

/// Where random bytes come from.
pub trait Random {
    /// Fills with unpredictable bytes.
    fn fill(&mut self, bytes: &mut [u8]);
}

impl<F: FnMut(&mut [u8])> Random for F {
    fn fill(&mut self, bytes: &mut [u8]) {
        self(bytes);
    }
}

/// Scratch that is given out from its beginning.
#[derive(Debug)]
struct Words<'w>(&'w mut [Limb]);

impl<'w> Words<'w> {
    fn take(&mut self, n: usize) -> Result<&'w mut [Limb]> {
        let words = core::mem::take(&mut self.0);
        let (taken, left) = words.split_at_mut_checked(n).ok_or(Error::Length)?;
        self.0 = left;
        Ok(taken)
    }

    fn number(&mut self, limbs: usize) -> Result<&'w mut UintRef> {
        self.take(limbs).map(UintRef::new_mut)
    }

    /// What is left, for somebody who gives it back.
    fn again(&mut self) -> Words<'_> {
        Words(self.0)
    }
}
