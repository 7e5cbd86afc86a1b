//! Secure RAM by use.

use tally_abi::pta::DESC_LEN;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One use of secure RAM, 48 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct MeminfoRow {
    /// Name for people, zero padded.
    pub label: [u8; DESC_LEN],
    /// Bytes.
    pub bytes: u64,
    /// Pages of 4 KiB.
    pub pages: u64,
}

const _: () = {
    assert!(size_of::<MeminfoRow>() == 48);
};
