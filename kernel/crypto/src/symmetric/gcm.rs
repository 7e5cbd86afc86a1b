//! Galois counter mode (SP 800-38D), piece by piece.
//!
//! Source for what is refused, and how: optee_os `core/crypto/aes-gcm.c`.
//!
//! **Invariant:** whoever decrypts uses nothing of it before [`super::same`] has confirmed the tag.

use super::block::{Algorithm, BlockCipher, MAX_BLOCK as BLOCK};
use super::keystream::Keystream;
use super::{Direction, instructions, xor};
use aes::cipher::array::Array;
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use tally_abi::TeeResult;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of the nonce that is used as it is.
const NONCE: usize = 12;
/// Bytes of the counter behind it.
const COUNTER: usize = 4;

/// A text being encrypted or decrypted.
#[derive(Clone)]
pub struct Gcm {
    cipher: BlockCipher,
    stream: Keystream,
    hash: PaddedHash,
    /// What the tag is encrypted with.
    mask: [u8; BLOCK],
    aad_bytes: u64,
    text_bytes: u64,
}

impl Gcm {
    /// A text that begins.
    ///
    /// # Errors
    /// `BAD_STATE`: no key of this length.
    #[inline(never)]
    pub fn new(key: &[u8], nonce: &[u8]) -> Result<Self, TeeResult> {
        let cipher = BlockCipher::new(Algorithm::Aes, key)?;
        let mut hash_key = Zeroizing::new([0; BLOCK]);
        cipher.encrypt(&mut *hash_key);
        let mut hash = PaddedHash::new(&hash_key);
        let mut counter = [0; BLOCK];
        if nonce.len() == NONCE {
            counter[..NONCE].copy_from_slice(nonce);
            counter[BLOCK - 1] = 1;
        } else {
            let mut of_nonce = hash.clone();
            of_nonce.update(nonce);
            counter = of_nonce.finish(0, nonce.len() as u64);
        }
        let mut stream = Keystream::new(counter, COUNTER);
        hash.pending.zeroize();
        Ok(Self {
            mask: stream.mask(&cipher),
            cipher,
            stream,
            hash,
            aad_bytes: 0,
            text_bytes: 0,
        })
    }

    /// Takes in what is authenticated and not encrypted.
    ///
    /// # Errors
    /// `BAD_PARAMETERS`: the text has begun.
    pub fn aad(&mut self, bytes: &[u8]) -> Result<(), TeeResult> {
        if self.text_bytes != 0 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        self.aad_bytes += bytes.len() as u64;
        self.hash.update(bytes);
        Ok(())
    }

    /// Does the next bytes of the text, where they are.
    pub fn text(&mut self, direction: Direction, bytes: &mut [u8]) {
        if self.text_bytes == 0 && !bytes.is_empty() {
            self.hash.pad();
        }
        self.text_bytes += bytes.len() as u64;
        if direction == Direction::Decrypt {
            self.hash.update(bytes);
        }
        self.stream.apply(&self.cipher, bytes);
        if direction == Direction::Encrypt {
            self.hash.update(bytes);
        }
    }

    /// The tag of what was done.
    #[must_use]
    pub fn tag(&self) -> [u8; BLOCK] {
        let mut tag = self.hash.clone().finish(self.aad_bytes, self.text_bytes);
        xor(&mut tag, &self.mask);
        tag
    }
}

impl Drop for Gcm {
    fn drop(&mut self) {
        self.mask.zeroize();
    }
}

/// GHASH of strings that are padded to whole blocks.
#[derive(Clone)]
struct PaddedHash {
    hash: Ghash,
    pending: [u8; BLOCK],
    len: usize,
}

impl PaddedHash {
    fn new(key: &[u8; BLOCK]) -> Self {
        Self {
            hash: Ghash::new(key),
            pending: [0; BLOCK],
            len: 0,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        let begun = match self.len {
            0 => 0,
            len => bytes.len().min(BLOCK - len),
        };
        let (begun, bytes) = bytes.split_at(begun);
        self.pending[self.len..][..begun.len()].copy_from_slice(begun);
        self.len += begun.len();
        if self.len == BLOCK {
            self.pad();
        }
        let (blocks, rest) = bytes.as_chunks();
        self.hash.update(blocks);
        if !rest.is_empty() {
            self.pending[..rest.len()].copy_from_slice(rest);
            self.len = rest.len();
        }
    }

    fn pad(&mut self) {
        if self.len != 0 {
            self.pending[self.len..].fill(0);
            self.hash.update(&[self.pending]);
            self.len = 0;
        }
    }

    fn finish(mut self, aad_bytes: u64, text_bytes: u64) -> [u8; BLOCK] {
        self.pad();
        let lengths = u128::from(aad_bytes * 8) << 64 | u128::from(text_bytes * 8);
        self.hash.update(&[lengths.to_be_bytes()]);
        self.hash.finish()
    }
}

/// GHASH of whole blocks.
#[derive(Clone)]
enum Ghash {
    Portable(GHash),
    Cpu(instructions::Ghash),
}

impl Ghash {
    fn new(key: &[u8; BLOCK]) -> Self {
        match instructions::Ghash::new(key) {
            Some(hash) => Self::Cpu(hash),
            None => Self::Portable(GHash::new(key.into())),
        }
    }

    fn update(&mut self, blocks: &[[u8; BLOCK]]) {
        match self {
            Self::Portable(hash) => hash.update(Array::cast_slice_from_core(blocks)),
            Self::Cpu(hash) => hash.update(blocks),
        }
    }

    fn finish(self) -> [u8; BLOCK] {
        match self {
            Self::Portable(hash) => hash.finalize().into(),
            Self::Cpu(hash) => hash.hash(),
        }
    }
}
