//! Digests, message authentication codes, ciphers, authenticated encryption.
//!
//! What the CPU has instructions for goes through [`instructions`]; the portable code does the rest.

pub mod aead;
pub mod block;
pub mod ccm;
mod chained;
pub mod cipher;
pub mod gcm;
pub mod hash;
pub mod instructions;
mod keystream;
pub mod mac;
pub mod sample;
mod sponge;

use zerocopy::FromBytes;

/// Which way a cipher goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From plain text.
    Encrypt,
    /// To plain text.
    Decrypt,
}

/// Bytes that begin at a word: such are combined word by word.
#[derive(Clone)]
#[repr(align(16))]
struct Aligned<const N: usize>([u8; N]);

/// Combines bytes with others, as many as both have.
pub(crate) fn xor(bytes: &mut [u8], with: &[u8]) {
    let len = bytes.len().min(with.len());
    let (bytes, with) = (&mut bytes[..len], &with[..len]);
    if let (Ok(words), Ok(with)) = (
        <[u64]>::mut_from_bytes(bytes),
        <[u64]>::ref_from_bytes(with),
    ) {
        for (word, with) in words.iter_mut().zip(with) {
            *word ^= with;
        }
        return;
    }
    for (byte, with) in bytes.iter_mut().zip(with) {
        *byte ^= with;
    }
}

/// Whether two strings of one length are the same, in a time that does not tell where they differ.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    let wrong = a
        .iter()
        .zip(b)
        .fold(0, |wrong, (a, b)| wrong | core::hint::black_box(a ^ b));
    a.len() == b.len() && wrong == 0
}
