//! Memory that the secure world reads and writes while this world looks: pages of atomic words.
//!
//! **Invariant:** every access is a relaxed atomic one inside the buffer's bounds, so the other
//! world can change what is read, and nothing else.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use tally_abi::msg::{PAGE_LIST_ENTRIES, PAGE_SIZE};

const WORDS: usize = PAGE_SIZE / 8;

/// One page of 4 KiB.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Page([AtomicU64; WORDS]);

impl Page {
    const fn zeroed() -> Self {
        Self([const { AtomicU64::new(0) }; WORDS])
    }
}

/// Whole pages, contiguous in this world's address space.
#[derive(Debug)]
pub struct Pages(Box<[Page]>);

impl Pages {
    /// Allocates `n` zeroed pages; `None` if there is no memory.
    #[must_use]
    pub fn allocate(n: usize) -> Option<Self> {
        let mut pages = Vec::new();
        pages.try_reserve_exact(n).ok()?;
        pages.resize_with(n, Page::zeroed);
        Some(Self(pages.into_boxed_slice()))
    }

    /// Size in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len() * PAGE_SIZE
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Address of the first byte in this world.
    #[must_use]
    pub fn address(&self) -> usize {
        self.0.as_ptr().expose_provenance()
    }

    fn word(&self, index: usize) -> Option<&AtomicU64> {
        self.0.get(index / WORDS)?.0.get(index % WORDS)
    }

    /// Word at byte offset `8 * index`; 0 beyond the end.
    #[must_use]
    pub fn get(&self, index: usize) -> u64 {
        self.word(index)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Writes the word at byte offset `8 * index`; nothing beyond the end.
    pub fn set(&self, index: usize, value: u64) {
        if let Some(word) = self.word(index) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Copies bytes out; zero beyond the end.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        let mut at = offset;
        let mut rest = to;
        while !rest.is_empty() {
            let (index, skip) = (at / 8, at % 8);
            let n = rest.len().min(8 - skip);
            let (now, later) = rest.split_at_mut(n);
            now.copy_from_slice(&self.get(index).to_le_bytes()[skip..skip + n]);
            rest = later;
            at += n;
        }
    }

    /// Copies bytes in; nothing beyond the end.
    pub fn write(&self, offset: usize, from: &[u8]) {
        let mut at = offset;
        let mut rest = from;
        while !rest.is_empty() {
            let (index, skip) = (at / 8, at % 8);
            let n = rest.len().min(8 - skip);
            let (now, later) = rest.split_at(n);
            let mut word = if n == 8 {
                [0; 8]
            } else {
                self.get(index).to_le_bytes()
            };
            word[skip..skip + n].copy_from_slice(now);
            self.set(index, u64::from_le_bytes(word));
            rest = later;
            at += n;
        }
    }
}

/// A list of pages as `optee_msg.h` has it: pages of 511 addresses and a link to the next one.
#[derive(Debug)]
pub struct PageList {
    pages: Pages,
    physical: u64,
    offset: u64,
}

impl PageList {
    /// Lists `addresses` (physical, page-aligned) for a buffer that begins `offset` bytes into the
    /// first one. `physical` translates an address of this world. `None` if there is no memory.
    #[must_use]
    pub fn build(
        addresses: impl ExactSizeIterator<Item = u64>,
        offset: u64,
        physical: impl Fn(usize) -> u64,
    ) -> Option<Self> {
        let n_lists = addresses.len().div_ceil(PAGE_LIST_ENTRIES).max(1);
        let pages = Pages::allocate(n_lists)?;
        let base = physical(pages.address());
        let (mut list, mut entry) = (0, 0);
        for address in addresses {
            if entry == PAGE_LIST_ENTRIES {
                list += 1;
                entry = 0;
                let next = base + (list * PAGE_SIZE) as u64;
                pages.set(list * WORDS - 1, next);
            }
            pages.set(list * WORDS + entry, address);
            entry += 1;
        }
        Some(Self {
            pages,
            physical: base,
            offset,
        })
    }

    /// Lists the pages of `len` bytes at `address`, contiguous in this world.
    #[must_use]
    pub fn of_range(address: usize, len: usize, physical: impl Fn(usize) -> u64) -> Option<Self> {
        let offset = address % PAGE_SIZE;
        let first = address - offset;
        let n = (offset + len).div_ceil(PAGE_SIZE);
        let addresses = (0..n).map(|i| physical(first + i * PAGE_SIZE));
        Self::build(addresses, offset as u64, &physical)
    }

    /// The buffer pointer of a non-contiguous parameter: list address and offset in the page.
    #[must_use]
    pub const fn buf_ptr(&self) -> u64 {
        self.physical | self.offset
    }

    /// The list's own pages, for tests that tamper with it.
    #[must_use]
    pub const fn pages(&self) -> &Pages {
        &self.pages
    }
}
