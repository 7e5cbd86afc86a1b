//! Pseudo trusted applications.
#![no_std]
