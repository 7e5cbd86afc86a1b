//! Reachability: which blocks of a heap anything points to.
//!
//! A pass reads all words of the roots, and of every block that a word points into, and so on.
//! Whatever looks like a pointer counts as one, to the start of a block or to its inside, if it
//! lies at an address that is a multiple of eight. Memory changes while a pass reads it, so that a
//! pointer may move from where the pass comes later to where it has been: what one pass does
//! not reach is therefore looked for in a second one, and only a block that both have missed is
//! suspect. Blocks that are younger than the scan are left out by whoever asks.
//!
//! **Invariant:** a step does a bounded amount of work, whatever the memory holds; a pass ends, as
//! each block is read at most once. Nothing but the marks is written.
//! **Knows nothing of:** where memory is, what roots are, locks.

#[cfg(test)]
mod tests;

use crate::leaks::bits::{self, BitWords, Bits, GRANULE};
use core::ops::Range;
use tally_ledger::Block;

/// Words read at a time.
const CHUNK: usize = 64;
/// Most registers that count as roots.
pub const REGISTERS: usize = 12;

/// What of a step's budget a thing takes; one is about eight instructions.
mod cost {
    /// A word that points nowhere.
    pub(super) const WORD: u32 = 1;
    /// A word that points into the heap.
    pub(super) const POINTER: u32 = 60;
    /// The beginning of a range or block.
    pub(super) const RANGE: u32 = 40;
    /// A word of marks that is looked at for blocks still to be read.
    pub(super) const SWEEP: u32 = 6;
}

/// Budget of one step: about 40,000 instructions.
pub const STEP: u32 = 3500;

/// A heap with its roots, as a step finds it.
pub trait Target {
    /// Address of the pool's first byte, as pointers have it.
    fn base(&self) -> u64;
    /// The live block that the byte at `offset` from there belongs to.
    fn block_at(&self, offset: u64) -> Option<Block>;
    /// Range `index` of the roots, perhaps empty; `None` after the last.
    fn root(&self, index: usize) -> Option<Range<u64>>;
    /// Registers that are roots.
    fn registers(&self) -> [u64; REGISTERS];
    /// Reads words from `at`, a multiple of eight, and returns how many: fewer than asked for
    /// where what is there ends, 0 where nothing is, which goes on to the end of the page.
    fn read(&self, at: u64, words: &mut [u64]) -> usize;
}

/// What a pass has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Bytes of roots.
    pub roots: u64,
    /// Bytes of blocks.
    pub blocks: u64,
}

/// One walk from the roots.
#[derive(Debug)]
pub struct Pass {
    /// What is being read.
    range: Range<u64>,
    /// Next root; `None` once all were read.
    root: Option<usize>,
    registers_done: bool,
    read: Read,
}

impl Default for Pass {
    fn default() -> Self {
        Self {
            range: 0..0,
            root: Some(0),
            registers_done: false,
            read: Read::default(),
        }
    }
}

impl Pass {
    /// What it has read so far.
    #[must_use]
    pub const fn read(&self) -> Read {
        self.read
    }

    /// Goes on for about `budget`; true when it has come to its end.
    pub fn step<W: BitWords>(
        &mut self,
        target: &impl Target,
        marks: &mut Bits<W>,
        budget: u32,
    ) -> bool {
        let mut left = budget;
        if !self.registers_done {
            self.registers_done = true;
            for register in target.registers() {
                follow(target, marks, register);
                left = left.saturating_sub(cost::POINTER);
            }
        }
        while left > 0 {
            let taken = if self.range.is_empty() {
                if !self.next_range(target, marks, &mut left) {
                    return true;
                }
                cost::RANGE
            } else {
                self.read_chunk(target, marks)
            };
            left = left.saturating_sub(taken);
        }
        false
    }

    /// Finds something to read, unless the budget does not suffice; false if nothing is left.
    fn next_range<W: BitWords>(
        &mut self,
        target: &impl Target,
        marks: &mut Bits<W>,
        left: &mut u32,
    ) -> bool {
        if let Some(index) = self.root {
            match target.root(index) {
                Some(range) => {
                    self.range = range.start.next_multiple_of(8)..range.end;
                    self.root = Some(index + 1);
                }
                None => self.root = None,
            }
            return true;
        }
        match marks.take(left, cost::SWEEP) {
            bits::Taken::Granule(granule) => {
                let offset = granule * GRANULE;
                // It may have been freed since it was reached.
                if let Some(block) = target.block_at(offset) {
                    let start = target.base() + block.offset as u64;
                    self.range = start..start + block.size as u64 / 8 * 8;
                }
                true
            }
            bits::Taken::NotYet => true,
            bits::Taken::None => false,
        }
    }

    fn read_chunk<W: BitWords>(&mut self, target: &impl Target, marks: &mut Bits<W>) -> u32 {
        let mut words = [0; CHUNK];
        let wanted = ((self.range.end - self.range.start) / 8).min(CHUNK as u64) as usize;
        let count = target
            .read(self.range.start, &mut words[..wanted])
            .min(wanted);
        if count == 0 {
            // To the next page, or past a rest of less than a word.
            let next =
                (self.range.start | (tally_mem::addr::PAGE_SIZE as u64 - 1)).saturating_add(1);
            self.range.start = next.min(self.range.end);
            return cost::RANGE;
        }
        let bytes = count as u64 * 8;
        self.range.start += bytes;
        match self.root {
            Some(_) => self.read.roots += bytes,
            None => self.read.blocks += bytes,
        }
        let mut taken = count as u32 * cost::WORD;
        for &word in &words[..count] {
            if follow(target, marks, word) {
                taken += cost::POINTER - cost::WORD;
            }
        }
        taken
    }
}

/// Bits the block that `word` points into, if it does; whether it points into the heap at all.
fn follow<W: BitWords>(target: &impl Target, marks: &mut Bits<W>, word: u64) -> bool {
    let offset = word.wrapping_sub(target.base());
    let is_pointer = offset < marks.bytes();
    if is_pointer && let Some(block) = target.block_at(offset) {
        marks.reach(block.offset as u64 / GRANULE);
    }
    is_pointer
}
