//! Tests over a normal world in memory.

mod directory;
mod file;
mod power;
mod requests;
