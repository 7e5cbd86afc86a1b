//! Snapshots of a machine that never was: a TA that leaks the same each cycle.
//!
//! **Invariant:** figures that describe the same thing agree, as a real snapshot's do: uses add
//! up to the secure RAM, live blocks to the heaps' allocated bytes, call sites to live blocks.

use alloc::vec;
use alloc::vec::Vec;

use tally_abi::TeeUuid;
use tally_abi::shdr::BuildId;
use tally_records::snapshot::{Header, MAGIC, Section, VERSION};
use tally_records::{CacheRow, StorageRow, cache};
use tally_records::{
    ClassRow, CommandRow, FailureRow, HistoryRow, LeakRecord, MeminfoRow, OwnerRow, PoolRow,
    PoolStats, Record, RegionRow, SiteRow, TaDetail, UnfreedRow, class_kind, failed_pool,
    owner_kind, pool_kind, prot, state, trigger,
};
use zerocopy::IntoBytes;

use crate::snapshot::Snapshot;

/// The TA that leaks.
pub const LEAKER: TeeUuid = TeeUuid::from_u128(0x7a11e110_0002_4c6e_8d01_5ec0de000002);
/// A TA that does not.
pub const SOUND: TeeUuid = TeeUuid::from_u128(0x7a11e110_0001_4c6e_8d01_5ec0de000001);
/// The build of [`LEAKER`].
pub const LEAKER_ID: u64 = 0x1ea4_e1ea_4e1d;
/// The build of [`SOUND`].
pub const SOUND_ID: u64 = 0x5013_d5ee_d001;
/// Bytes that are lost in each cycle.
pub const LEAK_BYTES: u64 = 280;
/// Blocks that are lost in each cycle.
pub const LEAK_BLOCKS: u64 = 10;

/// The boot of all snapshots.
pub const BOOT: u64 = 0xb007;
/// The build of their kernel.
pub const BUILD: BuildId = [0xb1; 20];

const SECURE_RAM: u64 = 16 << 20;
const PAGE: u64 = 4096;

/// A snapshot's file as it grows.
pub(crate) struct File(Vec<u8>);

impl File {
    pub(crate) fn new(header: &Header) -> Self {
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            header_bytes: size_of::<Header>() as u32,
            ..*header
        };
        Self(header.as_bytes().to_vec())
    }

    pub(crate) fn append<T: Record>(&mut self, records: &[T]) {
        if records.is_empty() {
            return;
        }
        let head = Section {
            kind: T::SECTION,
            record_bytes: size_of::<T>() as u32,
            count: records.len() as u32,
            reserved: 0,
        };
        self.0.extend_from_slice(head.as_bytes());
        for record in records {
            self.0.extend_from_slice(record.as_bytes());
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        fix_length(&mut self.0);
        self.0
    }
}

/// Makes the header's length the file's.
pub fn fix_length(file: &mut [u8]) {
    let length = (file.len() as u64).to_le_bytes();
    file[16..24].copy_from_slice(&length);
}

fn label<const N: usize>(text: &str) -> [u8; N] {
    let mut out = [0; N];
    out[..text.len()].copy_from_slice(text.as_bytes());
    out
}

/// The machine after `cycle` cycles of the leaking workload.
#[must_use]
pub fn machine(cycle: u64) -> Snapshot {
    let live = live(cycle);
    let sum = |image: TeeUuid| -> (u64, u64) {
        live.iter()
            .filter(|record| record.image == image)
            .fold((0, 0), |(bytes, blocks), record| {
                (bytes + record.bytes, blocks + u64::from(record.blocks))
            })
    };
    let (leaker, sound, kernel) = (sum(LEAKER), sum(SOUND), sum(TeeUuid::nil()));
    let heap_pages = leaker.0.div_ceil(PAGE) + 2;
    let pool = |desc: &str, owner: TeeUuid, size: u64, (bytes, blocks): (u64, u64)| {
        let mut pool = PoolStats {
            owner,
            num_get: blocks * 7,
            num_release: blocks * 6,
            largest_free: (size - bytes) / 2,
            live_blocks: blocks,
            metadata: size / 64,
            ..PoolStats::default()
        };
        pool.alloc.desc = label(desc);
        pool.alloc.allocated = bytes as u32;
        pool.alloc.max_allocated = (bytes + 512) as u32;
        pool.alloc.size = size as u32;
        pool.alloc.free2_sum = (size - bytes).pow(2) / 2;
        pool.alloc.num_alloc_fail = u32::from(owner == LEAKER);
        pool
    };
    let row = |kind, pool| PoolRow {
        pool,
        kind,
        ..PoolRow::default()
    };
    let heap = |pool| PoolRow {
        instance: 1,
        ..row(pool_kind::TA_HEAP, pool)
    };
    let leaks = pool("TA heap", LEAKER, heap_pages * PAGE, leaker);
    let sound = pool("TA heap", SOUND, 32 << 10, sound);
    let kernel_heap = pool("Heap", TeeUuid::nil(), 192 << 10, kernel);
    let pools = vec![
        row(pool_kind::KERNEL_HEAP, kernel_heap),
        row(pool_kind::TA_MEMORY, pages(heap_pages)),
        heap(leaks),
        heap(sound),
    ];
    let tas = vec![
        ta(LEAKER, state::BUSY, heap_pages * PAGE, 8 << 20, leaks),
        ta(SOUND, state::IDLE, 32 << 10, 32 << 10, sound),
    ];
    Snapshot {
        header: Header {
            magic: MAGIC,
            version: VERSION,
            header_bytes: size_of::<Header>() as u32,
            at_ms: 1000 + cycle * 250,
            mark: 1,
            reason: if cycle == 0 {
                trigger::ASKED
            } else {
                trigger::EXIT
            },
            subject: if cycle == 0 { TeeUuid::nil() } else { LEAKER },
            value: 2,
            secure_ram: SECURE_RAM,
            boot: BOOT,
            build: BUILD,
            ..Header::default()
        },
        meminfo: meminfo(heap_pages),
        owners: owners(kernel, heap_pages),
        sites: live.iter().enumerate().map(site).collect(),
        regions: regions(heap_pages),
        classes: classes(leaker),
        commands: vec![CommandRow {
            uuid: LEAKER,
            function: 2,
            command: 2,
            calls: cycle,
            allocations: cycle * LEAK_BLOCKS,
            net_bytes: (cycle * LEAK_BYTES) as i64,
            heap_above_entry: LEAK_BYTES,
            stack_deepest: 1200,
            ticks: cycle * 4000,
            detailed: cycle,
            ..CommandRow::default()
        }],
        failures: vec![failure()],
        history: vec![HistoryRow {
            uuid: SOUND,
            ended: 3,
            died: 1,
            heap_max: 9000,
            heap_size: 32 << 10,
            stack_max: 2000,
            stack_size: 16 << 10,
            charged_max: 200 << 10,
            unfreed_blocks: 2,
            unfreed_bytes: 96,
            ..HistoryRow::default()
        }],
        unfreed: vec![UnfreedRow {
            uuid: SOUND,
            frames: [0x1234, 0, 0, 0, 0, 0, 0, 0],
            image_id: SOUND_ID,
            bytes: 96,
            blocks: 2,
            instances: 2,
            ..UnfreedRow::default()
        }],
        caches: vec![CacheRow {
            cache: cache::BLOCKS,
            limit: 8,
            entries: 3,
            bytes: 3 * PAGE,
            bytes_max: 8 * PAGE,
            hits: 30,
            misses: 10,
            evicted: 2,
            ..CacheRow::default()
        }],
        storage: vec![StorageRow {
            uuid: SOUND,
            objects: 1,
            handles: 1,
            bytes: 400,
            calls: 20,
            requests: 60,
            read: 8 << 10,
            written: 4 << 10,
            ticks: 90_000,
            ..StorageRow::default()
        }],
        live,
        pools,
        tas,
        ..Snapshot::default()
    }
}

/// The pages for TAs.
fn pages(heap_pages: u64) -> PoolStats {
    let (size, used) = (SECURE_RAM - 434 * PAGE, (heap_pages + 28) * PAGE);
    let mut pool = PoolStats {
        num_get: heap_pages + 40,
        num_release: 12,
        largest_free: size - used,
        live_blocks: used / PAGE,
        ..PoolStats::default()
    };
    pool.alloc.desc = label("Physical TA memory");
    pool.alloc.allocated = used as u32;
    pool.alloc.max_allocated = used as u32;
    pool.alloc.size = size as u32;
    pool
}

fn live(cycle: u64) -> Vec<LeakRecord> {
    let record = |kind, owner, image, text, bytes, blocks: u64, frames: &[u64]| {
        let mut record = LeakRecord {
            bytes,
            blocks: blocks as u32,
            block_size: bytes.checked_div(blocks).unwrap_or(0) as u32,
            owner_kind: kind,
            session: if kind == owner_kind::SESSION { 770 } else { 0 },
            owner,
            label: label(text),
            image,
            ..LeakRecord::default()
        };
        record.frames[..frames.len()].copy_from_slice(frames);
        record
    };
    let nil = TeeUuid::nil();
    let leak_frames: &[u64] = &[0x1204, 0x1108, 0x2010];
    let mut live = vec![
        record(
            owner_kind::KERNEL,
            nil,
            nil,
            "kernel",
            1832,
            13,
            &[0x4404, 0x4008],
        ),
        record(
            owner_kind::GUEST,
            nil,
            nil,
            "guest",
            640,
            4,
            &[0x5504, 0x5008],
        ),
        record(
            owner_kind::TA,
            LEAKER,
            nil,
            "ta",
            912,
            8,
            &[0x6604, 0x6008, 0x4008],
        ),
        record(
            owner_kind::SESSION,
            LEAKER,
            nil,
            "session",
            288,
            2,
            &[0x7704, 0x6008],
        ),
        record(owner_kind::TA, SOUND, SOUND, "ta", 4096, 1, &[0x1404]),
        record(
            owner_kind::SESSION,
            LEAKER,
            LEAKER,
            "session",
            3000,
            1,
            &[0x1304, 0x1108],
        ),
    ];
    if cycle > 0 {
        live.push(record(
            owner_kind::SESSION,
            LEAKER,
            LEAKER,
            "session",
            cycle * LEAK_BYTES,
            cycle * LEAK_BLOCKS,
            leak_frames,
        ));
    }
    live.sort_by_key(|record| core::cmp::Reverse(record.bytes));
    live
}

fn site((number, record): (usize, &LeakRecord)) -> SiteRow {
    SiteRow {
        pool: record.image,
        frames: record.frames,
        live_bytes: record.bytes,
        live_blocks: u64::from(record.blocks),
        allocations: u64::from(record.blocks) * 3,
        peak_bytes: record.bytes * 2,
        site: number as u32,
        ..SiteRow::default()
    }
}

fn meminfo(heap_pages: u64) -> Vec<MeminfoRow> {
    let mut rows: Vec<(&str, u64)> = vec![
        ("firmware", 256),
        ("kernel text", 50),
        ("kernel stacks", 80),
        ("kernel heap", 48),
        ("TA segments", 20),
        ("TA heaps", heap_pages + 8),
    ];
    let used: u64 = rows.iter().map(|(_, pages)| pages).sum();
    rows.insert(0, ("free", SECURE_RAM / PAGE - used));
    rows.into_iter()
        .map(|(name, pages)| MeminfoRow {
            label: label(name),
            bytes: pages * PAGE,
            pages,
        })
        .collect()
}

fn owners((bytes, blocks): (u64, u64), heap_pages: u64) -> Vec<OwnerRow> {
    let owner = |kind, text, uuid, heap_bytes, heap_blocks, pages| OwnerRow {
        label: label(text),
        kind,
        session: if kind == owner_kind::SESSION { 770 } else { 0 },
        uuid,
        heap_bytes,
        heap_blocks,
        pages,
        ..OwnerRow::default()
    };
    let nil = TeeUuid::nil();
    vec![
        owner(
            owner_kind::KERNEL,
            "kernel",
            nil,
            (bytes - 640 - 912 - 288) as u32,
            (blocks - 14) as u32,
            434,
        ),
        owner(owner_kind::GUEST, "guest", nil, 640, 4, 0),
        owner(owner_kind::TA, "ta", LEAKER, 912, 8, heap_pages as u32 + 10),
        owner(owner_kind::SESSION, "session", LEAKER, 288, 2, 0),
        owner(owner_kind::TA, "ta", SOUND, 0, 0, 18),
    ]
}

fn ta(uuid: TeeUuid, state: u32, committed: u64, reserved: u64, heap: PoolStats) -> TaDetail {
    let own = committed + (56 << 10);
    TaDetail {
        uuid,
        instance: 1,
        state,
        function: 2,
        command: 2,
        session: 770,
        sessions: 1,
        flags: 12,
        loaded_ms: 400,
        busy_since_ms: 900,
        code: 24 << 10,
        data: 4 << 10,
        stack: 16 << 10,
        stack_deepest: 1200,
        heap_committed: committed,
        heap_reserved: reserved,
        tables: 12 << 10,
        kernel_heap: 1200,
        kernel_blocks: 10,
        shared: 4 << 10,
        quota: 2560 * PAGE,
        charged: own,
        charged_max: own + PAGE,
        vss: own + reserved - committed + (8 << 10),
        rss: own + (8 << 10),
        pss: own + (4 << 10),
        uss: own,
        heap,
        image_id: if uuid == LEAKER { LEAKER_ID } else { SOUND_ID },
        ..TaDetail::default()
    }
}

fn regions(heap_pages: u64) -> Vec<RegionRow> {
    let region = |owner, text, bytes, populated, prot| RegionRow {
        bytes,
        populated,
        prot,
        owner,
        label: label(text),
        ..RegionRow::default()
    };
    vec![
        region(
            TeeUuid::nil(),
            "kernel text",
            50 * PAGE,
            50 * PAGE,
            prot::READ | prot::EXECUTE,
        ),
        region(
            LEAKER,
            "code",
            6 * PAGE,
            6 * PAGE,
            prot::READ | prot::EXECUTE,
        ),
        region(LEAKER, "stack", 4 * PAGE, PAGE, prot::READ | prot::WRITE),
        region(
            LEAKER,
            "heap",
            8 << 20,
            heap_pages * PAGE,
            prot::READ | prot::WRITE,
        ),
    ]
}

fn classes((bytes, blocks): (u64, u64)) -> Vec<ClassRow> {
    vec![
        ClassRow {
            pool: LEAKER,
            kind: class_kind::SLAB,
            block_size: 32,
            slabs: 1 + (blocks / 120) as u32,
            blocks: 120,
            live: blocks.saturating_sub(1) as u32,
            bytes: PAGE,
            requested: bytes.saturating_sub(3000),
            ..ClassRow::default()
        },
        ClassRow {
            pool: LEAKER,
            kind: class_kind::RUN,
            blocks: 1,
            live: 1,
            bytes: 3072,
            requested: 3000,
            ..ClassRow::default()
        },
    ]
}

fn failure() -> FailureRow {
    let mut failure = FailureRow {
        number: 1,
        at_ms: 950,
        size: 20_000_000,
        used: 3000,
        pool_size: 8 << 20,
        largest_free: 4 << 20,
        pool: failed_pool::TA_HEAP,
        owner_kind: owner_kind::SESSION,
        session: 770,
        tops: 1,
        owner: LEAKER,
        label: label("session"),
        image: LEAKER,
        image_id: LEAKER_ID,
        ..FailureRow::default()
    };
    failure.frames[..2].copy_from_slice(&[0x1304, 0x1108]);
    failure.top[0].bytes = 3000;
    failure.top[0].frames[0] = 0x1304;
    failure
}
