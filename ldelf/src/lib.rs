//! TA loader.
#![no_std]
