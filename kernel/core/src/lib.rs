//! Portable kernel logic.
#![no_std]
