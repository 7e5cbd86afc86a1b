//! Public-key schemes and derivations that the numbers of algorithms stand for.
//!
//! Source: optee_os `lib/libutee/include/{tee_api_defines,utee_defines}.h`.

use super::object::Object;
use tally_abi::crypto::{algorithm as is, attribute, curve, object_type as of};
use tally_crypto::asymmetric::curve::{Curve, P192, P224, P256, P384, P521, SM2};
use tally_crypto::symmetric::hash::Algorithm as Hash;

/// A scheme.
#[derive(Clone, Copy, Debug)]
pub enum Scheme {
    /// RSA of a number.
    RsaRaw,
    /// Encrypts by PKCS #1 v1.5.
    RsaPkcs1,
    /// Encrypts by OAEP.
    RsaOaep(Hash),
    /// Signs by PKCS #1 v1.5; without a hash what is signed says which one it is.
    RsaPkcs1Signature(Option<Hash>),
    /// Signs by PSS.
    RsaPss(Hash),
    /// Signs by DSA.
    Dsa(Hash),
    /// Signs by ECDSA.
    Ecdsa,
    /// Signs by Ed25519.
    Ed25519,
    /// Signs by SM2.
    Sm2Signature,
    /// Encrypts by SM2.
    Sm2,
}

impl Scheme {
    /// That of a number.
    #[must_use]
    pub fn of(algorithm: u32) -> Option<Self> {
        Some(match algorithm {
            is::RSA_NOPAD => Self::RsaRaw,
            is::RSAES_PKCS1_V1_5 => Self::RsaPkcs1,
            is::RSAES_PKCS1_OAEP_MGF1_MD5 => Self::RsaOaep(Hash::Md5),
            is::RSASSA_PKCS1_V1_5 => Self::RsaPkcs1Signature(None),
            is::RSASSA_PKCS1_PSS_MGF1_MD5 => Self::RsaPss(Hash::Md5),
            is::ED25519 => Self::Ed25519,
            is::SM2_DSA_SM3 => Self::Sm2Signature,
            is::SM2_PKE => Self::Sm2,
            is::ECDSA_SHA1
            | is::ECDSA_SHA224
            | is::ECDSA_SHA256
            | is::ECDSA_SHA384
            | is::ECDSA_SHA512 => Self::Ecdsa,
            _ => match algorithm & 0xff0f_0fff {
                0x7000_0830 => Self::RsaPkcs1Signature(Some(hash_in(algorithm, 12)?)),
                0x7001_0930 => Self::RsaPss(hash_in(algorithm, 12)?),
                0x6001_0230 => Self::RsaOaep(hash_in(algorithm, 20)?),
                0x7000_0131 => Self::Dsa(hash_in(algorithm, 12)?),
                _ => return None,
            },
        })
    }
}

/// Bits of a digest's number that say which hash it is, and those of an algorithm with a hash.
const HASH_BITS: u32 = 0xf;

/// The hash whose number is at a place in that of an algorithm.
const fn hash_in(algorithm: u32, shift: u32) -> Option<Hash> {
    Some(match algorithm >> shift & HASH_BITS {
        1 => Hash::Md5,
        2 => Hash::Sha1,
        3 => Hash::Sha224,
        4 => Hash::Sha256,
        5 => Hash::Sha384,
        6 => Hash::Sha512,
        7 => Hash::Sm3,
        8 => Hash::Sha3_224,
        9 => Hash::Sha3_256,
        10 => Hash::Sha3_384,
        11 => Hash::Sha3_512,
        _ => return None,
    })
}

/// The hash that a digest's number stands for.
#[must_use]
pub const fn digest_of(algorithm: u32) -> Option<Hash> {
    match algorithm >> 4 {
        0x500_0000 => hash_in(algorithm, 0),
        _ => None,
    }
}

/// How a key is made of another one.
#[derive(Clone, Copy, Debug)]
pub enum Derivation {
    /// Diffie-Hellman.
    Dh,
    /// ECDH.
    Ecdh,
    /// X25519.
    X25519,
    /// X448.
    X448,
    /// SM2's key exchange.
    Sm2,
    /// HKDF; without a hash an attribute says which.
    Hkdf(Option<Hash>),
    /// The concatenation KDF.
    Concat(Hash),
    /// PBKDF2.
    Pbkdf2(Hash),
}

impl Derivation {
    /// That of a number.
    #[must_use]
    pub const fn of(algorithm: u32) -> Option<Self> {
        Some(match algorithm {
            is::DH_DERIVE_SHARED_SECRET => Self::Dh,
            is::ECDH_DERIVE_SHARED_SECRET => Self::Ecdh,
            is::X25519 => Self::X25519,
            is::X448 => Self::X448,
            is::SM2_KEP => Self::Sm2,
            is::HKDF => Self::Hkdf(None),
            _ => match (algorithm & 0xffff_0fff, hash_in(algorithm, 12)) {
                (0x8000_00c0, hash @ Some(_)) => Self::Hkdf(hash),
                (0x8000_00c1, Some(hash)) => Self::Concat(hash),
                (0x8000_00c2, Some(hash)) => Self::Pbkdf2(hash),
                _ => return None,
            },
        })
    }
}

/// The curve of a key.
#[must_use]
pub fn curve_of(key: &Object) -> Option<&'static Curve> {
    let number = match key.rules.object_type {
        of::SM2_DSA_KEYPAIR
        | of::SM2_DSA_PUBLIC_KEY
        | of::SM2_PKE_KEYPAIR
        | of::SM2_PKE_PUBLIC_KEY
        | of::SM2_KEP_KEYPAIR
        | of::SM2_KEP_PUBLIC_KEY => curve::SM2,
        _ => key.value(attribute::ECC_CURVE)?,
    };
    Some(match number {
        curve::NIST_P192 => P192,
        curve::NIST_P224 => P224,
        curve::NIST_P256 => P256,
        curve::NIST_P384 => P384,
        curve::NIST_P521 => P521,
        curve::SM2 => SM2,
        _ => return None,
    })
}

/// Whether a curve's signatures are of the digests of this algorithm.
#[must_use]
pub const fn is_digest_of_curve(algorithm: u32, curve: &Curve) -> bool {
    // SM2 signs otherwise, and has an algorithm of its own.
    !curve.is_sm2
        && matches!(
            (algorithm, curve.bits),
            (is::ECDSA_SHA1, 192)
                | (is::ECDSA_SHA224, 224)
                | (is::ECDSA_SHA256, 256)
                | (is::ECDSA_SHA384, 384)
                | (is::ECDSA_SHA512, 521)
        )
}
