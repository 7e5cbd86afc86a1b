//! Heaps as questions about leaks see them: the kernel's and those of TAs, in one form, in steps.
//!
//! **Invariant:** what one function does is bounded, and it holds locks only for itself; a heap may
//! change or go between two steps.

use crate::book::Book;
use crate::heaps::c_heap;
use crate::heaps::pools::HeapRef;
use crate::heaps::question::{Course, Question};
use crate::heaps::ta_heap::{self, HeapError};
use crate::inspector::Inspector;
use crate::kinds::wire_kind;
use alloc::vec::Vec;
use tally_abi::TeeResult;
use tally_abi::pta::MAX_FRAMES;
use tally_core::guest::Guest;
use tally_core::ta::instance::Instance;
use tally_ledger::{Block, SiteId};
use tally_mem::fallible::{HeapExhausted, try_push};
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;
use tally_mem::text::label;
use tally_records::LeakRecord;
use tally_records::owner_kind;

/// Blocks that one step looks at.
pub(crate) const BATCH: usize = 32;
/// Blocks of a step that are taken in before others have their turn: each may be compared with all groups.
const FEW: usize = 4;
/// Most groups of one heap that are told apart.
const MAX_GROUPS: usize = 512;

/// Why a walk ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Because of the heap.
    Heap(HeapError),
    /// Because of whoever walks.
    Error(TeeResult),
}

impl From<HeapError> for Stop {
    fn from(error: HeapError) -> Self {
        Self::Heap(error)
    }
}

impl From<TeeResult> for Stop {
    fn from(error: TeeResult) -> Self {
        Self::Error(error)
    }
}

impl From<HeapExhausted> for Stop {
    fn from(error: HeapExhausted) -> Self {
        Self::Error(error.into())
    }
}

/// A heap that goes or makes no sense just has no more blocks for who lists them; its figures say
/// what is wrong.
pub(crate) fn to_the_end(walked: Result<(), Stop>) -> Result<(), TeeResult> {
    match walked {
        Ok(()) | Err(Stop::Heap(HeapError::Gone | HeapError::Inconsistent)) => Ok(()),
        Err(Stop::Error(error)) => Err(error),
    }
}

/// Some blocks of a heap, in the order of their addresses.
#[derive(Debug)]
struct Batch {
    /// The blocks.
    blocks: [Block; BATCH],
    /// How many there are.
    count: usize,
    /// Where to go on; `None` after the last.
    next: Option<u64>,
}

/// Live blocks of one owner and one call stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub owner: OwnerId,
    pub site: SiteId,
    /// The last mark that was set by then.
    pub mark: u16,
    pub blocks: u32,
    /// Size of each, or 0 if they differ.
    pub block_size: u32,
    pub bytes: u64,
    /// Smallest of what the asker tells blocks apart by.
    pub tag: u8,
}

/// Groups of one heap.
#[derive(Debug, Default)]
pub(crate) struct Groups(Vec<Group>);

impl Groups {
    /// Counts a block. When there are too many groups, it goes to one of another mark, or to the last one, which
    /// has no call stack.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(crate) fn add(&mut self, block: &Block, mark: u16, tag: u8) -> Result<(), TeeResult> {
        let (mut owner, mut site) = (OwnerId(block.owner.0), block.site);
        let find = |groups: &[Group], owner, site, mark: Option<u16>| {
            groups.iter().position(|group| {
                let same_mark = mark.is_none_or(|mark| group.mark == mark);
                group.owner == owner && group.site == site && same_mark
            })
        };
        let mut at = find(&self.0, owner, site, Some(mark));
        if at.is_none() && self.0.len() >= MAX_GROUPS - 1 {
            at = find(&self.0, owner, site, None);
        }
        if at.is_none() && self.0.len() >= MAX_GROUPS - 1 {
            (owner, site) = (OwnerId::KERNEL, SiteId(0));
            at = find(&self.0, owner, site, None);
        }
        let size = u32::try_from(block.size).unwrap_or(u32::MAX);
        match at.and_then(|at| self.0.get_mut(at)) {
            Some(group) => {
                if group.block_size != size {
                    group.block_size = 0;
                }
                group.blocks += 1;
                group.bytes += block.size as u64;
                group.tag = group.tag.min(tag);
            }
            None => try_push(
                &mut self.0,
                Group {
                    owner,
                    site,
                    mark,
                    blocks: 1,
                    block_size: size,
                    bytes: block.size as u64,
                    tag,
                },
            )?,
        }
        Ok(())
    }

    /// The groups, biggest first.
    pub(crate) fn sorted(&mut self) -> &[Group] {
        self.0
            .sort_unstable_by(|a, b| b.bytes.cmp(&a.bytes).then(a.site.cmp(&b.site)));
        &self.0
    }
}

impl<M: Machine> Inspector<'_, M> {
    /// The next blocks of a heap. What the question itself takes is left out; the mark of a TA's
    /// block is at least the mark that was last when its heap began.
    ///
    /// # Errors
    /// [`HeapError`]. The batch may have anything in it then.
    fn heap_blocks(
        &self,
        heap: HeapRef,
        course: &mut Course,
        batch: &mut Batch,
    ) -> Result<(), HeapError> {
        let cursor = course.at;
        batch.count = 0;
        match heap {
            HeapRef::Kernel => {
                let (count, next) = self
                    .heap()
                    .blocks(cursor, &mut batch.blocks)
                    .map_err(|_| HeapError::Inconsistent)?;
                batch.next = next;
                let state = self.state();
                for n in 0..count {
                    let block = batch.blocks[n];
                    if !self.is_of_calls(&state, &block) {
                        batch.blocks[batch.count] = block;
                        batch.count += 1;
                    }
                }
            }
            HeapRef::Ta(instance) => {
                let state = self.state();
                let found = state.instance(instance).ok_or(HeapError::Gone)?;
                let (Some(space), Some(base)) = (&found.space, found.heap) else {
                    let mut question = Question::Blocks(&mut batch.blocks);
                    let step = c_heap::ask(&self.machine, found, course, &mut question);
                    let step = step.map_err(|_| HeapError::Inconsistent)?;
                    (batch.count, batch.next) = (step.count, (step.next != 0).then_some(step.next));
                    for block in &mut batch.blocks[..step.count] {
                        block.mark = found.notes.heap_mark;
                    }
                    return Ok(());
                };
                let view = ta_heap::open(&self.machine, space, base)?;
                (batch.count, batch.next) = ta_heap::blocks(&view, cursor, &mut batch.blocks)?;
                for block in &mut batch.blocks[..batch.count] {
                    block.mark = block.mark.max(found.notes.heap_mark);
                }
            }
        }
        Ok(())
    }

    /// Takes in every live block of a heap, in steps.
    pub(crate) fn each_block(
        &self,
        heap: HeapRef,
        mut take: impl FnMut(&Block) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut batch = Batch {
            blocks: [Block::default(); BATCH],
            count: 0,
            next: None,
        };
        let (mut course, mut cursor) = (Course::default(), Some(0));
        while let Some(at) = cursor {
            course.at = at;
            self.heap_blocks(heap, &mut course, &mut batch)?;
            for few in batch.blocks[..batch.count].chunks(FEW) {
                for block in few {
                    take(block)?;
                }
                // What waited for us has its turn.
                self.breathe();
            }
            cursor = batch.next;
            self.breathe();
        }
        Ok(())
    }

    /// A group of a heap as clients get it.
    pub(crate) fn dress(&self, heap: HeapRef, group: &Group) -> LeakRecord {
        let state = self.state();
        let mut record = LeakRecord {
            bytes: group.bytes,
            blocks: group.blocks,
            block_size: group.block_size,
            mark: group.mark.into(),
            ..LeakRecord::default()
        };
        match heap {
            HeapRef::Kernel => {
                record.frames = self.heap().frames(group.site);
                if let Some(name) = self.owners().name(group.owner) {
                    (record.owner_kind, record.session) = wire_kind(name.kind);
                    record.owner = name.uuid;
                    record.label = name.label.field();
                }
            }
            HeapRef::Ta(instance) => {
                if let Some(found) = state.instance(instance) {
                    record.image = found.uuid;
                    record.owner = found.uuid;
                    record.frames = self.ta_frames(found, group.site);
                }
                record.session = session_of(state.guest(self.guest), group.owner);
                record.owner_kind = if record.session == 0 {
                    owner_kind::TA
                } else {
                    owner_kind::SESSION
                };
                record.label = label("ta");
            }
        }
        record
    }

    fn ta_frames(&self, found: &Instance<Book>, site: SiteId) -> [u64; MAX_FRAMES] {
        let (Some(space), Some(base)) = (&found.space, found.heap) else {
            return [0; MAX_FRAMES];
        };
        let view = ta_heap::open(&self.machine, space, base);
        let frames = view.ok().and_then(|view| view.frames(site).ok());
        // Addresses outside of the image say nothing to anybody.
        frames.map_or([0; MAX_FRAMES], |frames| {
            frames.map(|frame| found.image_offset(frame).unwrap_or(0))
        })
    }
}

/// A TA's own owners are the ids of its sessions, cut to 16 bits; 0 is the TA itself.
fn session_of(guest: &Guest<Book>, owner: OwnerId) -> u32 {
    if owner == OwnerId::KERNEL {
        return 0;
    }
    let mut sessions = guest.sessions.iter();
    let found = sessions.find(|(_, session)| session.id as u16 == owner.0);
    found.map_or(0, |(_, session)| session.id)
}
