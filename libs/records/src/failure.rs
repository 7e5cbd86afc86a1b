//! Refused allocations.

use crate::{Frames, Origin, Placed, Rows, Words};
use tally_abi::TeeUuid;
use tally_abi::image::ImageFault;
use tally_abi::pta::MAX_FRAMES;

/// Call sites that a refusal tells of.
const TOPS: usize = 4;

crate::record! {
    /// A refused allocation.
    FailureRow: "failures" = 10, 392 bytes {
        /// Counts all refusals since boot, from 1.
        number: u64 => number(None),
        /// Milliseconds since boot.
        at_ms: u64 => number(Ms),
        /// Bytes asked for.
        size: u64 => number(Bytes),
        /// Bytes in use then.
        used: u64 => number(Bytes),
        /// Bytes of the pool.
        pool_size: u64 => number(Bytes),
        /// Largest free chunk.
        largest_free: u64 => number(Bytes),
        /// Which memory was short.
        pool: u32 => word(failed_pool),
        /// What its owner is.
        owner_kind: u32 => word(crate::owner_kind) "kind",
        /// The session that it was for.
        session: u32 => nonzero(Hex),
        /// How many of [`Self::top`] are set.
        tops: u32 => hidden,
        /// The TA that its owner belongs to.
        owner: TeeUuid => ta "uuid",
        /// Its owner's name.
        label: [u8; 16] => text "owner",
        /// The TA that asked for it; null: the kernel did.
        image: TeeUuid => ta "caller",
        /// Where it was asked for.
        frames: [u64; MAX_FRAMES] => frames "stack" = |row| row.frames(),
        /// The call sites that held most.
        top: [TopSite; TOPS] => rows(TopSite) "held" = |row| row.held(),
        /// Live blocks that the call sites were found among: where there is no table of sites, the
        /// first ones only.
        top_blocks: u32 => number(Blocks) "looked_at_blocks",
        /// All live blocks of the pool then; 0 where nobody looked.
        live_blocks: u32 => number(Blocks),
        /// Which build of the TA asked for it.
        image_id: u64 => id "image",
        /// Who held most of a table: a TA; null: clients of the normal world, if there are entries.
        holder: TeeUuid => ta,
        /// Entries that it held.
        held_entries: u32 => nonzero(Count),
        /// Entries of a table in use then, of those that were for who asked.
        used_entries: u32 => nonzero(Count),
        /// Entries of the table that are for who asked.
        entries: u32 => nonzero(Count),
        /// Entries asked for.
        wanted_entries: u32 => nonzero(Count),
        /// What is wrong with a refused image.
        fault: u32 => word(ImageFault) or null = |row| (row.fault != 0).then_some(row.fault),
        /// Unused, zero.
        reserved: u32 => hidden,
    }
    also {
        /// What stood in the way.
        limit => word(limit) = |row| row.pool,
    }
}

impl FailureRow {
    const fn origin(&self) -> Origin {
        Origin {
            image: self.image,
            build: Some(self.image_id),
        }
    }

    fn held(&self) -> Rows<'_> {
        Rows {
            list: &self.top,
            count: self.tops,
            origin: self.origin(),
        }
    }
}

impl Placed for FailureRow {
    fn frames(&self) -> Frames<'_> {
        Frames {
            origin: Some(self.origin()),
            offsets: &self.frames,
        }
    }
}

crate::codes! {
    /// Which memory was refused.
    failed_pool: u32 {
        /// The kernel heap.
        KERNEL_HEAP = 0 "kernel heap",
        /// Pages for TAs.
        TA_RAM = 1 "TA memory",
        /// A TA's own heap (as large as the TA declared).
        TA_HEAP = 2 "TA heap",
        /// A TA's quota of secure memory.
        TA_QUOTA = 3 "TA quota",
        /// No memory: a TA's image was refused.
        IMAGE = 4 "TA image",
        /// Sessions.
        SESSIONS = 5 "sessions",
        /// TA instances.
        INSTANCES = 6 "TA instances",
        /// Regions of a TA's address space.
        REGIONS = 7 "regions of a TA",
        /// Shared memory.
        SHARED_MEMORY = 8 "shared memory objects",
        /// Runs of adjacent pages of all shared memory.
        PAGE_RUNS = 9 "runs of shared pages",
        /// Pages of one piece of shared memory.
        SHARED_PAGES = 10 "pages of a shared memory object",
        /// Channels to pseudo-TAs that map buffers.
        CHANNELS = 11 "channels",
        /// Buffers that pseudo-TAs map.
        BUFFERS = 12 "buffers of pseudo-TAs",
        /// The kernel stack of a call.
        KERNEL_STACK = 13 "kernel stack",
        /// Objects of trusted storage that are open.
        OBJECTS = 14 "open objects",
    }
}

/// What stands in the way where an allocation is refused, in the words of the kernel's own report.
pub mod limit {
    use super::{Words, failed_pool};

    /// By [`failed_pool`].
    pub const WORDS: Words = &[
        (failed_pool::KERNEL_HEAP, "the kernel heap (HEAP_BYTES)"),
        (
            failed_pool::TA_RAM,
            "secure RAM, what is left of it for TAs",
        ),
        (
            failed_pool::TA_HEAP,
            "the heap size that the TA declares (heap_size)",
        ),
        (
            failed_pool::TA_QUOTA,
            "the TA's page quota, which all of its instances share",
        ),
        (failed_pool::IMAGE, "what an image must be"),
        (failed_pool::SESSIONS, "the share of the sessions"),
        (failed_pool::INSTANCES, "the share of the TA instances"),
        (
            failed_pool::REGIONS,
            "the regions that an address space may have",
        ),
        (
            failed_pool::SHARED_MEMORY,
            "the table of shared memory objects",
        ),
        (
            failed_pool::PAGE_RUNS,
            "what the kernel heap may have of lists of scattered pages",
        ),
        (failed_pool::SHARED_PAGES, "64 MiB for one object"),
        (failed_pool::CHANNELS, "the share of the channels"),
        (failed_pool::BUFFERS, "the share of the buffers"),
        (failed_pool::OBJECTS, "the share of the open objects"),
        (
            failed_pool::KERNEL_STACK,
            "the stack of one call, of which each TA of a chain takes its part",
        ),
    ];
}

crate::record! {
    /// A call site that held much.
    TopSite: "held" = 0, 40 bytes {
        /// Live bytes.
        bytes: u64 => number(Bytes),
        /// Where it is.
        frames: [u64; 4] => frames "stack" = |row| row.frames(),
    }
}

impl Placed for TopSite {
    fn frames(&self) -> Frames<'_> {
        Frames {
            origin: None,
            offsets: &self.frames,
        }
    }
}
