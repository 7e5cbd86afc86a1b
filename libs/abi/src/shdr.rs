//! Signed image header. Source: optee_os `core/include/signed_hdr.h`.
//!
//! An image is: [`SignedHeader`], hash, signature, then for [`img_type::BOOTSTRAP_TA`] a
//! [`BootstrapHeader`], then the ELF file (`img_size` bytes). The hash covers the header itself,
//! the bootstrap header and the ELF file; the signature covers the hash.

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

/// Signature algorithms (GPD_SPE_010 §6.10).
pub mod algo {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub const RSASSA_PKCS1_V1_5_SHA256: u32 = 0x7000_4830;
    /// RSASSA-PSS, MGF1, SHA-256: what OP-TEE's sign script makes.
    pub const RSASSA_PKCS1_PSS_MGF1_SHA256: u32 = 0x7041_4930;
}
