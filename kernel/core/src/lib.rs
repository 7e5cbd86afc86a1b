//! Portable kernel logic: addresses, pages, address spaces, messages, sessions, TA instances,
//! syscalls, threads.
//!
//! **Invariant:** no assembler, no statics, no device; the code tested on the host is the code
//! that ships.
//! **Knows nothing of:** AArch64 beyond the shape of its page tables; who implements the
//! [`machine`] traits.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod addr;
pub mod machine;
pub mod mem;
pub mod owner;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
