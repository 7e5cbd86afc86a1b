//! Signed TA images: what the header of an image says, checked before anything believes it.
//!
//! **Invariant:** an [`ImageHeader`] lies whole in the image, and header and payload together are
//! exactly the image.

use crate::ta::load::rsa::{DIGEST_LEN, MAX_MODULUS_LEN, Verify};
use sha2::{Digest, Sha256};
use tally_abi::TeeUuid;
use tally_abi::image::ImageFault;
use tally_abi::shdr::{BootstrapHeader, MAGIC, SignedHeader, image_id, img_type};
use zerocopy::FromBytes;

/// Longest signature accepted in a header.
const MAX_SIGNATURE: usize = MAX_MODULUS_LEN;
/// All of an image's headers lie in this many bytes from its start.
pub const MAX_HEADER: usize =
    size_of::<SignedHeader>() + DIGEST_LEN + MAX_SIGNATURE + size_of::<BootstrapHeader>();

/// What an image's headers say.
#[derive(Clone, Debug)]
pub struct ImageHeader {
    /// The TA.
    pub uuid: TeeUuid,
    /// Its version.
    pub version: u32,
    /// Where the ELF file begins, in bytes from the image's start.
    pub elf_offset: usize,
    /// Where the hashed bytes begin (bootstrap header and ELF file).
    pub hashed_offset: usize,
    algorithm: u32,
    digest: [u8; DIGEST_LEN],
    signature: [u8; MAX_SIGNATURE],
    signature_len: usize,
    hasher: Sha256,
}

impl ImageHeader {
    /// Reads the headers at the start of an image of `image_len` bytes; `head` is its first
    /// [`MAX_HEADER`] bytes, or all of it if it is shorter.
    ///
    /// # Errors
    /// Any [`ImageFault`] but `Altered`, `Signature` and `NoKey`.
    pub fn parse(head: &[u8], image_len: usize, wanted: TeeUuid) -> Result<Self, ImageFault> {
        let (shdr, rest) =
            SignedHeader::read_from_prefix(head).map_err(|_| ImageFault::ShortImage)?;
        if shdr.magic != MAGIC {
            return Err(ImageFault::NotSigned);
        }
        if shdr.img_type != img_type::BOOTSTRAP_TA {
            return Err(ImageFault::Kind);
        }
        let signature_len = usize::from(shdr.sig_size);
        if usize::from(shdr.hash_size) != DIGEST_LEN || signature_len > MAX_SIGNATURE {
            return Err(ImageFault::Sizes);
        }
        let (digest, rest) =
            <[u8; DIGEST_LEN]>::read_from_prefix(rest).map_err(|_| ImageFault::ShortImage)?;
        let (sig, rest) = rest
            .split_at_checked(signature_len)
            .ok_or(ImageFault::ShortImage)?;
        let (bootstrap, _) =
            BootstrapHeader::read_from_prefix(rest).map_err(|_| ImageFault::ShortImage)?;
        let hashed_offset = size_of::<SignedHeader>() + DIGEST_LEN + signature_len;
        let elf_offset = hashed_offset + size_of::<BootstrapHeader>();
        let elf_len = image_len
            .checked_sub(elf_offset)
            .ok_or(ImageFault::ShortImage)?;
        match elf_len.cmp(&(shdr.img_size as usize)) {
            core::cmp::Ordering::Less => return Err(ImageFault::ShortImage),
            core::cmp::Ordering::Greater => return Err(ImageFault::TrailingData),
            core::cmp::Ordering::Equal => {}
        }
        let uuid = TeeUuid::from_bytes(bootstrap.uuid);
        if uuid != wanted {
            return Err(ImageFault::OtherUuid);
        }
        let mut signature = [0; MAX_SIGNATURE];
        signature[..signature_len].copy_from_slice(sig);
        let hasher = Sha256::new().chain_update(&head[..size_of::<SignedHeader>()]);
        Ok(Self {
            uuid,
            version: bootstrap.ta_version,
            elf_offset,
            hashed_offset,
            algorithm: shdr.algo,
            digest,
            signature,
            signature_len,
            hasher,
        })
    }

    /// Takes the next bytes of the image from [`Self::hashed_offset`] on into the digest.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Once all bytes were taken in: which build it is ([`image_id`]), if the image is whole and signed
    /// with one of `keys`.
    ///
    /// # Errors
    /// [`ImageFault::Altered`], [`ImageFault::Signature`], [`ImageFault::NoKey`].
    pub fn verify(self, keys: &[&dyn Verify]) -> Result<u64, ImageFault> {
        if keys.is_empty() {
            return Err(ImageFault::NoKey);
        }
        if self.hasher.finalize().as_slice() != self.digest {
            return Err(ImageFault::Altered);
        }
        let signature = &self.signature[..self.signature_len];
        let mut keys = keys.iter();
        if keys.any(|key| key.verifies(self.algorithm, &self.digest, signature)) {
            Ok(image_id(&self.digest))
        } else {
            Err(ImageFault::Signature)
        }
    }
}
