//! Sessions: who talks to whom.
//!
//! **Invariant:** a session with calls in flight is never removed; only its opener can name it.

use crate::ta::instance::InstanceRef;
use crate::ta::operation::Operations;
use alloc::boxed::Box;
use core::ops::{Deref, DerefMut};
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::fallible::{HeapExhausted, Table};
use tally_mem::owner::OwnerId;

/// Bits of an id that are the slot number plus one; the rest counts.
const SLOT_BITS: u32 = 8;

/// What a session talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A pseudo-TA, by its place in the roof's list.
    Pseudo(u16),
    /// A TA instance.
    Ta(InstanceRef),
}

/// Who opened a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// A client in the normal world.
    Normal,
    /// A TA instance.
    Ta(InstanceRef),
}

/// A TA that uses a session of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The TA.
    pub instance: InstanceRef,
    /// The session that it serves: its client's.
    pub session: u32,
    /// The session that it uses, 0 while it opens one.
    pub target: u32,
    /// Its frame pointer: an allegation.
    pub frame: u64,
}

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its target has not agreed to it yet.
    Opening,
    /// Can be used.
    Open,
    /// Its opener has closed it: its last operation tells its target, or this thread, which has put it off.
    Closing(u8),
    /// Its target is being told of its end.
    Ending,
}

/// A session.
#[derive(Debug)]
pub struct Session {
    /// Where it is in its life: only an open one can be used or closed.
    pub phase: Phase,
    /// Its name to its opener.
    pub id: u32,
    /// What it talks to.
    pub target: Target,
    /// Who opened it.
    pub opener: Opener,
    /// Client identity: login class.
    pub login: u32,
    /// Client identity: UUID.
    pub client: TeeUuid,
    /// Whom its memory is charged to.
    pub owner: OwnerId,
    /// Calls in flight.
    pub operations: Operations,
    /// What its pseudo-TA keeps of it.
    pub state: Box<[u64]>,
}

// There are many; a block of the heap has so much.
const _: () = assert!(size_of::<Session>() <= 96);

impl Session {
    /// What its pseudo-TA is told of it.
    #[must_use]
    pub(crate) const fn as_pseudo(&self) -> PseudoSession {
        PseudoSession {
            id: self.id,
            opener: self.opener,
            login: self.login,
            client: self.client,
        }
    }
}

/// What of a session its pseudo-TA is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PseudoSession {
    /// Its id.
    pub(crate) id: u32,
    /// Who opened it.
    pub(crate) opener: Opener,
    /// The client's login class.
    pub(crate) login: u32,
    /// The client's UUID.
    pub(crate) client: TeeUuid,
}

/// There is no such session, or it is somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFound;

impl From<NotFound> for TeeResult {
    fn from(_: NotFound) -> Self {
        Self::BAD_PARAMETERS
    }
}

/// The id of the session in `slot`, when `count` sessions were opened before it.
#[must_use]
pub const fn session_id(slot: usize, count: u32) -> u32 {
    count << SLOT_BITS | (slot as u32 + 1)
}

/// The sessions of a guest.
#[derive(Debug, Default)]
pub struct Sessions(Table<Session>);

impl Deref for Sessions {
    type Target = Table<Session>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Sessions {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Sessions {
    /// None yet, with room for `capacity`.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn new(capacity: usize) -> Result<Self, HeapExhausted> {
        Table::new(capacity).map(Self)
    }

    /// The session of this id, whoever opened it.
    pub fn by_id_mut(&mut self, id: u32) -> Option<&mut Session> {
        let slot = (id & ((1 << SLOT_BITS) - 1)).checked_sub(1)? as usize;
        self.get_mut(slot).filter(|session| session.id == id)
    }

    /// Slot of the session that `opener` calls `id`.
    ///
    /// # Errors
    /// [`NotFound`].
    pub fn find(&self, id: u32, opener: Opener) -> Result<usize, NotFound> {
        let slot = (id & ((1 << SLOT_BITS) - 1))
            .checked_sub(1)
            .ok_or(NotFound)?;
        let slot = slot as usize;
        match self.get(slot) {
            Some(session) if session.id == id && session.opener == opener => Ok(slot),
            _ => Err(NotFound),
        }
    }

    /// As [`Self::find`], for invoking: its target agreed to it and was not told of its end.
    ///
    /// # Errors
    /// [`NotFound`].
    pub fn find_open(&self, id: u32, opener: Opener) -> Result<usize, NotFound> {
        let slot = self.find(id, opener)?;
        match self.get(slot) {
            Some(session) if session.phase == Phase::Open => Ok(slot),
            _ => Err(NotFound),
        }
    }

    /// The next session at `slot` or behind it that its opener has closed and whose target this thread is to tell.
    pub fn closing_from(&self, slot: usize, thread: usize) -> Option<(usize, &Session)> {
        self.iter().find(|(at, session)| {
            *at >= slot && matches!(session.phase, Phase::Closing(by) if usize::from(by) == thread)
        })
    }
}
