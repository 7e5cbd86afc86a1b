//! Test TA: hub, which is hostile's code in one instance for all.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
use ta_hostile as _;

#[cfg(target_os = "none")]
ta_runtime::properties! {
    uuid: ta_uuids::hub::UUID,
    flags: ta_runtime::abi::ta::flags::SINGLE_INSTANCE
        | ta_runtime::abi::ta::flags::MULTI_SESSION,
    stack_size: 16 << 10,
    heap_size: 64 << 10,
}
