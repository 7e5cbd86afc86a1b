//! Limits of what is a heap, each from both sides.

use super::{BASE, check, heap, open, scattered, stats};
use crate::model::{Build, Model};
use crate::{
    HEAD_BYTES, Inconsistent, MAX_POOL_BYTES, MAX_POOLS, Reader, Totals, View, heap_words,
};
use std::vec;
use tally_ledger::Damage;

#[test]
fn pools_are_where_and_as_big_as_they_can_be() {
    const FIRST: u64 = BASE + 0x1000;
    const MAX: u64 = MAX_POOL_BYTES;
    let in_first = FIRST + HEAD_BYTES;
    let two = |start, bytes| vec![(FIRST, 0x100), (start, bytes)];
    let apart = |count: u64| (0..count).map(|n| (FIRST + 48 * n, 48)).collect();
    for (place, pools, opens) in [
        (in_first, vec![(FIRST, 48)], true),
        (in_first, vec![(FIRST, 32)], false),
        (in_first, vec![(FIRST, 0)], false),
        (in_first, vec![(FIRST, 56)], false),
        (in_first, vec![(FIRST + 8, 48)], false),
        (in_first, vec![(FIRST, MAX - 16)], true),
        (in_first, vec![(FIRST, MAX)], false),
        (in_first, vec![(u64::MAX - 63, 0x100)], false),
        // One next to the other; one over the other, whichever is named first.
        (in_first, two(FIRST + 0x100, 48), true),
        (in_first, two(FIRST + 0xf0, 48), false),
        (in_first, two(FIRST - 48, 48), true),
        (in_first, two(FIRST - 32, 48), false),
        (in_first, two(FIRST, 0x100), false),
        // From the start of the first to the end of the last.
        (in_first, two(FIRST + MAX - 48, 48), true),
        (in_first, two(FIRST + MAX - 32, 48), false),
        // Where the list lies.
        (FIRST, vec![(FIRST, 0x100)], false),
        (FIRST + 0x100, vec![(FIRST, 0x100)], true),
        (FIRST + 0x110, vec![(FIRST, 0x100)], false),
        (FIRST + 0x110, two(FIRST + 0x100, 48), true),
        (in_first + 8, vec![(FIRST, 0x100)], false),
        // How many there are.
        (in_first, vec![], false),
        (in_first, apart(MAX_POOLS as u64), true),
        (in_first, apart(MAX_POOLS as u64 + 1), false),
    ] {
        let mut model = Model::new(Build::Plain, BASE, 0x4000);
        model.put(model.list() + 16, FIRST);
        model.put(model.pools(), place);
        model.put(model.pools() + 8, pools.len() as u64);
        for (at, (start, bytes)) in (place..).step_by(16).zip(&pools) {
            // At a place that is none there may be no room.
            let at = at & !7;
            model.put(at, *start);
            model.put(at + 8, *bytes);
        }
        let found = open(&model).map(|view| view.map(|view| (view.base(), view.header().size)));
        let base = pools.iter().map(|pool| pool.0).min();
        let size = pools.iter().map(|pool| pool.1).sum();
        let wanted = match base.filter(|_| opens) {
            Some(base) => Ok(Some((base, size))),
            None => Err(Inconsistent),
        };
        assert_eq!(found, wanted, "{place:#x} {pools:x?}");
    }
}

#[test]
fn an_allocator_is_used_once_it_has_a_free_list_and_a_place() {
    let list = Model::new(Build::Plain, BASE, 0x100).list();
    for (next, previous, place, word, opened) in [
        (list, list, MAX_POOL_BYTES, 0, Ok(())),
        (list, list + 16, MAX_POOL_BYTES, 0, Err(Inconsistent)),
        (list + 16, list, MAX_POOL_BYTES, 0, Err(Inconsistent)),
        (list + 16, list + 16, MAX_POOL_BYTES, 3, Err(Inconsistent)),
        (list + 16, list + 16, MAX_POOL_BYTES, 4, Err(Inconsistent)),
        // That may be a counter.
        (list + 16, list + 16, MAX_POOL_BYTES - 1, 0, Ok(())),
        (list + 16, list + 16, MAX_POOL_BYTES, 1, Ok(())),
    ] {
        let mut model = Model::new(Build::Plain, BASE, 0x100);
        model.put(list + 16, next);
        model.put(list + 24, previous);
        model.put(list + 32 + 8 * word, place);
        let found = open(&model).map(|view| assert!(view.is_none()));
        assert_eq!(found, opened, "{next:#x} {previous:#x} {place:#x} {word}");
    }
}

/// A heap of 16 bytes a block that has no free chunk: where its first chunk is, and the words that end it.
fn full() -> (Model, u64, u64) {
    let mut model = heap(Build::Plain, 0x410);
    while model.allocate(0, 16).is_some() {}
    assert!(stats(&model).is_ok());
    (model, BASE + 0x200, BASE + 0x600)
}

#[test]
fn no_free_chunk_stands_before_the_first_nor_beside_another() {
    let (mut model, start, _) = full();
    for (before, sound) in [(0, true), (16, false), (u64::MAX, false)] {
        model.put(start, before);
        assert_eq!(stats(&model).is_ok(), sound);
    }
    // A free chunk of 64 bytes, taken for two of 32: all sizes add up.
    let (mut model, start, _) = full();
    for (va, word) in [
        (start + 8, 32),
        (start + 32, 32),
        (start + 40, 32),
        (start + 64, 32),
    ] {
        model.put(va, word);
    }
    assert_eq!(stats(&model), Err(Inconsistent));
    model.put(start + 8, 64);
    model.put(start + 64, 64);
    let found = stats(&model).unwrap();
    assert_eq!((found.free_bytes, found.largest_free), (64, 64));
}

#[test]
fn no_chunk_reaches_over_the_end_of_its_pool() {
    for more in [0_u64, 16, 32, 64, 80] {
        let (mut model, _, last) = full();
        // The last chunk; what it reaches looks as if it were sound.
        model.put(last - 32 + 8, (32 + more).wrapping_neg());
        model.put(last + more, 0);
        model.put(last + more + 8, 1 << 63);
        assert_eq!(stats(&model).is_ok(), more == 0, "{more}");
    }
    // The first one, of which each step is told alone.
    for (bytes, sound) in [
        (32_u64, true),
        (0x400, true),
        (0x410, false),
        (40, false),
        (16, false),
    ] {
        let (mut model, start, _) = full();
        model.put(start + 8, bytes.wrapping_neg());
        model.put(start + bytes, 0);
        let view = open(&model).unwrap().unwrap();
        let walked = view.walk(&mut Totals::default(), 1);
        assert_eq!(walked.is_ok(), sound, "{bytes:#x}");
    }
}

#[test]
fn neighbours_in_the_free_list_are_chunks_or_its_head() {
    let sound = scattered(Build::Plain);
    let view = open(&sound).unwrap().unwrap();
    let (base, last) = (view.base(), view.base() + 0x400 - 16);
    let free = sound.get(sound.list() + 16);
    let damage = Err(Damage::Chunk((free - base) as u32));
    let outside = BASE + 0x100;
    for (link, word) in [(last, 16), (outside, 16), (last, 24), (outside, 24)] {
        let mut model = sound.clone();
        model.memory.resize(0x800, 0);
        // Each knows of the chunk, as a neighbour does.
        model.put(free + word, link);
        model.put(link + 16, free);
        model.put(link + 24, free);
        assert_eq!(check(&open(&model).unwrap().unwrap()), damage, "{link:#x}");
    }
    // One of which only the one neighbour knows.
    for word in [16, 24] {
        let mut model = sound.clone();
        let neighbour = model.get(free + word);
        model.put(neighbour + 40 - word, 0);
        assert_eq!(check(&open(&model).unwrap().unwrap()), damage);
    }
}

#[test]
fn bytes_are_read_of_one_pool_and_no_others() {
    let mut model = Model::new(Build::Plain, BASE, 0x4000);
    model.add_pool(BASE + 0x1000, 0x100);
    model.add_pool(BASE + 0x1200, 0x100);
    for (n, byte) in model.memory.iter_mut().enumerate().skip(0x1010).take(0x40) {
        *byte = n as u8;
    }
    let view = open(&model).unwrap().unwrap();
    for (offset, len, is_read) in [
        (0, 0x100, true),
        (0, 0x101, false),
        (0xff, 1, true),
        (0xff, 2, false),
        (0x100, 1, false),
        (0x1ff, 1, false),
        (0x200, 0x100, true),
        (0x2ff, 2, false),
        (0x300, 0, false),
        (u64::MAX, 1, false),
    ] {
        assert_eq!(
            view.read(offset, &mut vec![0; len]),
            is_read,
            "{offset:#x} {len}"
        );
    }
    let mut bytes = [0; 3];
    assert!(view.read(0x20, &mut bytes));
    assert_eq!(bytes, [0x20, 0x21, 0x22]);
}

#[test]
fn no_bit_of_a_word_hides_a_change_of_another() {
    let mut model = Model::new(Build::Plain, BASE, 0x4000);
    let list = model.list();
    for (at, word, other, changed) in [
        // Links; and a word of the first list and of the second, which stand at some distance of each other.
        (list + 24, 1 << 32, list + 16, 1),
        (list + 32, 1 << 16, BASE + 32, 1),
    ] {
        model.put(at, word);
        let key = |model: &Model| heap_words(model, &[BASE, list]);
        model.put(other, 0);
        let before = key(&model);
        model.put(other, changed);
        assert_ne!(key(&model), before);
    }
    let places = [0x1000, 0x1010].map(|start| {
        let mut model = Model::new(Build::Plain, BASE, 0x4000);
        model.add_pool(BASE + start, 0x1900 - start);
        open(&model).unwrap().unwrap().places()
    });
    assert_ne!(places[0], places[1]);
}

/// All but what lies between two addresses.
struct Fenced<'a>(&'a Model, u64, u64);

impl Reader for Fenced<'_> {
    fn read(&self, va: u64, buf: &mut [u8]) -> bool {
        (va + buf.len() as u64 <= self.1 || va >= self.2) && self.0.read(va, buf)
    }
}

#[test]
fn no_more_of_an_allocator_is_read_than_it_has() {
    for (build, words) in [
        (Build::Plain, 6),
        (Build::Counted, 16),
        (Build::Squared, 18),
    ] {
        let model = heap(build, 0x400);
        let first = BASE + 0x200;
        for (words, opens) in [(words, true), (words - 1, false)] {
            let reader = Fenced(&model, model.list() + 8 * words, first);
            let view = View::open(&reader, &[model.list()]).ok().flatten();
            assert_eq!(view.is_some(), opens, "{build:?} {words}");
        }
    }
}
