//! A program whose global allocator is a ledger: who has what, what grew since a mark, and a
//! snapshot for `read.rs`.
//!
//! `cargo run -p tally-ledger --example global heap.bin`

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use tally_ledger::{CallStack, Config, Group, OwnerId, Pool};

/// Bytes of the heap, tables included.
const BYTES: usize = 4 << 20;

#[repr(C, align(4096))]
struct Memory(UnsafeCell<[u8; BYTES]>);

// SAFETY: only the pool uses it, under the heap's lock.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(UnsafeCell::new([0; BYTES]));

/// A pool behind a lock. A lock that may allocate would not do.
struct Heap {
    locked: AtomicBool,
    pool: UnsafeCell<Option<Pool>>,
}

// SAFETY: the pool is used while `locked` is ours.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap {
    locked: AtomicBool::new(false),
    pool: UnsafeCell::new(None),
};

thread_local! {
    /// Who works, and where: a kernel knows both without being told (`tally_ledger::capture`).
    static WORK: Cell<(u16, u64)> = const { Cell::new((0, 1)) };
}

impl Heap {
    fn with<R>(&self, work: impl FnOnce(&mut Pool) -> R) -> Option<R> {
        while self.locked.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        // SAFETY: nobody else has the lock.
        let slot = unsafe { &mut *self.pool.get() };
        if slot.is_none() {
            let base = NonNull::new(MEMORY.0.get().cast::<u8>());
            // SAFETY: zeroed, for good, and nobody else's.
            *slot = base
                .and_then(|base| unsafe { Pool::create(base, BYTES, BYTES, &Config::KERNEL).ok() });
        }
        let result = slot.as_mut().map(work);
        self.locked.store(false, Ordering::Release);
        result
    }
}

// SAFETY: the pool's blocks are disjoint, aligned and live until they are freed.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (owner, place) = WORK.get();
        let (owner, stack) = (OwnerId(owner), CallStack::from_frames(&[place]));
        let block = self.with(|pool| pool.alloc(layout, owner, &stack));
        block
            .and_then(Result::ok)
            .map_or(std::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller has no use for the block any more.
            let freed = self.with(|pool| unsafe { pool.free(block) });
            debug_assert!(matches!(freed, Some(Ok(_))), "a pointer that is no block");
        }
    }
}

/// Works for `owner` at `place`.
fn working<R>(owner: u16, place: u64, work: impl FnOnce() -> R) -> R {
    let before = WORK.replace((owner, place));
    let result = work();
    WORK.set(before);
    result
}

/// The heap's bytes, in memory that is not the heap's.
fn snapshot() -> Option<&'static mut [u8]> {
    let layout = Layout::new::<[u8; BYTES]>();
    // SAFETY: it has bytes.
    let copy = NonNull::new(unsafe { System.alloc(layout) })?;
    HEAP.with(|_| {
        // SAFETY: both are as long, and under the lock nobody writes.
        unsafe {
            MEMORY
                .0
                .get()
                .cast::<u8>()
                .copy_to_nonoverlapping(copy.as_ptr(), BYTES)
        };
    })?;
    // SAFETY: initialised above, and never freed.
    Some(unsafe { std::slice::from_raw_parts_mut(copy.as_ptr(), BYTES) })
}

/// Allocates, loses, tells, and takes a snapshot. `None` if the books do not add up.
pub(crate) fn demonstrate() -> Option<&'static mut [u8]> {
    let cache = working(1, 0x1000, || vec![0_u8; 30_000]);
    HEAP.with(|pool| pool.set_mark(1));
    working(2, 0x2000, || {
        (0..10).for_each(|_| std::mem::forget(std::hint::black_box(Box::new([0_u8; 28]))))
    });

    let mut grown = [Group::default(); 4];
    let (stats, groups, (bytes, blocks)) = HEAP.with(|pool| {
        pool.check().ok()?;
        let totals = pool.group(Some(1), &mut grown).ok()?;
        Some((pool.stats().ok()?, totals.groups, pool.account(OwnerId(1))))
    })??;
    println!(
        "{} bytes live in {} blocks, {} at most",
        stats.allocated, stats.live_blocks, stats.max_allocated
    );
    println!("owner 1 has {bytes} bytes in {blocks} block");
    for group in &grown[..groups] {
        println!(
            "since the mark: owner {} lost {} bytes in {} blocks",
            group.owner.0, group.bytes, group.blocks
        );
    }
    let bytes = snapshot();
    drop(cache);
    bytes
}

fn main() -> std::io::Result<()> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "heap.bin".into());
    let bytes = demonstrate().ok_or(std::io::ErrorKind::InvalidData)?;
    std::fs::write(file, bytes)
}
