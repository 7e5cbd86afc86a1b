//! One client machine: everything that it has in the secure world.

use crate::book::Book;
use crate::call::shm::ShmTable;
use crate::guest_id::GuestId;
use crate::pta::buffers::Buffers;
use crate::refused::{RefusedEntry, SharedTable};
use crate::share::{Asker, Share};
use crate::ta::instance::{Instance, InstanceRef, Instances};
use crate::ta::load::image_sizes::ImageSizes;
use crate::ta::session::{Opener, Sessions};
use crate::ta::storage::Storage;
use tally_abi::TeeUuid;
use tally_mem::fallible::HeapExhausted;

/// Most TA instances at a time.
pub const MAX_INSTANCES: usize = Share::INSTANCES.all;
/// Most shared memory objects at a time.
pub const MAX_SHM: usize = 512;
/// Default quota of a TA: pages of 4 KiB for everything that its instances have, tables included.
pub const DEFAULT_TA_QUOTA_PAGES: u32 = 2560;

/// A client machine.
#[derive(Debug)]
pub struct Guest<O: Book> {
    /// Its name.
    pub id: GuestId,
    /// Shared memory.
    pub shm: ShmTable,
    /// Sessions.
    pub sessions: Sessions,
    /// TA instances.
    pub instances: Instances<O>,
    /// Buffers that pseudo-TAs mapped into TAs.
    pub buffers: Buffers<O::Trace>,
    /// Trusted storage of its TAs.
    pub storage: Storage,
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
            shm: ShmTable::default(),
            sessions: Sessions::default(),
            instances: Instances::absent(id),
            buffers: Buffers::default(),
            storage: Storage::default(),
            image_sizes: ImageSizes::new(),
            book: O::absent(),
            session_count: 0,
            instance_count: 0,
            ta_quota_pages: 0,
        }
    }

    /// Confirms that one more session can be opened.
    ///
    /// # Errors
    /// What is to be told of the refusal.
    pub fn admit_session(&self, opener: Opener, asks: bool) -> Result<(), RefusedEntry> {
        let asker = match opener {
            Opener::Normal if asks => Asker::Operator,
            Opener::Normal => Asker::Client,
            Opener::Ta(instance) => Asker::Ta(self.uuid_of(instance)),
        };
        let share = Share::SESSIONS;
        if self.sessions.bound() < share.ta {
            return Ok(());
        }
        let holders = self
            .sessions
            .iter()
            .map(|(_, session)| match session.opener {
                Opener::Normal => TeeUuid::nil(),
                // Even when it has ended.
                Opener::Ta(_) => session.client,
            });
        share.admit(SharedTable::Sessions, asker, holders)
    }

    /// Confirms that there can be one more instance of a TA.
    ///
    /// # Errors
    /// As [`Self::admit_session`].
    pub fn admit_instance(&self, uuid: TeeUuid) -> Result<(), RefusedEntry> {
        let holders = self.instances.iter().map(|(_, found)| found.uuid);
        Share::INSTANCES.admit(SharedTable::Instances, Asker::Ta(uuid), holders)
    }

    /// Confirms that an instance can open one more channel.
    ///
    /// # Errors
    /// As [`Self::admit_session`].
    pub fn admit_channel(&self, instance: InstanceRef) -> Result<(), RefusedEntry> {
        let channels = self.buffers.channels().iter();
        let holders = channels.map(|channel| self.uuid_of(channel.instance));
        let asker = Asker::Ta(self.uuid_of(instance));
        Share::CHANNELS.admit(SharedTable::Channels, asker, holders)
    }

    /// Confirms that one more buffer can be mapped into an instance.
    ///
    /// # Errors
    /// As [`Self::admit_session`].
    pub fn admit_buffer(&self, instance: InstanceRef) -> Result<(), RefusedEntry> {
        let mappings = self.buffers.mappings().iter();
        let holders = mappings.map(|mapping| self.uuid_of(mapping.instance));
        let asker = Asker::Ta(self.uuid_of(instance));
        Share::BUFFERS.admit(SharedTable::Buffers, asker, holders)
    }

    /// An instance's TA; nil if it ended.
    fn uuid_of(&self, instance: InstanceRef) -> TeeUuid {
        let found = self.instances.at(instance);
        found.map(|found| found.uuid).unwrap_or_default()
    }

    /// An instance that is about to get more pages: what other instances of its TA have is off its quota.
    pub fn to_grow(&mut self, instance: InstanceRef) -> Option<&mut Instance<O>> {
        self.share_quota(instance);
        self.instances.at_mut(instance)
    }

    /// Takes what other instances of its TA have off an instance's quota, as it is now.
    pub fn share_quota(&mut self, instance: InstanceRef) -> Option<()> {
        let by_others = self.charged_to_others(instance)?;
        let found = self.instances.at_mut(instance)?;
        found.space.as_mut()?.share_quota(by_others);
        Some(())
    }

    /// Pages that other instances of its TA are charged for.
    pub fn charged_to_others(&self, instance: InstanceRef) -> Option<u32> {
        let uuid = self.instances.at(instance)?.uuid;
        let others = self.instances.named();
        let others = others.filter(|(name, found)| found.uuid == uuid && *name != instance);
        Some(others.map(|(_, found)| found.charged_pages()).sum())
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
        self.sessions = Sessions::new(Share::SESSIONS.all)?;
        self.instances = Instances::new(self.id, MAX_INSTANCES)?;
        self.buffers = Buffers::new()?;
        self.storage = Storage::new(Share::OBJECTS.all)?;
        self.ta_quota_pages = DEFAULT_TA_QUOTA_PAGES;
        Ok(())
    }
}
