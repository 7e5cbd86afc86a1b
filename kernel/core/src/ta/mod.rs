//! Trusted applications: instances, sessions, loading, entering, system calls.

pub mod closing;
pub mod crypto;
pub mod enter;
pub mod instance;
pub mod invoke;
pub mod load;
pub mod obituary;
pub mod operation;
pub mod session;
pub mod stack;
pub mod storage;
pub mod syscall;
pub mod task;
