//! Power cuts: every object is as before or as after, and none is lost.
//!
//! What is assumed of the normal world is what optee_client's `tee_supp_fs.c` does: it has no command to synchronise, but
//! opens all files with `O_SYNC`. What was answered is on the disk, in that order; of the write that is under way any sectors
//! are. A file that is made is synchronised with its directory; one that is removed may come back.

use crate::directory::{Directory, ObjectId};
use crate::testing::objects::{Action, act, bytes};
use crate::testing::{TA, Torn, Trouble, World, id};

fn text(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|i| (i / 5) as u8 ^ seed).collect()
}

fn torn() -> impl Iterator<Item = Torn> {
    let firsts = [0, 1, 2, 8, 9, 10, 16, 17, 24, 99].map(Torn::First);
    let lasts = [1, 8, 9, 16].map(Torn::From);
    let holes = [0, 1, 8, 9].map(Torn::AllBut);
    let alternating = [2, 3].map(Torn::Every);
    firsts
        .into_iter()
        .chain(lasts)
        .chain(holes)
        .chain(alternating)
}

fn objects() -> [ObjectId; 4] {
    ["small", "large", "other", "new"].map(id)
}

/// Three objects, each of which has been changed, among them one of more nodes than a block has.
fn before() -> World {
    let (mut world, mut directory) = (World::default(), Directory::new());
    let mut act = |action| act(&mut world, &mut directory, TA, &action).unwrap();
    for (name, len) in [("small", 50), ("large", 150_000), ("other", 6000)] {
        let id = id(name);
        let bytes = text(len, len as u8);
        act(Action::Create {
            id,
            bytes,
            replace: false,
        });
        let bytes = text(3, 1);
        act(Action::Write { id, at: 7, bytes });
    }
    world
}

fn state(world: &mut World) -> Vec<Option<Vec<u8>>> {
    world.restart();
    let mut directory = Directory::new();
    let read = |id| bytes(world, &mut directory, TA, &id).expect("every object can be read");
    objects().map(read).into()
}

/// Cuts the power at each change that an action asks for.
fn at_every_change(action: &Action) {
    let start = before();
    let old = state(&mut start.clone());
    let mut world = start.clone();
    act(&mut world, &mut Directory::new(), TA, action).unwrap();
    let new = state(&mut world);
    assert_ne!(old, new);
    let mut states = [0, 0];
    for n in 0.. {
        let mut done = false;
        for torn in torn() {
            let mut world = start.clone();
            world.trouble = Some(Trouble::PowerCut(n, torn));
            let mut directory = Directory::new();
            let result = act(&mut world, &mut directory, TA, action);
            done = matches!(world.trouble, Some(Trouble::PowerCut(..)));
            let had_power = !matches!(world.trouble, Some(Trouble::Off));
            world.trouble = None;
            let found = state(&mut world);
            assert!(found == old || found == new, "{n}, {torn:?}");
            assert!(!had_power || result.is_ok());
            states[usize::from(found == new)] += 1;
            // It can be done, or done again, from there.
            if found == old && matches!(torn, Torn::Every(_)) {
                act(&mut world, &mut Directory::new(), TA, action).unwrap();
                assert!(state(&mut world) == new, "{n}, {torn:?}");
            }
        }
        if done {
            assert!(states.iter().all(|n| *n > 0));
            return;
        }
    }
}

#[test]
#[cfg(not(miri))]
fn a_power_cut_in_a_creation_leaves_the_object_or_none() {
    for len in [0, 10, 5000, 140_000] {
        let bytes = text(len, 9);
        at_every_change(&Action::Create {
            id: id("new"),
            bytes,
            replace: false,
        });
    }
}

#[test]
#[cfg(not(miri))]
fn a_power_cut_in_a_replacement_leaves_the_one_or_the_other() {
    for name in ["small", "large"] {
        let bytes = text(9000, 9);
        at_every_change(&Action::Create {
            id: id(name),
            bytes,
            replace: true,
        });
    }
}

#[test]
#[cfg(not(miri))]
fn a_power_cut_in_a_write_leaves_what_was_or_what_is_to_be() {
    for (name, at, len) in [
        ("small", 3, 1),
        ("other", 4000, 200),
        ("other", 0, 20_000),
        ("large", 149_999, 40_000),
        ("large", 126_900, 200),
        ("small", 30_000, 5),
    ] {
        let bytes = text(len, 9);
        at_every_change(&Action::Write {
            id: id(name),
            at,
            bytes,
        });
    }
}

#[test]
#[cfg(not(miri))]
fn a_power_cut_in_a_truncation_leaves_what_was_or_what_is_to_be() {
    for (name, len) in [
        ("small", 0),
        ("small", 9000),
        ("other", 4096),
        ("large", 20_000),
    ] {
        at_every_change(&Action::Truncate { id: id(name), len });
    }
}

#[test]
#[cfg(not(miri))]
fn a_power_cut_in_a_rename_or_a_removal_leaves_the_object_as_it_was_or_not() {
    at_every_change(&Action::Rename {
        from: id("other"),
        to: id("new"),
    });
    at_every_change(&Action::Remove { id: id("large") });
}

#[test]
fn a_power_cut_in_the_first_operation_of_all_leaves_a_directory_that_opens() {
    let action = Action::Create {
        id: id("new"),
        bytes: text(10, 1),
        replace: false,
    };
    for n in 0..6 {
        for torn in [Torn::First(0), Torn::First(1), Torn::From(1), Torn::From(0)] {
            let mut world = World::default();
            world.trouble = Some(Trouble::PowerCut(n, torn));
            let _ = act(&mut world, &mut Directory::new(), TA, &action);
            world.trouble = None;
            let found = state(&mut world).pop().flatten();
            assert!(found.is_none_or(|found| found == text(10, 1)));
        }
    }
}
