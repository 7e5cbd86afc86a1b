//! What a pseudo-TA is, and what the kernel lets it do.
//!
//! **Invariant:** a pseudo-TA reaches client memory only through [`Params`], which checks every
//! access.
//! **Knows nothing of:** which pseudo-TAs there are.

#[cfg(feature = "stats")]
mod audit;
mod buffers;
#[cfg(feature = "stats")]
pub mod inspect;
#[cfg(feature = "stats")]
pub mod leaks;
#[cfg_attr(not(feature = "stats"), path = "pta_api/no_statistics.rs")]
mod statistics;
#[cfg(feature = "stats")]
mod watch;

#[cfg(feature = "stats")]
pub use audit::AuditServices;
pub use buffers::BufferServices;
pub use statistics::Statistics;
#[cfg(feature = "stats")]
pub use watch::WatchServices;

use tally_abi::{TeeResult, TeeUuid};

/// A pseudo-TA: kernel code behind a UUID. Concurrent calls are possible.
#[derive(Clone, Copy, Debug)]
pub struct PseudoTa {
    /// Its UUID.
    pub uuid: TeeUuid,
    /// Its name for people.
    pub name: &'static str,
    /// Whether TAs may open sessions to it, or clients in the normal world only.
    pub serves_tas: bool,
    /// Invokes a command: services, its number, its parameters. The error is what the client shall see.
    pub invoke: fn(&dyn Services, u32, &mut dyn Params) -> Result<(), TeeResult>,
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

/// What the kernel does for pseudo-TAs.
pub trait Services: BufferServices + Statistics {}
