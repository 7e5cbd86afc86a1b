//! Things held, and events of wrong orders.

use tally_abi::TeeUuid;
use tally_abi::pta::MAX_FRAMES;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

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
    /// That client's login class ([`tally_abi::msg::login`]).
    pub login: u32,
    /// That client's UUID: of a TA, or as the normal world gave it.
    pub client: TeeUuid,
    /// The TA's session to the pseudo-TA.
    pub pta_session: u32,
    /// Tells instances of one TA apart.
    pub instance: u32,
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

const _: () = {
    assert!(size_of::<HeldRow>() == 224);
    assert!(size_of::<EventRow>() == 368);
    assert!(size_of::<Who>() == 48);
    assert!(size_of::<Stack>() == 128);
};
