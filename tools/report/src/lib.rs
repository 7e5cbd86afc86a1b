//! Accounts on the host, turned into what people look at: HTML, flame graphs, profiles, lines; and
//! the debug information that names their calls.
//!
//! **Invariant:** figures come from the account, to the byte. The same account gives the same
//! output.
#![forbid(unsafe_code)]

pub mod flame;
pub mod html;
pub mod listing;
pub mod pprof;
pub mod programs;
pub mod shown;
pub mod xml;
