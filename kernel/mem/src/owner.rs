//! Memory owners.
//!
//! **Invariant:** every page in use and every live heap block names exactly one owner.

/// An owner of pages and heap blocks: an index into the kernel's owner table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct OwnerId(pub u16);

impl OwnerId {
    /// The kernel itself: boot, tables, whatever no one else is charged for.
    pub const KERNEL: Self = Self(0);
    /// The bookkeeping of the client machine (guest).
    pub const GUEST: Self = Self(1);
    /// What a call in flight has borrowed for its own duration; leak lists leave it out.
    pub const CALL: Self = Self(2);
    /// Buffers of the statistics themselves, which leak lists leave out.
    pub const STATS: Self = Self(3);
}
