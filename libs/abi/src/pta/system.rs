//! OP-TEE's system pTA: what a TA asks of the kernel for itself. Source: optee_os `lib/libutee/include/pta_system.h`.
//!
//! **Invariant:** for TAs only.

use super::TeeUuid;

/// `PTA_SYSTEM_UUID`.
pub const UUID: TeeUuid = TeeUuid::from_u128(0x3a2f8978_5dc0_11e8_9c2d_fa7ae01bbebc);

/// `(value in: a = bytes, b = [`MAP_SHAREABLE`] or 0; value inout: a = high, b = low word of the address, 0 for any; value
/// in: a, b = bytes kept free before and behind it)`: maps zeroed memory.
pub const CMD_MAP_ZI: u32 = 2;
/// `(value in: a = bytes, b = 0; value in: a = high, b = low word of the address)`: unmaps it.
/// `ACCESS_DENIED` for what [`CMD_MAP_ZI`] did not map.
pub const CMD_UNMAP: u32 = 3;
/// `(memref in: UUID; value in: a = [`DLOPEN_FLAGS`])`: loads a library (`dlopen`).
pub const CMD_DLOPEN: u32 = 10;
/// `(memref in: UUID, nil for all modules; memref in: name; value out: a = high, b = low word of the address)`: finds a
/// symbol (`dlsym`). `ITEM_NOT_FOUND`.
pub const CMD_DLSYM: u32 = 11;
/// `(memref in: UUID; value in: a = command, b = subcommand; memref inout: data; value out: a = bytes of the answer)`:
/// has a plugin of the supplicant do something.
pub const CMD_SUPP_PLUGIN_INVOKE: u32 = 13;

/// `PTA_SYSTEM_MAP_FLAG_SHAREABLE`: other TAs may use it in parameters, as they may all memory of a TA.
pub const MAP_SHAREABLE: u32 = 1;
/// `RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE`, all that is supported.
pub const DLOPEN_FLAGS: u32 = 0x1102;
