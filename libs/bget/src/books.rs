//! Pools and counters of a heap, and where they lie.

use crate::{
    HEAD_BYTES, Inconsistent, MAX_POOL_BYTES, MAX_POOLS, MIN_CHUNK, MIN_POOL, Reader, Totals, words,
};
use tally_ledger::{Stats, Strategy, Tracking};

/// Words of the allocator before what differs by how it was built: the head of the free list (`struct bfhead`).
const LIST_WORDS: usize = 4;
/// Words behind it with counters and the place of the pools.
const MAX_WORDS: usize = 6;
/// How many words lie between the free list and the place of the pools: none without statistics; bytes allocated,
/// allocations and releases (4.5); and the free chunks' squares (4.8 and later).
const COUNTERS: [usize; 3] = [0, 3, 4];
/// Bytes before the numbers of `struct pta_stats_alloc`: its name; and squares, where they are counted.
const NAME_BYTES: u64 = 32;

/// One pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pool {
    /// First address.
    pub(crate) start: u64,
    /// Address of the words that end it.
    pub(crate) last: u64,
}

impl Pool {
    fn new(start: u64, bytes: u64) -> Option<Self> {
        let sound = start.is_multiple_of(HEAD_BYTES)
            && bytes.is_multiple_of(HEAD_BYTES)
            && (MIN_POOL..MAX_POOL_BYTES).contains(&bytes);
        let end = start.checked_add(bytes).filter(|_| sound)?;
        let last = end - HEAD_BYTES;
        Some(Self { start, last })
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.last - self.start + HEAD_BYTES
    }

    /// Whether a chunk may begin there.
    pub(crate) fn has(&self, va: u64) -> bool {
        (self.start..=self.last).contains(&va)
    }
}

/// What the allocator counts, if it was built with statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    /// Bytes of allocated chunks.
    allocated: u64,
    gets: u64,
    releases: u64,
    max_allocated: u32,
    /// Bytes of all pools.
    size: u32,
    failures: u32,
    biggest_failure: u32,
    biggest_failure_used: u32,
}

impl Counters {
    /// Whether an allocator with these pools can have come to them. The list of pools is live; a reset makes the maximum
    /// 0 until the next allocation.
    fn can_be(&self, pools: &[Pool]) -> bool {
        let size: u64 = pools.iter().map(Pool::bytes).sum();
        let room = size - pools.len() as u64 * HEAD_BYTES;
        let max = u64::from(self.max_allocated);
        let used = u64::from(self.biggest_failure_used);
        let live = self.gets.checked_sub(self.releases);
        let least = live.and_then(|live| live.checked_mul(MIN_CHUNK));
        least.is_some_and(|least| least != 0 && (least..=room).contains(&self.allocated))
            && (max == 0 || (self.allocated..=room).contains(&max))
            && used <= max
            && (self.failures != 0 || (used == 0 && self.biggest_failure == 0))
            && self.size == size as u32
    }
}

/// What tells at once whether a heap has changed. Chunks that took each other's place may not show.
pub type HeapWords = [u64; 3];

/// Those of the heap whose free list may begin at one of these places: it is not opened, nor anything checked.
pub fn heap_words(reader: &impl Reader, lists: &[u64]) -> HeapWords {
    let mut key = HeapWords::default();
    for &list in lists.iter().filter(|list| **list != 0) {
        // Its links, and the first words behind, which are two counters, or place and number of the pools.
        let found = words::<4>(reader, list.wrapping_add(HEAD_BYTES));
        let [next, previous, first, second] = found.unwrap_or_default();
        for (word, now) in key
            .iter_mut()
            .zip([next ^ previous.rotate_left(32), first, second])
        {
            *word = word.rotate_left(16) ^ now;
        }
    }
    key
}

/// A heap, read from outside. Its pools and counters are those of when it was opened.
pub struct View<R> {
    pub(crate) reader: R,
    /// The head of the free list.
    pub(crate) list: u64,
    pools: [Pool; MAX_POOLS],
    n_pools: usize,
    /// The chunk that the list of pools is in, which is the allocator's own.
    pub(crate) own_chunk: u64,
    counters: Option<Counters>,
    /// Whether the counters can be.
    is_sound: bool,
}

impl<R: Reader> View<R> {
    /// Opens the heap whose free list may begin at one of these places; `None` if no pool was made yet.
    ///
    /// # Errors
    /// What lies there is no heap.
    pub fn open(reader: R, lists: &[u64]) -> Result<Option<Self>, Inconsistent> {
        let mut broken = false;
        for &list in lists.iter().filter(|list| **list != 0) {
            match Self::open_at(&reader, list) {
                Ok(None) => {}
                Ok(Some(found)) => {
                    return Ok(Some(View {
                        reader,
                        list,
                        pools: found.pools,
                        n_pools: found.n_pools,
                        own_chunk: found.own_chunk,
                        counters: found.counters,
                        is_sound: found.is_sound,
                    }));
                }
                Err(Inconsistent) => broken = true,
            }
        }
        if broken { Err(Inconsistent) } else { Ok(None) }
    }

    fn open_at(reader: &R, list: u64) -> Result<Option<View<()>>, Inconsistent> {
        let [.., next, previous] = words::<LIST_WORDS>(reader, list)?;
        let mut is_used = false;
        for counters in COUNTERS {
            let mut all = [0; MAX_WORDS];
            let rest = list.wrapping_add((LIST_WORDS * 8) as u64);
            // Without statistics there may be nothing behind; with them their name follows.
            let read = match counters {
                0 => words::<2>(reader, rest).map(|words| all[..2].copy_from_slice(&words)),
                _ => words(reader, rest).map(|words| all = words),
            };
            if read.is_err() {
                break;
            }
            let [place, count] = [all[counters], all[counters + 1]];
            // Counters are no addresses.
            is_used |= place >= MAX_POOL_BYTES;
            if let Some((pools, n_pools, own_chunk)) = pools(reader, place, count) {
                let behind = rest.wrapping_add((counters as u64 + 2) * 8);
                let counters = match counters {
                    0 => None,
                    3 => Some(statistics(reader, &all, behind, 0)?),
                    _ => Some(statistics(reader, &all, behind, 8)?),
                };
                let found = pools.get(..n_pools).unwrap_or(&[]);
                return Ok(Some(View {
                    reader: (),
                    list,
                    pools,
                    n_pools,
                    own_chunk,
                    counters,
                    is_sound: counters.is_none_or(|counters| counters.can_be(found)),
                }));
            }
        }
        let is_untouched = next == list && previous == list;
        if is_used && !is_untouched {
            return Err(Inconsistent);
        }
        Ok(None)
    }
}

impl<R> View<R> {
    /// Its pools, in the order of their addresses.
    pub(crate) fn pools(&self) -> &[Pool] {
        self.pools.get(..self.n_pools).unwrap_or(&[])
    }

    /// Where the first pool begins, from which offsets count.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.pools().first().map_or(0, |pool| pool.start)
    }

    /// A number that tells whether its pools are still where they were.
    #[must_use]
    pub fn places(&self) -> u64 {
        let ends = self.pools().iter().flat_map(|pool| [pool.start, pool.last]);
        ends.fold(0, |sum, end| sum.rotate_left(7) ^ end)
    }

    /// Whether the allocator counts what it does. If not, figures take a walk.
    #[must_use]
    pub const fn is_counted(&self) -> bool {
        self.counters.is_some()
    }

    /// Whether what it counts can be, as far as that shows without a walk.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.is_sound
    }

    /// What the allocator says without a walk: all but free chunks; nothing if that cannot be. Bytes allocated have the
    /// words before each block in them, as the TA's own figures do; the list of pools is no block.
    #[must_use]
    pub fn header(&self) -> Stats {
        let counters = self.counters.filter(|_| self.is_sound).unwrap_or_default();
        let live = counters.gets.wrapping_sub(counters.releases);
        let live_blocks = live.saturating_sub(u64::from(self.is_counted()));
        let size = self.pools().iter().map(Pool::bytes).sum();
        Stats {
            strategy: Strategy::FirstFit,
            tracking: Tracking::Off,
            allocated: counters.allocated,
            max_allocated: counters.max_allocated.into(),
            size,
            num_alloc_fail: counters.failures.into(),
            biggest_alloc_fail: counters.biggest_failure.into(),
            biggest_alloc_fail_used: counters.biggest_failure_used.into(),
            num_get: counters.gets,
            num_release: counters.releases,
            live_blocks,
            records: live_blocks.saturating_mul(HEAD_BYTES),
            committed: size,
            reserved: size,
            ..Stats::default()
        }
    }

    /// All figures, with what a walk of the whole heap found.
    ///
    /// # Errors
    /// They do not add up to what the allocator counts.
    pub fn stats(&self, totals: &Totals) -> Result<Stats, Inconsistent> {
        let header = self.header();
        let ends = self.pools().len() as u64 * HEAD_BYTES;
        let adds_up = self.is_sound
            && totals.taken + totals.free + ends == header.size
            && (!self.is_counted()
                || (totals.taken == header.allocated && totals.blocks == header.live_blocks));
        if !adds_up {
            return Err(Inconsistent);
        }
        Ok(Stats {
            allocated: totals.taken,
            live_blocks: totals.blocks,
            free_bytes: totals.free,
            free2_sum: totals.free2_sum,
            largest_free: totals.largest_free,
            usable: totals.usable,
            records: totals.blocks * HEAD_BYTES,
            block_metadata: header.size - totals.free - totals.usable,
            metadata: header.size - totals.free - totals.usable,
            ..header
        })
    }
}

/// The pools of a list, sorted, and the chunk that has the list; `None` if this is no list of pools.
fn pools(reader: &impl Reader, place: u64, count: u64) -> Option<([Pool; MAX_POOLS], usize, u64)> {
    let n_pools = usize::try_from(count).ok()?;
    if !place.is_multiple_of(HEAD_BYTES) || !(1..=MAX_POOLS).contains(&n_pools) {
        return None;
    }
    // Read at once, so that a list of 16 that is none costs no more than one of 1.
    let mut listed = [[[0; 8]; 2]; MAX_POOLS];
    let listed = listed.get_mut(..n_pools)?;
    let bytes = listed.as_flattened_mut().as_flattened_mut();
    reader.read(place, bytes).then_some(())?;
    let mut pools = [Pool::default(); MAX_POOLS];
    let found = pools.get_mut(..n_pools)?;
    for (pool, words) in found.iter_mut().zip(listed) {
        let [start, bytes] = words.map(u64::from_le_bytes);
        *pool = Pool::new(start, bytes)?;
    }
    found.sort_unstable_by_key(|pool| pool.start);
    let apart = found.windows(2).all(|pair| match pair {
        [first, second] => first.start + first.bytes() <= second.start,
        _ => true,
    });
    let spanned = found.last()?.last.checked_sub(found.first()?.start)?;
    let own_chunk = place.checked_sub(HEAD_BYTES)?;
    let is_inside = found.iter().any(|pool| pool.has(own_chunk));
    (apart && is_inside && spanned < MAX_POOL_BYTES).then_some((pools, n_pools, own_chunk))
}

fn statistics(
    reader: &impl Reader,
    counters: &[u64; MAX_WORDS],
    place: u64,
    squares: u64,
) -> Result<Counters, Inconsistent> {
    let [allocated, gets, releases, ..] = *counters;
    let numbers = place.wrapping_add(NAME_BYTES + squares);
    let [now_and_max, size_and_failures, biggest] = words(reader, numbers)?;
    Ok(Counters {
        allocated,
        gets,
        releases,
        max_allocated: (now_and_max >> 32) as u32,
        size: size_and_failures as u32,
        failures: (size_and_failures >> 32) as u32,
        biggest_failure: biggest as u32,
        biggest_failure_used: (biggest >> 32) as u32,
    })
}
