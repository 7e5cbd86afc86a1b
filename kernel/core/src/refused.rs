//! Refusals of what all share: noted where they happen, told once the state is unlocked.
//!
//! **Invariant:** the figures are those of the refusal, taken before anything is undone.

use crate::book::Book;
use crate::kernel::State;
use tally_abi::TeeUuid;
use tally_abi::image::ImageFault;
use tally_mem::owner::OwnerId;
use tally_mem::refused::RefusedPages;

/// Something that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Pages.
    Pages(RefusedPages),
    /// An entry of a table.
    Entry(RefusedEntry),
    /// A TA's image.
    Image(RefusedImage),
}

/// CPUs at most: from the unlocking of the state to the telling nobody is suspended, so each has one thread there.
const CPUS: usize = 8;
/// Refusals set aside at a time, until those who had locked the state have told them: one of pages and one more.
const ASIDE: usize = 2 * CPUS;

/// What was refused since the state was locked, and what is about to be told.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    latest: Option<Refused>,
    /// With the threads that tell it.
    aside: [Option<(usize, Refused)>; ASIDE],
}

impl Refusals {
    /// Puts what was refused where its thread finds it.
    pub(crate) fn set_aside(&mut self, thread: usize, pages: Option<RefusedPages>) {
        for refused in [pages.map(Refused::Pages), self.latest.take()]
            .into_iter()
            .flatten()
        {
            let free = self.aside.iter().position(Option::is_none).unwrap_or(0);
            self.aside[free] = Some((thread, refused));
        }
    }

    /// The next one of a thread.
    pub(crate) fn take(&mut self, thread: usize) -> Option<Refused> {
        let mut aside = self.aside.iter_mut();
        let own = aside.find(|told| matches!(told, Some((by, _)) if *by == thread));
        own?.take().map(|(_, refused)| refused)
    }
}

impl<O: Book> State<O> {
    /// Notes a refusal, to be told once the state is unlocked.
    #[cold]
    pub fn refuse(&mut self, refused: Refused) {
        self.refusals.latest = Some(refused);
        self.pages.raise();
    }
}

/// A table that all share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedTable {
    /// Sessions.
    Sessions,
    /// TA instances.
    Instances,
    /// Shared memory.
    SharedMemory,
    /// Runs of adjacent pages of all shared memory.
    PageRuns,
    /// Pages of one piece of shared memory.
    SharedPages,
    /// Channels of pseudo-TAs' buffers.
    Channels,
    /// Pseudo-TAs' buffers.
    Buffers,
    /// Objects of trusted storage that are open.
    Objects,
}

/// A refused entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedEntry {
    /// Which table.
    pub table: SharedTable,
    /// Who asked: a TA, or nil for the normal world.
    pub asker: TeeUuid,
    /// Entries asked for.
    pub wanted: u32,
    /// Entries in use of what the asker may use.
    pub used: u32,
    /// Entries that the asker may use.
    pub size: u32,
    /// Who has most of the table: a TA, or nil for the normal world.
    pub holder: TeeUuid,
    /// Entries that it has.
    pub held: u32,
}

/// A refused image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedImage {
    /// Bytes, as far as they are known.
    pub size: u64,
    /// What is wrong with it.
    pub why: ImageFault,
    /// Whom it was charged to.
    pub owner: OwnerId,
}
