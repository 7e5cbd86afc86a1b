//! Call sites of a pool.

use tally_abi::TeeUuid;
use tally_abi::pta::MAX_FRAMES;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One call site of a pool, 128 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SiteRow {
    /// The TA whose heap this is, or nil.
    pub pool: TeeUuid,
    /// Return addresses, innermost first, as offsets from the image's link base; 0 ends.
    pub frames: [u64; MAX_FRAMES],
    /// Live bytes.
    pub live_bytes: u64,
    /// Live blocks.
    pub live_blocks: u64,
    /// Allocations ever; 0 if they are not counted.
    pub allocations: u64,
    /// Most live bytes at a time; 0 if allocations are not counted.
    pub peak_bytes: u64,
    /// Its number in the pool.
    pub site: u32,
    /// Unused, zero.
    pub reserved: [u32; 3],
}

impl SiteRow {
    /// Whether the pool counts at its call sites. If not, what is live was found by a walk.
    #[must_use]
    pub const fn is_counted(&self) -> bool {
        self.allocations != 0
    }

    /// Adds another row of the same site, if it is one: where nobody counts, a site has a row for each stretch of
    /// the walk that met it.
    #[must_use]
    pub fn join(&mut self, other: &Self) -> bool {
        let is_same = !self.is_counted()
            && !other.is_counted()
            && (self.pool, self.site) == (other.pool, other.site)
            && self.frames == other.frames;
        if is_same {
            self.live_bytes = self.live_bytes.saturating_add(other.live_bytes);
            self.live_blocks = self.live_blocks.saturating_add(other.live_blocks);
        }
        is_same
    }
}

const _: () = {
    assert!(size_of::<SiteRow>() == 128);
};
