//! Hostile storage: what is read is right, of this state or of an earlier one of the whole directory, or it is an error.

use crate::directory::{Directory, ObjectId};
use crate::host::StorageError;
use crate::testing::objects::{Action, act, bytes};
use crate::testing::{TA, Trouble, World, id};
use tally_abi::TeeResult;

type Bytes = Option<Vec<u8>>;

fn text(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|i| (i / 3) as u8 ^ seed).collect()
}

fn objects() -> [ObjectId; 3] {
    ["a", "b", "c"].map(id)
}

fn read(world: &mut World, directory: &mut Directory) -> [Result<Bytes, StorageError>; 3] {
    objects().map(|id| bytes(world, directory, TA, &id))
}

fn read_anew(world: &mut World) -> [Result<Bytes, StorageError>; 3] {
    world.restart();
    read(world, &mut Directory::new())
}

/// States of two objects, one behind the other.
fn history() -> Vec<(World, [Result<Bytes, StorageError>; 3])> {
    let (mut world, mut directory) = (World::default(), Directory::new());
    let create = |name, len| Action::Create {
        id: id(name),
        bytes: text(len, 1),
        replace: false,
    };
    let write = |name, at, len, seed| Action::Write {
        id: id(name),
        at,
        bytes: text(len, seed),
    };
    let actions = [
        create("a", 20),
        create("b", 5000),
        write("a", 1, 2, 7),
        write("b", 4000, 200, 8),
        write("a", 9, 50, 9),
    ];
    actions
        .map(|action| {
            act(&mut world, &mut directory, TA, &action).unwrap();
            let read = read(&mut world, &mut directory);
            (world.clone(), read)
        })
        .into()
}

/// That each object is of one of these states, or an error that is allowed.
fn check(
    found: &[Result<Bytes, StorageError>; 3],
    states: &[(World, [Result<Bytes, StorageError>; 3])],
    what: impl Fn() -> String,
) {
    for (i, object) in found.iter().enumerate() {
        let is_known = states.iter().any(|(_, state)| state[i] == *object);
        let is_corrupt = *object == Err(StorageError::Corrupt);
        assert!(is_known || is_corrupt, "{}: object {i}, {object:?}", what());
    }
}

#[test]
#[cfg(not(miri))]
fn a_changed_byte_is_noticed_or_does_not_matter() {
    let history = history();
    let (last, _) = history.last().unwrap();
    let mut noticed = 0;
    for (name, file) in last.files.clone() {
        let mut world = last.clone();
        for (at, byte) in file.iter().enumerate() {
            world.files.get_mut(&name).unwrap()[at] ^= 1 << (at % 8);
            let found = read_anew(&mut world);
            noticed += found.iter().filter(|object| object.is_err()).count();
            check(&found, &history[3..], || format!("{name} at {at}"));
            world.files.get_mut(&name).unwrap()[at] = *byte;
        }
        assert!(read_anew(&mut world) == history[4].1);
    }
    // All of a head, of a root and of a block, at least.
    assert!(noticed > 3 * (68 + 66 + 4096), "{noticed}");
}

#[test]
fn files_that_are_cut_off_missing_or_others_are_noticed() {
    let history = history();
    let (last, _) = history.last().unwrap();
    let names: Vec<String> = last.files.keys().cloned().collect();
    for name in &names {
        for len in (0..last.files[name].len()).step_by(512) {
            let mut world = last.clone();
            world.files.get_mut(name).unwrap().truncate(len);
            let found = read_anew(&mut world);
            // A directory of no head is none.
            let is_none = name == "dirf.db" && found.iter().all(|object| *object == Ok(None));
            if !is_none || len > 0 {
                check(&found, &history[3..], || format!("{name}, {len} bytes"));
            }
        }
        for other in &names {
            let mut world = last.clone();
            world.files.insert(name.clone(), last.files[other].clone());
            check(&read_anew(&mut world), &history[4..], || {
                format!("{other} for {name}")
            });
        }
        let mut world = last.clone();
        world.files.remove(name);
        let found = read_anew(&mut world);
        let lost = match name.as_str() {
            "dirf.db" => [Ok(None), Ok(None), Ok(None)],
            "0" => [
                Err(StorageError::Corrupt),
                history[4].1[1].clone(),
                Ok(None),
            ],
            _ => [
                history[4].1[0].clone(),
                Err(StorageError::Corrupt),
                Ok(None),
            ],
        };
        assert!(found == lost, "without {name}");
    }
}

#[test]
fn a_file_of_an_earlier_time_is_noticed_unless_all_are() {
    let history = history();
    let (last, state) = history.last().unwrap();
    for (earlier, earlier_state) in &history[1..4] {
        for name in ["dirf.db", "0", "1"] {
            let mut world = last.clone();
            world.files.insert(name.into(), earlier.files[name].clone());
            let found = read_anew(&mut world);
            match name {
                "dirf.db" => check(&found, &history, || "the directory".into()),
                _ => check(&found, &history[4..], || name.into()),
            }
            // Nor while it is open.
            let (mut world, mut directory) = (last.clone(), Directory::new());
            assert!(read(&mut world, &mut directory) == *state);
            world.files.insert(name.into(), earlier.files[name].clone());
            let found = read(&mut world, &mut directory);
            check(&found, &history[4..], || format!("open, {name}"));
        }
        assert!(read_anew(&mut earlier.clone()) == *earlier_state);
    }
}

fn actions() -> Vec<Action> {
    let create = |name, len, replace| Action::Create {
        id: id(name),
        bytes: text(len, 30),
        replace,
    };
    let write = |name, at, len| Action::Write {
        id: id(name),
        at,
        bytes: text(len, 31),
    };
    vec![
        create("c", 7, false),
        create("c", 20_000, false),
        create("a", 7, true),
        write("a", 3, 1),
        write("b", 4090, 30),
        write("b", 9000, 30_000),
        Action::Truncate {
            id: id("b"),
            len: 30,
        },
        Action::Truncate {
            id: id("a"),
            len: 9000,
        },
        Action::Rename {
            from: id("a"),
            to: id("c"),
        },
        Action::Remove { id: id("b") },
    ]
}

/// Does an action with trouble of the `n`-th request for every `n`; whether it may have been done all the same.
fn with_trouble(action: &Action, trouble: impl Fn(usize) -> Trouble, codes: &[StorageError]) {
    let history = history();
    let (before, old) = history.last().unwrap();
    let mut world = before.clone();
    act(&mut world, &mut Directory::new(), TA, action).unwrap();
    let new = read_anew(&mut world);
    assert!(new != *old);
    for n in 0.. {
        for is_read_before in [false, true] {
            let (mut world, mut directory) = (before.clone(), Directory::new());
            if is_read_before {
                assert!(read(&mut world, &mut directory) == *old);
            }
            world.trouble = Some(trouble(n));
            let done = act(&mut world, &mut directory, TA, action);
            let happened = !matches!(
                world.trouble,
                Some(Trouble::Refused(..) | Trouble::Lie(..) | Trouble::AllRefused(1.., _))
            );
            world.trouble = None;
            let state = match done {
                Ok(()) => &new,
                Err(_) => old,
            };
            if let Err(err) = done {
                assert!(codes.contains(&err), "{err:?}, {action:?}, {n}");
            }
            assert!(
                read(&mut world, &mut directory) == *state,
                "{action:?}, {n}, {done:?}"
            );
            assert!(read_anew(&mut world) == *state, "{action:?}, {n}, {done:?}");
            if !happened && !is_read_before {
                assert_eq!(done, Ok(()));
                return;
            }
        }
    }
}

#[test]
fn a_request_that_is_refused_once_is_made_up_for_or_nothing_has_changed() {
    let code = StorageError::Code(TeeResult::GENERIC);
    for action in actions() {
        for err in [
            code,
            StorageError::NoSpace,
            StorageError::OutOfMemory,
            StorageError::NotFound,
        ] {
            let mut codes = vec![err, StorageError::Corrupt];
            if err == StorageError::NotFound {
                codes = vec![StorageError::Corrupt, StorageError::NotFound];
            }
            with_trouble(&action, |n| Trouble::Refused(n, err), &codes);
        }
    }
}

#[test]
fn requests_that_are_all_refused_change_nothing() {
    let code = StorageError::Code(TeeResult::GENERIC);
    for action in actions() {
        let codes = [code, StorageError::Corrupt];
        with_trouble(&action, |n| Trouble::AllRefused(n, code), &codes);
    }
}

#[test]
fn lies_about_lengths_are_noticed() {
    for action in actions() {
        for by in [-1, -4096, isize::MIN, 1, isize::MAX] {
            // A directory of no bytes is none.
            let codes = [StorageError::Corrupt, StorageError::NotFound];
            with_trouble(&action, |n| Trouble::Lie(n, by), &codes);
        }
    }
}
