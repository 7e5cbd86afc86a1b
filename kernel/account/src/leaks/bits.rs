//! The marks of a scan: which blocks were reached, and which of these are still to be read.
//!
//! One bit for each 16 bytes of the heap, in three planes: reached in this pass, to be read, reached
//! in the pass before. Blocks to be read go on a stack first, and to their plane when that is full.
//!
//! **Invariant:** a block is handed out to be read once for each pass that reached it.
//! **Knows nothing of:** where the marks are kept; a [`BitWords`] does.

use alloc::vec::Vec;
use tally_mem::addr::{PAGE_SIZE, PhysAddr, PhysPage};
use tally_mem::fallible::{HeapExhausted, try_push, vec_with_capacity};
use tally_mem::machine::{Machine, SecureMemory};
use tally_mem::owner::OwnerId;
use tally_mem::pages::{PageAllocator, PageUse};

/// Bytes of heap that share a mark; no two blocks begin in the same ones.
pub const GRANULE: u64 = 16;
/// Words of the stack.
const STACK: usize = PAGE_SIZE / 8;
/// Words of a page.
const PAGE_WORDS: usize = PAGE_SIZE / 8;

/// Words that are all zero at first.
pub trait BitWords {
    /// The word at `index`.
    fn get(&self, index: usize) -> u64;
    /// Changes it.
    fn set(&mut self, index: usize, word: u64);
}

/// How many words the marks of a heap of so many bytes take.
#[must_use]
pub const fn words_for(bytes: u64) -> usize {
    STACK + 3 * plane_words(bytes)
}

const fn plane_words(bytes: u64) -> usize {
    bytes.div_ceil(GRANULE * 64) as usize
}

/// What [`Bits::take`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The block that begins in this granule is to be read.
    Granule(u64),
    /// Ask again.
    NotYet,
    /// Nothing is left.
    None,
}

/// The marks.
#[derive(Debug)]
pub struct Bits<W> {
    words: W,
    bytes: u64,
    plane: usize,
    stacked: usize,
    /// Blocks went to the plane since the sweep last began.
    spilled: bool,
    /// Next word of the plane to look at.
    sweep: usize,
}

impl<W: BitWords> Bits<W> {
    /// Bits for a heap of `bytes` bytes; `words` has [`words_for`] of it.
    pub fn new(words: W, bytes: u64) -> Self {
        let plane = plane_words(bytes);
        Self {
            words,
            bytes,
            plane,
            stacked: 0,
            spilled: false,
            sweep: plane,
        }
    }

    /// Bytes of heap that there are marks for.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The words, to be given back.
    pub fn into_words(self) -> W {
        self.words
    }

    /// Whether a block was reached in this pass or the one before it.
    #[must_use]
    pub fn reached(&self, granule: u64) -> bool {
        let (word, bit) = place(granule);
        word < self.plane
            && (self.words.get(self.at(0, word)) | self.words.get(self.at(2, word))) & bit != 0
    }

    /// Begins another pass, keeping what was reached in this one; for at most `limit` words from
    /// `from` on. Returns where to go on, `None` at the end.
    pub fn restart(&mut self, from: usize, limit: usize) -> Option<usize> {
        let end = self.plane.min(from.saturating_add(limit));
        for word in from..end {
            let reached = self.words.get(self.at(0, word));
            let before = self.words.get(self.at(2, word));
            self.words.set(self.at(2, word), before | reached);
            self.words.set(self.at(0, word), 0);
        }
        (end < self.plane).then_some(end)
    }

    /// Bits the block that begins in a granule, and remembers to read it.
    pub(super) fn reach(&mut self, granule: u64) {
        let (word, bit) = place(granule);
        if word >= self.plane {
            return;
        }
        let at = self.at(0, word);
        let reached = self.words.get(at);
        if reached & bit != 0 {
            return;
        }
        self.words.set(at, reached | bit);
        if self.stacked < STACK {
            self.words.set(self.stacked, granule);
            self.stacked += 1;
        } else {
            let at = self.at(1, word);
            let waiting = self.words.get(at);
            self.words.set(at, waiting | bit);
            self.spilled = true;
        }
    }

    /// Takes a block that is to be read, at `cost` of the budget for each word looked at.
    pub(super) fn take(&mut self, left: &mut u32, cost: u32) -> Taken {
        if let Some(top) = self.stacked.checked_sub(1) {
            self.stacked = top;
            return Taken::Granule(self.words.get(top));
        }
        while self.sweep < self.plane {
            let at = self.at(1, self.sweep);
            let waiting = self.words.get(at);
            if waiting != 0 {
                let bit = u64::from(waiting.trailing_zeros());
                self.words.set(at, waiting & (waiting - 1));
                return Taken::Granule(self.sweep as u64 * 64 + bit);
            }
            self.sweep += 1;
            *left = left.saturating_sub(cost);
            if *left == 0 {
                return Taken::NotYet;
            }
        }
        if !self.spilled {
            return Taken::None;
        }
        self.spilled = false;
        self.sweep = 0;
        Taken::NotYet
    }

    fn at(&self, plane: usize, word: usize) -> usize {
        STACK + plane * self.plane + word
    }
}

/// Word of a plane, and bit in it.
fn place(granule: u64) -> (usize, u64) {
    ((granule / 64) as usize, 1 << (granule % 64))
}

/// Words in secure pages of their own.
#[derive(Debug)]
pub struct PageWords<'m, M> {
    machine: &'m M,
    pages: Vec<PhysPage>,
}

impl<'m, M: Machine> PageWords<'m, M> {
    /// None yet, with room for the list of as many pages as `words` words take.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn new(machine: &'m M, words: usize) -> Result<Self, HeapExhausted> {
        Ok(Self {
            machine,
            pages: vec_with_capacity(words.div_ceil(PAGE_WORDS))?,
        })
    }

    /// How many pages it has.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Adds a page.
    ///
    /// # Errors
    /// [`HeapExhausted`] if there is none.
    pub fn add(&mut self, pages: &mut PageAllocator) -> Result<(), HeapExhausted> {
        let page = pages
            .alloc(PageUse::LeakScan, OwnerId::STATS)
            .map_err(|_| HeapExhausted)?;
        self.machine.zero_page(page);
        try_push(&mut self.pages, page).inspect_err(|_| {
            let freed = pages.free(page);
            debug_assert_eq!(freed, Ok(()), "just allocated");
        })
    }

    /// Gives up to `count` pages back; true if more are left.
    pub fn free(&mut self, pages: &mut PageAllocator, count: usize) -> bool {
        for _ in 0..count {
            let Some(page) = self.pages.pop() else {
                return false;
            };
            let freed = pages.free(page);
            debug_assert_eq!(freed, Ok(()), "a page of marks that is nobody's");
        }
        !self.pages.is_empty()
    }

    fn place(&self, index: usize) -> Option<PhysAddr> {
        let page = self.pages.get(index / PAGE_WORDS)?;
        Some(PhysAddr(page.addr().0 + (index % PAGE_WORDS * 8) as u64))
    }
}

impl<M: SecureMemory + Machine> BitWords for PageWords<'_, M> {
    fn get(&self, index: usize) -> u64 {
        let mut bytes = [0; 8];
        if let Some(place) = self.place(index) {
            self.machine.read_secure(place, &mut bytes);
        }
        u64::from_le_bytes(bytes)
    }

    fn set(&mut self, index: usize, word: u64) {
        if let Some(place) = self.place(index) {
            self.machine.write_secure(place, &word.to_le_bytes());
        }
    }
}
