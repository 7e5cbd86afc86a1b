//! Refused requests for pages: what was short, for whom, and the figures of that moment.

use crate::owner::OwnerId;

/// What was short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// Secure RAM: no pages are left, or none that lie side by side.
    SecureRam,
    /// The pages that one address space may have.
    Quota,
    /// Regions of one address space: these are counted, not pages.
    Regions,
    /// The kernel stack of one call.
    Stack,
}

/// A refused request, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedPages {
    /// What was short.
    pub short: Short,
    /// Who was to be charged.
    pub owner: OwnerId,
    /// Asked for.
    pub wanted: u32,
    /// Allocated or promised then.
    pub used: u32,
    /// All that there are, or may be had.
    pub size: u32,
    /// What could have been had.
    pub left: u32,
}
