//! TA instances and the sessions to them.

use crate::PoolStats;
use tally_abi::TeeUuid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One TA instance whole; sizes in bytes. Of a dead one the figures of its heap, what it was allowed and the most
/// that it used are its last; it has no memory. 384 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TaDetail {
    /// Which TA.
    pub uuid: TeeUuid,
    /// Tells instances of one TA apart.
    pub instance: u32,
    /// One of [`state`].
    pub state: u32,
    /// Entry function it is in ([`tally_abi::ta::entry`]), if busy, or was in when it died.
    pub function: u32,
    /// Command it is in, if busy, or was in when it died.
    pub command: u32,
    /// Session it serves, if busy, or served when it died; 0 if it died idle.
    pub session: u32,
    /// Open sessions.
    pub sessions: u32,
    /// `TA_FLAG_*` ([`tally_abi::ta::flags`]).
    pub flags: u32,
    /// Regions of its address space.
    pub regions: u32,
    /// Milliseconds since boot when it was loaded.
    pub loaded_ms: u64,
    /// Milliseconds since boot when its call began, if busy, or had begun when it died.
    pub busy_since_ms: u64,
    /// Code and read-only data.
    pub code: u64,
    /// Writable data of the image.
    pub data: u64,
    /// Stack as reserved.
    pub stack: u64,
    /// Deepest use of the stack so far.
    pub stack_deepest: u64,
    /// Stack pointer at its last trap, or where it begins; 0 if hidden.
    pub stack_pointer: u64,
    /// Heap pages taken.
    pub heap_committed: u64,
    /// Heap addresses reserved.
    pub heap_reserved: u64,
    /// Page tables.
    pub tables: u64,
    /// Kernel heap on its behalf, its sessions' included.
    pub kernel_heap: u64,
    /// Blocks of it.
    pub kernel_blocks: u64,
    /// Normal-world memory mapped.
    pub shared: u64,
    /// Most secure memory it may have.
    pub quota: u64,
    /// Secure memory charged to it now.
    pub charged: u64,
    /// Most that ever was.
    pub charged_max: u64,
    /// Addresses mapped or set aside.
    pub vss: u64,
    /// Memory mapped, shared parts whole.
    pub rss: u64,
    /// Memory mapped, shared parts divided by who shares them: the normal world, and every TA that has the
    /// first page of the part mapped.
    pub pss: u64,
    /// Memory mapped that nobody else has.
    pub uss: u64,
    /// Its heap.
    pub heap: PoolStats,
    /// Which build of the TA it is ([`tally_abi::shdr::image_id`]); 0: not known.
    pub image_id: u64,
    /// One of [`cause`], if dead.
    pub cause: u32,
    /// What it panicked with, if it did.
    pub panic_code: u32,
    /// Milliseconds since boot when it died, if dead.
    pub died_ms: u64,
}

/// Where an instance is in its life.
pub mod state {
    /// Being loaded.
    pub const LOADING: u32 = 0;
    /// Can be entered.
    pub const IDLE: u32 = 1;
    /// Runs a command.
    pub const BUSY: u32 = 2;
    /// Panicked, crashed or killed, with sessions still open.
    pub const DEAD: u32 = 3;
}

/// Why an instance is [`state::DEAD`].
pub mod cause {
    /// It is not, or nobody knows.
    pub const NONE: u32 = 0;
    /// It panicked.
    pub const PANICKED: u32 = 1;
    /// It touched what it may not, or met another exception.
    pub const CRASHED: u32 = 2;
    /// Somebody ended it.
    pub const KILLED: u32 = 3;
}

/// One session to a TA, 40 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SessionRow {
    /// The TA.
    pub uuid: TeeUuid,
    /// Which instance of it.
    pub instance: u32,
    /// The session's id.
    pub session: u32,
    /// 0 if the normal world opened it, 1 if a TA did.
    pub opener: u32,
    /// 1 while a call is in flight.
    pub busy: u32,
    /// Kernel heap that it holds, in bytes.
    pub kernel_heap: u64,
}

const _: () = {
    assert!(size_of::<TaDetail>() == 384);
    assert!(size_of::<SessionRow>() == 40);
};
