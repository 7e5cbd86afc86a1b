//! Lists of actions on a pool, beside a model that knows what must be true.
//!
//! [`run`] takes any bytes; the fuzz target `heap` and the random tests both call it. It panics when
//! the pool and the model disagree.
//!
//! **Invariant:** deterministic: the same bytes do the same.

use core::alloc::Layout;
use core::ptr::NonNull;
use std::alloc::{alloc_zeroed, dealloc};
use std::vec::Vec;

use crate::error::ReallocError;
use crate::guard::GUARD;
use crate::view::View;
use crate::{
    AllocError, Block, CallStack, Caller, Chunk, ChunkKind, Config, CreateError, FreeError, Group,
    OwnerId, Pool, SiteId, SiteInfo, Strategy, Tracking, metadata_bytes,
};

/// Memory for a pool, zeroed, aligned to a page.
pub struct Memory {
    base: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// `bytes` of memory.
    pub fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes.max(1), 4096).expect("a size that fits");
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("host memory");
        Self { base, layout }
    }

    /// Where it begins.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Makes a pool of the memory.
    ///
    /// # Errors
    /// As [`Pool::create`].
    ///
    /// # Safety
    /// One pool at a time, and it is not used after the memory was dropped.
    pub unsafe fn pool(&self, committed: usize, cfg: &Config) -> Result<Pool, CreateError> {
        // SAFETY: the memory is zeroed and ours; the rest is our contract.
        unsafe { Pool::create(self.base, self.layout.size(), committed, cfg) }
    }
}

/// The memory of a pool as TAs have them, of `bytes` bytes, with live blocks of these sizes; and the
/// blocks.
///
/// # Panics
/// If they do not fit.
pub fn image(bytes: usize, sizes: &[usize]) -> (Vec<u8>, Vec<Block>) {
    image_as(&Config::TA, bytes, sizes)
}

/// As [`image`], of a pool that is made otherwise.
///
/// # Panics
/// If they do not fit.
pub fn image_as(cfg: &Config, bytes: usize, sizes: &[usize]) -> (Vec<u8>, Vec<Block>) {
    let memory = Memory::new(bytes);
    // SAFETY: the only pool of `memory`, which lives longer.
    let mut pool = unsafe { memory.pool(bytes, cfg) }.expect("room for the tables");
    let blocks = sizes.iter().map(|&size| {
        let layout = Layout::from_size_align(size, 8).expect("a size that fits");
        let block = pool.alloc(layout, OwnerId(0), &CallStack::EMPTY);
        pool.block(block.expect("room for the block"))
            .expect("a live block")
    });
    let blocks = blocks.collect();
    // SAFETY: `bytes` bytes of `memory`, which the pool, not used any more, has initialised or left zero.
    let data = unsafe { core::slice::from_raw_parts(memory.base.as_ptr(), bytes) };
    (data.to_vec(), blocks)
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

struct Live {
    ptr: NonNull<u8>,
    size: usize,
    align: usize,
    owner: u16,
    fill: u8,
    mark: u16,
}

impl Live {
    fn bytes(&self) -> &[u8] {
        // SAFETY: a live block of the pool, `size` bytes, all written by `fill`.
        unsafe { core::slice::from_raw_parts(self.ptr.as_ptr(), self.size) }
    }

    fn fill(&self, from: usize) {
        if from < self.size {
            // SAFETY: a live block of the pool, `size` bytes, that only the model writes.
            unsafe {
                self.ptr
                    .as_ptr()
                    .add(from)
                    .write_bytes(self.fill, self.size - from)
            };
        }
    }
}

fn strategy_of(kind: u8) -> Strategy {
    match (kind & 1, kind & 64) {
        (0, _) => Strategy::Segregated,
        (_, 0) => Strategy::FirstFit,
        _ => Strategy::BestFit,
    }
}

fn tracking_of(kind: u8) -> Tracking {
    match kind & 48 {
        48 => Tracking::Off,
        32 => Tracking::Light,
        16 => Tracking::Accounts,
        _ => Tracking::Full,
    }
}

/// Where the code of the stacks that actions have begins.
const CODE: u64 = 0x7f_f000;

/// Runs the actions that `data` stands for, checking the whole pool after each `check_every`th.
pub fn run(data: &[u8], check_every: usize) {
    let (&[kind, size, grow, shape], actions) = match data.split_first_chunk() {
        Some(split) => split,
        None => return,
    };
    let cfg = Config {
        strategy: strategy_of(kind),
        owners: 1 + u16::from(shape & 7),
        accounts: kind & 4 == 0,
        sites: 1 << (shape >> 3 & 7),
        depth: shape >> 6,
        guard: kind & 8 != 0,
        tracking: tracking_of(kind),
    };
    let body = 512 + usize::from(size) * 256;
    let reserved = 8192 + body + usize::from(grow) * 1024;
    let committed = metadata_bytes(reserved, &cfg) + body;
    let memory = Memory::new(reserved.max(committed));
    // SAFETY: the only pool of this memory, dropped before it.
    let Ok(mut pool) = (unsafe { memory.pool(committed.min(reserved), &cfg) }) else {
        return;
    };
    pool.set_code(CODE);

    let mut live: Vec<Live> = Vec::new();
    let mut gone: Vec<NonNull<u8>> = Vec::new();
    let (mut gets, mut releases, mut mark) = (0u64, 0u64, 0u16);
    for (n, &[op, a, b, c]) in actions.as_chunks().0.iter().enumerate() {
        let number = usize::from(a) | usize::from(b) << 8;
        let owner = u16::from(c & 15);
        let ret = CODE + 4 * (1 + u64::from(c));
        let stack = CallStack::from_frames(&[ret, 0x2000, 0x3000]);
        let wanted = match c >> 6 {
            0 | 1 => number % 600,
            2 => number % 5000,
            // Miri takes its time for each byte.
            _ if cfg!(miri) => number % 2000,
            _ => number,
        };
        let pick = if live.is_empty() {
            None
        } else {
            Some(number % live.len())
        };
        match (op % 16, pick) {
            (0..=6, _) => {
                let align = 1
                    << if op & 0x70 == 0 {
                        op >> 7
                    } else {
                        (op >> 4) % 13
                    };
                let layout = Layout::from_size_align(wanted, align).expect("small");
                match allocate(&mut pool, layout, OwnerId(owner), &stack, c & 16 != 0) {
                    Ok(ptr) => {
                        assert!(ptr.addr().get().is_multiple_of(align), "alignment");
                        let block = pool.block(ptr).expect("new block");
                        assert!(block.size == wanted && block.usable >= wanted);
                        assert_eq!(block.owner, by_stats(&pool, OwnerId(owner)));
                        if cfg.tracking == Tracking::Light {
                            assert_eq!(pool.frames(block.site).expect("a frame")[0], ret);
                        }
                        let (lo, hi) = (ptr.addr().get(), ptr.addr().get() + block.usable);
                        for other in &live {
                            let at = other.ptr.addr().get();
                            assert!(hi <= at || at + other.size.max(1) <= lo, "overlap");
                        }
                        let new = Live {
                            ptr,
                            size: wanted,
                            align,
                            owner,
                            fill: a ^ n as u8,
                            mark,
                        };
                        new.fill(0);
                        gone.retain(|&other| other != ptr);
                        live.push(new);
                        gets += 1;
                    }
                    Err(err) => {
                        assert_eq!((err.requested, err.owner), (wanted, OwnerId(owner)));
                        let waste = if align > 16 { 2 * align } else { 0 };
                        let guarded = wanted.max(1) + if cfg.guard { GUARD } else { 0 };
                        // Runs of blocks have two units at least; a single one serves a small block.
                        let least = if guarded <= 448 && align <= 64 {
                            512
                        } else {
                            1024
                        };
                        let least = guarded.next_multiple_of(512).max(least);
                        let largest = pool.stats().unwrap().largest_free as usize;
                        assert!(
                            largest < least + 16 + waste,
                            "{err:?} though it would fit into {largest}"
                        );
                        let told = pool.largest_free();
                        assert!(
                            told <= largest && told >= largest - largest / 4,
                            "{told} for {largest}"
                        );
                    }
                }
            }
            (7..=10, Some(pick)) => {
                let old = live.swap_remove(pick);
                assert!(old.bytes().iter().all(|&byte| byte == old.fill), "contents");
                // SAFETY: the model forgets the block.
                if op & 16 == 0 || !unsafe { free_by_common_ways(&mut pool, old.ptr) } {
                    // SAFETY: as above; nothing was done yet.
                    let freed = unsafe { pool.free(old.ptr) }.expect("live block");
                    let owner = by_stats(&pool, OwnerId(old.owner));
                    assert_eq!((freed.owner, freed.size), (owner, old.size));
                }
                gone.push(old.ptr);
                releases += 1;
            }
            (11 | 12, Some(pick)) => {
                let Some(old) = live.get_mut(pick) else {
                    continue;
                };
                let before = pool.allocated();
                // SAFETY: the model uses the new address only.
                match unsafe { pool.realloc(old.ptr, old.align, wanted, OwnerId(owner), &stack) } {
                    Ok(ptr) => {
                        assert!(ptr.addr().get().is_multiple_of(old.align), "alignment");
                        let kept = old.size.min(wanted);
                        if ptr != old.ptr {
                            gone.push(old.ptr);
                            gone.retain(|&other| other != ptr);
                        }
                        (old.ptr, old.size) = (ptr, kept);
                        assert!(old.bytes().iter().all(|&byte| byte == old.fill), "contents");
                        (old.size, old.owner, old.mark) = (wanted, owner, mark);
                        old.fill(kept);
                        gets += 1;
                        releases += 1;
                    }
                    Err(ReallocError::Alloc(_)) => {
                        assert!(wanted > old.size, "shrinking failed");
                        assert_eq!(pool.allocated(), before);
                    }
                    Err(ReallocError::Free(err)) => panic!("live block: {err:?}"),
                }
            }
            (13, _) => {
                // Wild pointers: freed blocks, insides of blocks, anything in the window.
                let wild = match (c & 3, pick) {
                    (0, _) if !gone.is_empty() => gone[number % gone.len()],
                    (1, Some(pick)) => {
                        let inside = live[pick].ptr;
                        inside.map_addr(|at| at.saturating_add(1 + usize::from(a)))
                    }
                    _ => memory.base().map_addr(|at| at.saturating_add(number * 7)),
                };
                if live.iter().all(|block| block.ptr != wild) {
                    // SAFETY: not a live block.
                    assert!(!unsafe { free_by_common_ways(&mut pool, wild) });
                    // SAFETY: as above.
                    let err = unsafe { pool.free(wild) }.expect_err("not a block");
                    assert!(matches!(err, FreeError::NotABlock | FreeError::DoubleFree));
                }
            }
            (14, _) => match c & 3 {
                0 => {
                    let more = (pool.committed() + number % 4096).min(pool.reserved());
                    // SAFETY: the memory is ours up to `reserved`, and zeroed.
                    unsafe { pool.grow_to(more) }.expect("inside the window");
                }
                1 => pool.trim(),
                2 => pool.reset(),
                _ => {
                    mark = number as u16;
                    pool.set_mark(mark);
                }
            },
            _ => check_view(&pool, mark),
        }
        assert_eq!(
            pool.allocated(),
            live.iter().map(|block| block.size).sum::<usize>()
        );
        if n % check_every == 0 {
            check(&pool, &live, gets, releases);
        }
    }
    check(&pool, &live, gets, releases);
    for block in live.drain(..) {
        assert!(
            block.bytes().iter().all(|&byte| byte == block.fill),
            "contents at the end"
        );
        // SAFETY: the model forgets the block.
        unsafe { pool.free(block.ptr) }.expect("live block");
    }
    check_empty(&pool);
}

/// Without statistics nobody owns a block, and it has no mark.
fn by_stats<T: Default>(pool: &Pool, value: T) -> T {
    match pool.window().tracking() {
        Tracking::Off => T::default(),
        Tracking::Accounts | Tracking::Light | Tracking::Full => value,
    }
}

/// What is known of a block's mark now.
fn known_mark(pool: &Pool, mark: u16) -> u16 {
    match pool.window().tracking() {
        Tracking::Off => 0,
        Tracking::Light => pool
            .mark()
            .wrapping_sub(u16::from((pool.mark() as u8).wrapping_sub(mark as u8))),
        Tracking::Accounts | Tracking::Full => mark,
    }
}

/// Frees by the common ways, if they can.
///
/// # Safety
/// As [`Pool::free`].
unsafe fn free_by_common_ways(pool: &mut Pool, block: NonNull<u8>) -> bool {
    // SAFETY: our contract is the same.
    unsafe {
        match pool.window().tracking() {
            Tracking::Off => pool.free_untracked(block),
            Tracking::Accounts | Tracking::Light => pool.free_lightly(block),
            Tracking::Full => pool.free_known::<true>(block),
        }
    }
}

/// Allocates, with `known` by the common ways first.
fn allocate(
    pool: &mut Pool,
    layout: Layout,
    owner: OwnerId,
    stack: &CallStack,
    known: bool,
) -> Result<NonNull<u8>, AllocError> {
    let tracking = pool.window().tracking();
    if known && tracking != Tracking::Off {
        pool.set_owner(owner);
        let caller = match tracking {
            Tracking::Light => Caller::of(&CallStack::from_frames(&stack.frames()[..1])),
            Tracking::Off | Tracking::Accounts | Tracking::Full => Caller::of(stack),
        };
        let block = match tracking {
            Tracking::Accounts => pool.alloc_accounted(layout),
            Tracking::Light => pool.alloc_lightly(layout, &caller),
            Tracking::Off | Tracking::Full => pool.alloc_known::<true>(layout, &caller),
        };
        if let Some(block) = block.or_else(|| pool.alloc_at_known(layout, caller.key())) {
            return Ok(block);
        }
    }
    pool.alloc(layout, owner, stack)
}

fn check(pool: &Pool, live: &[Live], gets: u64, releases: u64) {
    pool.check().unwrap_or_else(|damage| panic!("{damage:?}"));
    let stats = pool.stats().expect("checked");
    let expected = by_stats(pool, (gets, releases));
    assert_eq!((stats.num_get, stats.num_release), expected);
    assert_eq!(stats.live_blocks, live.len() as u64);
    assert!(stats.max_allocated >= by_stats(pool, stats.allocated));
    assert!(stats.size == stats.usable + stats.free_bytes + stats.block_metadata);
    let mut marks: Vec<u16> = pool
        .live_blocks()
        .map(|block| block.expect("sound").mark)
        .collect();
    let mut expected: Vec<u16> = live
        .iter()
        .map(|block| known_mark(pool, block.mark))
        .collect();
    marks.sort_unstable();
    expected.sort_unstable();
    assert_eq!(marks, expected);
}

fn check_view(pool: &Pool, mark: u16) {
    let mut groups = [Group::default(); 4];
    let all = pool.group(None, &mut groups).expect("sound");
    assert_eq!(all.bytes, pool.allocated() as u64);
    let grouped: u64 = groups
        .iter()
        .take(all.groups)
        .map(|group| u64::from(group.blocks))
        .sum();
    assert_eq!(grouped + all.dropped_blocks, all.blocks);
    pool.group(Some(mark), &mut groups).expect("sound");
    check_lists(pool);
    let mut sites = [SiteInfo::default(); 4];
    let n = pool.top_sites(&mut sites).count;
    assert!(
        sites
            .iter()
            .take(n)
            .is_sorted_by(|a, b| a.live_bytes >= b.live_bytes)
    );
}

/// The lists in pieces say what the walk in one go says.
fn check_lists(pool: &Pool) {
    let view = pool.view().expect("sound");
    let mut expected = pool.live_blocks();
    let (mut blocks, mut cursor) = ([Block::default(); 3], 0);
    loop {
        let (n, next) = view.blocks(cursor, &mut blocks).expect("sound");
        for block in blocks.iter().take(n) {
            assert_eq!(expected.next(), Some(Ok(*block)));
            for inside in [0, block.size.saturating_sub(1), block.usable - 1] {
                assert_eq!(view.block_at(block.offset + inside), Ok(Some(*block)));
            }
        }
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(expected.next(), None);
    let stats = view.stats().expect("sound");
    let (mut chunks, mut end) = ([Chunk::default(); 5], pool.committed());
    let (mut free, mut live) = (0, 0);
    loop {
        let (n, next) = view.chunks(cursor, &mut chunks).expect("sound");
        for chunk in chunks.iter().take(n) {
            if cursor > 0 || free + live > 0 || end < pool.committed() {
                assert_eq!(chunk.offset, end, "chunks touch");
            }
            end = chunk.offset + chunk.size;
            match chunk.kind {
                ChunkKind::Block(_) => live += 1,
                ChunkKind::Free | ChunkKind::Kept => {
                    free += chunk.size as u64;
                    assert_eq!(view.block_at(chunk.offset + chunk.size / 2), Ok(None));
                }
                ChunkKind::Overhead => {}
            }
        }
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!((free, live), (stats.free_bytes, stats.live_blocks));
    while let Ok(next @ 1..) = view.check(cursor) {
        cursor = next;
    }
    assert_eq!(view.check(cursor), Ok(0));
    cursor = 0;
    let classes = (0..).map_while(|index| view.classes(index));
    let (mut live, mut bytes) = (0, 0);
    for class in classes {
        assert!(class.live + class.kept <= class.blocks, "{class:?}");
        live += class.live;
        bytes += class.bytes;
    }
    if stats.strategy == Strategy::Segregated {
        assert_eq!(live, stats.live_blocks);
        assert!(bytes >= stats.usable + stats.block_metadata && bytes <= stats.size);
    }
    let (mut sites, mut total, mut held) = ([SiteInfo::default(); 3], 0, (0, 0));
    loop {
        let (n, next) = view.sites(cursor, &mut sites);
        for site in sites.iter().take(n) {
            total += site.total;
            held = (
                held.0 + u64::from(site.live_blocks),
                held.1 + u64::from(site.live_bytes),
            );
        }
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    let tracking = pool.window().tracking();
    if !tracking.walks_for_sites() {
        assert_eq!(total, stats.num_get);
    }
    if tracking != Tracking::Off {
        assert_eq!(held, (stats.live_blocks, stats.allocated));
    }
}

fn check_empty(pool: &Pool) {
    pool.check().unwrap_or_else(|damage| panic!("{damage:?}"));
    let stats = pool.stats().expect("checked");
    assert_eq!(
        (stats.allocated, stats.live_blocks, stats.block_metadata),
        (0, 0, 0)
    );
    assert_eq!(
        stats.largest_free, stats.size,
        "all free memory is one chunk again"
    );
    assert_eq!(stats.free2_sum, stats.size * stats.size);
}

/// Makes a pool with some blocks, overwrites bytes of it as `data` says (three bytes of offset
/// and one of value each), and reads all of it from outside.
pub fn read_damaged(data: &[u8]) {
    let Some((&kind, patches)) = data.split_first() else {
        return;
    };
    let strategy = strategy_of(kind);
    let cfg = Config {
        strategy,
        owners: 4,
        accounts: kind & 4 == 0,
        sites: 8,
        depth: 2,
        guard: kind & 8 != 0,
        tracking: tracking_of(kind),
    };
    let memory = Memory::new(32768);
    // SAFETY: the only pool of this memory, dropped before it.
    let Ok(mut pool) = (unsafe { memory.pool(32768, &cfg) }) else {
        return;
    };
    for n in 0..60 {
        let layout = Layout::from_size_align(n * 11, 8).expect("small");
        let stack = CallStack::from_frames(&[n as u64 % 5, 2]);
        if let Ok(ptr) = pool.alloc(layout, OwnerId(n as u16 % 4), &stack)
            && n % 3 == 0
        {
            // SAFETY: nobody uses the block.
            let _ = unsafe { pool.free(ptr) };
        }
    }
    let mut bytes = std::vec![0; pool.committed()];
    assert!(pool.window().read(0, &mut bytes));
    for &[a, b, c, value] in patches.as_chunks().0 {
        let at = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        let len = bytes.len();
        if let Some(byte) = bytes.get_mut(at % len) {
            *byte = value;
        }
    }
    read_all(&bytes);
}

/// Reads everything there is to read in memory that need not hold a sound pool. Must not
/// panic nor take long.
pub fn read_all(memory: &[u8]) {
    let Ok(view) = View::open(memory, memory.len()) else {
        return;
    };
    let _ = view.figures();
    let _ = view.stats();
    let mut groups = [Group::default(); 8];
    let _ = view.group(None, &mut groups);
    let _ = view.group(Some(3), &mut groups);
    let mut sites = [SiteInfo::default(); 8];
    let _ = view.top_sites(&mut sites);
    let (mut blocks, mut chunks) = ([Block::default(); 8], [Chunk::default(); 8]);
    // A cursor may be anything, too.
    for start in [0, 40, 256, 7777] {
        let (mut cursor, mut calls) = (start, 0);
        while let Ok((_, next @ 1..)) = view.blocks(cursor, &mut blocks) {
            (cursor, calls) = (next, calls + 1);
            assert!(calls <= memory.len() / 16, "goes on");
        }
        cursor = start;
        while let Ok((_, next @ 1..)) = view.chunks(cursor, &mut chunks) {
            (cursor, calls) = (next, calls + 1);
            assert!(calls <= memory.len() / 8, "goes on");
        }
        cursor = start | start << 32;
        while let Ok(next @ 1..) = view.check(cursor) {
            (cursor, calls) = (next, calls + 1);
            assert!(calls <= memory.len() / 8, "goes on");
        }
        (cursor, calls) = (start, 0);
        while let (_, next @ 1..) = view.sites(cursor, &mut sites) {
            (cursor, calls) = (next, calls + 1);
            assert!(calls <= memory.len() / 8, "goes on");
        }
        let _ = view.frames(SiteId(start as u32));
        let _ = view.site(SiteId(start as u32));
        let _ = view.block_at(start as usize * 3);
        let _ = view.classes(start as usize % 16);
    }
    let mut n = 0;
    for block in view.live_blocks().map_while(Result::ok) {
        assert!(block.offset < memory.len());
        n += 1;
    }
    assert!(n <= memory.len() / 16);
}
