//! All that two sides of a boundary must agree on: SMC ids, message layouts, TEE results, UUIDs,
//! syscall numbers. What is told of the account is in the crate `tally-records`.
//!
//! **Invariant:** every number here is either OP-TEE's (its source is cited) or Tally's own (it
//! says so); nothing is defined twice in the workspace.
#![no_std]
#![forbid(unsafe_code)]

pub mod crypto;
pub mod image;
pub mod ldelf;
pub mod msg;
pub mod opteed;
pub mod pta;
pub mod result;
pub mod rpc;
pub mod shdr;
pub mod sites;
pub mod smc;
pub mod storage;
pub mod ta;
pub mod tee_uuid;

pub use result::{Origin, TeeResult};
pub use tee_uuid::TeeUuid;
