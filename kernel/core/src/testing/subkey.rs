//! Subkeys for tests.

use crate::testing::signing::KeyPair;
use alloc::vec;
use alloc::vec::Vec;
use tally_abi::TeeUuid;
use tally_abi::shdr::{SubkeyAttribute, SubkeyHeader, algo, attribute, img_type};
use zerocopy::IntoBytes;

/// Bytes of a name with its padding.
pub const NAME_LEN: usize = 64;

/// A subkey and the name of what it signs.
#[derive(Clone, Debug)]
pub struct Subkey {
    /// Its header.
    pub header: SubkeyHeader,
    /// Where the modulus is said to be, and the modulus.
    pub modulus: (SubkeyAttribute, Vec<u8>),
    /// The exponent.
    pub exponent: (SubkeyAttribute, Vec<u8>),
    /// The name, padded with zeros.
    pub name: Vec<u8>,
}

impl Subkey {
    /// As OP-TEE's script writes it, of version 1.
    #[must_use]
    pub fn new(uuid: TeeUuid, max_depth: u32, key: &KeyPair, name: &[u8]) -> Self {
        let values_at = (size_of::<SubkeyHeader>() + 2 * size_of::<SubkeyAttribute>()) as u32;
        let modulus = [&[0], &key.modulus()[..]].concat();
        let attribute = |id, offset, size: usize| SubkeyAttribute {
            id,
            offset,
            size: size as u32,
        };
        let exponent_at = values_at + modulus.len() as u32;
        let mut padded = name.to_vec();
        padded.resize(if name.is_empty() { 0 } else { NAME_LEN }, 0);
        Self {
            header: SubkeyHeader {
                uuid: uuid.to_bytes(),
                name_size: padded.len() as u32,
                subkey_version: 1,
                max_depth,
                algo: algo::RSASSA_PKCS1_PSS_MGF1_SHA256,
                attr_count: 2,
            },
            modulus: (
                attribute(attribute::RSA_MODULUS, values_at, modulus.len()),
                modulus,
            ),
            exponent: (
                attribute(attribute::RSA_PUBLIC_EXPONENT, exponent_at, 3),
                vec![1, 0, 1],
            ),
            name: padded,
        }
    }

    /// With a change.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Another modulus than the key's.
    #[must_use]
    pub fn with_modulus(self, modulus: &[u8]) -> Self {
        self.with(|subkey| {
            subkey.modulus.1 = modulus.to_vec();
            subkey.modulus.0.size = modulus.len() as u32;
            subkey.exponent.0.offset = subkey.modulus.0.offset + modulus.len() as u32;
        })
    }

    /// Signed by a key, with the name behind it.
    #[must_use]
    pub fn signed_by(&self, key: &KeyPair) -> Vec<u8> {
        let body = [
            self.header.as_bytes(),
            self.modulus.0.as_bytes(),
            self.exponent.0.as_bytes(),
            &self.modulus.1,
            &self.exponent.1,
        ];
        let signed = key.signed(img_type::SUBKEY, &[], &body.concat());
        [&signed[..], &self.name].concat()
    }
}
