//! Counter with CBC-MAC (SP 800-38C), piece by piece.
//!
//! Source for what is refused, and how: optee_os `core/lib/libtomcrypt/ccm.c`. A nonce that leaves too few bytes for the length
//! of the text is refused, where libtomcrypt cuts it off.
//!
//! **Invariant:** whoever decrypts uses nothing of it before [`super::same`] has confirmed the tag.

use super::block::{Algorithm, BlockCipher, MAX_BLOCK as BLOCK, MAX_KEY};
use super::keystream::Keystream;
use super::{Direction, xor};
use tally_abi::TeeResult;
use zeroize::Zeroize;

/// Bytes of the longest nonce.
const MAX_NONCE: usize = 13;
/// Bytes of the shortest nonce.
const MIN_NONCE: usize = 7;
/// Longest text and longest additional data.
const MAX_BYTES: u64 = i32::MAX as u64;
/// Additional data of so many bytes have a length of six bytes.
const LONG_AAD: u64 = 0xff00;

/// A text being encrypted or decrypted.
#[derive(Clone)]
pub struct Ccm {
    cipher: BlockCipher,
    stream: Keystream,
    mac: [u8; BLOCK],
    /// Bytes of the block of the code that were taken in.
    at: usize,
    /// What the tag is encrypted with.
    mask: [u8; BLOCK],
    aad_left: u64,
    text_left: u64,
}

impl Ccm {
    /// A text that begins, of lengths that are known.
    ///
    /// # Errors
    /// `BAD_PARAMETERS`, `NOT_SUPPORTED`: lengths that there are none of; `BAD_STATE`: no key of this length.
    #[inline(never)]
    pub fn new(
        key: &[u8],
        nonce: &[u8],
        tag_bytes: usize,
        aad_bytes: u64,
        text_bytes: u64,
    ) -> Result<Self, TeeResult> {
        let length_bytes = BLOCK - 1 - nonce.len().min(BLOCK - 1);
        let is_short = text_bytes.checked_shr(8 * length_bytes as u32).unwrap_or(0) == 0;
        if key.len() > MAX_KEY
            || !(MIN_NONCE..=MAX_NONCE).contains(&nonce.len())
            || aad_bytes > MAX_BYTES
            || text_bytes > MAX_BYTES
            || !is_short
        {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        if !(4..=BLOCK).contains(&tag_bytes) || !tag_bytes.is_multiple_of(2) {
            return Err(TeeResult::NOT_SUPPORTED);
        }
        let cipher = BlockCipher::new(Algorithm::Aes, key)?;
        let mut block = [0; BLOCK];
        block[0] = length_bytes as u8 - 1;
        block[1..=nonce.len()].copy_from_slice(nonce);
        let mut stream = Keystream::new(block, length_bytes);
        let length = text_bytes.to_be_bytes();
        let from = length.len() - length_bytes;
        block[BLOCK - length_bytes..].copy_from_slice(&length[from..]);
        block[0] |= (((tag_bytes - 2) / 2) << 3) as u8 | (u8::from(aad_bytes != 0) << 6);
        cipher.encrypt(&mut block);
        let mut new = Self {
            mask: stream.mask(&cipher),
            cipher,
            stream,
            mac: block,
            at: 0,
            aad_left: aad_bytes,
            text_left: text_bytes,
        };
        match aad_bytes {
            0 => {}
            1..LONG_AAD => new.take(&(aad_bytes as u16).to_be_bytes()),
            _ => {
                new.take(&[0xff, 0xfe]);
                new.take(&(aad_bytes as u32).to_be_bytes());
            }
        }
        Ok(new)
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.at == 0 {
                let (whole, rest) = bytes.split_at(bytes.len() / BLOCK * BLOCK);
                self.cipher.mac(&mut self.mac, whole);
                bytes = rest;
            }
            let (more, rest) = bytes.split_at(bytes.len().min(BLOCK - self.at));
            xor(&mut self.mac[self.at..], more);
            self.at += more.len();
            if self.at == BLOCK {
                self.pad();
            }
            bytes = rest;
        }
    }

    fn pad(&mut self) {
        if self.at != 0 {
            self.cipher.encrypt(&mut self.mac);
            self.at = 0;
        }
    }

    /// Takes in what is authenticated and not encrypted.
    ///
    /// # Errors
    /// `BAD_STATE`: more than was said.
    pub fn aad(&mut self, bytes: &[u8]) -> Result<(), TeeResult> {
        let left = self.aad_left.checked_sub(bytes.len() as u64);
        self.aad_left = left.ok_or(TeeResult::BAD_STATE)?;
        self.take(bytes);
        if self.aad_left == 0 {
            self.pad();
        }
        Ok(())
    }

    /// Whether so many bytes of text may follow.
    ///
    /// # Errors
    /// `BAD_STATE`: they are more than was said, or additional data are missing.
    pub fn expects(&self, bytes: u64) -> Result<(), TeeResult> {
        let is_expected = self.aad_left == 0 && bytes <= self.text_left;
        is_expected.then_some(()).ok_or(TeeResult::BAD_STATE)
    }

    /// Does the next bytes of the text, where they are.
    ///
    /// # Errors
    /// As [`Self::expects`].
    pub fn text(&mut self, direction: Direction, bytes: &mut [u8]) -> Result<(), TeeResult> {
        self.expects(bytes.len() as u64)?;
        self.text_left -= bytes.len() as u64;
        if direction == Direction::Encrypt {
            self.take(bytes);
        }
        self.stream.apply(&self.cipher, bytes);
        if direction == Direction::Decrypt {
            self.take(bytes);
        }
        Ok(())
    }

    /// The tag of what was done, as long as it can be.
    ///
    /// # Errors
    /// `BAD_STATE`: less than was said.
    pub fn tag(&self) -> Result<[u8; BLOCK], TeeResult> {
        if self.aad_left != 0 || self.text_left != 0 {
            return Err(TeeResult::BAD_STATE);
        }
        let mut tag = self.mac;
        if self.at != 0 {
            self.cipher.encrypt(&mut tag);
        }
        xor(&mut tag, &self.mask);
        Ok(tag)
    }
}

impl Drop for Ccm {
    fn drop(&mut self) {
        self.mac.zeroize();
        self.mask.zeroize();
    }
}
