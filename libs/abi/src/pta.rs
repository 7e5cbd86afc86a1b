//! Pseudo trusted applications: OP-TEE's `stats`, `device` and `rng`, and Tally's own.
//!
//! All structures are little-endian, without implicit padding, and travel in memory references.
//! A buffer too small gets `SHORT_BUFFER` and the size needed. What lies in one is a record of the crate `tally-records`,
//! but for OP-TEE's own [`stats::AllocStats`] and [`stats::TaStats`].

use crate::TeeUuid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub mod audit;
pub mod inspect;
pub mod rng;
pub mod socket;
pub mod system;
pub mod vdec;
pub mod watch;

/// Bytes of a pool's name (`TEE_ALLOCATOR_DESC_LENGTH`).
pub const DESC_LEN: usize = 32;
/// Most frames of a call stack that travel.
pub const MAX_FRAMES: usize = 8;

/// The stats pTA. Source: optee_os `lib/libutee/include/pta_stats.h`.
pub mod stats {
    use super::{DESC_LEN, FromBytes, Immutable, IntoBytes, KnownLayout, TeeUuid};

    /// `STATS_UUID`.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0xd96a5b40_e2c7_b1af_8794_1002a5d5c61b);

    /// `(value out, value out, value out, none)`: see the upstream header; no pager, so zeros
    /// but for the page pool's size.
    pub const CMD_PAGER_STATS: u32 = 0;
    /// `(value in: a = [`alloc_id`], b = 1 to reset the pool's maxima and failures after they are
    /// read; memref out: [`AllocStats`] array, none, none)`.
    pub const CMD_ALLOC_STATS: u32 = 1;
    /// `(none x 4)`: lists the kernel heap's live blocks on the secure console.
    pub const CMD_MEMLEAK_STATS: u32 = 2;
    /// `(memref out: [`TaStats`] array, none, none, none)`.
    pub const CMD_TA_STATS: u32 = 3;
    /// `(value out: REE seconds, ms; value out: TEE seconds, ms; none; none)`.
    pub const CMD_GET_TIME: u32 = 4;
    /// `(value in: a = driver type (0 clocks, 1 regulators), none, none, none)`.
    pub const CMD_PRINT_DRIVER_INFO: u32 = 5;

    /// Which pools [`CMD_ALLOC_STATS`] reports (`ALLOC_ID_*`).
    pub mod alloc_id {
        /// All of the below, in order.
        pub const ALL: u32 = 0;
        /// Kernel heap.
        pub const HEAP: u32 = 1;
        /// Public DDR (deprecated).
        pub const PUBLIC_DDR: u32 = 2;
        /// Memory for trusted applications.
        pub const TA_RAM: u32 = 3;
        /// Nexus heap.
        pub const NEXUS_HEAP: u32 = 4;
        /// RPMB.
        pub const RPMB: u32 = 5;
        /// How many ids `ALL` stands for.
        pub const COUNT: u32 = 5;
    }

    /// `struct pta_stats_alloc`, 64 bytes.
    #[derive(
        Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
    )]
    #[repr(C)]
    pub struct AllocStats {
        /// Name, zero padded.
        pub desc: [u8; DESC_LEN],
        /// Sum of the squares of the free chunks' sizes.
        pub free2_sum: u64,
        /// Bytes allocated now.
        pub allocated: u32,
        /// Most bytes ever allocated at a time since the last reset.
        pub max_allocated: u32,
        /// Size of the pool in bytes.
        pub size: u32,
        /// Failed allocations.
        pub num_alloc_fail: u32,
        /// Size of the biggest failed allocation.
        pub biggest_alloc_fail: u32,
        /// Bytes allocated when it failed.
        pub biggest_alloc_fail_used: u32,
    }

    /// `struct pta_stats_ta`, 88 bytes.
    #[derive(
        Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
    )]
    #[repr(C)]
    pub struct TaStats {
        /// Which TA.
        pub uuid: TeeUuid,
        /// 1 if it has panicked.
        pub panicked: u32,
        /// Open sessions.
        pub sess_num: u32,
        /// Its heap.
        pub heap: AllocStats,
    }
}

/// The device enumeration pTA. Source: optee_os `lib/libutee/include/pta_device.h`.
pub mod device {
    use super::TeeUuid;

    /// `PTA_DEVICE_UUID`.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0x7011a688_ddde_4053_a5a9_7b3c4ddf13b8);
    /// `(memref out: UUIDs as bytes)`: devices without a supplicant.
    pub const CMD_GET_DEVICES: u32 = 0;
    /// As above, for those that need the supplicant.
    pub const CMD_GET_DEVICES_SUPP: u32 = 1;
}

/// Tally's leak finder: mark, do the work, list what is still there.
pub mod memleak {
    use super::TeeUuid;

    /// Tally's own.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0xb1c8f0e2_5d6a_4a7e_9b43_1e7a11ed0001);

    /// `(value in: a = low, b = high word of a kernel frame; memref out: text
    /// "function file:line")`: names a frame of the kernel image; `ITEM_NOT_FOUND` if it has none.
    pub const CMD_NAME: u32 = 2;
    /// `(memref in: a name of at most [`MARK_NAME`] - 1 printable bytes, none for a
    /// mark without a name; value out: a = mark)`: blocks carry this number from now on. A name that is in use goes
    /// over to the new mark.
    pub const CMD_MARK: u32 = 3;
    /// `(memref in: `Selector`; memref out: `ScanRow` array, one a heap)`: looks for blocks that nothing points to. `SHORT_BUFFER` scans nothing;
    /// `OUT_OF_MEMORY` if there are no pages for the marks, `ITEM_NOT_FOUND` if none is loaded, `TARGET_DEAD`
    /// (as all commands that take a TA) if only dead instances are left.
    pub const CMD_SCAN: u32 = 7;
    /// `(memref in: `Selector`; value out: a = blocks)`: what was found so
    /// far is not shown any more.
    pub const CMD_CLEAR: u32 = 9;

    /// Bytes of a mark's name, the zero at its end included.
    pub const MARK_NAME: usize = 16;
}

/// Tally's control: what OP-TEE's interfaces have no call for.
pub mod control {
    use super::TeeUuid;

    /// Tally's own.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0xb1c8f0e2_5d6a_4a7e_9b43_1e7a11ed0002);

    /// `(memref in: UUID bytes; value out: a = instances)`: ends every instance of a TA, busy or not;
    /// its clients get `TARGET_DEAD`. A busy one ends on its own thread, soon after; until then it is listed as busy.
    /// `ITEM_NOT_FOUND` if none is loaded.
    pub const CMD_KILL: u32 = 1;
    /// `(none x 4)`: restarts the maxima and failure figures of all pools, TA heaps included, and those that are
    /// remembered of TAs that have ended. The maximum of a TA that a call is inside of is the one since that call began.
    pub const CMD_RESET: u32 = 3;
    /// `(memref out: text)`: the last out-of-memory report; `NO_DATA` if there was none.
    pub const CMD_LAST_OOM: u32 = 5;
    /// `(value in: a = [`fault`])`: breaks the kernel on purpose. Only in builds with test hooks,
    /// else `NOT_SUPPORTED`.
    pub const CMD_FAULT: u32 = 6;
    /// `(value out: a = threads for calls, b = of them in use; value out: a = calls that were turned
    /// away for want of a thread, b = 0)`.
    pub const CMD_THREADS: u32 = 7;
    /// `(value out: a = low half, b = high half)`: bytes of secure RAM as the board has it, the firmware's
    /// included; not the sum of anything that is counted.
    pub const CMD_SECURE_RAM: u32 = 8;

    /// `(value in: a = [`pool`]; value in: a = first, b = count; value out: a = requests, b = of them refused)`:
    /// refuses `count` requests for memory on purpose, from number `first` on (0: the next; a count of 0: none),
    /// and tells what became of those since this was last asked. Only in builds with test hooks, else `NOT_SUPPORTED`.
    pub const CMD_INJECT: u32 = 9;

    /// Pools in which [`CMD_INJECT`] refuses.
    pub mod pool {
        /// The kernel heap.
        pub const HEAP: u32 = 0;
        /// Pages of secure RAM.
        pub const PAGES: u32 = 1;
    }

    /// What [`CMD_FAULT`] breaks.
    pub mod fault {
        /// A Rust panic.
        pub const PANIC: u32 = 0;
        /// A read of an unmapped address.
        pub const BAD_READ: u32 = 1;
        /// Overflow of a kernel stack.
        pub const STACK_OVERFLOW: u32 = 2;
        /// A write to kernel code.
        pub const WRITE_CODE: u32 = 3;
        /// Not a crash: a block of the kernel heap that nothing points to.
        pub const LOSE_BLOCK: u32 = 4;
        /// Frees what [`LOSE_BLOCK`] lost.
        pub const FREE_LOST: u32 = 5;
        /// Breaks nothing: walks the records of all pages, and says by `BAD_PARAMETERS` that the figures
        /// differ from what they add up to.
        pub const CHECK_PAGES: u32 = 6;
        /// Breaks nothing: has the kernel's cryptography give its sample by the CPU's instructions and by the portable code, and
        /// says by `BAD_PARAMETERS` that it is another one.
        pub const SAMPLE_CRYPTO: u32 = 7;
    }
}

const _: () = {
    assert!(size_of::<stats::AllocStats>() == 64);
    assert!(size_of::<stats::TaStats>() == 88);
};
