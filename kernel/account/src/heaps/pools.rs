//! Asking a pool, the kernel's or a TA's, in steps of bounded work.
//!
//! **Invariant:** the state is locked, and the heap is, for one step at a time; what is told of a pool that
//! changes between two steps was so at the time of some step.

use crate::book::Book;
use crate::heaps::ta_heap;
use crate::inspector::Inspector;
use crate::which::{Which, instance_from};
use tally_abi::TeeResult;
use tally_core::kernel::State;
use tally_core::ta::instance::{Instance, InstanceRef, Life};
use tally_ledger::view::{Inconsistent, Reader, View};
use tally_ledger::{Block, Chunk, ClassFigures, Damage, Overrun, SiteInfo, Stats};
use tally_mem::machine::Machine;

/// A question, and where the answer goes.
#[derive(Debug)]
pub enum Question<'a> {
    /// Call sites in use; their frames become offsets in the image.
    Sites(&'a mut [SiteInfo]),
    /// Live blocks.
    Blocks(&'a mut [Block]),
    /// Everything that the pool consists of.
    Chunks(&'a mut [Chunk]),
    /// The class whose number is the cursor.
    Class(&'a mut Option<ClassFigures>),
    /// Whether the tables are sound.
    Check,
    /// Live blocks past whose end somebody wrote.
    Overruns(&'a mut [Overrun]),
    /// The live block that has the byte whose offset is the cursor.
    BlockAt(&'a mut Option<Block>),
    /// The bytes from the offset that is the cursor on.
    Bytes(&'a mut [u8]),
    /// What header and call sites say.
    Figures(&'a mut Stats),
}

/// How far a step came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// How many items the answer has.
    pub count: usize,
    /// Where the next step goes on, 0 at the end.
    pub next: u64,
}

/// Why a pool does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// No such TA is loaded.
    NotLoaded,
    /// The TA is dead, and its heap is freed.
    Dead,
    /// Its books make no sense.
    Inconsistent,
    /// Its tables are not sound.
    Damaged(Damage),
}

impl From<Inconsistent> for PoolError {
    fn from(_: Inconsistent) -> Self {
        Self::Inconsistent
    }
}

impl From<PoolError> for TeeResult {
    fn from(err: PoolError) -> Self {
        match err {
            PoolError::NotLoaded => Self::ITEM_NOT_FOUND,
            PoolError::Dead => Self::TARGET_DEAD,
            PoolError::Inconsistent | PoolError::Damaged(_) => Self::CORRUPT_OBJECT,
        }
    }
}

/// Answers from a view of the pool. `image`: an address as an offset in the image that allocated.
///
/// # Errors
/// [`PoolError`].
pub fn answer<R: Reader>(
    view: &View<R>,
    cursor: u64,
    question: &mut Question<'_>,
    image: impl Fn(u64) -> Option<u64>,
) -> Result<Step, PoolError> {
    let offset = || usize::try_from(cursor).map_err(|_| PoolError::Inconsistent);
    let (count, next) = match question {
        Question::Sites(out) => {
            let (count, next) = view.sites(cursor, out);
            for site in &mut out[..count] {
                for frame in &mut site.frames {
                    // Addresses outside of the image say nothing to anybody.
                    *frame = image(*frame).unwrap_or(0);
                }
            }
            (count, next)
        }
        Question::Blocks(out) => view.blocks(cursor, out)?,
        Question::Chunks(out) => view.chunks(cursor, out)?,
        Question::Class(out) => {
            **out = view.classes(offset()?);
            (usize::from(out.is_some()), 0)
        }
        Question::Check => (0, view.check(cursor).map_err(PoolError::Damaged)?),
        Question::Overruns(out) => view.overruns(cursor, out)?,
        Question::BlockAt(out) => {
            **out = view.block_at(offset()?)?;
            (usize::from(out.is_some()), 0)
        }
        Question::Bytes(out) => {
            if !view.read(offset()?, out) {
                return Err(PoolError::Inconsistent);
            }
            (out.len(), 0)
        }
        Question::Figures(out) => {
            **out = view.figures();
            (1, 0)
        }
    };
    Ok(Step { count, next })
}

impl<M: Machine> Inspector<'_, M> {
    /// One step with the kernel heap (no TA is named), or with the heap of the first instance meant.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn ask_pool(
        &self,
        which: Which,
        cursor: u64,
        question: &mut Question<'_>,
    ) -> Result<Step, PoolError> {
        if which.uuid.is_none() {
            return self.heap().ask(cursor, question);
        }
        let state = self.state();
        let (_, found) = first_of(&state, which)?;
        self.ask_ta(found, cursor, question)
    }

    /// One step with an instance's heap.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn ask_ta(
        &self,
        found: &Instance<Book>,
        cursor: u64,
        question: &mut Question<'_>,
    ) -> Result<Step, PoolError> {
        let (Some(space), Some(heap)) = (&found.space, found.heap) else {
            return Ok(Step::default());
        };
        // A heap that was reserved and not used yet has nothing.
        if space.heap().is_none_or(|heap| heap.committed == 0) {
            return Ok(Step::default());
        }
        let view =
            ta_heap::open(&self.machine, space, heap).map_err(|_| PoolError::Inconsistent)?;
        answer(&view, cursor, question, |address| {
            found.image_offset(address)
        })
    }

    /// Where a pool begins, in the kernel's addresses or in the TA's; 0 if that is hidden.
    #[must_use]
    pub fn pool_base(&self, which: Which) -> u64 {
        if which.uuid.is_none() {
            return self.shown_address(self.heap().base());
        }
        let state = self.state();
        let base = first_of(&state, which)
            .ok()
            .and_then(|(_, found)| found.heap);
        self.shown_address(base.map_or(0, |base| base.0))
    }
}

/// The first instance meant that has memory, else the first that is not dead.
fn first_of(
    state: &State<Book>,
    which: Which,
) -> Result<(InstanceRef, &Instance<Book>), PoolError> {
    let mut found = Err(PoolError::NotLoaded);
    let mut from = 0;
    while let Some((instance, meant)) = instance_from(&state.guest, which, from) {
        if meant.space.is_some() {
            return Ok((instance, meant));
        }
        if meant.life != Life::Dead {
            found = found.or(Ok((instance, meant)));
        } else if found.is_err() {
            found = Err(PoolError::Dead);
        }
        from = instance.slot() + 1;
    }
    found
}
