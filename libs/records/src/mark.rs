//! Marks, and TA instances that ended since.

use tally_abi::TeeUuid;
use tally_abi::pta::memleak::MARK_NAME;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One mark, 32 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MarkRow {
    /// Milliseconds since boot when it was set.
    pub at_ms: u64,
    /// Its number, from 1.
    pub number: u32,
    /// Unused, zero.
    pub reserved: u32,
    /// Its name, zero padded; empty if it has none.
    pub name: [u8; MARK_NAME],
}

/// A TA instance that is no more, 48 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EndedRow {
    /// Which TA.
    pub uuid: TeeUuid,
    /// Milliseconds since boot when it ended.
    pub at_ms: u64,
    /// Bytes that it had not freed.
    pub bytes: u64,
    /// Blocks of them.
    pub blocks: u32,
    /// Mark that was last when it ended.
    pub mark: u32,
    /// Mark that was last when it was loaded.
    pub born: u32,
    /// One of [`ended`].
    pub how: u32,
}

/// How an instance ended ([`EndedRow::how`]).
pub mod ended {
    /// Its last session was closed.
    pub const CLOSED: u32 = 0;
    /// It panicked, crashed or was killed.
    pub const DIED: u32 = 1;
    /// One or the other, and its heap's books did not add up: what it had not freed is not known.
    pub const UNKNOWN: u32 = 2;
}

const _: () = {
    assert!(size_of::<MarkRow>() == 32);
    assert!(size_of::<EndedRow>() == 48);
};
