//! Linux's TEE driver interface: requests and their structures.
//!
//! Source: Linux `include/uapi/linux/tee.h`.
//!
//! **Invariant:** the layouts are C's.

use tally_abi::TeeUuid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Magic of the driver's `ioctl` numbers.
pub(crate) const MAGIC: u8 = 0xa4;
/// `TEE_IMPL_ID_OPTEE`.
pub(crate) const IMPL_OPTEE: u32 = 1;
/// `TEE_MEMREF_NULL`, in place of a shared memory's number.
pub(crate) const NULL_MEMORY: u64 = u64::MAX;

/// `TEE_GEN_CAP_*`.
pub(crate) mod capability {
    pub(crate) const GLOBAL_PLATFORM: u32 = 1 << 0;
    pub(crate) const NULL_MEMORY: u32 = 1 << 3;
}

/// `TEE_IOCTL_PARAM_ATTR_TYPE_*`: input, output and both follow one another.
pub(crate) mod attr {
    pub(crate) const VALUE_INPUT: u64 = 1;
    pub(crate) const MEMORY_INPUT: u64 = 5;
}

/// `struct tee_ioctl_version_data`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Version {
    pub(crate) impl_id: u32,
    pub(crate) impl_caps: u32,
    pub(crate) gen_caps: u32,
}

/// `struct tee_ioctl_shm_alloc_data`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct ShmAlloc {
    pub(crate) size: u64,
    pub(crate) flags: u32,
    pub(crate) id: i32,
}

/// `struct tee_ioctl_buf_data`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Buffer {
    pub(crate) address: u64,
    pub(crate) bytes: u64,
}

/// `struct tee_ioctl_cancel_arg`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Cancel {
    pub(crate) cancel_id: u32,
    pub(crate) session: u32,
}

/// `struct tee_ioctl_close_session_arg`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Close {
    pub(crate) session: u32,
}

/// `struct tee_ioctl_param`. Memory: a is the offset in bytes, b the size, c the shared memory.
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct Param {
    pub(crate) attr: u64,
    pub(crate) a: u64,
    pub(crate) b: u64,
    pub(crate) c: u64,
}

/// `struct tee_ioctl_open_session_arg` with four parameters.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct OpenArg {
    uuid: [u8; 16],
    client_uuid: [u8; 16],
    client_login: u32,
    cancel_id: u32,
    pub(crate) session: u32,
    pub(crate) ret: u32,
    pub(crate) ret_origin: u32,
    num_params: u32,
    pub(crate) params: [Param; 4],
}

impl OpenArg {
    /// Public login.
    pub(crate) fn new(uuid: TeeUuid, params: [Param; 4]) -> Self {
        // The value pair is the big-endian bytes, read as two little-endian numbers.
        let (first, second) = uuid.to_value_pair();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&first.to_le_bytes());
        bytes[8..].copy_from_slice(&second.to_le_bytes());
        Self {
            uuid: bytes,
            client_uuid: [0; 16],
            client_login: 0,
            cancel_id: 0,
            session: 0,
            ret: 0,
            ret_origin: 0,
            num_params: 4,
            params,
        }
    }
}

/// `struct tee_ioctl_invoke_arg` with four parameters.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(crate) struct InvokeArg {
    command: u32,
    session: u32,
    cancel_id: u32,
    pub(crate) ret: u32,
    pub(crate) ret_origin: u32,
    num_params: u32,
    pub(crate) params: [Param; 4],
}

impl InvokeArg {
    pub(crate) const fn new(
        session: u32,
        command: u32,
        cancel_id: u32,
        params: [Param; 4],
    ) -> Self {
        Self {
            command,
            session,
            cancel_id,
            ret: 0,
            ret_origin: 0,
            num_params: 4,
            params,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_those_of_the_header() {
        assert_eq!(size_of::<Param>(), 32);
        assert_eq!(size_of::<OpenArg>(), 56 + 4 * 32);
        assert_eq!(size_of::<InvokeArg>(), 24 + 4 * 32);
        assert_eq!(size_of::<ShmAlloc>(), 16);
    }

    #[test]
    fn a_uuid_travels_as_its_bytes() {
        let uuid: TeeUuid = "d96a5b40-e2c7-b1af-8794-1002a5d5c61b".parse().unwrap();
        let arg = OpenArg::new(uuid, [Param::default(); 4]);
        assert_eq!(arg.uuid[..6], [0xd9, 0x6a, 0x5b, 0x40, 0xe2, 0xc7]);
        assert_eq!(arg.uuid[15], 0x1b);
    }
}
