//! Use of memory by TAs in all their ended lives, and what they had not freed.

use crate::{Frames, Origin, Placed, declared_heap};
use tally_abi::TeeUuid;
use tally_abi::pta::MAX_FRAMES;

crate::record! {
    /// What a TA used in all its ended lives.
    HistoryRow: "history" = 11, 128 bytes {
        /// Which TA.
        uuid: TeeUuid => ta,
        /// Instances that ended.
        ended: u32 => number(Count),
        /// Those of them that panicked, crashed or were killed.
        died: u32 => number(Count),
        /// Most heap bytes.
        heap_max: u64 => number(Bytes),
        /// The heap size that they had declared, in whole pages.
        heap_size: u64 => number(Bytes) "heap_declared" = |row| row.heap_declared(),
        /// Deepest use of the stack; more than declared if one overflowed.
        stack_max: u64 => number(Bytes),
        /// Stack as declared.
        stack_size: u64 => number(Bytes),
        /// Most secure memory charged.
        charged_max: u64 => number(Bytes),
        /// Blocks not freed when its instances ended in good order: leaks.
        unfreed_blocks: u64 => number(Blocks),
        /// Bytes of them.
        unfreed_bytes: u64 => number(Bytes),
        /// Blocks that its instances held when they died.
        held_blocks: u64 => number(Blocks),
        /// Bytes of them.
        held_bytes: u64 => number(Bytes),
        /// Allocations that its heap refused.
        refused: u64 => number(Count),
        /// Bytes of the largest of them.
        biggest_refused: u64 => number(Bytes),
        /// Heap bytes in use when that one was refused.
        biggest_refused_used: u64 => number(Bytes),
        /// Instances whose heap's books did not add up when they ended: what they had not freed is
        /// not known.
        inconsistent: u32 => number(Count),
        /// Keys, other objects and operations that its instances had not closed when they ended in good order.
        unclosed: u32 => number(Count),
    }
}

impl HistoryRow {
    /// The heap size that TAs of this row had declared, in whole pages.
    #[must_use]
    pub const fn heap_declared(&self) -> u64 {
        declared_heap(self.heap_size)
    }
}

crate::record! {
    /// A call site whose blocks a TA had not freed when it ended, in all its ended lives together.
    UnfreedRow: "unfreed" = 12, 112 bytes {
        /// Which TA.
        uuid: TeeUuid => ta,
        /// Where it is.
        frames: [u64; MAX_FRAMES] => frames "stack" = |row| row.frames(),
        /// Bytes not freed.
        bytes: u64 => number(Bytes),
        /// Blocks of them.
        blocks: u64 => number(Blocks),
        /// Instances that ended with some of them.
        instances: u32 => number(Count),
        /// Whether the instances had died, and held them then; else they had ended in good order,
        /// and leaked.
        died: u32 => flag = |row| row.died != 0,
        /// Which build of the TA they were.
        image_id: u64 => id "image",
    }
}

impl Placed for UnfreedRow {
    fn frames(&self) -> Frames<'_> {
        let origin = Origin {
            image: self.uuid,
            build: Some(self.image_id),
        };
        Frames {
            origin: Some(origin),
            offsets: &self.frames,
        }
    }
}
