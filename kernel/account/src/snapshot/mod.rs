//! Snapshots: taken, kept, waited for.

pub mod keep;
mod take;
