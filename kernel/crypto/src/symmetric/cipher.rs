//! Ciphers of texts: ECB, CBC, CTR (SP 800-38A), CTS (CBC-CS3, its addendum), XTS (IEEE 1619).
//!
//! Source for what is refused, and how: optee_os `core/tee/tee_cryp_utl.c`, `core/crypto/aes-cts.c`,
//! `core/lib/libtomcrypt/{ecb,cbc,ctr,xts}.c`.

use super::block::{Algorithm, BlockCipher, MAX_BLOCK};
use super::instructions::AesMode;
use super::keystream::{BLOCKS_AT_ONCE, Keystream};
use super::{Aligned, Direction, xor};
use tally_abi::TeeResult;
use zeroize::Zeroize;

/// How blocks hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    Ecb,
    /// Each by the one before.
    Cbc,
    /// A key stream.
    Ctr,
    /// As CBC, with a text of any length above a block: the last two are in the other order.
    Cts,
    /// Each by its place; a text of any length from a block on.
    Xts,
}

/// Bytes of the longest tail.
pub const MAX_TAIL: usize = 2 * MAX_BLOCK;

/// A text being encrypted or decrypted.
#[derive(Clone)]
pub struct Cipher {
    cipher: BlockCipher,
    chain: Chain,
    direction: Direction,
}

#[derive(Clone)]
enum Chain {
    Ecb,
    Cbc { last: [u8; MAX_BLOCK], is_cts: bool },
    Ctr(Keystream),
    Xts { tweak: [u8; MAX_BLOCK] },
}

impl Cipher {
    /// A text that begins, with a second key for XTS.
    ///
    /// # Errors
    /// `BAD_PARAMETERS`: an initialization vector of the wrong length, or keys that do not fit; `BAD_STATE`: a key of the
    /// wrong length.
    #[inline(never)]
    pub fn new(
        (algorithm, mode): (Algorithm, Mode),
        direction: Direction,
        [key, second_key]: [&[u8]; 2],
        iv: &[u8],
    ) -> Result<Self, TeeResult> {
        let mut first = [0; MAX_BLOCK];
        if mode != Mode::Ecb {
            let block = first.get_mut(..algorithm.block());
            let block = block.filter(|block| block.len() == iv.len());
            block.ok_or(TeeResult::BAD_PARAMETERS)?.copy_from_slice(iv);
        }
        let chain = match mode {
            Mode::Ecb => Chain::Ecb,
            Mode::Cbc | Mode::Cts => Chain::Cbc {
                last: first,
                is_cts: mode == Mode::Cts,
            },
            Mode::Ctr => Chain::Ctr(Keystream::new(first, MAX_BLOCK)),
            Mode::Xts if key.len() != second_key.len() => return Err(TeeResult::BAD_PARAMETERS),
            Mode::Xts => {
                BlockCipher::new(algorithm, second_key)?.encrypt(&mut first);
                Chain::Xts { tweak: first }
            }
        };
        Ok(Self {
            cipher: BlockCipher::new(algorithm, key)?,
            chain,
            direction,
        })
    }

    /// Whether a piece may end within a block.
    #[must_use]
    pub const fn is_stream(&self) -> bool {
        matches!(self.chain, Chain::Ctr(_))
    }

    /// Bytes of a block.
    #[must_use]
    pub const fn block(&self) -> usize {
        self.cipher.block()
    }

    /// How many of the last `len` bytes are the tail, which [`Self::finish`] takes.
    ///
    /// # Errors
    /// `BAD_PARAMETERS`: no whole blocks; `BAD_STATE`: too few bytes.
    pub const fn tail(&self, len: u64) -> Result<usize, TeeResult> {
        let block = self.block() as u64;
        let beyond = (len % block) as usize;
        match self.chain {
            Chain::Ctr(_) => Ok(0),
            Chain::Cbc { is_cts: true, .. } if len <= block => Err(TeeResult::BAD_STATE),
            Chain::Cbc { is_cts: true, .. } if beyond == 0 => Ok(2 * self.block()),
            Chain::Cbc { is_cts: true, .. } => Ok(self.block() + beyond),
            Chain::Xts { .. } if len < block => Err(TeeResult::BAD_STATE),
            Chain::Xts { .. } if beyond != 0 => Ok(self.block() + beyond),
            _ if beyond != 0 => Err(TeeResult::BAD_PARAMETERS),
            _ => Ok(0),
        }
    }

    /// Does the next whole blocks, or bytes of a stream, where they are.
    pub fn update(&mut self, bytes: &mut [u8]) {
        let (cipher, direction) = (&self.cipher, self.direction);
        match (&mut self.chain, cipher) {
            (Chain::Cbc { last, .. }, BlockCipher::Aes(aes)) => {
                return aes.crypt(AesMode::Cbc(direction, last), bytes);
            }
            (Chain::Xts { tweak }, BlockCipher::Aes(aes)) => {
                return aes.crypt(AesMode::Xts(direction, tweak), bytes);
            }
            _ => {}
        }
        match &mut self.chain {
            Chain::Ecb => cipher.crypt(direction, bytes),
            Chain::Cbc { last, .. } if direction == Direction::Encrypt => {
                for block in bytes.chunks_exact_mut(cipher.block()) {
                    xor(block, last);
                    cipher.encrypt(block);
                    last[..block.len()].copy_from_slice(block);
                }
            }
            Chain::Cbc { last, .. } => {
                let block = cipher.block();
                for piece in bytes.chunks_mut(BLOCKS_AT_ONCE * block) {
                    let mut before = Aligned([0; (BLOCKS_AT_ONCE + 1) * MAX_BLOCK]);
                    let before = &mut before.0;
                    before[..block].copy_from_slice(&last[..block]);
                    before[block..][..piece.len()].copy_from_slice(piece);
                    last[..block].copy_from_slice(&before[piece.len()..][..block]);
                    cipher.decrypt(piece);
                    xor(piece, before);
                }
            }
            Chain::Ctr(stream) => stream.apply(cipher, bytes),
            Chain::Xts { tweak } => {
                for piece in bytes.chunks_mut(BLOCKS_AT_ONCE * MAX_BLOCK) {
                    let mut tweaks = Aligned([0; BLOCKS_AT_ONCE * MAX_BLOCK]);
                    let tweaks = &mut tweaks.0[..piece.len()];
                    for of_block in tweaks.chunks_exact_mut(MAX_BLOCK) {
                        of_block.copy_from_slice(tweak);
                        *tweak = times_x(tweak);
                    }
                    xor(piece, tweaks);
                    cipher.crypt(direction, piece);
                    xor(piece, tweaks);
                }
            }
        }
    }

    /// Does the tail, where it is.
    pub fn finish(&mut self, tail: &mut [u8]) {
        let Some((first, rest)) = tail.split_first_chunk_mut::<MAX_BLOCK>() else {
            return;
        };
        let (cipher, direction) = (&self.cipher, self.direction);
        match &mut self.chain {
            Chain::Cbc { last, .. } if direction == Direction::Encrypt => {
                xor(first, last);
                cipher.encrypt(first);
                let mut block = *first;
                xor(&mut block, rest);
                cipher.encrypt(&mut block);
                rest.copy_from_slice(&first[..rest.len()]);
                *first = block;
            }
            Chain::Cbc { last, .. } => {
                cipher.decrypt(first);
                let mut block = *first;
                block[..rest.len()].copy_from_slice(rest);
                xor(rest, first);
                cipher.decrypt(&mut block);
                xor(&mut block, last);
                *first = block;
            }
            Chain::Xts { tweak } => {
                let mut tweaks = [*tweak, times_x(tweak)];
                if direction == Direction::Decrypt {
                    tweaks.reverse();
                }
                tweaked(cipher, direction, first, &tweaks[0]);
                let mut block = *first;
                block[..rest.len()].copy_from_slice(rest);
                rest.copy_from_slice(&first[..rest.len()]);
                tweaked(cipher, direction, &mut block, &tweaks[1]);
                *first = block;
            }
            Chain::Ecb | Chain::Ctr(_) => {}
        }
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        if let Chain::Cbc { last: of_key, .. } | Chain::Xts { tweak: of_key } = &mut self.chain {
            of_key.zeroize();
        }
    }
}

fn tweaked(
    cipher: &BlockCipher,
    direction: Direction,
    block: &mut [u8; MAX_BLOCK],
    tweak: &[u8; MAX_BLOCK],
) {
    xor(block, tweak);
    cipher.crypt(direction, block);
    xor(block, tweak);
}

/// The tweak of the next block.
const fn times_x(tweak: &[u8; MAX_BLOCK]) -> [u8; MAX_BLOCK] {
    let tweak = u128::from_le_bytes(*tweak);
    ((tweak << 1) ^ ((tweak >> 127) * 0x87)).to_le_bytes()
}
