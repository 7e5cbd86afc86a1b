//! Hashes and their HMAC of texts in a few pieces, for schemes and derivations.

use core::ops::Deref;
use zeroize::Zeroize;

/// Bytes of the longest hash.
pub const MAX_HASH_LEN: usize = 64;
/// Bytes of the longest block.
const MAX_BLOCK_LEN: usize = 128;
/// Pieces of a text for HMAC.
const MAC_PIECES: usize = 4;

/// A hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// MD5 (RFC 1321).
    Md5,
    /// SHA-1 (FIPS 180-4), as all that follow but the last.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SM3 (GB/T 32905).
    Sm3,
}

/// What a hash made of a text; zeroed when it goes.
#[derive(Clone, Debug)]
pub struct Hashed {
    bytes: [u8; MAX_HASH_LEN],
    len: usize,
}

impl Hashed {
    /// Adds another one of the same hash, bit by bit.
    pub fn xor(&mut self, other: &Self) {
        for (byte, other) in self.bytes.iter_mut().zip(other.bytes) {
            *byte ^= other;
        }
    }
}

impl Deref for Hashed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Hashed {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// One of `digest`'s two generations: `sha2` stays at 0.10 (docs/dependencies.md).
macro_rules! hashed {
    ($algorithms:ident, $algorithm:ident, $pieces:expr, $to:expr) => {{
        use $algorithms::Digest as _;
        let mut state = $algorithms::$algorithm::new();
        for piece in $pieces {
            state.update(piece);
        }
        let digest = state.finalize();
        $to[..digest.len()].copy_from_slice(&digest);
    }};
}

impl Hash {
    /// Bytes of a hash.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 | Self::Sm3 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Bytes of a block.
    const fn block_bytes(self) -> usize {
        match self {
            Self::Md5 | Self::Sha1 | Self::Sha224 | Self::Sha256 | Self::Sm3 => 64,
            Self::Sha384 | Self::Sha512 => 128,
        }
    }

    /// Of the pieces, one behind the other.
    #[must_use]
    #[inline(never)]
    pub fn of(self, pieces: &[&[u8]]) -> Hashed {
        let mut hashed = Hashed {
            bytes: [0; MAX_HASH_LEN],
            len: self.bytes(),
        };
        let to = &mut hashed.bytes;
        match self {
            Self::Md5 => hashed!(md5, Md5, pieces, to),
            Self::Sha1 => hashed!(sha1, Sha1, pieces, to),
            Self::Sha224 => hashed!(sha2, Sha224, pieces, to),
            Self::Sha256 => hashed!(sha2, Sha256, pieces, to),
            Self::Sha384 => hashed!(sha2, Sha384, pieces, to),
            Self::Sha512 => hashed!(sha2, Sha512, pieces, to),
            Self::Sm3 => hashed!(sm3, Sm3, pieces, to),
        }
        hashed
    }

    /// HMAC (RFC 2104) of at most four pieces.
    #[must_use]
    pub fn mac(self, key: &[u8], pieces: &[&[u8]]) -> Hashed {
        debug_assert!(pieces.len() <= MAC_PIECES, "pieces left out");
        let mut pad = [0; MAX_BLOCK_LEN];
        let pad = &mut pad[..self.block_bytes()];
        if key.len() > pad.len() {
            let hashed = self.of(&[key]);
            pad[..hashed.len()].copy_from_slice(&hashed);
        } else {
            pad[..key.len()].copy_from_slice(key);
        }
        pad.iter_mut().for_each(|byte| *byte ^= 0x36);
        let mut texts: [&[u8]; 1 + MAC_PIECES] = [&[]; _];
        texts[0] = pad;
        for (text, piece) in texts[1..].iter_mut().zip(pieces) {
            *text = piece;
        }
        let inner = self.of(&texts);
        pad.iter_mut().for_each(|byte| *byte ^= 0x36 ^ 0x5c);
        let outer = self.of(&[pad, &inner]);
        pad.zeroize();
        outer
    }
}
