//! Pseudo-TAs: what one is, what it sees of its client, and the parameters of a call.
//!
//! **Invariant:** a pseudo-TA reaches client memory only through [`Params`], which checks every
//! access, and the kernel only through the one capability that its [`Work`] names.

mod buffer_ends;
mod buffer_services;
pub mod buffers;
pub mod params;
pub mod services;
pub mod system_services;

use crate::book::Book;
use crate::ta::session::Opener;
use core::fmt;
use services::{BufferServices, Control, Entropy};
use system_services::SystemServices;
use tally_abi::{TeeResult, TeeUuid};
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

/// A pseudo-TA: kernel code behind a UUID. Calls may come at the same time, in one session too.
pub struct PseudoTa<O: Book> {
    /// Its UUID.
    pub uuid: TeeUuid,
    /// Its name for people.
    pub name: &'static str,
    /// What it does, and with what.
    pub work: Work<O>,
}

impl<O: Book> PseudoTa<O> {
    /// Whether it tells where memory is, or ends who has it.
    #[must_use]
    pub const fn asks(&self) -> bool {
        matches!(self.work, Work::Account(_) | Work::Control(_))
    }
}

impl<O: Book> fmt::Debug for PseudoTa<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PseudoTa")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a pseudo-TA answers; the error is what the client shall see.
pub type PtaResult = Result<(), TeeResult>;

/// A pseudo-TA's entry point, by the capability that it needs besides its parameters.
pub enum Work<O: Book> {
    /// None.
    Alone(fn(&Session<'_>, Step<'_>) -> PtaResult),
    /// Maps memory into the TA that asks.
    Buffers(fn(&dyn BufferServices, &Session<'_>, Step<'_>) -> PtaResult),
    /// Does for the TA that asks what it cannot do itself.
    System(fn(&dyn SystemServices, &Session<'_>, Step<'_>) -> PtaResult),
    /// Ends TAs, asks the normal world for the time.
    Control(fn(&dyn Control, &Session<'_>, Step<'_>) -> PtaResult),
    /// Gives random numbers.
    Entropy(fn(&dyn Entropy, &Session<'_>, Step<'_>) -> PtaResult),
    /// Asks the account.
    Account(O::Entry),
}

/// Where a session is.
pub enum Step<'a> {
    /// It is opened, unless the answer is an error.
    Open,
    /// A command is invoked, with its parameters.
    Invoke(u32, &'a mut dyn Params),
    /// It is closed. The answer changes nothing.
    Close,
}

impl Step<'_> {
    /// Serves commands of clients that the pseudo-TA does not tell apart.
    ///
    /// # Errors
    /// The command's.
    pub fn of_anyone(
        self,
        invoke: impl FnOnce(u32, &mut dyn Params) -> Result<(), TeeResult>,
    ) -> Result<(), TeeResult> {
        match self {
            Self::Invoke(command, params) => invoke(command, params),
            Self::Open | Self::Close => Ok(()),
        }
    }

    /// As [`Self::of_anyone`], for what TAs have no business with: it tells of all of them.
    ///
    /// # Errors
    /// `ACCESS_DENIED` when a TA opens the session; the command's.
    pub fn of_normal_world(
        self,
        session: &Session<'_>,
        invoke: impl FnOnce(u32, &mut dyn Params) -> Result<(), TeeResult>,
    ) -> Result<(), TeeResult> {
        match self {
            Self::Open if session.is_of_ta() => Err(TeeResult::ACCESS_DENIED),
            step => step.of_anyone(invoke),
        }
    }
}

/// A session as its pseudo-TA sees it.
pub struct Session<'a> {
    /// Its id.
    pub id: u32,
    /// Who opened it.
    pub opener: Opener,
    /// The client's login class ([`tally_abi::msg::login`]).
    pub login: u32,
    /// The client's UUID: a TA's, or as the normal world gave it.
    pub client: TeeUuid,
    pub(crate) state: &'a dyn StateOfSession,
}

/// Where the state of a session lies.
pub(crate) trait StateOfSession {
    /// Works on the words of the session's state, of which there are as many as were asked for before
    /// or `words`. False if there is no memory for them.
    fn with_words(&self, words: usize, work: &mut dyn FnMut(&mut [u64])) -> bool;
}

impl Session<'_> {
    /// Whether a TA opened it.
    #[must_use]
    pub const fn is_of_ta(&self) -> bool {
        matches!(self.opener, Opener::Ta(_))
    }

    /// Works on the session's own state, zeros at first. Short: the kernel's state is locked.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY` when there is no room for it, which the first use takes.
    pub fn with_state<T: FromBytes + IntoBytes + KnownLayout, R>(
        &self,
        work: impl FnOnce(&mut T) -> R,
    ) -> Result<R, TeeResult> {
        const { assert!(align_of::<T>() <= align_of::<u64>()) };
        let mut work = Some(work);
        let mut result = None;
        let words = size_of::<T>().div_ceil(size_of::<u64>());
        self.state.with_words(words, &mut |words| {
            let bytes = words.as_mut_bytes();
            if let Some((state, work)) = bytes
                .get_mut(..size_of::<T>())
                .and_then(|bytes| T::mut_from_bytes(bytes).ok())
                .zip(work.take())
            {
                result = Some(work(state));
            }
        });
        result.ok_or(TeeResult::OUT_OF_MEMORY)
    }
}

/// The four parameters of a call.
pub trait Params {
    /// Packed types ([`tally_abi::ta::param_type`]).
    fn types(&self) -> u32;
    /// Value parameter `index`: a, b. Zeros if it is none.
    fn value(&self, index: usize) -> (u32, u32);
    /// Sets an output value.
    fn set_value(&mut self, index: usize, a: u32, b: u32);
    /// Size in bytes of the memory reference as the client gave it, 0 if it is none or null.
    fn memref_len(&self, index: usize) -> u64;
    /// Reports a size: what was written, or what is needed.
    fn set_memref_len(&mut self, index: usize, len: u64);
    /// Copies out of an input reference.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` outside of the reference.
    fn read(&self, index: usize, offset: u64, buf: &mut [u8]) -> Result<(), TeeResult>;
    /// Copies into an output reference.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` outside of the reference.
    fn write(&mut self, index: usize, offset: u64, data: &[u8]) -> Result<(), TeeResult>;
}
