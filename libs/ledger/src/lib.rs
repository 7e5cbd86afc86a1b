//! The accounting heap.
#![no_std]
