//! Accounts of owners.

use tally_abi::TeeUuid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One owner's account, 56 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct OwnerRow {
    /// Name for people, zero padded.
    pub label: [u8; 16],
    /// One of [`owner_kind`].
    pub kind: u32,
    /// Session id, or 0.
    pub session: u32,
    /// TA, or nil.
    pub uuid: TeeUuid,
    /// Kernel heap bytes.
    pub heap_bytes: u32,
    /// Kernel heap blocks.
    pub heap_blocks: u32,
    /// Secure pages.
    pub pages: u32,
    /// Its number, which blocks of the kernel heap have for their owner.
    pub number: u32,
}

/// Kinds of owners.
pub mod owner_kind {
    /// A part of the kernel.
    pub const KERNEL: u32 = 0;
    /// A client machine's bookkeeping.
    pub const GUEST: u32 = 1;
    /// A TA instance.
    pub const TA: u32 = 2;
    /// A session.
    pub const SESSION: u32 = 3;
}

const _: () = {
    assert!(size_of::<OwnerRow>() == 56);
};
