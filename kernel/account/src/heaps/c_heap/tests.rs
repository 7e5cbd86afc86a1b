//! Heaps of C TAs as the account tells them: a model of their allocator in the memory of a TA.

use super::figures;
use crate::book::{Book, Shown};
use crate::inspector::Inspector;
use crate::testing::{World, world};
use alloc::sync::Arc;
use tally_abi::{TeeResult, TeeUuid};
use tally_bget::model::{Build, Model};
use tally_core::guest_id::GuestId;
use tally_core::ta::instance::{Instance, InstanceRef};
use tally_mem::addr::{PAGE_SIZE, UserVa};
use tally_mem::mem::Mem;
use tally_mem::region::{Place, Prot, RegionKind};
use tally_mem::testing::TestMachine;
use tally_records::PoolStats;
use tally_records::consistency::{INCONSISTENT, SOUND};

const TA: TeeUuid = TeeUuid::from_u128(0x77);
/// Pages of the TA's data that its allocator lies in.
const PAGES: usize = 20;

/// A TA, and what is to lie in its data.
struct Ta {
    world: Arc<World>,
    session: u32,
    instance: InstanceRef,
    model: Model,
}

impl Ta {
    /// One whose allocator has no pool, nor any of its data touched.
    fn new(build: Build) -> Self {
        let world = world(&[], Shown::default());
        world.install(TA, 0, 4);
        let session = world.opened(TA);
        let instance = {
            let state = world.kernel.state();
            state
                .guest(GuestId::FIRST)
                .instances
                .named()
                .next()
                .unwrap()
                .0
        };
        let mut ta = Self {
            world,
            session,
            instance,
            model: Model::new(build, 0, PAGE_SIZE),
        };
        let bytes = PAGES * PAGE_SIZE;
        let va = ta.with(|found, mem| {
            let space = found.space.as_mut().unwrap();
            let (kind, place) = (RegionKind::Mapped, Place::random(0));
            space.map_zero(mem, kind, bytes as u64, Prot::READ_WRITE, place)
        });
        ta.model = Model::new(build, va.unwrap().0, bytes);
        let list = ta.model.list();
        ta.with(|found, _| found.kept.as_mut().unwrap().free_lists[0] = list);
        ta
    }

    /// One with a pool, and some blocks of different sizes in it.
    fn with_blocks(build: Build, count: u64) -> Self {
        let mut ta = Self::new(build);
        let pool = (PAGES - 1) * PAGE_SIZE;
        ta.model
            .add_pool(ta.model.base + PAGE_SIZE as u64, pool as u64);
        for n in 0..count {
            ta.model.allocate(0, 16 + n % 5 * 16).unwrap();
        }
        ta.store();
        ta
    }

    fn with<T>(&self, work: impl FnOnce(&mut Instance<Book>, &mut Mem<'_, TestMachine>) -> T) -> T {
        let mut state = self.world.kernel.state();
        let (pages, guest) = state.split(GuestId::FIRST);
        let mut mem = Mem::new(pages, &self.world.kernel.machine);
        work(guest.instances.at_mut(self.instance).unwrap(), &mut mem)
    }

    fn look(&self) -> Inspector<'_, TestMachine> {
        Inspector {
            kernel: &self.world.kernel,
            guest: GuestId::FIRST,
        }
    }

    /// Writes the model over the TA's data.
    fn store(&self) {
        let va = UserVa(self.model.base);
        let memory = &self.model.memory;
        self.with(|found, mem| {
            let space = found.space.as_mut().unwrap();
            assert_eq!(space.write_user(mem, va, memory), Ok(()));
        });
    }

    /// All figures.
    fn pool(&self) -> PoolStats {
        self.look().ta_pool_in_steps(self.instance).unwrap()
    }

    fn end(self) {
        assert_eq!(self.world.close(self.session), TeeResult::SUCCESS);
    }
}

/// Whether they are sound, bytes and blocks.
fn key(pool: &PoolStats) -> (u32, u64, u64) {
    (
        pool.inconsistent,
        pool.alloc.allocated.into(),
        pool.live_blocks,
    )
}

#[test]
fn counters_that_cannot_be_are_told() {
    // Bug: a TA that forged its counters had a sound heap of 2^63 bytes.
    for (counter, forged) in [(0, 1 << 63), (2, 1 << 20)] {
        let mut ta = Ta::with_blocks(Build::Counted, 3);
        let at_once = |ta: &Ta| ta.with(|found, mem| figures(mem.machine, found));
        assert_eq!(key(&at_once(&ta)), (SOUND, ta.model.allocated(), 3));
        ta.model.put(ta.model.list() + 32 + 8 * counter, forged);
        ta.store();
        assert_eq!(key(&at_once(&ta)), (INCONSISTENT, 0, 0));
        assert_eq!(key(&ta.pool()), (INCONSISTENT, 0, 0));
        ta.end();
    }
}
