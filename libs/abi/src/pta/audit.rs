//! Tally's audit: what each session mapped, registered or opened and has not undone, and what was
//! done in the wrong order.
//!
//! **Invariant:** call stacks are offsets from the link base of the image they lie in; a full ring
//! counts what it drops.
//! **Knows nothing of:** how a TA came to do it.

use super::{FromBytes, Immutable, IntoBytes, KnownLayout, MAX_FRAMES, TeeUuid};

/// Tally's own.
pub const UUID: TeeUuid = TeeUuid::from_u128(0xb1c8f0e2_5d6a_4a7e_9b43_1e7a11ed0004);

/// `(memref out: [`HeldRow`] array)`: what is not undone now.
pub const CMD_HELD: u32 = 0;
/// `(memref out: [`EventRow`] array)`: the last events, oldest first.
pub const CMD_EVENTS: u32 = 1;
/// `(value out: a = events ever, b = events that the ring has no more; value out: a = call stacks that
/// had no room, b = calls of commands that had none)`.
pub const CMD_TOTALS: u32 = 2;
/// `(value in: a = 1 on, 0 off)`: the test-only fault: closing a channel leaves its mappings behind,
/// with their kernel objects. Only in builds with test hooks, else `NOT_SUPPORTED`.
pub const CMD_FAULT: u32 = 3;

/// `(memref in: UUID octets, nil for all; memref out: [`super::inspect::CommandRow`] array)`: commands
/// in the order of their first calls.
pub const CMD_COMMANDS: u32 = 4;
/// `(memref in: UUID octets; value in: a = [`ledger`])`. `OUT_OF_MEMORY` when too many TAs are looked at
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

/// Kinds of things held.
pub mod held {
    /// A channel of a pseudo-TA.
    pub const CHANNEL: u32 = 0;
    /// Memory mapped into a TA through a pseudo-TA.
    pub const MAPPING: u32 = 1;
    /// Memory that the normal world registered.
    pub const SHARED_MEMORY: u32 = 2;
    /// A session that a TA opened.
    pub const SESSION: u32 = 3;
}

/// Kinds of events.
pub mod event {
    /// A channel was closed that had mappings.
    pub const CLOSE_BEFORE_UNMAP: u32 = 0;
    /// Something was to be unmapped whose channel had been closed before.
    pub const UNMAP_AFTER_CLOSE: u32 = 1;
    /// A TA ended, or its session to the pseudo-TA was closed, with channels open.
    pub const END_BEFORE_CLOSE: u32 = 2;
}

/// A call stack: the TA's, and the kernel's below it; 128 bytes. Zeros if there was none, or no room.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Stack {
    /// Frames in the TA's image, innermost first; 0 ends.
    pub ta: [u64; MAX_FRAMES],
    /// Frames in the kernel, innermost first; 0 ends.
    pub kernel: [u64; MAX_FRAMES],
}

/// Who did it, 48 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Who {
    /// The TA.
    pub ta: TeeUuid,
    /// The session that the TA served then: its client's session.
    pub session: u32,
    /// That client's login class ([`crate::msg::login`]).
    pub login: u32,
    /// That client's UUID: of a TA, or as the normal world gave it.
    pub client: TeeUuid,
    /// The TA's session to the pseudo-TA.
    pub pta_session: u32,
    /// Tells instances of one TA apart.
    pub instance: u32,
}

/// Something held, 224 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HeldRow {
    /// One of [`held`].
    pub kind: u32,
    /// Channel, or the session that was opened.
    pub handle: u32,
    /// Who holds it; of shared memory, nobody that the secure world knows.
    pub who: Who,
    /// Bytes.
    pub bytes: u64,
    /// Cookie of shared memory; else the address in the TA, 0 if hidden.
    pub place: u64,
    /// Milliseconds since boot when it came to be, 0 if not known.
    pub at_ms: u64,
    /// To whom a session is; else nil.
    pub target: TeeUuid,
    /// Where it came to be.
    pub stack: Stack,
}

/// An event, 368 bytes. The same event again is counted in the first one's row.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EventRow {
    /// Counts all events since boot, from 1.
    pub number: u64,
    /// Milliseconds since boot when it happened first.
    pub at_ms: u64,
    /// Milliseconds since boot when it happened last.
    pub last_ms: u64,
    /// How often it happened: same TA, session and call stacks.
    pub times: u64,
    /// One of [`event`].
    pub kind: u32,
    /// Channel, when it happened first.
    pub channel: u32,
    /// Mappings concerned, when it happened first.
    pub mappings: u32,
    /// Unused, zero.
    pub reserved: u32,
    /// Bytes of them.
    pub bytes: u64,
    /// Number of the event that came before: the close that an unmapping came too late for; else 0.
    pub cause: u64,
    /// Who did it.
    pub who: Who,
    /// Where it was done.
    pub stack: Stack,
    /// What it goes against: where the first mapping, or the close, was done.
    pub earlier: Stack,
}

const _: () = {
    assert!(size_of::<Stack>() == 128);
    assert!(size_of::<Who>() == 48);
    assert!(size_of::<HeldRow>() == 224);
    assert!(size_of::<EventRow>() == 368);
};
