//! All that two sides of a boundary must agree on.
#![no_std]
