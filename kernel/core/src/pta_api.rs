//! What a pseudo-TA is, and what the kernel lets it do.
//!
//! **Invariant:** a pseudo-TA reaches client memory only through [`Params`], which checks every
//! access.
//! **Knows nothing of:** which pseudo-TAs there are.

mod audit;
mod buffers;
pub mod inspect;
pub mod leaks;
mod watch;

pub use audit::AuditServices;
pub use buffers::BufferServices;
pub use watch::WatchServices;

use core::fmt;
use tally_abi::pta::control::{MeminfoRow, OwnerRow, PoolStats};
use tally_abi::pta::stats::{AllocStats, TaStats};
use tally_abi::ta::TeeTime;
use tally_abi::{TeeResult, TeeUuid};

/// A pseudo-TA: kernel code behind a UUID. Concurrent calls are possible.
pub trait PseudoTa: Sync {
    /// Its UUID.
    fn uuid(&self) -> TeeUuid;

    /// Its name for people.
    fn name(&self) -> &'static str;

    /// Whether TAs may open sessions to it, or clients in the normal world only.
    fn serves_tas(&self) -> bool {
        true
    }

    /// Invokes a command.
    ///
    /// # Errors
    /// Whatever the client shall see.
    fn invoke(
        &self,
        services: &dyn Services,
        command: u32,
        params: &mut dyn Params,
    ) -> Result<(), TeeResult>;
}

/// The four parameters of a call.
pub trait Params {
    /// Packed types ([`tally_abi::ta::param_type`]).
    fn types(&self) -> u32;
    /// Value parameter `index`: a, b. Zeros if it is none.
    fn value(&self, index: usize) -> (u32, u32);
    /// Sets an output value.
    fn set_value(&mut self, index: usize, a: u32, b: u32);
    /// Size in bytes of the memory reference as the client gave it, 0 if it is none or null.
    fn memref_len(&self, index: usize) -> u64;
    /// Reports a size: what was written, or what is needed.
    fn set_memref_len(&mut self, index: usize, len: u64);
    /// Copies out of an input reference.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` outside of the reference.
    fn read(&self, index: usize, offset: u64, buf: &mut [u8]) -> Result<(), TeeResult>;
    /// Copies into an output reference.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` outside of the reference.
    fn write(&mut self, index: usize, offset: u64, data: &[u8]) -> Result<(), TeeResult>;
}

/// What the kernel does for pseudo-TAs. Lists are asked item by item: `None` ends them.
pub trait Services:
    inspect::Inspect + AuditServices + BufferServices + WatchServices + leaks::LeakServices
{
    /// Pool `alloc_id` as the stats pTA reports it; zeros for pools that do not exist.
    fn alloc_stats(&self, alloc_id: u32) -> AllocStats;
    /// Pools: kernel heap, TA RAM, then every TA's heap.
    fn pool(&self, index: usize) -> Option<PoolStats>;
    /// Loaded TAs, dead ones with open sessions included.
    fn ta(&self, index: usize) -> Option<TaStats>;
    /// Secure RAM by use; the rows add up to all of it.
    fn meminfo(&self, index: usize) -> Option<MeminfoRow>;
    /// Owners with something to their name.
    fn owner(&self, index: usize) -> Option<OwnerRow>;
    /// Ends all instances of a TA; how many there were.
    fn kill(&self, uuid: TeeUuid) -> u32;
    /// Writes "function file:line" for an offset in the kernel image; false if it has none.
    fn name_site(&self, offset: u64, out: &mut dyn fmt::Write) -> bool;
    /// Restarts maxima and failure figures of pool `alloc_id`, or of all pools.
    fn reset_stats(&self, alloc_id: u32);
    /// Lists the kernel heap's live blocks on the secure console.
    fn dump_heap(&self);
    /// Time of the normal world.
    ///
    /// # Errors
    /// What the normal world answered.
    fn ree_time(&self) -> Result<TeeTime, TeeResult>;
    /// Time since boot.
    fn system_time(&self) -> TeeTime;
    /// Writes the last out-of-memory report; false if there was none.
    fn last_oom(&self, out: &mut dyn fmt::Write) -> bool;
    /// Breaks the kernel on purpose, in builds that can.
    fn fault(&self, kind: u32) -> TeeResult;
}
