//! Live blocks by owner and call stack, and those of them that nothing points to.

use crate::{Frames, Origin, Placed};
use tally_abi::TeeUuid;
use tally_abi::pta::MAX_FRAMES;

crate::record! {
    /// Live blocks of one owner and one call stack.
    LeakRecord: "live" = 7, 144 bytes {
        /// Bytes asked for, all blocks together.
        bytes: u64 => number(Bytes),
        /// Blocks.
        blocks: u32 => number(Blocks),
        /// Size of each block; null if they differ.
        block_size: u32 => nonzero(Bytes),
        /// What the owner is.
        owner_kind: u32 => word(crate::owner_kind) "kind",
        /// The session, if the owner is one.
        session: u32 => nonzero(Hex),
        /// The TA that the owner belongs to.
        owner: TeeUuid => ta "uuid",
        /// The owner's name.
        label: [u8; 16] => text "owner",
        /// The TA in whose heap they lie; null: the kernel's.
        image: TeeUuid => ta "heap",
        /// Where they were allocated.
        frames: [u64; MAX_FRAMES] => frames "stack" = |row| row.frames(),
        /// The last mark that was set when they were allocated; null: there was none.
        mark: u32 => nonzero(None),
        /// Unused, zero.
        reserved: u32 => hidden,
    }
}

impl Placed for LeakRecord {
    fn frames(&self) -> Frames<'_> {
        Frames {
            origin: Some(Origin::of_heap(self.image)),
            offsets: &self.frames,
        }
    }
}

impl LeakRecord {
    /// Adds the blocks of another record.
    pub fn add(&mut self, other: &Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.blocks = self.blocks.saturating_add(other.blocks);
        if self.block_size != other.block_size {
            self.block_size = 0;
        }
    }
}

crate::record! {
    /// What one scan of one heap did.
    ScanRow: "scans" = 18, 104 bytes {
        /// The TA whose heap it is; null: the kernel's.
        heap: TeeUuid => ta "uuid",
        /// Counts the scans of this heap, from 1.
        number: u32 => number(None) "scan",
        /// How often memory was gone through: once, or again to confirm what was found.
        passes: u32 => number(Count),
        /// Live blocks that were older than the scan.
        blocks: u32 => number(Blocks),
        /// Of these, blocks that nothing points to and that were not cleared.
        suspects: u32 => number(Blocks),
        /// Of the suspects, those that this scan found first.
        new: u32 => number(Blocks),
        /// Blocks that were found and are hidden.
        cleared: u32 => number(Blocks),
        /// Bytes of the suspects.
        suspect_bytes: u64 => number(Bytes),
        /// Bytes of roots that were read, all passes together.
        root_bytes: u64 => number(Bytes),
        /// Bytes of blocks that were read, all passes together.
        block_bytes: u64 => number(Bytes),
        /// Ticks of the system counter from beginning to end.
        ticks: u64 => number(Ticks),
        /// Most ticks that the kernel's lock was held at a stretch.
        longest_step: u64 => number(Ticks),
        /// Ticks a second.
        ticks_per_second: u64 => number(Ticks),
        /// Steps, between which interrupts and other CPUs had their turn.
        steps: u32 => number(Count),
        /// Secure pages that the marks took meanwhile.
        pages: u32 => number(Pages),
        /// Whether the heap's bookkeeping does not add up: nothing was found out.
        inconsistent: u32 => flag = |row| row.inconsistent != 0,
        /// The number of the TA's instance, 0 for the kernel heap.
        instance: u32 => number(None),
    }
    also {
        /// Microseconds for each MiB that was read; null if it was less than a sixteenth of one.
        micros_per_mebibyte => number(Count) or null = |row| row.micros_per_mebibyte(),
    }
}

impl ScanRow {
    /// Ticks of the system counter as microseconds.
    #[must_use]
    pub fn micros(&self, ticks: u64) -> u64 {
        let micros = u128::from(ticks) * 1_000_000 / u128::from(self.ticks_per_second.max(1));
        u64::try_from(micros).unwrap_or(u64::MAX)
    }

    /// Microseconds for each MiB that was read; `None` if less than a sixteenth of one was: what a
    /// scan takes whatever it reads would count many times over.
    #[must_use]
    pub fn micros_per_mebibyte(&self) -> Option<u64> {
        let read = self.root_bytes.saturating_add(self.block_bytes);
        if read < 1 << 16 {
            return None;
        }
        let micros = u128::from(self.micros(self.ticks)) << 20;
        u64::try_from(micros / u128::from(read)).ok()
    }
}

crate::record! {
    /// Blocks of one owner and call stack that nothing points to.
    SuspectRow: "suspects" = 19, 152 bytes {
        /// What they are and whose.
        leak: LeakRecord => flat(LeakRecord),
        /// The scan of this heap that found the first of them; 254: that one or a later one.
        first_scan: u32 => number(None),
        /// The last scan of this heap.
        last_scan: u32 => number(None),
    }
}

impl Placed for SuspectRow {
    fn frames(&self) -> Frames<'_> {
        self.leak.frames()
    }
}

/// Scans from here on are not told apart as the first.
pub const LATE_SCAN: u32 = 254;
