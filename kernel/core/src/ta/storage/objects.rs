//! Objects of trusted storage that are open: what their handles share.
//!
//! Source: optee_os `core/tee/tee_pobj.c`.

use super::turn::Turn;
use crate::book::Book;
use crate::guest::Guest;
use crate::guest_id::GuestId;
use crate::kernel::State;
use crate::refused::{Refused, SharedTable};
use crate::share::{Asker, Share};
use tally_abi::storage::data_flag;
use tally_abi::{TeeResult, TeeUuid};
use tally_storage::directory::ObjectId;
use tally_storage::figures::Figures;
use tally_storage::file::File;

/// An object that is open.
#[derive(Debug)]
pub struct OpenObject {
    /// Whose it is.
    pub uuid: TeeUuid,
    /// Its name.
    pub id: ObjectId,
    /// What it was opened with first ([`data_flag`]).
    pub flags: u32,
    /// Its handles, and calls that look at it.
    handles: u32,
    /// It is being made.
    pub is_creating: bool,
    /// What its key may be used for.
    pub usage: u32,
    /// Bytes of data.
    pub data_bytes: u64,
    /// Which state of its file it is: whoever has another one in memory is to open it again.
    pub version: u32,
    /// Who works with its file.
    pub turn: Turn,
}

impl OpenObject {
    /// Its handles, and calls that look at it.
    #[must_use]
    pub const fn handles(&self) -> u32 {
        self.handles
    }
}

/// What an object is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// To open it.
    Open,
    /// To make it.
    Create,
    /// To keep its name from others.
    Rename,
    /// To look at it, whatever others do.
    Look,
}

/// A persistent object's handle, as far as it is in storage.
#[derive(Debug)]
pub struct Handle {
    /// Slot of its [`OpenObject`].
    pub at: usize,
    /// What it was opened with ([`data_flag`]).
    pub flags: u32,
    /// Where reading and writing go on, in bytes of data.
    pub position: u64,
    /// Bytes before the data.
    pub data_start: u64,
    /// Its file, as long as it is in memory, and which version it is.
    pub file: Option<(File, u32)>,
    /// What of its caches is in the sum of all.
    pub told: Figures,
}

impl Handle {
    /// Bytes of the heap that it takes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let file = self.file.as_ref();
        size_of::<Self>() + file.map_or(0, |(file, _)| file.heap_bytes())
    }
}

/// Confirms that an object that is open with some flags may be opened with others.
const fn check_sharing(old: u32, new: u32) -> Result<(), TeeResult> {
    let (either, both) = (old | new, old & new);
    let conflicts = either & data_flag::ACCESS_WRITE_META != 0
        || either & data_flag::ACCESS_READ != 0 && both & data_flag::SHARE_READ == 0
        || either & data_flag::ACCESS_WRITE != 0 && both & data_flag::SHARE_WRITE == 0
        || (old ^ new) & (data_flag::SHARE_READ | data_flag::SHARE_WRITE) != 0;
    if conflicts {
        Err(TeeResult::ACCESS_CONFLICT)
    } else {
        Ok(())
    }
}

impl<O: Book> Guest<O> {
    /// Slot of an object that is open.
    fn find_object(&self, uuid: TeeUuid, id: &ObjectId) -> Option<usize> {
        let mut all = self.storage.objects.iter();
        let found = all.find(|(_, open)| open.uuid == uuid && open.id == *id);
        found.map(|(at, _)| at)
    }
}

impl<O: Book> State<O> {
    /// Takes an object into use. Its slot, to be given back by [`Self::leave_object`].
    ///
    /// # Errors
    /// `ACCESS_CONFLICT`; `OUT_OF_MEMORY`.
    pub(crate) fn use_object(
        &mut self,
        guest: GuestId,
        uuid: TeeUuid,
        id: &ObjectId,
        flags: u32,
        want: Want,
    ) -> Result<usize, TeeResult> {
        let of = self.guest_mut(guest);
        let at = match of.find_object(uuid, id) {
            Some(at) => {
                let open = of.storage.objects.get_mut(at);
                let open = open.ok_or(TeeResult::GENERIC)?;
                if want != Want::Look {
                    let replaces = flags & data_flag::OVERWRITE != 0;
                    if open.is_creating || want == Want::Create && !replaces {
                        return Err(TeeResult::ACCESS_CONFLICT);
                    }
                    check_sharing(open.flags, flags)?;
                }
                open.handles += 1;
                at
            }
            None => {
                let holders = of.storage.objects.iter().map(|(_, open)| open.uuid);
                let admitted = Share::OBJECTS.admit(SharedTable::Objects, Asker::Ta(uuid), holders);
                if let Err(entry) = admitted {
                    self.refuse(Refused::Entry(entry));
                    return Err(TeeResult::OUT_OF_MEMORY);
                }
                let objects = &mut self.guest_mut(guest).storage.objects;
                objects.insert(OpenObject {
                    uuid,
                    id: *id,
                    flags,
                    handles: 1,
                    is_creating: want == Want::Create,
                    usage: 0,
                    data_bytes: 0,
                    version: 0,
                    turn: Turn::default(),
                })?
            }
        };
        self.guest_mut(guest).storage.users += 1;
        Ok(at)
    }

    /// Gives an object back; with the last handle its entry goes. Its user of the directory is still counted.
    pub(crate) fn leave_object(&mut self, guest: GuestId, at: usize) {
        let objects = &mut self.guest_mut(guest).storage.objects;
        let last = objects.get_mut(at).is_some_and(|open| {
            open.handles -= 1;
            open.handles == 0
        });
        if last {
            objects.remove(at);
        }
    }

    /// An open object.
    pub(crate) fn object_mut(
        &mut self,
        guest: GuestId,
        at: usize,
    ) -> Result<&mut OpenObject, TeeResult> {
        let objects = &mut self.guest_mut(guest).storage.objects;
        objects.get_mut(at).ok_or(TeeResult::BAD_STATE)
    }
}
