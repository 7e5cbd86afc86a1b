//! Signed TA containers in OP-TEE's format (`tally_abi::shdr`).
//!
//! **Invariant:** the hash covers header, bootstrap header and ELF file, in that order, as
//! optee_os `scripts/sign_encrypt.py` does it; the ELF file is the last thing in the container.

use crate::keys::DevKey;
use aes_gcm::aead::AeadInOut as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use anyhow::{Context as _, Result};
use hmac::{Hmac, Mac as _};
use rsa::sha2::{Digest as _, Sha256};
use tally_abi::TeeUuid;
use tally_abi::shdr::{self, BootstrapHeader, EncryptedHeader, SignedHeader, SubkeyHeader};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// The hash that is signed, which says which build an image is ([`shdr::image_id`]).
fn digest(header: &SignedHeader, bootstrap: &BootstrapHeader, elf: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(header.as_bytes());
    hash.update(bootstrap.as_bytes());
    hash.update(elf);
    hash.finalize().into()
}

/// Headers of version 0 of a TA.
fn headers(
    uuid: TeeUuid,
    elf: &[u8],
    algo: u32,
    sig_size: usize,
) -> Result<(SignedHeader, BootstrapHeader)> {
    let header = SignedHeader {
        magic: shdr::MAGIC,
        img_type: shdr::img_type::BOOTSTRAP_TA,
        img_size: u32::try_from(elf.len()).context("TA image above 4 GiB")?,
        algo,
        hash_size: 32,
        sig_size: u16::try_from(sig_size).context("signature above 64 KiB")?,
    };
    let bootstrap = BootstrapHeader {
        uuid: uuid.to_bytes(),
        ta_version: 0,
    };
    Ok((header, bootstrap))
}

/// Wraps `elf` for `uuid`.
pub(crate) fn sign_ta(key: &DevKey, uuid: TeeUuid, elf: &[u8]) -> Result<Vec<u8>> {
    let algo = shdr::algo::RSASSA_PKCS1_PSS_MGF1_SHA256;
    let (header, bootstrap) = headers(uuid, elf, algo, key.signature_bytes())?;
    let digest = digest(&header, &bootstrap, elf);
    let mut out = Vec::with_capacity(elf.len() + 512);
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&digest);
    out.extend_from_slice(&key.sign(&digest)?);
    out.extend_from_slice(bootstrap.as_bytes());
    out.extend_from_slice(elf);
    Ok(out)
}

/// Wraps `elf` for `uuid`, encrypted for the board, as OP-TEE's script does it.
pub(crate) fn encrypt_ta(key: &DevKey, uuid: TeeUuid, elf: &[u8]) -> Result<Vec<u8>> {
    /// `HUK_SUBKEY_TA_ENC`.
    const TA_KEY: u32 = 4;
    let mut derived = Hmac::<Sha256>::new_from_slice(&tally_board_virt::HARDWARE_KEY)?;
    derived.update(&TA_KEY.to_le_bytes());
    derived.update(&key.modulus());
    let cipher = Aes256Gcm::new_from_slice(&derived.finalize().into_bytes())?;
    let mut nonce = [0; 12];
    getrandom::fill(&mut nonce)?;
    let mut text = elf.to_vec();
    let tag = cipher.encrypt_inout_detached(&nonce.into(), &[], text.as_mut_slice().into());
    let tag = tag.ok().context("TA image too long")?;
    let algo = shdr::algo::RSASSA_PKCS1_PSS_MGF1_SHA256;
    let (mut header, bootstrap) = headers(uuid, elf, algo, key.signature_bytes())?;
    header.img_type = shdr::img_type::ENCRYPTED_TA;
    let encrypted = EncryptedHeader {
        enc_algo: shdr::AES_GCM,
        flags: shdr::DEVICE_KEY,
        iv_size: 12,
        tag_size: 16,
    };
    let fields = [bootstrap.as_bytes(), encrypted.as_bytes(), &nonce, &tag].concat();
    let mut hash = Sha256::new();
    for part in [header.as_bytes(), &fields, elf] {
        hash.update(part);
    }
    let digest = hash.finalize().into();
    let signature = key.sign(&digest)?;
    Ok([header.as_bytes(), &digest, &signature, &fields, &text].concat())
}

/// Which images there can be of `elf`: by [`sign_ta`] or OP-TEE's script, whatever the key, of version 0.
pub(crate) fn ids(uuid: TeeUuid, elf: &[u8]) -> impl Iterator<Item = u64> {
    const ALGORITHMS: [u32; 2] = [
        shdr::algo::RSASSA_PKCS1_PSS_MGF1_SHA256,
        shdr::algo::RSASSA_PKCS1_V1_5_SHA256,
    ];
    let all = ALGORITHMS
        .into_iter()
        .flat_map(|algo| SIGNATURE_BYTES.map(|size| (algo, size)));
    all.filter_map(move |(algo, size)| {
        let (header, bootstrap) = headers(uuid, elf, algo, size).ok()?;
        Some(shdr::image_id(&digest(&header, &bootstrap, elf)))
    })
}

/// Bytes of a signature: RSA of 2048 bits, as ours, of 4096 and 3072; of 1024 in tests.
const SIGNATURE_BYTES: [usize; 4] = [256, 512, 384, 128];

/// What is left of an image behind its subkeys: the TA's own header and all that follows. `None` of one that is cut short.
pub(crate) fn behind_subkeys(mut image: &[u8]) -> Option<&[u8]> {
    loop {
        let (header, rest) = SignedHeader::read_from_prefix(image).ok()?;
        if header.magic != shdr::MAGIC || header.img_type != shdr::img_type::SUBKEY {
            return Some(image);
        }
        let signed = usize::from(header.hash_size) + usize::from(header.sig_size);
        let subkey = rest.get(signed..)?;
        let (SubkeyHeader { name_size, .. }, _) = SubkeyHeader::read_from_prefix(subkey).ok()?;
        let name = subkey.get(header.img_size as usize..)?;
        image = name.get(name_size as usize..)?;
    }
}

/// Whether it is an encrypted image, behind its subkeys.
pub(crate) fn is_encrypted(image: &[u8]) -> bool {
    let header = behind_subkeys(image).and_then(|image| SignedHeader::read_from_prefix(image).ok());
    header.is_some_and(|(header, _)| {
        header.magic == shdr::MAGIC && header.img_type == shdr::img_type::ENCRYPTED_TA
    })
}

/// A signed container, taken apart. Whose signature it is is not looked at.
pub(crate) struct Signed<'a> {
    /// The TA.
    pub(crate) uuid: TeeUuid,
    /// Which build it is.
    pub(crate) id: u64,
    /// Its ELF file.
    pub(crate) elf: &'a [u8],
}

impl<'a> Signed<'a> {
    /// `None` of anything but a whole container with a hash that is right.
    pub(crate) fn parse(container: &'a [u8]) -> Option<Self> {
        let container = behind_subkeys(container)?;
        let (header, rest) = SignedHeader::read_from_prefix(container).ok()?;
        if header.magic != shdr::MAGIC || header.hash_size != 32 {
            return None;
        }
        let (hash, rest) = rest.split_first_chunk()?;
        let rest = rest.get(usize::from(header.sig_size)..)?;
        let (bootstrap, elf) = BootstrapHeader::read_from_prefix(rest).ok()?;
        (digest(&header, &bootstrap, elf) == *hash).then(|| Self {
            uuid: TeeUuid::from_bytes(bootstrap.uuid),
            id: shdr::image_id(hash),
            elf,
        })
    }
}

/// Whether `container` holds `elf` for `uuid` with a valid signature of `key`.
pub(crate) fn is_signed_by(key: &DevKey, uuid: TeeUuid, elf: &[u8], container: &[u8]) -> bool {
    let sig_end = size_of::<SignedHeader>() + 32 + key.signature_bytes();
    let Some((signed, payload)) = container.split_at_checked(sig_end) else {
        return false;
    };
    let (header, rest) = signed.split_at(size_of::<SignedHeader>());
    let (digest, signature) = rest.split_at(32);
    let mut hash = Sha256::new();
    hash.update(header);
    hash.update(payload);
    let computed: [u8; 32] = hash.finalize().into();
    payload.get(size_of::<BootstrapHeader>()..) == Some(elf)
        && payload.starts_with(&uuid.to_bytes())
        && digest == computed
        && key.verifies(&computed, signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros as _;

    /// One without a key, and a name of so many bytes.
    fn subkey(name_size: u32) -> Vec<u8> {
        let header = SignedHeader {
            magic: shdr::MAGIC,
            img_type: shdr::img_type::SUBKEY,
            img_size: size_of::<SubkeyHeader>() as u32,
            algo: shdr::algo::RSASSA_PKCS1_PSS_MGF1_SHA256,
            hash_size: 32,
            sig_size: 128,
        };
        let mut body = SubkeyHeader::new_zeroed();
        body.name_size = name_size;
        let name = vec![b'n'; name_size as usize];
        [header.as_bytes(), &[7; 32 + 128], body.as_bytes(), &name].concat()
    }

    #[test]
    fn container_has_optee_order_and_verifies() {
        let key = DevKey::for_test();
        let uuid = TeeUuid::from_u128(0x00112233_4455_6677_8899_aabbccddeeff);
        let mut ta = sign_ta(&key, uuid, b"elf").unwrap();

        assert_eq!(&ta[..4], b"HSTO");
        let sig_end = 20 + 32 + key.signature_bytes();
        assert_eq!(ta[sig_end..sig_end + 16], uuid.to_bytes());
        assert_eq!(&ta[sig_end + 20..], b"elf");
        assert!(is_signed_by(&key, uuid, b"elf", &ta));
        assert!(!is_signed_by(&key, uuid, b"fle", &ta));
        let signed = Signed::parse(&ta).unwrap();
        assert_eq!((signed.uuid, signed.elf), (uuid, &b"elf"[..]));
        assert!(ids(uuid, b"elf").any(|id| id == signed.id));
        assert!(ids(uuid, b"fle").all(|id| id != signed.id));
        let mut behind = subkey(3);
        behind.extend(subkey(0));
        behind.extend_from_slice(&ta);
        assert_eq!(Signed::parse(&behind).unwrap().id, signed.id);
        assert!(Signed::parse(&behind[..300]).is_none());
        ta[0] ^= 1;
        assert!(!is_signed_by(&key, uuid, b"elf", &ta));
        assert!(Signed::parse(&ta).is_none() && Signed::parse(&ta[1..]).is_none());
    }
}
