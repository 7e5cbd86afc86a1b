//! AArch64 EL1.
#![no_std]
