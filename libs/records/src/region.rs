//! Regions of address spaces.

use tally_abi::TeeUuid;

crate::record! {
    /// A region of an address space.
    RegionRow: "regions" = 5, 88 bytes {
        /// Virtual address; null if hidden.
        va: u64 => nonzero(Hex),
        /// Physical address of its first page; null if hidden, or none is taken yet.
        pa: u64 => nonzero(Hex),
        /// Bytes of addresses.
        bytes: u64 => number(Bytes),
        /// Bytes of them that may be touched: all but in a heap, which grows.
        usable: u64 => number(Bytes),
        /// Bytes of memory behind them.
        populated: u64 => number(Bytes),
        /// What it may be used for, and what it is besides.
        prot: u32 => set(prot),
        /// The session that it was mapped for.
        session: u32 => nonzero(Hex),
        /// The TA whose it is; null: the kernel's.
        owner: TeeUuid => ta "uuid",
        /// What it is for.
        label: [u8; 16] => text "what",
        /// Which instance of the TA.
        instance: u32 => number(None),
        /// Unused, zero.
        reserved: u32 => hidden,
    }
}

crate::codes! {
    /// Bits of [`RegionRow::prot`].
    prot: u32 {
        /// Readable by its user.
        READ = 1 "read",
        /// Writable by its user.
        WRITE = 2 "write",
        /// Executable by its user.
        EXECUTE = 4 "execute",
        /// Normal-world memory.
        NON_SECURE = 8 "normal world",
        /// Device memory.
        DEVICE = 16 "device",
        /// Shared with other address spaces.
        SHARED = 32 "shared",
    }
}
