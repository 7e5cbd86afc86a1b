//! Heaps of C TAs as the account tells them: a model of their allocator in the memory of a TA.

use super::{memory, most_steps};
use crate::book::{Book, Shown};
use crate::heaps::pools::HeapRef;
use crate::heaps::question::{Course, PoolError, Question};
use crate::inspector::Inspector;
use crate::testing::{World, world};
use alloc::sync::Arc;
use alloc::vec;
use std::vec::Vec;
use tally_abi::{TeeResult, TeeUuid};
use tally_bget::Reader as _;
use tally_bget::model::{Build, Model};
use tally_core::guest_id::GuestId;
use tally_core::ta::instance::{Instance, InstanceRef};
use tally_core::ta::task::Task;
use tally_ledger::Stats;
use tally_mem::addr::{PAGE_SIZE, UserVa};
use tally_mem::mem::Mem;
use tally_mem::owner::OwnerId;
use tally_mem::pages::PageUse;
use tally_mem::region::{Place, Prot, RegionKind};
use tally_mem::testing::TestMachine;
use tally_records::consistency::{CHANGING, INCONSISTENT, SOUND};
use tally_records::{BlockRow, ChunkRow, ClassRow, PoolStats, chunk_kind, class_kind, damage};

const TA: TeeUuid = TeeUuid::from_u128(0x77);
const BUILDS: [Build; 3] = [Build::Plain, Build::Counted, Build::Squared];
const PAGE: u64 = PAGE_SIZE as u64;
/// Pages of the TA's data that its allocator lies in.
const PAGES: u64 = 20;
/// Blocks of a heap that is walked in many steps.
const MANY: u64 = 1000;

/// Works on an instance and its memory.
fn with<T>(
    world: &World,
    instance: InstanceRef,
    work: impl FnOnce(&mut Instance<Book>, &mut Mem<'_, TestMachine>) -> T,
) -> T {
    let mut state = world.kernel.state();
    let (pages, guest) = state.split(GuestId::FIRST);
    let mut mem = Mem::new(pages, &world.kernel.machine);
    work(guest.instances.at_mut(instance).unwrap(), &mut mem)
}

/// Writes to the TA's data.
fn store(world: &World, instance: InstanceRef, va: u64, bytes: &[u8]) {
    with(world, instance, |found, mem| {
        let space = found.space.as_mut().unwrap();
        assert_eq!(space.write_user(mem, UserVa(va), bytes), Ok(()));
    });
}

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
        let model = with(&world, instance, |found, mem| {
            let space = found.space.as_mut().unwrap();
            let (kind, place) = (RegionKind::Mapped, Place::random(0));
            let va = space.map_zero(mem, kind, PAGES * PAGE, Prot::READ_WRITE, place);
            let model = Model::new(build, va.unwrap().0, (PAGES * PAGE) as usize);
            found.kept.as_mut().unwrap().free_lists[0] = model.list();
            model
        });
        Self {
            world,
            session,
            instance,
            model,
        }
    }

    /// One with a pool of all pages but one, and blocks of different sizes in it.
    fn with_blocks(build: Build, count: u64) -> Self {
        let mut ta = Self::new(build);
        ta.model.add_pool(ta.model.base + PAGE, (PAGES - 1) * PAGE);
        for n in 0..count {
            ta.model.allocate(0, 16 + n % 5 * 16).unwrap();
        }
        ta.store();
        ta
    }

    fn look(&self) -> Inspector<'_, TestMachine> {
        Inspector {
            kernel: &self.world.kernel,
            guest: GuestId::FIRST,
        }
    }

    /// Writes the model over the TA's data.
    fn store(&self) {
        store(
            &self.world,
            self.instance,
            self.model.base,
            &self.model.memory,
        );
    }

    /// All figures.
    fn pool(&self) -> PoolStats {
        self.look().ta_pool_in_steps(self.instance).unwrap()
    }

    /// Its blocks by their addresses, without the list of pools.
    fn blocks(&self) -> Vec<(u64, u64)> {
        let list = self.model.get(self.model.pools());
        let live = self.model.live.iter().filter(|(va, _)| **va != list);
        live.map(|(va, bytes)| (*va, *bytes)).collect()
    }

    /// What all figures shall be.
    fn sound(&self) -> (u32, u64, u64) {
        (SOUND, self.model.allocated(), self.blocks().len() as u64)
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
        assert_eq!(key(&ta.pool()), ta.sound());
        ta.model.put(ta.model.list() + 32 + 8 * counter, forged);
        ta.store();
        assert_eq!(key(&ta.pool()), (INCONSISTENT, 0, 0));
        ta.end();
    }
}

#[test]
fn all_of_a_heap_is_told_at_its_end_however_it_was_built() {
    // Bug: without counters, no more than 256 chunks were looked at, and then nothing was known.
    for build in BUILDS {
        let ta = Ta::with_blocks(build, MANY);
        let before = ta.world.kernel.machine.interruptible_calls();
        let remains = ta.look().remains(ta.instance).unwrap();
        let steps = ta.world.kernel.machine.interruptible_calls() - before;
        assert_eq!(key(&remains.heap), ta.sound());
        assert_eq!(remains.heap.owner, TA);
        assert!(steps >= MANY as usize / 64, "interrupts come through");
        ta.end();
    }
}

#[test]
fn a_heap_that_is_broken_at_its_end_is_not_changing() {
    let mut ta = Ta::with_blocks(Build::Plain, 3);
    ta.model.put(ta.model.base + PAGE + 8, 7);
    ta.store();
    with(&ta.world, ta.instance, |found, _| {
        found.task = Some(task());
    });
    assert_eq!(ta.pool().inconsistent, CHANGING);
    let remains = ta.look().remains(ta.instance).unwrap();
    assert_eq!(remains.heap.inconsistent, INCONSISTENT);
    with(&ta.world, ta.instance, |found, _| found.task = None);
    assert_eq!(ta.pool().inconsistent, INCONSISTENT);
    ta.end();
}

const fn task() -> Task {
    Task {
        function: 0,
        command: 0,
        session: 0,
        since: 0,
    }
}

#[test]
fn a_moment_walks_over_no_heap() {
    // Bug: up to 256 chunks of each heap without counters were looked at under the lock of a snapshot's moment.
    for build in BUILDS {
        let mut ta = Ta::with_blocks(build, 100);
        let steps = ta.look().steps(ta.instance).unwrap();
        assert_eq!(key(&steps.heap), ta.sound());
        let by_now = |ta: &Ta| {
            let state = ta.world.kernel.state();
            let changed = ta
                .look()
                .has_changed(state.guest(GuestId::FIRST), &steps.known);
            changed.map(|found| ta.look().ta_pool_by_now(found, &steps.heap))
        };
        assert!(by_now(&ta).is_none());
        let (_, bytes, blocks) = ta.sound();
        ta.model.free(ta.blocks()[50].0);
        ta.store();
        let pool = by_now(&ta).unwrap();
        assert_eq!(key(&pool), (CHANGING, bytes, blocks));
        assert_eq!(pool.largest_free, steps.heap.largest_free);
        // What is not sound stays so, and one that began since is not known yet.
        with(&ta.world, ta.instance, |found, _| {
            let look = ta.look();
            let broken = PoolStats {
                inconsistent: INCONSISTENT,
                ..steps.heap
            };
            assert_eq!(
                look.ta_pool_by_now(found, &broken).inconsistent,
                INCONSISTENT
            );
            assert_eq!(key(&look.steps_at_once(found).heap), (CHANGING, 0, 0));
        });
        ta.end();
    }
}

#[test]
fn a_heap_that_changes_during_a_walk_is_walked_again() {
    for build in BUILDS {
        // One that the walk has not come by yet, and one that it has, so that what it finds still adds up.
        for (at_step, block) in [(0, MANY as usize - 2), (3, 1)] {
            let mut ta = Ta::with_blocks(build, MANY);
            ta.model.free(ta.blocks()[block].0);
            let (va, instance) = (ta.model.base, ta.instance);
            let memory = ta.model.memory.clone();
            ta.world
                .at_interrupt(at_step, move |world| store(world, instance, va, &memory));
            assert_eq!(key(&ta.pool()), ta.sound(), "{build:?}");
            assert!(!ta.world.forget_interrupt());
            ta.end();
        }
    }
}

/// From now on moves a pool down whenever interrupts come through, so far that a walk finds itself where it was.
fn keep_moving(world: &World, instance: InstanceRef, entry: u64, (pool, floor): (u64, u64)) {
    if pool < floor {
        return;
    }
    world.at_interrupt(0, move |world| {
        store(world, instance, entry, &pool.to_le_bytes());
        keep_moving(world, instance, entry, (pool - MOVE, floor));
    });
}

/// How far the pool moves each time.
const MOVE: u64 = 1984;

#[test]
fn walks_end_when_pools_move() {
    // Bug: they went on at an offset from where the first pool was then.
    let mut ta = Ta::new(Build::Plain);
    let (main, small) = (ta.model.base + 10 * PAGE, ta.model.base + 9 * PAGE);
    ta.model.add_pool(main, 8 * PAGE);
    ta.model.add_pool(small, 48);
    while ta.model.allocate(0, 16).is_some() {}
    let floor = ta.model.base + PAGE;
    let places: Vec<u64> = (0..)
        .map(|n| small - n * MOVE)
        .take_while(|at| *at >= floor)
        .collect();
    for word in (0..48).step_by(8) {
        let value = ta.model.get(small + word);
        places.iter().for_each(|at| ta.model.put(at + word, value));
    }
    let entry = ta.model.get(ta.model.pools()) + 16;
    assert_eq!(ta.model.get(entry), small);
    let heap = HeapRef::Ta(ta.instance);
    let last = main + 8 * PAGE - 40 - small;
    type Walk = fn(&Ta, HeapRef, u64) -> Result<(), TeeResult>;
    let walks: [(&str, Walk, Result<(), TeeResult>); 5] = [
        (
            "figures",
            |ta, _, _| {
                assert_eq!(key(&ta.pool()), (CHANGING, 0, 0));
                Ok(())
            },
            Ok(()),
        ),
        (
            "block",
            |ta, heap, last| ta.look().block_in(heap, last).map(drop),
            Err(TeeResult::BUSY),
        ),
        (
            "check",
            |ta, heap, _| ta.look().check_heap(heap).map(drop),
            Err(TeeResult::BUSY),
        ),
        (
            "classes",
            |ta, heap, _| {
                let mut rows = [ClassRow::default(); 4];
                let count = ta.look().class_rows(heap, &mut rows)?;
                assert_eq!(count, 0, "what is changing has no classes");
                Ok(())
            },
            Ok(()),
        ),
        (
            "blocks",
            |ta, heap, _| {
                let mut blocks = 0;
                let walked = ta.look().each_block(heap, |_| {
                    blocks += 1;
                    Ok(())
                });
                assert!(walked.is_err() && blocks < 100);
                Ok(())
            },
            Ok(()),
        ),
    ];
    for (what, walk, result) in walks {
        ta.store();
        keep_moving(&ta.world, ta.instance, entry, (small - MOVE, floor));
        let before = ta.world.kernel.machine.interruptible_calls();
        assert_eq!(walk(&ta, heap, last), result, "{what}");
        let steps = ta.world.kernel.machine.interruptible_calls() - before;
        assert!(steps <= 16, "{what}: {steps}");
        assert!(ta.world.forget_interrupt());
    }
    ta.end();
}

#[test]
fn a_course_ends_where_pools_are_elsewhere_or_steps_are_used_up() {
    assert_eq!((most_steps(0), most_steps(1), most_steps(9)), (16, 27, 115));
    let mut course = Course::at(3);
    assert_eq!((course.follow(7, 2), course.follow(7, 2)), (Ok(()), Ok(())));
    assert_eq!(course.follow(7, 2), Err(PoolError::Changed));
    let mut course = Course::default();
    assert_eq!(course.follow(0, 9), Ok(()));
    assert_eq!(course.follow(1, 9), Err(PoolError::Changed));
}

#[test]
fn only_data_of_its_own_that_it_may_write_is_read() {
    let ta = Ta::new(Build::Counted);
    for page in 0..PAGES {
        // One page is never touched.
        if page != 5 {
            store(
                &ta.world,
                ta.instance,
                ta.model.base + page * PAGE + 8,
                &[page as u8 + 1; 8],
            );
        }
    }
    with(&ta.world, ta.instance, |found, mem| {
        let space = found.space.as_mut().unwrap();
        let mut regions = vec![];
        for (kind, prot, is_read) in [
            (RegionKind::Mapped, Prot::READ_WRITE, true),
            (RegionKind::Segment, Prot::READ_WRITE, true),
            (RegionKind::Mapped, Prot::READ, false),
            (RegionKind::Segment, Prot::READ_EXECUTE, false),
            (RegionKind::Stack, Prot::READ_WRITE, false),
            (RegionKind::Buffer, Prot::READ_WRITE, false),
        ] {
            let va = space.map_zero(mem, kind, PAGE, prot, Place::random(0));
            regions.push((va.unwrap(), is_read));
        }
        // Somebody else's.
        let mut page = || {
            mem.pages
                .alloc(PageUse::KernelHeap, OwnerId::KERNEL)
                .unwrap()
        };
        let (lent, borrowed) = (page(), page());
        let kind = RegionKind::Mapped;
        let va = space.map_lent(mem, kind, [lent], 1, Place::random(0));
        regions.push((va.unwrap(), false));
        let prot = Prot::READ_WRITE;
        let va = space.map_borrowed(mem, kind, [borrowed], 1, prot, Place::random(0));
        regions.push((va.unwrap(), false));
        let memory = memory(mem.machine, found).unwrap();
        for (va, is_read) in regions {
            let mut words = [1; 16];
            assert_eq!(memory.read(va.0 + 32, &mut words), is_read, "{va:?}");
            // Places are remembered of what is read alone.
            assert_eq!(memory.read(va.0 + 32, &mut words), is_read, "{va:?}");
            assert_eq!(words, [u8::from(!is_read); 16], "{va:?}");
        }
        // In whatever order, also of pages whose places are kept in the same one.
        let base = ta.model.base;
        for page in [0, 8, 16, 0, 5, 13, 5, 1, 2, 3, 19] {
            let mut bytes = [9; 12];
            assert!(memory.read(base + page * PAGE + 4, &mut bytes));
            let mark = if page == 5 { 0 } else { page as u8 + 1 };
            assert_eq!(bytes, [[0; 4], [mark; 4], [mark; 4]].as_flattened());
        }
        let whole = &mut vec![9; (PAGES * PAGE) as usize][..];
        assert!(memory.read(base, whole));
        for (page, bytes) in (0..).zip(whole.chunks(PAGE_SIZE)) {
            let mark = if page == 5 { 0 } else { page + 1 };
            assert_eq!((bytes[7], bytes[8], bytes[16]), (0, mark, 0));
        }
        for va in [
            0,
            base - PAGE + 4096,
            base + PAGES * PAGE,
            u64::MAX - 6,
            u64::MAX,
        ] {
            assert_eq!(memory.read(va, &mut [0; 8]), va == base, "{va:#x}");
        }
        assert!(!memory.read(base + PAGES * PAGE - 4, &mut [0; 8]));
    });
    ta.end();
}

#[test]
fn one_that_was_served_and_has_no_pool_hides_its_heap() {
    let ta = Ta::new(Build::Plain);
    ta.store();
    assert_eq!(key(&ta.pool()), (INCONSISTENT, 0, 0));
    with(&ta.world, ta.instance, |found, _| found.has_served = false);
    assert_eq!(key(&ta.pool()), (SOUND, 0, 0));
    // One that has a heap of ours has no other, nor has one whose loader found none.
    with(&ta.world, ta.instance, |found, mem| {
        assert!(super::may_have(found) && memory(mem.machine, found).is_some());
        found.heap = Some(UserVa(ta.model.base));
        assert!(!super::may_have(found) && memory(mem.machine, found).is_none());
        found.heap = None;
        found.kept.as_mut().unwrap().free_lists[0] = 0;
        assert!(!super::may_have(found));
    });
    ta.end();
}

#[test]
fn rows_are_those_of_the_allocator() {
    for build in BUILDS {
        let mut ta = Ta::with_blocks(build, 150);
        for (va, _) in ta.blocks().into_iter().step_by(7) {
            ta.model.free(va);
        }
        ta.store();
        let (look, heap) = (ta.look(), HeapRef::Ta(ta.instance));
        let pool = ta.model.base + PAGE;
        assert_eq!(key(&ta.pool()), ta.sound());
        let blocks: Vec<(u64, u64)> = ta
            .blocks()
            .iter()
            .map(|(va, len)| (va - pool, *len))
            .collect();
        let (mut listed, mut cursor) = (vec![], 0);
        loop {
            let mut rows = [BlockRow::default(); 24];
            let step = look.block_rows(heap, cursor, &mut rows).unwrap();
            listed.extend(rows[..step.count].iter().map(|row| (row.offset, row.size)));
            cursor = step.next;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(listed, blocks);
        let (mut chunks, mut cursor) = (vec![], 0);
        loop {
            let mut rows = [ChunkRow::default(); 24];
            let step = look.chunk_rows(heap, cursor, &mut rows).unwrap();
            chunks.extend_from_slice(&rows[..step.count]);
            cursor = step.next;
            if cursor == 0 {
                break;
            }
        }
        let bytes = |kind: Option<u32>| -> u64 {
            let some = chunks
                .iter()
                .filter(|row| kind.is_none_or(|kind| row.kind == kind));
            some.map(|row| row.bytes).sum()
        };
        assert_eq!(bytes(None), (PAGES - 1) * PAGE);
        let live: u64 = blocks.iter().map(|(_, len)| len).sum();
        assert_eq!(bytes(Some(chunk_kind::BLOCK)), live);
        assert_eq!(look.check_heap(heap), Ok((damage::NONE, 0)));
        // A byte of a block, of the words before one, and of none.
        let (at, len) = blocks[20];
        for (offset, found) in [
            (at, true),
            (at + len - 1, true),
            (at - 1, false),
            (at + len, false),
        ] {
            let row = look
                .block_in(heap, offset)
                .map(|row| (row.offset, row.size));
            let wanted = if found {
                Ok((at, len))
            } else {
                Err(TeeResult::ITEM_NOT_FOUND)
            };
            assert_eq!(row, wanted, "{offset:#x}");
        }
        assert_eq!(
            look.block_in(heap, PAGES * PAGE).err(),
            Some(TeeResult::ITEM_NOT_FOUND)
        );
        assert_eq!(
            with(&ta.world, ta.instance, |found, mem| super::base(
                mem.machine,
                found
            )),
            pool
        );
        for (at, wanted) in [(pool, Ok(1)), (pool - 1, Err(PoolError::Inconsistent))] {
            let mut byte = [9];
            let course = &mut Course::at(at.wrapping_sub(pool));
            let step = look.ask_heap(heap, course, &mut Question::Bytes(&mut byte));
            assert_eq!(step.map(|step| step.count), wanted);
        }
        let mut rows = [ClassRow::default(); 4];
        assert_eq!(look.class_rows(heap, &mut rows), Ok(2));
        let [run, free, ..] = rows;
        assert_eq!(
            (run.kind, run.bytes),
            (class_kind::RUN, ta.model.allocated())
        );
        assert_eq!((run.live as usize, run.requested), (blocks.len(), live));
        assert_eq!(
            (free.kind, free.bytes),
            (class_kind::FREE, (PAGES - 1) * PAGE - run.bytes)
        );
        let (mut n, mut sum) = (0, 0);
        let walked = look.each_block(heap, |block| {
            n += 1;
            sum += block.size as u64;
            Ok(())
        });
        assert_eq!((walked, n, sum), (Ok(()), blocks.len(), live));
        assert!(look.of_c(heap).is_some() && look.of_c(HeapRef::Kernel).is_none());
        ta.end();
    }
}

#[test]
fn damage_of_a_heap_is_told() {
    let figures = |ta: &Ta| {
        let mut stats = Stats::default();
        let (heap, course) = (HeapRef::Ta(ta.instance), &mut Course::default());
        let step = ta
            .look()
            .ask_heap(heap, course, &mut Question::Figures(&mut stats));
        (step.unwrap().count, stats.allocated)
    };
    let plain = Ta::with_blocks(Build::Plain, 3);
    assert_eq!(figures(&plain), (0, 0), "only a walk may tell");
    plain.end();
    let mut ta = Ta::with_blocks(Build::Counted, 3);
    assert_eq!(figures(&ta), (1, ta.model.allocated()));
    let heap = HeapRef::Ta(ta.instance);
    let sound = ta.model.memory.clone();
    let counter = ta.model.list() + 32;
    let first = ta.model.base + PAGE;
    for (va, word, found) in [(counter, 16, damage::OTHER), (first + 8, 7, damage::WALK)] {
        ta.model.memory.clone_from(&sound);
        ta.model.put(va, word);
        ta.store();
        assert_eq!(ta.look().check_heap(heap).map(|(kind, _)| kind), Ok(found));
        let mut rows = [ClassRow::default(); 4];
        assert_eq!(ta.look().class_rows(heap, &mut rows), Ok(0));
        if va == counter {
            assert_eq!(figures(&ta), (0, 0));
        }
    }
    ta.end();
}
