//! Calls to the `inspect` pTA.
//!
//! **Invariant:** answers are checked for size before they are read; a long list takes one buffer
//! of fixed size.

use alloc::vec::Vec;

use tally_abi::TeeUuid;
use tally_abi::pta::inspect;
use tally_records::{FailureRow, HistoryRow, RegionRow, SessionRow, TaDetail, UnfreedRow};
use teec::{Context, ErrorKind, Operation, ParamNone, ParamTmpRef, Session};

use super::{ClientError, Result, fetch_records, fetch_with, open, records, value_out};

/// Whom a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    octets: [u8; 20],
    len: usize,
}

impl Subject {
    /// The kernel, or all TAs: what the question allows.
    pub const NOBODY: Self = Self {
        octets: [0; 20],
        len: 16,
    };

    /// A TA: all of its instances, or the first, as the question allows.
    #[must_use]
    pub fn ta(uuid: TeeUuid) -> Self {
        let mut subject = Self::NOBODY;
        subject.octets[..16].copy_from_slice(&uuid.to_octets());
        subject
    }

    /// One instance of a TA.
    #[must_use]
    pub fn instance(uuid: TeeUuid, number: u32) -> Self {
        let mut subject = Self::ta(uuid);
        subject.octets[16..].copy_from_slice(&number.to_le_bytes());
        subject.len = 20;
        subject
    }

    /// The TA; nil for nobody.
    #[must_use]
    pub fn uuid(&self) -> TeeUuid {
        let mut octets = [0; 16];
        octets.copy_from_slice(&self.octets[..16]);
        TeeUuid::from_octets(octets)
    }

    /// The number of the instance, if one is meant.
    #[must_use]
    pub fn instance_number(&self) -> Option<u32> {
        let mut octets = [0; 4];
        octets.copy_from_slice(&self.octets[16..]);
        (self.len == 20).then(|| u32::from_le_bytes(octets))
    }

    /// Whether an instance is meant.
    #[must_use]
    pub fn is_meant(&self, ta: &TaDetail) -> bool {
        let is_number = self.instance_number().is_none_or(|n| n == ta.instance);
        self.uuid() == ta.uuid && is_number
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

pub(super) fn session<'t>(context: &Context<'t>) -> Result<Session<'t>> {
    open(context, "inspect pTA", inspect::UUID)
}

/// Loaded TA instances, whole. [`Subject::NOBODY`]: all.
///
/// # Errors
/// [`ClientError`]; `ItemNotFound` if the one asked for is not loaded.
pub fn tas(context: &Context<'_>, who: &Subject) -> Result<Vec<TaDetail>> {
    list(context, "TAs", inspect::CMD_TAS, who)
}

/// Regions of a TA's instances, or the kernel's.
///
/// # Errors
/// As [`tas`].
pub fn regions(context: &Context<'_>, who: &Subject) -> Result<Vec<RegionRow>> {
    list(context, "regions", inspect::CMD_REGIONS, who)
}

/// Sessions to TAs. [`Subject::NOBODY`]: to all.
///
/// # Errors
/// As [`tas`].
pub fn sessions(context: &Context<'_>, who: &Subject) -> Result<Vec<SessionRow>> {
    list(context, "sessions", inspect::CMD_SESSIONS, who)
}

/// Has the kernel write a TA's status to the secure console.
///
/// # Errors
/// As [`tas`].
pub fn status_to_console(context: &Context<'_>, uuid: TeeUuid) -> Result<()> {
    let octets = uuid.to_octets();
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(&octets),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    session(context)?
        .invoke_command(inspect::CMD_STATUS, &mut op)
        .map_err(|error| ClientError::Invoke("status", error))
}

/// The last refused allocations, oldest first.
///
/// # Errors
/// [`ClientError`].
pub fn failures(context: &Context<'_>) -> Result<Vec<FailureRow>> {
    fetch_records(
        &mut session(context)?,
        "refused allocations",
        inspect::CMD_FAILURES,
        None::<ParamNone>,
    )
}

/// What TAs used that have ended, latest first, and how many rows the kernel had to give up.
///
/// # Errors
/// [`ClientError`].
pub fn history(context: &Context<'_>) -> Result<(Vec<HistoryRow>, u32)> {
    table(context, "ended TAs", inspect::CMD_HISTORY)
}

/// What TAs had not freed when they ended, by call site, most bytes first, and how many rows the
/// kernel had to give up.
///
/// # Errors
/// [`ClientError`].
pub fn unfreed(context: &Context<'_>) -> Result<(Vec<UnfreedRow>, u32)> {
    table(context, "what ended TAs left", inspect::CMD_UNFREED)
}

/// The rows of a table, and how many it has given up.
fn table<T: zerocopy::FromBytes>(
    context: &Context<'_>,
    what: &'static str,
    command: u32,
) -> Result<(Vec<T>, u32)> {
    let mut session = session(context)?;
    let mut buffer: Vec<u8> = Vec::new();
    let mut wanted = 16 * size_of::<T>();
    loop {
        buffer
            .try_reserve(wanted.saturating_sub(buffer.len()))
            .map_err(|_| ClientError::NoMemory)?;
        buffer.resize(wanted, 0);
        let memory = ParamTmpRef::new_output(&mut buffer);
        let mut op = Operation::new(0, memory, value_out(), ParamNone, ParamNone);
        let result = session.invoke_command(command, &mut op);
        let (size, dropped) = (op.parameters().0.updated_size(), op.parameters().1.a());
        match result {
            Ok(()) => {
                buffer.truncate(size);
                return Ok((records(what, &buffer)?, dropped));
            }
            // The table only grows, and only up to its end.
            Err(error) if error.kind() == ErrorKind::ShortBuffer && size > wanted => wanted = size,
            Err(error) => return Err(ClientError::Invoke(what, error)),
        }
    }
}

pub(super) fn list<T: zerocopy::FromBytes>(
    context: &Context<'_>,
    what: &'static str,
    command: u32,
    who: &Subject,
) -> Result<Vec<T>> {
    let mut subject = || Some(ParamTmpRef::new_input(who.octets()));
    // Two records more, in case the table grows meanwhile.
    let spare = 2 * size_of::<T>();
    let bytes = fetch_with(&mut session(context)?, what, command, &mut subject, spare)?;
    records(what, &bytes)
}
