//! Use of memory by TAs in all their ended lives, and what they had not freed.

use tally_abi::TeeUuid;
use tally_abi::pta::MAX_FRAMES;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a TA used in all its ended lives, 128 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HistoryRow {
    /// Which TA.
    pub uuid: TeeUuid,
    /// Instances that ended.
    pub ended: u32,
    /// Those that panicked, crashed or were killed.
    pub died: u32,
    /// Most heap bytes.
    pub heap_max: u64,
    /// Heap bytes declared.
    pub heap_size: u64,
    /// Deepest use of the stack.
    pub stack_max: u64,
    /// Stack bytes declared.
    pub stack_size: u64,
    /// Most secure memory charged.
    pub charged_max: u64,
    /// Blocks not freed when its instances ended in good order: leaks.
    pub unfreed_blocks: u64,
    /// Bytes of them.
    pub unfreed_bytes: u64,
    /// Blocks that its instances held when they died.
    pub held_blocks: u64,
    /// Bytes of them.
    pub held_bytes: u64,
    /// Allocations that its heap refused.
    pub refused: u64,
    /// Bytes of the largest of them.
    pub biggest_refused: u64,
    /// Heap bytes in use when that one was refused.
    pub biggest_refused_used: u64,
    /// Instances whose heap's books did not add up when they ended: what they had not freed is not known.
    pub inconsistent: u32,
    /// Unused, zero.
    pub reserved: u32,
}

/// A call site whose blocks a TA had not freed when it ended, in all its ended lives together, 112 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UnfreedRow {
    /// Which TA.
    pub uuid: TeeUuid,
    /// Return addresses, innermost first, as offsets from the image's link base; 0 ends.
    pub frames: [u64; MAX_FRAMES],
    /// Bytes not freed.
    pub bytes: u64,
    /// Blocks of them.
    pub blocks: u64,
    /// Instances that ended with some of them.
    pub instances: u32,
    /// 0: they had ended in good order, and leaked; 1: they had died, and held them then.
    pub died: u32,
    /// Which build of the TA they were ([`tally_abi::shdr::image_id`]); 0: not known.
    pub image_id: u64,
}

const _: () = {
    assert!(size_of::<HistoryRow>() == 128);
    assert!(size_of::<UnfreedRow>() == 112);
};
