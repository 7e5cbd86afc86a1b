//! The reader against the model: sound heaps, and words that a hostile TA may write.

mod limits;

use crate::model::{Build, Model};
use crate::{HEAD_BYTES, Inconsistent, Reader, Totals, View, heap_words};
use core::cell::Cell;
use std::format;
use std::vec::Vec;
use tally_ledger::{Block, Chunk, ChunkKind, Damage, Stats, Strategy, Tracking};

const BASE: u64 = 0x40_0000_0000;
const BUILDS: [Build; 3] = [Build::Plain, Build::Counted, Build::Squared];

fn open(model: &Model) -> Result<Option<View<&Model>>, Inconsistent> {
    View::open(model, &[model.list(), 0])
}

/// A heap with one pool.
fn heap(build: Build, bytes: u64) -> Model {
    let mut model = Model::new(build, BASE, bytes as usize + 0x400);
    model.add_pool(BASE + 0x200, bytes);
    model
}

fn totals(view: &View<&Model>, step: usize) -> Result<Totals, Inconsistent> {
    let mut totals = Totals::default();
    while !view.walk(&mut totals, step)? {}
    Ok(totals)
}

fn stats(model: &Model) -> Result<Stats, Inconsistent> {
    let view = open(model)?.ok_or(Inconsistent)?;
    view.stats(&totals(&view, 7)?)
}

fn blocks(view: &View<&Model>, step: usize) -> Result<Vec<Block>, Inconsistent> {
    let (mut all, mut cursor) = (Vec::new(), 0);
    loop {
        let mut some = std::vec![Block::default(); step];
        let (count, next) = view.blocks(cursor, &mut some)?;
        all.extend_from_slice(&some[..count]);
        cursor = next;
        if cursor == 0 {
            return Ok(all);
        }
    }
}

fn chunks(view: &View<&Model>, step: usize) -> Result<Vec<Chunk>, Inconsistent> {
    let (mut all, mut cursor) = (Vec::new(), 0);
    loop {
        let mut some = std::vec![Chunk::default(); step];
        let (count, next) = view.chunks(cursor, &mut some)?;
        all.extend_from_slice(&some[..count]);
        cursor = next;
        if cursor == 0 {
            return Ok(all);
        }
    }
}

fn check(view: &View<&Model>) -> Result<(), Damage> {
    let mut cursor = 0;
    loop {
        cursor = view.check(cursor)?;
        if cursor == 0 {
            return Ok(());
        }
    }
}

/// What the reader says is what the model knows.
fn agree(model: &Model) {
    let view = open(model).unwrap().unwrap();
    let found = stats(model).unwrap();
    let list = model.get(model.pools());
    let live = model.live.iter().filter(|(va, _)| **va != list);
    let live: Vec<(u64, u64)> = live.map(|(va, bytes)| (*va, *bytes)).collect();
    assert_eq!(found.allocated, model.allocated());
    assert_eq!(found.live_blocks, live.len() as u64);
    assert_eq!(check(&view), Ok(()));
    for step in [1, 2, 32] {
        let listed = blocks(&view, step).unwrap();
        let listed = listed
            .iter()
            .map(|block| (view.base() + block.offset as u64, block.usable as u64));
        assert_eq!(listed.collect::<Vec<_>>(), live, "in steps of {step}");
        let mut all = chunks(&view, step).unwrap();
        let listed = all.iter().filter_map(|chunk| match chunk.kind {
            ChunkKind::Block(block) => Some((view.base() + chunk.offset as u64, block.size as u64)),
            _ => None,
        });
        assert_eq!(listed.collect::<Vec<_>>(), live, "in steps of {step}");
        let free = all.iter().filter(|chunk| chunk.kind == ChunkKind::Free);
        assert_eq!(
            free.clone().map(|it| it.size as u64).sum::<u64>(),
            found.free_bytes
        );
        let squares = free.clone().map(|it| (it.size as u64).pow(2));
        assert_eq!(squares.sum::<u64>(), found.free2_sum);
        assert_eq!(
            free.clone().map(|it| it.size as u64).max().unwrap_or(0),
            found.largest_free
        );
        assert_eq!(
            free.count() as u64,
            totals(&view, step).unwrap().free_chunks
        );
        assert_eq!(all.iter().map(|it| it.size as u64).sum::<u64>(), found.size);
        all.dedup_by(|second, first| first.offset + first.size <= second.offset);
        assert_eq!(all.len(), 1, "in order, and apart");
    }
    let header = view.header();
    let records = live.len() as u64 * HEAD_BYTES;
    let usable: u64 = live.iter().map(|(_, bytes)| bytes).sum();
    let metadata = found.size - found.free_bytes - usable;
    assert_eq!((found.records, found.usable), (records, usable));
    assert_eq!((found.metadata, found.block_metadata), (metadata, metadata));
    assert_eq!((found.committed, found.reserved), (found.size, found.size));
    assert_eq!(
        (header.strategy, header.tracking),
        (Strategy::FirstFit, Tracking::Off)
    );
    if view.is_counted() {
        assert_eq!(header.records, records);
        assert_eq!(header.allocated, found.allocated);
        assert_eq!(header.live_blocks, found.live_blocks);
        assert_eq!(header.size, found.size);
        assert!(header.max_allocated >= header.allocated);
    }
}

#[test]
fn what_lies_there_is_what_the_allocator_made() {
    for build in BUILDS {
        let mut model = heap(build, 0x2000);
        agree(&model);
        let mut state = 1u32;
        let mut random = |below: u64| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u64::from(state >> 8) % below
        };
        let actions = if cfg!(miri) { 12 } else { 2000 };
        for action in 0..actions {
            let list = model.get(model.pools());
            let live: Vec<u64> = model
                .live
                .keys()
                .copied()
                .filter(|va| *va != list)
                .collect();
            let one = live.get(random(live.len().max(1) as u64) as usize);
            match (random(8), one) {
                (0..=2, Some(block)) => model.free(*block),
                (3, Some(block)) => {
                    model.reallocate(*block, random(400));
                }
                (4, _) => {
                    model.allocate(16 << random(5), random(300));
                }
                _ => {
                    model.allocate(0, random(200));
                }
            }
            if action % 16 == 0 {
                agree(&model);
            }
        }
        agree(&model);
    }
}

#[test]
fn a_heap_of_several_pools_is_read_whole() {
    for build in BUILDS {
        let mut model = Model::new(build, BASE, 0x8000);
        // The second lies before the first.
        model.add_pool(BASE + 0x4000, 0x1000);
        model.add_pool(BASE + 0x1000, 0x800);
        model.add_pool(BASE + 0x1800, 0x400);
        for size in [16, 1000, 2000, 500, 1] {
            assert!(model.allocate(0, size).is_some());
        }
        agree(&model);
        let view = open(&model).unwrap().unwrap();
        assert_eq!(view.base(), BASE + 0x1000);
        assert_eq!(view.header().size, 0x1c00);
    }
}

#[test]
fn statistics_are_read_where_there_are_some() {
    for build in BUILDS {
        let mut model = heap(build, 0x1000);
        let block = model.allocate(0, 1000).unwrap();
        assert!(model.allocate(0, 0x1000).is_none());
        model.free(block);
        let found = stats(&model).unwrap();
        if build == Build::Plain {
            assert_eq!(
                (found.max_allocated, found.num_alloc_fail, found.num_get),
                (0, 0, 0)
            );
            assert_eq!(open(&model).unwrap().unwrap().header().allocated, 0);
        } else {
            let max = found.allocated + 1008 + HEAD_BYTES;
            assert_eq!((found.max_allocated, found.num_alloc_fail), (max, 1));
            assert_eq!(
                (found.biggest_alloc_fail, found.biggest_alloc_fail_used),
                (0x1010, max)
            );
            assert_eq!((found.num_get, found.num_release), (2, 1));
        }
    }
}

#[test]
fn an_allocator_without_a_pool_has_no_heap() {
    for build in BUILDS {
        let model = Model::new(build, BASE, 0x1000);
        assert!(matches!(open(&model), Ok(None)));
        assert!(matches!(View::open(&model, &[]), Ok(None)));
        // The next word that a place could be taken for is another allocator's.
        let mut both = heap(build, 0x800);
        let unused = BASE;
        both.put(unused + 16, unused);
        both.put(unused + 24, unused);
        let view = View::open(&both, &[unused, both.list()]);
        assert_eq!(view.unwrap().unwrap().base(), BASE + 0x200);
    }
}

/// A heap with a few blocks, and free chunks between them.
fn scattered(build: Build) -> Model {
    let mut model = heap(build, 0x400);
    let kept = [24, 100, 40, 16, 200].map(|size| model.allocate(0, size).unwrap());
    for block in [kept[1], kept[3]] {
        model.free(block);
    }
    agree(&model);
    model
}

/// Reads everything, whatever it says.
fn read_all(model: &Model) {
    let Ok(Some(view)) = open(model) else { return };
    let found = stats(model);
    let listed = blocks(&view, 5);
    let all = chunks(&view, 3);
    assert_eq!(listed.is_ok(), all.is_ok());
    if let (Ok(found), Ok(all)) = (found, all) {
        assert_eq!(all.iter().map(|it| it.size as u64).sum::<u64>(), found.size);
    }
    let _ = check(&view);
    let mut bytes = [0; 24];
    for offset in [0, 1, 0x3f0, 0x400, u64::MAX] {
        let _ = view.read(offset, &mut bytes);
    }
}

#[test]
fn no_word_that_a_ta_may_write_harms_the_reader() {
    for build in BUILDS {
        let sound = scattered(build);
        let words = (sound.list()..sound.base + sound.memory.len() as u64 - 8).step_by(8);
        for va in words.step_by(if cfg!(miri) { 67 } else { 1 }) {
            let old = sound.get(va);
            for new in [
                0,
                1,
                u64::MAX,
                u64::MAX - 15,
                1 << 63,
                (1 << 63) + 16,
                i64::MAX.cast_unsigned(),
                va,
                va + 8,
                va - 16,
                BASE,
                old + 16,
                old.wrapping_sub(16),
                old ^ 8,
                old.wrapping_neg(),
                0x400,
            ] {
                let mut model = sound.clone();
                model.put(va, new);
                read_all(&model);
            }
        }
    }
}

#[test]
fn a_changed_size_is_inconsistent() {
    for build in BUILDS {
        let sound = scattered(build);
        let view = open(&sound).unwrap().unwrap();
        for chunk in chunks(&view, 8).unwrap() {
            if matches!(chunk.kind, ChunkKind::Block(_)) {
                continue;
            }
            let head = view.base() + chunk.offset as u64;
            for new in [0, 8, 16, 0x1000, u64::MAX, 1 << 62] {
                let mut model = sound.clone();
                model.put(head + 8, new);
                assert_eq!(stats(&model), Err(Inconsistent), "{head:#x}: {new:#x}");
            }
        }
    }
}

#[test]
fn a_place_of_pools_that_is_none_is_inconsistent() {
    for build in BUILDS {
        let sound = scattered(build);
        let list = sound.get(sound.pools());
        for (at, new) in [
            (sound.pools(), BASE + 8),
            (sound.pools(), list + 8),
            (sound.pools(), u64::MAX - 15),
            (sound.pools() + 8, 0),
            (sound.pools() + 8, u64::MAX),
            (list, BASE + 0x208),
            (list, u64::MAX - 15),
            (list + 8, 0),
            (list + 8, 1 << 40),
            (list + 8, 0x410),
        ] {
            let mut model = sound.clone();
            model.put(at, new);
            let read = open(&model).and_then(|view| stats(&model).map(|_| view.is_some()));
            assert_eq!(read, Err(Inconsistent), "{at:#x}: {new:#x}");
        }
    }
}

#[test]
fn a_broken_free_list_is_damage_and_misleads_nobody() {
    for build in BUILDS {
        let sound = scattered(build);
        let view = open(&sound).unwrap().unwrap();
        let free = chunks(&view, 8).unwrap();
        let free = free.iter().find(|chunk| chunk.kind == ChunkKind::Free);
        let offset = free.unwrap().offset as u64;
        for new in [0, 8, u64::MAX, BASE, view.base() + offset] {
            let mut model = sound.clone();
            model.put(view.base() + offset + 16, new);
            assert_eq!(stats(&model), stats(&sound));
            let view = open(&model).unwrap().unwrap();
            assert_eq!(check(&view), Err(Damage::Chunk(offset as u32)));
        }
    }
}

#[test]
fn counters_that_tell_otherwise_are_inconsistent() {
    for build in [Build::Counted, Build::Squared] {
        for counter in 0..3 {
            let mut model = scattered(build);
            let at = model.list() + 32 + 8 * counter;
            model.put(at, model.get(at) + 16);
            assert_eq!(stats(&model), Err(Inconsistent));
        }
    }
}

#[test]
fn counters_that_cannot_be_are_damage() {
    // Bug: figures of a heap that counts were taken from its header as they stood there.
    for build in [Build::Counted, Build::Squared] {
        let mut sound = scattered(build);
        assert!(sound.allocate(0, 0x1000).is_none());
        agree(&sound);
        let (allocated, gets, releases) = (sound.list() + 32, sound.list() + 40, sound.list() + 48);
        let max_at = sound.pools() + 48 + 8 * u64::from(build == Build::Squared);
        let (size_at, failure_at) = (max_at + 8, max_at + 16);
        let [max, size, failure] = [max_at, size_at, failure_at].map(|at| sound.get(at));
        let now = sound.allocated();
        let live = sound.live.len() as u64;
        let pool = size & 0xffff_ffff;
        let room = pool - HEAD_BYTES;
        for (at, word, sound_still) in [
            (allocated, 1 << 63, false),
            (allocated, now + (1 << 32), false),
            // Less than the live chunks have at least.
            (allocated, live * 32 - 1, false),
            (allocated, live * 32, true),
            (allocated, max >> 32, true),
            (allocated, (max >> 32) + 1, false),
            // Released more often than allocated, and all released.
            (releases, sound.get(gets) + 1, false),
            (releases, sound.get(gets), false),
            (gets, u64::MAX, false),
            (gets, 0, false),
            // More than there is room for in that many bytes.
            (gets, sound.get(releases) + now / 32, true),
            (gets, sound.get(releases) + now / 32 + 1, false),
            (gets, sound.get(releases) + (1 << 59) + 1, false),
            (max_at, room << 32, true),
            (max_at, (room + 1) << 32, false),
            (max_at, (now - 1) << 32, false),
            (max_at, now << 32, (failure >> 32) <= now),
            // Failed, with more in use than there ever was.
            (failure_at, (max >> 32 | 1) << 32, false),
            (size_at, size + 16, false),
            (size_at, size - 16, false),
            // None failed, and yet one was the biggest.
            (size_at, pool, false),
        ] {
            let mut model = sound.clone();
            model.put(at, word);
            let view = open(&model).unwrap().unwrap();
            let told = format!("{build:?} {:#x}: {word:#x}", at - sound.list());
            assert_eq!(view.is_sound(), sound_still, "{told}");
            if !sound_still {
                let header = view.header();
                assert_eq!(
                    (header.allocated, header.live_blocks, header.size),
                    (0, 0, pool)
                );
                assert_eq!(view.check(0), Err(Damage::Counts), "{told}");
                assert_eq!(stats(&model), Err(Inconsistent), "{told}");
            }
        }
        // As after a reset, with nothing allocated since; and what failed alone cannot be.
        for (failures, biggest, sound_still) in [(0, 0, true), (0, 1, false), (0, 1 << 32, false)] {
            let mut model = sound.clone();
            model.put(max_at, if biggest >> 32 == 0 { 0 } else { max });
            model.put(size_at, pool | failures << 32);
            model.put(failure_at, biggest);
            assert_eq!(open(&model).unwrap().unwrap().is_sound(), sound_still);
        }
    }
}

/// Counts what is read.
struct Counted<'a>(&'a Model, Cell<usize>);

impl Reader for Counted<'_> {
    fn read(&self, va: u64, buf: &mut [u8]) -> bool {
        self.1.set(self.1.get() + 1);
        self.0.read(va, buf)
    }
}

#[test]
fn one_read_tells_whether_a_heap_has_changed() {
    for build in BUILDS {
        let mut model = Model::new(build, BASE, 0x8000);
        let mut known = Vec::new();
        let mut look = |model: &Model| {
            let reader = Counted(model, Cell::new(0));
            // The first is another allocator's, which does not change.
            let words = heap_words(&reader, &[BASE, model.list(), 0]);
            assert_eq!(reader.1.get(), 2);
            assert!(!known.contains(&words));
            known.push(words);
        };
        look(&model);
        model.add_pool(BASE + 0x1000, 0x1000);
        look(&model);
        let blocks: Vec<u64> = (0..4).map(|_| model.allocate(0, 100).unwrap()).collect();
        model.free(blocks[1]);
        look(&model);
        model.free(blocks[2]);
        look(&model);
        model.add_pool(BASE + 0x3000, 0x1000);
        look(&model);
        model.put(model.list() + 24, 0);
        look(&model);
    }
    assert_eq!(
        heap_words(&Model::new(Build::Plain, BASE, 99), &[u64::MAX - 7]),
        [0; 3]
    );
}

#[test]
fn a_list_of_pools_is_read_at_once() {
    for build in BUILDS {
        let mut reads = Vec::new();
        for pools in [1, 16] {
            let mut model = Model::new(build, BASE, 0x20000);
            for n in 0..pools {
                model.add_pool(BASE + 0x1000 * (n + 1), 0x1000);
            }
            let reader = Counted(&model, Cell::new(0));
            let view = View::open(&reader, &[model.list()]).unwrap().unwrap();
            let places = view.places();
            reads.push(reader.1.get());
            // Another pool is another place.
            model.add_pool(BASE + 0x1000 * (pools + 1), 0x1000);
            let more = open(&model).ok().flatten();
            assert_ne!(more.map(|view| view.places()), Some(places));
        }
        assert_eq!(reads[0], reads[1]);
    }
}
