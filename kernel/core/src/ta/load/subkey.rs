//! Subkeys: keys in an image that sign what follows, other subkeys or the TA, for UUIDs that derive from their own.
//!
//! Source: optee_os `core/include/signed_hdr.h`, `core/crypto/signed_hdr.c`.
//!
//! **Invariant:** a subkey is below the depth, of the UUID, and of a version not older than the one above and its past allow.

use crate::ta::load::image::{ImageBytes, Part, Refusal, Versioned};
use crate::ta::load::rsa::{EXPONENT, MAX_MODULUS_LEN, PublicKey};
use tally_abi::TeeUuid;
use tally_abi::image::ImageFault;
use tally_abi::shdr::{SubkeyAttribute, SubkeyHeader, algo, attribute};
use tally_crypto::symmetric::hash::{Algorithm, Hash};
use tally_mem::fallible::TryBox;

/// Most attributes of a key; an RSA key has two.
const MAX_ATTRIBUTES: usize = 8;
/// Bytes of the longest modulus with the zero in front of it that OP-TEE's script writes.
const MAX_MODULUS_FIELD: usize = MAX_MODULUS_LEN + 1;

/// A subkey whose signature holds.
pub(super) struct Subkey {
    pub(super) key: TryBox<PublicKey>,
    /// UUID of what it signs.
    pub(super) next: TeeUuid,
    /// What it signs has a smaller one, if it is a subkey.
    max_depth: u32,
}

impl Subkey {
    /// Reads a subkey that was signed as it should be, and the name behind it.
    pub(super) fn read<B: ImageBytes>(
        body: Part<'_, B>,
        rest: &mut Part<'_, B>,
        above: Option<&Self>,
        mut admit: impl FnMut(Versioned, TeeUuid, u32) -> Result<(), Refusal>,
    ) -> Result<Self, Refusal> {
        let mut fields = body.again();
        let header: SubkeyHeader = fields.value().ok_or(ImageFault::BadSubkey)?;
        let key = read_key(&header, &body, fields)?;
        let depth = above.map_or(u32::MAX, |above| above.max_depth);
        if header.max_depth >= depth {
            return Err(ImageFault::SubkeyDepth.into());
        }
        let uuid = TeeUuid::from_bytes(header.uuid);
        if above.is_some_and(|above| above.next != uuid) {
            return Err(ImageFault::NotOfSubkey.into());
        }
        let name = rest.split_off(header.name_size as usize);
        let name = name.ok_or(ImageFault::ShortImage)?;
        admit(Versioned::Subkey, uuid, header.subkey_version)?;
        Ok(Self {
            key,
            next: next_uuid(uuid, &name),
            max_depth: header.max_depth,
        })
    }
}

/// The public key that the attributes behind a header are.
fn read_key<B: ImageBytes>(
    header: &SubkeyHeader,
    body: &Part<'_, B>,
    mut fields: Part<'_, B>,
) -> Result<TryBox<PublicKey>, Refusal> {
    let mut attributes = [SubkeyAttribute::default(); MAX_ATTRIBUTES];
    let attributes = attributes.get_mut(..header.attr_count as usize);
    let attributes = attributes.ok_or(ImageFault::BadSubkey)?;
    for attribute in attributes.iter_mut() {
        *attribute = fields.value().ok_or(ImageFault::BadSubkey)?;
    }
    let value_of = |attribute: &SubkeyAttribute| {
        let mut value = body.again();
        value.split_off(attribute.offset as usize)?;
        value.split_off(attribute.size as usize)
    };
    if attributes.iter().any(|found| value_of(found).is_none()) {
        return Err(ImageFault::BadSubkey.into());
    }
    if header.algo & algo::MAIN_MASK != algo::MAIN_RSA {
        return Err(ImageFault::SubkeyKey.into());
    }
    let value = |id| {
        let found = attributes.iter().find(|found| found.id == id);
        found.and_then(value_of).ok_or(ImageFault::BadSubkey)
    };
    let mut field = [0; MAX_MODULUS_FIELD];
    if number(value(attribute::RSA_PUBLIC_EXPONENT)?, &mut field)? != EXPONENT {
        return Err(ImageFault::SubkeyKey.into());
    }
    let modulus = number(value(attribute::RSA_MODULUS)?, &mut field)?;
    let mut key = TryBox::new(PublicKey::NONE)?;
    let is_key = body.bytes.interruptible(|| key.set(modulus));
    is_key.then_some(key).ok_or(ImageFault::SubkeyKey.into())
}

/// A big-endian number without the zeros in front of it.
fn number<'t>(
    mut value: Part<'_, impl ImageBytes>,
    to: &'t mut [u8],
) -> Result<&'t [u8], ImageFault> {
    let field = to.get_mut(..value.left()).ok_or(ImageFault::SubkeyKey)?;
    value.copy(field).ok_or(ImageFault::BadSubkey)?;
    let zeros = field.iter().take_while(|byte| **byte == 0).count();
    Ok(&field[zeros..])
}

/// UUID of what a subkey signs: without a name its own, else of version 5 (RFC 9562 §5.5) in the name space of its own,
/// but with SHA-512. A name ends with its first zero.
fn next_uuid(uuid: TeeUuid, name: &Part<'_, impl ImageBytes>) -> TeeUuid {
    if name.left() == 0 {
        return uuid;
    }
    let mut hasher = Hash::new(Algorithm::Sha512);
    hasher.update(&uuid.to_bytes());
    let mut has_ended = false;
    name.pieces(|bytes| {
        let end = bytes.iter().position(|byte| *byte == 0);
        if !has_ended {
            hasher.update(&bytes[..end.unwrap_or(bytes.len())]);
        }
        has_ended |= end.is_some();
    });
    let mut bytes = [0; 16];
    hasher.finish(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x50;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    TeeUuid::from_bytes(bytes)
}
