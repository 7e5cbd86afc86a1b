//! Caches: fewer requests with them, the same bytes without them.

use crate::directory::Directory;
use crate::figures::{Cache, Limits};
use crate::file::{Committed, File};
use crate::host::{Name, StorageError};
use crate::layout::{data_at, node_at, nodes_at, place};
use crate::testing::{Request, TA, World, id, keys, read, read_again, write};
use tally_abi::TeeUuid;

const NONE: Limits = Limits {
    nodes: 0,
    blocks: 0,
    index: 0,
};
const MIB: usize = 1 << 20;

fn text(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes)
        .map(|i| (i >> 12) as u8 ^ i as u8 ^ seed)
        .collect()
}

fn large(world: &mut World, bytes: usize) -> (File, Committed) {
    let mut file = File::create(world, &keys(), TA, 3).unwrap();
    write(world, &mut file, 0, &text(bytes, 1)).unwrap();
    let committed = file.commit(world, &keys()).unwrap();
    (file, committed)
}

#[test]
#[cfg(not(miri))]
fn nodes_of_a_large_file_are_read_when_they_are_used() {
    let mut world = World::default();
    let (file, committed) = large(&mut world, 8 * MIB);
    file.close(&mut world);
    let mut file = None;
    let open = world.asks(|world| file = Some(File::open(world, &keys(), TA, committed).unwrap()));
    let mut file = file.unwrap();
    let asks_to_read = |world: &mut World, file: &mut File, at: u64| {
        let asks = world.asks(|world| {
            let sink = &mut |_: &mut World, _, bytes: &[u8]| {
                assert_eq!(bytes, [(at >> 12) as u8 ^ at as u8 ^ 1]);
                Ok(())
            };
            file.read(world, &keys(), at, 1, sink).unwrap();
        });
        asks.len()
    };
    // Of 2,048 nodes 11 lie above one another.
    assert_eq!(open.len(), 2);
    assert!(asks_to_read(&mut world, &mut file, 2039 << 12) <= 12);
    assert_eq!(asks_to_read(&mut world, &mut file, 2040 << 12), 1);
    let small = file.heap_bytes();
    for at in (0..8 * MIB as u64).step_by(100_000) {
        assert!(asks_to_read(&mut world, &mut file, at) <= 14);
    }
    let figures = file.figures().nodes;
    assert!(
        file.heap_bytes() < Limits::FILE.nodes + 2 * 4096,
        "{small}, {figures:?}"
    );
    assert!(
        figures.evictions > 0 && figures.hits > 0 && figures.bytes <= Limits::FILE.nodes as u64
    );
    file.set_limits(NONE);
    asks_to_read(&mut world, &mut file, 0);
    let figures = file.figures();
    assert_eq!((figures.nodes.entries, figures.blocks.bytes), (1, 0));
    assert!(asks_to_read(&mut world, &mut file, 4 * MIB as u64) >= 4);
}

#[test]
#[cfg(not(miri))]
fn a_large_file_is_changed_alike_with_caches_and_without() {
    for limits in [NONE, Limits::FILE] {
        let mut world = World::default();
        let mut model = text(MIB, 1);
        let (mut file, mut committed) = large(&mut world, MIB);
        file.set_limits(limits);
        for (at, len, cut) in [
            (500_000, 3, MIB),
            (1_000_000, 100_000, 1_100_000),
            (126_975, 2, 1_100_000),
            (0, 0, 700_000),
            (0, 5000, 700_000),
            (0, 0, 800_000),
            (650_000, 1, 300_000),
            (0, 1, 1_000_000),
        ] {
            let before = model.clone();
            write(&mut world, &mut file, at as u64, &text(len, 9)).unwrap();
            model.resize(model.len().max(at + len), 0);
            model[at..at + len].copy_from_slice(&text(len, 9));
            file.truncate(&mut world, &keys(), cut as u64).unwrap();
            model.resize(cut, 0);
            let next = file.commit(&mut world, &keys()).unwrap();
            assert!(
                read_again(&mut world, next).unwrap() == model,
                "{at}, {cut}"
            );
            assert!(
                read_again(&mut world, committed).unwrap() == before,
                "{at}, {cut}"
            );
            assert!(read(&mut world, &mut file).unwrap() == model, "{at}, {cut}");
            committed = next;
            world.restart();
        }
    }
}

#[test]
#[cfg(not(miri))]
fn a_changed_node_of_a_large_file_is_noticed_when_it_is_used() {
    let mut world = World::default();
    let (file, committed) = large(&mut world, MIB);
    file.close(&mut world);
    let name = Name::Number(3).to_string();
    let mut noticed = 0;
    for block in 1..9 {
        for place in (0..4092).step_by(389) {
            let at = (1 + block * 62) * 4096 + place;
            world.files.get_mut(&name).unwrap()[at] ^= 4;
            match read_again(&mut world, committed) {
                Ok(all) => assert!(all == text(MIB, 1)),
                Err(err) => {
                    assert_eq!(err, StorageError::Corrupt);
                    noticed += 1;
                }
            }
            world.files.get_mut(&name).unwrap()[at] ^= 4;
        }
    }
    assert!(noticed > 20, "{noticed}");
    assert!(read_again(&mut world, committed).unwrap() == text(MIB, 1));
}

#[test]
#[cfg(not(miri))]
fn a_thousand_objects_are_found_without_a_search() {
    let (mut world, mut directory) = (World::default(), Directory::new());
    let keys = &keys();
    let ta = |n: u32| TeeUuid::from_u128(u128::from(n % 16) << 64 | 5);
    for n in 0..1000 {
        let file = Committed {
            number: n,
            hash: [n as u8; 32],
        };
        let name = format!("object {n}");
        directory
            .put(&mut world, keys, ta(n), &id(&name), file, false)
            .unwrap();
    }
    let reads = |world: &World| {
        let reads = world.requests.iter();
        reads
            .filter(|ask| matches!(ask, Request::Read { .. }))
            .count()
    };
    for (limits, most) in [(Limits::DIRECTORY, 1), (NONE, 35)] {
        directory.set_limits(&mut world, limits);
        directory
            .find(&mut world, keys, ta(0), &id("object 0"))
            .unwrap();
        for n in (0..1000).step_by(7) {
            world.requests.clear();
            let found = directory.find(&mut world, keys, ta(n), &id(&format!("object {n}")));
            assert_eq!(found.unwrap().unwrap().file.number, n);
            assert!(reads(&world) <= most, "{}", reads(&world));
        }
        world.requests.clear();
        let absent = directory.find(&mut world, keys, ta(3), &id("object 4"));
        assert_eq!((absent, reads(&world) <= most), (Ok(None), true));
        let (mut n, mut at) = (0, None);
        world.requests.clear();
        while let Some((place, _)) = directory.next(&mut world, keys, ta(3), at).unwrap() {
            (n, at) = (n + 1, Some(place));
        }
        assert_eq!(n, 1000 / 16 + 1);
        assert!(limits == NONE || reads(&world) < 70, "{}", reads(&world));
    }
    let figures = directory.figures();
    assert_eq!((figures.index.entries, figures.index.bytes), (0, 0));
    assert!(figures.index.hits > 1000 && figures.index.peak_bytes >= 4000);
    directory.forget(&mut world);
    assert_eq!(
        directory.figures().blocks,
        Cache {
            bytes: 0,
            entries: 0,
            ..figures.blocks
        }
    );
    assert_eq!(directory.heap_bytes(), 0);
}

/// Puts a block and its node back as they were, both versions of each.
fn put_back(world: &mut World, earlier: &World, block: u32) {
    let (shelf, place) = place(block + 1);
    let node = nodes_at(shelf) as usize + node_at(place, false);
    let name = Name::Number(3).to_string();
    let versions = [false, true].map(|second| data_at(block, second) as usize);
    let parts = versions.map(|at| at..at + 4096);
    let node = core::iter::once(node..node + 132);
    for part in parts.into_iter().chain(node) {
        if let Some(old) = earlier.files[&name].get(part.clone()) {
            world.files.get_mut(&name).unwrap()[part].copy_from_slice(old);
        }
    }
}

#[test]
#[cfg(not(miri))]
fn an_earlier_block_with_its_earlier_node_is_noticed() {
    for (bytes, block) in [(9000, 0), (9000, 2), (MIB, 38), (MIB, 200)] {
        let mut world = World::default();
        let (mut file, _) = large(&mut world, bytes);
        let earlier = world.clone();
        let at = u64::from(block) << 12;
        for text in [b"newer", b"newest".first_chunk().unwrap()] {
            write(&mut world, &mut file, at, text).unwrap();
            file.commit(&mut world, &keys()).unwrap();
        }
        let committed = file.commit(&mut world, &keys()).unwrap();
        file.set_limits(NONE);
        let first = |world: &mut World, file: &mut File| {
            let mut byte = 0;
            let sink = &mut |_: &mut World, _, bytes: &[u8]| {
                byte = bytes[0];
                Ok(())
            };
            file.read(world, &keys(), at, 1, sink).map(|_| byte)
        };
        assert_eq!(first(&mut world, &mut file), Ok(b'n'));
        put_back(&mut world, &earlier, block);
        // Neither while it is open nor when it is opened again.
        assert_eq!(first(&mut world, &mut file), Err(StorageError::Corrupt));
        let again = read_again(&mut world, committed);
        assert!(again == Err(StorageError::Corrupt), "{bytes}, {block}");
    }
}
