//! Attributes of an object as they lie in its file.
//!
//! Source: optee_os `core/tee/tee_svc_cryp.c`, `tee_obj_attr_{to,from}_binary`.
//!
//! Each attribute of the type, whether the object has it or not: a value as 32 bits, others as their length in 32 bits and their
//! bytes, all big-endian.

use super::object::Object;
use super::rules::{Attribute, Form, Rules};
use tally_abi::TeeResult;

/// Bytes of a length, or of a value.
const WORD: usize = size_of::<u32>();

/// Most bytes of an object's attributes.
#[must_use]
pub fn most_bytes(rules: &Rules, max_bits: u32) -> usize {
    let all = rules.attributes.iter();
    let bytes = |attribute: &Attribute| WORD + attribute.room(rules, max_bits);
    all.map(bytes).sum()
}

impl Object {
    /// Bytes of its attributes.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        let all = self.rules.attributes.iter();
        all.map(|attribute| WORD + self.bytes_behind(attribute))
            .sum()
    }

    /// Bytes of an attribute behind its first word.
    fn bytes_behind(&self, attribute: &Attribute) -> usize {
        match attribute.form {
            Form::Value => 0,
            Form::Key(bytes) => bytes,
            Form::Secret | Form::Number => self.attribute(attribute.id).map_or(0, <[u8]>::len),
        }
    }

    /// Attributes that it has, a bit each.
    #[must_use]
    pub fn stored_set(&self) -> u32 {
        let all = self.rules.attributes.iter().enumerate();
        let has = all.filter(|(_, attribute)| self.attribute(attribute.id).is_some());
        has.fold(0, |bits, (at, _)| bits | 1 << at)
    }

    /// Writes its attributes into so many bytes, which are zeros.
    pub fn store(&self, mut to: &mut [u8]) {
        for attribute in self.rules.attributes {
            let len = self.bytes_behind(attribute);
            let word = match attribute.form {
                Form::Value => self.value(attribute.id).unwrap_or(0),
                Form::Secret | Form::Number | Form::Key(_) => len as u32,
            };
            let Some((first, rest)) = to.split_at_mut_checked(WORD) else {
                return;
            };
            first.copy_from_slice(&word.to_be_bytes());
            let Some((place, rest)) = rest.split_at_mut_checked(len) else {
                return;
            };
            if let Some(bytes) = self.attribute(attribute.id)
                && let Some(place) = place.get_mut(..bytes.len())
                && attribute.form != Form::Value
            {
                place.copy_from_slice(bytes);
            }
            to = rest;
        }
    }

    /// Takes its attributes over, those of this set.
    ///
    /// # Errors
    /// `CORRUPT_OBJECT`: they are not those of such an object.
    pub fn restore(&mut self, mut from: &[u8], set: u32) -> Result<(), TeeResult> {
        const CORRUPT: TeeResult = TeeResult::CORRUPT_OBJECT;
        let attributes: &'static [Attribute] = self.rules.attributes;
        for (at, attribute) in attributes.iter().enumerate() {
            let (word, rest) = from.split_first_chunk::<WORD>().ok_or(CORRUPT)?;
            let word = u32::from_be_bytes(*word);
            let value = word.to_le_bytes();
            let bytes = match attribute.form {
                Form::Value => &value[..],
                Form::Secret | Form::Number | Form::Key(_) => {
                    rest.get(..word as usize).ok_or(CORRUPT)?
                }
            };
            from = match attribute.form {
                Form::Value => rest,
                Form::Secret | Form::Number | Form::Key(_) => {
                    rest.get(word as usize..).unwrap_or_default()
                }
            };
            if set & 1 << at != 0 {
                self.set(attribute.id, bytes).map_err(|_| CORRUPT)?;
            }
        }
        Ok(())
    }
}
