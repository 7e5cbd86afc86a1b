//! A key stream out of a counter (SP 800-38A 6.5).

use super::block::{BlockCipher, MAX_BLOCK};
use super::xor;
use zeroize::Zeroize;

/// Blocks that a cipher encrypts at once.
pub(super) const BLOCKS_AT_ONCE: usize = 4;

/// Where a key stream stands.
#[derive(Clone)]
pub(super) struct Keystream {
    counter: [u8; MAX_BLOCK],
    /// Bytes at the end of it that count.
    counting: usize,
    /// The block that was begun; no byte of it is left at first.
    block: [u8; MAX_BLOCK],
    at: usize,
}

impl Keystream {
    pub(super) const fn new(counter: [u8; MAX_BLOCK], counting: usize) -> Self {
        Self {
            counter,
            counting,
            block: [0; MAX_BLOCK],
            at: MAX_BLOCK,
        }
    }

    fn next(&mut self) -> [u8; MAX_BLOCK] {
        let counter = self.counter;
        for byte in self.counter[MAX_BLOCK - self.counting..].iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        counter
    }

    /// The next whole block of it.
    pub(super) fn mask(&mut self, cipher: &BlockCipher) -> [u8; MAX_BLOCK] {
        let mut block = self.next();
        cipher.encrypt(&mut block);
        block
    }

    /// Combines the next bytes with it.
    pub(super) fn apply(&mut self, cipher: &BlockCipher, bytes: &mut [u8]) {
        let begun = bytes.len().min(MAX_BLOCK - self.at);
        let (begun, bytes) = bytes.split_at_mut(begun);
        xor(begun, &self.block[self.at..]);
        self.at += begun.len();
        for piece in bytes.chunks_mut(BLOCKS_AT_ONCE * MAX_BLOCK) {
            let mut stream = [0; BLOCKS_AT_ONCE * MAX_BLOCK];
            let len = piece.len().next_multiple_of(MAX_BLOCK);
            for block in stream[..len].chunks_exact_mut(MAX_BLOCK) {
                block.copy_from_slice(&self.next());
            }
            cipher.encrypt(&mut stream[..len]);
            xor(piece, &stream);
            if piece.len() < len {
                self.block.copy_from_slice(&stream[len - MAX_BLOCK..len]);
                self.at = MAX_BLOCK - (len - piece.len());
            }
        }
    }
}

impl Drop for Keystream {
    fn drop(&mut self) {
        self.block.zeroize();
    }
}
