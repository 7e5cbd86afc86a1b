//! Trusted storage: the caches between TAs and files, and what each TA has of it.

use tally_abi::TeeUuid;

crate::record! {
    /// A cache of trusted storage: of the files of all objects together, or of the directory's.
    CacheRow: "caches" = 23, 56 bytes, metrics "cache" {
        /// Which one.
        cache: u32 => label(word(cache)),
        /// Entries that a file may have in it between calls; 0: none.
        limit: u32 => gauge(Count),
        /// Entries that there are, of all files.
        entries: u32 => gauge(Count),
        /// Unused, zero.
        reserved: u32 => hidden,
        /// Memory behind them.
        bytes: u64 => gauge(Bytes),
        /// Most memory that there was behind them.
        bytes_max: u64 => number(Bytes),
        /// What was asked for and there.
        hits: u64 => counter(Count),
        /// What was asked for and not there.
        misses: u64 => counter(Count),
        /// Entries that made room for others, or had no room when a call ended.
        evicted: u64 => counter(Count),
    }
    also {
        /// Of what was asked for, how much was there.
        hit_rate => number(Percent) or null = |row| row.hit_rate(),
    }
}

impl CacheRow {
    /// Percent of hits; `None` if nothing was asked for.
    #[must_use]
    pub fn hit_rate(&self) -> Option<u64> {
        let all = self.hits.checked_add(self.misses)?;
        (self.hits.saturating_mul(100)).checked_div(all)
    }
}

crate::codes! {
    /// Caches of trusted storage.
    cache: u32 {
        /// Blocks of objects' files, decrypted.
        BLOCKS = 0 "blocks",
        /// Blocks of nodes of their hash trees, verified.
        NODES = 1 "nodes",
        /// Blocks of the directory.
        DIRECTORY_BLOCKS = 2 "directory blocks",
        /// Nodes of its hash tree.
        DIRECTORY_NODES = 3 "directory nodes",
        /// Places of objects in the directory.
        INDEX = 4 "directory index",
    }
}

crate::record! {
    /// What a TA has of trusted storage, all of its instances.
    StorageRow: "storage" = 24, 88 bytes, metrics "storage" {
        /// Which TA; null: those that are remembered no more.
        uuid: TeeUuid => label(ta),
        /// Objects that it has open.
        objects: u32 => gauge(Count),
        /// Handles of these.
        handles: u32 => gauge(Count),
        /// Kernel heap behind them.
        bytes: u64 => gauge(Bytes),
        /// System calls of storage that it made.
        calls: u64 => counter(Count),
        /// Calls that did not succeed.
        failed: u64 => counter(Count),
        /// Requests to the supplicant that came of them.
        requests: u64 => counter(Count),
        /// Data read.
        read: u64 => counter(Bytes),
        /// Data written.
        written: u64 => counter(Bytes),
        /// Objects that were not what had been written.
        corrupt: u64 => counter(Count),
        /// Ticks of the system counter spent, the normal world's included.
        ticks: u64 => counter(Ticks),
    }
}
