//! A world with an account for host tests, and a stand-in for the kernel heap: it answers the same, always, but for
//! what a test has its owners have, and the log of refused allocations, which it keeps.

use crate::book::{Book, Shared, Shown};
use crate::heaps::kernel_heap::{BlockAt, HeapBooks, HeapMoment};
use crate::heaps::question::{PoolError, Question, Step};
use crate::past::failures::Failures;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use spin::Mutex;
use tally_abi::pta::MAX_FRAMES;
use tally_abi::shdr::BuildId;
use tally_core::kernel::KernelHeap;
use tally_core::pta::PseudoTa;
use tally_core::testing::world;
use tally_ledger::view::Inconsistent;
use tally_ledger::{Block, SiteId};
use tally_mem::owner::OwnerId;
use tally_records::PoolStats;

/// What a heap says that an owner has: bytes and blocks.
pub type Charged = Arc<dyn Fn(OwnerId) -> (u32, u32) + Send + Sync>;

/// A heap that counts nothing: the crate has no allocator of its own on the host.
struct NoHeap {
    failures: Mutex<Failures>,
    charged: Charged,
}

/// All heaps of models: a kernel's lives for good, and these are not lost.
static FOR_GOOD: Mutex<Vec<&'static NoHeap>> = Mutex::new(Vec::new());

impl NoHeap {
    /// A heap that lives for good, as a kernel's does.
    #[must_use]
    fn for_good(charged: Charged) -> &'static Self {
        let heap: &'static Self = Box::leak(Box::new(Self::new(charged)));
        FOR_GOOD.lock().push(heap);
        heap
    }

    /// One of its own, with an empty log.
    const fn new(charged: Charged) -> Self {
        Self {
            failures: Mutex::new(Failures::EMPTY),
            charged,
        }
    }
}

impl KernelHeap for NoHeap {
    fn account(&self, owner: OwnerId) -> (u32, u32) {
        (self.charged)(owner)
    }
}

impl HeapBooks for NoHeap {
    fn stats(&self) -> PoolStats {
        PoolStats::default()
    }
    fn moment(&self) -> HeapMoment {
        HeapMoment {
            stats: self.stats(),
            accounts: core::array::from_fn(|owner| self.account(OwnerId(owner as u16))),
        }
    }
    fn reset(&self) {}
    fn set_mark(&self, _: u16) {}
    fn range(&self) -> Range<u64> {
        0..0
    }
    fn blocks(&self, _: u64, out: &mut [Block]) -> Result<(usize, Option<u64>), Inconsistent> {
        let first = Block {
            offset: 4096,
            size: 32,
            usable: 32,
            owner: tally_ledger::OwnerId(OwnerId::GUEST.0),
            site: SiteId(1),
            mark: 1,
        };
        let second = Block {
            offset: 4128,
            ..first
        };
        let mut count = 0;
        for (slot, block) in out.iter_mut().zip([first, second]) {
            *slot = block;
            count += 1;
        }
        Ok((count, None))
    }
    fn look_up(&self, work: &mut dyn FnMut(&BlockAt<'_>)) {
        work(&|_| None);
    }
    fn frames(&self, site: SiteId) -> [u64; MAX_FRAMES] {
        let mut frames = [0; MAX_FRAMES];
        frames[0] = 0x40 * u64::from(site.0);
        frames
    }
    fn dump(&self, _: &mut dyn fmt::Write) {}
    fn name_site(&self, offset: u64, out: &mut dyn fmt::Write) -> bool {
        offset == 0x40 && out.write_str("site kernel.rs:1").is_ok()
    }
    fn call_stack(&self, frames: &mut [u64; MAX_FRAMES]) {
        frames[0] = 0x40;
    }
    fn ask(&self, _: u64, _: &mut Question<'_>) -> Result<Step, PoolError> {
        Ok(Step::default())
    }
    fn base(&self) -> u64 {
        0
    }
    fn with_failures(&self, work: &mut dyn FnMut(&mut Failures)) {
        work(&mut self.failures.lock());
    }
    fn last_oom(&self, _: &mut dyn fmt::Write) -> bool {
        false
    }
}

/// A world whose account is kept.
pub type World = world::World<Book>;
/// A TA that runs there.
pub type Run<'a> = world::Run<'a, Book>;

/// The kernel's build.
pub const BUILD: BuildId = [0xb1; 20];

/// A fresh world with these pseudo-TAs, whose normal world may see this of the secure one.
///
/// # Panics
/// If the host has no memory.
#[must_use]
pub fn world(ptas: &'static [PseudoTa<Book>], shown: Shown) -> Arc<World> {
    world_charging(ptas, shown, Arc::new(|_| (0, 0)))
}

/// The same, whose kernel heap says this of its owners.
///
/// # Panics
/// If the host has no memory.
#[must_use]
pub fn world_charging(
    ptas: &'static [PseudoTa<Book>],
    shown: Shown,
    charged: Charged,
) -> Arc<World> {
    let heap = NoHeap::for_good(charged);
    let shared = Shared {
        heap,
        shown,
        build: BUILD,
    };
    World::observed(ptas, shared, heap)
}
