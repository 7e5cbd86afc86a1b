//! Test TA: hostile, which makes any system call.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
use ta_hostile as _;

#[cfg(target_os = "none")]
ta_runtime::properties! {
    uuid: ta_uuids::hostile::UUID,
    flags: 0,
    stack_size: 16 << 10,
    heap_size: 64 << 10,
}
