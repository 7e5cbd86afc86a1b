//! Block ciphers.

use super::instructions::{self, AesMode};
use super::{Direction, xor};
use aes::cipher::array::{Array, ArraySize};
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use des::{Des, TdesEde3};
use sm4::Sm4;
use tally_abi::TeeResult;
use zeroize::Zeroizing;

/// Bytes of the longest block.
pub const MAX_BLOCK: usize = 16;
/// Bytes of the longest key.
pub const MAX_KEY: usize = 32;
/// Bytes of a key of DES.
const DES_KEY: usize = 8;

/// An algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// AES (FIPS 197) with keys of 16, 24 or 32 bytes.
    Aes,
    /// DES (FIPS 46-3).
    Des,
    /// Triple DES with two keys or three.
    Des3,
    /// SM4 (GB/T 32907-2016).
    Sm4,
}

impl Algorithm {
    /// Bytes of a block.
    #[must_use]
    pub const fn block(self) -> usize {
        match self {
            Self::Aes | Self::Sm4 => 16,
            Self::Des | Self::Des3 => 8,
        }
    }
}

/// A cipher with its key, which is zeroed when it goes.
#[derive(Clone)]
pub enum BlockCipher {
    /// AES by the CPU's instructions.
    Aes(instructions::Aes),
    /// AES with 128 bits.
    Aes128(Aes128),
    /// AES with 192 bits.
    Aes192(Aes192),
    /// AES with 256 bits.
    Aes256(Aes256),
    /// DES.
    Des(Des),
    /// Triple DES.
    Des3(TdesEde3),
    /// SM4.
    Sm4(Sm4),
}

impl BlockCipher {
    /// A cipher with a key.
    ///
    /// # Errors
    /// `BAD_STATE`: no key of this length.
    #[inline(never)]
    pub fn new(algorithm: Algorithm, key: &[u8]) -> Result<Self, TeeResult> {
        let wrong = |_| TeeResult::BAD_STATE;
        if (algorithm, matches!(key.len(), 16 | 24 | 32)) == (Algorithm::Aes, true)
            && let Some(aes) = instructions::Aes::new(key)
        {
            return Ok(Self::Aes(aes));
        }
        Ok(match (algorithm, key.len()) {
            (Algorithm::Aes, 16) => Self::Aes128(Aes128::new_from_slice(key).map_err(wrong)?),
            (Algorithm::Aes, 24) => Self::Aes192(Aes192::new_from_slice(key).map_err(wrong)?),
            (Algorithm::Aes, _) => Self::Aes256(Aes256::new_from_slice(key).map_err(wrong)?),
            (Algorithm::Des, _) => Self::Des(Des::new_from_slice(key).map_err(wrong)?),
            (Algorithm::Des3, 16) => {
                let mut three = Zeroizing::new([0; 3 * DES_KEY]);
                three[..2 * DES_KEY].copy_from_slice(key);
                three[2 * DES_KEY..].copy_from_slice(&key[..DES_KEY]);
                Self::Des3(TdesEde3::new((&*three).into()))
            }
            (Algorithm::Des3, _) => Self::Des3(TdesEde3::new_from_slice(key).map_err(wrong)?),
            (Algorithm::Sm4, _) => Self::Sm4(Sm4::new_from_slice(key).map_err(wrong)?),
        })
    }

    /// Bytes of a block.
    #[must_use]
    pub const fn block(&self) -> usize {
        match self {
            Self::Aes(_) | Self::Aes128(_) | Self::Aes192(_) | Self::Aes256(_) | Self::Sm4(_) => 16,
            Self::Des(_) | Self::Des3(_) => 8,
        }
    }

    /// Encrypts each of these blocks; bytes of an incomplete one stay.
    pub fn encrypt(&self, bytes: &mut [u8]) {
        match self {
            Self::Aes(cipher) => cipher.crypt(AesMode::Ecb(Direction::Encrypt), bytes),
            Self::Aes128(cipher) => cipher.encrypt_blocks(blocks(cipher, bytes)),
            Self::Aes192(cipher) => cipher.encrypt_blocks(blocks(cipher, bytes)),
            Self::Aes256(cipher) => cipher.encrypt_blocks(blocks(cipher, bytes)),
            Self::Des(cipher) => cipher.encrypt_blocks(blocks(cipher, bytes)),
            Self::Des3(cipher) => cipher.encrypt_blocks(blocks(cipher, bytes)),
            Self::Sm4(cipher) => cipher.encrypt_blocks(blocks(cipher, bytes)),
        }
    }

    /// Decrypts each of these blocks; bytes of an incomplete one stay.
    pub fn decrypt(&self, bytes: &mut [u8]) {
        match self {
            Self::Aes(cipher) => cipher.crypt(AesMode::Ecb(Direction::Decrypt), bytes),
            Self::Aes128(cipher) => cipher.decrypt_blocks(blocks(cipher, bytes)),
            Self::Aes192(cipher) => cipher.decrypt_blocks(blocks(cipher, bytes)),
            Self::Aes256(cipher) => cipher.decrypt_blocks(blocks(cipher, bytes)),
            Self::Des(cipher) => cipher.decrypt_blocks(blocks(cipher, bytes)),
            Self::Des3(cipher) => cipher.decrypt_blocks(blocks(cipher, bytes)),
            Self::Sm4(cipher) => cipher.decrypt_blocks(blocks(cipher, bytes)),
        }
    }

    /// Encrypts or decrypts each of these blocks.
    pub fn crypt(&self, direction: Direction, bytes: &mut [u8]) {
        match direction {
            Direction::Encrypt => self.encrypt(bytes),
            Direction::Decrypt => self.decrypt(bytes),
        }
    }

    /// Takes whole blocks into a CBC-MAC, whose state is as long as a block.
    pub(super) fn mac(&self, chain: &mut [u8; MAX_BLOCK], bytes: &[u8]) {
        if let Self::Aes(aes) = self {
            return aes.mac(chain, bytes.as_chunks().0);
        }
        let chain = &mut chain[..self.block()];
        for block in bytes.chunks_exact(self.block()) {
            xor(chain, block);
            self.encrypt(chain);
        }
    }
}

/// Bytes as blocks of a cipher.
fn blocks<'a, C: BlockSizeUser<BlockSize: ArraySize>>(
    _: &C,
    bytes: &'a mut [u8],
) -> &'a mut [Array<u8, C::BlockSize>] {
    Array::slice_as_chunks_mut(bytes).0
}
