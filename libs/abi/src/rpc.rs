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
    /// Have a plugin of the supplicant do something. Value in: a = [`super::SUPP_PLUGIN_INVOKE`], b, c = half of the
    /// UUID's bytes; value in: a, b = the other half, c = command; value inout: a = subcommand, out b = bytes of the
    /// answer; memref inout: data.
    pub const SUPP_PLUGIN: u32 = 12;
}

/// The one thing that [`cmd::SUPP_PLUGIN`] asks for.
pub const SUPP_PLUGIN_INVOKE: u64 = 0;

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
