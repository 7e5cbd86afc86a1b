//! Digests.

use super::chained::Chained;
use super::sponge::Sponge;
use sm3::Sm3;
use zeroize::{Zeroize, optimization_barrier};

/// Bytes of the longest digest.
pub const MAX_DIGEST: usize = 64;
/// Bytes of the longest block.
pub const MAX_BLOCK: usize = 144;

/// An algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// MD5 (RFC 1321).
    Md5,
    /// SHA-1 (FIPS 180-4), and the following.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA3-224 (FIPS 202), and the following.
    Sha3_224,
    /// SHA3-256.
    Sha3_256,
    /// SHA3-384.
    Sha3_384,
    /// SHA3-512.
    Sha3_512,
    /// SHAKE128.
    Shake128,
    /// SHAKE256.
    Shake256,
    /// SM3 (GB/T 32905-2016).
    Sm3,
}

impl Algorithm {
    /// Bytes of a digest; `None` for as many as one wants.
    #[must_use]
    pub const fn digest_bytes(self) -> Option<usize> {
        Some(match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha224 | Self::Sha3_224 => 28,
            Self::Sha256 | Self::Sha3_256 | Self::Sm3 => 32,
            Self::Sha384 | Self::Sha3_384 => 48,
            Self::Sha512 | Self::Sha3_512 => 64,
            Self::Shake128 | Self::Shake256 => return None,
        })
    }
}

/// A digest being computed.
pub struct Hash(State);

#[derive(Clone)]
enum State {
    Chained(Chained),
    Sm3(Sm3),
    Sponge(Sponge),
}

impl Hash {
    /// Of nothing yet.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        let sha3 = |bytes| State::Sponge(Sponge::sha3(bytes));
        Self(match (Chained::new(algorithm), algorithm) {
            (Some(chained), _) => State::Chained(chained),
            (None, Algorithm::Sha3_224) => sha3(28),
            (None, Algorithm::Sha3_256) => sha3(32),
            (None, Algorithm::Sha3_384) => sha3(48),
            (None, Algorithm::Sha3_512) => sha3(64),
            (None, Algorithm::Shake128) => State::Sponge(Sponge::shake(16)),
            (None, Algorithm::Shake256) => State::Sponge(Sponge::shake(32)),
            (None, _) => State::Sm3(Sm3::default()),
        })
    }

    /// Bytes that it takes in at a time (`B` of RFC 2104).
    #[must_use]
    pub const fn block(&self) -> usize {
        match &self.0 {
            State::Chained(hash) => hash.block(),
            State::Sponge(sponge) => sponge.rate(),
            State::Sm3(_) => 64,
        }
    }

    /// Whether it gives output and takes no input any more.
    #[must_use]
    pub const fn is_squeezed(&self) -> bool {
        matches!(&self.0, State::Sponge(sponge) if sponge.is_squeezed())
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Chained(hash) => hash.update(bytes),
            State::Sm3(hash) => sm3::Digest::update(hash, bytes),
            State::Sponge(sponge) => sponge.absorb(bytes),
        }
    }

    /// Gives the digest, or as much of it as there is room for. It is as new then, but for a sponge, which gives more.
    pub fn finish(&mut self, out: &mut [u8]) {
        match &mut self.0 {
            State::Chained(hash) => hash.finish(out),
            State::Sm3(hash) => {
                let digest = sm3::Digest::finalize_reset(hash);
                let len = out.len().min(digest.len());
                out[..len].copy_from_slice(&digest[..len]);
            }
            State::Sponge(sponge) => sponge.squeeze(out),
        }
    }
}

impl Clone for Hash {
    #[inline(never)]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Drop for Hash {
    /// It may have taken in a key. What these crates have is private, but a new one writes all of it.
    #[inline(never)]
    fn drop(&mut self) {
        match &mut self.0 {
            State::Chained(hash) => hash.zeroize(),
            State::Sm3(hash) => *hash = Sm3::default(),
            State::Sponge(sponge) => sponge.zeroize(),
        }
        optimization_barrier(self);
    }
}
