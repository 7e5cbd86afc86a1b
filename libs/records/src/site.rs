//! Call sites of a pool.

use crate::{Frames, Origin, Placed};
use tally_abi::TeeUuid;
use tally_abi::pta::MAX_FRAMES;

crate::record! {
    /// A call site of a pool.
    SiteRow: "sites" = 6, 128 bytes, metrics "site" {
        /// The TA whose heap it is; null: the kernel's.
        pool: TeeUuid => label(ta) "uuid",
        /// Where it is.
        frames: [u64; MAX_FRAMES] => label(frames) "stack" = |row| row.frames(),
        /// Live bytes by call site.
        live_bytes: u64 => gauge(Bytes),
        /// Live blocks by call site.
        live_blocks: u64 => gauge(Blocks),
        /// Allocations by call site; null if they are not counted.
        allocations: u64 => counter(Count) or null = |row| row.counted(row.allocations),
        /// Most live bytes at a time; null if allocations are not counted.
        peak_bytes: u64 => number(Bytes) or null = |row| row.counted(row.peak_bytes),
        /// Its number in the pool.
        site: u32 => number(None),
        /// Unused, zero.
        reserved: [u32; 3] => hidden,
    }
}

impl Placed for SiteRow {
    fn frames(&self) -> Frames<'_> {
        Frames {
            origin: Some(Origin::of_heap(self.pool)),
            offsets: &self.frames,
        }
    }
}

impl SiteRow {
    /// Whether the pool counts at its call sites. If not, what is live was found by a walk.
    #[must_use]
    pub const fn is_counted(&self) -> bool {
        self.allocations != 0
    }

    /// A figure that only counting tells.
    fn counted(&self, figure: u64) -> Option<u64> {
        self.is_counted().then_some(figure)
    }

    /// Adds another row of the same site, if it is one: where nobody counts, a site has a row for
    /// each stretch of the walk that met it.
    #[must_use]
    pub fn join(&mut self, other: &Self) -> bool {
        let is_same = !self.is_counted()
            && !other.is_counted()
            && (self.pool, self.site) == (other.pool, other.site)
            && self.frames == other.frames;
        if is_same {
            self.add(other);
        }
        is_same
    }

    /// Adds the figures of another site.
    pub fn add(&mut self, other: &Self) {
        self.live_bytes = self.live_bytes.saturating_add(other.live_bytes);
        self.live_blocks = self.live_blocks.saturating_add(other.live_blocks);
        self.allocations = self.allocations.saturating_add(other.allocations);
        self.peak_bytes = self.peak_bytes.saturating_add(other.peak_bytes);
    }
}
