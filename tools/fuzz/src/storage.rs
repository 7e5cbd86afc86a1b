//! Reading trusted storage whose files are any bytes.
//!
//! **Invariant:** what is read of a file that was changed is what was written, or nothing.

use std::sync::LazyLock;
use tally_storage::directory::Directory;
use tally_storage::host::StorageError;
use tally_storage::testing::objects::{Action, act, bytes};
use tally_storage::testing::{TA, World, id};

/// The object's bytes: blocks enough for more nodes than one of their blocks has.
fn text() -> Vec<u8> {
    (0..140_000u32).map(|i| (i >> 7) as u8).collect()
}

fn world() -> World {
    static WORLD: LazyLock<World> = LazyLock::new(new_world);
    WORLD.clone()
}

fn new_world() -> World {
    let (mut world, mut directory) = (World::default(), Directory::new());
    let action = Action::Create {
        id: id("object"),
        bytes: text(),
        replace: false,
    };
    act(&mut world, &mut directory, TA, &action).expect("nothing is in its way");
    directory.forget(&mut world);
    world
}

/// Parts of a file that are worth changing: head and first nodes.
const PART: usize = 8192;

fn sample(name: &str) -> Vec<u8> {
    let world = world();
    world.files[name][..PART].to_vec()
}

/// The directory's head and nodes.
pub(crate) fn directories() -> Vec<Vec<u8>> {
    vec![sample("dirf.db")]
}

/// An object's head and nodes.
pub(crate) fn trees() -> Vec<Vec<u8>> {
    vec![sample("0")]
}

fn run(name: &str, input: &[u8]) {
    let mut world = world();
    let file = world.files.entry(name.to_owned()).or_default();
    let len = input.len().min(PART);
    file[..len].copy_from_slice(&input[..len]);
    if len < PART {
        file.truncate(len);
    }
    let mut directory = Directory::new();
    match bytes(&mut world, &mut directory, TA, &id("object")) {
        Ok(Some(found)) => assert!(found == text(), "other bytes"),
        Ok(None) => assert_eq!(name, "dirf.db"),
        Err(err) => assert_eq!(err, StorageError::Corrupt),
    }
    directory.forget(&mut world);
    assert_eq!(world.n_open(), 0, "a file stays open");
}

/// Reads a directory that begins with these bytes.
pub(crate) fn directory(input: &[u8]) {
    run("dirf.db", input);
}

/// Reads an object whose file begins with these bytes.
pub(crate) fn tree(input: &[u8]) {
    run("0", input);
}
