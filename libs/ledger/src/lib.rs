//! The accounting heap: every block has an owner, a call site and a mark.
//!
//! A pool is one contiguous window of addresses `[base, base + reserved)`, of which the first
//! `committed` bytes are usable; [`Pool::grow_to`] extends it. All figures lie inside the window at
//! offsets that the header at `base` names, so that a reader who has only the memory can read
//! them ([`view::View`]) without the help of the program whose heap it is.
//!
//! Three strategies share one accounting: [`Strategy::Segregated`] (default; slabs and
//! segregated runs, constant time), [`Strategy::FirstFit`] (`linked_list_allocator`) and
//! [`Strategy::BestFit`] (a tree by size, bounded time).
//!
//! **Invariant:** the sum of all owners' accounts, the sum of all call sites' counters and the sum
//! over all live blocks are the same number of bytes and blocks ([`Pool::check`] proves it).
//! **Knows nothing of:** locks, page tables, TAs, sessions, names of functions.
#![no_std]

#[cfg(any(test, feature = "fuzzing"))]
extern crate std;

mod best_fit;
mod capture;
mod check;
mod chunks;
mod classes;
mod entry;
mod error;
mod first_fit;
#[cfg(any(test, feature = "fuzzing"))]
pub mod footprint;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod guard;
mod layout;
mod lists;
mod pool;
mod queries;
mod runs;
mod sites;
mod slabs;
mod stats;
#[cfg(test)]
mod tests;
pub mod view;
mod walk;
mod window;

/// Its examples run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

pub use capture::{CallStack, Caller, MAX_DEPTH, Origin, StackBounds, Walkable, capture};
pub use check::Damage;
pub use error::{AllocError, FreeError, Freed, GrowError, ReallocError};
pub use layout::{
    ALARM_HIT_OFFSET, ALARM_OFFSET, Config, CreateError, FAILURES_OFFSET, MAGIC, MARK_OFFSET,
    MAX_POOL_BYTES, PEAK_OFFSET, Strategy, Tracking, VERSION, fixed_metadata_bytes, metadata_bytes,
};
pub use pool::{MAX_ALIGN, Pool};
pub use queries::OwnMemory;
pub use stats::{
    Block, Chunk, ChunkKind, ClassFigures, Group, GroupTotals, Overrun, OwnerId, SiteFigures,
    SiteId, SiteInfo, Stats,
};
