//! TA runtime: entry points, parameters, heap, log, time, random bytes, objects and their storage, sessions to
//! other TAs, under the names that the Teaclave SDK's `optee_utee` has.
//!
//! **Invariant:** a TA without `unsafe` of its own cannot harm itself through this crate; whatever
//! goes wrong ends the TA alone. The binary interface is OP-TEE's ([`tally_abi::ta`]).
//!
//! A TA is a binary crate with `#![no_std]` and `#![no_main]`, [`properties!`], functions marked
//! [`ta_invoke_command`] and, as needed, [`ta_create`], [`ta_open_session`], [`ta_close_session`]
//! and [`ta_destroy`], whose build script is `link.rs`. `cargo xtask new-ta` makes one.
#![no_std]

extern crate alloc;

pub mod error;
pub mod object;
pub mod parameter;
pub mod properties;
pub mod session;
pub mod syscall;
pub mod time;
pub mod trace;
pub mod uuid;

#[cfg(target_os = "none")]
mod capi;
#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
pub mod heap;
#[cfg(target_os = "none")]
mod panic;

#[cfg(target_os = "none")]
use tally_memops as _;

pub use error::{Error, ErrorKind, ErrorOrigin, Result};
pub use log;
pub use object::{
    Attribute, AttributeId, AttributeMemref, AttributeValue, DataFlag, GenericObject, HandleFlag,
    MiscellaneousConstants, ObjectEnumHandle, ObjectHandle, ObjectInfo, ObjectStorageConstants,
    PersistentObject, TransientObject, TransientObjectType, UsageFlag, Whence,
};
pub use parameter::{ParamMemref, ParamType, ParamTypes, ParamValue, Parameter, Parameters};
pub use session::{Param, ParamIndex, TaSession, TaSessionBuilder, TeeParams};
pub use ta_macros::{ta_close_session, ta_create, ta_destroy, ta_invoke_command, ta_open_session};
pub use tally_abi as abi;
pub use time::{Random, Time};
pub use uuid::Uuid;
