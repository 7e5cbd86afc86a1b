//! Tests of whole pools, each over all strategies.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::vec::Vec;

use crate::error::ReallocError;
use crate::footprint::Random;
use crate::fuzzing::{self, Memory};
use crate::view::{Inconsistent, View, Writer};
use crate::*;

mod light;
mod outside;
mod tight;

const MIRI: bool = cfg!(miri);
const A: OwnerId = OwnerId(1);
const B: OwnerId = OwnerId(2);

/// Runs a test over all strategies, on a pool with `body` bytes; checks it afterwards.
fn each(body: usize, test: impl Fn(&mut Pool)) {
    let all = [Strategy::Segregated, Strategy::FirstFit, Strategy::BestFit];
    let kinds = [(true, false), (false, false), (false, true)];
    for (strategy, (accounts, guard)) in all.into_iter().flat_map(|it| kinds.map(|kind| (it, kind)))
    {
        if MIRI && strategy != Strategy::Segregated && (accounts, guard) != kinds[0] {
            // The unsafe code of accounts and guard bytes is the same.
            continue;
        }
        let cfg = Config {
            strategy,
            owners: 8,
            accounts,
            sites: 16,
            depth: 2,
            guard,
            tracking: Tracking::Full,
        };
        let reserved = body * 2 + 8192;
        let memory = Memory::new(reserved);
        let committed = metadata_bytes(reserved, &cfg) + body;
        // SAFETY: the only pool of this memory, dropped before it.
        let mut pool = unsafe { memory.pool(committed, &cfg) }.unwrap();
        test(&mut pool);
        assert_eq!(pool.check(), Ok(()), "{strategy:?}");
    }
}

fn get(pool: &mut Pool, size: usize) -> NonNull<u8> {
    get_at(pool, size, A, 0x1000)
}

fn get_at(pool: &mut Pool, size: usize, owner: OwnerId, frame: u64) -> NonNull<u8> {
    let layout = Layout::from_size_align(size, 8).unwrap();
    pool.alloc(layout, owner, &CallStack::from_frames(&[frame]))
        .unwrap()
}

fn put(pool: &mut Pool, ptr: NonNull<u8>) -> Result<Freed, FreeError> {
    // SAFETY: no test uses a block after freeing it.
    unsafe { pool.free(ptr) }
}

#[test]
fn a_block_is_credited_and_debited_to_its_recorded_owner() {
    each(16384, |pool| {
        let (a, b) = (get_at(pool, 100, A, 1), get_at(pool, 1000, B, 2));
        assert_eq!((pool.account(A), pool.account(B)), ((100, 1), (1000, 1)));
        assert_eq!(pool.owner_of(b), Some(B));
        assert_eq!(pool.requested_size(b), Some(1000));
        assert_eq!(
            put(pool, a),
            Ok(Freed {
                owner: A,
                size: 100
            })
        );
        assert_eq!(
            put(pool, b),
            Ok(Freed {
                owner: B,
                size: 1000
            })
        );
        assert_eq!((pool.account(A), pool.account(B)), ((0, 0), (0, 0)));
    });
}

#[test]
fn owners_beyond_the_table_are_charged_to_owner_zero() {
    each(16384, |pool| {
        let ptr = get_at(pool, 50, OwnerId(900), 1);
        assert_eq!(pool.account(OwnerId(0)), (50, 1));
        assert_eq!(
            put(pool, ptr),
            Ok(Freed {
                owner: OwnerId(900),
                size: 50
            })
        );
        assert_eq!(pool.account(OwnerId(0)), (0, 0));
    });
}

#[test]
fn a_block_freed_twice_is_an_error_and_changes_nothing() {
    each(16384, |pool| {
        for size in [16, 100, 256, 700, 3000] {
            let (ptr, other) = (get(pool, size), get(pool, size));
            put(pool, ptr).unwrap();
            let before = pool.stats().unwrap();
            assert!(put(pool, ptr).is_err());
            assert_eq!(pool.stats().unwrap(), before);
            put(pool, other).unwrap();
            assert!(put(pool, other).is_err());
        }
    });
}

#[test]
fn a_wild_pointer_is_not_a_block() {
    each(16384, |pool| {
        let blocks = [get(pool, 48), get(pool, 48), get(pool, 600)];
        let base = blocks[0].map_addr(|_| core::num::NonZero::new(8).unwrap());
        assert_eq!(put(pool, base), Err(FreeError::NotABlock));
        for ptr in blocks {
            for inside in [1, 8, 16, 24] {
                let wild = ptr.map_addr(|at| at.saturating_add(inside));
                assert_eq!(put(pool, wild), Err(FreeError::NotABlock));
            }
        }
    });
}

#[test]
fn a_block_can_be_as_large_as_the_pool() {
    each(16384, |pool| {
        let largest = pool.stats().unwrap().largest_free as usize;
        assert_eq!(largest, 16384);
        // First fit takes 16 bytes before it, guard bytes 8 behind.
        let ptr = get(pool, largest - 32);
        put(pool, ptr).unwrap();
        assert_eq!(pool.stats().unwrap().largest_free, 16384);
    });
}

#[test]
fn all_alignments_up_to_a_page_are_served() {
    each(65536, |pool| {
        for log in 0..=12 {
            for size in [1, 40, 400, 5000] {
                let layout = Layout::from_size_align(size, 1 << log).unwrap();
                let ptr = pool.alloc(layout, A, &CallStack::EMPTY).unwrap();
                assert!(ptr.addr().get().is_multiple_of(1 << log), "{size} at {log}");
                put(pool, ptr).unwrap();
            }
        }
        let layout = Layout::from_size_align(1, 8192).unwrap();
        assert!(pool.alloc(layout, A, &CallStack::EMPTY).is_err());
    });
}

#[test]
fn failure_reports_what_was_asked_and_what_is_free() {
    each(8192, |pool| {
        let ptr = get(pool, 4000);
        let layout = Layout::from_size_align(6000, 8).unwrap();
        let err = pool.alloc(layout, B, &CallStack::EMPTY).unwrap_err();
        assert_eq!((err.requested, err.owner, err.allocated), (6000, B, 4000));
        let stats = pool.stats().unwrap();
        assert!(
            (4001..4200).contains(&stats.largest_free),
            "{err:?}, {stats:?}"
        );
        assert_eq!((stats.num_alloc_fail, stats.biggest_alloc_fail), (1, 6000));
        assert_eq!(stats.biggest_alloc_fail_used, 4000);
        // As big with more in use, and smaller: the first of the biggest counts.
        let more = get(pool, 100);
        for bytes in [6000, 5000] {
            let layout = Layout::from_size_align(bytes, 8).unwrap();
            assert!(pool.alloc(layout, B, &CallStack::EMPTY).is_err());
        }
        put(pool, more).unwrap();
        let stats = pool.stats().unwrap();
        assert_eq!((stats.num_alloc_fail, stats.biggest_alloc_fail), (3, 6000));
        assert_eq!(stats.biggest_alloc_fail_used, 4000);
        pool.reset();
        let stats = pool.stats().unwrap();
        assert_eq!((stats.num_alloc_fail, stats.biggest_alloc_fail), (0, 0));
        assert_eq!(stats.max_allocated, 4000);
        put(pool, ptr).unwrap();
    });
}

#[test]
fn the_maximum_outlives_the_blocks_until_reset() {
    each(8192, |pool| {
        let ptr = get(pool, 3000);
        put(pool, ptr).unwrap();
        assert_eq!(pool.stats().unwrap().max_allocated, 3000);
        pool.reset();
        assert_eq!(pool.stats().unwrap().max_allocated, 0);
    });
}

#[test]
fn free_memory_becomes_one_chunk_again() {
    each(32768, |pool| {
        let mut blocks: Vec<_> = (1..60).map(|n| get(pool, n * 9)).collect();
        while let Some(ptr) = (!blocks.is_empty()).then(|| blocks.swap_remove(blocks.len() / 2)) {
            put(pool, ptr).unwrap();
        }
        let stats = pool.stats().unwrap();
        assert_eq!(
            (stats.largest_free, stats.free2_sum),
            (32768, 32768 * 32768)
        );
    });
}

#[test]
fn growing_joins_the_new_memory_to_the_old() {
    each(8192, |pool| {
        let more = pool.committed() + 8192;
        // SAFETY: the memory behind the pool is twice as large.
        unsafe { pool.grow_to(more) }.unwrap();
        assert_eq!(pool.stats().unwrap().largest_free, 16384);
        // SAFETY: refused.
        assert_eq!(unsafe { pool.grow_to(more - 1) }, Err(GrowError));
        let ptr = get(pool, 16000);
        put(pool, ptr).unwrap();
    });
}

#[test]
fn a_resized_block_keeps_its_contents() {
    each(32768, |pool| {
        let mut ptr = get(pool, 10);
        // SAFETY: ten bytes, ours.
        unsafe { ptr.as_ptr().write_bytes(7, 10) };
        for size in [12, 100, 300, 5000, 600, 20, 11, 10] {
            // SAFETY: only the new pointer is used.
            ptr = unsafe { pool.realloc(ptr, 8, size, B, &CallStack::EMPTY) }.unwrap();
            // SAFETY: the block has at least ten bytes, all written.
            let bytes = unsafe { core::slice::from_raw_parts(ptr.as_ptr(), 10) };
            assert_eq!(bytes, [7; 10]);
            assert_eq!(pool.size_of(ptr), Ok(size));
            assert_eq!(pool.account(B), (size as u32, 1));
            assert_eq!(pool.check(), Ok(()));
        }
        // SAFETY: as above.
        let err = unsafe { pool.realloc(ptr, 8, 1 << 20, B, &CallStack::EMPTY) };
        assert!(matches!(err, Err(ReallocError::Alloc(_))));
        assert_eq!(pool.account(B), (10, 1));
    });
}

#[test]
fn sites_count_live_and_total_blocks() {
    each(16384, |pool| {
        let first = get_at(pool, 100, A, 0xaaaa);
        let second = get_at(pool, 50, A, 0xaaaa);
        let other = get_at(pool, 60, A, 0xbbbb);
        put(pool, second).unwrap();
        let mut sites = [SiteInfo::default(); 4];
        assert_eq!(pool.top_sites(&mut sites).count, 2);
        let top = sites[0];
        assert_eq!((top.frames[0], top.depth), (0xaaaa, 1));
        assert_eq!((top.live_blocks, top.live_bytes), (1, 100));
        assert_eq!((top.total, top.peak_bytes), (2, 150));
        assert_eq!(sites[1].frames[0], 0xbbbb);
        assert_eq!(pool.block(first).unwrap().site, top.id);
        assert_eq!(pool.site(top.id), Some(top));
        put(pool, first).unwrap();
        put(pool, other).unwrap();
    });
}

#[test]
fn a_full_site_table_counts_the_rest_at_site_zero() {
    each(65536, |pool| {
        for n in 0..100 {
            get_at(pool, 10, A, 0x1_0000 + n * 4);
        }
        let total: u64 = (0..16)
            .filter_map(|id| pool.site(SiteId(id)))
            .map(|site| site.total)
            .sum();
        assert_eq!(total, 100);
        assert!(pool.site(SiteId(0)).unwrap().total >= 100 - 15);
        assert_eq!(pool.stats().unwrap().sites_used, 15);
    });
}

#[test]
fn blocks_since_a_mark_are_grouped_by_owner_and_site() {
    each(16384, |pool| {
        get_at(pool, 500, A, 0x10);
        pool.set_mark(7);
        for _ in 0..3 {
            get_at(pool, 28, A, 0x20);
        }
        get_at(pool, 32, B, 0x20);
        get_at(pool, 33, B, 0x20);
        let mut groups = [Group::default(); 4];
        let totals = pool.group(Some(7), &mut groups).unwrap();
        assert_eq!(
            (totals.groups, totals.blocks, totals.bytes),
            (2, 5, 28 * 3 + 65)
        );
        assert_eq!(
            (groups[0].owner, groups[0].blocks, groups[0].block_size),
            (A, 3, 28)
        );
        assert_eq!(
            (groups[1].owner, groups[1].blocks, groups[1].block_size),
            (B, 2, 0)
        );
        let totals = pool.group(None, &mut groups[..1]).unwrap();
        assert_eq!(
            (totals.blocks, totals.groups, totals.dropped_blocks),
            (6, 1, 5)
        );
    });
}

#[test]
fn marks_may_wrap() {
    each(16384, |pool| {
        pool.set_mark(65534);
        get(pool, 1);
        pool.set_mark(65535);
        get(pool, 2);
        pool.set_mark(1);
        get(pool, 4);
        let totals = pool.group(Some(65535), &mut []).unwrap();
        assert_eq!((totals.blocks, totals.bytes), (2, 6));
    });
}

#[test]
fn a_small_pool_serves_many_sizes() {
    // A TA heap of 32 KiB with 25 different sizes: most of it must be usable.
    each(32768 - 2048, |pool| {
        let sizes = [
            16, 24, 32, 40, 48, 56, 64, 80, 96, 100, 112, 128, 144, 160, 192, 200, 224, 256, 300,
            320, 384, 400, 512, 600, 1024,
        ];
        let mut wanted = 0;
        'full: loop {
            for size in sizes {
                let layout = Layout::from_size_align(size, 8).unwrap();
                if pool.alloc(layout, A, &CallStack::EMPTY).is_err() {
                    break 'full;
                }
                wanted += size;
            }
        }
        let least = if pool.window().guard() == 0 { 3 } else { 2 };
        assert!(wanted > (32768 - 2048) * least / 4, "only {wanted} bytes");
    });
}

#[test]
fn a_view_of_the_bytes_sees_what_the_pool_says() {
    each(16384, |pool| {
        let blocks: Vec<_> = (1..40)
            .map(|n| get_at(pool, n * 7, A, n as u64 & 3))
            .collect();
        put(pool, blocks[5]).unwrap();
        let bytes = snapshot(pool);
        let view = View::open(bytes.as_slice(), bytes.len()).unwrap();
        assert_eq!(view.stats(), pool.stats());
        assert_eq!(view.account(A).unwrap(), pool.account(A));
        let outside: Vec<_> = view.live_blocks().collect();
        let inside: Vec<_> = pool.live_blocks().collect();
        assert_eq!(outside, inside);
        assert_eq!(outside.len(), 38);
        let first = pool.block(blocks[0]).unwrap();
        assert!(outside.contains(&Ok(first)));
        assert!(View::open(bytes.as_slice(), bytes.len() - 1).is_err());
    });
}

#[test]
fn damaged_memory_is_inconsistent_or_readable_but_never_a_panic() {
    each(16384, |pool| {
        for n in 1..40 {
            get_at(pool, n * 7, A, n as u64 & 3);
        }
        let sound = snapshot(pool);
        let mut random = Random(1);
        for _ in 0..if MIRI { 3 } else { 2_000 } {
            let mut bytes = sound.clone();
            for _ in 0..1 + random.next() % 4 {
                // Mostly in the tables.
                let range = if random.next().is_multiple_of(4) {
                    bytes.len()
                } else {
                    bytes.len() - 8192
                };
                let at = random.next() as usize % range;
                bytes[at] = random.next() as u8;
            }
            fuzzing::read_all(&bytes);
        }
        let mut bytes = sound;
        bytes[0] ^= 1;
        assert_eq!(
            View::open(bytes.as_slice(), bytes.len()).err(),
            Some(Inconsistent)
        );
    });
}

#[test]
fn random_actions_agree_with_the_model() {
    for seed in 0..if MIRI { 2 } else { 120 } {
        let mut random = Random(seed + 1);
        let length = if MIRI { 4 * 25 } else { 4 * 600 };
        let mut data: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        data[0] = seed as u8;
        fuzzing::run(&data, 1);
    }
}

#[test]
fn a_large_pool_stays_sound_under_many_actions() {
    for kind in [0, 1, 65] {
        let mut random = Random(77);
        let length = if MIRI { 4 * 25 } else { 4 * 8_000 };
        let mut data: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        let blocks = if MIRI { 40 } else { 255 };
        data[..4].copy_from_slice(&[kind, blocks, blocks, 0xbf]);
        fuzzing::run(&data, 997);
    }
}

#[test]
fn a_block_of_one_unit_takes_a_free_place_in_a_slab_when_there_is_no_run() {
    // Found by fuzzing: 255 bytes were refused though a block of 320 was free.
    fuzzing::run(&[2, 2, 0, 244, 244, 51, 1, 93, 50, 255, 225, 10, 225], 1);
}

#[test]
fn a_pool_without_memory_refuses_everything() {
    let mut pool = Pool::VOID;
    let layout = Layout::from_size_align(16, 8).unwrap();
    let stack = CallStack::from_frames(&[1]);
    pool.set_owner(A);
    pool.set_mark(3);
    pool.reset();
    pool.trim();
    assert!(
        pool.alloc_known::<true>(layout, &Caller::of(&stack))
            .is_none()
    );
    assert!(
        pool.alloc_at_known(layout, Caller::of(&stack).key())
            .is_none()
    );
    let err = pool.alloc(layout, A, &stack).unwrap_err();
    assert_eq!((err.allocated, err.size), (0, 0));
    let wild = NonNull::from(&layout).cast();
    // SAFETY: not a block.
    assert!(!unsafe { pool.free_known::<true>(wild) });
    assert_eq!(put(&mut pool, wild), Err(FreeError::NotABlock));
    // SAFETY: refused.
    assert_eq!(unsafe { pool.grow_to(4096) }, Err(GrowError));
    assert!(pool.stats().is_err() && pool.live_blocks().next().is_none());
}

#[test]
fn a_pool_that_does_not_fit_is_refused() {
    let memory = Memory::new(16384);
    let cfg = Config::TA;
    let refused = |base: NonNull<u8>, reserved, committed, cfg: &Config| {
        // SAFETY: refused before anything is written.
        unsafe { Pool::create(base, reserved, committed, cfg) }.err()
    };
    let base = memory.base();
    let odd = base.map_addr(|at| at.saturating_add(16));
    assert_eq!(
        refused(odd, 16384, 16384, &cfg),
        Some(CreateError::Misaligned)
    );
    assert_eq!(
        refused(base, 16384, 1024, &cfg),
        Some(CreateError::TooSmall)
    );
    assert_eq!(
        refused(base, 8192, 16384, &cfg),
        Some(CreateError::TooLarge)
    );
    assert_eq!(
        refused(base, 1 << 26, 16384, &cfg),
        Some(CreateError::TooLarge)
    );
    let none = Config { owners: 0, ..cfg };
    assert_eq!(
        refused(base, 16384, 16384, &none),
        Some(CreateError::BadConfig)
    );
}

#[test]
fn a_pool_is_opened_where_it_stands_and_once() {
    let memory = Memory::new(1 << 16);
    let (base, bytes) = (memory.base(), 1 << 16);
    let stack = StackBounds { lo: 16, hi: 4096 }.walkable();
    let mut pool = Pool::VOID;
    pool.set_stack(stack);
    // SAFETY: refused before anything is written.
    let small = unsafe { pool.open(base, bytes, 512, &Config::TA) };
    assert_eq!(small, Err(CreateError::TooSmall));
    assert!(pool.is_void());
    // SAFETY: the only pool of `memory`, which lives longer.
    let made = unsafe { pool.open(base, bytes, bytes, &Config::TA) };
    assert_eq!(made, Ok(()));
    assert_eq!(pool.stack(), stack);
    let block = get(&mut pool, 100);
    // SAFETY: refused before anything is written.
    let again = unsafe { pool.open(base, bytes, bytes, &Config::TA) };
    assert_eq!(again, Err(CreateError::InUse));
    assert_eq!(pool.requested_size(block), Some(100));
    put(&mut pool, block).unwrap();
    assert_eq!(pool.check(), Ok(()));
}

fn snapshot(pool: &Pool) -> Vec<u8> {
    let mut bytes = std::vec![0; pool.committed()];
    assert!(pool.window().read(0, &mut bytes));
    bytes
}
