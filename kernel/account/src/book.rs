//! The book: everything that is kept of a guest to tell of it later.

use crate::api::Entry;
use crate::heaps::kernel_heap::HeapBooks;
use crate::heaps::maxima::Maxima;
use crate::leaks::findings::Scans;
use crate::leaks::marks::Marks;
use crate::past::commands::Commands;
use crate::past::history::History;
use crate::past::remains::Remains;
use crate::past::stored::Stored;
use crate::past::unfreed_sites::UnfreedSites;
use crate::past::wrong_orders::{StackId, WrongOrders};
use crate::snapshot::keep::Snapshots;
use core::fmt;
use tally_abi::shdr::BuildId;
use tally_core::book;
use tally_mem::fallible::HeapExhausted;
use tally_mem::text::TextBuffer;
use tally_records::Who;

/// What of the secure world's memory the normal world may see, besides figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Virtual and physical addresses; offsets are always shown.
    pub addresses: bool,
    /// What is in blocks of heaps.
    pub contents: bool,
}

/// What is fixed when the kernel is built.
pub struct Shared {
    /// The kernel heap.
    pub heap: &'static dyn HeapBooks,
    /// What the normal world may see.
    pub shown: Shown,
    /// The linked image's, in snapshots.
    pub build: BuildId,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

/// A report of a refused allocation, of at most 2 KiB.
pub type Report = TextBuffer<2048>;

/// The account of a guest.
#[derive(Debug)]
pub struct Book {
    /// Leak marks, and what ended since; blocks carry the number that was last when they were allocated.
    pub marks: Marks,
    /// What TAs used that have ended.
    pub history: History,
    /// What they had not freed, by call site.
    pub unfreed: UnfreedSites,
    /// What was done in the wrong order.
    pub orders: WrongOrders,
    /// What TAs' commands cost.
    pub commands: Commands,
    /// What TAs asked of trusted storage.
    pub stored: Stored,
    /// Snapshots and watchpoints.
    pub snapshots: Snapshots,
    /// The last refusal of a TA's allocation.
    pub last_oom: Report,
    /// Scans of the kernel heap.
    pub scans: Scans,
    /// Tells this boot from others, once somebody asked; else 0.
    pub(crate) boot: u64,
}

/// What is kept of a TA instance.
#[derive(Debug)]
pub struct Notes {
    /// Mark that was last when it was created.
    pub birth_mark: u16,
    /// Mark that was last when its heap got its first pages.
    pub heap_mark: u16,
    /// Scans of its heap.
    pub scans: Scans,
    /// What is known of its heap and stack beyond what lies there.
    pub maxima: Maxima,
    /// What is left of it, once it died.
    pub remains: Option<Remains>,
}

/// Where a TA stood, and who it was.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    /// Who.
    pub who: Who,
    /// Where.
    pub stack: StackId,
    /// Milliseconds since boot.
    pub at_ms: u64,
}

impl book::Book for Book {
    type Notes = Notes;
    type Trace = Trace;
    type Entry = Entry;
    type Shared = Shared;

    fn absent() -> Self {
        Self {
            marks: Marks::default(),
            history: History::new(),
            unfreed: UnfreedSites::default(),
            orders: WrongOrders::default(),
            commands: Commands::default(),
            stored: Stored::EMPTY,
            snapshots: Snapshots::default(),
            last_oom: Report::EMPTY,
            scans: Scans::default(),
            boot: 0,
        }
    }

    fn begin(&mut self) -> Result<(), HeapExhausted> {
        self.unfreed = UnfreedSites::new()?;
        self.orders = WrongOrders::new()?;
        self.commands = Commands::new()?;
        Ok(())
    }

    fn notes(&self) -> Notes {
        let mark = self.marks.last();
        Notes {
            birth_mark: mark,
            heap_mark: mark,
            scans: Scans::default(),
            maxima: Maxima::NEW,
            remains: None,
        }
    }
}
