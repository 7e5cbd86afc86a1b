//! Measures a pair of free and allocate among many live blocks.
//!
//! **Invariant:** the same blocks in the same order every time; between the markers nothing runs
//! but the loop. `hint #100` to `#101` encloses it, `hint #102` to `#103` an equal loop without
//! the heap.
extern crate alloc;

use crate::pool::{Accounts, Full, Light, Tracked, Tracks, Untracked};
use alloc::alloc::{alloc, dealloc};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::arch::asm;
use core::hint::black_box;
use core::ptr::NonNull;
use ta_runtime::{Error, ErrorKind, Result, heap as own_heap};
use ta_uuids::heap::strategy;
use tally_ledger::{Config, OwnerId, Pool, Strategy};

/// Most live blocks.
const MAX_BLOCKS: u32 = 10_000;
/// Bytes of a pool that is not the TA's own heap.
const OTHER_POOL_BYTES: usize = 3 << 20;
/// Where a pool may begin.
const POOL_ALIGN: usize = 4096;

/// A linear congruential generator (Knuth's MMIX constants).
struct Lcg(u64);

impl Lcg {
    fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// 16 to 4095 bytes, halving in number with each doubling of size: some 110 on average.
    fn size(&mut self) -> usize {
        let smallest = 16 << self.next().trailing_zeros().min(7);
        (smallest + self.next() % smallest) as usize
    }
}

macro_rules! marker {
    ($number:literal) => {
        // SAFETY: a hint without effect.
        unsafe {
            asm!(
                concat!("hint #", $number),
                options(nomem, nostack, preserves_flags)
            )
        }
    };
}

/// Calls that [`in_turn`] makes.
const PLACES: u32 = 8;

/// The same call from so many places, one after the other. Where a call site stands in its table depends on its
/// address, and what it takes to find it on that: one place would measure luck.
macro_rules! in_turn {
    ($call:expr) => {
        $call & $call & $call & $call & $call & $call & $call & $call
    };
}

/// What is measured.
pub(crate) trait Heap {
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>>;
    fn free(&mut self, block: NonNull<u8>, layout: Layout);
}

/// The TA's heap, by the way that all Rust code takes.
struct OwnHeap;

impl Heap for OwnHeap {
    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the layout's size is not 0.
        NonNull::new(unsafe { alloc(layout) })
    }

    #[inline(always)]
    fn free(&mut self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: `allocate` gave it with this layout, and nobody has it any more.
        unsafe { dealloc(block.as_ptr(), layout) };
    }
}

impl Heap for Pool {
    #[inline(never)]
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.try_alloc(layout, OwnerId(0), &own_heap::call_stack())
    }

    #[inline(never)]
    fn free(&mut self, block: NonNull<u8>, _: Layout) {
        // SAFETY: nobody has the block any more.
        let freed = unsafe { Pool::free(self, block) };
        assert!(freed.is_ok());
    }
}

/// Runs `pairs` pairs with `blocks` live blocks.
pub(crate) fn run(blocks: u32, pairs: u32, which: u32) -> Result<()> {
    if blocks == 0 || blocks > MAX_BLOCKS {
        return Err(Error::new(ErrorKind::BadParameters));
    }
    match which {
        strategy::DEFAULT => measure_with(&mut OwnHeap, blocks, pairs),
        strategy::FIRST_FIT => in_memory(|memory| first_fit(memory, blocks, pairs)),
        strategy::UNTRACKED => in_memory(|memory| tracked::<Untracked>(memory, blocks, pairs)),
        strategy::ACCOUNTS => in_memory(|memory| tracked::<Accounts>(memory, blocks, pairs)),
        strategy::LIGHT => in_memory(|memory| tracked::<Light>(memory, blocks, pairs)),
        strategy::DEPTH_1 => in_memory(|memory| tracked::<Full<1>>(memory, blocks, pairs)),
        strategy::DEPTH_4 => in_memory(|memory| tracked::<Full<4>>(memory, blocks, pairs)),
        strategy::DEPTH_8 => in_memory(|memory| tracked::<Full<8>>(memory, blocks, pairs)),
        _ => Err(Error::new(ErrorKind::BadParameters)),
    }
}

/// Measures with memory for a pool.
fn in_memory(measure: impl FnOnce(NonNull<u8>) -> Result<()>) -> Result<()> {
    let no_memory = || Error::new(ErrorKind::OutOfMemory);
    let layout = Layout::from_size_align(OTHER_POOL_BYTES, POOL_ALIGN).map_err(|_| no_memory())?;
    // SAFETY: the layout's size is not 0.
    let base = NonNull::new(unsafe { alloc::alloc::alloc_zeroed(layout) }).ok_or_else(no_memory)?;
    let measured = measure(base);
    // SAFETY: the pool is gone.
    unsafe { dealloc(base.as_ptr(), layout) };
    measured
}

fn first_fit(base: NonNull<u8>, blocks: u32, pairs: u32) -> Result<()> {
    let config = Config {
        strategy: Strategy::FirstFit,
        ..own_heap::CONFIG
    };
    // SAFETY: the memory is zeroed, ours, and outlives the pool.
    let pool = unsafe { Pool::create(base, OTHER_POOL_BYTES, OTHER_POOL_BYTES, &config) };
    let mut pool = pool.map_err(|_| Error::new(ErrorKind::BadState))?;
    measure_with(&mut pool, blocks, pairs)
}

fn tracked<T: Tracks>(base: NonNull<u8>, blocks: u32, pairs: u32) -> Result<()> {
    // SAFETY: the memory is zeroed, ours, and outlives the pool.
    let pool = unsafe { Tracked::<T>::new(base, OTHER_POOL_BYTES) };
    let mut pool = pool.map_err(|_| Error::new(ErrorKind::BadState))?;
    measure_with(&mut pool, blocks, pairs)
}

fn measure_with(heap: &mut impl Heap, blocks: u32, pairs: u32) -> Result<()> {
    let mut lcg = Lcg(u64::from(blocks));
    let mut live: Vec<(NonNull<u8>, Layout)> = Vec::new();
    live.try_reserve_exact(blocks as usize)?;
    let mut result = Ok(());
    for _ in 0..blocks {
        match new_block(heap, &mut lcg) {
            Some(block) => live.push(block),
            None => {
                result = Err(Error::new(ErrorKind::OutOfMemory));
                break;
            }
        }
    }
    if result.is_ok() {
        // Once over first, so that neither the growth of the heap nor new call sites are measured.
        let (few, many) = (pairs.min(blocks).div_ceil(PLACES), pairs / PLACES);
        let mut done = true;
        for &(n, is_measured) in black_box([(few, false), (many, true)].as_slice()) {
            if is_measured {
                marker!(100);
            }
            done &= in_turn!(replace(heap, &mut lcg, &mut live, n));
        }
        marker!(101);
        marker!(102);
        black_box(in_turn!(replace_nothing(&mut lcg, &mut live, many)));
        marker!(103);
        if !done {
            result = Err(Error::new(ErrorKind::OutOfMemory));
        }
    }
    for (block, layout) in live {
        heap.free(block, layout);
    }
    result
}

#[inline(always)]
fn layout(lcg: &mut Lcg) -> Option<Layout> {
    Layout::from_size_align(lcg.size(), 16).ok()
}

#[inline(always)]
fn new_block(heap: &mut impl Heap, lcg: &mut Lcg) -> Option<(NonNull<u8>, Layout)> {
    let layout = layout(lcg)?;
    Some((heap.allocate(layout)?, layout))
}

/// Frees and allocates a block `pairs` times; false when the heap refused.
#[inline(never)]
fn replace(
    heap: &mut impl Heap,
    lcg: &mut Lcg,
    live: &mut Vec<(NonNull<u8>, Layout)>,
    pairs: u32,
) -> bool {
    for _ in 0..pairs {
        let at = lcg.next() as usize % live.len();
        let (block, layout) = live.swap_remove(at);
        heap.free(block, layout);
        let Some(new) = new_block(heap, lcg) else {
            return false;
        };
        live.push(new);
    }
    true
}

/// The same work without the heap.
#[inline(never)]
fn replace_nothing(lcg: &mut Lcg, live: &mut Vec<(NonNull<u8>, Layout)>, pairs: u32) -> bool {
    for _ in 0..pairs {
        let at = lcg.next() as usize % live.len();
        let (block, old) = black_box(live.swap_remove(at));
        // The sizes' sum is of no use, but takes the same instructions to find.
        black_box(layout(lcg));
        live.push((block, old));
    }
    true
}
