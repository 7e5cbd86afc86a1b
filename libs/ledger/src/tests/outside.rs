//! Tests of what is read and written from outside, and of lists in pieces.

use super::*;
use crate::view::{Maximum, Reader};

/// A copy of a pool's memory.
struct Memory(Vec<u8>);

impl Reader for Memory {
    fn read(&self, offset: usize, buf: &mut [u8]) -> bool {
        self.0.as_slice().read(offset, buf)
    }
}

impl Writer for Memory {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        true
    }
}

/// What the kernel does through its own mapping of the memory.
struct Poke<'a>(&'a mut Pool);

impl Writer for Poke<'_> {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let word = u64::from_le_bytes(bytes.try_into().unwrap());
        self.0.window_mut().poke(offset, word);
        true
    }
}

impl Reader for Poke<'_> {
    fn read(&self, offset: usize, buf: &mut [u8]) -> bool {
        self.0.window().read(offset, buf)
    }
}

/// A pool with guard bytes for the test, over each strategy.
fn guarded(test: impl Fn(&mut Pool)) {
    for strategy in [Strategy::Segregated, Strategy::FirstFit, Strategy::BestFit] {
        let cfg = Config {
            strategy,
            guard: true,
            ..Config::TA
        };
        let memory = fuzzing::Memory::new(1 << 17);
        // SAFETY: the only pool of this memory, dropped before it.
        test(&mut unsafe { memory.pool(1 << 17, &cfg) }.unwrap());
    }
}

#[test]
fn writing_past_a_block_is_found_when_it_is_freed() {
    guarded(|pool| {
        for size in [0, 1, 24, 250, 384, 1000, 5000] {
            let (block, other) = (get(pool, size), get(pool, size));
            assert_eq!(pool.check(), Ok(()));
            // SAFETY: the third byte behind the block, which belongs to the block's room.
            unsafe { block.as_ptr().add(size + 2).write(7) };
            let expected = Overrun {
                block: pool.block(block).unwrap(),
                at: size + 2,
            };
            assert_eq!(
                pool.check(),
                Err(Damage::Overrun(expected.block.offset)),
                "{size}"
            );
            let mut found = [Overrun::default(); 2];
            assert_eq!(pool.overruns(0, &mut found), Ok((1, 0)));
            assert_eq!(found[0], expected);
            let before = pool.stats().unwrap().overruns;
            put(pool, other).unwrap();
            assert_eq!(pool.take_overrun(), None);
            put(pool, block).unwrap();
            assert_eq!(pool.take_overrun(), Some(expected));
            assert_eq!(pool.take_overrun(), None);
            assert_eq!(pool.stats().unwrap().overruns, before + 1);
            assert_eq!(pool.check(), Ok(()));
        }
    });
}

#[test]
fn resizing_looks_at_the_guard_bytes_and_writes_new_ones() {
    guarded(|pool| {
        let mut block = get(pool, 40);
        for size in [41, 30, 300, 600, 4500, 20] {
            let written = pool.block(block).unwrap().size;
            // SAFETY: the byte behind the block, which belongs to the block's room.
            unsafe { block.as_ptr().add(written).write(1) };
            // SAFETY: only the new pointer is used.
            block = unsafe { pool.realloc(block, 8, size, A, &CallStack::EMPTY) }.unwrap();
            let overrun = pool.take_overrun().unwrap();
            assert_eq!((overrun.block.size, overrun.at), (written, written));
            assert_eq!(pool.check(), Ok(()));
        }
    });
}

#[test]
fn pools_without_guard_bytes_let_all_of_a_block_be_used() {
    each(16384, |pool| {
        let block = get(pool, 20);
        let usable = pool.usable_size(block).unwrap();
        // SAFETY: as much as the pool says.
        unsafe { block.as_ptr().write_bytes(3, usable) };
        assert_eq!(pool.overruns(0, &mut [Overrun::default()]), Ok((0, 0)));
        put(pool, block).unwrap();
        assert_eq!(pool.take_overrun(), None);
    });
}

#[test]
fn an_alarm_rings_once_when_more_is_live() {
    each(16384, |pool| {
        let first = get(pool, 1000);
        put(pool, first).unwrap();
        // The maximum is above the alarm, so that it must be restarted.
        let before = Maximum::read(&Poke(pool)).unwrap();
        assert_eq!((before.max, before.live()), (1000, 0));
        assert!(before.restarted().write(&mut Poke(pool)));
        assert!(view::set_alarm(&mut Poke(pool), 500));
        let second = get(pool, 300);
        let third = get(pool, 200);
        assert_eq!(pool.take_alarm(), None);
        assert_eq!(view::alarm_hit(&Poke(pool)), Some(0));
        let fourth = get(pool, 10);
        assert_eq!(pool.take_alarm(), Some(510));
        assert_eq!(view::alarm_hit(&Poke(pool)), Some(510));
        let fifth = get(pool, 100);
        assert_eq!(pool.take_alarm(), None);
        let during = Maximum::read(&Poke(pool)).unwrap();
        assert_eq!((during.max, during.live()), (610, 610));
        assert!(during.joined(before).write(&mut Poke(pool)));
        let stats = pool.stats().unwrap();
        assert_eq!((stats.max_allocated, stats.allocated), (1000, 610));
        for block in [second, third, fourth, fifth] {
            put(pool, block).unwrap();
        }
    });
}

#[test]
fn an_alarm_that_was_set_before_there_was_a_pool_rings() {
    let memory = crate::fuzzing::Memory::new(1 << 16);
    // SAFETY: inside the memory, aligned, and nobody else's.
    unsafe {
        let alarm = memory.base().add(ALARM_OFFSET).cast::<u64>();
        alarm.write(500);
    }
    // SAFETY: the only pool of this memory, dropped before it.
    let mut pool = unsafe { memory.pool(1 << 16, &Config::TA) }.unwrap();
    get(&mut pool, 500);
    assert_eq!(pool.take_alarm(), None);
    get(&mut pool, 1);
    assert_eq!(pool.take_alarm(), Some(501));
}

#[test]
fn a_known_call_site_rings_the_alarm_too() {
    each(16384, |pool| {
        let layout = Layout::from_size_align(32, 8).unwrap();
        let stack = CallStack::from_frames(&[0x44]);
        for _ in 0..2 {
            let block = pool.alloc(layout, A, &stack).unwrap();
            put(pool, block).unwrap();
        }
        pool.reset();
        assert!(view::set_alarm(&mut Poke(pool), 31));
        let known = pool.alloc_known::<true>(layout, &Caller::of(&stack));
        assert_eq!(known, None, "not by the short way");
        assert!(
            pool.alloc_at_known(layout, Caller::of(&stack).key())
                .is_some()
        );
        assert_eq!(pool.take_alarm(), Some(32));
    });
}

#[test]
fn the_mark_can_be_set_from_outside() {
    each(16384, |pool| {
        let mut memory = Memory(snapshot(pool));
        assert!(view::set_mark(&mut memory, 99));
        let view = View::open(memory, pool.committed()).unwrap();
        assert_eq!(view.figures().mark, 99);
    });
}

#[test]
fn a_list_of_many_blocks_comes_in_pieces() {
    let count = if MIRI { 300 } else { 100_000 };
    for strategy in [Strategy::Segregated, Strategy::FirstFit, Strategy::BestFit] {
        let cfg = Config {
            strategy,
            ..Config::TA
        };
        let bytes = count * 80 + 65536;
        let memory = fuzzing::Memory::new(bytes);
        // SAFETY: the only pool of this memory, dropped before it.
        let mut pool = unsafe { memory.pool(bytes, &cfg) }.unwrap();
        for n in 0..count {
            get_at(&mut pool, 8 + n % 40, OwnerId((n % 5) as u16), n as u64 % 9);
        }
        let (mut total, mut last, mut cursor) = (0, 0, 0);
        let mut blocks = [Block::default(); 100];
        loop {
            let (n, next) = pool.blocks(cursor, &mut blocks).unwrap();
            for block in &blocks[..n] {
                assert!(block.offset > last);
                last = block.offset;
            }
            (total, cursor) = (total + n, next);
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(total, count);
    }
}

#[test]
fn classes_say_what_slabs_and_runs_hold() {
    each(32768, |pool| {
        let blocks: Vec<_> = (0..10).map(|_| get(pool, 30)).collect();
        let large = [get(pool, 1100), get(pool, 9000)];
        put(pool, blocks[3]).unwrap();
        put(pool, large[0]).unwrap();
        let classes: Vec<_> = (0..).map_while(|index| pool.classes(index)).collect();
        if pool.stats().unwrap().strategy != Strategy::Segregated {
            assert!(classes.is_empty());
            return;
        }
        let guard = pool.window().guard();
        let class = classes
            .iter()
            .find(|class| class.block_size as usize >= 30 + guard)
            .unwrap();
        assert_eq!(
            (class.slabs, class.live),
            (if guard == 0 { 1 } else { 2 }, 9)
        );
        assert!(class.kept >= 1 && class.blocks >= class.live + class.kept);
        let runs = classes.last().unwrap();
        assert_eq!((runs.block_size, runs.live), (0, 1));
        // 1100 bytes are three units, 9000 are 18.
        assert_eq!((runs.kept, runs.kept_bytes), (1, 3 * 512));
        assert_eq!(runs.bytes - runs.kept_bytes, 18 * 512);
    });
}

#[test]
fn the_second_unit_of_a_block_is_never_taken_for_a_block() {
    // The high half of its record stands there; found by a pool with many sites.
    let cfg = Config {
        sites: 256,
        depth: 1,
        owners: 8,
        ..Config::TA
    };
    let memory = fuzzing::Memory::new(1 << 18);
    // SAFETY: the only pool of this memory, dropped before it.
    let mut pool = unsafe { memory.pool(1 << 18, &cfg) }.unwrap();
    for n in 0..if MIRI { 20u16 } else { 200 } {
        pool.set_mark(n.wrapping_mul(331));
        let block = get_at(&mut pool, 1000, OwnerId(n), 0x1000 + u64::from(n) * 4);
        for past in [512, 1024] {
            let wild = block.map_addr(|at| at.saturating_add(past));
            // SAFETY: not a block.
            assert!(!unsafe { pool.free_known::<true>(wild) });
            assert!(put(&mut pool, wild).is_err());
        }
        if n % 3 > 0 {
            put(&mut pool, block).unwrap();
        }
    }
    assert_eq!(pool.check(), Ok(()));
}

#[test]
fn a_slab_whose_front_was_overwritten_gives_no_block_twice() {
    let cfg = Config::TA;
    let memory = fuzzing::Memory::new(1 << 16);
    // SAFETY: the only pool of this memory, dropped before it.
    let mut pool = unsafe { memory.pool(1 << 16, &cfg) }.unwrap();
    let mut blocks: Vec<_> = (0..40).map(|_| get(&mut pool, 30)).collect();
    // The word at a slab's start says which blocks are free.
    let first = blocks.iter().map(|block| block.addr().get()).min().unwrap();
    let head = blocks[0].map_addr(|_| core::num::NonZero::new(first & !511).unwrap());
    // SAFETY: inside the pool's memory, aligned; what a block before it might overwrite.
    unsafe { head.cast::<u64>().write(u64::MAX) };
    assert!(pool.check().is_err());
    blocks.extend((0..200).map(|_| get(&mut pool, 30)));
    blocks.sort_unstable();
    assert!(
        blocks.is_sorted_by(|a, b| a < b),
        "each is somebody's alone"
    );
}

#[test]
fn every_byte_of_a_large_block_is_found() {
    each(1 << 18, |pool| {
        let before = get(pool, 5000);
        let large = get(pool, 100_000);
        let base = pool.block(large).unwrap();
        for at in (0..100_000).step_by(if MIRI { 9973 } else { 97 }) {
            assert_eq!(pool.block_at(base.offset + at), Ok(Some(base)));
        }
        put(pool, large).unwrap();
        assert_eq!(pool.block_at(base.offset + 50_000), Ok(None));
        assert_eq!(pool.block_at(usize::MAX), Ok(None));
        put(pool, before).unwrap();
    });
}
