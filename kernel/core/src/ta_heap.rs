//! Reading a TA's heap from outside.
//!
//! **Invariant:** the TA's books are untrusted: bounded work, every offset checked, and what does
//! not add up is "inconsistent".
//! **Knows nothing of:** whether the TA runs meanwhile.

use crate::addr::UserVa;
use crate::heap::LiveGroup;
use crate::machine::Machine;
use crate::mem::space::AddressSpace;
use crate::owner::OwnerId;
use tally_abi::pta::control::PoolStats;
use tally_abi::pta::stats::AllocStats;
use tally_ledger::view::{Reader, View};
use tally_ledger::{EPOCH_OFFSET, Group, SiteInfo, Stats, Strategy};

/// Most groups that are told apart in one TA's heap.
const MAX_GROUPS: usize = 32;

/// A TA's heap as memory to read.
pub(crate) struct HeapMemory<'a, M> {
    machine: &'a M,
    space: &'a AddressSpace,
    base: UserVa,
}

impl<M: Machine> Reader for HeapMemory<'_, M> {
    fn read(&self, offset: usize, buf: &mut [u8]) -> bool {
        self.base
            .checked_add(offset as u64)
            .is_some_and(|va| self.space.peek(self.machine, va, buf))
    }
}

/// The heap at `heap` for reading; `None` if its header makes no sense.
pub(crate) fn open<'a, M: Machine>(
    machine: &'a M,
    space: &'a AddressSpace,
    base: UserVa,
) -> Option<View<HeapMemory<'a, M>>> {
    let committed = space.heap()?.committed;
    View::open(
        HeapMemory {
            machine,
            space,
            base,
        },
        usize::try_from(committed).ok()?,
    )
    .ok()
}

/// What header and call sites say, without a walk.
pub fn figures<M: Machine>(machine: &M, space: &AddressSpace, heap: UserVa) -> PoolStats {
    match open(machine, space, heap) {
        Some(view) => pool_stats(&view.figures()),
        None => PoolStats {
            // A TA that has not used its heap yet has nothing that could be wrong.
            inconsistent: u32::from(space.heap().is_some_and(|heap| heap.committed != 0)),
            ..PoolStats::default()
        },
    }
}

/// A pool's figures as clients get them.
#[must_use]
pub fn pool_stats(stats: &Stats) -> PoolStats {
    let clamp = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    PoolStats {
        alloc: AllocStats {
            desc: [0; 32],
            free2_sum: stats.free2_sum,
            allocated: clamp(stats.allocated),
            max_allocated: clamp(stats.max_allocated),
            size: clamp(stats.size),
            num_alloc_fail: clamp(stats.num_alloc_fail),
            biggest_alloc_fail: clamp(stats.biggest_alloc_fail),
            biggest_alloc_fail_used: clamp(stats.biggest_alloc_fail_used),
        },
        num_get: stats.num_get,
        num_release: stats.num_release,
        largest_free: stats.largest_free,
        live_blocks: stats.live_blocks,
        metadata: stats.metadata,
        strategy: u32::from(stats.strategy == Strategy::FirstFit),
        ..PoolStats::default()
    }
}

/// Has blocks allocated from now on carry `epoch`.
pub fn set_epoch<M: Machine>(machine: &M, space: &AddressSpace, heap: UserVa, epoch: u16) {
    // Fails only where the heap was never touched: its first blocks will be younger anyway.
    let _ = heap
        .checked_add(EPOCH_OFFSET as u64)
        .is_some_and(|va| space.poke_u16(machine, va, epoch));
}

/// Groups the live blocks since an epoch (0: all) by owner and call stack; how many groups.
pub fn live_groups<M: Machine>(
    machine: &M,
    space: &AddressSpace,
    heap: UserVa,
    since: u16,
    groups: &mut [LiveGroup],
) -> usize {
    let Some(view) = open(machine, space, heap) else {
        return 0;
    };
    let mut found = [Group::default(); MAX_GROUPS];
    let Ok(totals) = view.group((since != 0).then_some(since), &mut found) else {
        return 0;
    };
    for (group, out) in found[..totals.groups].iter().zip(groups.iter_mut()) {
        *out = LiveGroup {
            owner: OwnerId(group.owner.0),
            blocks: group.blocks,
            bytes: group.bytes,
            block_size: group.block_size,
            frames: view
                .site(group.site)
                .map(|site| site.frames)
                .unwrap_or_default(),
        };
    }
    totals.groups
}

/// The call sites that hold most bytes, biggest first; how many.
pub fn top_sites<M: Machine>(
    machine: &M,
    space: &AddressSpace,
    heap: UserVa,
    sites: &mut [SiteInfo],
) -> usize {
    open(machine, space, heap).map_or(0, |view| view.top_sites(sites))
}
