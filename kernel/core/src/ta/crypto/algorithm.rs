//! Algorithms by their numbers: class, family, type of key.
//!
//! Source: optee_os `lib/libutee/include/utee_defines.h`, `core/crypto/crypto.c`, `core/tee/tee_svc_cryp.c`.

use tally_abi::TeeResult;
use tally_abi::crypto::{algorithm as is, mode, object_type as of};
use tally_crypto::symmetric::mac::Padding;
use tally_crypto::symmetric::{aead, block, cipher, hash, mac};

/// What an algorithm does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Digests.
    Digest(hash::Algorithm),
    /// Codes.
    Mac(mac::Algorithm),
    /// Encrypts.
    Cipher(block::Algorithm, cipher::Mode),
    /// Encrypts and authenticates.
    Aead(aead::Algorithm),
    /// Encrypts or signs with a pair of keys.
    Asymmetric,
    /// Makes a secret of a key.
    Derivation,
}

/// Bits of a number that are its class.
const CLASS_SHIFT: u32 = 28;

impl Class {
    /// What the algorithm of a number does.
    ///
    /// # Errors
    /// As OP-TEE says that there is none: `NOT_SUPPORTED`; for digests, ciphers and authenticated encryption
    /// `NOT_IMPLEMENTED`.
    pub const fn of(algorithm: u32) -> Result<Self, TeeResult> {
        Ok(match algorithm {
            is::MD5 => Self::Digest(hash::Algorithm::Md5),
            is::SHA1 => Self::Digest(hash::Algorithm::Sha1),
            is::SHA224 => Self::Digest(hash::Algorithm::Sha224),
            is::SHA256 => Self::Digest(hash::Algorithm::Sha256),
            is::SHA384 => Self::Digest(hash::Algorithm::Sha384),
            is::SHA512 => Self::Digest(hash::Algorithm::Sha512),
            is::SHA3_224 => Self::Digest(hash::Algorithm::Sha3_224),
            is::SHA3_256 => Self::Digest(hash::Algorithm::Sha3_256),
            is::SHA3_384 => Self::Digest(hash::Algorithm::Sha3_384),
            is::SHA3_512 => Self::Digest(hash::Algorithm::Sha3_512),
            is::SHAKE128 => Self::Digest(hash::Algorithm::Shake128),
            is::SHAKE256 => Self::Digest(hash::Algorithm::Shake256),
            is::SM3 => Self::Digest(hash::Algorithm::Sm3),
            is::HMAC_MD5 => hmac(hash::Algorithm::Md5),
            is::HMAC_SHA1 => hmac(hash::Algorithm::Sha1),
            is::HMAC_SHA224 => hmac(hash::Algorithm::Sha224),
            is::HMAC_SHA256 => hmac(hash::Algorithm::Sha256),
            is::HMAC_SHA384 => hmac(hash::Algorithm::Sha384),
            is::HMAC_SHA512 => hmac(hash::Algorithm::Sha512),
            is::HMAC_SHA3_224 => hmac(hash::Algorithm::Sha3_224),
            is::HMAC_SHA3_256 => hmac(hash::Algorithm::Sha3_256),
            is::HMAC_SHA3_384 => hmac(hash::Algorithm::Sha3_384),
            is::HMAC_SHA3_512 => hmac(hash::Algorithm::Sha3_512),
            is::HMAC_SM3 => hmac(hash::Algorithm::Sm3),
            is::AES_CBC_MAC_NOPAD => blocks(block::Algorithm::Aes, Padding::None),
            is::AES_CBC_MAC_PKCS5 => blocks(block::Algorithm::Aes, Padding::Pkcs5),
            is::AES_CMAC => blocks(block::Algorithm::Aes, Padding::Cmac),
            is::DES_CBC_MAC_NOPAD => blocks(block::Algorithm::Des, Padding::None),
            is::DES_CBC_MAC_PKCS5 => blocks(block::Algorithm::Des, Padding::Pkcs5),
            is::DES3_CBC_MAC_NOPAD => blocks(block::Algorithm::Des3, Padding::None),
            is::DES3_CBC_MAC_PKCS5 => blocks(block::Algorithm::Des3, Padding::Pkcs5),
            is::DES3_CMAC => blocks(block::Algorithm::Des3, Padding::Cmac),
            is::AES_ECB_NOPAD => Self::Cipher(block::Algorithm::Aes, cipher::Mode::Ecb),
            is::AES_CBC_NOPAD => Self::Cipher(block::Algorithm::Aes, cipher::Mode::Cbc),
            is::AES_CTR => Self::Cipher(block::Algorithm::Aes, cipher::Mode::Ctr),
            is::AES_CTS => Self::Cipher(block::Algorithm::Aes, cipher::Mode::Cts),
            is::AES_XTS => Self::Cipher(block::Algorithm::Aes, cipher::Mode::Xts),
            is::DES_ECB_NOPAD => Self::Cipher(block::Algorithm::Des, cipher::Mode::Ecb),
            is::DES_CBC_NOPAD => Self::Cipher(block::Algorithm::Des, cipher::Mode::Cbc),
            is::DES3_ECB_NOPAD => Self::Cipher(block::Algorithm::Des3, cipher::Mode::Ecb),
            is::DES3_CBC_NOPAD => Self::Cipher(block::Algorithm::Des3, cipher::Mode::Cbc),
            is::SM4_ECB_NOPAD => Self::Cipher(block::Algorithm::Sm4, cipher::Mode::Ecb),
            is::SM4_CBC_NOPAD => Self::Cipher(block::Algorithm::Sm4, cipher::Mode::Cbc),
            is::SM4_CTR => Self::Cipher(block::Algorithm::Sm4, cipher::Mode::Ctr),
            is::SM4_XTS => Self::Cipher(block::Algorithm::Sm4, cipher::Mode::Xts),
            is::AES_CCM => Self::Aead(aead::Algorithm::Ccm),
            is::AES_GCM => Self::Aead(aead::Algorithm::Gcm),
            is::SM2_PKE | is::RSASSA_PKCS1_V1_5 => Self::Asymmetric,
            is::RSASSA_PKCS1_PSS_MGF1_MD5 | is::RSAES_PKCS1_OAEP_MGF1_MD5 => Self::Asymmetric,
            is::SM2_KEP => Self::Derivation,
            other => match other >> CLASS_SHIFT {
                1 | 4 | 5 => return Err(TeeResult::NOT_IMPLEMENTED),
                6 | 7 => Self::Asymmetric,
                8 => Self::Derivation,
                _ => return Err(TeeResult::NOT_SUPPORTED),
            },
        })
    }

    /// Whether a state of this class has a first and a second key.
    #[must_use]
    pub const fn wants_keys(self, algorithm: u32) -> [bool; 2] {
        match self {
            Self::Digest(_) => [false, false],
            Self::Cipher(_, cipher::Mode::Xts) => [true, true],
            Self::Derivation if algorithm == is::SM2_KEP => [true, true],
            _ => [true, false],
        }
    }
}

const fn hmac(hash: hash::Algorithm) -> Class {
    Class::Mac(mac::Algorithm::Hmac(hash))
}

const fn blocks(cipher: block::Algorithm, padding: Padding) -> Class {
    Class::Mac(mac::Algorithm::Blocks(cipher, padding))
}

/// Numbers that older TAs have for some algorithms (`__OPTEE_ALG_*`).
#[must_use]
pub const fn current(algorithm: u32) -> u32 {
    match algorithm {
        0x7000_1041 => is::ECDSA_SHA1,
        0x7000_2041 => is::ECDSA_SHA224,
        0x7000_3041 => is::ECDSA_SHA256,
        0x7000_4041 => is::ECDSA_SHA384,
        0x7000_5041 => is::ECDSA_SHA512,
        0x8000_1042 | 0x8000_2042 | 0x8000_3042 | 0x8000_4042 | 0x8000_5042 => {
            is::ECDH_DERIVE_SHARED_SECRET
        }
        _ => algorithm,
    }
}

/// Confirms that an object may be the key of an algorithm.
///
/// # Errors
/// `BAD_PARAMETERS`.
pub const fn check_key_type(
    object_type: u32,
    algorithm: u32,
    operation_mode: u32,
) -> Result<(), TeeResult> {
    let is_public = matches!(operation_mode, mode::ENCRYPT | mode::VERIFY);
    let verifies = operation_mode == mode::VERIFY;
    let (wanted, or) = match main_algorithm(algorithm) {
        0x01 => (of::HMAC_MD5, None),
        0x02 => (of::HMAC_SHA1, None),
        0x03 => (of::HMAC_SHA224, None),
        0x04 => (of::HMAC_SHA256, None),
        0x05 => (of::HMAC_SHA384, None),
        0x06 => (of::HMAC_SHA512, None),
        0x07 => (of::HMAC_SM3, None),
        0x08 => (of::HMAC_SHA3_224, None),
        0x09 => (of::HMAC_SHA3_256, None),
        0x0a => (of::HMAC_SHA3_384, None),
        0x0b => (of::HMAC_SHA3_512, None),
        0x10 => (of::AES, None),
        0x11 => (of::DES, None),
        0x13 => (of::DES3, None),
        0x14 => (of::SM4, None),
        0x30 if is_public => (of::RSA_KEYPAIR, Some(of::RSA_PUBLIC_KEY)),
        0x30 => (of::RSA_KEYPAIR, None),
        0x31 if is_public => (of::DSA_KEYPAIR, Some(of::DSA_PUBLIC_KEY)),
        0x31 => (of::DSA_KEYPAIR, None),
        0x32 => (of::DH_KEYPAIR, None),
        0x41 if verifies => (of::ECDSA_KEYPAIR, Some(of::ECDSA_PUBLIC_KEY)),
        0x41 => (of::ECDSA_KEYPAIR, None),
        0x42 => (of::ECDH_KEYPAIR, None),
        0x43 if verifies => (of::ED25519_KEYPAIR, Some(of::ED25519_PUBLIC_KEY)),
        0x43 => (of::ED25519_KEYPAIR, None),
        0x44 => (of::X25519_KEYPAIR, None),
        0x45 if verifies => (of::SM2_DSA_PUBLIC_KEY, None),
        0x45 => (of::SM2_DSA_KEYPAIR, None),
        0x46 => (of::SM2_KEP_KEYPAIR, Some(of::SM2_KEP_PUBLIC_KEY)),
        0x47 if operation_mode == mode::ENCRYPT => (of::SM2_PKE_PUBLIC_KEY, None),
        0x47 => (of::SM2_PKE_KEYPAIR, None),
        0x49 => (of::X448_KEYPAIR, None),
        0xc0 => (of::HKDF_IKM, None),
        0xc1 => (of::CONCAT_KDF_Z, None),
        0xc2 => (of::PBKDF2_PASSWORD, None),
        _ => return Err(TeeResult::BAD_PARAMETERS),
    };
    let is_other = matches!(or, Some(or) if or == object_type);
    if wanted == object_type || is_other {
        Ok(())
    } else {
        Err(TeeResult::BAD_PARAMETERS)
    }
}

/// The family of an algorithm (`TEE_MAIN_ALGO_*`).
const fn main_algorithm(algorithm: u32) -> u32 {
    match algorithm {
        is::SM2_PKE => 0x47,
        is::SM2_KEP => 0x46,
        is::X25519 => 0x44,
        is::ED25519 => 0x43,
        is::ECDSA_SHA1
        | is::ECDSA_SHA224
        | is::ECDSA_SHA256
        | is::ECDSA_SHA384
        | is::ECDSA_SHA512 => 0x41,
        is::HKDF => 0xc0,
        is::X448 => 0x49,
        _ => algorithm & 0xff,
    }
}
