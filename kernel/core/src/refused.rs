//! Refusals of what all share: noted where they happen, told once the state is unlocked.
//!
//! **Invariant:** the figures are those of the refusal, taken before anything is undone.

use tally_abi::TeeUuid;
use tally_abi::image::ImageFault;
use tally_mem::owner::OwnerId;
use tally_mem::refused::RefusedPages;

/// Something that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Pages.
    Pages(RefusedPages),
    /// An entry of a table.
    Entry(RefusedEntry),
    /// A TA's image.
    Image(RefusedImage),
}

/// A table that all share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedTable {
    /// Sessions.
    Sessions,
    /// TA instances.
    Instances,
    /// Shared memory.
    SharedMemory,
    /// Runs of adjacent pages of all shared memory.
    PageRuns,
    /// Pages of one piece of shared memory.
    SharedPages,
    /// Channels of pseudo-TAs' buffers.
    Channels,
    /// Pseudo-TAs' buffers.
    Buffers,
}

/// A refused entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedEntry {
    /// Which table.
    pub table: SharedTable,
    /// Who asked: a TA, or nil for the normal world.
    pub asker: TeeUuid,
    /// Entries asked for.
    pub wanted: u32,
    /// Entries in use of what the asker may use.
    pub used: u32,
    /// Entries that the asker may use.
    pub size: u32,
    /// Who has most of the table: a TA, or nil for the normal world.
    pub holder: TeeUuid,
    /// Entries that it has.
    pub held: u32,
}

/// A refused image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedImage {
    /// Whose it was to be.
    pub uuid: TeeUuid,
    /// Bytes, as far as they are known.
    pub size: u64,
    /// What is wrong with it.
    pub why: ImageFault,
    /// Whom it was charged to.
    pub owner: OwnerId,
}
