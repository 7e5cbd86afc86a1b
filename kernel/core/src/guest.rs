//! One client machine: everything that it has in the secure world.
//!
//! **Invariant:** nothing of a guest lives outside of its [`Guest`], so dropping it frees it all.
//! **Knows nothing of:** other guests, CPUs, locks.

use crate::image_sizes::ImageSizes;
use crate::instance::Instances;
use crate::marks::Marks;
use crate::session::Sessions;
use crate::shm::ShmTable;
use tally_mem::fallible::HeapExhausted;

/// Most sessions at a time.
pub const MAX_SESSIONS: usize = 128;
/// Most TA instances at a time.
pub const MAX_INSTANCES: usize = 96;
/// Most shared memory objects at a time.
pub const MAX_SHM: usize = 512;
/// Default quota of a TA: pages of 4 KiB for everything that it has, tables included.
pub const DEFAULT_TA_QUOTA_PAGES: u32 = 2560;

/// A client machine.
#[derive(Debug)]
pub struct Guest {
    /// Shared memory.
    pub shm: ShmTable,
    /// Sessions.
    pub sessions: Sessions,
    /// TA instances.
    pub instances: Instances,
    /// How large TAs' images were.
    pub image_sizes: ImageSizes,
    /// Leak marks; blocks carry the number that was last when they were allocated.
    pub marks: Marks,
    /// Counts sessions, so that an id is not used again soon.
    pub session_count: u32,
    /// Counts instances, likewise.
    pub instance_count: u32,
    /// Pages that one TA may have.
    pub ta_quota_pages: u32,
}

impl Guest {
    /// A guest that has nothing yet.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn new() -> Result<Self, HeapExhausted> {
        Ok(Self {
            shm: ShmTable::new(MAX_SHM)?,
            sessions: Sessions::new(MAX_SESSIONS)?,
            instances: Instances::new(MAX_INSTANCES)?,
            image_sizes: ImageSizes::new(),
            marks: Marks::default(),
            session_count: 0,
            instance_count: 0,
            ta_quota_pages: DEFAULT_TA_QUOTA_PAGES,
        })
    }
}
