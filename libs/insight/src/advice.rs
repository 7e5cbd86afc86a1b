//! Size advice from recorded use; the tool and the report give the same.
//!
//! **Invariant:** advice never goes below what was used; an owner that was refused something is
//! never told to take less than it has; the heaps advised fit into the quota advised, and the quota
//! into the memory for TAs. Without a figure there is no advice.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use tally_abi::TeeUuid;
use tally_records::{
    HistoryRow, PoolRow, PoolStats, TaDetail, consistency, declared_heap, pool_kind, state, table,
};

use crate::numbers::{counted, thousands};
use crate::snapshot::Snapshot;

/// What a setting is rounded to.
const PAGE: u64 = 4096;
/// A larger heap has larger tables; they grow by less than one byte in so many.
const TABLES: u64 = 100;

/// What a size is the size of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The kernel's heap.
    #[default]
    KernelHeap,
    /// The memory that all TAs share.
    TaMemory,
    /// The most secure memory that one TA may have.
    Quota,
    /// A TA's heap.
    Heap,
    /// A TA's stack.
    Stack,
}

impl What {
    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KernelHeap => "kernel heap",
            Self::TaMemory => "TA memory",
            Self::Quota => "quota of a TA",
            Self::Heap => "heap",
            Self::Stack => "stack",
        }
    }

    /// Where it is set.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        match self {
            Self::KernelHeap => "HEAP_BYTES in kernel/src/roof.rs",
            Self::TaMemory => "what SECURE_RAM_BYTES in the board's crate leaves",
            Self::Quota => "DEFAULT_TA_QUOTA_PAGES in kernel/core/src/guest.rs, in pages of 4096",
            Self::Heap => "heap_size in the TA's properties!",
            Self::Stack => "stack_size in the TA's properties!",
        }
    }
}

/// What to think of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what it should be.
    Fits,
    /// Too small, or nearly.
    Raise,
    /// More than it needs to be.
    Lower,
    /// Nothing was measured, or it cannot be set apart from others.
    Unknown,
}

/// One size, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// Whose, or nil.
    pub uuid: TeeUuid,
    /// What it is the size of.
    pub what: What,
    /// As it is set.
    pub now: u64,
    /// Most that was used.
    pub most: u64,
    /// What to set; 0 if nothing was measured, or it cannot be set apart from others.
    pub set: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// The largest refused request, if no setting makes room for it: it is left out of
    /// [`Self::set`].
    pub impossible: u64,
}

table! {
    /// A size that can be set.
    Advice: "advice" = 0 {
        /// Whose it is.
        uuid => ta,
        /// What it is the size of.
        what => word = |one| one.what.name(),
        /// As it is set.
        now => number(Bytes),
        /// Most that was used.
        most => number(Bytes),
        /// What to set; null if nothing was measured, or it cannot be set apart from others.
        set => nonzero(Bytes),
        /// Where it is set.
        setting => word = |one| one.what.setting(),
        /// Requests that were refused.
        refused => number(Count),
        /// The largest refused request, if no setting makes room for it: it is not in what to set.
        impossible => nonzero(Bytes),
    }
}

impl Advice {
    /// What to think of the size as it is.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        if self.set == 0 {
            Verdict::Unknown
        } else if self.set > self.now {
            Verdict::Raise
        } else if self.set < self.now {
            Verdict::Lower
        } else {
            Verdict::Fits
        }
    }
}

/// Half as much again as was used.
const fn roomy(most: u64) -> u64 {
    most.saturating_add(most / 2)
}

/// In whole pages, at least one.
fn pages_up(bytes: u64) -> u64 {
    bytes.max(1).div_ceil(PAGE).saturating_mul(PAGE)
}

/// Requests that a pool refused.
#[derive(Clone, Copy, Default)]
struct Refused {
    count: u64,
    /// The largest one.
    biggest: u64,
    /// What was in use when it was refused.
    used: u64,
}

impl Refused {
    fn of(pool: &PoolStats) -> Self {
        Self {
            count: pool.alloc.num_alloc_fail.into(),
            biggest: pool.alloc.biggest_alloc_fail.into(),
            used: pool.alloc.biggest_alloc_fail_used.into(),
        }
    }

    fn of_ended(row: &HistoryRow) -> Self {
        Self {
            count: row.refused,
            biggest: row.biggest_refused,
            used: row.biggest_refused_used,
        }
    }

    fn add(&mut self, other: Self) {
        let count = self.count.saturating_add(other.count);
        if other.needed() > self.needed() {
            *self = other;
        }
        self.count = count;
    }

    /// What would have been in use, had it been granted.
    const fn needed(&self) -> u64 {
        self.used.saturating_add(self.biggest)
    }
}

/// What one TA used, living and ended instances together: sizes as set, and the most used of them.
#[derive(Clone, Copy, Default)]
struct Used {
    uuid: TeeUuid,
    heap: (u64, u64),
    stack: (u64, u64),
    charged: u64,
    refused: Refused,
}

impl Used {
    fn add(&mut self, heap: (u64, u64), stack: (u64, u64), charged: u64, refused: Refused) {
        let most = |a: (u64, u64), b: (u64, u64)| (a.0.max(b.0), a.1.max(b.1));
        self.heap = most(self.heap, heap);
        self.stack = most(self.stack, stack);
        self.charged = self.charged.max(charged);
        self.refused.add(refused);
    }

    /// What it had besides the blocks of its heap: code, stack, tables.
    const fn besides_heap(&self) -> u64 {
        self.charged.saturating_sub(self.heap.1)
    }

    /// Advice on its heap, which, with what else the TA has, cannot be more than `room`.
    fn heap(&self, room: u64) -> Advice {
        let (now, most) = self.heap;
        let room = room.saturating_sub(self.besides_heap());
        let room = declared_heap(room - room.div_ceil(TABLES));
        let needed = self.refused.needed();
        let is_possible = needed <= room;
        let wanted = if is_possible { most.max(needed) } else { most };
        let mut set = pages_up(roomy(wanted).min(room).max(wanted));
        if self.refused.count != 0 {
            set = set.max(now.min(room));
        }
        Advice {
            uuid: self.uuid,
            what: What::Heap,
            now,
            most,
            set: if wanted == 0 { 0 } else { set },
            refused: self.refused.count,
            impossible: if is_possible { 0 } else { self.refused.biggest },
        }
    }

    fn stack(&self) -> Advice {
        let (now, most) = self.stack;
        Advice {
            uuid: self.uuid,
            what: What::Stack,
            now,
            most,
            set: if most == 0 { 0 } else { pages_up(roomy(most)) },
            ..Advice::default()
        }
    }

    /// The quota that this TA needs with its heap as advised.
    fn quota(&self, heap: &Advice) -> u64 {
        // It cannot reserve more than its quota, tables and all.
        let bytes = if heap.set == 0 { heap.now } else { heap.set };
        let tables = bytes.saturating_sub(heap.now).div_ceil(TABLES);
        let with_heap = bytes
            .saturating_add(tables)
            .saturating_add(self.besides_heap());
        pages_up(roomy(self.charged).max(with_heap))
    }
}

/// What the TAs used, in the order in which each was first met.
#[derive(Default)]
struct Users {
    used: Vec<Used>,
    known: BTreeMap<TeeUuid, usize>,
}

impl Users {
    fn of(&mut self, uuid: TeeUuid) -> Option<&mut Used> {
        let at = *self.known.entry(uuid).or_insert(self.used.len());
        if at == self.used.len() {
            self.used.push(Used {
                uuid,
                ..Used::default()
            });
        }
        self.used.get_mut(at)
    }
}

/// Advice on every size: the kernel heap, the memory for TAs, the quota, and heap and stack of
/// every TA that lives or has ended.
#[must_use]
pub fn advise(pools: &[PoolRow], tas: &[TaDetail], history: &[HistoryRow]) -> Vec<Advice> {
    let mut users = Users::default();
    let mut quota = 0;
    // The history has those that are dead.
    for ta in tas.iter().filter(|ta| ta.state != state::DEAD) {
        quota = quota.max(ta.quota);
        if let Some(one) = users.of(ta.uuid) {
            // Books that do not add up tell neither what was used nor how large the tables are.
            let heap = match ta.heap.inconsistent {
                consistency::INCONSISTENT => (0, 0),
                _ => (ta.heap_declared(), ta.heap.alloc.max_allocated.into()),
            };
            let stack = (ta.stack, ta.stack_deepest);
            one.add(heap, stack, ta.charged_max, Refused::of(&ta.heap));
        }
    }
    for row in history {
        if let Some(one) = users.of(row.uuid) {
            let heap = (row.heap_declared(), row.heap_max);
            let stack = (row.stack_size, row.stack_max);
            one.add(heap, stack, row.charged_max, Refused::of_ended(row));
        }
    }
    let used = users.used;
    let mut advice = Vec::new();
    advice.extend(PoolRow::find(pools, pool_kind::KERNEL_HEAP).map(kernel_heap));
    let memory = PoolRow::find(pools, pool_kind::TA_MEMORY).map(ta_memory);
    let room = memory.map_or(u64::MAX, |memory| memory.now);
    advice.extend(memory);
    let heaps: Vec<Advice> = used.iter().map(|one| one.heap(room)).collect();
    if quota != 0 {
        let wanted = used.iter().zip(&heaps).map(|(one, heap)| one.quota(heap));
        advice.push(Advice {
            what: What::Quota,
            now: quota,
            most: used.iter().map(|one| one.charged).max().unwrap_or(0),
            set: wanted.max().unwrap_or(0).min(room),
            ..Advice::default()
        });
    }
    for (one, heap) in used.iter().zip(heaps) {
        advice.extend([heap, one.stack()].iter().filter(|size| size.now != 0));
    }
    advice
}

fn kernel_heap(heap: &PoolStats) -> Advice {
    // What is set has the heap's tables in it; what is used has not.
    let now = u64::from(heap.alloc.size).saturating_add(heap.tables);
    let most = u64::from(heap.alloc.max_allocated);
    let refused = Refused::of(heap);
    let wanted = roomy(most.max(refused.needed()));
    let mut set = pages_up(wanted.saturating_add(heap.tables));
    if refused.count != 0 {
        set = set.max(now);
    }
    Advice {
        what: What::KernelHeap,
        now,
        most,
        set,
        refused: refused.count,
        ..Advice::default()
    }
}

fn ta_memory(pages: &PoolStats) -> Advice {
    Advice {
        what: What::TaMemory,
        now: pages.alloc.size.into(),
        most: pages.alloc.max_allocated.into(),
        refused: pages.alloc.num_alloc_fail.into(),
        ..Advice::default()
    }
}

/// Advice on every size of a snapshot.
#[must_use]
pub fn of(snapshot: &Snapshot) -> Vec<Advice> {
    advise(&snapshot.pools, &snapshot.tas, &snapshot.history)
}

/// Advice by TA and size.
pub type ByTa<'a> = BTreeMap<(TeeUuid, What), &'a Advice>;

/// The advice on each size of each TA.
#[must_use]
pub fn by_ta(advice: &[Advice]) -> ByTa<'_> {
    advice
        .iter()
        .map(|one| ((one.uuid, one.what), one))
        .collect()
}

/// One sentence.
#[must_use]
pub fn sentence(advice: &Advice) -> String {
    let setting = match advice.what {
        What::Heap => "heap_size",
        What::Stack => "stack_size",
        other => other.name(),
    };
    let set = thousands(advice.set);
    let mut text = match advice.verdict() {
        Verdict::Unknown => format!("{setting}: nothing was measured"),
        Verdict::Fits => format!("{setting} fits"),
        Verdict::Lower => format!("{setting} could be {set}: half as much again as was ever used"),
        Verdict::Raise if advice.refused > 0 => format!("raise {setting} to {set}"),
        Verdict::Raise if advice.what == What::Stack && advice.most > advice.now => {
            let needed = thousands(advice.most);
            format!("raise {setting} to {set}: it overflowed, and {needed} or more were needed")
        }
        Verdict::Raise => format!("raise {setting} to {set}: half as much again as was ever used"),
    };
    if advice.refused > 0 {
        text.push_str(&format!(
            "; refused: {}",
            counted(advice.refused, "request")
        ));
    }
    if advice.impossible > 0 {
        let bytes = counted(advice.impossible, "byte");
        text.push_str(&format!(", of which one of {bytes} fits no setting"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use alloc::vec;

    const MIB: u64 = 1 << 20;

    /// A TA that declared 38,000 bytes of heap, and has tables of 2000 bytes.
    fn ta(uuid: u128) -> TaDetail {
        let mut ta = TaDetail {
            uuid: TeeUuid::from_u128(uuid),
            stack: 16_384,
            stack_deepest: 5000,
            heap_reserved: 40_960,
            quota: MIB,
            charged_max: 100_000,
            ..TaDetail::default()
        };
        ta.heap.tables = 2000;
        ta.heap.alloc.max_allocated = 9000;
        ta
    }

    fn refused(mut ta: TaDetail, biggest: u32, used: u32) -> TaDetail {
        ta.heap.alloc.num_alloc_fail = 2;
        ta.heap.alloc.biggest_alloc_fail = biggest;
        ta.heap.alloc.biggest_alloc_fail_used = used;
        ta
    }

    fn row(kind: u32, pool: PoolStats) -> PoolRow {
        PoolRow {
            pool,
            kind,
            ..PoolRow::default()
        }
    }

    fn memory(size: u64) -> [PoolRow; 2] {
        let mut memory = PoolStats::default();
        memory.alloc.size = u32::try_from(size).unwrap();
        [
            row(pool_kind::KERNEL_HEAP, PoolStats::default()),
            row(pool_kind::TA_MEMORY, memory),
        ]
    }

    fn find(advice: &[Advice], what: What) -> Advice {
        let found = advice.iter().find(|one| one.what == what);
        *found.unwrap_or_else(|| panic!("no advice on {what:?}"))
    }

    #[test]
    fn half_as_much_again_in_whole_pages() {
        let advice = advise(&[], &[ta(1)], &[]);
        let heap = find(&advice, What::Heap);
        assert_eq!((heap.now, heap.most, heap.set), (36_864, 9000, 16_384));
        assert_eq!(heap.verdict(), Verdict::Lower);
        let stack = find(&advice, What::Stack);
        assert_eq!((stack.now, stack.most, stack.set), (16_384, 5000, 8192));
        let quota = find(&advice, What::Quota);
        assert_eq!((quota.now, quota.most, quota.set), (MIB, 100_000, 151_552));
    }

    #[test]
    fn who_ended_counts_as_well() {
        let row = HistoryRow {
            uuid: TeeUuid::from_u128(1),
            heap_max: 30_000,
            heap_size: 36_864,
            stack_max: 100,
            stack_size: 16_384,
            charged_max: 200_000,
            ..HistoryRow::default()
        };
        let advice = advise(&[], &[ta(1)], &[row]);
        assert_eq!(find(&advice, What::Heap).most, 30_000);
        assert_eq!(find(&advice, What::Stack).most, 5000);
        assert_eq!(find(&advice, What::Quota).most, 200_000);
    }

    #[test]
    fn a_dead_ta_is_not_counted_twice() {
        let mut dead = refused(ta(1), 50_000, 8000);
        dead.state = state::DEAD;
        let row = HistoryRow {
            uuid: TeeUuid::from_u128(1),
            heap_max: 9000,
            heap_size: 36_864,
            refused: 2,
            biggest_refused: 50_000,
            biggest_refused_used: 8000,
            ..HistoryRow::default()
        };
        let heap = find(&advise(&[], &[dead], &[row]), What::Heap);
        assert_eq!((heap.now, heap.refused), (36_864, 2));
    }

    #[test]
    fn what_was_refused_to_a_ta_that_ended_is_not_forgotten() {
        let row = HistoryRow {
            uuid: TeeUuid::from_u128(1),
            heap_max: 24,
            heap_size: 34_304,
            refused: 1,
            biggest_refused: 40_000,
            biggest_refused_used: 24,
            ..HistoryRow::default()
        };
        let heap = find(&advise(&[], &[], &[row]), What::Heap);
        assert_eq!((heap.now, heap.most, heap.refused), (32_768, 24, 1));
        assert!(heap.set >= 40_024, "{heap:?}");
        assert_eq!(heap.verdict(), Verdict::Raise);
    }

    #[test]
    fn a_refused_request_is_added_to_what_was_used_then_and_not_to_the_size() {
        let heap = find(
            &advise(&[], &[refused(ta(1), 50_000, 8000)], &[]),
            What::Heap,
        );
        assert_eq!((heap.refused, heap.impossible), (2, 0));
        assert_eq!(heap.set, 90_112, "58,000 and half of it");
        let small = find(&advise(&[], &[refused(ta(1), 10, 9000)], &[]), What::Heap);
        assert_eq!(small.set, small.now, "never less after a refusal");
    }

    #[test]
    fn the_quota_has_room_for_the_heaps_as_advised_and_memory_for_the_quota() {
        let mut greedy = ta(1);
        greedy.heap.alloc.max_allocated = 60_000;
        for (wanted, room) in [
            (3 * MIB, 14 * MIB),
            (9 * MIB, 14 * MIB),
            (13 * MIB, 14 * MIB),
        ] {
            let ta = refused(greedy, wanted as u32, 60_000);
            let advice = advise(&memory(room), &[ta], &[]);
            let (heap, quota) = (find(&advice, What::Heap), find(&advice, What::Quota));
            assert_eq!(heap.impossible, 0);
            assert!(heap.set >= 60_000 + wanted, "{heap:?}");
            assert!(
                quota.set >= heap.set + 40_000 && quota.set <= room,
                "{quota:?}"
            );
        }
    }

    #[test]
    fn what_no_setting_can_give_is_named_and_left_out() {
        let ta = refused(ta(1), 30_000_000, 9000);
        let advice = advise(&memory(14 * MIB), &[ta], &[]);
        let (heap, quota) = (find(&advice, What::Heap), find(&advice, What::Quota));
        assert_eq!((heap.impossible, heap.set), (30_000_000, heap.now));
        assert!(quota.set < MIB, "{quota:?}");
    }

    #[test]
    fn the_kernel_heap_is_what_its_setting_says_and_its_tables_do_not_grow() {
        let mut heap = PoolStats {
            metadata: 31_000,
            tables: 30_208,
            ..PoolStats::default()
        };
        heap.alloc.size = 166_400;
        heap.alloc.max_allocated = 41_472;
        let advice = find(
            &advise(&[row(pool_kind::KERNEL_HEAP, heap)], &[], &[]),
            What::KernelHeap,
        );
        assert_eq!((advice.now, advice.most), (192 << 10, 41_472));
        assert_eq!(advice.set, 94_208, "62,208 and 30,208 of tables");
    }

    #[test]
    fn books_that_do_not_add_up_are_no_ground_for_advice() {
        let mut scribbled = ta(1);
        scribbled.heap.inconsistent = consistency::INCONSISTENT;
        let advice = advise(&[], &[scribbled], &[]);
        assert!(advice.iter().all(|one| one.what != What::Heap));
        assert!(advice.iter().any(|one| one.what == What::Stack));
    }

    #[test]
    fn what_was_not_measured_gets_no_advice() {
        let mut unused = ta(1);
        unused.stack_deepest = 0;
        let stack = find(&advise(&[], &[unused], &[]), What::Stack);
        assert_eq!((stack.set, stack.verdict()), (0, Verdict::Unknown));
    }

    fn on(what: What, snapshot: &Snapshot) -> String {
        let advice = of(snapshot);
        sentence(super::by_ta(&advice)[&(sample::LEAKER, what)])
    }

    #[test]
    fn what_was_used_and_refused_is_told() {
        let mut snapshot = sample::machine(2);
        assert_eq!(
            on(What::Stack, &snapshot),
            "stack_size could be 4,096: half as much again as was ever used"
        );
        assert_eq!(
            on(What::Heap, &snapshot),
            "heap_size fits; refused: 1 request"
        );
        snapshot.tas[0].heap.alloc.biggest_alloc_fail = 30_000_000;
        assert_eq!(
            on(What::Heap, &snapshot),
            "heap_size fits; refused: 1 request, of which one of 30,000,000 bytes fits no setting"
        );
        snapshot.tas[0].stack_deepest = 16_000;
        assert!(on(What::Stack, &snapshot).starts_with("raise stack_size to 24,576: half"));
        // Bug: one that died of a frame larger than its stack was told to shrink it.
        snapshot.tas[0].stack_deepest = 600_000;
        assert_eq!(
            on(What::Stack, &snapshot),
            "raise stack_size to 901,120: it overflowed, and 600,000 or more were needed"
        );
    }

    /// Only the living were looked at for refusals: a TA that had ended of one was told to take
    /// less.
    #[test]
    fn what_was_refused_to_a_ta_that_ended_is_told() {
        let mut snapshot = sample::machine(2);
        snapshot.tas.clear();
        snapshot.history = vec![HistoryRow {
            uuid: sample::LEAKER,
            heap_max: 24,
            heap_size: 34_304,
            refused: 1,
            biggest_refused: 40_000,
            biggest_refused_used: 24,
            ..HistoryRow::default()
        }];
        let text = on(What::Heap, &snapshot);
        assert!(text.starts_with("raise heap_size to 61,440"), "{text}");
        assert!(text.ends_with("; refused: 1 request"), "{text}");
    }
}
