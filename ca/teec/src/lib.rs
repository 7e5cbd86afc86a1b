//! GP Client API.
#![no_std]
