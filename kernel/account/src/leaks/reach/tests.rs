//! Scans against a model: a heap of blocks that point to each other at random.
//!
//! **Invariant:** what a pass reaches is what a plain search of the same graph reaches.

use super::{Pass, REGISTERS, STEP, Target};
use crate::leaks::bits::{BitWords, Bits, GRANULE, words_for};
use crate::leaks::findings::{Finding, Findings};
use core::cell::Cell;
use core::ops::Range;
use tally_ledger::Block;
use tally_mem::addr::PAGE_SIZE;
use tally_mem::testing::{TestMachine, splitmix};

const BASE: u64 = 0x40_0000_1000;
const ROOTS: u64 = 0x10_0000_0000;

/// Words on the host.
struct HostWords(Vec<u64>);

impl BitWords for HostWords {
    fn get(&self, index: usize) -> u64 {
        self.0[index]
    }
    fn set(&mut self, index: usize, word: u64) {
        self.0[index] = word;
    }
}

/// A heap: blocks by address, its memory, and two pages of roots with a hole between them.
struct Model {
    blocks: Vec<Block>,
    memory: Vec<u64>,
    roots: Vec<u64>,
    registers: [u64; REGISTERS],
    looked_up: Cell<u32>,
}

impl Model {
    /// Blocks of these sizes, one after the other.
    fn new(sizes: impl IntoIterator<Item = usize>) -> Self {
        let mut blocks = Vec::new();
        let mut at = 0;
        for size in sizes {
            let usable = size.max(1).next_multiple_of(GRANULE as usize);
            blocks.push(Block {
                offset: at,
                size,
                usable,
                ..Block::default()
            });
            at += usable;
        }
        Self {
            blocks,
            memory: vec![0; at / 8],
            roots: Vec::new(),
            registers: [0; REGISTERS],
            looked_up: Cell::new(0),
        }
    }

    fn bytes(&self) -> u64 {
        self.memory.len() as u64 * 8
    }

    /// Address `inside` bytes into block `n`.
    fn address(&self, n: usize, inside: usize) -> u64 {
        BASE + (self.blocks[n].offset + inside) as u64
    }

    /// Stores an address in word `word` of block `n`.
    fn point(&mut self, n: usize, word: usize, address: u64) {
        let at = self.blocks[n].offset / 8 + word;
        self.memory[at] = address;
    }

    /// Runs one pass; the longest step by look-ups, and how many steps.
    fn pass(&self, marks: &mut Bits<HostWords>, budget: u32) -> (u32, u32) {
        let mut pass = Pass::default();
        let (mut longest, mut steps) = (0, 0);
        loop {
            let before = self.looked_up.get();
            let done = pass.step(self, marks, budget);
            steps += 1;
            longest = longest.max(self.looked_up.get() - before);
            if done {
                return (longest, steps);
            }
        }
    }

    fn marks(&self) -> Bits<HostWords> {
        Bits::new(HostWords(vec![0; words_for(self.bytes())]), self.bytes())
    }

    fn reached(&self, marks: &Bits<HostWords>) -> Vec<bool> {
        let granule = |block: &Block| block.offset as u64 / GRANULE;
        self.blocks
            .iter()
            .map(|block| marks.reached(granule(block)))
            .collect()
    }

    /// What a plain search reaches.
    fn expected(&self) -> Vec<bool> {
        let mut reached = vec![false; self.blocks.len()];
        let mut todo: Vec<u64> = self.roots.iter().chain(&self.registers).copied().collect();
        while let Some(word) = todo.pop() {
            let Some(n) = self.index_at(word.wrapping_sub(BASE)) else {
                continue;
            };
            if !reached[n] {
                reached[n] = true;
                let block = &self.blocks[n];
                let start = block.offset / 8;
                todo.extend(&self.memory[start..start + block.size / 8]);
            }
        }
        reached
    }

    fn index_at(&self, offset: u64) -> Option<usize> {
        let at = self
            .blocks
            .partition_point(|block| block.offset as u64 <= offset)
            .checked_sub(1)?;
        let block = &self.blocks[at];
        (offset < (block.offset + block.usable) as u64).then_some(at)
    }
}

impl Target for Model {
    fn base(&self) -> u64 {
        BASE
    }

    fn block_at(&self, offset: u64) -> Option<Block> {
        self.looked_up.set(self.looked_up.get() + 1);
        Some(self.blocks[self.index_at(offset)?])
    }

    fn root(&self, index: usize) -> Option<Range<u64>> {
        let half = self.roots.len().div_ceil(2) as u64 * 8;
        match index {
            0 => Some(ROOTS..ROOTS + half),
            // Nothing there: read on behind it.
            1 => Some(0..3 * PAGE_SIZE as u64),
            2 => Some(0..0),
            3 => Some(ROOTS + half..ROOTS + self.roots.len() as u64 * 8),
            _ => None,
        }
    }

    fn registers(&self) -> [u64; REGISTERS] {
        self.registers
    }

    fn read(&self, at: u64, words: &mut [u64]) -> usize {
        let (memory, start) = if at >= BASE {
            (&self.memory, (at - BASE) / 8)
        } else if at >= ROOTS {
            (&self.roots, (at - ROOTS) / 8)
        } else {
            return 0;
        };
        let from = memory.get(start as usize..).unwrap_or_default();
        let count = words.len().min(from.len());
        words[..count].copy_from_slice(&from[..count]);
        count
    }
}

#[test]
fn what_is_pointed_to_is_reached_and_nothing_else() {
    let mut model = Model::new([64, 64, 24, 4096, 64, 64]);
    model.roots = vec![0, 7, model.address(0, 0)];
    // Into the inside, through a block, from its last word.
    model.point(0, 7, model.address(3, 4095));
    model.point(3, 511, model.address(2, 23));
    // These two know only each other.
    model.point(4, 0, model.address(5, 0));
    model.point(5, 0, model.address(4, 8));
    let mut marks = model.marks();
    model.pass(&mut marks, STEP);
    let expected = [true, false, true, true, false, false];
    assert_eq!(model.reached(&marks), expected);
    assert_eq!(model.expected(), expected);
}

#[test]
fn registers_count_and_slack_does_not() {
    let mut model = Model::new([8, 20, 16]);
    model.registers[REGISTERS - 1] = model.address(1, 0);
    // Behind the block's 20 bytes.
    model.point(1, 3, model.address(0, 0));
    let mut marks = model.marks();
    model.pass(&mut marks, STEP);
    assert_eq!(model.reached(&marks), [false, true, false]);
}

#[test]
fn random_graphs_are_reached_as_a_plain_search_reaches_them() {
    let mut seed = 1;
    let mut random = |below: usize| {
        seed += 1;
        splitmix(seed) as usize % below
    };
    let rounds = if cfg!(miri) { 3 } else { 200 };
    for round in 0..rounds {
        let count = 1 + random(300);
        let mut model = Model::new((0..count).map(|_| random(200)).collect::<Vec<_>>());
        let links = random(2 * count + 1);
        for _ in 0..links {
            let (from, to) = (random(count), random(count));
            let words = model.blocks[from].size / 8;
            if words > 0 {
                let inside = random(model.blocks[to].usable);
                model.point(from, random(words), model.address(to, inside));
            }
        }
        model.roots = (0..random(40))
            .map(|_| match random(3) {
                0 => model.address(random(count), 0),
                1 => BASE.wrapping_add(random(1 << 16) as u64),
                _ => random(1 << 30) as u64,
            })
            .collect();
        let mut marks = model.marks();
        let budget = 1 + random(STEP as usize) as u32;
        model.pass(&mut marks, budget);
        assert_eq!(model.reached(&marks), model.expected(), "round {round}");
    }
}

#[test]
fn more_blocks_at_a_time_than_the_stack_holds_are_all_read() {
    let count = if cfg!(miri) { 200 } else { 5000 };
    let mut model = Model::new((0..count).map(|_| 16));
    // One block points to the first 2,500, each of which points to one of the others.
    model.blocks.push(Block {
        offset: count * 16,
        size: count / 2 * 8,
        usable: count / 2 * 8,
        ..Block::default()
    });
    model.memory.resize((count * 16 + count / 2 * 8) / 8, 0);
    model.roots = vec![model.address(count, 0)];
    for n in 0..count / 2 {
        model.point(count, n, model.address(n, 0));
        model.point(n, 1, model.address(n + count / 2, 9));
    }
    let mut marks = model.marks();
    model.pass(&mut marks, STEP);
    assert!(model.reached(&marks).into_iter().all(|reached| reached));
}

#[test]
fn a_chain_backwards_takes_time_in_proportion_and_bounded_steps() {
    let count = if cfg!(miri) { 300 } else { 20_000 };
    let mut model = Model::new((0..count).map(|_| 32));
    model.roots = vec![model.address(count - 1, 0)];
    for n in 1..count {
        model.point(n, 0, model.address(n - 1, 0));
    }
    let mut marks = model.marks();
    let (longest, steps) = model.pass(&mut marks, STEP);
    assert!(model.reached(&marks).into_iter().all(|reached| reached));
    // Look-ups are what costs: about 500 instructions each.
    assert!(longest < 200, "{longest} look-ups in a step");
    assert!(steps as usize <= count / 20 + 10, "{steps} steps");
}

#[test]
fn a_page_full_of_pointers_does_not_make_a_step_longer() {
    let mut model = Model::new([64; 100]);
    let count = if cfg!(miri) { 300 } else { 4096 };
    model.roots = (0..count).map(|n| model.address(n % 100, 0)).collect();
    let mut marks = model.marks();
    let (longest, _) = model.pass(&mut marks, STEP);
    assert!(longest < 200, "{longest} look-ups in a step");
}

#[test]
fn the_second_pass_keeps_what_the_first_has_reached() {
    let mut model = Model::new([16; 200]);
    model.roots = vec![model.address(0, 0)];
    let mut marks = model.marks();
    model.pass(&mut marks, STEP);
    // The only pointer moves.
    model.roots = vec![model.address(150, 0)];
    let mut from = Some(0);
    while let Some(at) = from {
        from = marks.restart(at, 1);
    }
    model.pass(&mut marks, STEP);
    let reached = model.reached(&marks);
    assert!(reached[0] && reached[150]);
    assert_eq!(reached.iter().filter(|reached| **reached).count(), 2);
}

#[test]
fn a_book_tells_blocks_by_place_and_age() {
    let machine = TestMachine::new(8, 1);
    let mut pages = machine.page_allocator();
    let free = pages.free_pages();
    let block = |offset, mark| Block {
        offset,
        mark,
        ..Block::default()
    };
    let mut book = Findings::new(1 << 20, 5).unwrap();
    for (offset, finding) in [
        (0, Finding::Suspect(1)),
        (16, Finding::Suspect(253)),
        (0xf_fff0, Finding::Suspect(9999)),
        (0x8_0000, Finding::Cleared),
    ] {
        book.add(&machine, &mut pages, &block(offset, 4), finding)
            .unwrap();
    }
    assert_eq!(book.findings(), 4);
    assert_eq!(pages.free_pages(), free - 3, "only pages with codes");
    assert_eq!(book.get(&machine, &block(0, 4)), Finding::Suspect(1));
    assert_eq!(book.get(&machine, &block(16, 0)), Finding::Suspect(253));
    assert_eq!(
        book.get(&machine, &block(0xf_fff0, 4)),
        Finding::Suspect(254)
    );
    assert_eq!(book.get(&machine, &block(0x8_0000, 4)), Finding::Cleared);
    assert_eq!(book.get(&machine, &block(0x4_0000, 4)), Finding::Unknown);
    assert_eq!(
        book.get(&machine, &block(0, 5)),
        Finding::Unknown,
        "another block"
    );
    assert!(book.clear(&machine, &block(0, 4)));
    assert!(!book.clear(&machine, &block(0, 4)));
    assert!(!book.clear(&machine, &block(16, 5)));
    assert_eq!(book.get(&machine, &block(0, 4)), Finding::Cleared);
    book.destroy(&mut pages);
    assert_eq!(pages.free_pages(), free);
}

#[test]
fn a_book_without_pages_to_have_says_so() {
    let machine = TestMachine::new(1, 1);
    let mut pages = machine.page_allocator();
    let block = |offset| Block {
        offset,
        ..Block::default()
    };
    let mut book = Findings::new(1 << 20, 5).unwrap();
    let found = Finding::Suspect(1);
    assert!(book.add(&machine, &mut pages, &block(0), found).is_ok());
    assert!(
        book.add(&machine, &mut pages, &block(1 << 19), found)
            .is_err()
    );
    assert!(
        book.add(&machine, &mut pages, &block(2 << 20), found)
            .is_err()
    );
    assert_eq!(book.findings(), 1);
    book.destroy(&mut pages);
    assert_eq!(pages.free_pages(), 1);
}
