//! Signed TA images: headers of subkeys and of the TA, each checked before anything believes it.
//!
//! **Invariant:** not one byte behind a header is interpreted, but for the TA's UUID, sizes and its encryption, before the
//! digest and the signature in the header hold; the headers and what they say are exactly the image.

use crate::ta::load::encrypted::{Encrypted, ta_key};
use crate::ta::load::rsa::{DIGEST_LEN, MAX_MODULUS_LEN, PublicKey};
use crate::ta::load::subkey::Subkey;
use core::ops::Range;
use tally_abi::image::ImageFault;
use tally_abi::shdr::{BootstrapHeader, MAGIC, SignedHeader, image_id, img_type};
use tally_abi::{TeeResult, TeeUuid};
use tally_crypto::symmetric::hash::{Algorithm, Hash};
use tally_mem::fallible::HeapExhausted;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Longest signature accepted in a header.
const MAX_SIGNATURE: usize = MAX_MODULUS_LEN;
/// Most subkeys in front of a TA.
pub const MAX_SUBKEYS: usize = 16;

/// An image in memory that nobody but its verification writes.
pub trait ImageBytes {
    /// How many there are.
    fn count(&self) -> usize;
    /// Copies bytes that lie in the image from `at` on.
    fn read(&self, at: usize, to: &mut [u8]);
    /// Writes bytes that lie in the image from `at` on.
    fn write(&self, at: usize, from: &[u8]);
    /// Takes bytes that lie in the image, in pieces that take no longer than the kernel may.
    fn pieces(&self, range: Range<usize>, take: impl FnMut(&[u8]));
    /// Does work that may take longer.
    fn interruptible<R>(&self, work: impl FnOnce() -> R) -> R;
}

/// Whose version a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioned {
    /// A TA's.
    Ta,
    /// A subkey's.
    Subkey,
}

/// Why an image is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A fault of its own.
    Image(ImageFault),
    /// Too little memory.
    NoMemory,
}

impl From<ImageFault> for Refusal {
    fn from(fault: ImageFault) -> Self {
        Self::Image(fault)
    }
}

impl From<HeapExhausted> for Refusal {
    fn from(_: HeapExhausted) -> Self {
        Self::NoMemory
    }
}

impl From<Refusal> for TeeResult {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Image(fault) => fault.into(),
            Refusal::NoMemory => Self::OUT_OF_MEMORY,
        }
    }
}

/// Whom a kernel trusts.
#[derive(Clone, Copy)]
pub struct Trust<'k> {
    /// Keys that images are signed with one of, or subkeys of theirs; without any, all are refused.
    pub keys: &'k [&'k PublicKey],
    /// The machine's secret that the keys of encrypted images derive from.
    pub hardware_key: &'k [u8; 16],
}

/// What is known of an image whose signatures hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Where its ELF file begins, in bytes from the image's start.
    pub elf_offset: usize,
    /// Which build it is ([`image_id`]).
    pub id: u64,
    /// It was decrypted where it lies.
    pub is_encrypted: bool,
}

/// Verifies that an image is that of the TA `wanted` and signed with a key that `trust` has, or with a subkey that is, and
/// decrypts it. `admit` takes each version that is signed so, or refuses it.
///
/// # Errors
/// The fault that was found first, or too little memory.
pub fn verify(
    bytes: &impl ImageBytes,
    wanted: TeeUuid,
    trust: Trust<'_>,
    mut admit: impl FnMut(Versioned, TeeUuid, u32) -> Result<(), Refusal>,
) -> Result<Verified, Refusal> {
    let mut rest = Part {
        bytes,
        at: 0,
        end: bytes.count(),
    };
    let mut root = None;
    let mut above: Option<Subkey> = None;
    for _ in 0..=MAX_SUBKEYS {
        let signed = Signed::read(&mut rest)?;
        let signers = Signers {
            above: above.as_ref(),
            root,
            trust,
        };
        if signed.header.img_type != img_type::SUBKEY {
            return signed.verify_ta(rest, wanted, &signers, admit);
        }
        let len = signed.header.img_size as usize;
        let body = rest.split_off(len).ok_or(ImageFault::ShortImage)?;
        signers.require_any()?;
        signed.verify_digest(&body)?;
        root = Some(signed.verify_signature(bytes, &signers)?);
        above = Some(Subkey::read(body, &mut rest, above.as_ref(), &mut admit)?);
    }
    Err(ImageFault::SubkeyDepth.into())
}

/// A part of an image of which the beginning was read.
pub(super) struct Part<'b, B> {
    pub(super) bytes: &'b B,
    at: usize,
    end: usize,
}

impl<B: ImageBytes> Part<'_, B> {
    /// The same part, to read once more.
    pub(super) const fn again(&self) -> Self {
        Self { ..*self }
    }

    pub(super) const fn left(&self) -> usize {
        self.end - self.at
    }

    /// The next `len` bytes as a part of their own.
    pub(super) fn split_off(&mut self, len: usize) -> Option<Self> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.end)?;
        let Self { bytes, at, .. } = *self;
        self.at = end;
        Some(Self { bytes, at, end })
    }

    /// The next bytes, copied.
    pub(super) fn copy(&mut self, to: &mut [u8]) -> Option<()> {
        let part = self.split_off(to.len())?;
        self.bytes.read(part.at, to);
        Some(())
    }

    /// Overwrites the beginning of what is left.
    pub(super) fn write(&self, from: &[u8]) -> Option<()> {
        let part = self.again().split_off(from.len())?;
        self.bytes.write(part.at, from);
        Some(())
    }

    /// The next bytes as a value.
    pub(super) fn value<T: FromZeros + FromBytes + IntoBytes>(&mut self) -> Option<T> {
        let mut value = T::new_zeroed();
        self.copy(value.as_mut_bytes())?;
        Some(value)
    }

    /// All that is left, in pieces.
    pub(super) fn pieces(&self, take: impl FnMut(&[u8])) {
        self.bytes.pieces(self.at..self.end, take);
    }
}

/// Who may sign a header.
struct Signers<'s, 'k> {
    above: Option<&'s Subkey>,
    /// The key that signed the first subkey.
    root: Option<&'k PublicKey>,
    trust: Trust<'k>,
}

impl Signers<'_, '_> {
    const fn require_any(&self) -> Result<(), ImageFault> {
        if self.trust.keys.is_empty() {
            Err(ImageFault::NoKey)
        } else {
            Ok(())
        }
    }
}

/// A header that says what is signed, with digest and signature.
struct Signed {
    header: SignedHeader,
    digest: [u8; DIGEST_LEN],
    signature: [u8; MAX_SIGNATURE],
}

impl Signed {
    fn read(rest: &mut Part<'_, impl ImageBytes>) -> Result<Self, ImageFault> {
        let header: SignedHeader = rest.value().ok_or(ImageFault::ShortImage)?;
        if header.magic != MAGIC {
            return Err(ImageFault::NotSigned);
        }
        if !matches!(
            header.img_type,
            img_type::BOOTSTRAP_TA | img_type::ENCRYPTED_TA | img_type::SUBKEY
        ) {
            return Err(ImageFault::Kind);
        }
        let mut signature = [0; MAX_SIGNATURE];
        let signed = signature.get_mut(..usize::from(header.sig_size));
        let signed = signed.filter(|_| usize::from(header.hash_size) == DIGEST_LEN);
        let signed = signed.ok_or(ImageFault::Sizes)?;
        let digest = rest.value().ok_or(ImageFault::ShortImage)?;
        rest.copy(signed).ok_or(ImageFault::ShortImage)?;
        Ok(Self {
            header,
            digest,
            signature,
        })
    }

    /// The digest's beginning.
    fn hasher(&self) -> Hash {
        let mut hasher = Hash::new(Algorithm::Sha256);
        hasher.update(self.header.as_bytes());
        hasher
    }

    fn require(&self, mut hasher: Hash) -> Result<(), ImageFault> {
        let mut digest = [0; DIGEST_LEN];
        hasher.finish(&mut digest);
        let is_digest = digest == self.digest;
        is_digest.then_some(()).ok_or(ImageFault::Altered)
    }

    /// Whether what lies behind the header is what was signed.
    fn verify_digest(&self, body: &Part<'_, impl ImageBytes>) -> Result<(), ImageFault> {
        let mut hasher = self.hasher();
        body.pieces(|bytes| hasher.update(bytes));
        self.require(hasher)
    }

    /// Whether the digest is signed by whom it may be; the key of the kernel's that they have their right from.
    fn verify_signature<'k>(
        &self,
        bytes: &impl ImageBytes,
        signers: &Signers<'_, 'k>,
    ) -> Result<&'k PublicKey, ImageFault> {
        let signature = &self.signature[..usize::from(self.header.sig_size)];
        let verifies = |key: &PublicKey| key.verifies(self.header.algo, &self.digest, signature);
        let root = bytes.interruptible(|| match signers.above {
            Some(subkey) => signers.root.filter(|_| verifies(&subkey.key)),
            None => {
                let mut keys = signers.trust.keys.iter().copied();
                keys.find(|key| verifies(key))
            }
        });
        root.ok_or(ImageFault::Signature)
    }

    /// Verifies what is left of an image as the TA's.
    fn verify_ta<B: ImageBytes>(
        &self,
        rest: Part<'_, B>,
        wanted: TeeUuid,
        signers: &Signers<'_, '_>,
        mut admit: impl FnMut(Versioned, TeeUuid, u32) -> Result<(), Refusal>,
    ) -> Result<Verified, Refusal> {
        let mut elf = rest.again();
        let bootstrap: BootstrapHeader = elf.value().ok_or(ImageFault::ShortImage)?;
        let is_encrypted = self.header.img_type == img_type::ENCRYPTED_TA;
        let encrypted = is_encrypted.then(|| Encrypted::read(&mut elf));
        let encrypted = encrypted.transpose()?;
        match elf.left().cmp(&(self.header.img_size as usize)) {
            core::cmp::Ordering::Less => return Err(ImageFault::ShortImage.into()),
            core::cmp::Ordering::Greater => return Err(ImageFault::TrailingData.into()),
            core::cmp::Ordering::Equal => {}
        }
        if TeeUuid::from_bytes(bootstrap.uuid) != wanted {
            return Err(ImageFault::OtherUuid.into());
        }
        if signers.above.is_some_and(|subkey| subkey.next != wanted) {
            return Err(ImageFault::NotOfSubkey.into());
        }
        signers.require_any()?;
        let elf_offset = elf.at;
        if let Some(encrypted) = encrypted {
            let root = self.verify_signature(rest.bytes, signers)?;
            let key = ta_key(signers.trust.hardware_key, root);
            let mut hasher = self.hasher();
            let fields = Part {
                end: elf_offset,
                ..rest
            };
            fields.pieces(|bytes| hasher.update(bytes));
            encrypted.decrypt(elf, &key, &mut hasher)?;
            self.require(hasher)?;
        } else {
            self.verify_digest(&rest)?;
            self.verify_signature(rest.bytes, signers)?;
        }
        admit(Versioned::Ta, wanted, bootstrap.ta_version)?;
        Ok(Verified {
            elf_offset,
            id: image_id(&self.digest),
            is_encrypted,
        })
    }
}
