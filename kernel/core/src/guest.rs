//! One client machine: everything that it has in the secure world.

use crate::book::Book;
use crate::call::shm::ShmTable;
use crate::guest_id::GuestId;
use crate::owners::OwnerTable;
use crate::pta::buffers::Buffers;
use crate::ta::instance::Instances;
use crate::ta::load::image_sizes::ImageSizes;
use crate::ta::session::Sessions;
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
pub struct Guest<O: Book> {
    /// Its name.
    pub id: GuestId,
    /// Names of owners.
    pub owners: OwnerTable,
    /// Shared memory.
    pub shm: ShmTable,
    /// Sessions.
    pub sessions: Sessions,
    /// TA instances.
    pub instances: Instances<O>,
    /// Buffers that pseudo-TAs mapped into TAs.
    pub buffers: Buffers<O::Trace>,
    /// How large TAs' images were.
    pub image_sizes: ImageSizes,
    /// The account.
    pub book: O,
    /// Counts sessions, so that an id is not used again soon.
    pub session_count: u32,
    /// Counts instances, likewise.
    pub instance_count: u32,
    /// Pages that one TA may have.
    pub ta_quota_pages: u32,
}

impl<O: Book> Guest<O> {
    /// A guest that is not there: it has no memory, and no room for anything.
    #[must_use]
    #[inline(never)]
    pub fn absent(id: GuestId) -> Self {
        Self {
            id,
            owners: OwnerTable::new(),
            shm: ShmTable::default(),
            sessions: Sessions::default(),
            instances: Instances::absent(id),
            buffers: Buffers::default(),
            image_sizes: ImageSizes::new(),
            book: O::absent(),
            session_count: 0,
            instance_count: 0,
            ta_quota_pages: 0,
        }
    }

    /// Whether it is not there.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        self.ta_quota_pages == 0
    }

    /// Takes the memory that an absent guest's own tables need, the book apart.
    ///
    /// # Errors
    /// [`HeapExhausted`]; then it is to be made anew.
    pub fn begin(&mut self) -> Result<(), HeapExhausted> {
        self.shm = ShmTable::new(MAX_SHM)?;
        self.sessions = Sessions::new(MAX_SESSIONS)?;
        self.instances = Instances::new(self.id, MAX_INSTANCES)?;
        self.buffers = Buffers::new()?;
        self.ta_quota_pages = DEFAULT_TA_QUOTA_PAGES;
        Ok(())
    }
}
