//! The TA's heap: an accounting pool that starts small and grows by pages up to what the TA asked
//! for.
//!
//! **Invariant:** nothing is reserved before the first allocation; a refusal leaves all as it was.
//! The pool's header is at the base of the reservation, where the kernel reads it. The account of
//! a block is the session being served when it was allocated, 0 for the instance itself.

use crate::{properties, syscall};
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::fmt::{self, Display};
use core::ptr::{self, NonNull};
use tally_abi::TeeResult;
use tally_ledger::{
    CallStack, Caller, Config, Origin, Overrun, OwnerId, Pool, StackBounds, Stats, Tracking,
    Walkable,
};

/// First and smallest step of growth in bytes.
const STEP: usize = 32 << 10;
const PAGE: usize = 4096;
/// How the pool keeps its accounts.
pub const CONFIG: Config = Config {
    guard: cfg!(feature = "debug-heap"),
    tracking: if IS_LIGHT {
        Tracking::Light
    } else {
        Config::TA.tracking
    },
    depth: if IS_LIGHT { 1 } else { Config::TA.depth },
    ..Config::TA
};
const IS_LIGHT: bool = cfg!(feature = "light-heap");

unsafe extern "C" {
    /// Where the code begins that is not Rust's alloc crate (linker/ta.ld).
    #[link_name = "__ta_own_code"]
    safe static OWN_CODE: u8;
}

/// Frames kept of each call stack.
const DEPTH: usize = CONFIG.depth as usize;

// The pool is at the beginning, so that allocation computes one address.
#[repr(C)]
struct State {
    /// Without memory before the first allocation.
    pool: Pool,
    owner: u16,
    base: usize,
}

/// The global allocator.
struct TaHeap(UnsafeCell<State>);

// SAFETY: the kernel lets one call at a time into an instance.
unsafe impl Sync for TaHeap {}

#[global_allocator]
static HEAP: TaHeap = TaHeap(UnsafeCell::new(State {
    pool: Pool::VOID,
    owner: 0,
    base: 0,
}));

impl TaHeap {
    #[expect(
        clippy::mut_from_ref,
        reason = "one call at a time is inside the instance"
    )]
    #[expect(
        clippy::pointers_in_nomem_asm_block,
        reason = "the block has no instruction, so it reads and writes nothing"
    )]
    fn state(&self) -> &mut State {
        let mut state = self.0.get();
        // SAFETY: no instruction. The compiler is to keep the address in a register rather than compute
        // each field's anew.
        unsafe {
            core::arch::asm!(
                "/* {} */", inout(reg) state,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        // SAFETY: no function of this module calls out to the TA while it has the state.
        unsafe { &mut *state }
    }
}

/// A call for session `owner` begins, with its stack ending at `stack_top`.
#[inline(always)]
pub(crate) fn begin_call(owner: u32, stack_top: usize) {
    let state = HEAP.state();
    state.set_owner(owner);
    let stack = StackBounds {
        lo: stack_top.saturating_sub(properties::head().stack_size as usize),
        hi: stack_top,
    };
    let mut walkable = stack.walkable();
    if IS_LIGHT {
        walkable = walkable.with_own_code(ptr::from_ref(&OWN_CODE).addr() as u64);
    }
    state.pool.set_stack(walkable);
}

/// From now on allocations go to session `owner`'s account; 0 is the instance itself.
pub(crate) fn set_owner(owner: u32) {
    HEAP.state().set_owner(owner);
}

/// The call stack of the function that this is inlined into, as allocations record it.
#[inline(always)]
#[must_use]
pub fn call_stack() -> CallStack {
    // SAFETY: what runs in the guest is compiled with frame pointers.
    let origin = unsafe { Origin::capture() };
    stack_of(origin)
}

fn stack_of(origin: Origin) -> CallStack {
    let stack = HEAP.state().pool.stack();
    if IS_LIGHT {
        origin.own_caller(DEPTH, stack).as_stack()
    } else {
        origin.stack(DEPTH, stack)
    }
}

/// Where the frame records of the call being served may be.
#[must_use]
pub fn stack() -> Walkable {
    HEAP.state().pool.stack()
}

/// Address of the pool's header, which the kernel reads; 0 before the first allocation.
#[must_use]
pub fn base() -> usize {
    HEAP.state().base
}

/// The pool's figures; `None` before the first allocation, or when the bookkeeping is damaged.
#[must_use]
pub fn stats() -> Option<Stats> {
    HEAP.state().pool.stats().ok()
}

/// Bytes charged to the session being served.
#[must_use]
pub fn session_bytes() -> u32 {
    let state = HEAP.state();
    state.pool.account(OwnerId(state.owner)).0
}

/// A block of `layout` for the caller of the function that this is inlined into, or null.
#[inline(always)]
pub(crate) fn allocate(layout: Layout) -> *mut u8 {
    let state = HEAP.state();
    if CONFIG.tracking == Tracking::Off {
        return match state.pool.alloc_untracked(layout) {
            Some(block) => block.as_ptr(),
            None => allocate_anew(layout, Origin::default()),
        };
    }
    let pool = &mut state.pool;
    // SAFETY: what runs in the guest is compiled with frame pointers.
    let (caller, block) = unsafe {
        if IS_LIGHT {
            let Some(caller) = pool.own_caller(DEPTH) else {
                return allocate_through(layout, Origin::capture());
            };
            (caller, pool.alloc_lightly(layout, &caller))
        } else {
            let caller = Caller::capture(DEPTH, pool.stack());
            let block = pool.alloc_known::<{ CONFIG.accounts }>(layout, &caller);
            (caller, block)
        }
    };
    match block {
        Some(block) => block.as_ptr(),
        // SAFETY: as above.
        None => allocate_slowly(layout, caller.key(), unsafe { Origin::capture() }),
    }
}

/// A block for a call through Rust's alloc crate, of a heap that tracks lightly.
#[inline(never)]
fn allocate_through(layout: Layout, origin: Origin) -> *mut u8 {
    let pool = &mut HEAP.state().pool;
    let caller = origin.own_caller(DEPTH, pool.stack());
    match pool.alloc_lightly(layout, &caller) {
        Some(block) => block.as_ptr(),
        None => allocate_slowly(layout, caller.key(), origin),
    }
}

/// Frees a block. A pointer that is no live block ends the TA: its heap cannot be trusted.
///
/// # Safety
/// If `block` is a live block, nobody uses it any more.
#[inline(always)]
pub(crate) unsafe fn free(block: NonNull<u8>) {
    let pool = &mut HEAP.state().pool;
    // SAFETY: our contract is the same.
    let known = unsafe {
        match CONFIG.tracking {
            Tracking::Off => pool.free_untracked(block),
            Tracking::Accounts | Tracking::Light => pool.free_lightly(block),
            Tracking::Full => pool.free_known::<{ CONFIG.accounts }>(block),
        }
    };
    if !known {
        free_slowly(block);
    }
}

#[inline(never)]
fn free_slowly(block: NonNull<u8>) {
    let pool = &mut HEAP.state().pool;
    // SAFETY: the contract of `free`, the only caller.
    if unsafe { pool.free(block) }.is_err() {
        bad_free(block);
    }
    report_overrun(pool);
}

/// Bytes of a live block. Any other pointer ends the TA.
pub(crate) fn size_of(block: NonNull<u8>) -> usize {
    HEAP.state()
        .pool
        .size_of(block)
        .unwrap_or_else(|_| bad_free(block))
}

/// Changes a block's size; null leaves it as it was.
///
/// # Safety
/// If `block` is a live block, it was allocated with `align`, and nobody uses it under its old
/// address any more unless this gives null.
#[inline(never)]
pub(crate) unsafe fn reallocate(
    block: NonNull<u8>,
    align: usize,
    size: usize,
    stack: &CallStack,
) -> *mut u8 {
    let state = HEAP.state();
    let owner = OwnerId(state.owner);
    let mut resort = Resort::Grow;
    loop {
        // SAFETY: our contract is the same.
        let moved = unsafe { state.pool.try_realloc(block, align, size, owner, stack) };
        report_overrun(&mut state.pool);
        match moved {
            Ok(Some(moved)) => {
                ring(&mut state.pool);
                return moved.as_ptr();
            }
            Ok(None) => {}
            Err(_) => bad_free(block),
        }
        if !state.resort_to(&mut resort, size, align) {
            // For good: this time it counts as a failure.
            // SAFETY: our contract is the same.
            let last = unsafe { state.pool.realloc(block, align, size, owner, stack) };
            return last.map_or(ptr::null_mut(), NonNull::as_ptr);
        }
    }
}

#[cold]
#[inline(never)]
fn bad_free(block: NonNull<u8>) -> ! {
    log::error!("free of {block:p}, which is no live block");
    syscall::panic(TeeResult::BAD_PARAMETERS.0)
}

/// A block that is large, or none that is kept.
#[inline(never)]
fn allocate_slowly(layout: Layout, key: u64, origin: Origin) -> *mut u8 {
    let pool = &mut HEAP.state().pool;
    match pool.alloc_at_known(layout, key) {
        Some(block) => {
            ring(pool);
            block.as_ptr()
        }
        None => allocate_anew(layout, origin),
    }
}

/// Tells the kernel if its alarm rang.
fn ring(pool: &mut Pool) {
    if let Some(live_bytes) = pool.take_alarm() {
        syscall::heap_alarm(live_bytes);
    }
}

/// Names a block that was found to have been written past its end.
fn report_overrun(pool: &mut Pool) {
    if !CONFIG.guard {
        return;
    }
    let Some(Overrun { block, at }) = pool.take_overrun() else {
        return;
    };
    let frames = pool.frames(block.site).unwrap_or_default();
    let known = frames.iter().take_while(|frame| **frame != 0).count();
    log::error!(
        "heap overrun: byte {at} of a block of {} bytes was written; it was allocated at{}",
        block.size,
        Places(frames.get(..known).unwrap_or_default()),
    );
}

/// Where the TA's image begins.
fn image_base() -> u64 {
    ptr::from_ref(properties::head()).addr() as u64
}

/// Return addresses as the kernel writes them: UUID and offset in the image.
struct Places<'a>(&'a [u64]);

impl Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uuid = properties::head().uuid;
        let mut offsets = self.0.iter().map(|frame| frame.wrapping_sub(image_base()));
        offsets.try_for_each(|offset| write!(f, " {uuid}+{offset:#x}"))
    }
}

/// A call site that is new, or a heap that must grow.
#[cold]
#[inline(never)]
fn allocate_anew(layout: Layout, origin: Origin) -> *mut u8 {
    let state = HEAP.state();
    let owner = OwnerId(state.owner);
    let stack = stack_of(origin);
    let mut resort = Resort::Grow;
    loop {
        if let Some(block) = state.pool.try_alloc(layout, owner, &stack) {
            ring(&mut state.pool);
            return block.as_ptr();
        }
        if !state.resort_to(&mut resort, layout.size(), layout.align()) {
            // For good: this time it counts as a failure.
            let last = state.pool.alloc(layout, owner, &stack);
            return last.map_or(ptr::null_mut(), NonNull::as_ptr);
        }
    }
}

/// What is done next for a block that there is no room for.
#[derive(Clone, Copy)]
enum Resort {
    /// The heap grows.
    Grow,
    /// What the pool keeps for later is given up.
    Trim,
    /// The heap grows; if it may not, the kernel reports that.
    GrowOrReport,
}

/// What is reserved: what the TA asked for, and the pool's own tables.
fn window_bytes() -> usize {
    let blocks = properties::heap_size();
    // The tables describe themselves too, hence the second round.
    let tables = tally_ledger::metadata_bytes(blocks, &CONFIG);
    let tables = tally_ledger::metadata_bytes(blocks + tables + PAGE, &CONFIG);
    (blocks + tables).next_multiple_of(PAGE)
}

impl State {
    #[inline(always)]
    fn set_owner(&mut self, owner: u32) {
        self.owner = owner as u16;
        self.pool.set_owner(OwnerId(self.owner));
    }

    /// Makes room for a block of `size` and `align`, perhaps: whether to try again. Only what no resort helps is
    /// reported.
    // Call stacks are of few frames, and the kernel shows them from here on.
    #[inline(always)]
    fn resort_to(&mut self, resort: &mut Resort, size: usize, align: usize) -> bool {
        if matches!(*resort, Resort::Grow) {
            if self.grow(size, align, 0).is_ok() {
                return true;
            }
            *resort = Resort::Trim;
        }
        if matches!(*resort, Resort::Trim) {
            *resort = Resort::GrowOrReport;
            self.pool.trim();
            return true;
        }
        self.grow(size, align, size).is_ok()
    }

    /// Makes the pool, or grows it so far that a block of `size` and `align` most likely fits. The kernel reports it
    /// as a refused allocation of `told` bytes if it may not, unless that is 0.
    fn grow(&mut self, size: usize, align: usize, told: usize) -> Result<(), TeeResult> {
        if align > tally_ledger::MAX_ALIGN {
            // However large the heap, it never fits.
            return Err(TeeResult::NOT_SUPPORTED);
        }
        let max = window_bytes();
        let metadata = tally_ledger::metadata_bytes(max, &CONFIG);
        let committed = self.pool.committed().max(metadata);
        // Room for the block and for aligning it.
        let needed = size.checked_add(align).ok_or(TeeResult::OUT_OF_MEMORY)?;
        if self.base == 0 {
            self.base = syscall::heap_reserve(max)?;
        }
        if size > max - metadata || committed >= max {
            // Hopeless; the kernel is asked all the same, so that it reports the refusal.
            if told != 0 {
                syscall::heap_grow(max.saturating_add(needed), told)?;
            }
            return Err(TeeResult::OUT_OF_MEMORY);
        }
        let step = needed.max((committed - metadata) / 2).max(STEP);
        // Less than `needed` may do as well: the end of the pool may be free already.
        let least = (committed + needed).next_multiple_of(PAGE).min(max);
        let mut wanted = (committed + step).next_multiple_of(PAGE).min(max);
        // A generous step that does not fit is no failure: the least one may.
        if wanted == least || syscall::heap_grow(wanted, 0).is_err() {
            wanted = least;
            syscall::heap_grow(wanted, told)?;
        }
        if self.pool.is_void() {
            let base = NonNull::new(ptr::with_exposed_provenance_mut(self.base));
            let base = base.ok_or(TeeResult::OUT_OF_MEMORY)?;
            // SAFETY: the kernel has given us `[base, base + wanted)`, zeroed but for the alarm; it is nobody else's
            // until the TA ends.
            let made = unsafe { self.pool.open(base, max, wanted, &CONFIG) };
            made.map_err(|_| TeeResult::OUT_OF_MEMORY)?;
            self.pool.set_code(image_base());
            self.pool.set_owner(OwnerId(self.owner));
        } else {
            // SAFETY: as above.
            unsafe { self.pool.grow_to(wanted) }.map_err(|_| TeeResult::OUT_OF_MEMORY)?;
        }
        Ok(())
    }
}

// SAFETY: the pool gives out disjoint blocks of the layout asked for; a block lives until it is
// freed, and a failed `realloc` leaves it alone.
unsafe impl GlobalAlloc for TaHeap {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocate(layout)
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller gives the block back, which it got from us, so that it is not null. (If it
        // is, that is no block, and ends the TA.)
        unsafe { free(NonNull::new_unchecked(block)) };
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match NonNull::new(block) {
            // SAFETY: the caller's block, allocated with this layout.
            Some(block) => unsafe { reallocate(block, layout.align(), size, &call_stack()) },
            None => ptr::null_mut(),
        }
    }
}
