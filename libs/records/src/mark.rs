//! Marks, and TA instances that ended since.

use tally_abi::TeeUuid;
use tally_abi::pta::memleak::MARK_NAME;

crate::record! {
    /// A mark.
    MarkRow: "marks" = 16, 32 bytes {
        /// Milliseconds since boot when it was set.
        at_ms: u64 => number(Ms),
        /// Its number, from 1.
        number: u32 => number(None) "mark",
        /// Unused, zero.
        reserved: u32 => hidden,
        /// Its name; empty if it has none.
        name: [u8; MARK_NAME] => text,
    }
}

crate::record! {
    /// A TA instance that is no more.
    EndedRow: "ended" = 17, 48 bytes {
        /// Which TA.
        uuid: TeeUuid => ta,
        /// Milliseconds since boot when it ended.
        at_ms: u64 => number(Ms),
        /// Bytes that it had not freed.
        bytes: u64 => number(Bytes),
        /// Blocks of them.
        blocks: u32 => number(Blocks),
        /// Mark that was last when it ended.
        mark: u32 => number(None),
        /// Mark that was last when it was loaded.
        born: u32 => number(None),
        /// How it ended.
        how: u32 => word(ended),
    }
}

crate::codes! {
    /// How an instance ended ([`EndedRow::how`]).
    ended: u32 {
        /// Its last session was closed.
        CLOSED = 0 "closed",
        /// It panicked, crashed or was killed.
        DIED = 1 "died",
        /// One or the other, and its heap's books did not add up: what it had not freed is not
        /// known.
        UNKNOWN = 2 "inconsistent",
    }
}
