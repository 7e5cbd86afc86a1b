//! Files: what is written is read, in this state and in that.

use crate::file::File;
use crate::host::StorageError;
use crate::testing::{TA, World, keys, read, read_again, write};

fn text(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|i| (i / 7) as u8 ^ seed).collect()
}

#[test]
fn what_is_committed_is_read() {
    for bytes in [
        0,
        1,
        4095,
        4096,
        4097,
        8192,
        31 * 4096,
        31 * 4096 + 1,
        70 * 4096,
    ] {
        let mut world = World::default();
        let mut file = File::create(&mut world, &keys(), TA, 5).unwrap();
        write(&mut world, &mut file, 0, &text(bytes, 1)).unwrap();
        assert!(read(&mut world, &mut file).unwrap() == text(bytes, 1));
        let committed = file.commit(&mut world, &keys()).unwrap();
        assert!(
            read_again(&mut world, committed).unwrap() == text(bytes, 1),
            "{bytes}"
        );
        file.close(&mut world);
        assert_eq!(world.n_open(), 0);
    }
}

#[test]
fn each_state_is_read_until_the_one_after_the_next_is_written() {
    let mut world = World::default();
    let mut file = File::create(&mut world, &keys(), TA, 5).unwrap();
    let mut model = Vec::new();
    let mut before = None;
    for (at, bytes, cut) in [
        (0, 100, 100),
        (50, 5000, 5050),
        (20_000, 1, 20_001),
        (5, 3, 20_001),
        (0, 200_000, 200_000),
        (190_000, 0, 150_000),
        (0, 0, 4096),
        (300_000, 9, 300_009),
        (0, 1, 8192),
        (0, 1, 0),
        (9000, 9000, 18_000),
    ] {
        let old = model.clone();
        write(&mut world, &mut file, at as u64, &text(bytes, at as u8)).unwrap();
        if bytes > 0 {
            model.resize(model.len().max(at + bytes), 0);
            model[at..at + bytes].copy_from_slice(&text(bytes, at as u8));
        }
        file.truncate(&mut world, &keys(), cut).unwrap();
        model.resize(cut as usize, 0);
        let committed = file.commit(&mut world, &keys()).unwrap();
        assert!(read(&mut world, &mut file).unwrap() == model);
        assert!(read_again(&mut world, committed).unwrap() == model);
        if let Some(before) = before {
            assert!(read_again(&mut world, before).unwrap() == old);
        }
        before = Some(committed);
    }
}

#[test]
fn what_is_not_committed_is_lost() {
    let mut world = World::default();
    let mut file = File::create(&mut world, &keys(), TA, 5).unwrap();
    write(&mut world, &mut file, 0, b"before").unwrap();
    let committed = file.commit(&mut world, &keys()).unwrap();
    write(&mut world, &mut file, 0, &text(100_000, 3)).unwrap();
    file.truncate(&mut world, &keys(), 2).unwrap();
    file.close(&mut world);
    assert_eq!(read_again(&mut world, committed).unwrap(), b"before");
    let other = crate::file::Committed {
        hash: [1; 32],
        ..committed
    };
    assert_eq!(read_again(&mut world, other), Err(StorageError::Corrupt));
}
