//! The interface between the kernel and `ldelf`, the loader at EL0.
//!
//! Numbers follow optee_os `ldelf/include/ldelf.h` where the call is the same; the interface is
//! internal to one release of Tally. The kernel maps `ldelf`, a stack and, read-only, the verified
//! ELF file into the new TA's address space and enters `ldelf` with x0 = pointer to [`LdelfArg`]; and without a file
//! when the TA opens a library or asks for a symbol later.

use crate::TeeUuid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most free lists that are told of: `libutils` has two, three where OP-TEE is virtualized.
pub const MAX_FREE_LISTS: usize = 4;

/// What the kernel tells `ldelf`, and what it gets back.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LdelfArg {
    /// In: the TA asked for, whose `TaHead` must name the same; or a library.
    pub uuid: TeeUuid,
    /// In: what to do, of [`task`].
    pub task: u32,
    /// In: bytes of the name behind this argument.
    pub name_len: u32,
    /// In, out: where the TA's link map lies, 0 for none.
    pub link_map: u64,
    /// In, out: of how many bytes it is.
    pub link_map_len: u64,
    /// In: address of the ELF file.
    pub image_va: u64,
    /// In: size of the ELF file in bytes.
    pub image_len: u64,
    /// Out: entry point; the symbol's address.
    pub entry: u64,
    /// Out: initial stack pointer (16-byte aligned, the end of the stack).
    pub stack_ptr: u64,
    /// Out: size of the stack in bytes.
    pub stack_len: u64,
    /// Out: where link address 0 of the image was placed.
    pub load_base: u64,
    /// Out: bytes from `load_base` to the end of the last segment.
    pub load_len: u64,
    /// Out: where the TA may have the free lists of a C program's heap, 0 for none.
    pub free_lists: [u64; MAX_FREE_LISTS],
    /// Out: `TaHead::flags`.
    pub flags: u32,
    /// Out: why an image is refused ([`crate::image::ImageFault`]), if it is.
    pub why: u32,
    /// Out: which module it is; nil or the TA's own for its program.
    pub why_of: TeeUuid,
}

/// What `ldelf` is entered for.
pub mod task {
    /// Load a TA.
    pub const LOAD: u32 = 0;
    /// Load a library into a TA (`dlopen`).
    pub const OPEN: u32 = 1;
    /// Find a symbol (`dlsym`), whose name lies behind the argument; in library `uuid` first, if that is not nil.
    pub const SYMBOL: u32 = 2;
}

/// System calls of `ldelf` (x8), `svc #0`, result in x0.
pub mod svc {
    /// `(code)`: done; `TEE_SUCCESS` or why the image is refused. Does not come back.
    pub const RETURN: u64 = 0;
    /// `(code)`: a bug in `ldelf`. Does not come back.
    pub const PANIC: u64 = 2;
    /// `(va: u64*, len, pad_begin, pad_end, flags)`: maps zeroed memory, readable and writable.
    /// `*va` 0: the kernel chooses a random place with `pad_begin`/`pad_end` bytes free around
    /// it (and always a guard page); otherwise the place asked for, inside an earlier padding.
    /// `flags`: [`super::map_flag`].
    pub const MAP_ZI: u64 = 3;
    /// `(va, len)`: unmaps what MAP_ZI mapped.
    pub const UNMAP: u64 = 4;
    /// `(uuid, va: u64*, len: u64*)`: maps the verified ELF file of a library, read-only, until `ldelf` returns.
    pub const OPEN_BIN: u64 = 5;
    /// `(va, len, prot)`: sets [`super::prot`] on pages of one MAP_ZI mapping. Writable and
    /// executable together are refused (`SECURITY`), as is making executable pages writable.
    pub const SET_PROT: u64 = 9;
    /// `(buf, len)`: random bytes.
    pub const RANDOM: u64 = 11;
}

/// Flags of [`svc::MAP_ZI`].
pub mod map_flag {
    /// The mapping is the TA's stack.
    pub const STACK: u64 = 1 << 8;
}

/// Protections of [`svc::SET_PROT`] (`LDELF_MAP_FLAG_*`); always readable.
pub mod prot {
    /// Read only.
    pub const READ: u64 = 0;
    /// Writable.
    pub const WRITE: u64 = 1 << 1;
    /// Executable.
    pub const EXEC: u64 = 1 << 2;
}
