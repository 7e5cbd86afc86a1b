//! Commands that the secure world asks of the normal world.
//! Source: optee_os `core/include/optee_rpc_cmd.h`.

/// Command numbers (`OPTEE_RPC_CMD_*`), in `MsgHeader::cmd` of the RPC argument.
pub mod cmd {
    /// Load a TA. Value in: UUID bytes in a, b. Memref out: the image (null to ask its size).
    pub const LOAD_TA: u32 = 0;
    /// Replay-protected memory block.
    pub const RPMB: u32 = 1;
    /// File system.
    pub const FS: u32 = 2;
    /// Time. Value out: a = seconds, b = nanoseconds.
    pub const GET_TIME: u32 = 3;
    /// Wait queue. Value in: a = [`super::notification`], b = key (c = timeout in ms if not 0).
    pub const NOTIFICATION: u32 = 4;
    /// Sleep. Value in: a = milliseconds.
    pub const SUSPEND: u32 = 5;
    /// Allocate shared memory. Value in: a = [`super::shm_type`], b = size, c = alignment.
    /// The answer is a tmem parameter (non-contiguous or not) in place of it.
    pub const SHM_ALLOC: u32 = 6;
    /// Free shared memory. Value in: a = type, b = cookie.
    pub const SHM_FREE: u32 = 7;
    /// Sockets. Value in: a = [`super::socket`], b = TA instance, c = socket; then as that says.
    pub const SOCKET: u32 = 10;
    /// Have a plugin of the supplicant do something. Value in: a = [`super::SUPP_PLUGIN_INVOKE`], b, c = half of the
    /// UUID's bytes; value in: a, b = the other half, c = command; value inout: a = subcommand, out b = bytes of the
    /// answer; memref inout: data.
    pub const SUPP_PLUGIN: u32 = 12;
}

/// The one thing that [`cmd::SUPP_PLUGIN`] asks for.
pub const SUPP_PLUGIN_INVOKE: u64 = 0;

/// Sub-commands of [`cmd::SOCKET`] (`OPTEE_RPC_SOCKET_*`).
pub mod socket {
    /// Value in: a = port, b = protocol, c = version of IP; memref in: address; value out: a = socket.
    pub const OPEN: u64 = 0;
    /// Nothing more.
    pub const CLOSE: u64 = 1;
    /// All of an instance.
    pub const CLOSE_ALL: u64 = 2;
    /// Memref in: data; value inout: a = milliseconds, out b = bytes sent.
    pub const SEND: u64 = 3;
    /// Memref out: data; value in: a = milliseconds.
    pub const RECV: u64 = 4;
    /// Memref inout: data; value in: a = command.
    pub const IOCTL: u64 = 5;
}

/// Sub-commands of [`cmd::FS`] (`OPTEE_RPC_FS_*`). Value in: a = which, and what follows.
pub mod fs {
    /// Memref in: name; value out: a = file.
    pub const OPEN: u64 = 0;
    /// Memref in: name; value out: a = file, which is empty.
    pub const CREATE: u64 = 1;
    /// b = file.
    pub const CLOSE: u64 = 2;
    /// b = file, c = offset; memref out: data.
    pub const READ: u64 = 3;
    /// b = file, c = offset; memref in: data.
    pub const WRITE: u64 = 4;
    /// b = file, c = length.
    pub const TRUNCATE: u64 = 5;
    /// Memref in: name.
    pub const REMOVE: u64 = 6;
    /// b = whether the target may be there; memref in: old name; memref in: new name.
    pub const RENAME: u64 = 7;
    /// Memref in: name; value out: a = directory.
    pub const OPENDIR: u64 = 8;
    /// b = directory.
    pub const CLOSEDIR: u64 = 9;
    /// b = directory; memref out: name of the next file in it.
    pub const READDIR: u64 = 10;
}

/// Sub-commands of [`cmd::NOTIFICATION`].
pub mod notification {
    /// Sleep until the key is sent.
    pub const WAIT: u64 = 0;
    /// Wake the sleeper on the key.
    pub const SEND: u64 = 1;
}

/// Kinds of shared memory that [`cmd::SHM_ALLOC`] asks for.
pub mod shm_type {
    /// Shared with the supplicant.
    pub const APPLICATION: u64 = 0;
    /// Private to the driver.
    pub const KERNEL: u64 = 1;
    /// Visible to all.
    pub const GLOBAL: u64 = 2;
}
