//! TA instances whole, their regions and stacks.

pub mod detail;
pub mod regions;
mod stack;
mod status;
mod storage;
