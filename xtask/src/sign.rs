//! Signed TA containers in OP-TEE's format (`tally_abi::shdr`).
//!
//! **Invariant:** the hash covers header, bootstrap header and ELF file, in that order, as
//! optee_os `scripts/sign_encrypt.py` does it; the ELF file is the last thing in the container.
//! **Knows nothing of:** what the ELF file holds.

use crate::keys::DevKey;
use anyhow::{Context as _, Result};
use rsa::sha2::{Digest as _, Sha256};
use tally_abi::TeeUuid;
use tally_abi::shdr::{self, BootstrapHeader, SignedHeader};
use zerocopy::IntoBytes as _;

/// Wraps `elf` for `uuid`.
pub(crate) fn sign_ta(key: &DevKey, uuid: TeeUuid, elf: &[u8]) -> Result<Vec<u8>> {
    let header = SignedHeader {
        magic: shdr::MAGIC,
        img_type: shdr::img_type::BOOTSTRAP_TA,
        img_size: u32::try_from(elf.len()).context("TA image above 4 GiB")?,
        algo: shdr::algo::RSASSA_PKCS1_PSS_MGF1_SHA256,
        hash_size: 32,
        sig_size: u16::try_from(key.signature_bytes()).context("signature above 64 KiB")?,
    };
    let bootstrap = BootstrapHeader {
        uuid: uuid.to_octets(),
        ta_version: 0,
    };

    let mut hash = Sha256::new();
    hash.update(header.as_bytes());
    hash.update(bootstrap.as_bytes());
    hash.update(elf);
    let digest: [u8; 32] = hash.finalize().into();

    let mut out = Vec::with_capacity(elf.len() + 512);
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&digest);
    out.extend_from_slice(&key.sign(&digest)?);
    out.extend_from_slice(bootstrap.as_bytes());
    out.extend_from_slice(elf);
    Ok(out)
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
        && payload.starts_with(&uuid.to_octets())
        && digest == computed
        && key.verifies(&computed, signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_has_optee_order_and_verifies() {
        let key = DevKey::for_test();
        let uuid = TeeUuid::from_u128(0x00112233_4455_6677_8899_aabbccddeeff);
        let mut ta = sign_ta(&key, uuid, b"elf").unwrap();

        assert_eq!(&ta[..4], b"HSTO");
        let sig_end = 20 + 32 + key.signature_bytes();
        assert_eq!(ta[sig_end..sig_end + 16], uuid.to_octets());
        assert_eq!(&ta[sig_end + 20..], b"elf");
        assert!(is_signed_by(&key, uuid, b"elf", &ta));
        assert!(!is_signed_by(&key, uuid, b"fle", &ta));
        ta[0] ^= 1;
        assert!(!is_signed_by(&key, uuid, b"elf", &ta));
    }
}
