//! Pools that are nearly full.

use super::*;

fn try_get(pool: &mut Pool, size: usize) -> Option<NonNull<u8>> {
    let layout = Layout::from_size_align(size, 8).unwrap();
    pool.try_alloc(layout, A, &CallStack::from_frames(&[0x1000]))
}

/// Blocks of these sizes, each as often as there is room.
fn fill(pool: &mut Pool, sizes: &[usize]) -> Vec<NonNull<u8>> {
    let mut blocks = Vec::new();
    for &size in sizes {
        while let Some(block) = try_get(pool, size) {
            blocks.push(block);
        }
    }
    blocks
}

fn put_all(pool: &mut Pool, blocks: Vec<NonNull<u8>>) {
    for block in blocks {
        assert!(put(pool, block).is_ok());
    }
}

#[test]
fn small_blocks_do_not_hold_slabs_of_large_ones() {
    // Bug: they took places that were kept for speed, each in another slab, as long as there was one.
    let cfg = Config {
        sites: 16,
        ..Config::KERNEL
    };
    let memory = Memory::new(1 << 17);
    // SAFETY: the only pool of this memory, dropped before it.
    let mut pool = unsafe { memory.pool(1 << 17, &cfg) }.unwrap();
    let pages = fill(&mut pool, &[4096]);
    let whole = pages.len();
    put_all(&mut pool, pages);
    let large = fill(&mut pool, &[768]);
    put_all(&mut pool, large);
    let runs = fill(&mut pool, &[4096, 1024]);
    let small: Vec<_> = (0..32).map(|_| get(&mut pool, 16)).collect();
    put_all(&mut pool, runs);
    pool.trim();
    let pages = fill(&mut pool, &[4096]);
    assert!(pages.len() + 1 >= whole, "{} of {whole}", pages.len());
    put_all(&mut pool, pages);
    put_all(&mut pool, small);
    assert_eq!(pool.check(), Ok(()));
}
