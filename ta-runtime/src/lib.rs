//! What a Rust TA links.
#![no_std]
