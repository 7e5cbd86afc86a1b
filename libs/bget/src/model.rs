//! A model of the allocator: the same words in the same places, and what is live beside them.

use crate::{END, HEAD_BYTES, MIN_CHUNK, Reader, Totals, View};
use std::collections::BTreeMap;
use std::vec::Vec;
use tally_ledger::{Block, Chunk};

/// How the allocator was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// Without statistics.
    Plain,
    /// With those of OP-TEE 4.5.
    Counted,
    /// With those of OP-TEE 4.10, which has the squares of free chunks besides.
    Squared,
}

/// Memory of a TA with a heap in it.
#[derive(Clone, Debug)]
pub struct Model {
    /// Address of its first byte.
    pub base: u64,
    /// All of it.
    pub memory: Vec<u8>,
    build: Build,
    /// Live blocks and the bytes that they have, the list of pools among them.
    pub live: BTreeMap<u64, u64>,
    max_allocated: u64,
    failures: u64,
    biggest: (u64, u64),
    size: u64,
}

/// From the start of the memory to the head of the free list.
const LIST: u64 = 64;

impl Model {
    /// `bytes` of memory at `base`, with an allocator that has no pool.
    #[must_use]
    pub fn new(build: Build, base: u64, bytes: usize) -> Self {
        let mut model = Self {
            base,
            memory: std::vec![0; bytes],
            build,
            live: BTreeMap::new(),
            max_allocated: 0,
            failures: 0,
            biggest: (0, 0),
            size: 0,
        };
        let list = model.list();
        model.put(list + 16, list);
        model.put(list + 24, list);
        model
    }

    /// Where the free list begins.
    #[must_use]
    pub const fn list(&self) -> u64 {
        self.base + LIST
    }

    /// The word at an address.
    ///
    /// # Panics
    /// If it is not in the memory.
    #[must_use]
    pub fn get(&self, va: u64) -> u64 {
        let at = (va - self.base) as usize;
        let bytes = self.memory[at..].first_chunk().expect("a word");
        u64::from_le_bytes(*bytes)
    }

    /// Changes the word at an address.
    ///
    /// # Panics
    /// If it is not in the memory.
    pub fn put(&mut self, va: u64, word: u64) {
        let at = (va - self.base) as usize;
        self.memory[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }

    fn add(&mut self, va: u64, more: i64) {
        let word = self.get(va).wrapping_add_signed(more);
        self.put(va, word);
    }

    /// Words of counters between the free list and the place of the pools.
    const fn counters(&self) -> u64 {
        match self.build {
            Build::Plain => 0,
            Build::Counted => 3,
            Build::Squared => 4,
        }
    }

    /// Where the place of the list of pools is written down.
    #[must_use]
    pub const fn pools(&self) -> u64 {
        self.list() + 32 + self.counters() * 8
    }

    fn count(&mut self, counter: u64, more: i64) {
        if self.build != Build::Plain {
            self.add(self.list() + 32 + counter * 8, more);
        }
    }

    /// Bytes of live blocks and of the words before them.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.live.values().map(|bytes| bytes + HEAD_BYTES).sum()
    }

    /// Links a free chunk in at the end of the list, of which it is told already how big it is.
    fn link(&mut self, va: u64) {
        let list = self.list();
        let last = self.get(list + 24);
        self.put(va + 16, list);
        self.put(va + 24, last);
        self.put(list + 24, va);
        self.put(last + 16, va);
    }

    fn unlink(&mut self, va: u64) {
        let (next, previous) = (self.get(va + 16), self.get(va + 24));
        self.put(previous + 16, next);
        self.put(next + 24, previous);
    }

    /// Makes a pool of some of the memory.
    ///
    /// # Panics
    /// If there is no room for the list of pools.
    pub fn add_pool(&mut self, start: u64, bytes: u64) {
        self.put(start, 0);
        self.put(start + 8, bytes - HEAD_BYTES);
        self.link(start);
        self.put(start + bytes - 16, bytes - HEAD_BYTES);
        self.put(start + bytes - 8, END.cast_unsigned());
        let (place, count) = (self.get(self.pools()), self.get(self.pools() + 8));
        let new = self.reallocate(place, 16 * (count + 1)).expect("room");
        self.put(self.pools(), new);
        self.put(self.pools() + 8, count + 1);
        self.put(new + 16 * count, start);
        self.put(new + 16 * count + 8, bytes);
        self.size += bytes;
        self.write_statistics();
    }

    /// Allocates `size` bytes at a multiple of `align`, a power of two.
    pub fn allocate(&mut self, align: u64, size: u64) -> Option<u64> {
        let (align, size) = (
            align.max(16),
            size.max(16).next_multiple_of(16) + HEAD_BYTES,
        );
        let mut chunk = self.get(self.list() + 16);
        let mut found = None;
        while chunk != self.list() && found.is_none() {
            let bytes = self.get(chunk + 8);
            if let Some(room) = bytes.checked_sub(size) {
                // From its end on.
                let block = (chunk + room + HEAD_BYTES) & !(align - 1);
                let before = block.checked_sub(chunk + HEAD_BYTES);
                found = before.filter(|before| *before == 0 || *before >= MIN_CHUNK);
            }
            if found.is_none() {
                chunk = self.get(chunk + 16);
            }
        }
        let Some(before) = found else {
            self.failures += 1;
            if size > self.biggest.0 {
                self.biggest = (size, self.allocated());
            }
            self.write_statistics();
            return None;
        };
        let bytes = self.get(chunk + 8);
        let next = chunk + bytes;
        let mut taken = bytes - before;
        self.put(next, 0);
        if before == 0 {
            self.unlink(chunk);
        } else {
            self.put(chunk + 8, before);
        }
        let head = chunk + before;
        self.put(head, before);
        if taken - size > MIN_CHUNK {
            let (rest, left) = (head + size, taken - size);
            taken = size;
            self.put(rest, 0);
            self.put(rest + 8, left);
            self.link(rest);
            self.put(next, left);
        }
        self.put(head + 8, taken.wrapping_neg());
        self.count(0, taken.cast_signed());
        self.count(1, 1);
        self.live.insert(head + HEAD_BYTES, taken - HEAD_BYTES);
        self.max_allocated = self.max_allocated.max(self.allocated());
        self.write_statistics();
        Some(head + HEAD_BYTES)
    }

    /// Frees a block.
    ///
    /// # Panics
    /// If it is none.
    pub fn free(&mut self, block: u64) {
        let mut bytes = self.live.remove(&block).expect("a live block") + HEAD_BYTES;
        self.count(0, -bytes.cast_signed());
        self.count(2, 1);
        let mut head = block - HEAD_BYTES;
        let before = self.get(head);
        if before != 0 {
            head -= before;
            bytes += before;
        } else {
            self.link(head);
        }
        let next = head + bytes;
        if self.get(next + 8).cast_signed() > 0 {
            self.unlink(next);
            bytes += self.get(next + 8);
        }
        self.put(head + 8, bytes);
        self.put(head + bytes, bytes);
        self.write_statistics();
    }

    /// Moves a block to one of another size; 0: there was none.
    pub fn reallocate(&mut self, block: u64, size: u64) -> Option<u64> {
        let new = self.allocate(0, size)?;
        if block != 0 {
            let old = self.live[&block];
            for at in (0..old.min(size)).step_by(8) {
                let word = self.get(block + at);
                self.put(new + at, word);
            }
            self.free(block);
        }
        Some(new)
    }

    fn write_statistics(&mut self) {
        let squares = u64::from(self.build == Build::Squared);
        if self.build == Build::Plain {
            return;
        }
        let numbers = self.pools() + 16 + 32 + 8 * squares;
        let (biggest, used) = self.biggest;
        for (at, word) in [
            (0, self.max_allocated << 32),
            (8, self.size | self.failures << 32),
            (16, biggest | used << 32),
        ] {
            self.put(numbers + at, word);
        }
    }
}

impl Reader for Model {
    fn read(&self, va: u64, buf: &mut [u8]) -> bool {
        let at = va
            .checked_sub(self.base)
            .and_then(|at| usize::try_from(at).ok());
        let bytes = at.and_then(|at| self.memory.get(at..at.checked_add(buf.len())?));
        bytes.map(|bytes| buf.copy_from_slice(bytes)).is_some()
    }
}

/// Most actions of one input.
const MAX_ACTIONS: usize = 256;

/// Takes `data` for actions on a heap, which is read after each; and then for words that the TA writes over it.
///
/// # Panics
/// When what is read is not what was done: that is a bug.
pub fn fuzz(data: &[u8]) {
    let (build, data) = match data.split_first() {
        Some((first, rest)) if first % 3 == 0 => (Build::Plain, rest),
        Some((first, rest)) if first % 3 == 1 => (Build::Counted, rest),
        Some((_, rest)) => (Build::Squared, rest),
        None => return,
    };
    let mut model = Model::new(build, 0x40_0000_0000, 0x2000);
    model.add_pool(model.base + 0x800, 0x1000);
    let (actions, words) = data.split_at(data.len().min(MAX_ACTIONS) / 2);
    for [what, size] in actions.as_chunks().0 {
        let own = model.get(model.pools());
        let mut live = model.live.keys().copied().filter(|block| *block != own);
        let block = live.nth(usize::from(*what) / 4);
        match (what % 4, block) {
            (0, Some(block)) => model.free(block),
            (1, Some(block)) => drop(model.reallocate(block, u64::from(*size) * 3)),
            (2, _) => drop(model.allocate(1 << (size % 8), u64::from(*what))),
            _ => drop(model.allocate(0, u64::from(*size) * 2)),
        }
        let stats = read_all(&model).expect("a sound heap");
        assert_eq!(stats, (model.allocated(), model.live.len() as u64 - 1));
    }
    for word in words.as_chunks::<10>().0 {
        let [low, high, word @ ..] = *word;
        let at = u64::from(u16::from_le_bytes([low, high])) * 8 % model.memory.len() as u64;
        model.put(model.base + at, u64::from_le_bytes(word));
        read_all(&model);
    }
}

/// Reads everything that there is: bytes allocated and blocks, if it all adds up.
fn read_all(model: &Model) -> Option<(u64, u64)> {
    let view = View::open(model, &[model.list()]).ok()??;
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        let next = view.blocks(at, &mut [Block::default(); 3]).ok();
        cursor = next.map(|(_, next)| next).filter(|next| *next != 0);
    }
    let (mut bytes, mut cursor) = (0, Some(0));
    while let Some(at) = cursor {
        let mut chunks = [Chunk::default(); 5];
        let next = view.chunks(at, &mut chunks).ok();
        let count = next.map_or(0, |(count, _)| count);
        bytes += chunks[..count].iter().map(|it| it.size as u64).sum::<u64>();
        cursor = next.map(|(_, next)| next).filter(|next| *next != 0);
    }
    let mut cursor = 0;
    while let Ok(next @ 1..) = view.check(cursor) {
        cursor = next;
    }
    let mut totals = Totals::default();
    while !view.walk(&mut totals, 9).ok()? {}
    let stats = view.stats(&totals).ok()?;
    assert_eq!(bytes, stats.size, "chunks make up the pools");
    Some((stats.allocated, stats.live_blocks))
}
