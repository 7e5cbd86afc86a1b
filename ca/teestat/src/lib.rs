//! The tool people use.
#![no_std]
