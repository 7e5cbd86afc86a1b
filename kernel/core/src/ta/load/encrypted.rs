//! Encrypted images: AES-256-GCM (NIST SP 800-38D) with a key that derives from the machine's hardware key.
//!
//! Source: optee_os `core/tee/tee_ta_enc_manager.c`, `core/kernel/{huk_subkey,otp_stubs}.c`.
//!
//! **Invariant:** what was decrypted is not looked at before its tag holds.

use crate::hardware_key::{Derivation, HARDWARE_KEY, Purpose};
use crate::ta::load::image::{ImageBytes, Part, Refusal};
use crate::ta::load::rsa::{MAX_MODULUS_LEN, PublicKey};
use tally_abi::image::ImageFault;
use tally_abi::shdr::{AES_GCM, DEVICE_KEY, EncryptedHeader};
use tally_crypto::symmetric::block::MAX_BLOCK as BLOCK;
use tally_crypto::symmetric::gcm::Gcm;
use tally_crypto::symmetric::hash::Hash;
use tally_crypto::symmetric::{Direction, same};
use tally_mem::fallible::TryBox;
use zeroize::Zeroizing;

/// Bytes of a nonce.
const NONCE: usize = 12;
/// Bytes of a key.
pub(crate) const KEY: usize = 32;
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
        hasher: &mut Hash,
    ) -> Result<(), Refusal> {
        let bytes = rest.bytes;
        let gcm = Gcm::new(key, &self.nonce).map_err(|_| ImageFault::Encryption)?;
        let mut gcm = TryBox::new(gcm)?;
        let mut chunk = TryBox::new(Zeroizing::new([0; CHUNK]))?;
        while rest.left() > 0 {
            let chunk = &mut chunk[..rest.left().min(CHUNK)];
            let mut part = rest.split_off(chunk.len()).ok_or(ImageFault::ShortImage)?;
            let to = part.again();
            let done = bytes.interruptible(|| {
                part.copy(chunk)?;
                gcm.text(Direction::Decrypt, chunk);
                hasher.update(chunk);
                to.write(chunk)
            });
            done.ok_or(ImageFault::ShortImage)?;
        }
        same(&gcm.tag(), &self.tag)
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
