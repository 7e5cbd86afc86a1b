//! A pool behind the ways that a TA's own heap takes, with as much bookkeeping as is asked for.
//!
//! **Invariant:** one such pool at a time, from [`Tracked::new`] to its drop.

use crate::bench::Heap;
use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use ta_runtime::heap as own_heap;
use tally_ledger::{Caller, Config, CreateError, Origin, OwnerId, Pool, Tracking};

struct Place(UnsafeCell<Pool>);

// SAFETY: the kernel lets one call at a time into an instance.
unsafe impl Sync for Place {}

/// Where the pool is: at a fixed address, as a TA's own heap.
static PLACE: Place = Place(UnsafeCell::new(Pool::VOID));

#[expect(
    clippy::pointers_in_nomem_asm_block,
    reason = "the block has no instruction, so it reads and writes nothing"
)]
fn pool() -> &'static mut Pool {
    let mut pool = PLACE.0.get();
    // SAFETY: no instruction. The compiler is to keep the address in a register, as `ta_runtime::heap` does.
    unsafe {
        core::arch::asm!(
            "/* {} */", inout(reg) pool,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    // SAFETY: no function of this module calls another that uses the pool while it does.
    unsafe { &mut *pool }
}

/// How much is written down.
pub(crate) trait Tracks {
    const TRACKING: Tracking;
    /// Frames of each call stack.
    const DEPTH: usize;
}

/// Nothing.
pub(crate) struct Untracked;

/// The pool's figures, and owner and mark of each block.
pub(crate) struct Accounts;

/// The same, and the return address of each block.
pub(crate) struct Light;

/// Call sites with counters.
pub(crate) struct Full<const DEPTH: usize>;

impl Tracks for Untracked {
    const TRACKING: Tracking = Tracking::Off;
    const DEPTH: usize = 0;
}

impl Tracks for Accounts {
    const TRACKING: Tracking = Tracking::Accounts;
    const DEPTH: usize = 0;
}

impl Tracks for Light {
    const TRACKING: Tracking = Tracking::Light;
    const DEPTH: usize = 1;
}

impl<const DEPTH: usize> Tracks for Full<DEPTH> {
    const TRACKING: Tracking = Tracking::Full;
    const DEPTH: usize = DEPTH;
}

/// A pool that keeps such books.
pub(crate) struct Tracked<T>(PhantomData<T>);

impl<T: Tracks> Tracked<T> {
    /// Makes the pool of `bytes` at `base`.
    ///
    /// # Errors
    /// As [`Pool::open`].
    ///
    /// # Safety
    /// The memory is zeroed, and nobody else's until this is dropped.
    pub(crate) unsafe fn new(base: NonNull<u8>, bytes: usize) -> Result<Self, CreateError> {
        let config = Config {
            depth: T::DEPTH as u8,
            tracking: T::TRACKING,
            ..own_heap::CONFIG
        };
        // SAFETY: our contract is the same.
        unsafe { pool().open(base, bytes, bytes, &config) }?;
        pool().set_stack(own_heap::stack());
        Ok(Self(PhantomData))
    }
}

impl<T> Drop for Tracked<T> {
    fn drop(&mut self) {
        *pool() = Pool::VOID;
    }
}

impl<T: Tracks> Heap for Tracked<T> {
    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        NonNull::new(allocate::<T>(layout))
    }

    #[inline(always)]
    fn free(&mut self, block: NonNull<u8>, _: Layout) {
        free::<T>(block);
    }
}

#[inline(never)]
fn allocate<T: Tracks>(layout: Layout) -> *mut u8 {
    let pool = pool();
    // SAFETY: what runs in the guest is compiled with frame pointers.
    let (caller, block) = unsafe {
        match T::TRACKING {
            Tracking::Off => (Caller::default(), pool.alloc_untracked(layout)),
            Tracking::Accounts => (Caller::default(), pool.alloc_accounted(layout)),
            Tracking::Light => {
                let Some(caller) = pool.own_caller(T::DEPTH) else {
                    return allocate_slowly(layout, 0, Origin::capture(), T::DEPTH);
                };
                (caller, pool.alloc_lightly(layout, &caller))
            }
            Tracking::Full => {
                let caller = Caller::capture(T::DEPTH, pool.stack());
                let block = pool.alloc_known::<{ own_heap::CONFIG.accounts }>(layout, &caller);
                (caller, block)
            }
        }
    };
    match (block, T::DEPTH) {
        (Some(block), _) => block.as_ptr(),
        (None, 0) => allocate_slowly(layout, 0, Origin::default(), 0),
        (None, _) => {
            // SAFETY: as above.
            let origin = unsafe { Origin::capture() };
            allocate_slowly(layout, caller.key(), origin, T::DEPTH)
        }
    }
}

#[inline(never)]
fn allocate_slowly(layout: Layout, key: u64, origin: Origin, depth: usize) -> *mut u8 {
    let pool = pool();
    if let Some(block) = pool.alloc_at_known(layout, key) {
        return block.as_ptr();
    }
    let stack = origin.stack(depth, pool.stack());
    pool.try_alloc(layout, OwnerId(0), &stack)
        .map_or(ptr::null_mut(), NonNull::as_ptr)
}

#[inline(never)]
fn free<T: Tracks>(block: NonNull<u8>) {
    // SAFETY: the caller of `Heap::free` gives the block up.
    let known = unsafe {
        match T::TRACKING {
            Tracking::Off => pool().free_untracked(block),
            Tracking::Accounts | Tracking::Light => pool().free_lightly(block),
            Tracking::Full => pool().free_known::<{ own_heap::CONFIG.accounts }>(block),
        }
    };
    if !known {
        free_slowly(block);
    }
}

#[inline(never)]
fn free_slowly(block: NonNull<u8>) {
    // SAFETY: as in `free`.
    let freed = unsafe { pool().free(block) };
    assert!(freed.is_ok());
}
