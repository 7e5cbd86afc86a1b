//! A key stream out of a counter (SP 800-38A 6.5).

use super::block::{BlockCipher, MAX_BLOCK};
use super::instructions::AesMode;
use super::{Aligned, xor};
use zeroize::Zeroize;

/// Blocks that a cipher encrypts at once.
pub(super) const BLOCKS_AT_ONCE: usize = 4;

/// Where a key stream stands.
#[derive(Clone)]
pub(super) struct Keystream {
    counter: u128,
    /// Bytes at the end of it that count.
    counting: usize,
    /// The block that was begun; no byte of it is left at first.
    block: [u8; MAX_BLOCK],
    at: usize,
}

impl Keystream {
    pub(super) const fn new(counter: [u8; MAX_BLOCK], counting: usize) -> Self {
        Self {
            counter: u128::from_be_bytes(counter),
            counting,
            block: [0; MAX_BLOCK],
            at: MAX_BLOCK,
        }
    }

    fn next(&mut self) -> [u8; MAX_BLOCK] {
        let counter = self.counter;
        self.skip(1);
        counter.to_be_bytes()
    }

    /// The next whole block of it.
    pub(super) fn mask(&mut self, cipher: &BlockCipher) -> [u8; MAX_BLOCK] {
        let mut block = self.next();
        cipher.encrypt(&mut block);
        block
    }

    /// The counter as the next block has it, and how many blocks there are before what counts of it wraps, or its lower half.
    fn run(&self) -> (u128, u64) {
        let bits = (8 * self.counting as u32).min(u64::BITS);
        let counts = u64::MAX >> (u64::BITS - bits);
        (
            self.counter,
            (counts - (self.counter as u64 & counts)).saturating_add(1),
        )
    }

    fn skip(&mut self, blocks: u64) {
        let bits = 8 * self.counting as u32;
        let counts = u128::MAX >> (u128::BITS - bits);
        let next = self.counter.wrapping_add(u128::from(blocks)) & counts;
        self.counter = self.counter & !counts | next;
    }

    /// Combines the next bytes with it.
    pub(super) fn apply(&mut self, cipher: &BlockCipher, bytes: &mut [u8]) {
        let begun = bytes.len().min(MAX_BLOCK - self.at);
        let (begun, mut bytes) = bytes.split_at_mut(begun);
        xor(begun, &self.block[self.at..]);
        self.at += begun.len();
        if let BlockCipher::Aes(aes) = cipher {
            while bytes.len() >= MAX_BLOCK {
                let (counter, blocks) = self.run();
                let blocks = blocks.min((bytes.len() / MAX_BLOCK) as u64);
                let (whole, rest) = bytes.split_at_mut(blocks as usize * MAX_BLOCK);
                aes.crypt(AesMode::Ctr(counter), whole);
                self.skip(blocks);
                bytes = rest;
            }
        }
        for piece in bytes.chunks_mut(BLOCKS_AT_ONCE * MAX_BLOCK) {
            let mut stream = Aligned([0; BLOCKS_AT_ONCE * MAX_BLOCK]);
            let len = piece.len().next_multiple_of(MAX_BLOCK);
            let stream = &mut stream.0[..len];
            for block in stream.chunks_exact_mut(MAX_BLOCK) {
                block.copy_from_slice(&self.next());
            }
            cipher.encrypt(stream);
            xor(piece, stream);
            if piece.len() < len {
                self.block.copy_from_slice(&stream[len - MAX_BLOCK..]);
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
