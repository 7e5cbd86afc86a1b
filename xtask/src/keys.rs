//! The development key that signs trusted applications.
//!
//! **Invariant:** one RSA-2048 key pair a target directory, made when first asked for; the
//! kernel gets the modulus (256 bytes, big-endian; exponent 65537) and nothing else of it.

use crate::{paths, ui};
use anyhow::{Context as _, Result};
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rsa::rand_core::OsRng;
use rsa::traits::PublicKeyParts as _;
use rsa::{Pss, RsaPrivateKey};
use std::path::PathBuf;

const BITS: usize = 2048;

/// The key pair.
pub(crate) struct DevKey {
    key: RsaPrivateKey,
}

impl DevKey {
    /// Reads the key, or makes it.
    pub(crate) fn load() -> Result<Self> {
        let path = paths::keys().join("ta-dev.der");
        let key = if path.exists() {
            RsaPrivateKey::read_pkcs8_der_file(&path).with_context(|| {
                format!(
                    "{} is damaged; delete it and run again",
                    paths::shown(&path)
                )
            })?
        } else {
            ui::step(
                "Generating",
                format_args!("development TA key {}", paths::shown(&path)),
            );
            std::fs::create_dir_all(paths::keys())?;
            let key = RsaPrivateKey::new(&mut OsRng, BITS)?;
            key.write_pkcs8_der_file(&path)?;
            key
        };
        let dev = Self { key };
        let modulus = dev.key.n().to_bytes_be();
        let public = Self::modulus_path();
        if std::fs::read(&public).ok().as_deref() != Some(&modulus) {
            std::fs::write(&public, &modulus)?;
        }
        Ok(dev)
    }

    /// The file that the kernel's build reads: the modulus, big-endian.
    pub(crate) fn modulus_path() -> PathBuf {
        paths::keys().join("ta-dev.modulus")
    }

    /// Bytes of a signature.
    pub(crate) fn signature_bytes(&self) -> usize {
        self.key.size()
    }

    /// RSASSA-PSS with SHA-256, MGF1 and a salt of 32 bytes over an SHA-256 `digest`.
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> Result<Vec<u8>> {
        let padding = Pss::new_with_salt::<rsa::sha2::Sha256>(digest.len());
        Ok(self.key.sign_with_rng(&mut OsRng, padding, digest)?)
    }

    /// Whether `signature` over `digest` is this key's.
    pub(crate) fn verifies(&self, digest: &[u8; 32], signature: &[u8]) -> bool {
        let padding = Pss::new_with_salt::<rsa::sha2::Sha256>(digest.len());
        self.key
            .to_public_key()
            .verify(padding, digest, signature)
            .is_ok()
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        // 1024 bits: enough for a PSS signature with SHA-256 and quick to make.
        Self {
            key: RsaPrivateKey::new(&mut OsRng, 1024).unwrap(),
        }
    }
}
