//! Accounts of owners.

use tally_abi::TeeUuid;

crate::record! {
    /// An owner's account: kernel heap and secure pages that it has.
    OwnerRow: "owners" = 3, 56 bytes, metrics "owner" {
        /// Its name.
        label: [u8; 16] => label(text) "owner",
        /// What it is.
        kind: u32 => label(word(owner_kind)),
        /// The session, if it is one.
        session: u32 => nonzero(Hex),
        /// The TA that it belongs to.
        uuid: TeeUuid => label(ta),
        /// Bytes of the kernel heap by owner.
        heap_bytes: u32 => gauge(Bytes),
        /// Blocks of the kernel heap by owner.
        heap_blocks: u32 => gauge(Blocks),
        /// Secure pages by owner.
        pages: u32 => gauge(Pages),
        /// Its number, which blocks of the kernel heap have for their owner.
        number: u32 => number(None),
    }
}

crate::codes! {
    /// Kinds of owners.
    owner_kind: u32 {
        /// A part of the kernel.
        KERNEL = 0 "kernel",
        /// A client machine's bookkeeping.
        GUEST = 1 "guest",
        /// A TA instance.
        TA = 2 "ta",
        /// A session.
        SESSION = 3 "session",
    }
}
