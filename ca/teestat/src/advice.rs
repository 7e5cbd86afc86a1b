//! What sizes should have been, from what was used.
//!
//! **Invariant:** advice never goes below what was used; an owner that was refused something is never
//! told to take less than it has.
//! **Knows nothing of:** where the figures come from, how they are printed.

use alloc::vec::Vec;

use tally_abi::TeeUuid;
use tally_abi::pta::control::PoolStats;
use tally_abi::pta::inspect::{HistoryRow, TaDetail};

/// What a setting is rounded to.
const PAGE: u64 = 4096;

/// One size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advice {
    /// Whose, or nil.
    pub(crate) uuid: TeeUuid,
    /// What it is the size of.
    pub(crate) what: &'static str,
    /// As it is set, in bytes.
    pub(crate) now: u64,
    /// Most that was used.
    pub(crate) most: u64,
    /// What to set, in bytes; 0 if it cannot be set apart from others.
    pub(crate) set: u64,
    /// Which setting that is.
    pub(crate) setting: &'static str,
    /// Requests that were refused.
    pub(crate) refused: u64,
}

/// Half as much again as was used, in whole pages. What was refused must fit, too.
fn roomy(most: u64, refused: u64, now: u64, biggest: u64) -> u64 {
    let wanted = most.saturating_add(most / 2).max(1);
    let wanted = wanted.div_ceil(PAGE).saturating_mul(PAGE);
    if refused == 0 {
        return wanted;
    }
    let with_biggest = now.saturating_add(biggest).div_ceil(PAGE);
    wanted.max(with_biggest.saturating_mul(PAGE))
}

/// What one TA used, living and ended instances together.
#[derive(Clone, Copy, Default)]
struct Used {
    uuid: TeeUuid,
    heap: (u64, u64),
    stack: (u64, u64),
    charged: u64,
    refused: u64,
    biggest: u64,
}

fn used_by(used: &mut Vec<Used>, uuid: TeeUuid) -> Option<&mut Used> {
    if let Some(at) = used.iter().position(|one| one.uuid == uuid) {
        return used.get_mut(at);
    }
    used.push(Used {
        uuid,
        ..Used::default()
    });
    used.last_mut()
}

/// Advice on every size. `pools`: the kernel heap, the pages for TAs, others.
pub(crate) fn advise(pools: &[PoolStats], tas: &[TaDetail], history: &[HistoryRow]) -> Vec<Advice> {
    let mut used = Vec::new();
    let mut quota = 0;
    for ta in tas {
        quota = quota.max(ta.quota);
        if let Some(one) = used_by(&mut used, ta.uuid) {
            let books = ta.heap_committed.saturating_sub(ta.heap.alloc.size.into());
            let declared = ta.heap_reserved.saturating_sub(books);
            let most = u64::from(ta.heap.alloc.max_allocated);
            one.heap = (one.heap.0.max(declared), one.heap.1.max(most));
            one.stack = (one.stack.0.max(ta.stack), one.stack.1.max(ta.stack_deepest));
            one.charged = one.charged.max(ta.charged_max);
            one.refused += u64::from(ta.heap.alloc.num_alloc_fail);
            one.biggest = one.biggest.max(ta.heap.alloc.biggest_alloc_fail.into());
        }
    }
    for row in history {
        if let Some(one) = used_by(&mut used, row.uuid) {
            one.heap = (one.heap.0.max(row.heap_size), one.heap.1.max(row.heap_max));
            one.stack = (
                one.stack.0.max(row.stack_size),
                one.stack.1.max(row.stack_max),
            );
            one.charged = one.charged.max(row.charged_max);
        }
    }
    let mut advice = Vec::new();
    if let Some(heap) = pools.first() {
        let figures = &heap.alloc;
        let books = heap.metadata;
        let now = u64::from(figures.size).saturating_add(books);
        let refused = u64::from(figures.num_alloc_fail);
        let biggest = u64::from(figures.biggest_alloc_fail);
        let most = u64::from(figures.max_allocated);
        advice.push(Advice {
            what: "kernel heap",
            now,
            most,
            set: roomy(most.saturating_add(books), refused, now, biggest),
            setting: "HEAP_BYTES in kernel/src/roof.rs",
            refused,
            ..Advice::default()
        });
    }
    if let Some(pages) = pools.get(1) {
        advice.push(Advice {
            what: "TA memory",
            now: pages.alloc.size.into(),
            most: pages.alloc.max_allocated.into(),
            setting: "what SECURE_RAM_END in libs/abi/src/virt.rs leaves",
            refused: pages.alloc.num_alloc_fail.into(),
            ..Advice::default()
        });
    }
    let charged = used.iter().map(|one| one.charged).max().unwrap_or(0);
    if quota != 0 {
        advice.push(Advice {
            what: "quota of a TA",
            now: quota,
            most: charged,
            set: roomy(charged, 0, quota, 0),
            setting: "DEFAULT_TA_QUOTA_PAGES in kernel/core/src/guest.rs, in pages of 4096",
            ..Advice::default()
        });
    }
    for one in used {
        let (now, most) = one.heap;
        if now != 0 {
            advice.push(Advice {
                uuid: one.uuid,
                what: "heap",
                now,
                most,
                set: roomy(most, one.refused, now, one.biggest),
                setting: "heap_size in the TA's properties!",
                refused: one.refused,
            });
        }
        let (now, most) = one.stack;
        if now != 0 {
            advice.push(Advice {
                uuid: one.uuid,
                what: "stack",
                now,
                most,
                set: roomy(most, 0, now, 0),
                setting: "stack_size in the TA's properties!",
                refused: 0,
            });
        }
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ta(uuid: u128) -> TaDetail {
        let mut ta = TaDetail {
            uuid: TeeUuid::from_u128(uuid),
            stack: 16_384,
            stack_deepest: 5000,
            heap_reserved: 40_000,
            heap_committed: 20_000,
            quota: 1 << 20,
            charged_max: 100_000,
            ..TaDetail::default()
        };
        ta.heap.alloc.size = 18_000;
        ta.heap.alloc.max_allocated = 9000;
        ta
    }

    fn find(advice: &[Advice], what: &str) -> Advice {
        let found = advice.iter().find(|one| one.what == what);
        *found.unwrap_or_else(|| panic!("no advice on {what}"))
    }

    #[test]
    fn half_as_much_again_in_whole_pages() {
        let advice = advise(&[], &[ta(1)], &[]);
        let heap = find(&advice, "heap");
        // 40,000 reserved, of which 2,000 are books.
        assert_eq!((heap.now, heap.most, heap.set), (38_000, 9000, 16_384));
        let stack = find(&advice, "stack");
        assert_eq!((stack.now, stack.most, stack.set), (16_384, 5000, 8192));
        let quota = find(&advice, "quota of a TA");
        assert_eq!((quota.now, quota.most), (1 << 20, 100_000));
    }

    #[test]
    fn who_ended_counts_as_well() {
        let row = HistoryRow {
            uuid: TeeUuid::from_u128(1),
            heap_max: 30_000,
            heap_size: 38_000,
            stack_max: 100,
            stack_size: 16_384,
            charged_max: 200_000,
            ..HistoryRow::default()
        };
        let advice = advise(&[], &[ta(1)], &[row]);
        assert_eq!(find(&advice, "heap").most, 30_000);
        assert_eq!(find(&advice, "stack").most, 5000);
        assert_eq!(find(&advice, "quota of a TA").most, 200_000);
    }

    #[test]
    fn what_was_refused_must_fit() {
        let mut ta = ta(1);
        ta.heap.alloc.num_alloc_fail = 2;
        ta.heap.alloc.biggest_alloc_fail = 50_000;
        let heap = find(&advise(&[], &[ta], &[]), "heap");
        assert_eq!(heap.refused, 2);
        assert!(heap.set >= heap.now + 50_000);
    }

    #[test]
    fn the_kernel_heap_has_its_books_in_its_size() {
        let mut heap = PoolStats {
            metadata: 20_000,
            ..PoolStats::default()
        };
        heap.alloc.size = 180_000;
        heap.alloc.max_allocated = 40_000;
        let advice = find(&advise(&[heap], &[], &[]), "kernel heap");
        assert_eq!(
            (advice.now, advice.most, advice.set),
            (200_000, 40_000, 90_112)
        );
    }
}
