//! GP Client API (GPD_SPE_007) under the names of the `optee-teec` crate, over a [`Transport`].
//!
//! [`smc`] is the transport for code that makes its own secure monitor calls: it builds messages
//! in shared pages and serves the secure world's requests through [`smc::Services`].
//!
//! **Invariant:** whatever the secure world writes is read as plain words and checked; it can make
//! a call fail, never make this side misbehave.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod context;
mod error;
mod param;
pub mod smc;
mod transport;
mod uuid;

pub use context::{Context, Session, SharedMemory};
pub use error::{Error, ErrorKind, ErrorOrigin, Result};
pub use param::{
    Operation, Param, ParamNone, ParamRegisteredMem, ParamTmpRef, ParamType, ParamTypes, ParamValue,
};
pub use transport::{Direction, RawParam, SharedBytes, TempMemory, Transport};
pub use uuid::Uuid;
