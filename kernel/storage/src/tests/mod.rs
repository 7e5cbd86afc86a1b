//! Tests over a normal world in memory.

mod directory;
mod file;
mod requests;
