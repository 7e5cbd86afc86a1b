//! Tests over a normal world in memory.

mod caches;
mod directory;
mod file;
mod hostile;
mod model;
mod optee;
mod power;
mod requests;
