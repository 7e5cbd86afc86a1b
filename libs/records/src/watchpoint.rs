//! Snapshots that are kept, and the watchpoints that wait for them.

use tally_abi::TeeUuid;

crate::record! {
    /// A snapshot, or the watchpoint that waits for it.
    SnapshotRow: "snapshots" = 22, 72 bytes {
        /// Its number, from 1.
        number: u32 => number(None),
        /// Where it is in its life.
        state: u32 => word(snapshot_state),
        /// What it waits, or waited, for.
        trigger: u32 => word(trigger),
        /// Unused, zero.
        reserved: u32 => hidden,
        /// The TA that is watched.
        uuid: TeeUuid => ta,
        /// The command, or heap bytes, that the watchpoint waits for.
        wanted: u64 => number(None),
        /// Milliseconds since boot when it was taken.
        at_ms: u64 => number(Ms),
        /// Bytes of the snapshot.
        bytes: u64 => number(Bytes),
        /// Secure memory that it takes.
        memory: u64 => number(Bytes),
        /// Records that had no room.
        dropped: u64 => number(Count),
    }
}

crate::codes! {
    /// Where a snapshot is in its life.
    snapshot_state: u32 {
        /// Its watchpoint waits.
        ARMED = 0 "armed",
        /// It is being taken.
        TAKING = 1 "being taken",
        /// It can be read.
        TAKEN = 2 "taken",
        /// The TA ended before the watchpoint was met.
        ENDED = 3 "ended with its TA",
        /// The watchpoint was met, and there was no memory for a snapshot.
        FAILED = 4 "met without memory for it",
    }
}

crate::codes! {
    /// What a watchpoint waits for, and why a snapshot was taken.
    trigger: u32 {
        /// Nothing: somebody asked for the snapshot.
        ASKED = 0 "asked",
        /// A command of the TA is entered.
        ENTRY = 1 "entry",
        /// A command of the TA returned.
        EXIT = 2 "exit",
        /// The TA's heap rises above so many bytes. `NOT_SUPPORTED` while no pool tells when it
        /// does.
        HEAP = 3 "heap",
        /// An allocation of the TA is refused.
        FAILURE = 4 "fail",
    }
}
