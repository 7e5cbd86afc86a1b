//! Index of the directory: for each place a tag of whose entry it is, so that it need not be read to know that it is another's.
//!
//! **Invariant:** it is a cache: a place whose tag is right is read before anything is said of it.

use crate::directory::MAX_ID;
use alloc::vec::Vec;
use tally_crypto::symmetric::hash::{Algorithm, Hash};
use tally_mem::fallible::{self, HeapExhausted};

/// Bytes of a tag.
pub(crate) const TAG: usize = size_of::<u32>();

/// Part of a tag that is of the TA alone.
const TA: u32 = 0xfff0_0000;
/// Tag of a place that is free.
const FREE: u32 = 0;

/// The tags, by place. They are salted: a TA cannot choose ids so that many have one tag.
#[derive(Debug)]
pub(crate) struct Index {
    salt: [u8; 16],
    tags: Vec<u32>,
}

/// What is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    tag: u32,
    mask: u32,
}

impl Index {
    /// One that is empty, with room for so many places.
    pub(crate) fn new(salt: [u8; 16], places: usize) -> Result<Self, HeapExhausted> {
        Ok(Self {
            salt,
            tags: fallible::vec_with_capacity(places)?,
        })
    }

    fn hash(&self, ta: &[u8; 16], id: Option<&[u8; MAX_ID]>) -> u32 {
        let mut hash = Hash::new(Algorithm::Sha256);
        hash.update(&self.salt);
        hash.update(ta);
        hash.update(id.map_or(&[], |id| id));
        let mut digest = [0; 4];
        hash.finish(&mut digest);
        u32::from_le_bytes(digest)
    }

    /// A TA's object.
    #[inline(never)]
    pub(crate) fn object(&self, ta: &[u8; 16], id: &[u8; MAX_ID]) -> Wanted {
        let tag = self.any(ta).tag | self.hash(ta, Some(id)) & !TA;
        Wanted { tag, mask: !0 }
    }

    /// Any of a TA's objects.
    #[inline(never)]
    pub(crate) fn any(&self, ta: &[u8; 16]) -> Wanted {
        // Never that of a free place.
        let tag = (self.hash(ta, None) & TA).max(!TA + 1);
        Wanted { tag, mask: TA }
    }

    /// A place that is free.
    pub(crate) const fn free() -> Wanted {
        Wanted {
            tag: FREE,
            mask: !0,
        }
    }

    /// The first place from one on that may be what is wanted.
    pub(crate) fn next(&self, wanted: Wanted, from: u32) -> Option<u32> {
        let mut tags = self.tags.iter().skip(from as usize);
        let after = tags.position(|tag| tag & wanted.mask == wanted.tag)?;
        u32::try_from(from as usize + after).ok()
    }

    /// Enters what is at a place, at most the one behind the last one, or that it is free.
    pub(crate) fn set(&mut self, at: u32, object: Option<Wanted>) -> Result<(), HeapExhausted> {
        let tag = object.map_or(FREE, |object| object.tag);
        match self.tags.get_mut(at as usize) {
            Some(old) => *old = tag,
            None => {
                // What it grows by at a time is little: the limit is of all that it takes.
                if self.tags.len() == self.tags.capacity() {
                    let more = (self.tags.len() / 8).max(16);
                    self.tags
                        .try_reserve_exact(more)
                        .map_err(|_| HeapExhausted)?;
                }
                self.tags.push(tag);
            }
        }
        Ok(())
    }

    pub(crate) const fn entries(&self) -> usize {
        self.tags.len()
    }

    /// Bytes of the heap.
    pub(crate) const fn heap_bytes(&self) -> usize {
        self.tags.capacity() * TAG
    }
}
