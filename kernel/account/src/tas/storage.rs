//! Trusted storage: what TAs have of it now, what they asked of it, and what lies between them and files.

use crate::inspector::Inspector;
use tally_abi::TeeUuid;
use tally_core::share::Share;
use tally_mem::machine::Machine;
use tally_records::{CacheRow, StorageRow, cache};

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
        let row = match cursor {
            0 => CacheRow {
                cache: cache::OBJECTS,
                limit: Share::OBJECTS.all as u32,
                entries: storage.objects.iter().count() as u32,
                ..CacheRow::default()
            },
            _ => return None,
        };
        Some((row, cursor + 1))
    }
}
