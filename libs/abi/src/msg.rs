//! Messages of yielding calls. Source: optee_os `core/include/optee_msg.h`.
//!
//! A message is a [`MsgHeader`] and `num_params` [`MsgParam`]s; the RPC argument of
//! `CALL_WITH_RPC_ARG`/`CALL_WITH_REGD_ARG` follows at [`arg_size`]`(num_params)`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Fixed part of `struct optee_msg_arg`, 32 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MsgHeader {
    /// One of [`cmd`], or of [`crate::rpc::cmd`] in an RPC.
    pub cmd: u32,
    /// Command of the trusted application (invoke).
    pub func: u32,
    /// Session: in for all but open, where it is out.
    pub session: u32,
    /// Names the operation for a later cancel.
    pub cancel_id: u32,
    /// Unused.
    pub pad: u32,
    /// Out: a `TEE_Result`.
    pub ret: u32,
    /// Out: an origin.
    pub ret_origin: u32,
    /// How many parameters follow.
    pub num_params: u32,
}

/// `struct optee_msg_param`, 32 bytes: an attribute and three words whose sense it gives.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct MsgParam {
    /// Type in bits 7:0, flags above ([`attr`]).
    pub attr: u64,
    /// Value a; buffer pointer (tmem); offset (rmem).
    pub a: u64,
    /// Value b; size (tmem and rmem).
    pub b: u64,
    /// Value c; shared memory cookie (tmem and rmem).
    pub c: u64,
}

/// Attribute types and flags (`OPTEE_MSG_ATTR_*`).
pub mod attr {
    /// No parameter.
    pub const NONE: u64 = 0;
    /// Value in.
    pub const VALUE_INPUT: u64 = 1;
    /// Value out.
    pub const VALUE_OUTPUT: u64 = 2;
    /// Value in and out.
    pub const VALUE_INOUT: u64 = 3;
    /// Registered memory, in.
    pub const RMEM_INPUT: u64 = 5;
    /// Registered memory, out.
    pub const RMEM_OUTPUT: u64 = 6;
    /// Registered memory, in and out.
    pub const RMEM_INOUT: u64 = 7;
    /// Temporary memory, in.
    pub const TMEM_INPUT: u64 = 9;
    /// Temporary memory, out.
    pub const TMEM_OUTPUT: u64 = 10;
    /// Temporary memory, in and out.
    pub const TMEM_INOUT: u64 = 11;
    /// Mask of the type.
    pub const TYPE_MASK: u64 = 0xff;
    /// Parameter is the protocol's, not the application's.
    pub const META: u64 = 1 << 8;
    /// Buffer pointer is a list of pages (see [`super::PAGE_LIST_ENTRIES`]).
    pub const NONCONTIG: u64 = 1 << 9;
}

/// Commands (`OPTEE_MSG_CMD_*`).
pub mod cmd {
    /// Open a session: meta parameters 0 (UUID bytes) and 1 (client UUID bytes, login class).
    pub const OPEN_SESSION: u32 = 0;
    /// Invoke a command.
    pub const INVOKE_COMMAND: u32 = 1;
    /// Close a session.
    pub const CLOSE_SESSION: u32 = 2;
    /// Cancel an operation by session and `cancel_id`.
    pub const CANCEL: u32 = 3;
    /// Register shared memory (a tmem parameter).
    pub const REGISTER_SHM: u32 = 4;
    /// Unregister shared memory (an rmem parameter).
    pub const UNREGISTER_SHM: u32 = 5;
    /// Bottom half of an asynchronous notification.
    pub const DO_BOTTOM_HALF: u32 = 6;
    /// Stop asynchronous notifications.
    pub const STOP_ASYNC_NOTIF: u32 = 7;
}

/// Login classes (`TEE_LOGIN_*`).
pub mod login {
    /// No identity.
    pub const PUBLIC: u32 = 0;
    /// A user.
    pub const USER: u32 = 1;
    /// A group.
    pub const GROUP: u32 = 2;
    /// An application.
    pub const APPLICATION: u32 = 4;
    /// The normal world's kernel (Linux `TEE_IOCTL_LOGIN_REE_KERNEL`).
    pub const REE_KERNEL: u32 = 0x8000_0000;
    /// Another trusted application.
    pub const TRUSTED_APP: u32 = 0xf000_0000;
}

/// Page size that page lists count in, whatever the normal world's own is.
pub const PAGE_SIZE: usize = 4096;
/// One page of a page list: 511 page addresses, then the address of the next list page.
pub const PAGE_LIST_ENTRIES: usize = 511;

/// Size in bytes of a message with `num_params` parameters.
#[must_use]
pub const fn arg_size(num_params: usize) -> usize {
    size_of::<MsgHeader>() + num_params * size_of::<MsgParam>()
}

/// Most parameters that keep a message within a page.
pub const MAX_NUM_PARAMS: usize = (PAGE_SIZE - size_of::<MsgHeader>()) / size_of::<MsgParam>();
