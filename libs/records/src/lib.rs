//! Every record of the account, once: its layout, its field table, the words for its codes.
//!
//! JSON, metrics, columns, the schema and the sections of snapshots come from the tables. A new
//! field is a line of [`record!`] and the place that fills it.
//!
//! **Invariant:** little-endian, no implicit padding, and fields are only appended: a reader takes
//! a longer record by its beginning, and what a shorter one does not have is zero.
#![no_std]
#![forbid(unsafe_code)]

use tally_abi::pta::stats::AllocStats;

mod audit;
mod block;
mod command;
mod failure;
mod history;
mod leak;
mod mark;
mod meminfo;
mod owner;
mod pool;
mod region;
mod selector;
mod site;
pub mod snapshot;
mod storage;
mod ta;
mod table;
mod watchpoint;

pub use audit::{EventRow, HeldRow, Stack, Who, event, held, login};
pub use block::{BlockRow, ChunkRow, ClassRow, chunk_kind, class_kind, damage};
pub use command::CommandRow;
pub use failure::{FailureRow, TopSite, failed_pool, limit};
pub use history::{HistoryRow, UnfreedRow};
pub use leak::{LATE_SCAN, LeakRecord, ScanRow, SuspectRow};
pub use mark::{EndedRow, MarkRow, ended};
pub use meminfo::MeminfoRow;
pub use owner::{OwnerRow, owner_kind};
pub use pool::{PoolRow, PoolStats, consistency, fragmentation, pool_kind, strategy, tracking};
pub use region::{RegionRow, prot};
pub use selector::{Selector, part};
pub use site::SiteRow;
pub use storage::{CacheRow, StorageRow, cache};
pub use ta::{SessionRow, TaDetail, cause, declared_heap, function, opener, state};
pub use table::{
    Described, Field, Figure, Frames, List, Origin, Placed, Record, Row, Rows, Shape, Table, Unit,
    Value, Word, Words, value, word,
};
pub use watchpoint::{SnapshotRow, snapshot_state, trigger};

/// Gives `$then` all sections of a snapshot: `FIELD: RECORD,` each, in their order.
#[macro_export]
macro_rules! snapshot_sections {
    ($($then:tt)+) => {
        $($then)+! {
            meminfo: $crate::MeminfoRow,
            pools: $crate::PoolRow,
            owners: $crate::OwnerRow,
            tas: $crate::TaDetail,
            regions: $crate::RegionRow,
            sites: $crate::SiteRow,
            live: $crate::LeakRecord,
            classes: $crate::ClassRow,
            commands: $crate::CommandRow,
            failures: $crate::FailureRow,
            history: $crate::HistoryRow,
            unfreed: $crate::UnfreedRow,
            caches: $crate::CacheRow,
            storage: $crate::StorageRow,
        }
    };
}

macro_rules! tables {
    ($($field:ident: $record:ty,)*) => {
        &[
            $(<$record as Described>::TABLE,)*
            <snapshot::Header as Described>::TABLE,
            <PoolStats as Described>::TABLE,
            <AllocStats as Described>::TABLE,
            <SessionRow as Described>::TABLE,
            <BlockRow as Described>::TABLE,
            <ChunkRow as Described>::TABLE,
            <TopSite as Described>::TABLE,
            <MarkRow as Described>::TABLE,
            <EndedRow as Described>::TABLE,
            <ScanRow as Described>::TABLE,
            <SuspectRow as Described>::TABLE,
            <HeldRow as Described>::TABLE,
            <EventRow as Described>::TABLE,
            <Who as Described>::TABLE,
            <SnapshotRow as Described>::TABLE,
        ]
    };
}

/// The tables of all records, those of a snapshot's sections first.
pub const TABLES: &[&Table] = snapshot_sections!(tables);

/// What the section of this number holds.
#[must_use]
pub fn section_name(section: u32) -> &'static str {
    let found = TABLES
        .iter()
        .find(|table| section != 0 && table.section == section);
    found.map_or("unknown", |table| table.list)
}

#[cfg(test)]
mod tests;
