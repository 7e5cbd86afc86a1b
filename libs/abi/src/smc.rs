//! SMC function ids and return codes of the normal world's interface.
//!
//! Source: optee_os `core/arch/arm/include/sm/optee_smc.h`, SMC Calling Convention (ARM DEN 0028).

/// An SMC function id as passed in w0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct FunctionId(pub u32);

const fn fast(number: u32) -> FunctionId {
    FunctionId(0xb200_0000 | number)
}
const fn yielding(number: u32) -> FunctionId {
    FunctionId(0x3200_0000 | number)
}
const fn api(number: u32) -> FunctionId {
    FunctionId(0xbf00_0000 | number)
}

impl FunctionId {
    /// Number of calls supported (trusted OS API range).
    pub const CALLS_COUNT: Self = api(0xff00);
    /// UUID of the message protocol.
    pub const CALLS_UID: Self = api(0xff01);
    /// Revision of the message protocol.
    pub const CALLS_REVISION: Self = api(0xff03);
    /// UUID of the trusted OS.
    pub const GET_OS_UUID: Self = fast(0);
    /// Revision of the trusted OS.
    pub const GET_OS_REVISION: Self = fast(1);
    /// Reserved shared memory, if any.
    pub const GET_SHM_CONFIG: Self = fast(7);
    /// Capabilities of both worlds.
    pub const EXCHANGE_CAPABILITIES: Self = fast(9);
    /// Stop caching RPC shared memory.
    pub const DISABLE_SHM_CACHE: Self = fast(10);
    /// Resume caching RPC shared memory.
    pub const ENABLE_SHM_CACHE: Self = fast(11);
    /// A guest was created (virtualisation).
    pub const VM_CREATED: Self = fast(13);
    /// A guest was destroyed (virtualisation).
    pub const VM_DESTROYED: Self = fast(14);
    /// How many yielding calls can be in flight.
    pub const GET_THREAD_COUNT: Self = fast(15);
    /// Turn on asynchronous notifications.
    pub const ENABLE_ASYNC_NOTIF: Self = fast(16);
    /// Fetch a pending notification.
    pub const GET_ASYNC_NOTIF_VALUE: Self = fast(17);
    /// Resume a suspended call.
    pub const RETURN_FROM_RPC: Self = yielding(3);
    /// A message at a physical address.
    pub const CALL_WITH_ARG: Self = yielding(4);
    /// As `CALL_WITH_ARG`, with an RPC argument behind the message.
    pub const CALL_WITH_RPC_ARG: Self = yielding(18);
    /// As `CALL_WITH_RPC_ARG`, in registered shared memory (cookie, offset).
    pub const CALL_WITH_REGD_ARG: Self = yielding(19);

    /// Whether this is a fast (atomic) call, ARM DEN 0028 §2.
    #[must_use]
    pub const fn is_fast(self) -> bool {
        self.0 & 0x8000_0000 != 0
    }

    /// The owning entity number, bits 29:24.
    #[must_use]
    pub const fn owner(self) -> u32 {
        (self.0 >> 24) & 0x3f
    }
}

/// Owner numbers 50..=63 belong to the trusted OS.
pub const TRUSTED_OS_OWNERS: core::ops::RangeInclusive<u32> = 50..=63;

/// Return codes in a0 (`OPTEE_SMC_RETURN_*`).
pub mod ret {
    /// Unknown function.
    pub const UNKNOWN_FUNCTION: u32 = 0xffff_ffff;
    /// Done.
    pub const OK: u32 = 0;
    /// All threads are busy; try again when a call has ended.
    pub const ETHREAD_LIMIT: u32 = 1;
    /// Busy.
    pub const EBUSY: u32 = 2;
    /// No such suspended call.
    pub const ERESUME: u32 = 3;
    /// Bad physical address.
    pub const EBADADDR: u32 = 4;
    /// Bad command.
    pub const EBADCMD: u32 = 5;
    /// Out of memory.
    pub const ENOMEM: u32 = 6;
    /// Not available.
    pub const ENOTAVAIL: u32 = 7;
    /// Suspended: the normal world is to allocate shared memory.
    pub const RPC_ALLOC: u32 = 0xffff_0000;
    /// Suspended: the normal world is to free shared memory.
    pub const RPC_FREE: u32 = 0xffff_0002;
    /// Suspended by an interrupt of the normal world.
    pub const RPC_FOREIGN_INTR: u32 = 0xffff_0004;
    /// Suspended: a command is in the RPC argument.
    pub const RPC_CMD: u32 = 0xffff_0005;

    /// Whether `code` says that the call is suspended.
    #[must_use]
    pub const fn is_rpc(code: u32) -> bool {
        code != UNKNOWN_FUNCTION && code & 0xffff_0000 == 0xffff_0000
    }
}

/// Normal-world capability bits of `EXCHANGE_CAPABILITIES`.
pub mod nsec_cap {
    /// One CPU only.
    pub const UNIPROCESSOR: u64 = 1 << 0;
}

/// Secure-world capability bits of `EXCHANGE_CAPABILITIES`.
pub mod sec_cap {
    /// Reserved shared memory exists.
    pub const HAVE_RESERVED_SHM: u64 = 1 << 0;
    /// Arguments may lie in unregistered memory.
    pub const UNREGISTERED_SHM: u64 = 1 << 1;
    /// Any normal-world memory can be registered.
    pub const DYNAMIC_SHM: u64 = 1 << 2;
    /// Guests are supported.
    pub const VIRTUALIZATION: u64 = 1 << 3;
    /// Null memory references are supported.
    pub const MEMREF_NULL: u64 = 1 << 4;
    /// Asynchronous notifications are supported.
    pub const ASYNC_NOTIF: u64 = 1 << 5;
    /// `CALL_WITH_RPC_ARG` and `CALL_WITH_REGD_ARG` are supported.
    pub const RPC_ARG: u64 = 1 << 6;
}

/// UUID of the message protocol, as four words (`OPTEE_MSG_UID_*`).
pub const CALLS_UID: [u32; 4] = [0x384f_b3e0, 0xe7f8_11e3, 0xaf63_0002, 0xa5d5_c51b];
/// Revision of the message protocol: major, minor.
pub const CALLS_REVISION: [u32; 2] = [2, 0];
/// UUID of Tally as trusted OS. Tally's own (6e7b0a33-1c52-4a0e-8f0e-7a11e500c0de).
pub const OS_UUID: [u32; 4] = [0x6e7b_0a33, 0x1c52_4a0e, 0x8f0e_7a11, 0xe500_c0de];
/// `CALLS_COUNT`'s answer: how many functions the trusted OS answers.
pub const CALLS_COUNT: u32 = 17;
