//! Commands of TAs.

use tally_abi::TeeUuid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// One command of a TA, 96 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CommandRow {
    /// Which TA.
    pub uuid: TeeUuid,
    /// Entry function ([`tally_abi::ta::entry`]).
    pub function: u32,
    /// Command, if the function is to invoke one.
    pub command: u32,
    /// Calls.
    pub calls: u64,
    /// Calls that did not succeed.
    pub failed: u64,
    /// Allocations during those that were looked at in detail.
    pub allocations: u64,
    /// Releases during those that were looked at in detail.
    pub releases: u64,
    /// Heap bytes afterwards less before, all calls together.
    pub net_bytes: i64,
    /// Highest that the heap rose above where it was at an entry.
    pub heap_above_entry: u64,
    /// Deepest stack of those that were looked at in detail.
    pub stack_deepest: u64,
    /// Ticks of the system counter spent, all calls together.
    pub ticks: u64,
    /// Calls that were looked at in detail ([`tally_abi::pta::audit::CMD_LEDGER`]).
    pub detailed: u64,
}

const _: () = {
    assert!(size_of::<CommandRow>() == 96);
};
