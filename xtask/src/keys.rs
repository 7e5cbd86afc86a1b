//! The development key that signs trusted applications.
//!
//! **Invariant:** one RSA-2048 key pair a target directory, made when first asked for; the
//! kernel gets the modulus (256 bytes, big-endian; exponent 65537) and nothing else of it.

use crate::{paths, ui};
use anyhow::{Context as _, Result};
use getrandom::SysRng;
use rsa::PrivateKey;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rsa::sha2::Sha256;
use rsa::traits::PublicKeyParts as _;
use std::path::PathBuf;

const BITS: usize = 2048;

/// The key pair.
pub(crate) struct DevKey {
    key: PrivateKey,
}

impl DevKey {
    /// Reads the key, or makes it.
    pub(crate) fn load() -> Result<Self> {
        let path = paths::keys().join("ta-dev.der");
        let key = if path.exists() {
            PrivateKey::read_pkcs8_der_file(&path).with_context(|| {
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
            let key = PrivateKey::new(&mut SysRng, BITS)?;
            key.write_pkcs8_der_file(&path)?;
            key
        };
        let dev = Self { key };
        let modulus = dev.key.n_bytes();
        let public = Self::modulus_path();
        if std::fs::read(&public).ok().as_deref() != Some(&*modulus) {
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
        Ok(self.key.pss_sign_prehash::<Sha256>(digest)?)
    }

    /// Whether `signature` over `digest` is this key's.
    pub(crate) fn verifies(&self, digest: &[u8; 32], signature: &[u8]) -> bool {
        let public = self.key.as_public_key();
        public
            .pss_verify_prehash::<Sha256>(digest, signature)
            .is_ok()
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        // 1024 bits: enough for a PSS signature with SHA-256 and quick to make.
        Self {
            key: PrivateKey::new(&mut SysRng, 1024).unwrap(),
        }
    }
}
