//! The interface between the kernel and a trusted application at EL0.
//!
//! Source: optee_os `lib/libutee/include/user_ta_header.h`, `utee_types.h`,
//! `tee_syscall_numbers.h`, `utee_syscalls.h`, `lib/libutee/include/tee_api_defines.h`.
//! A system call is `svc #0` with the number in x8, arguments in x0..x7, the result in x0.
//! [`svc::tally`] holds Tally's own numbers.

use crate::TeeUuid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct ta_head`, 32 bytes, at the lowest address of the image.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TaHead {
    /// Identity; must equal the signed header's.
    pub uuid: TeeUuid,
    /// Stack size in bytes.
    pub stack_size: u32,
    /// Properties, see [`flags`].
    pub flags: u32,
    /// Must be [`DEPRECATED_ENTRY`]; the ELF header names the entry.
    pub depr_entry: u64,
}

/// The only value accepted in [`TaHead::depr_entry`].
pub const DEPRECATED_ENTRY: u64 = u64::MAX;

/// Owner of the ELF notes in a TA of Tally's runtime (gABI, "Note Section").
pub const NOTE_OWNER: [u8; 8] = *b"TallyTA\0";
/// Kind of the note that holds a TA's name, which people call it by.
pub const NAME_NOTE: u32 = 1;

/// Property flags (`TA_FLAG_*`).
pub mod flags {
    /// One instance serves all sessions.
    pub const SINGLE_INSTANCE: u32 = 1 << 2;
    /// The instance takes several sessions at a time.
    pub const MULTI_SESSION: u32 = 1 << 3;
    /// The instance stays after its last session.
    pub const INSTANCE_KEEP_ALIVE: u32 = 1 << 4;
    /// Uses secure data path memory.
    pub const SECURE_DATA_PATH: u32 = 1 << 5;
    /// May use cache maintenance calls.
    pub const CACHE_MAINTENANCE: u32 = 1 << 7;
    /// Concurrent sessions (pseudo-TAs only).
    pub const CONCURRENT: u32 = 1 << 8;
    /// Enumerated for the normal world's kernel at boot.
    pub const DEVICE_ENUM: u32 = 1 << 9;
    /// Enumerated when the supplicant is up.
    pub const DEVICE_ENUM_SUPP: u32 = 1 << 10;
    /// A handle of an object that turns out to be corrupt stays open.
    pub const DONT_CLOSE_HANDLE_ON_CORRUPT_OBJECT: u32 = 1 << 11;
    /// A crashed keep-alive instance stays.
    pub const INSTANCE_KEEP_CRASHED: u32 = 1 << 13;
    /// All defined bits (`TA_FLAGS_MASK`).
    pub const MASK: u32 = 0x3fff;
    /// Those that a TA may have which is loaded: all but the pseudo-TAs' own.
    pub const OF_TAS: u32 = MASK & !CONCURRENT;
    /// Names for people, by bit.
    pub const NAMES: [(u32, &str); 10] = [
        (SINGLE_INSTANCE, "SINGLE_INSTANCE"),
        (MULTI_SESSION, "MULTI_SESSION"),
        (INSTANCE_KEEP_ALIVE, "INSTANCE_KEEP_ALIVE"),
        (SECURE_DATA_PATH, "SECURE_DATA_PATH"),
        (CACHE_MAINTENANCE, "CACHE_MAINTENANCE"),
        (CONCURRENT, "CONCURRENT"),
        (DEVICE_ENUM, "DEVICE_ENUM"),
        (DEVICE_ENUM_SUPP, "DEVICE_ENUM_SUPP"),
        (
            DONT_CLOSE_HANDLE_ON_CORRUPT_OBJECT,
            "DONT_CLOSE_HANDLE_ON_CORRUPT_OBJECT",
        ),
        (INSTANCE_KEEP_CRASHED, "INSTANCE_KEEP_CRASHED"),
    ];
}

/// First argument of the entry point (`enum utee_entry_func`). The entry gets x0 = function,
/// x1 = session id, x2 = pointer to [`UteeParams`], x3 = command id, and ends with
/// [`svc::RETURN`].
pub mod entry {
    /// Open a session (the first one also creates the instance).
    pub const OPEN_SESSION: u64 = 0;
    /// Close a session (the last one also destroys the instance unless it is kept alive).
    pub const CLOSE_SESSION: u64 = 1;
    /// Invoke a command.
    pub const INVOKE_COMMAND: u64 = 2;
    /// Report heap statistics (OP-TEE's own way; Tally never needs it).
    pub const DUMP_MEMSTATS: u64 = 3;
}

/// How many parameters an operation has.
pub const NUM_PARAMS: usize = 4;

/// `struct utee_params`, 72 bytes: types and four pairs (a, b) or (pointer, size).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct UteeParams {
    /// Four 4-bit types, see [`param_type`].
    pub types: u64,
    /// Pairs, parameter n at 2n and 2n + 1.
    pub vals: [u64; 2 * NUM_PARAMS],
}

/// Parameter types (`TEE_PARAM_TYPE_*`).
pub mod param_type {
    /// None.
    pub const NONE: u32 = 0;
    /// Value in.
    pub const VALUE_INPUT: u32 = 1;
    /// Value out.
    pub const VALUE_OUTPUT: u32 = 2;
    /// Value in and out.
    pub const VALUE_INOUT: u32 = 3;
    /// Memory in.
    pub const MEMREF_INPUT: u32 = 5;
    /// Memory out.
    pub const MEMREF_OUTPUT: u32 = 6;
    /// Memory in and out.
    pub const MEMREF_INOUT: u32 = 7;

    /// Packs four types (`TEE_PARAM_TYPES`).
    #[must_use]
    pub const fn pack(t: [u32; 4]) -> u32 {
        t[0] | t[1] << 4 | t[2] << 8 | t[3] << 12
    }

    /// Type of parameter `index` in packed `types` (`TEE_PARAM_TYPE_GET`).
    #[must_use]
    pub const fn get(types: u32, index: usize) -> u32 {
        types >> (4 * index) & 0xf
    }
}

/// `TEE_Time`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TeeTime {
    /// Seconds.
    pub seconds: u32,
    /// Milliseconds, below 1000.
    pub millis: u32,
}

impl TeeTime {
    /// So many milliseconds; seconds beyond 32 bits are cut.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self {
            seconds: (millis / 1000) as u32,
            millis: (millis % 1000) as u32,
        }
    }
}

/// Categories of [`svc::GET_TIME`].
pub mod time_category {
    /// Monotonic, from boot.
    pub const SYSTEM: u64 = 0;
    /// The TA's own.
    pub const TA_PERSISTENT: u64 = 1;
    /// The normal world's.
    pub const REE: u64 = 2;
}

/// Access flags of [`svc::CHECK_ACCESS_RIGHTS`] (`TEE_MEMORY_ACCESS_*`).
pub mod access {
    /// Readable.
    pub const READ: u32 = 1;
    /// Writable.
    pub const WRITE: u32 = 2;
    /// May be shared with others.
    pub const ANY_OWNER: u32 = 4;
}

/// Property sets (`TEE_PROPSET_*`) of [`svc::GET_PROPERTY`].
pub mod propset {
    /// Of the implementation.
    pub const TEE_IMPLEMENTATION: u64 = 0xffff_fffd;
    /// Of the calling client.
    pub const CURRENT_CLIENT: u64 = 0xffff_fffe;
    /// Of the TA itself.
    pub const CURRENT_TA: u64 = 0xffff_ffff;
}

/// System call numbers (`TEE_SCN_*`).
pub mod svc {
    /// `(code)`: the entry point returns; does not come back.
    pub const RETURN: u64 = 0;
    /// `(buf, len)`: text to the secure console.
    pub const LOG: u64 = 1;
    /// `(code)`: the TA panics; does not come back.
    pub const PANIC: u64 = 2;
    /// `(set, index, name*, name_len*, buf*, buf_len*, type*)`.
    pub const GET_PROPERTY: u64 = 3;
    /// `(set, name*, name_len, index*)`.
    pub const GET_PROPERTY_NAME_TO_INDEX: u64 = 4;
    /// `(uuid*, timeout_ms, params*, session*, origin*)`.
    pub const OPEN_TA_SESSION: u64 = 5;
    /// `(session)`.
    pub const CLOSE_TA_SESSION: u64 = 6;
    /// `(session, timeout_ms, command, params*, origin*)`.
    pub const INVOKE_TA_COMMAND: u64 = 7;
    /// `(flags, buf, len)`.
    pub const CHECK_ACCESS_RIGHTS: u64 = 8;
    /// `(flag: u32*)`.
    pub const GET_CANCELLATION_FLAG: u64 = 9;
    /// `(old: u32*)`.
    pub const UNMASK_CANCELLATION: u64 = 10;
    /// `(old: u32*)`.
    pub const MASK_CANCELLATION: u64 = 11;
    /// `(timeout_ms)`: sleeps; `CANCEL` when cancelled.
    pub const WAIT: u64 = 12;
    /// `(category, TeeTime*)`.
    pub const GET_TIME: u64 = 13;
    /// `(TeeTime*)`.
    pub const SET_TA_TIME: u64 = 14;
    /// `(algorithm, mode, key, second_key, state: u32*)`.
    pub const CRYP_STATE_ALLOC: u64 = 15;
    /// `(to, from)`.
    pub const CRYP_STATE_COPY: u64 = 16;
    /// `(state)`.
    pub const CRYP_STATE_FREE: u64 = 17;
    /// `(state, iv*, iv_len)`; the initialization vector is not looked at.
    pub const HASH_INIT: u64 = 18;
    /// `(state, data*, len)`.
    pub const HASH_UPDATE: u64 = 19;
    /// `(state, data*, len, hash*, hash_len: u64*)`.
    pub const HASH_FINAL: u64 = 20;
    /// `(state, iv*, iv_len)`.
    pub const CIPHER_INIT: u64 = 21;
    /// `(state, from*, len, to*, to_len: u64*)`.
    pub const CIPHER_UPDATE: u64 = 22;
    /// As [`CIPHER_UPDATE`].
    pub const CIPHER_FINAL: u64 = 23;
    /// `(object, info*)`.
    pub const CRYP_OBJ_GET_INFO: u64 = 24;
    /// `(object, usage)`.
    pub const CRYP_OBJ_RESTRICT_USAGE: u64 = 25;
    /// `(object, attribute, buf*, len: u64*)`.
    pub const CRYP_OBJ_GET_ATTR: u64 = 26;
    /// `(type, max_bits, object: u32*)`.
    pub const CRYP_OBJ_ALLOC: u64 = 27;
    /// `(object)`.
    pub const CRYP_OBJ_CLOSE: u64 = 28;
    /// `(object)`.
    pub const CRYP_OBJ_RESET: u64 = 29;
    /// `(object, attributes*, count)`.
    pub const CRYP_OBJ_POPULATE: u64 = 30;
    /// `(to, from)`.
    pub const CRYP_OBJ_COPY: u64 = 31;
    /// `(state, attributes*, count, object)`.
    pub const CRYP_DERIVE_KEY: u64 = 32;
    /// `(buf, len)`.
    pub const RANDOM: u64 = 33;
    /// `(state, nonce*, nonce_len, tag_len, aad_len, text_len)`.
    pub const AUTHENC_INIT: u64 = 34;
    /// `(state, data*, len)`.
    pub const AUTHENC_UPDATE_AAD: u64 = 35;
    /// `(state, from*, len, to*, to_len: u64*)`.
    pub const AUTHENC_UPDATE_PAYLOAD: u64 = 36;
    /// `(state, from*, len, to*, to_len: u64*, tag*, tag_len: u64*)`.
    pub const AUTHENC_ENC_FINAL: u64 = 37;
    /// `(state, from*, len, to*, to_len: u64*, tag*, tag_len)`.
    pub const AUTHENC_DEC_FINAL: u64 = 38;
    /// `(state, attributes*, count, from*, len, to*, to_len: u64*)`.
    pub const ASYMM_OPERATE: u64 = 39;
    /// `(state, attributes*, count, data*, len, signature*, signature_len)`.
    pub const ASYMM_VERIFY: u64 = 40;
    /// `(storage, id*, id_len, flags, object: u32*)`.
    pub const STORAGE_OBJ_OPEN: u64 = 41;
    /// `(storage, id*, id_len, flags, attributes, data*, len, object: u32*)`.
    pub const STORAGE_OBJ_CREATE: u64 = 42;
    /// `(object)`: deletes it, and closes it.
    pub const STORAGE_OBJ_DEL: u64 = 43;
    /// `(object, id*, id_len)`.
    pub const STORAGE_OBJ_RENAME: u64 = 44;
    /// `(enumerator: u32*)`.
    pub const STORAGE_ENUM_ALLOC: u64 = 45;
    /// `(enumerator)`.
    pub const STORAGE_ENUM_FREE: u64 = 46;
    /// `(enumerator)`.
    pub const STORAGE_ENUM_RESET: u64 = 47;
    /// `(enumerator, storage)`.
    pub const STORAGE_ENUM_START: u64 = 48;
    /// `(enumerator, info*, id*, id_len: u64*)`.
    pub const STORAGE_ENUM_NEXT: u64 = 49;
    /// `(object, buf*, len, read: u64*)`.
    pub const STORAGE_OBJ_READ: u64 = 50;
    /// `(object, data*, len)`.
    pub const STORAGE_OBJ_WRITE: u64 = 51;
    /// `(object, len)`.
    pub const STORAGE_OBJ_TRUNC: u64 = 52;
    /// `(object, offset: i32, whence)`.
    pub const STORAGE_OBJ_SEEK: u64 = 53;
    /// `(object, bits, attributes*, count)`.
    pub const CRYP_OBJ_GENERATE_KEY: u64 = 54;
    /// `(va, len, op)`.
    pub const CACHE_OPERATION: u64 = 70;
    /// Highest number of OP-TEE's table.
    pub const MAX: u64 = 70;

    /// Tally's own calls, far above OP-TEE's.
    pub mod tally {
        /// `(max_bytes, base: u64*)`: reserves address space for this TA's heap, guard pages on
        /// both sides, no memory behind it yet. `base` is page-aligned. Once an instance.
        /// `BAD_STATE` when done before, `OUT_OF_MEMORY` when above the TA's quota.
        pub const HEAP_RESERVE: u64 = 0x7a00;
        /// `(bytes, size)`: grows the heap to `bytes` from its base (never shrinks), for an allocation
        /// of `size` bytes (for the report of a refusal; 0: only a try, no report). Rounded up to
        /// pages, which read as zero and are populated when first touched.
        /// `OUT_OF_MEMORY` when the reservation, the TA's quota or secure RAM does not allow it.
        pub const HEAP_GROW: u64 = 0x7a01;
        /// `(live_bytes)`: the alarm rang that the kernel had set in the heap's header
        /// (`tally_ledger::ALARM_OFFSET`): so many bytes are live. The result is ignored.
        pub const HEAP_ALARM: u64 = 0x7a02;
    }
}
