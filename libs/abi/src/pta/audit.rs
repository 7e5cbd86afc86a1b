//! Tally's audit: what each session mapped, registered or opened and has not undone, and what was
//! done in the wrong order.
//!
//! **Invariant:** call stacks are offsets from the link base of the image they lie in; a full ring
//! counts what it drops.

use super::TeeUuid;

/// Tally's own.
pub const UUID: TeeUuid = TeeUuid::from_u128(0xb1c8f0e2_5d6a_4a7e_9b43_1e7a11ed0004);

/// `(value out: a = events ever, b = events that the ring has no more; value out: a = call stacks that
/// had no room)`.
pub const CMD_TOTALS: u32 = 2;
/// `(value in: a = 1 on, 0 off)`: the test-only fault: closing a channel leaves its mappings behind,
/// with their kernel objects. Only in builds with test hooks, else `NOT_SUPPORTED`.
pub const CMD_FAULT: u32 = 3;

/// `(memref in: UUID bytes; value in: a = [`ledger`])`. `OUT_OF_MEMORY` when too many TAs are looked at
/// in detail.
pub const CMD_LEDGER: u32 = 5;

/// What [`CMD_LEDGER`] does.
pub mod ledger {
    /// Looks at the TA's calls in detail from now on: allocations, releases, depth of the stack.
    pub const DETAIL: u32 = 0;
    /// No more.
    pub const PLAIN: u32 = 1;
    /// Forgets the TA's commands; all TAs', for the nil UUID.
    pub const CLEAR: u32 = 2;
}
