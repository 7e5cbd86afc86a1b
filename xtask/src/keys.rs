//! Keys that trusted applications are signed with: the development key, and others' that a kernel is to trust.
//!
//! **Invariant:** one RSA-2048 key pair a target directory, made when first asked for; the
//! kernel gets the modulus (big-endian; exponent 65537) and nothing else of a key.

use crate::{paths, ui};
use anyhow::{Context as _, Result, ensure};
use getrandom::SysRng;
use rsa::pkcs1::{DecodeRsaPrivateKey as _, DecodeRsaPublicKey as _};
use rsa::pkcs8::der::Document;
use rsa::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _};
use rsa::sha2::{Digest as _, Sha256};
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, PrivateKey, PublicKey};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const BITS: usize = 2048;

/// What a kernel's build reads: the development key's modulus, and those of the keys in these files.
pub(crate) fn moduli(files: &[PathBuf]) -> Result<OsString> {
    DevKey::load()?;
    let mut paths = vec![DevKey::modulus_path()];
    for file in files {
        let modulus = read_modulus(file)?;
        // Whatever it is called, the same key is the same file.
        let name = format!("{:.16}.modulus", hex(&Sha256::digest(&modulus)));
        let path = paths::keys().join(name);
        if std::fs::read(&path).ok().as_deref() != Some(&*modulus) {
            std::fs::write(&path, &modulus)?;
        }
        paths.push(path);
    }
    Ok(std::env::join_paths(paths)?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The modulus of the RSA key in a file, public or private, as PEM or DER, PKCS#1, PKCS#8 or X.509's
/// SubjectPublicKeyInfo.
fn read_modulus(file: &Path) -> Result<Vec<u8>> {
    let shown = file.display();
    let bytes = std::fs::read(file).with_context(|| format!("--ta-key {shown}"))?;
    let key = public_key(&bytes).with_context(|| {
        format!(
            "--ta-key {shown}: no RSA key in it, public or private, as PEM or DER (PKCS#1, PKCS#8, SubjectPublicKeyInfo)"
        )
    })?;
    let bits = key.n().bit_width();
    ensure!(
        (2048..=4096).contains(&bits) && bits.is_multiple_of(64),
        "--ta-key {shown}: the key has {bits} bits; a kernel trusts keys of 2048 to 4096, in steps of 64"
    );
    ensure!(
        *key.e() == BoxedUint::from(65_537_u64),
        "--ta-key {shown}: the key's exponent is not 65537, the only one that a kernel knows"
    );
    Ok(key.n_bytes().into_vec())
}

fn public_key(bytes: &[u8]) -> Option<PublicKey> {
    let der = der(bytes);
    private_key(&der)
        .map(|key| key.as_public_key().clone())
        .or_else(|| PublicKey::from_public_key_der(&der).ok())
        .or_else(|| PublicKey::from_pkcs1_der(&der).ok())
}

fn private_key(der: &[u8]) -> Option<PrivateKey> {
    let key = PrivateKey::from_pkcs8_der(der).ok();
    key.or_else(|| PrivateKey::from_pkcs1_der(der).ok())
}

/// What a PEM file has in it; of any other file, the file.
fn der(bytes: &[u8]) -> Vec<u8> {
    let text = core::str::from_utf8(bytes).unwrap_or_default();
    match Document::from_pem(text) {
        Ok((_, document)) => document.into_vec(),
        Err(_) => bytes.to_vec(),
    }
}

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

    /// Another private key, to sign with in its place.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let key = private_key(&der(&std::fs::read(file)?));
        let key = key.with_context(|| format!("{}: no private key", file.display()))?;
        Ok(Self { key })
    }

    /// The file that the kernel's build reads: the modulus, big-endian.
    pub(crate) fn modulus_path() -> PathBuf {
        paths::keys().join("ta-dev.modulus")
    }

    /// The modulus, big-endian.
    pub(crate) fn modulus(&self) -> Vec<u8> {
        self.key.n_bytes().into_vec()
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

#[cfg(test)]
mod tests {
    use super::*;
    use rsa::pkcs1::{EncodeRsaPrivateKey as _, EncodeRsaPublicKey as _};
    use rsa::pkcs8::{EncodePublicKey as _, LineEnding};

    #[test]
    fn a_key_is_read_in_whatever_form_it_comes() {
        let key = DevKey::for_test().key;
        let public = key.as_public_key();
        let ending = LineEnding::LF;
        let forms: [Vec<u8>; 8] = [
            key.to_pkcs8_pem(ending).unwrap().as_bytes().to_vec(),
            key.to_pkcs8_der().unwrap().as_bytes().to_vec(),
            key.to_pkcs1_pem(ending).unwrap().as_bytes().to_vec(),
            key.to_pkcs1_der().unwrap().as_bytes().to_vec(),
            public.to_public_key_pem(ending).unwrap().into_bytes(),
            public.to_public_key_der().unwrap().into_vec(),
            public.to_pkcs1_pem(ending).unwrap().into_bytes(),
            public.to_pkcs1_der().unwrap().into_vec(),
        ];
        for (n, form) in forms.iter().enumerate() {
            assert_eq!(public_key(form).as_ref(), Some(public), "form {n}");
            assert_eq!(
                public_key(&form[..form.len() / 2]),
                None,
                "half of form {n}"
            );
        }
        assert_eq!(public_key(b""), None);
        let dir = std::env::temp_dir().join(format!("tally-keys-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("short.pem");
        std::fs::write(&file, &forms[0]).unwrap();
        let refused = |file: &Path| format!("{:#}", read_modulus(file).unwrap_err());
        assert!(
            refused(&file).contains("has 1024 bits"),
            "{}",
            refused(&file)
        );
        std::fs::write(&file, "no key").unwrap();
        assert!(refused(&file).contains("no RSA key in it"));
        assert!(refused(&dir.join("none")).contains("--ta-key"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
