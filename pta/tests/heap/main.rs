//! Tests of the kernel on a heap that knows whom a block is charged to, and can refuse it.
//!
//! **Invariant:** one test at a time, since all heaps of the process are this one.

mod charges;
mod crypto;
mod guest_begin;
mod guest_end;
mod storage;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tally_abi::TeeResult;
use tally_account::testing::World;
use tally_mem::owner::OwnerId;
use tally_mem::pages::PageUse;
use tally_mem::testing::BLOCK_OWNER;

/// Blocks of owners other than the model and the kernel itself.
static CHARGED: AtomicIsize = AtomicIsize::new(0);

/// Charged blocks that there are before one is refused; negative: none is refused.
static REFUSED_AFTER: AtomicIsize = AtomicIsize::new(-1);
/// Bytes of the blocks whose owner is noted.
static WATCHED_BYTES: AtomicUsize = AtomicUsize::new(0);
/// Owner of the last such block.
static WATCHED_OWNER: AtomicU16 = AtomicU16::new(0);
/// Bytes of the rows of a list: what happens beside happens when the statistics take room for some.
static ROW_BYTES: AtomicUsize = AtomicUsize::new(0);
/// What happens beside then.
static BESIDE: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

/// Runs one test after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `round` with each charged block for it refused in turn, and nothing more charged afterwards; how many there were.
/// `is_right` says what may become of a round whose block was refused.
fn with_each_block_refused(
    round: impl Fn() -> Result<(), TeeResult>,
    is_right: impl Fn(Result<(), TeeResult>) -> bool,
) -> isize {
    let own = CHARGED.load(Ordering::Relaxed);
    for refused in 0.. {
        REFUSED_AFTER.store(refused, Ordering::Relaxed);
        let done = round();
        let was_refused = REFUSED_AFTER.swap(-1, Ordering::Relaxed) < 0;
        assert_eq!(CHARGED.load(Ordering::Relaxed), own, "block {refused}");
        if !was_refused {
            assert_eq!(done, Ok(()));
            return refused;
        }
        assert!(is_right(done), "block {refused}: {done:?}");
    }
    unreachable!("a round takes so many blocks")
}

/// Has `work` happen beside when the statistics next take room for rows of so many bytes.
fn when_rows_are_made_room_for(bytes: usize, work: impl FnOnce() + Send + 'static) {
    *BESIDE.lock().unwrap() = Some(Box::new(work));
    ROW_BYTES.store(bytes, Ordering::Relaxed);
}

/// What a block of so many bytes means to the test; whether it is refused.
fn taken(owner: u16, bytes: usize) -> bool {
    let rows = ROW_BYTES.load(Ordering::Relaxed);
    if rows != 0 && owner == OwnerId::STATS.0 && bytes.is_multiple_of(rows) {
        ROW_BYTES.store(0, Ordering::Relaxed);
        BLOCK_OWNER.store(0, Ordering::Relaxed);
        let work = BESIDE.lock().ok().and_then(|mut work| work.take());
        if let Some(work) = work {
            work();
        }
        BLOCK_OWNER.store(owner, Ordering::Relaxed);
    }
    if bytes == WATCHED_BYTES.load(Ordering::Relaxed) {
        WATCHED_OWNER.store(owner, Ordering::Relaxed);
    }
    owner != 0
        && REFUSED_AFTER.load(Ordering::Relaxed) >= 0
        && REFUSED_AFTER.fetch_sub(1, Ordering::Relaxed) == 0
}

/// The host's heap, with a tag before each block.
struct Tagged;

#[global_allocator]
static HEAP: Tagged = Tagged;

/// A layout with room for the tag before the block, and where the block begins.
fn tagged(layout: Layout) -> Option<(Layout, usize)> {
    Layout::new::<isize>().extend(layout).ok()
}

// SAFETY:
// 1. A block lies in one of the system's, behind room for its tag, where its layout wants it.
// 2. `dealloc` gets the same layout, and thus gives the same block of the system's back.
unsafe impl GlobalAlloc for Tagged {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((whole, offset)) = tagged(layout) else {
            return std::ptr::null_mut();
        };
        if taken(BLOCK_OWNER.load(Ordering::Relaxed), layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the size is not zero.
        let base = unsafe { System.alloc(whole) };
        if base.is_null() {
            return base;
        }
        let charged = isize::from(BLOCK_OWNER.load(Ordering::Relaxed) != 0);
        CHARGED.fetch_add(charged, Ordering::Relaxed);
        // SAFETY: the tag comes first, and the block at its offset.
        unsafe {
            base.cast::<isize>().write(charged);
            base.add(offset)
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some((whole, offset)) = tagged(layout) else {
            return;
        };
        // SAFETY: the block is one of `alloc`'s, with its tag before it and of the same layout.
        unsafe {
            let base = block.sub(offset);
            CHARGED.fetch_sub(base.cast::<isize>().read(), Ordering::Relaxed);
            System.dealloc(base, whole);
        }
    }
}

fn by_use(world: &World) -> Vec<u32> {
    let state = world.kernel.state();
    assert_eq!(state.pages.check(), Ok(()));
    let uses = PageUse::ALL.iter();
    uses.map(|usage| state.pages.used_for(*usage)).collect()
}
