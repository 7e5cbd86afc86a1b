//! Code of the hostile TAs: `hostile`, an instance a session, and `hub`, one instance for all.
#![cfg(target_os = "none")]
#![no_std]

mod keys;
mod ta;
mod words;
