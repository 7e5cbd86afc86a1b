//! The ledger's heap beside others: `cargo xtask bench --heaps`.
//!
//! Prints a line for each measured run: heap, program, pairs of calls; with a number as its argument,
//! of the run of that number alone. With `--memory` a line for each heap: name, bytes that it needs,
//! bytes live at most.

mod replay;

use replay::{Heap, run, smallest};
use std::alloc::Layout;
use std::ptr::NonNull;
use talc::DefaultBinning;
use talc::base::Talc;
use talc::source::Manual;
use tally_ledger::footprint::{Step, most_live, phases};
use tally_ledger::{CallStack, Config, OwnerId, Pool, Tracking};
use tally_ledger_bench::pairs;

/// Live blocks while pairs are measured.
const LIVE: [usize; 4] = [10, 100, 1000, 10_000];
/// Phases, and steps of each, of a program that goes through phases.
const PHASES: (usize, usize) = (8, 1500);
/// What memory is told to.
const UNIT: usize = 1024;

/// No allocator: what the loop itself takes.
struct Nothing;

impl Heap for Nothing {
    const NAME: &str = "nothing";

    unsafe fn over(_: NonNull<u8>, _: usize) -> Option<Self> {
        Some(Self)
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        std::hint::black_box(NonNull::new(std::ptr::without_provenance_mut(
            layout.size(),
        )))
    }

    unsafe fn free(&mut self, block: NonNull<u8>, _: Layout) {
        std::hint::black_box(block);
    }
}

/// The ledger's, with what `HOW` says written down; the call stacks are given.
struct Ledger<const HOW: u8> {
    pool: Pool,
    sites: [CallStack; 8],
}

const FULL: u8 = 0;
const LIGHT: u8 = 1;
const OFF: u8 = 2;

impl<const HOW: u8> Heap for Ledger<HOW> {
    const NAME: &str = match HOW {
        FULL => "tally-ledger",
        LIGHT => "tally-ledger, light",
        _ => "tally-ledger, off",
    };

    unsafe fn over(base: NonNull<u8>, bytes: usize) -> Option<Self> {
        let tracking = match HOW {
            FULL => Tracking::Full,
            LIGHT => Tracking::Light,
            _ => Tracking::Off,
        };
        let config = Config {
            tracking,
            ..Config::TA
        };
        // SAFETY: our contract is the same.
        let pool = unsafe { Pool::create(base, bytes, bytes, &config) }.ok()?;
        let site = |n: u64| CallStack::from_frames(&[0x1000 + 64 * n, 0x8000, 0x9000, 0xa000]);
        Some(Self {
            pool,
            sites: std::array::from_fn(|n| site(n as u64)),
        })
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let site = &self.sites[layout.size() % 8];
        self.pool.alloc(layout, OwnerId(0), site).ok()
    }

    unsafe fn free(&mut self, block: NonNull<u8>, _: Layout) {
        // SAFETY: our contract is the same.
        let freed = unsafe { self.pool.free(block) };
        debug_assert!(freed.is_ok());
    }
}

impl Heap for Talc<Manual, DefaultBinning> {
    const NAME: &str = "talc";

    unsafe fn over(base: NonNull<u8>, bytes: usize) -> Option<Self> {
        let mut heap = Self::new(Manual);
        // SAFETY: our contract is the same.
        unsafe { heap.claim(base.as_ptr(), bytes) }?;
        Some(heap)
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: nobody asks for no bytes.
        unsafe { Self::allocate(self, layout) }
    }

    unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: our contract is the same.
        unsafe { self.deallocate(block.as_ptr(), layout) };
    }
}

/// Blocks up to 16 MiB, 16 classes for each doubling.
type Rlsf = rlsf::Tlsf<'static, u32, u16, 20, 16>;

impl Heap for Rlsf {
    const NAME: &str = "rlsf";

    unsafe fn over(base: NonNull<u8>, bytes: usize) -> Option<Self> {
        let mut heap = Self::new();
        // SAFETY: our contract is the same.
        unsafe { heap.insert_free_block_ptr(NonNull::slice_from_raw_parts(base, bytes)) }?;
        Some(heap)
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        Self::allocate(self, layout)
    }

    unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: our contract is the same.
        unsafe { self.deallocate(block, layout.align()) };
    }
}

impl Heap for linked_list_allocator::Heap {
    const NAME: &str = "linked_list_allocator";

    unsafe fn over(base: NonNull<u8>, bytes: usize) -> Option<Self> {
        // SAFETY: our contract is the same.
        (bytes >= UNIT).then(|| unsafe { Self::new(base.as_ptr(), bytes) })
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.allocate_first_fit(layout).ok()
    }

    unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: our contract is the same.
        unsafe { self.deallocate(block, layout) };
    }
}

impl Heap for buddy_system_allocator::Heap<32> {
    const NAME: &str = "buddy_system_allocator";

    unsafe fn over(base: NonNull<u8>, bytes: usize) -> Option<Self> {
        let mut heap = Self::new();
        // SAFETY: our contract is the same.
        unsafe { heap.init(base.addr().get(), bytes) };
        Some(heap)
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.alloc(layout).ok()
    }

    unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: our contract is the same.
        unsafe { self.dealloc(block, layout) };
    }
}

/// Which of the runs is wanted: all, or the one of this number.
struct Runs {
    only: Option<usize>,
    next: usize,
}

impl Runs {
    fn measure<H: Heap>(&mut self, program: &str, before: &[Step], steps: &[Step]) {
        let number = self.next;
        self.next += 1;
        if self.only.is_some_and(|only| only != number) {
            return;
        }
        assert!(run::<H>(before, steps), "{}: no room", H::NAME);
        println!("{}\t{program}\t{}", H::NAME, steps.len() / 2);
    }

    fn instructions<H: Heap>(&mut self) {
        for live in LIVE {
            let (before, steps) = pairs(live);
            self.measure::<H>(&live.to_string(), &before, &steps);
        }
        self.measure::<H>("phases", &[], &phases(PHASES.0, PHASES.1));
    }

    fn memory<H: Heap>(&mut self) {
        let steps = phases(PHASES.0, PHASES.1);
        let bytes = smallest::<H>(&steps, UNIT).expect("room for what is live");
        println!("{}\t{bytes}\t{}", H::NAME, most_live(&steps));
    }
}

macro_rules! each {
    ($runs:ident.$what:ident) => {
        $runs.$what::<Ledger<FULL>>();
        $runs.$what::<Ledger<LIGHT>>();
        $runs.$what::<Ledger<OFF>>();
        $runs.$what::<Talc<Manual, DefaultBinning>>();
        $runs.$what::<Rlsf>();
        $runs.$what::<linked_list_allocator::Heap>();
        $runs.$what::<buddy_system_allocator::Heap<32>>();
    };
}

fn main() {
    let mut args = std::env::args().skip(1);
    let asked = args.next().unwrap_or_default();
    let mut runs = Runs {
        only: asked.parse().ok(),
        next: 0,
    };
    if asked == "--memory" {
        each!(runs.memory);
    } else {
        runs.instructions::<Nothing>();
        each!(runs.instructions);
    }
}
