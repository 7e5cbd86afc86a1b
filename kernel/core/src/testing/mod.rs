//! A whole model for host tests: a kernel heap, signed images, scripted TAs and normal world on
//! [`tally_mem::testing::TestMachine`].

pub mod caller;
pub mod held;
pub mod logged;
pub mod signing;
pub mod subkey;
mod ta;
pub mod world;
