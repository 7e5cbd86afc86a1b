//! Objects, transient and persistent: keys and other secrets of a TA, attribute by attribute.
//!
//! **Invariant:** room for every attribute that it may have is there from the beginning, so that nothing that becomes of it
//! needs memory; it is zeroed when it goes.

use super::rules::{Attribute, Form, Generation, MAX_ATTRIBUTES, Rules};
use crate::ta::storage::objects::Handle;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use tally_abi::TeeResult;
use tally_abi::crypto::{
    UteeAttribute, UteeObjectInfo, attribute, curve, handle_flag, object_type, usage,
};
use tally_mem::fallible::{HeapExhausted, TryBox, vec_with_capacity};
use zeroize::Zeroize;

/// An object.
pub struct Object {
    /// What it may have.
    pub rules: &'static Rules,
    /// Bits that its key may have.
    pub max_bits: u32,
    /// Bits of its key.
    pub bits: u32,
    /// What it may be used for ([`usage`]).
    pub usage: u32,
    /// It has its attributes.
    pub is_initialized: bool,
    /// It is the key of a state, and nobody else's.
    pub is_busy: bool,
    /// Where it is in storage, if it is.
    pub storage: Option<TryBox<Handle>>,
    /// Bytes of each attribute that it has.
    lens: [Option<u16>; MAX_ATTRIBUTES],
    /// All of them, each where its room is.
    bytes: Vec<u8>,
}

impl Object {
    /// One without attributes.
    ///
    /// # Errors
    /// `NOT_SUPPORTED`: no such type, or not of this size; `OUT_OF_MEMORY`.
    pub fn new(object_type: u32, max_bits: u64) -> Result<Self, TeeResult> {
        let rules = Rules::of(object_type).ok_or(TeeResult::NOT_SUPPORTED)?;
        let max_bits = rules.check_size(max_bits)?;
        Self::with_room(rules, max_bits).map_err(TeeResult::from)
    }

    fn with_room(rules: &'static Rules, max_bits: u32) -> Result<Self, HeapExhausted> {
        let room = rules.attributes.iter();
        let room = room.map(|attribute| attribute.room(rules, max_bits)).sum();
        let mut bytes = vec_with_capacity(room)?;
        bytes.resize(room, 0);
        Ok(Self {
            rules,
            max_bits,
            bits: 0,
            usage: usage::ALL,
            is_initialized: false,
            is_busy: false,
            storage: None,
            lens: [None; MAX_ATTRIBUTES],
            bytes,
        })
    }

    /// Bytes of the heap that it takes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let storage = self.storage.as_ref();
        let storage = storage.map_or(0, |handle| handle.heap_bytes());
        size_of::<Self>() + self.bytes.len() + storage
    }

    /// What a TA may know of it. What handles of a persistent object share is not here.
    #[must_use]
    pub fn info(&self) -> UteeObjectInfo {
        let (flags, position) = match &self.storage {
            Some(handle) => (handle.flags | handle_flag::PERSISTENT, handle.position),
            None => (0, 0),
        };
        UteeObjectInfo {
            object_type: self.rules.object_type,
            size_bits: self.bits,
            max_size_bits: self.max_bits,
            usage: self.usage,
            data_bytes: 0,
            data_position: u32::try_from(position).unwrap_or(u32::MAX),
            flags: if self.is_initialized {
                flags | handle_flag::INITIALIZED
            } else {
                flags
            },
        }
    }

    fn room(&self, at: usize) -> Range<usize> {
        let before = self.rules.attributes.get(..at).unwrap_or_default();
        let room = |attribute: &Attribute| attribute.room(self.rules, self.max_bits);
        let start = before.iter().map(room).sum();
        let len = self.rules.attributes.get(at).map_or(0, room);
        start..start + len
    }

    /// An attribute's bytes: a number's without zeros before it, a value's little-endian.
    #[must_use]
    pub fn attribute(&self, id: u32) -> Option<&[u8]> {
        let at = self.rules.find(id)?;
        let len = usize::from((*self.lens.get(at)?)?);
        self.bytes.get(self.room(at))?.get(..len)
    }

    /// An attribute that is a value.
    #[must_use]
    pub fn value(&self, id: u32) -> Option<u32> {
        let bytes = self.attribute(id)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The secret, of one that has nothing else.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        let first = self.rules.attributes.first();
        let secret = first.and_then(|attribute| self.attribute(attribute.id));
        secret.unwrap_or_default()
    }

    /// Sets an attribute: for a number, zeros before it go.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`: it has none of this name; `BAD_PARAMETERS`: no room for it.
    pub fn set(&mut self, id: u32, bytes: &[u8]) -> Result<(), TeeResult> {
        let at = self.rules.find(id).ok_or(TeeResult::ITEM_NOT_FOUND)?;
        let zeros = match self.rules.attributes[at].form {
            Form::Number => bytes.iter().take_while(|byte| **byte == 0).count(),
            Form::Secret | Form::Value | Form::Key(_) => 0,
        };
        let bytes = &bytes[zeros..];
        let room = self.room(at);
        let room = self.bytes.get_mut(room).unwrap_or_default();
        let place = room.get_mut(..bytes.len());
        place
            .ok_or(TeeResult::BAD_PARAMETERS)?
            .copy_from_slice(bytes);
        self.lens[at] = Some(bytes.len() as u16);
        Ok(())
    }

    /// Room for the secret, of one that has nothing else.
    #[must_use]
    pub const fn secret_room(&self) -> usize {
        self.bytes.len()
    }

    /// Sets the secret that it is.
    ///
    /// # Errors
    /// `BAD_PARAMETERS`: no room for it.
    pub fn set_secret(&mut self, secret: &[u8]) -> Result<(), TeeResult> {
        self.set(attribute::SECRET_VALUE, secret)?;
        self.is_initialized = true;
        Ok(())
    }

    /// Has `fill` write a secret of so many bytes.
    ///
    /// # Errors
    /// `EXCESS_DATA`: no room for it.
    pub fn fill_secret(
        &mut self,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), TeeResult> {
        fill(self.bytes.get_mut(..bytes).ok_or(TeeResult::EXCESS_DATA)?);
        self.lens[0] = Some(bytes as u16);
        Ok(())
    }

    /// Forgets its attributes.
    pub fn reset(&mut self) {
        self.bytes[..].zeroize();
        self.lens = [None; MAX_ATTRIBUTES];
        self.bits = 0;
        self.usage = usage::ALL;
        self.is_initialized = false;
    }

    /// Sets its attributes, which were checked ([`check_attributes`]), from a TA's memory. It has none if one is refused.
    ///
    /// # Errors
    /// `SECURITY`, `BAD_STATE`, `BAD_PARAMETERS`, `NOT_SUPPORTED`: one is too large, or of no allowed size; that of `read`.
    pub fn populate(
        &mut self,
        given: &[UteeAttribute],
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), TeeResult>,
    ) -> Result<(), TeeResult> {
        let mut bits = 0;
        for one in given {
            let populated = self
                .set_from(one, &mut read)
                .and_then(|()| self.size_told_by(one));
            match populated {
                Ok(told) => bits = told.unwrap_or(bits),
                Err(err) => {
                    self.bytes[..].zeroize();
                    self.lens = [None; MAX_ATTRIBUTES];
                    return Err(err);
                }
            }
        }
        self.bits = bits;
        self.is_initialized = true;
        Ok(())
    }

    fn set_from(
        &mut self,
        given: &UteeAttribute,
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), TeeResult>,
    ) -> Result<(), TeeResult> {
        let at = self.rules.find(given.id).ok_or(TeeResult::ITEM_NOT_FOUND)?;
        let form = self.rules.attributes[at].form;
        let room = self.room(at);
        let (mut from, mut len) = (given.a, given.b);
        match form {
            Form::Value => return self.set(given.id, &(given.a as u32).to_le_bytes()),
            Form::Secret if len > self.rules.secret_bytes as u64 => {
                return Err(TeeResult::SECURITY);
            }
            Form::Key(bytes) if len != bytes as u64 => return Err(TeeResult::SECURITY),
            Form::Number if len > 2 * room.len() as u64 => return Err(TeeResult::BAD_PARAMETERS),
            Form::Secret | Form::Key(_) | Form::Number => {}
        }
        // Zeros before a number may be more than there is room for.
        while len > room.len() as u64 {
            let mut byte = [0];
            read(from, &mut byte)?;
            if byte != [0] {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            (from, len) = (from + 1, len - 1);
        }
        let bytes = &mut self.bytes[room][..len as usize];
        read(from, bytes)?;
        if form == Form::Number {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes.copy_within(zeros.., 0);
            len -= zeros as u64;
        }
        self.lens[at] = Some(len as u16);
        Ok(())
    }

    /// The size that an attribute tells.
    fn size_told_by(&self, given: &UteeAttribute) -> Result<Option<u32>, TeeResult> {
        let at = self.rules.find(given.id).ok_or(TeeResult::ITEM_NOT_FOUND)?;
        let rule = &self.rules.attributes[at];
        if rule.is_limited && number_bits(self.attribute(given.id)) > self.max_bits as usize {
            return Err(TeeResult::BAD_STATE);
        }
        if !rule.is_size {
            return Ok(None);
        }
        let bits = match given.id {
            attribute::ECC_CURVE => u64::from(curve_bits(given.a as u32)?),
            _ => {
                let bits = given.b.saturating_mul(8);
                let parity = self.rules.is_without_parity(self.max_bits);
                if parity { bits - bits / 8 } else { bits }
            }
        };
        if bits > u64::from(self.max_bits) {
            return Err(TeeResult::BAD_STATE);
        }
        let bits = self.rules.check_size(bits);
        Ok(Some(bits.map_err(|_| TeeResult::BAD_PARAMETERS)?))
    }

    /// Takes over the attributes of another object: all of them, or a pair's public ones.
    ///
    /// # Errors
    /// `BAD_PARAMETERS`: the types do not fit; `BAD_STATE`: no room.
    pub fn copy_from(&mut self, from: &Self) -> Result<(), TeeResult> {
        if from.rules.object_type != self.rules.object_type
            && public_of(from.rules.object_type) != Some(self.rules.object_type)
        {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        for attribute in self.rules.attributes {
            let Some(bytes) = from.attribute(attribute.id) else {
                continue;
            };
            if self.set(attribute.id, bytes).is_err() {
                self.bytes[..].zeroize();
                self.lens = [None; MAX_ATTRIBUTES];
                return Err(TeeResult::BAD_STATE);
            }
        }
        self.is_initialized = true;
        self.bits = from.bits;
        self.usage = from.usage;
        Ok(())
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        self.bytes[..].zeroize();
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info().fmt(f)
    }
}

/// What attributes are given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be an object's.
    Populate,
    /// To make a key by.
    Generate,
}

/// Confirms that these are the attributes that an object of this type needs, each once.
///
/// # Errors
/// `ITEM_NOT_FOUND`.
pub fn check_attributes(
    rules: &Rules,
    purpose: Purpose,
    given: &[UteeAttribute],
) -> Result<(), TeeResult> {
    let is_required = |attribute: &Attribute| match purpose {
        Purpose::Populate => attribute.is_required,
        Purpose::Generate => attribute.generation == Generation::Required,
    };
    let is_optional = |attribute: &Attribute| match purpose {
        Purpose::Populate => attribute.is_in_group,
        Purpose::Generate => attribute.generation == Generation::Optional,
    };
    let mut found = [false; MAX_ATTRIBUTES];
    for one in given {
        let at = rules.find(one.id).ok_or(TeeResult::ITEM_NOT_FOUND)?;
        let rule = &rules.attributes[at];
        if found[at] || !(is_required(rule) || is_optional(rule)) {
            return Err(TeeResult::ITEM_NOT_FOUND);
        }
        found[at] = true;
    }
    let with_found = || rules.attributes.iter().zip(found);
    let is_whole = with_found().all(|(rule, found)| found || !is_required(rule));
    let mut group = with_found().filter(|(rule, _)| rule.is_in_group);
    let first = group.next().is_some_and(|(_, found)| found);
    let is_even = purpose == Purpose::Generate || group.all(|(_, found)| found == first);
    (is_whole && is_even)
        .then_some(())
        .ok_or(TeeResult::ITEM_NOT_FOUND)
}

/// Bits of a number without zeros before it.
#[must_use]
pub fn number_bits(number: Option<&[u8]>) -> usize {
    match number.unwrap_or_default() {
        [] => 0,
        all @ [first, ..] => 8 * all.len() - first.leading_zeros() as usize,
    }
}

/// Bits of a curve's numbers.
const fn curve_bits(which: u32) -> Result<u32, TeeResult> {
    Ok(match which {
        curve::NIST_P192 => 192,
        curve::NIST_P224 => 224,
        curve::NIST_P256 | curve::SM2 | curve::CURVE_25519 => 256,
        curve::NIST_P384 => 384,
        curve::NIST_P521 => 521,
        _ => return Err(TeeResult::NOT_SUPPORTED),
    })
}

/// The type of a pair's public half.
const fn public_of(pair: u32) -> Option<u32> {
    Some(match pair {
        object_type::RSA_KEYPAIR => object_type::RSA_PUBLIC_KEY,
        object_type::DSA_KEYPAIR => object_type::DSA_PUBLIC_KEY,
        object_type::ECDSA_KEYPAIR => object_type::ECDSA_PUBLIC_KEY,
        object_type::ECDH_KEYPAIR => object_type::ECDH_PUBLIC_KEY,
        object_type::SM2_DSA_KEYPAIR => object_type::SM2_DSA_PUBLIC_KEY,
        object_type::SM2_PKE_KEYPAIR => object_type::SM2_PKE_PUBLIC_KEY,
        object_type::SM2_KEP_KEYPAIR => object_type::SM2_KEP_PUBLIC_KEY,
        object_type::ED25519_KEYPAIR => object_type::ED25519_PUBLIC_KEY,
        object_type::X25519_KEYPAIR => object_type::X25519_PUBLIC_KEY,
        object_type::X448_KEYPAIR => object_type::X448_PUBLIC_KEY,
        _ => return None,
    })
}
