//! Questions that a pool answers in steps of bounded work.

use tally_abi::TeeResult;
use tally_ledger::view::{Inconsistent, Reader, View};
use tally_ledger::{Block, Chunk, ClassFigures, Damage, Overrun, SiteInfo, Stats};

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

/// Where a walk in steps goes on, and what it must find again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// Where the next step begins: 0 at first, and after the last.
    pub at: u64,
    /// Where pools that can move were at first.
    places: Option<u64>,
    steps: u64,
}

impl Course {
    /// One step from there on.
    #[must_use]
    pub const fn at(at: u64) -> Self {
        Self {
            at,
            places: None,
            steps: 0,
        }
    }

    /// Begins a step in pools that are at these places.
    ///
    /// # Errors
    /// [`PoolError::Changed`]: they were elsewhere, or it is not one of `most`, after which sound pools that stay are
    /// through.
    pub(crate) fn follow(&mut self, places: u64, most: u64) -> Result<(), PoolError> {
        self.steps += 1;
        let stay = *self.places.get_or_insert(places) == places;
        (stay && self.steps <= most)
            .then_some(())
            .ok_or(PoolError::Changed)
    }
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
    /// Its pools moved between two steps.
    Changed,
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
            PoolError::Changed => Self::BUSY,
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
