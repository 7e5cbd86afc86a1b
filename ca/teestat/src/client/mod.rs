//! Calls to the pseudo-TAs `stats`, `memleak` and `control`; [`inspect`] has its own file.
//!
//! **Invariant:** answers are checked for size before they are read.

mod audit;
mod inspect;
pub mod leaks;
mod lists;
pub mod pools;
mod watch;

pub use audit::{AuditTotals, audit_totals, set_buffer_fault, set_ledger};
pub use inspect::status_to_console;
pub use lists::{each, listed, listed_in, rows};
pub use watch::{arm, drop_snapshot, read_snapshot, take_snapshot};

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use tally_abi::TeeUuid;
use tally_abi::pta::control;
use tally_abi::pta::memleak;
use tally_abi::pta::stats::{self, AllocStats, TaStats};
use tally_insight::answer;
use tally_insight::openmetrics::Threads;
use teec::{
    Context, Direction, Error, ErrorKind, Operation, Param, ParamNone, ParamTmpRef, ParamType,
    ParamValue, Session,
};
use zerocopy::FromBytes;

/// How often a table that grows while it is fetched is asked for again.
const RETRIES: usize = 10;

/// Why a figure cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The session could not be opened.
    Open(&'static str, Error),
    /// The trusted OS has no such pseudo-TA.
    Absent(&'static str),
    /// OP-TEE was built without it; the option of its build.
    NotBuilt(&'static str, &'static str),
    /// The command failed.
    Invoke(&'static str, Error),
    /// The answer's size is no multiple of its records'.
    BadSize(&'static str, usize),
    /// This side has no memory for the answer.
    NoMemory,
}

impl ClientError {
    /// The code that the other side answered with, if it did.
    #[must_use]
    pub const fn code(&self) -> Option<u32> {
        match self {
            Self::Open(_, error) | Self::Invoke(_, error) => Some(error.raw_code()),
            Self::Absent(_) | Self::NotBuilt(..) | Self::BadSize(..) | Self::NoMemory => None,
        }
    }

    /// What the other side said, if it did.
    #[must_use]
    pub const fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Open(_, error) | Self::Invoke(_, error) => Some(error.kind()),
            Self::Absent(_) | Self::NotBuilt(..) | Self::BadSize(..) | Self::NoMemory => None,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(who, error) => write!(f, "cannot open a session with the {who}: {error}"),
            Self::Absent(STATS) => write!(
                f,
                "there is no {STATS}: this kernel was built without statistics (OP-TEE has it with CFG_WITH_STATS=y)"
            ),
            Self::Absent(who) => write!(
                f,
                "there is no {who}: this needs Tally, built with statistics; OP-TEE answers `alloc`, `ta`, \
                 `memleak`, `pager` and `time`"
            ),
            Self::NotBuilt(what, option) => {
                write!(
                    f,
                    "{what}: OP-TEE was built without them; it has them with {option}=y"
                )
            }
            Self::Invoke(what, error) => write!(f, "{what}: {error}"),
            Self::BadSize(what, size) => write!(f, "{what}: {size} bytes are no whole records"),
            Self::NoMemory => f.write_str("out of memory in the normal world"),
        }
    }
}

impl core::error::Error for ClientError {}

type Result<T> = core::result::Result<T, ClientError>;

answer! {
    /// Pager statistics; there is no pager, but the questions can be asked.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Pager {
        /// Unlocked pages.
        pub unlocked: u32,
        /// Page pool size.
        pub pool: u32,
        /// Faults on read-only pages.
        pub read_only_faults: u32,
        /// Faults on writable pages.
        pub read_write_faults: u32,
        /// Hidden faults.
        pub hidden_faults: u32,
        /// Zero-initialised pages released.
        pub released: u32,
    }

    /// Time of both worlds.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Times {
        /// The normal world's.
        pub ree: Time,
        /// The secure world's.
        pub tee: Time,
    }

    /// A time.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Time {
        /// Seconds.
        pub seconds: u32,
        /// Milliseconds beyond them.
        pub millis: u32,
    }
}

impl Time {
    /// In milliseconds.
    #[must_use]
    pub fn in_millis(self) -> u64 {
        u64::from(self.seconds) * 1000 + u64::from(self.millis)
    }
}

fn open<'t>(context: &Context<'t>, who: &'static str, uuid: TeeUuid) -> Result<Session<'t>> {
    context
        .open_session(uuid)
        .map_err(|error| match error.kind() {
            ErrorKind::ItemNotFound => ClientError::Absent(who),
            _ => ClientError::Open(who, error),
        })
}

/// The pseudo-TA that OP-TEE has, too.
const STATS: &str = "stats pTA";

fn stats_session<'t>(context: &Context<'t>) -> Result<Session<'t>> {
    open(context, STATS, stats::UUID)
}

fn memleak_session<'t>(context: &Context<'t>) -> Result<Session<'t>> {
    open(context, "memleak pTA", memleak::UUID)
}

fn control_session<'t>(context: &Context<'t>) -> Result<Session<'t>> {
    open(context, "control pTA", control::UUID)
}

const fn value_out() -> ParamValue {
    ParamValue::new(0, 0, ParamType::ValueOutput)
}

/// Fetches bytes whose number only the other side knows. `first` goes with the memory
/// reference, before it if there is one.
fn fetch<P: Param + Clone>(
    session: &mut Session<'_>,
    what: &'static str,
    command: u32,
    first: Option<P>,
    spare: usize,
) -> Result<Vec<u8>> {
    fetch_with(session, what, command, &mut || first.clone(), spare)
}

/// As [`fetch`], with `first` made anew for each attempt.
fn fetch_with<P: Param>(
    session: &mut Session<'_>,
    what: &'static str,
    command: u32,
    first: &mut dyn FnMut() -> Option<P>,
    spare: usize,
) -> Result<Vec<u8>> {
    fetch_by(what, spare, &mut |memory| match first() {
        Some(first) => {
            let mut op = Operation::new(0, first, memory, ParamNone, ParamNone);
            let result = session.invoke_command(command, &mut op);
            (result, op.parameters().1.updated_size())
        }
        None => {
            let mut op = Operation::new(0, memory, ParamNone, ParamNone, ParamNone);
            let result = session.invoke_command(command, &mut op);
            (result, op.parameters().0.updated_size())
        }
    })
}

/// Fetches bytes by `call`, which gets the memory for them and returns the size that it was told.
fn fetch_by(
    what: &'static str,
    spare: usize,
    call: &mut dyn FnMut(ParamTmpRef<'_>) -> (teec::Result<()>, usize),
) -> Result<Vec<u8>> {
    let mut buffer = Vec::new();
    for _ in 0..RETRIES {
        let memory = if buffer.is_empty() {
            ParamTmpRef::new_null(Direction::Output)
        } else {
            ParamTmpRef::new_output(&mut buffer)
        };
        match call(memory) {
            (Ok(()), size) => {
                buffer.truncate(size);
                return Ok(buffer);
            }
            (Err(error), size) if error.kind() == ErrorKind::ShortBuffer => {
                if size == 0 && spare == 0 {
                    return Ok(Vec::new());
                }
                let wanted = size.saturating_add(spare);
                buffer.clear();
                buffer
                    .try_reserve_exact(wanted)
                    .map_err(|_| ClientError::NoMemory)?;
                buffer.resize(wanted, 0);
            }
            (Err(error), _) => return Err(ClientError::Invoke(what, error)),
        }
    }
    let short = Error::new(ErrorKind::ShortBuffer);
    Err(ClientError::Invoke(what, short))
}

fn fetch_records<T: FromBytes, P: Param + Clone>(
    session: &mut Session<'_>,
    what: &'static str,
    command: u32,
    first: Option<P>,
) -> Result<Vec<T>> {
    // Two records more, in case the table grows meanwhile.
    let bytes = fetch(session, what, command, first, 2 * size_of::<T>())?;
    records(what, &bytes)
}

fn records<T: FromBytes>(what: &'static str, bytes: &[u8]) -> Result<Vec<T>> {
    if !bytes.len().is_multiple_of(size_of::<T>()) {
        return Err(ClientError::BadSize(what, bytes.len()));
    }
    bytes
        .chunks_exact(size_of::<T>())
        .map(|chunk| T::read_from_bytes(chunk).map_err(|_| ClientError::BadSize(what, chunk.len())))
        .collect()
}

/// Statistics of the kernel's pools.
///
/// # Errors
/// [`ClientError`].
pub fn alloc_stats(context: &Context<'_>) -> Result<Vec<AllocStats>> {
    let all = ParamValue::new(stats::alloc_id::ALL, 0, ParamType::ValueInput);
    fetch_records(
        &mut stats_session(context)?,
        "pool statistics",
        stats::CMD_ALLOC_STATS,
        Some(all),
    )
}

/// Statistics of the loaded TAs.
///
/// # Errors
/// [`ClientError`].
pub fn ta_stats(context: &Context<'_>) -> Result<Vec<TaStats>> {
    const WHAT: &str = "TA statistics";
    let mut session = stats_session(context)?;
    let answer = fetch_records(&mut session, WHAT, stats::CMD_TA_STATS, None::<ParamNone>);
    match answer {
        Err(error) => match error.kind() {
            // OP-TEE's answer when no TA is loaded.
            Some(ErrorKind::ItemNotFound) => Ok(Vec::new()),
            Some(ErrorKind::NotSupported) => Err(ClientError::NotBuilt(WHAT, "CFG_TA_STATS")),
            _ => Err(error),
        },
        stats => stats,
    }
}

/// Has the kernel list its live blocks on the secure console.
///
/// # Errors
/// [`ClientError`].
pub fn memleak_to_console(context: &Context<'_>) -> Result<()> {
    stats_session(context)?
        .invoke_plain(stats::CMD_MEMLEAK_STATS)
        .map_err(|error| ClientError::Invoke("list of live blocks", error))
}

/// Pager statistics.
///
/// # Errors
/// [`ClientError`].
pub fn pager(context: &Context<'_>) -> Result<Pager> {
    let mut op = Operation::new(0, value_out(), value_out(), value_out(), ParamNone);
    stats_session(context)?
        .invoke_command(stats::CMD_PAGER_STATS, &mut op)
        .map_err(|error| ClientError::Invoke("pager statistics", error))?;
    let (p0, p1, p2, _) = op.parameters();
    Ok(Pager {
        unlocked: p0.a(),
        pool: p0.b(),
        read_only_faults: p1.a(),
        read_write_faults: p1.b(),
        hidden_faults: p2.a(),
        released: p2.b(),
    })
}

/// Time of both worlds.
///
/// # Errors
/// [`ClientError`].
pub fn times(context: &Context<'_>) -> Result<Times> {
    let mut op = Operation::new(0, value_out(), value_out(), ParamNone, ParamNone);
    stats_session(context)?
        .invoke_command(stats::CMD_GET_TIME, &mut op)
        .map_err(|error| ClientError::Invoke("time", error))?;
    let (ree, tee, _, _) = op.parameters();
    let time = |value: &ParamValue| Time {
        seconds: value.a(),
        millis: value.b(),
    };
    Ok(Times {
        ree: time(ree),
        tee: time(tee),
    })
}

/// Threads for calls; that of the question is in use.
///
/// # Errors
/// [`ClientError`].
pub fn threads(context: &Context<'_>) -> Result<Threads> {
    let mut op = Operation::new(0, value_out(), value_out(), ParamNone, ParamNone);
    control_session(context)?
        .invoke_command(control::CMD_THREADS, &mut op)
        .map_err(|error| ClientError::Invoke("threads", error))?;
    let (threads, calls, _, _) = op.parameters();
    Ok(Threads {
        count: threads.a(),
        in_use: threads.b(),
        turned_away: calls.a(),
    })
}

/// Bytes of secure RAM, as the kernel has it from the board: what [`meminfo`] must add up to.
///
/// # Errors
/// [`ClientError`].
pub fn secure_ram(context: &Context<'_>) -> Result<u64> {
    let mut op = Operation::new(0, value_out(), ParamNone, ParamNone, ParamNone);
    control_session(context)?
        .invoke_command(control::CMD_SECURE_RAM, &mut op)
        .map_err(|error| ClientError::Invoke("secure RAM", error))?;
    let (bytes, _, _, _) = op.parameters();
    Ok(u64::from(bytes.b()) << 32 | u64::from(bytes.a()))
}

/// Ends every instance of a TA and says how many there were.
///
/// # Errors
/// [`ClientError`]; `ItemNotFound` if none is loaded.
pub fn kill(context: &Context<'_>, uuid: TeeUuid) -> Result<u32> {
    let bytes = uuid.to_bytes();
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(&bytes),
        value_out(),
        ParamNone,
        ParamNone,
    );
    control_session(context)?
        .invoke_command(control::CMD_KILL, &mut op)
        .map_err(|error| ClientError::Invoke("kill", error))?;
    Ok(op.parameters().1.a())
}

/// Restarts maxima and failure figures of all pools.
///
/// # Errors
/// [`ClientError`].
pub fn reset(context: &Context<'_>) -> Result<()> {
    control_session(context)?
        .invoke_plain(control::CMD_RESET)
        .map_err(|error| ClientError::Invoke("reset", error))
}

/// The last out-of-memory report.
///
/// # Errors
/// [`ClientError`]; `NoData` if there was none.
pub fn last_oom(context: &Context<'_>) -> Result<String> {
    let bytes = fetch(
        &mut control_session(context)?,
        "out-of-memory report",
        control::CMD_LAST_OOM,
        None::<ParamNone>,
        0,
    )?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Breaks the kernel on purpose ([`control::fault`]).
///
/// # Errors
/// [`ClientError`]; on success it does not come back.
pub fn fault(context: &Context<'_>, kind: u32) -> Result<()> {
    let kind = ParamValue::new(kind, 0, ParamType::ValueInput);
    let mut op = Operation::new(0, kind, ParamNone, ParamNone, ParamNone);
    control_session(context)?
        .invoke_command(control::CMD_FAULT, &mut op)
        .map_err(|error| ClientError::Invoke("fault", error))
}

/// Names frames of the kernel image.
pub struct FrameNames<'t>(Session<'t>);

impl<'t> FrameNames<'t> {
    /// Opens a session for any number of names.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn open(context: &Context<'t>) -> Result<Self> {
        memleak_session(context).map(Self)
    }

    /// Names a frame.
    ///
    /// # Errors
    /// [`ClientError`]; `ItemNotFound` if it has no name.
    pub fn name(&mut self, frame: u64) -> Result<String> {
        let which = ParamValue::new(frame as u32, (frame >> 32) as u32, ParamType::ValueInput);
        let bytes = fetch(
            &mut self.0,
            "name of a frame",
            memleak::CMD_NAME,
            Some(which),
            0,
        )?;
        Ok(String::from_utf8_lossy(&bytes)
            .trim_end_matches('\0')
            .into())
    }
}

/// Names one frame of the kernel image.
///
/// # Errors
/// As [`FrameNames::name`].
pub fn kernel_frame(context: &Context<'_>, frame: u64) -> Result<String> {
    FrameNames::open(context)?.name(frame)
}
