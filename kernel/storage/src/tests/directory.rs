//! The directory: objects of TAs, by name and in turn.

use crate::directory::Directory;
use crate::file::Committed;
use crate::host::StorageError;
use crate::testing::{TA, World, id, keys};
use tally_abi::TeeUuid;

const OTHER: TeeUuid = TeeUuid::from_u128(1);

fn file(number: u32) -> Committed {
    Committed {
        number,
        hash: [number as u8; 32],
    }
}

#[test]
fn objects_are_found_by_ta_and_id_also_after_a_restart() {
    let (mut world, mut directory) = (World::default(), Directory::new());
    let (world, keys) = (&mut world, &keys());
    assert_eq!(directory.find(world, keys, TA, &id("a")), Ok(None));
    assert_eq!(directory.reserve(world, keys), Ok(0));
    assert_eq!(
        directory.put(world, keys, TA, &id("a"), file(0), false),
        Ok(None)
    );
    assert_eq!(
        directory.put(world, keys, TA, &id(""), file(1), false),
        Ok(None)
    );
    assert_eq!(
        directory.put(world, keys, OTHER, &id("a"), file(3), false),
        Ok(None)
    );
    let refused = directory.put(world, keys, TA, &id("a"), file(4), false);
    assert_eq!(refused, Err(StorageError::Exists));
    assert_eq!(
        directory.put(world, keys, TA, &id("a"), file(4), true),
        Ok(Some(0))
    );
    assert_eq!(directory.reserve(world, keys), Ok(0));
    assert_eq!(directory.reserve(world, keys), Ok(2));
    assert_eq!(directory.reserve(world, keys), Ok(5));
    directory.release(2);
    for _ in 0..2 {
        let mut find = |ta, name| {
            directory
                .find(world, keys, ta, &id(name))
                .map(|e| e.map(|e| e.file))
        };
        assert_eq!(find(TA, "a"), Ok(Some(file(4))));
        assert_eq!(find(TA, ""), Ok(Some(file(1))));
        assert_eq!(find(OTHER, "a"), Ok(Some(file(3))));
        assert_eq!(find(OTHER, ""), Ok(None));
        let first = directory.next(world, keys, TA, None).unwrap().unwrap();
        let second = directory
            .next(world, keys, TA, Some(first.0))
            .unwrap()
            .unwrap();
        assert_eq!((first.1, second.1), (id("a"), id("")));
        assert_eq!(directory.next(world, keys, TA, Some(second.0)), Ok(None));
        directory.forget(world);
    }
    // What was reserved still is.
    assert_eq!(directory.reserve(world, keys), Ok(2));
    assert_eq!(directory.reserve(world, keys), Ok(6));
    directory.forget(world);
    assert!(directory.heap_bytes() > 0);
    for number in [0, 2, 5, 6] {
        directory.release(number);
    }
    assert_eq!(directory.heap_bytes(), 0, "a list of nothing is none");
}

#[test]
fn objects_are_renamed_updated_removed() {
    let (mut world, mut directory) = (World::default(), Directory::new());
    let (world, keys) = (&mut world, &keys());
    let missing = Err(StorageError::NotFound);
    assert_eq!(
        directory.remove(world, keys, TA, &id("a")),
        Err(StorageError::NotFound)
    );
    assert_eq!(
        directory.update(world, keys, TA, &id("a"), file(0)),
        missing
    );
    directory
        .put(world, keys, TA, &id("a"), file(0), true)
        .unwrap();
    directory
        .put(world, keys, TA, &id("b"), file(1), true)
        .unwrap();
    let taken = directory.rename(world, keys, TA, &id("a"), &id("b"));
    assert_eq!(taken, Err(StorageError::Exists));
    assert_eq!(
        directory.rename(world, keys, TA, &id("a"), &id("c")),
        Ok(())
    );
    assert_eq!(
        directory.rename(world, keys, TA, &id("a"), &id("c")),
        missing
    );
    assert_eq!(
        directory.update(world, keys, TA, &id("c"), file(1)),
        missing
    );
    let newer = Committed {
        hash: [9; 32],
        ..file(0)
    };
    assert_eq!(directory.update(world, keys, TA, &id("c"), newer), Ok(()));
    directory.forget(world);
    let found = directory.find(world, keys, TA, &id("c")).unwrap().unwrap();
    assert_eq!((found.at, found.file), (0, newer));
    assert_eq!(directory.remove(world, keys, TA, &id("c")), Ok(0));
    assert_eq!(directory.find(world, keys, TA, &id("c")), Ok(None));
    directory.forget(world);
    assert_eq!(directory.find(world, keys, TA, &id("c")), Ok(None));
    directory
        .put(world, keys, TA, &id("d"), file(7), true)
        .unwrap();
    assert_eq!(
        directory
            .find(world, keys, TA, &id("d"))
            .unwrap()
            .unwrap()
            .at,
        0
    );
    directory.forget(world);
    assert_eq!(world.n_open(), 0);
}
