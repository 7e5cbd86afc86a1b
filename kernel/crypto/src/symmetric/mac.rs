//! Message authentication codes: HMAC (RFC 2104), CMAC (SP 800-38B), CBC-MAC (FIPS 113).

use super::block::{self, BlockCipher, MAX_BLOCK};
use super::hash::{self, Hash, MAX_DIGEST};
use super::xor;
use tally_abi::TeeResult;
use zeroize::{Zeroize, Zeroizing};

/// An algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC.
    Hmac(hash::Algorithm),
    /// Of blocks.
    Blocks(block::Algorithm, Padding),
}

/// What becomes of the last block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// CBC-MAC of whole blocks.
    None,
    /// CBC-MAC with 1 to a block's length of bytes that say how many they are (PKCS #5).
    Pkcs5,
    /// CMAC.
    Cmac,
}

impl Algorithm {
    /// Bytes of a code.
    #[must_use]
    pub const fn code_bytes(self) -> usize {
        match self {
            Self::Hmac(hash) => match hash.digest_bytes() {
                Some(bytes) => bytes,
                None => 0,
            },
            Self::Blocks(cipher, _) => cipher.block(),
        }
    }
}

/// A code being computed.
#[derive(Clone)]
pub enum Mac {
    /// Of a hash.
    Hmac(Hmac),
    /// Of a block cipher.
    Blocks(BlockMac),
}

impl Mac {
    /// Of nothing yet.
    ///
    /// # Errors
    /// `BAD_STATE`: no key of this length.
    pub fn new(algorithm: Algorithm, key: &[u8]) -> Result<Self, TeeResult> {
        Ok(match algorithm {
            Algorithm::Hmac(hash) => Self::Hmac(Hmac::new(hash, key)),
            Algorithm::Blocks(cipher, padding) => {
                Self::Blocks(BlockMac::new(cipher, padding, key)?)
            }
        })
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Hmac(mac) => mac.update(bytes),
            Self::Blocks(mac) => mac.update(bytes),
        }
    }

    /// Gives the code, or as much of it as there is room for.
    ///
    /// # Errors
    /// `BAD_STATE`: no whole blocks, where there must be some.
    pub fn finish(&mut self, out: &mut [u8]) -> Result<(), TeeResult> {
        match self {
            Self::Hmac(mac) => {
                mac.finish(out);
                Ok(())
            }
            Self::Blocks(mac) => mac.finish(out),
        }
    }
}

/// HMAC being computed.
#[derive(Clone)]
pub struct Hmac {
    inner: Hash,
    outer: Hash,
    digest_bytes: usize,
}

impl Hmac {
    /// Of nothing yet.
    #[inline(never)]
    #[must_use]
    pub fn new(algorithm: hash::Algorithm, key: &[u8]) -> Self {
        let mut inner = Hash::new(algorithm);
        let mut outer = inner.clone();
        let mut padded = Zeroizing::new([0; hash::MAX_BLOCK]);
        let padded = &mut padded[..inner.block()];
        let digest_bytes = algorithm.digest_bytes().unwrap_or(0);
        match padded.get_mut(..key.len()) {
            Some(start) => start.copy_from_slice(key),
            None => {
                inner.update(key);
                inner.finish(&mut padded[..digest_bytes]);
            }
        }
        for (hash, pad) in [(&mut inner, 0x36), (&mut outer, 0x36 ^ 0x5c)] {
            for byte in &mut *padded {
                *byte ^= pad;
            }
            hash.update(padded);
        }
        Self {
            inner,
            outer,
            digest_bytes,
        }
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
    }

    /// Gives the code, or as much of it as there is room for. It cannot go on then.
    pub fn finish(&mut self, out: &mut [u8]) {
        let mut digest = Zeroizing::new([0; MAX_DIGEST]);
        let digest = &mut digest[..self.digest_bytes];
        self.inner.finish(digest);
        self.outer.update(digest);
        self.outer.finish(out);
    }
}

/// A code of a block cipher being computed.
#[derive(Clone)]
pub struct BlockMac {
    cipher: BlockCipher,
    padding: Padding,
    chain: [u8; MAX_BLOCK],
    /// The last block so far, which may be whole.
    last: [u8; MAX_BLOCK],
    len: usize,
}

impl BlockMac {
    fn new(algorithm: block::Algorithm, padding: Padding, key: &[u8]) -> Result<Self, TeeResult> {
        Ok(Self {
            cipher: BlockCipher::new(algorithm, key)?,
            padding,
            chain: [0; MAX_BLOCK],
            last: [0; MAX_BLOCK],
            len: 0,
        })
    }

    fn chain_last(&mut self) {
        let block = self.cipher.block();
        xor(&mut self.chain, &self.last[..block]);
        self.cipher.encrypt(&mut self.chain[..block]);
        self.len = 0;
    }

    fn update(&mut self, mut bytes: &[u8]) {
        let block = self.cipher.block();
        while !bytes.is_empty() {
            if self.len == block {
                self.chain_last();
            }
            if self.len == 0 {
                // All but the last, which may be whole.
                let (whole, rest) = bytes.split_at((bytes.len() - 1) / block * block);
                self.cipher.mac(&mut self.chain, whole);
                bytes = rest;
            }
            let (more, rest) = bytes.split_at(bytes.len().min(block - self.len));
            self.last[self.len..][..more.len()].copy_from_slice(more);
            self.len += more.len();
            bytes = rest;
        }
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<(), TeeResult> {
        let block = self.cipher.block();
        match self.padding {
            Padding::None if self.len < block => return Err(TeeResult::BAD_STATE),
            Padding::None => {}
            Padding::Pkcs5 => {
                if self.len == block {
                    self.chain_last();
                }
                let pad = (block - self.len) as u8;
                self.last[self.len..block].fill(pad);
            }
            Padding::Cmac => {
                let mut subkey = Zeroizing::new([0; MAX_BLOCK]);
                self.cipher.encrypt(&mut subkey[..block]);
                double(&mut subkey[..block]);
                if self.len < block {
                    double(&mut subkey[..block]);
                    self.last[self.len..block].fill(0);
                    self.last[self.len] = 0x80;
                }
                xor(&mut self.last, &*subkey);
            }
        }
        self.chain_last();
        let len = out.len().min(block);
        out[..len].copy_from_slice(&self.chain[..len]);
        Ok(())
    }
}

impl Drop for BlockMac {
    fn drop(&mut self) {
        self.chain.zeroize();
        self.last.zeroize();
    }
}

/// Times x in the field of the block's size (SP 800-38B 5.3).
fn double(block: &mut [u8]) {
    let reduction = if block.len() == MAX_BLOCK { 0x87 } else { 0x1b };
    let mut carry = 0;
    for byte in block.iter_mut().rev() {
        let next = *byte >> 7;
        *byte = *byte << 1 | carry;
        carry = next;
    }
    if let Some(last) = block.last_mut() {
        *last ^= carry * reduction;
    }
}
