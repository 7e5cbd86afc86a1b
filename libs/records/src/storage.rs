//! Trusted storage: the caches between TAs and files, and what each TA has of it.

use tally_abi::TeeUuid;

crate::record! {
    /// A cache of trusted storage, or what else is kept there so that it need not be asked for again.
    CacheRow: "caches" = 23, 80 bytes, metrics "cache" {
        /// Which one.
        cache: u32 => label(word(cache)),
        /// Entries that there may be; 0: none are kept.
        limit: u32 => gauge(Count),
        /// Entries that there are.
        entries: u32 => gauge(Count),
        /// Entries with changes that are not in a file yet.
        dirty: u32 => gauge(Count),
        /// Memory behind them.
        bytes: u64 => gauge(Bytes),
        /// Most memory that there was behind them.
        bytes_max: u64 => number(Bytes),
        /// What was asked for and there.
        hits: u64 => counter(Count),
        /// What was asked for and not there.
        misses: u64 => counter(Count),
        /// Entries that made room for others.
        evicted: u64 => counter(Count),
        /// Entries whose changes went to a file.
        written_back: u64 => counter(Count),
        /// Entries given up for whoever needed the memory, or when they were asked for it.
        given_way: u64 => counter(Count),
        /// Collections: times that something was given up so.
        collections: u64 => counter(Count),
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
        /// Open objects, each with the hash tree of its file.
        OBJECTS = 0 "objects",
        /// Blocks of files, decrypted.
        BLOCKS = 1 "blocks",
        /// Nodes of hash trees.
        NODES = 2 "nodes",
        /// Places of objects in the directory.
        INDEX = 3 "index",
        /// Memory shared with the supplicant.
        BUFFERS = 4 "buffers",
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
