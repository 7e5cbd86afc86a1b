//! Every row of the account, once: its layout, and the words for its codes.
//!
//! **Invariant:** little-endian, no implicit padding, and fields are only appended: a reader takes a longer record by its
//! beginning, and what a shorter one does not have is zero.
#![no_std]
#![forbid(unsafe_code)]

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
mod site;
pub mod snapshot;
mod ta;
mod watchpoint;

pub use audit::{EventRow, HeldRow, Stack, Who, event, held};
pub use block::{BlockRow, ChunkRow, ClassRow, chunk_kind, class_kind, damage};
pub use command::CommandRow;
pub use failure::{FailureRow, TopSite, failed_pool};
pub use history::{HistoryRow, UnfreedRow};
pub use leak::{LATE_SCAN, LeakRecord, ScanRow, SuspectRow};
pub use mark::{EndedRow, MarkRow, ended};
pub use meminfo::MeminfoRow;
pub use owner::{OwnerRow, owner_kind};
pub use pool::{PoolStats, consistency, strategy, tracking};
pub use region::{RegionRow, prot};
pub use site::SiteRow;
pub use ta::{SessionRow, TaDetail, cause, state};
pub use watchpoint::{SnapshotRow, snapshot_state, trigger};
