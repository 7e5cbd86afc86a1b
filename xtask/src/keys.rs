//! Keys that trusted applications are signed with: the development key, and others' that a kernel is to trust.
//!
//! **Invariant:** one RSA-2048 key pair a target directory, made when first asked for; the
//! kernel gets the modulus (big-endian; exponent 65537) and nothing else of a key.

use crate::{paths, ui};
use anyhow::{Context as _, Result, bail, ensure};
use getrandom::SysRng;
use rsa::PrivateKey;
use rsa::pkcs1::{ALGORITHM_OID, DecodeRsaPrivateKey as _, RsaPrivateKeyRef, RsaPublicKeyRef};
use rsa::pkcs8::der::{Decode as _, Document};
use rsa::pkcs8::{
    DecodePrivateKey as _, EncodePrivateKey as _, PrivateKeyInfoRef, SubjectPublicKeyInfoRef,
};
use rsa::sha2::{Digest as _, Sha256};
use rsa::traits::PublicKeyParts as _;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const BITS: usize = 2048;
/// The exponent that a kernel knows, 65537.
const EXPONENT: [u8; 3] = [1, 0, 1];
/// Longest file with a key.
const MAX_KEY_BYTES: u64 = 64 << 10;

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
    tally_symbols::read(file, MAX_KEY_BYTES)
        .and_then(|bytes| modulus(&bytes))
        .with_context(|| format!("--ta-key {}", file.display()))
}

/// The modulus of the key in a file's contents, if a kernel can trust it.
fn modulus(bytes: &[u8]) -> Result<Vec<u8>> {
    let text = str::from_utf8(bytes).unwrap_or_default();
    let labels: Vec<&str> = labels(text).collect();
    ensure!(
        labels.len() < 2,
        "{} things in one file ({}); give each key a file of its own",
        labels.len(),
        labels.join(", ")
    );
    if let Some(what) = labels
        .first()
        .and_then(|label| other_than_a_key(label, text))
    {
        bail!("{what}");
    }
    let der = der(bytes);
    let (modulus, exponent) = match (rsa_key(&der), other_algorithm(&der)) {
        (Some(key), _) => key,
        (None, Some(algorithm)) => bail!("the key is none of RSA, but of {algorithm}"),
        (None, None) => bail!(
            "no RSA key in it, public or private, as PEM or DER (PKCS#1, PKCS#8, SubjectPublicKeyInfo)"
        ),
    };
    let bits = modulus.first().map_or(0, |first| {
        modulus.len() * 8 - first.leading_zeros() as usize
    });
    ensure!(
        (2048..=4096).contains(&bits) && bits.is_multiple_of(64),
        "the key has {bits} bits; a kernel trusts keys of 2048 to 4096, in steps of 64"
    );
    ensure!(
        exponent == EXPONENT,
        "the key's exponent is not 65537, the only one that a kernel knows"
    );
    if let Some(divisor) = small_divisor(&modulus) {
        bail!("the key's modulus is a multiple of {divisor}: it is damaged, or no key");
    }
    Ok(modulus)
}

/// What the parts of a PEM file are called (RFC 7468).
fn labels(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim);
    lines.filter_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
}

/// What a part of a PEM file is, if it is no key that can be read.
fn other_than_a_key(label: &str, text: &str) -> Option<String> {
    if label == "ENCRYPTED PRIVATE KEY" || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Some(
            "the key is encrypted; `openssl pkey -pubout` takes the public one out".into(),
        );
    }
    match label {
        "CERTIFICATE" => Some(
            "an X.509 certificate; `openssl x509 -noout -pubkey` takes the key out of it".into(),
        ),
        "RSA PRIVATE KEY" | "RSA PUBLIC KEY" | "PRIVATE KEY" | "PUBLIC KEY" => None,
        other => Some(format!("no RSA key in it, but {other}")),
    }
}

/// Modulus and exponent of an RSA key, big-endian, without zeros before them.
fn rsa_key(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let of_private = |der: &[u8]| {
        let key = RsaPrivateKeyRef::from_der(der).ok()?;
        Some((
            key.modulus.as_bytes().to_vec(),
            key.public_exponent.as_bytes().to_vec(),
        ))
    };
    let of_public = |der: &[u8]| {
        let key = RsaPublicKeyRef::from_der(der).ok()?;
        Some((
            key.modulus.as_bytes().to_vec(),
            key.public_exponent.as_bytes().to_vec(),
        ))
    };
    let wrapped_private = || {
        let info = PrivateKeyInfoRef::from_der(der).ok()?;
        let is_rsa = info.algorithm.oid == ALGORITHM_OID;
        is_rsa.then(|| of_private(info.private_key.as_bytes()))?
    };
    let wrapped_public = || {
        let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
        let is_rsa = info.algorithm.oid == ALGORITHM_OID;
        is_rsa.then(|| of_public(info.subject_public_key.as_bytes()?))?
    };
    of_private(der)
        .or_else(|| of_public(der))
        .or_else(wrapped_private)
        .or_else(wrapped_public)
}

/// The algorithm that a key says it is for.
fn other_algorithm(der: &[u8]) -> Option<String> {
    let private = PrivateKeyInfoRef::from_der(der).map(|info| info.algorithm.oid);
    let public = SubjectPublicKeyInfoRef::from_der(der).map(|info| info.algorithm.oid);
    let oid = private
        .or(public)
        .ok()
        .filter(|oid| *oid != ALGORITHM_OID)?;
    Some(match oid.to_string().as_str() {
        "1.2.840.10045.2.1" => "elliptic curves".to_owned(),
        "1.3.101.112" => "Ed25519".to_owned(),
        "1.2.840.113549.1.1.10" => "RSA for PSS alone".to_owned(),
        other => format!("the algorithm {other}"),
    })
}

/// The least number below 256 that divides a big-endian number: the kernel's build refuses such keys.
fn small_divisor(number: &[u8]) -> Option<u32> {
    let rest = |divisor| {
        let digits = number.iter();
        digits.fold(0, |rest, digit| (rest * 256 + u32::from(*digit)) % divisor)
    };
    (2..256).find(|divisor| rest(*divisor) == 0)
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
        let key = private_key(&der(&tally_symbols::read(file, MAX_KEY_BYTES)?));
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
    use rsa::pkcs1::{EncodeRsaPrivateKey as _, EncodeRsaPublicKey as _, UintRef};
    use rsa::pkcs8::der::Encode as _;
    use rsa::pkcs8::{EncodePublicKey as _, LineEnding};

    /// A public key of PKCS#1 with this modulus and exponent.
    fn pkcs1(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
        let [modulus, public_exponent] = [modulus, exponent].map(|n| UintRef::new(n).unwrap());
        let key = RsaPublicKeyRef {
            modulus,
            public_exponent,
        };
        key.to_der().unwrap()
    }

    /// Bug: of all these it was said that there was no RSA key, or the kernel's build failed later.
    #[test]
    fn what_a_kernel_cannot_trust_is_told_by_what_it_is() {
        // 2^2047 + 2^1023 + 1: no multiple of 2; all ones are one of 3.
        let ones = [0xff; 256];
        let mut even = [0; 256];
        even[0] = 0x80;
        let short = [&[0x7f][..], &[0xff; 127]].concat();
        let key = DevKey::for_test().key;
        let pem = key.to_pkcs8_pem(LineEnding::LF).unwrap();
        let two = format!("{}{}", &*pem, &*pem);
        let of = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        // SubjectPublicKeyInfo for elliptic curves (1.2.840.10045.2.1), of one byte.
        let curve = b"\x30\x0f\x30\x09\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x03\x02\x00\x04";
        let cases: [(Vec<u8>, &str); 11] = [
            (pkcs1(&short, &EXPONENT), "1023 bits"),
            (pkcs1(&ones, &[1]), "exponent"),
            (pkcs1(&ones, &EXPONENT), "multiple of 3"),
            (pkcs1(&even, &EXPONENT), "multiple of 2"),
            (two.into_bytes(), "2 things in one file"),
            (of("ENCRYPTED PRIVATE KEY").into(), "encrypted"),
            (of("CERTIFICATE").into(), "X.509 certificate"),
            (of("EC PRIVATE KEY").into(), "EC PRIVATE KEY"),
            (of("PRIVATE KEY").into(), "no RSA key in it"),
            (curve.to_vec(), "elliptic curves"),
            (b"no key".to_vec(), "no RSA key in it"),
        ];
        for (bytes, wanted) in cases {
            let why = modulus(&bytes).unwrap_err().to_string();
            assert!(why.contains(wanted), "{why}");
        }
        let why = format!("{:#}", read_modulus(Path::new("/dev/zero")).unwrap_err());
        assert!(why.contains("/dev/zero is longer"), "{why}");
    }

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
            let parts = Some((public.n_bytes().into_vec(), EXPONENT.to_vec()));
            assert_eq!(rsa_key(&der(form)), parts, "form {n}");
            let half = &form[..form.len() / 2];
            assert_eq!(rsa_key(&der(half)), None, "half of form {n}");
        }
        assert_eq!(rsa_key(b""), None);
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
