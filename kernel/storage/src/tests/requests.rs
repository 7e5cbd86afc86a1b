//! Requests to the normal world, operation by operation.

use crate::directory::Directory;
use crate::file::File;
use crate::testing::Request::{Create, Open, Read, Write};
use crate::testing::{TA, World, id, keys, read, write};

const fn reads(at: u64, len: usize) -> crate::testing::Request {
    Read { at, len }
}

const fn writes(at: u64, len: usize) -> crate::testing::Request {
    Write { at, len }
}

#[test]
fn operations_on_a_small_object_cost_few_requests() {
    let (mut world, mut directory) = (World::default(), Directory::new());
    let keys = &keys();
    directory.find(&mut world, keys, TA, &id("a")).unwrap();
    let mut number = Ok(0);
    let reserve = world.asks(|world| number = directory.reserve(world, keys));
    assert_eq!(
        reserve,
        [Open, Open, Create, writes(4096, 4096), writes(68, 68)]
    );
    let mut made = None;
    let create = world.asks(|world| {
        let mut file = File::create(world, keys, TA, number.unwrap()).unwrap();
        write(world, &mut file, 0, b"text").unwrap();
        let committed = file.commit(world, keys).unwrap();
        made = Some((file, committed));
    });
    assert_eq!(create, [Create, writes(0, 12288)]);
    let (mut file, committed) = made.unwrap();
    let put = world.asks(|world| {
        directory
            .put(world, keys, TA, &id("a"), committed, false)
            .unwrap();
    });
    assert_eq!(put, [reads(0, 136), writes(4096, 8192), writes(0, 68)]);
    let change = world.asks(|world| {
        write(world, &mut file, 1, b"i").unwrap();
        file.commit(world, keys).unwrap();
    });
    assert_eq!(
        change,
        [reads(0, 136), writes(0, 8192), writes(12288, 4096)]
    );
    file.close(&mut world);
    let mut opened = None;
    let open = world.asks(|world| opened = Some(File::open(world, keys, TA, committed).unwrap()));
    assert_eq!(open, [Open, reads(0, 8192)]);
    let mut file = opened.unwrap();
    let mut all = Vec::new();
    let data = world.asks(|world| all = read(world, &mut file).unwrap());
    assert_eq!((data, all), (vec![reads(8192, 4096)], b"text".to_vec()));
    let mut found = None;
    let find = world.asks(|world| found = directory.find(world, keys, TA, &id("a")).unwrap());
    assert_eq!(find, []);
    let update = world.asks(|world| {
        directory
            .update(world, keys, TA, &id("a"), found.unwrap().file)
            .unwrap();
    });
    assert_eq!(
        update,
        [
            reads(0, 136),
            writes(4096, 4096),
            writes(12288, 4096),
            writes(68, 68)
        ]
    );
}

#[test]
fn a_restart_of_the_supplicant_is_not_noticed() {
    for (when, other) in [(0, false), (0, true), (1, false), (2, false), (2, true)] {
        let mut world = World::default();
        let mut file = File::create(&mut world, &keys(), TA, 1).unwrap();
        write(&mut world, &mut file, 0, &[1; 10_000]).unwrap();
        file.commit(&mut world, &keys()).unwrap();
        world.files.insert("2".into(), vec![5; 50_000]);
        let restart = |world: &mut World, now: u32| {
            if now == when {
                world.restart();
            }
            if now == when && other {
                world.open_other("2");
            }
        };
        restart(&mut world, 0);
        write(&mut world, &mut file, 9_999, &[2; 2]).unwrap();
        restart(&mut world, 1);
        file.commit(&mut world, &keys()).unwrap();
        restart(&mut world, 2);
        let mut expected = vec![1; 9_999];
        expected.extend([2, 2]);
        assert!(read(&mut world, &mut file).unwrap() == expected, "{when}");
        file.close(&mut world);
        assert_eq!(world.files["2"], [5; 50_000]);
    }
}
