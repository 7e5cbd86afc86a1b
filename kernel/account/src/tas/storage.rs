//! Trusted storage: what TAs have of it now, what they asked of it, and what lies between them and files.

use crate::inspector::Inspector;
use tally_abi::TeeUuid;
use tally_core::ta::storage::FILE_LIMITS;
use tally_mem::machine::Machine;
use tally_records::{CacheRow, StorageRow, cache};
use tally_storage::figures::{Cache, Limits};

/// Bytes of a block of data in memory.
const BLOCK: usize = 4096;
/// Bytes of a block of nodes.
const NODES: usize = 2046;
/// Bytes of a place in the index.
const PLACE: usize = 4;

impl<M: Machine> Inspector<'_, M> {
    /// The next TA that has asked for something, and where to go on.
    pub(crate) fn next_stored(&self, cursor: u64) -> Option<(StorageRow, u64)> {
        let state = self.state();
        let guest = state.guest(self.guest);
        let (mut row, next) = guest.book.stored.next(cursor)?;
        if row.uuid != TeeUuid::nil() {
            let open = guest.storage.objects.iter();
            for (_, object) in open.filter(|(_, object)| object.uuid == row.uuid) {
                row.objects += 1;
                row.handles += object.handles();
            }
            let instances = guest.instances.iter();
            let own = instances.filter(|(_, found)| found.uuid == row.uuid);
            let holdings = own.filter_map(|(_, found)| found.holdings());
            row.bytes = holdings.map(|held| held.stored_bytes() as u64).sum();
        }
        Some((row, next))
    }

    /// The next cache, and where to go on.
    pub(crate) fn next_cache(&self, cursor: u64) -> Option<(CacheRow, u64)> {
        let state = self.state();
        let storage = &state.guest(self.guest).storage;
        let (files, directory) = (&storage.file_figures, &storage.directory_figures);
        let limit = |bytes: usize, each: usize| (bytes / each) as u32;
        let (file, whole) = (FILE_LIMITS, Limits::DIRECTORY);
        let row = match cursor {
            0 => row(cache::BLOCKS, limit(file.blocks, BLOCK), &files.blocks),
            1 => row(cache::NODES, limit(file.nodes, NODES), &files.nodes),
            2 => row(
                cache::DIRECTORY_BLOCKS,
                limit(whole.blocks, BLOCK),
                &directory.blocks,
            ),
            3 => row(
                cache::DIRECTORY_NODES,
                limit(whole.nodes, NODES),
                &directory.nodes,
            ),
            4 => row(cache::INDEX, limit(whole.index, PLACE), &directory.index),
            _ => return None,
        };
        Some((row, cursor + 1))
    }
}

/// A cache, of which each file has one.
fn row(code: u32, limit: u32, cache: &Cache) -> CacheRow {
    CacheRow {
        cache: code,
        limit,
        entries: u32::try_from(cache.entries).unwrap_or(u32::MAX),
        bytes: cache.bytes,
        bytes_max: cache.peak_bytes,
        hits: cache.hits,
        misses: cache.misses,
        evicted: cache.evictions,
        ..CacheRow::default()
    }
}
