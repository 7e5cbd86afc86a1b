//! Digests.

use super::sponge::Sponge;
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
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
    Md5(Md5),
    Sha1(Sha1),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
    Sm3(Sm3),
    Sponge(Sponge),
}

impl Hash {
    /// Of nothing yet.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Md5 => State::Md5(Md5::default()),
            Algorithm::Sha1 => State::Sha1(Sha1::default()),
            Algorithm::Sha224 => State::Sha224(Sha224::default()),
            Algorithm::Sha256 => State::Sha256(Sha256::default()),
            Algorithm::Sha384 => State::Sha384(Sha384::default()),
            Algorithm::Sha512 => State::Sha512(Sha512::default()),
            Algorithm::Sha3_224 => State::Sponge(Sponge::sha3(28)),
            Algorithm::Sha3_256 => State::Sponge(Sponge::sha3(32)),
            Algorithm::Sha3_384 => State::Sponge(Sponge::sha3(48)),
            Algorithm::Sha3_512 => State::Sponge(Sponge::sha3(64)),
            Algorithm::Shake128 => State::Sponge(Sponge::shake(16)),
            Algorithm::Shake256 => State::Sponge(Sponge::shake(32)),
            Algorithm::Sm3 => State::Sm3(Sm3::default()),
        })
    }

    /// Bytes that it takes in at a time (`B` of RFC 2104).
    #[must_use]
    pub const fn block(&self) -> usize {
        match &self.0 {
            State::Sha384(_) | State::Sha512(_) => 128,
            State::Sponge(sponge) => sponge.rate(),
            _ => 64,
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
            State::Md5(hash) => md5::Digest::update(hash, bytes),
            State::Sha1(hash) => sha1::Digest::update(hash, bytes),
            State::Sha224(hash) => sha2::Digest::update(hash, bytes),
            State::Sha256(hash) => sha2::Digest::update(hash, bytes),
            State::Sha384(hash) => sha2::Digest::update(hash, bytes),
            State::Sha512(hash) => sha2::Digest::update(hash, bytes),
            State::Sm3(hash) => sm3::Digest::update(hash, bytes),
            State::Sponge(sponge) => sponge.absorb(bytes),
        }
    }

    /// Gives the digest, or as much of it as there is room for. It is as new then, but for a sponge, which gives more.
    pub fn finish(&mut self, out: &mut [u8]) {
        fn give(out: &mut [u8], digest: &[u8]) {
            let len = out.len().min(digest.len());
            out[..len].copy_from_slice(&digest[..len]);
        }
        match &mut self.0 {
            State::Md5(hash) => give(out, &md5::Digest::finalize_reset(hash)),
            State::Sha1(hash) => give(out, &sha1::Digest::finalize_reset(hash)),
            State::Sha224(hash) => give(out, &sha2::Digest::finalize_reset(hash)),
            State::Sha256(hash) => give(out, &sha2::Digest::finalize_reset(hash)),
            State::Sha384(hash) => give(out, &sha2::Digest::finalize_reset(hash)),
            State::Sha512(hash) => give(out, &sha2::Digest::finalize_reset(hash)),
            State::Sm3(hash) => give(out, &sm3::Digest::finalize_reset(hash)),
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
            State::Md5(hash) => *hash = Md5::default(),
            State::Sha1(hash) => *hash = Sha1::default(),
            State::Sha224(hash) => *hash = Sha224::default(),
            State::Sha256(hash) => *hash = Sha256::default(),
            State::Sha384(hash) => *hash = Sha384::default(),
            State::Sha512(hash) => *hash = Sha512::default(),
            State::Sm3(hash) => *hash = Sm3::default(),
            State::Sponge(sponge) => sponge.zeroize(),
        }
        optimization_barrier(self);
    }
}
