//! Encodings of texts and digests as RSA's numbers: EMSA-PKCS1-v1_5, EMSA-PSS, EME-PKCS1-v1_5, EME-OAEP (RFC 8017).
//!
//! An `encoded` text is as long as the modulus.
//!
//! **Invariant:** what is wrong with a decrypted text does not show in the time that it takes (Bleichenbacher, Manger).

use super::{Error, MAX_DRAWS, Random, Result};
use crate::symmetric::hash::Algorithm as Hash;
use crypto_bigint::Choice;

/// Bytes around a message in EME-PKCS1-v1_5.
pub const PKCS1_OVERHEAD: usize = 11;

/// `DigestInfo` up to the digest (RFC 8017 §9.2 note 1).
fn digest_info(hash: Hash) -> Result<&'static [u8]> {
    Ok(match hash {
        Hash::Md5 => b"\x30\x20\x30\x0c\x06\x08\x2a\x86\x48\x86\xf7\x0d\x02\x05\x05\x00\x04\x10",
        Hash::Sha1 => b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14",
        Hash::Sha224 => {
            b"\x30\x2d\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x04\x05\x00\x04\x1c"
        }
        Hash::Sha256 => {
            b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
        }
        Hash::Sha384 => {
            b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30"
        }
        Hash::Sha512 => {
            b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40"
        }
        Hash::Sha3_224 => {
            b"\x30\x2d\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x07\x05\x00\x04\x1c"
        }
        Hash::Sha3_256 => {
            b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x08\x05\x00\x04\x20"
        }
        Hash::Sha3_384 => {
            b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x09\x05\x00\x04\x30"
        }
        Hash::Sha3_512 => {
            b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x0a\x05\x00\x04\x40"
        }
        Hash::Sm3 | Hash::Shake128 | Hash::Shake256 => return Err(Error::Length),
    })
}

/// The parts of EMSA-PKCS1-v1_5's end; without a hash the digest says itself what it is.
fn signed(hash: Option<Hash>, digest: &[u8]) -> Result<&'static [u8]> {
    match hash {
        None => Ok(&[]),
        Some(hash) if hash.bytes() == digest.len() => digest_info(hash),
        Some(_) => Err(Error::Length),
    }
}

/// EMSA-PKCS1-v1_5.
///
/// # Errors
/// [`Error::Length`].
pub fn encode_pkcs1(hash: Option<Hash>, digest: &[u8], encoded: &mut [u8]) -> Result<()> {
    let info = signed(hash, digest)?;
    let padding = encoded.len().checked_sub(digest.len() + info.len() + 3);
    let padding = padding.filter(|len| *len >= 8).ok_or(Error::Length)?;
    let (head, text) = encoded.split_at_mut(padding + 3);
    head.fill(0xff);
    head[0] = 0;
    head[1] = 1;
    head[padding + 2] = 0;
    let (info_room, digest_room) = text.split_at_mut(info.len());
    info_room.copy_from_slice(info);
    digest_room.copy_from_slice(digest);
    Ok(())
}

/// Compares with the one valid encoding.
///
/// # Errors
/// [`Error::Signature`], [`Error::Length`].
pub fn verify_pkcs1(hash: Option<Hash>, digest: &[u8], encoded: &[u8]) -> Result<()> {
    let info = signed(hash, digest)?;
    let padding = encoded.len().checked_sub(digest.len() + info.len() + 3);
    let padding = padding.filter(|len| *len >= 8).ok_or(Error::Length)?;
    let (head, text) = encoded.split_at(padding + 3);
    let (info_there, digest_there) = text.split_at(info.len());
    let [0, 1, padding @ .., 0] = head else {
        return Err(Error::Signature);
    };
    if padding.iter().all(|byte| *byte == 0xff) && info_there == info && digest_there == digest {
        Ok(())
    } else {
        Err(Error::Signature)
    }
}

/// MGF1 (RFC 8017 §B.2.1): adds the mask made of `seed`.
fn mask(hash: Hash, seed: &[u8], to: &mut [u8]) {
    for (counter, chunk) in (0_u32..).zip(to.chunks_mut(hash.bytes())) {
        let mask = hash.of(&[seed, &counter.to_be_bytes()]);
        for (byte, mask) in chunk.iter_mut().zip(mask.iter()) {
            *byte ^= mask;
        }
    }
}

/// Hashes of a PSS signature or of OAEP.
#[derive(Clone, Copy, Debug)]
pub struct Hashes {
    /// Of the message or the label.
    pub hash: Hash,
    /// Of the mask.
    pub mask: Hash,
}

/// The part of an encoded text that PSS uses, which is a bit shorter than the modulus, and the bits of its first byte that it uses.
const fn pss_part(modulus_bits: usize) -> (usize, u8) {
    let bits = modulus_bits - 1;
    let unused = 8 * bits.div_ceil(8) - bits;
    (bits.div_ceil(8), 0xff >> unused)
}

/// EMSA-PSS with a random salt.
///
/// # Errors
/// [`Error::Length`].
pub fn encode_pss(
    hashes: Hashes,
    digest: &[u8],
    salt_len: usize,
    modulus_bits: usize,
    random: &mut impl Random,
    encoded: &mut [u8],
) -> Result<()> {
    let hash_len = hashes.hash.bytes();
    let (len, first_bits) = pss_part(modulus_bits);
    let above = encoded.len().checked_sub(len).ok_or(Error::Length)?;
    let (above, encoded) = encoded.split_at_mut(above);
    above.fill(0);
    let needed = salt_len
        .checked_add(hash_len + 2)
        .filter(|needed| *needed <= len);
    if needed.is_none() || digest.len() != hash_len {
        return Err(Error::Length);
    }
    let (block, rest) = encoded.split_at_mut(len - hash_len - 1);
    let (padding, salt) = block.split_at_mut(block.len() - salt_len);
    padding.fill(0);
    padding[padding.len() - 1] = 1;
    random.fill(salt);
    let hash = hashes.hash.of(&[&[0; 8], digest, salt]);
    rest[..hash_len].copy_from_slice(&hash);
    rest[hash_len] = 0xbc;
    mask(hashes.mask, &hash, block);
    block[0] &= first_bits;
    Ok(())
}

/// EMSA-PSS; without `salt_len` of any length. Overwrites `encoded`.
///
/// # Errors
/// [`Error::Signature`], [`Error::Length`].
pub fn verify_pss(
    hashes: Hashes,
    digest: &[u8],
    salt_len: Option<usize>,
    modulus_bits: usize,
    encoded: &mut [u8],
) -> Result<()> {
    let hash_len = hashes.hash.bytes();
    let (len, first_bits) = pss_part(modulus_bits);
    let above = encoded.len().checked_sub(len).ok_or(Error::Length)?;
    let (above, encoded) = encoded.split_at_mut(above);
    if len < hash_len + 2 || digest.len() != hash_len {
        return Err(Error::Length);
    }
    let (block, rest) = encoded.split_at_mut(len - hash_len - 1);
    let (hash, end) = rest.split_at(hash_len);
    if above.iter().any(|byte| *byte != 0) || end != [0xbc] || block[0] & !first_bits != 0 {
        return Err(Error::Signature);
    }
    mask(hashes.mask, hash, block);
    block[0] &= first_bits;
    let one = block
        .iter()
        .position(|byte| *byte != 0)
        .filter(|at| block[*at] == 1);
    let salt = &block[one.ok_or(Error::Signature)? + 1..];
    let is_long = salt_len.is_none_or(|len| len == salt.len());
    if is_long && *hashes.hash.of(&[&[0; 8], digest, salt]) == *hash {
        Ok(())
    } else {
        Err(Error::Signature)
    }
}

/// EME-PKCS1-v1_5.
///
/// # Errors
/// [`Error::Length`] if the message is too long.
pub fn pad_pkcs1(message: &[u8], random: &mut impl Random, encoded: &mut [u8]) -> Result<()> {
    let padding = encoded.len().checked_sub(message.len() + 3);
    let padding = padding.filter(|len| *len >= 8).ok_or(Error::Length)?;
    let (head, text) = encoded.split_at_mut(padding + 3);
    text.copy_from_slice(message);
    let [zero, two, padding @ .., end] = head else {
        return Err(Error::Length);
    };
    (*zero, *two, *end) = (0, 2, 0);
    random.fill(padding);
    for byte in padding {
        for _ in 0..MAX_DRAWS {
            if *byte != 0 {
                break;
            }
            random.fill(core::slice::from_mut(byte));
        }
        if *byte == 0 {
            return Err(Error::Random);
        }
    }
    Ok(())
}

/// The message in an encoded text of EME-PKCS1-v1_5.
///
/// # Errors
/// [`Error::Padding`].
pub fn unpad_pkcs1(encoded: &[u8]) -> Result<&[u8]> {
    let [zero, two, text @ ..] = encoded else {
        return Err(Error::Padding);
    };
    let (end, found) = first(text, 0);
    let is_padded = Choice::from_u8_eq(*zero, 0)
        .and(Choice::from_u8_eq(*two, 2))
        .and(found)
        .and(Choice::from_u32_le(8, end));
    message(text, end, is_padded)
}

/// Where the first byte is that is `byte`, and whether there is one.
fn first(text: &[u8], byte: u8) -> (u32, Choice) {
    let (mut at, mut found) = (0, Choice::FALSE);
    for (n, other) in (0_u32..).zip(text) {
        let is_first = Choice::from_u8_eq(*other, byte).and(found.not());
        at = is_first.select_u32(at, n);
        found = found.or(is_first);
    }
    (at, found)
}

/// What is behind the byte at `end`. Whoever asks learns whether it is there, and how long it is.
fn message(text: &[u8], end: u32, is_there: Choice) -> Result<&[u8]> {
    if !is_there.to_bool() {
        return Err(Error::Padding);
    }
    text.get(end as usize + 1..).ok_or(Error::Padding)
}

/// EME-OAEP.
///
/// # Errors
/// [`Error::Length`] if the message is too long.
pub fn pad_oaep(
    hashes: Hashes,
    label: &[u8],
    message: &[u8],
    random: &mut impl Random,
    encoded: &mut [u8],
) -> Result<()> {
    let hash_len = hashes.hash.bytes();
    let padding = encoded.len().checked_sub(message.len());
    let padding = padding
        .and_then(|len| len.checked_sub(2 * hash_len + 2))
        .ok_or(Error::Length)?;
    let (zero, rest) = encoded.split_at_mut(1);
    let (seed, block) = rest.split_at_mut(hash_len);
    zero.fill(0);
    random.fill(seed);
    let (head, text) = block.split_at_mut(hash_len + padding + 1);
    head.fill(0);
    head[..hash_len].copy_from_slice(&hashes.hash.of(&[label]));
    head[hash_len + padding] = 1;
    text.copy_from_slice(message);
    mask(hashes.mask, seed, block);
    mask(hashes.mask, block, seed);
    Ok(())
}

/// The message in an encoded text of EME-OAEP, which is overwritten.
///
/// # Errors
/// [`Error::Padding`].
pub fn unpad_oaep<'e>(hashes: Hashes, label: &[u8], encoded: &'e mut [u8]) -> Result<&'e [u8]> {
    let hash_len = hashes.hash.bytes();
    if encoded.len() < 2 * hash_len + 2 {
        return Err(Error::Padding);
    }
    let (zero, rest) = encoded.split_at_mut(1);
    let (seed, block) = rest.split_at_mut(hash_len);
    mask(hashes.mask, block, seed);
    mask(hashes.mask, seed, block);
    let (label_hash, text) = block.split_at(hash_len);
    let expected = hashes.hash.of(&[label]);
    let pairs = label_hash.iter().zip(expected.iter());
    let different = pairs.fold(zero[0], |bits, (x, y)| bits | (x ^ y));
    // The first that is not 0 must be 1.
    let (mut end, mut found, mut is_padded) = (0, Choice::FALSE, Choice::from_u8_eq(different, 0));
    for (n, byte) in (0_u32..).zip(text) {
        let is_end = Choice::from_u8_eq(*byte, 0).or(found).not();
        end = is_end.select_u32(end, n);
        is_padded = is_padded.and(is_end.not().or(Choice::from_u8_eq(*byte, 1)));
        found = found.or(is_end);
    }
    message(text, end, is_padded.and(found))
}
