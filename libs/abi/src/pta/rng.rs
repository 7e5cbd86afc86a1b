//! OP-TEE's random number pTA, which Linux' `optee-rng` makes `/dev/hwrng` of. Source: optee_os
//! `lib/libutee/include/pta_rng.h`.

use crate::TeeUuid;

/// `PTA_RNG_UUID`.
pub const UUID: TeeUuid = TeeUuid::from_u128(0xab7a617c_b8e7_4d8f_8301_d09b61036b64);
/// `(memref inout: random bytes, at most [`MAX_BYTES`])`; `NOT_SUPPORTED` above that.
pub const CMD_GET_ENTROPY: u32 = 0;
/// `(value out: a = bytes a second, b = bits of entropy in 1,024 bits)`.
pub const CMD_GET_RNG_INFO: u32 = 1;

/// Bytes of one request at most: what Linux asks for (`MAX_ENTROPY_REQ_SZ` of its `optee-rng`).
pub const MAX_BYTES: u64 = 4096;
