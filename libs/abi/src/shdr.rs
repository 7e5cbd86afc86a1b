//! Signed image header. Source: optee_os `core/include/signed_hdr.h`.
//!
//! An image is: [`SignedHeader`], hash, signature, then for [`img_type::BOOTSTRAP_TA`] a
//! [`BootstrapHeader`], then the ELF file (`img_size` bytes). The hash covers the header itself,
//! the bootstrap header and the ELF file; the signature covers the hash.
//!
//! In front of it there may be subkeys, each signed by the one before, the last of which signs the image. A subkey is:
//! [`SignedHeader`] of [`img_type::SUBKEY`], hash, signature, then `img_size` bytes that the hash covers with the header:
//! [`SubkeyHeader`], [`SubkeyAttribute`]s and what they point to; then `name_size` bytes of name.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word: "HSTO".
pub const MAGIC: u32 = 0x4f54_5348;

/// `struct shdr`, 20 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SignedHeader {
    /// [`MAGIC`].
    pub magic: u32,
    /// One of [`img_type`].
    pub img_type: u32,
    /// Size of the payload in bytes.
    pub img_size: u32,
    /// One of [`algo`].
    pub algo: u32,
    /// Bytes of hash behind this header.
    pub hash_size: u16,
    /// Bytes of signature behind the hash.
    pub sig_size: u16,
}

/// `struct shdr_bootstrap_ta`, 20 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BootstrapHeader {
    /// UUID bytes of the TA.
    pub uuid: [u8; 16],
    /// Version, for rollback protection.
    pub ta_version: u32,
}

/// `struct shdr_encrypted_ta`, 12 bytes; then follow nonce and tag. Of an image of [`img_type::ENCRYPTED_TA`] it lies
/// behind the [`BootstrapHeader`]; the hash covers it, nonce, tag and the ELF file before its encryption.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EncryptedHeader {
    /// [`AES_GCM`].
    pub enc_algo: u32,
    /// [`DEVICE_KEY`].
    pub flags: u32,
    /// Bytes of nonce.
    pub iv_size: u16,
    /// Bytes of tag.
    pub tag_size: u16,
}

/// AES-GCM (GPD_SPE_010 §6.10): authenticated encryption, by the mode GCM, of AES.
pub const AES_GCM: u32 = 4 << 28 | 8 << 8 | 0x10;
/// Encrypted with a key of this device, not of its class.
pub const DEVICE_KEY: u32 = 0;

/// `struct shdr_subkey` without its attributes, 36 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SubkeyHeader {
    /// UUID bytes of the subkey, the name space of what it signs.
    pub uuid: [u8; 16],
    /// Bytes of the name that the UUID of what it signs derives from; 0 if that is the subkey's own.
    pub name_size: u32,
    /// Version, for rollback protection.
    pub subkey_version: u32,
    /// Subkeys that it signs have a smaller one.
    pub max_depth: u32,
    /// One of [`algo`].
    pub algo: u32,
    /// How many [`SubkeyAttribute`]s follow.
    pub attr_count: u32,
}

/// `struct shdr_subkey_attr`, 12 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SubkeyAttribute {
    /// One of [`attribute`].
    pub id: u32,
    /// Where its value begins, from the start of [`SubkeyHeader`].
    pub offset: u32,
    /// Bytes of its value.
    pub size: u32,
}

/// What tells one build of a TA from another: the first bytes of its image's hash, as it is written. 0 stands
/// for one that is not known.
#[must_use]
pub const fn image_id(hash: &[u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// What tells one build of a program from another: the SHA-1 that the linker leaves in the ELF file's
/// section `.note.gnu.build-id`. All zeros: not known.
pub type BuildId = [u8; 20];

/// What reports show of it: its first bytes, as they are written.
#[must_use]
pub const fn short_id(build: &BuildId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *build;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Image types (`enum shdr_img_type`).
pub mod img_type {
    /// Legacy TA without UUID in the header.
    pub const TA: u32 = 0;
    /// TA with a bootstrap header: the usual kind.
    pub const BOOTSTRAP_TA: u32 = 1;
    /// Encrypted TA.
    pub const ENCRYPTED_TA: u32 = 2;
    /// A subkey.
    pub const SUBKEY: u32 = 3;
}

/// Attributes of keys (GPD_SPE_010 §6.11).
pub mod attribute {
    /// Modulus of an RSA key, big-endian.
    pub const RSA_MODULUS: u32 = 0xd000_0130;
    /// Public exponent of an RSA key, big-endian.
    pub const RSA_PUBLIC_EXPONENT: u32 = 0xd000_0230;
}

/// Signature algorithms (GPD_SPE_010 §6.10).
pub mod algo {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub const RSASSA_PKCS1_V1_5_SHA256: u32 = 0x7000_4830;
    /// RSASSA-PSS, MGF1, SHA-256: what OP-TEE's sign script makes.
    pub const RSASSA_PKCS1_PSS_MGF1_SHA256: u32 = 0x7041_4930;
    /// The bits that say which kind of key an algorithm is for.
    pub const MAIN_MASK: u32 = 0xff;
    /// They say: RSA.
    pub const MAIN_RSA: u32 = 0x30;
}
