//! Fuzz entry points of the loader.
//!
//! **Invariant:** exercises all code that reads an image.
extern crate alloc;

use crate::{Extent, ImageFault, Protection, System, load, open, plan, symbol};
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use tally_abi::TeeUuid;

/// Most bytes that one run maps.
const MAX_MAPPED: u64 = 16 << 20;

/// Plans and applies `data`, whose first 16 bytes are the UUID asked for; then links it with itself as every library.
/// Whether it loads so, and has a link map.
///
/// # Panics
/// When a plan breaks one of its promises: that is a bug.
pub fn fuzz(data: &[u8]) -> bool {
    let Some((uuid, image)) = data.split_first_chunk::<16>() else {
        return false;
    };
    let uuid = TeeUuid::from_bytes(*uuid);
    if let Ok(plan) = plan(image, uuid) {
        let mut end = 0;
        for segment in plan.segments() {
            assert!(segment.address >= end && segment.end() <= plan.span);
            end = segment.end();
        }
        for pages in plan.protections() {
            assert!(pages.len > 0 && pages.address + pages.len <= plan.span);
        }
        let checked = plan.check_relocations();
        let mut memory = vec![0; plan.span as usize];
        assert_eq!(plan.apply(&mut memory, 1 << 30).is_ok(), checked.is_ok());
    }
    let mut memory = Memory {
        image,
        mapped: BTreeMap::new(),
        next: 0,
        bytes: 0,
    };
    let Ok(loaded) = load(&mut memory, image, uuid) else {
        return false;
    };
    assert!(memory.mapped[&loaded.base].len() as u64 == loaded.span);
    // Nothing of the TA's memory is read in place: a run that opens a library later looks at copies of nothing.
    let none = Extent::default();
    assert!(symbol(&memory, none, None, b"ta_head").is_err());
    let _ = open(&mut memory, none, uuid);
    loaded.link_map.len != 0
}

/// A TA's memory, with one file for all libraries.
struct Memory<'a> {
    image: &'a [u8],
    mapped: BTreeMap<u64, Vec<u8>>,
    next: u64,
    bytes: u64,
}

impl<'a> System<'a> for Memory<'a> {
    type Error = ImageFault;

    fn concerns(&mut self, _: TeeUuid) {}

    fn open(&mut self, _: TeeUuid) -> Result<&'a [u8], ImageFault> {
        Ok(self.image)
    }

    fn map(&mut self, len: u64) -> Result<u64, ImageFault> {
        self.bytes += len;
        if self.bytes > MAX_MAPPED {
            return Err(ImageFault::TooBig);
        }
        self.next += 1 << 30;
        self.mapped.insert(self.next, vec![0; len as usize]);
        Ok(self.next)
    }

    fn memory(&mut self, address: u64, len: u64) -> &mut [u8] {
        let bytes = self.mapped.get_mut(&address);
        let bytes = bytes.expect("what was mapped as a whole");
        assert_eq!(bytes.len() as u64, len);
        bytes
    }

    fn protect(&mut self, base: u64, pages: Protection) -> Result<(), ImageFault> {
        assert!(pages.address + pages.len <= self.mapped[&base].len() as u64);
        Ok(())
    }

    fn unmap(&mut self, address: u64, _: u64) -> Result<(), ImageFault> {
        self.mapped.remove(&address);
        Ok(())
    }

    fn look(&self, _: Extent) -> &'a [u8] {
        &[]
    }

    fn read(&mut self, address: u64) -> [u8; 16] {
        let (base, bytes) = self.mapped.range(..=address).next_back().expect("mapped");
        let at = (address - base) as usize;
        *bytes[at..].first_chunk().expect("all of the record")
    }

    fn write(&mut self, address: u64, record: [u8; 16]) {
        let found = self.mapped.range_mut(..=address).next_back();
        let (base, bytes) = found.expect("mapped");
        let at = (address - base) as usize;
        bytes[at..at + record.len()].copy_from_slice(&record);
    }
}
