//! Figures and limits of caches: what they take, how well they do, what they may take.
//!
//! **Knows nothing of:** what is in them.

/// A cache's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    /// Entries that there are.
    pub entries: u64,
    /// Bytes of the heap that they take.
    pub bytes: u64,
    /// Most bytes that they took.
    pub peak_bytes: u64,
    /// Times that what was looked for was there.
    pub hits: u64,
    /// Times that it was not.
    pub misses: u64,
    /// Entries that made room for others, or had no room.
    pub evictions: u64,
}

impl Cache {
    const NONE: Self = Self {
        entries: 0,
        bytes: 0,
        peak_bytes: 0,
        hits: 0,
        misses: 0,
        evictions: 0,
    };

    /// What there is by now.
    pub(crate) fn now(&mut self, entries: usize, bytes: usize) {
        (self.entries, self.bytes) = (entries as u64, bytes as u64);
        self.peak_bytes = self.peak_bytes.max(self.bytes);
    }

    /// With nothing in it any more.
    const fn without_entries(self) -> Self {
        Self {
            entries: 0,
            bytes: 0,
            ..self
        }
    }

    /// Those of the same file later, when it has been read again.
    fn go_on_with(&mut self, later: &Self) {
        *self = Self {
            entries: later.entries,
            bytes: later.bytes,
            peak_bytes: self.peak_bytes.max(later.peak_bytes),
            hits: self.hits + later.hits,
            misses: self.misses + later.misses,
            evictions: self.evictions + later.evictions,
        };
    }

    /// Adds those of another file. The peak is that of both, had they had theirs at once.
    pub const fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.bytes += other.bytes;
        self.peak_bytes += other.peak_bytes;
        self.hits += other.hits;
        self.misses += other.misses;
        self.evictions += other.evictions;
    }
}

/// Figures of the caches of a file, or of some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Blocks of nodes, verified up to the root.
    pub nodes: Cache,
    /// Blocks of data, decrypted.
    pub blocks: Cache,
    /// Places in the directory, by what a TA calls its objects.
    pub index: Cache,
}

impl Figures {
    /// Of no file.
    pub(crate) const NONE: Self = Self {
        nodes: Cache::NONE,
        blocks: Cache::NONE,
        index: Cache::NONE,
    };

    pub(crate) const fn without_entries(self) -> Self {
        Self {
            nodes: self.nodes.without_entries(),
            blocks: self.blocks.without_entries(),
            index: self.index.without_entries(),
        }
    }

    /// Those of the same file later, when it has been read again.
    pub(crate) fn go_on_with(&mut self, later: &Self) {
        self.nodes.go_on_with(&later.nodes);
        self.blocks.go_on_with(&later.blocks);
        self.index.go_on_with(&later.index);
    }

    /// Adds those of another file.
    pub const fn add(&mut self, other: &Self) {
        self.nodes.add(&other.nodes);
        self.blocks.add(&other.blocks);
        self.index.add(&other.index);
    }
}

/// What the caches of a file may take between operations, in bytes. What has changed and is not committed comes on top, and
/// the first block of nodes. 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Blocks of nodes: 2,046 bytes each.
    pub nodes: usize,
    /// Blocks of data: 4,096 bytes each.
    pub blocks: usize,
    /// Index of the directory: 4 bytes for each place.
    pub index: usize,
}

impl Limits {
    /// For a file of an object: nodes of 4 MiB of data, one block of data.
    pub const FILE: Self = Self {
        nodes: 72 << 10,
        blocks: 4 << 10,
        index: 0,
    };
    /// For the directory: nodes of 1,000 entries, four blocks, 4,000 places.
    pub const DIRECTORY: Self = Self {
        nodes: 8 << 10,
        blocks: 16 << 10,
        index: 16 << 10,
    };
}
