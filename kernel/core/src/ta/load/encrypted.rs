//! Encrypted images: AES-256-GCM (NIST SP 800-38D) with a key that derives from the machine's hardware key.
//!
//! Source: optee_os `core/tee/tee_ta_enc_manager.c`, `core/kernel/{huk_subkey,otp_stubs}.c`.
//!
//! **Invariant:** what was decrypted is not looked at before its tag holds.

use crate::hardware_key::{Derivation, HARDWARE_KEY, Purpose};
use crate::ta::load::image::{ImageBytes, Part, Refusal};
use crate::ta::load::rsa::{MAX_MODULUS_LEN, PublicKey};
use aes::Aes256;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use sha2::{Digest, Sha256};
use tally_abi::image::ImageFault;
use tally_abi::shdr::{AES_GCM, DEVICE_KEY, EncryptedHeader};
use tally_mem::fallible::TryBox;
use zeroize::Zeroizing;

/// Bytes of a block.
const BLOCK: usize = 16;
/// Bytes of a nonce.
const NONCE: usize = 12;
/// Bytes of a key.
pub(crate) const KEY: usize = 32;
/// Counter of the block that the tag is encrypted with; the text has those behind it.
const TAG_COUNTER: u32 = 1;
/// Blocks that the cipher encrypts at once.
const BLOCKS_AT_ONCE: usize = 4;
/// Bytes decrypted at a time; whole blocks.
const CHUNK: usize = 1024;

/// What the header of an encrypted image says.
pub(super) struct Encrypted {
    nonce: [u8; NONCE],
    tag: [u8; BLOCK],
}

impl Encrypted {
    pub(super) fn read(rest: &mut Part<'_, impl ImageBytes>) -> Result<Self, ImageFault> {
        let header: EncryptedHeader = rest.value().ok_or(ImageFault::ShortImage)?;
        let sizes = (usize::from(header.iv_size), usize::from(header.tag_size));
        if (header.enc_algo, header.flags) != (AES_GCM, DEVICE_KEY) || sizes != (NONCE, BLOCK) {
            return Err(ImageFault::Encryption);
        }
        let nonce = rest.value().ok_or(ImageFault::ShortImage)?;
        let tag = rest.value().ok_or(ImageFault::ShortImage)?;
        Ok(Self { nonce, tag })
    }

    /// Decrypts what is left of an image where it lies, and takes it into a digest.
    pub(super) fn decrypt<B: ImageBytes>(
        &self,
        mut rest: Part<'_, B>,
        key: &[u8; KEY],
        hasher: &mut Sha256,
    ) -> Result<(), Refusal> {
        let bytes = rest.bytes;
        let mut gcm = TryBox::new(Gcm::new(key, &self.nonce))?;
        let mut chunk = TryBox::new(Zeroizing::new([0; CHUNK]))?;
        while rest.left() > 0 {
            let chunk = &mut chunk[..rest.left().min(CHUNK)];
            let mut part = rest.split_off(chunk.len()).ok_or(ImageFault::ShortImage)?;
            let to = part.again();
            let done = bytes.interruptible(|| {
                part.copy(chunk)?;
                gcm.decrypt(chunk);
                hasher.update(&*chunk);
                to.write(chunk)
            });
            done.ok_or(ImageFault::ShortImage)?;
        }
        let wrong = gcm.tag().into_iter().zip(self.tag);
        let wrong = wrong.fold(0, |wrong, (is, says)| wrong | (is ^ says));
        (wrong == 0)
            .then_some(())
            .ok_or(ImageFault::Undecipherable.into())
    }
}

/// The key of images that `signer` signed, with the subkeys below it: HMAC-SHA256 (RFC 2104) by the hardware key of what it is
/// for and the modulus.
pub(crate) fn ta_key(
    hardware_key: &[u8; HARDWARE_KEY],
    signer: &PublicKey,
) -> Zeroizing<[u8; KEY]> {
    let mut modulus = [0; MAX_MODULUS_LEN];
    let modulus = signer.write_modulus(&mut modulus);
    let mut derivation = Derivation::new(hardware_key, Purpose::TaEncryption);
    derivation.update(modulus);
    derivation.finish()
}

/// A decryption under way.
struct Gcm {
    cipher: Aes256,
    ghash: GHash,
    nonce: [u8; NONCE],
    counter: u32,
    len: u64,
}

impl Gcm {
    fn new(key: &[u8; KEY], nonce: &[u8; NONCE]) -> Self {
        let cipher = Aes256::new(key.into());
        let mut hash_key = Block::<Aes256>::default();
        cipher.encrypt_block(&mut hash_key);
        Self {
            ghash: GHash::new(&hash_key),
            cipher,
            nonce: *nonce,
            counter: TAG_COUNTER + 1,
            len: 0,
        }
    }

    /// The next block of the key stream, not encrypted yet.
    fn next(&mut self) -> Block<Aes256> {
        let mut block = Block::<Aes256>::default();
        block[..NONCE].copy_from_slice(&self.nonce);
        block[NONCE..].copy_from_slice(&self.counter.to_be_bytes());
        self.counter = self.counter.wrapping_add(1);
        block
    }

    /// Decrypts the next bytes: whole blocks, but for the last.
    fn decrypt(&mut self, bytes: &mut [u8]) {
        self.ghash.update_padded(bytes);
        self.len += bytes.len() as u64;
        for piece in bytes.chunks_mut(BLOCKS_AT_ONCE * BLOCK) {
            let mut stream = [(); BLOCKS_AT_ONCE].map(|()| self.next());
            self.cipher.encrypt_blocks(&mut stream);
            for (byte, key) in piece.iter_mut().zip(stream.iter().flatten()) {
                *byte ^= key;
            }
        }
    }

    /// The tag of what was decrypted.
    fn tag(&mut self) -> [u8; BLOCK] {
        self.counter = TAG_COUNTER;
        let mut mask = self.next();
        self.cipher.encrypt_block(&mut mask);
        let mut lengths = [0; BLOCK];
        lengths[8..].copy_from_slice(&(self.len * 8).to_be_bytes());
        self.ghash.update(&[lengths.into()]);
        let mut tag: [u8; BLOCK] = self.ghash.clone().finalize().into();
        for (byte, mask) in tag.iter_mut().zip(mask) {
            *byte ^= mask;
        }
        tag
    }
}
