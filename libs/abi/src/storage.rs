//! Numbers of GlobalPlatform's trusted storage, as TAs' system calls have them.
//!
//! Source: GPD_SPE_010 5; optee_os `lib/libutee/include/{tee_api_defines,tee_api_defines_extensions}.h`,
//! `core/tee/tee_svc_storage.c`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Storage spaces (`TEE_STORAGE_*`).
pub mod space {
    /// That of a TA.
    pub const PRIVATE: u32 = 1;
    /// In files of the normal world.
    pub const PRIVATE_REE: u32 = 0x8000_0000;
    /// In replay-protected memory.
    pub const PRIVATE_RPMB: u32 = 0x8000_0100;
}

/// What an object is opened for, and what others may open it for meanwhile (`TEE_DATA_FLAG_*`).
pub mod data_flag {
    /// Read.
    pub const ACCESS_READ: u32 = 1;
    /// Write.
    pub const ACCESS_WRITE: u32 = 1 << 1;
    /// Rename and delete.
    pub const ACCESS_WRITE_META: u32 = 1 << 2;
    /// Others may read.
    pub const SHARE_READ: u32 = 1 << 4;
    /// Others may write.
    pub const SHARE_WRITE: u32 = 1 << 5;
    /// One that is there may be replaced.
    pub const OVERWRITE: u32 = 1 << 10;
    /// Those that an object is opened with.
    pub const OF_OPEN: u32 =
        ACCESS_READ | ACCESS_WRITE | ACCESS_WRITE_META | SHARE_READ | SHARE_WRITE;
    /// Those that an object is created with.
    pub const OF_CREATE: u32 = OF_OPEN | OVERWRITE;
}

/// Where a position is counted from (`TEE_DATA_SEEK_*`).
pub mod whence {
    /// The first byte.
    pub const SET: u64 = 0;
    /// The position.
    pub const CURRENT: u64 = 1;
    /// Behind the last byte.
    pub const END: u64 = 2;
}

/// Highest position in an object (`TEE_DATA_MAX_POSITION`).
pub const MAX_POSITION: u64 = 0xffff_ffff;

/// What an object's file begins with (`struct tee_svc_storage_head`); then come its attributes, then its data.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ObjectHead {
    /// Bytes of attributes.
    pub attribute_bytes: u32,
    /// Bits of its key.
    pub size_bits: u32,
    /// Bits that its key may have.
    pub max_size_bits: u32,
    /// What it may be used for.
    pub usage: u32,
    /// Its type.
    pub object_type: u32,
    /// Attributes that it has, a bit each.
    pub has: u32,
}
