//! A heap that refuses a block: nothing has changed then, and nothing stays.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};
use tally_mem::testing::BLOCK_OWNER;
use tally_storage::directory::Directory;
use tally_storage::host::StorageError;
use tally_storage::testing::objects::{Action, act, bytes};
use tally_storage::testing::{TA, World, id};

/// Blocks that there are before one is refused; negative: none is refused.
static REFUSED_AFTER: AtomicIsize = AtomicIsize::new(-1);

/// The host's heap.
struct Refusing;

#[global_allocator]
static HEAP: Refusing = Refusing;

// SAFETY: blocks are the system's.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if BLOCK_OWNER.load(Ordering::Relaxed) != 0
            && REFUSED_AFTER.load(Ordering::Relaxed) >= 0
            && REFUSED_AFTER.fetch_sub(1, Ordering::Relaxed) == 0
        {
            return std::ptr::null_mut();
        }
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as our caller promises; the block is the system's.
        unsafe { System.dealloc(block, layout) }
    }
}

fn state(world: &mut World, directory: &mut Directory) -> Vec<Option<Vec<u8>>> {
    ["a", "b", "c"]
        .map(|name| bytes(world, directory, TA, &id(name)).unwrap())
        .into()
}

#[test]
#[cfg(not(miri))]
fn a_refused_block_changes_nothing() {
    let create = |name, len, replace| Action::Create {
        id: id(name),
        bytes: vec![1; len],
        replace,
    };
    let write = |name, at, len| Action::Write {
        id: id(name),
        at,
        bytes: vec![2; len],
    };
    let mut before = World::default();
    let mut directory = Directory::new();
    act(&mut before, &mut directory, TA, &create("a", 10, false)).unwrap();
    act(
        &mut before,
        &mut directory,
        TA,
        &create("b", 140_000, false),
    )
    .unwrap();
    let old = state(&mut before, &mut directory);
    before.restart();
    for action in [
        create("c", 10, false),
        create("c", 140_000, false),
        create("a", 5000, true),
        write("a", 3, 1),
        write("b", 139_000, 20_000),
        Action::Truncate {
            id: id("b"),
            len: 5000,
        },
        Action::Rename {
            from: id("a"),
            to: id("c"),
        },
        Action::Remove { id: id("b") },
    ] {
        for n in 0.. {
            let (mut world, mut directory) = (before.clone(), Directory::new());
            REFUSED_AFTER.store(n, Ordering::Relaxed);
            BLOCK_OWNER.store(1, Ordering::Relaxed);
            let done = act(&mut world, &mut directory, TA, &action);
            BLOCK_OWNER.store(0, Ordering::Relaxed);
            if REFUSED_AFTER.swap(-1, Ordering::Relaxed) >= 0 {
                assert_eq!(done, Ok(()));
                break;
            }
            let now = state(&mut world, &mut directory);
            assert!(now == state(&mut world, &mut Directory::new()));
            match done {
                Ok(()) => assert!(now != old),
                Err(err) => {
                    assert_eq!(err, StorageError::OutOfMemory, "{action:?}");
                    assert!(now == old, "{n}");
                }
            }
        }
    }
}
