//! Reading a TA's heap from outside.
//!
//! **Invariant:** the TA's books are untrusted: bounded work, every offset checked, and what does
//! not add up is "inconsistent".
//! **Knows nothing of:** whether the TA runs meanwhile.

use crate::addr::UserVa;
use crate::heap::LiveGroup;
use crate::machine::Machine;
use crate::mem::space::AddressSpace;
use tally_abi::pta::control::PoolStats;

/// All figures of the heap at `heap`.
pub fn stats<M: Machine>(_machine: &M, _space: &AddressSpace, _heap: UserVa) -> PoolStats {
    PoolStats::default()
}

/// Has blocks allocated from now on carry `epoch`.
pub fn set_epoch<M: Machine>(_machine: &M, _space: &AddressSpace, _heap: UserVa, _epoch: u16) {}

/// Groups the live blocks since an epoch; how many groups there are.
pub fn live_groups<M: Machine>(
    _machine: &M,
    _space: &AddressSpace,
    _heap: UserVa,
    _since: u16,
    _groups: &mut [LiveGroup],
) -> usize {
    0
}
