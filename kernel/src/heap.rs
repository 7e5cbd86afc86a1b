//! The kernel heap: a ledger pool behind the global allocator.
//!
//! **Invariant:** every block is zeroed, and carries the owner that the current thread works for and
//! the call stack that asked for it; a refused request is noted for the end of its call and for clients.

use crate::oom::LastOom;
use core::alloc::{GlobalAlloc, Layout};
use core::fmt::{self, Write};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use tally_arch::{IrqLock, current_owner, image_offset, sites, stack_bounds};
use tally_core::kernel::KernelHeap;
use tally_ledger::{
    AllocError, CallStack, Caller, Config, Origin, Pool, SiteInfo, StackBounds, Strategy, Walkable,
};
#[cfg(feature = "test-hooks")]
use tally_mem::injection::Injection;
use tally_mem::owner::OwnerId;

/// Whether somebody can ask.
const TELLS: bool = cfg!(feature = "stats");
/// How the pool is made. More frames than a TA's heap has: the way into the allocator takes some.
const CONFIG: Config = Config {
    strategy: if cfg!(feature = "first-fit") {
        Strategy::FirstFit
    } else if cfg!(feature = "best-fit") {
        Strategy::BestFit
    } else {
        Strategy::Segregated
    },
    depth: if TELLS { 6 } else { 0 },
    accounts: TELLS,
    ..Config::KERNEL
};
/// Frames kept of each call stack.
const DEPTH: usize = CONFIG.depth as usize;
/// Call sites named in an out-of-memory report.
pub(crate) const TOP_SITES: usize = 5;

/// The global allocator.
pub(crate) struct Heap {
    pub(super) pool: IrqLock<Option<Pool>>,
    /// Address of the pool, 0 before there is one.
    pub(super) base: AtomicU64,
    pub(super) last_oom: LastOom,
    #[cfg(feature = "stats")]
    pub(super) failures: IrqLock<tally_account::past::failures::Failures>,
    #[cfg(feature = "test-hooks")]
    injection: IrqLock<Injection>,
}

#[global_allocator]
pub(crate) static HEAP: Heap = Heap {
    pool: IrqLock::new(None),
    base: AtomicU64::new(0),
    last_oom: LastOom::none(),
    #[cfg(feature = "stats")]
    failures: IrqLock::new(tally_account::past::failures::Failures::EMPTY),
    #[cfg(feature = "test-hooks")]
    injection: IrqLock::new(Injection::NONE),
};

impl Heap {
    /// Makes the pool from zeroed memory. False if it is no good for one, or there is one already.
    pub(crate) fn init(&self, memory: &'static mut [MaybeUninit<u8>]) -> bool {
        let mut pool = self.pool.lock();
        let Some(base) = NonNull::new(memory.as_mut_ptr().cast::<u8>()) else {
            return false;
        };
        if pool.is_some() {
            return false;
        }
        // SAFETY:
        // 1. `memory` is exclusive and lives for good, by its type.
        // 2. The caller zeroed it.
        *pool = unsafe { Pool::create(base, memory.len(), memory.len(), &CONFIG) }.ok();
        self.base.store(base.addr().get() as u64, Ordering::Relaxed);
        pool.is_some()
    }

    pub(super) fn with<R>(&self, read: impl FnOnce(&mut Pool) -> R) -> Option<R> {
        self.pool.lock().as_mut().map(read)
    }

    #[cold]
    #[inline(never)]
    fn refused(&self, error: &AllocError, stack: &CallStack) {
        let mut top = [SiteInfo::default(); TOP_SITES];
        let told = self.with(|pool| {
            // Not by a walk: whoever is refused may have locked the state.
            let largest_free = pool.largest_free() as u64;
            (pool.top_sites(&mut top), largest_free)
        });
        let (found, largest_free) = told.unwrap_or_default();
        self.last_oom
            .keep(error, largest_free, stack, (found, &top));
        if tally_arch::current_thread().is_none() {
            // No call's end will tell it.
            self.last_oom.tell(|| ());
        }
        #[cfg(feature = "stats")]
        self.note_refused(error, largest_free, stack, (found, &top[..found.count]));
    }
}

/// The first frame that has a name, which the table of sites gives to the kernel's own code.
pub(super) fn own_frame(frames: &[u64]) -> u64 {
    let named = frames
        .iter()
        .copied()
        .find(|frame| name_of(*frame).is_some_and(is_own));
    named.unwrap_or(frames.first().copied().unwrap_or(0))
}

/// Whether a name says more than "the allocator".
fn is_own(name: tally_abi::sites::SiteName<'_>) -> bool {
    !name.file.starts_with("alloc/")
        && !name.file.starts_with("core/")
        && !name.file.ends_with("kernel/src/heap.rs")
        && !name.file.ends_with("kernel/mem/src/fallible.rs")
}

pub(super) fn name_of(address: u64) -> Option<tally_abi::sites::SiteName<'static>> {
    sites()?.lookup(image_offset(address)?)
}

pub(super) fn write_frame(out: &mut dyn Write, address: u64) -> fmt::Result {
    match (name_of(address), image_offset(address)) {
        (Some(name), _) => writeln!(out, "{} {}:{}", name.function, name.file, name.line),
        (None, Some(offset)) => writeln!(out, "kernel+{offset:#x}"),
        (None, None) => writeln!(out, "{address:#x}"),
    }
}

pub(super) fn walkable() -> Walkable {
    let (lo, hi) = stack_bounds();
    StackBounds { lo, hi }.walkable()
}

// SAFETY:
// 1. The pool gives out blocks of the layout asked for, which overlap nothing else.
// 2. A lock guards it, with interrupts masked, so that no thread is suspended while it holds it.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the kernel is compiled with frame pointers.
        let caller = unsafe { Caller::capture(DEPTH, walkable()) };
        let owner = tally_ledger::OwnerId(current_owner().0);
        #[cfg(feature = "test-hooks")]
        if self.injection.lock().refuses() {
            // SAFETY: as above.
            self.refuse(layout, owner, unsafe { Origin::capture() });
            return core::ptr::null_mut();
        }
        let known = self.with(|pool| {
            pool.set_owner(owner);
            pool.alloc_known::<{ CONFIG.accounts }>(layout, &caller)
        });
        let block = match known {
            Some(Some(block)) => block.as_ptr(),
            // SAFETY: as above.
            Some(None) => self.alloc_slowly(layout, owner, unsafe { Origin::capture() }),
            None => core::ptr::null_mut(),
        };
        if !block.is_null() {
            // What other blocks have left there would look like pointers to a scan.
            // SAFETY: the block is ours, with room for the layout.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: our contract is the same.
        unsafe { self.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, _layout: Layout) {
        let Some(block) = NonNull::new(ptr) else {
            return;
        };
        // SAFETY: the caller gives the block up.
        let known = self.with(|pool| unsafe { pool.free_known::<{ CONFIG.accounts }>(block) });
        if known == Some(false) {
            self.free_slowly(block);
        }
    }
}

impl Heap {
    /// Allocates for a call site that is new, or what is not at hand.
    #[cold]
    #[inline(never)]
    fn alloc_slowly(
        &self,
        layout: Layout,
        owner: tally_ledger::OwnerId,
        origin: Origin,
    ) -> *mut u8 {
        let stack = origin.stack(DEPTH, walkable());
        match self.with(|pool| pool.alloc(layout, owner, &stack)) {
            Some(Ok(block)) => block.as_ptr(),
            Some(Err(error)) => {
                self.refused(&error, &stack);
                core::ptr::null_mut()
            }
            None => core::ptr::null_mut(),
        }
    }

    /// Reports a request that is refused on purpose, as one for which there is no memory.
    #[cfg(feature = "test-hooks")]
    #[cold]
    #[inline(never)]
    fn refuse(&self, layout: Layout, owner: tally_ledger::OwnerId, origin: Origin) {
        let error = AllocError {
            requested: layout.size(),
            align: layout.align(),
            owner,
            allocated: 0,
            size: 0,
        };
        self.refused(&error, &origin.stack(DEPTH, walkable()));
    }

    #[cold]
    #[inline(never)]
    fn free_slowly(&self, block: NonNull<u8>) {
        // SAFETY: `dealloc`, the only caller, was given the block up.
        let freed = self.with(|pool| unsafe { pool.free(block) });
        if let Some(Err(error)) = freed {
            panic!("kernel heap: {error:?} at {block:p}");
        }
    }
}

impl KernelHeap for Heap {
    fn account(&self, owner: OwnerId) -> (u32, u32) {
        if !TELLS {
            return (0, 0);
        }
        self.with(|pool| pool.account(tally_ledger::OwnerId(owner.0)))
            .unwrap_or((0, 0))
    }

    #[cfg(feature = "test-hooks")]
    fn inject(&self, injection: Injection) -> Injection {
        core::mem::replace(&mut self.injection.lock(), injection)
    }
}
