//! Services of a kernel that is built without statistics.
//!
//! **Invariant:** nothing is told, and no watchpoint can be set.
//! **Knows nothing of:** what others would tell.

use super::CallServices;
use crate::call::Call;
use crate::instance::InstanceRef;
use crate::pta_api::Statistics;
use tally_mem::machine::Machine;

impl<M: Machine> Statistics for CallServices<'_, M> {}

impl<M: Machine> Call<'_, M> {
    /// Takes no snapshot: nobody can have asked for one.
    pub const fn capture(&mut self, _trigger: u32, _instance: InstanceRef, _value: u64) {}

    /// Takes no snapshot either.
    pub const fn heap_rang(&mut self, _instance: InstanceRef, _live: u64) {}
}
