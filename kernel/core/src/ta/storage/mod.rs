//! Trusted storage of a guest's TAs: its directory, and the objects that are open.
//!
//! Source: optee_os `core/tee/{tee_pobj,tee_ree_fs}.c`.
//!
//! **Invariant:** an object that is open has an entry, which goes with its last handle; the directory is in memory only while
//! somebody has an object open or lists them. Nobody waits for the normal world with the state locked.
//! **Knows nothing of:** what is in files.

pub mod files;
pub mod objects;
pub mod turn;

use crate::call::Call;
use crate::observer::Observer;
use crate::ta::instance::InstanceRef;
use files::Files;
use objects::OpenObject;
use tally_abi::TeeResult;
use tally_mem::fallible::{HeapExhausted, Table, TryBox};
use tally_mem::machine::Machine;
use tally_storage::directory::Directory;
use tally_storage::figures::{Figures, Limits};
use tally_storage::host::StorageError;
use tally_storage::keys::Keys;
use turn::{Shared, Turn};

/// What the caches of an object's file may take between calls: nodes of 512 KiB of data, one block of data.
pub const FILE_LIMITS: Limits = Limits {
    nodes: 8 << 10,
    blocks: 4 << 10,
    index: 0,
};

/// What a system call of a TA's took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageCall {
    /// It did not succeed.
    pub failed: bool,
    /// An object was not what had been written.
    pub corrupt: bool,
    /// Requests to the supplicant.
    pub requests: u32,
    /// Bytes of data read.
    pub read: u64,
    /// Bytes of data written.
    pub written: u64,
    /// Ticks of the system counter, the normal world's included.
    pub ticks: u64,
}

/// What a guest has of it.
#[derive(Debug, Default)]
pub struct Storage {
    /// Objects that are open.
    pub objects: Table<OpenObject>,
    /// How many handles and enumerators need the directory.
    pub users: u32,
    /// Which file an object lies in. Who has the turn has it taken out.
    directory: Option<TryBox<Directory>>,
    directory_turn: Turn,
    /// What the directory's caches do, as of when it was worked with last.
    pub directory_figures: Figures,
    /// What the caches of all files of objects do, as of when each was worked with last.
    pub file_figures: Figures,
    /// Who works on files.
    work_turn: Turn,
}

impl Storage {
    /// One with room for so many open objects.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn new(objects: usize) -> Result<Self, HeapExhausted> {
        Ok(Self {
            objects: Table::new(objects)?,
            directory: Some(TryBox::new(Directory::new())?),
            ..Self::default()
        })
    }
}

impl<'k, M: Machine, O: Observer> Call<'k, M, O> {
    /// Works with the directory, for an instance or for nobody. This call is one of its users.
    ///
    /// # Errors
    /// `BUSY`: the normal world cannot wait; that of `work`.
    pub(crate) fn with_directory<R>(
        &mut self,
        instance: Option<InstanceRef>,
        work: impl FnOnce(&mut Files<'_, 'k, M, O>, &Keys, &mut Directory) -> Result<R, StorageError>,
    ) -> Result<R, StorageError> {
        let mut directory = self.take_directory().map_err(StorageError::Code)?;
        let (kernel, owner) = (self.kernel, self.guest.owner());
        let result = kernel.as_owner(owner, || {
            let mut files = Files::new(self, instance);
            work(&mut files, &kernel.storage, &mut directory)
        });
        self.end_directory(Some(directory));
        result
    }

    #[inline(never)]
    fn take_directory(&mut self) -> Result<TryBox<Directory>, TeeResult> {
        self.take_turn(Shared::Directory)?;
        let mut state = self.kernel.state();
        let storage = &mut state.guest_mut(self.guest).storage;
        storage.directory.take().ok_or(TeeResult::GENERIC)
    }

    #[inline(never)]
    fn end_directory(&mut self, directory: Option<TryBox<Directory>>) {
        {
            let mut state = self.kernel.state();
            let storage = &mut state.guest_mut(self.guest).storage;
            if let Some(directory) = &directory {
                storage.directory_figures = directory.figures();
            }
            storage.directory = directory;
        }
        self.end_turn(Shared::Directory);
    }

    /// Counts one more who needs the directory.
    pub(crate) fn use_directory(&self) {
        let mut state = self.kernel.state();
        state.guest_mut(self.guest).storage.users += 1;
    }

    /// Counts one less; when it was the last, the directory leaves memory.
    #[inline(never)]
    pub(crate) fn leave_directory(&mut self) {
        let mut directory = {
            let mut state = self.kernel.state();
            let storage = &mut state.guest_mut(self.guest).storage;
            storage.users -= 1;
            // Whoever has it now is about to let it go as well.
            if storage.users != 0 || !storage.directory_turn.take(self.thread, 1) {
                storage.directory_turn.stop_waiting(self.thread);
                return;
            }
            storage.directory.take()
        };
        if let Some(directory) = &mut directory {
            directory.close(&mut Files::new(self, None));
        }
        self.end_directory(directory);
    }
}
