//! The tool people use: what the kernel and every trusted application hold, and who leaks.
//!
//! `alloc`, `ta`, `memleak`, `pager` and `time` print what `xtest --stats` (optee_test) prints,
//! byte for byte; the rest is Tally's own.
//!
//! **Invariant:** output goes to `out`, complaints to `err`; the status is 0 (done), 1 (it
//! failed) or 2 (not understood).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod client;
pub mod commands;
mod files;
mod fitted;
mod marks;
mod names;
mod server;
mod terminal;
mod text;
mod tool;
mod words;

pub use commands::metrics;
pub use files::{FileSink, Files, NoFiles};
pub use names::{Namer, frame_name};
pub use server::{Labels, NoServer, Server};
pub use terminal::{NoTerminal, Terminal};
pub use words::{size, ta};

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use tally_abi::TeeUuid;
use tally_insight::answer;
use tally_insight::json;
use tally_insight::names::Frame;
use tally_insight::schema::{Answer, Schema};
use tally_records::ClassRow;
use teec::Context;

use fitted::Fitted;
use tool::{Failure, Tool, usage};

/// Names that a machine keeps.
pub trait HostNames {
    /// Short name of a TA.
    fn name_of(&self, uuid: TeeUuid) -> Option<String>;

    /// The TA of this short name.
    fn uuid_of(&self, name: &str) -> Option<TeeUuid>;

    /// All TAs that have a short name.
    fn known(&self) -> Vec<(String, TeeUuid)> {
        Vec::new()
    }

    /// The function at a return address (offset from the link base) in a TA's image.
    fn site(&self, image: TeeUuid, offset: u64) -> Option<Frame>;
}

/// What the tool needs of where it runs.
pub trait Host {
    /// Names for people.
    fn names(&self) -> &dyn HostNames;

    /// Where files are written.
    fn files(&self) -> &dyn Files;

    /// Who watches the output.
    fn terminal(&self) -> &dyn Terminal {
        &NoTerminal
    }

    /// How figures are served.
    fn server(&self) -> &dyn Server {
        &NoServer
    }
}

/// No names at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNames;

impl HostNames for NoNames {
    fn name_of(&self, _: TeeUuid) -> Option<String> {
        None
    }
    fn uuid_of(&self, _: &str) -> Option<TeeUuid> {
        None
    }
    fn site(&self, _: TeeUuid, _: u64) -> Option<Frame> {
        None
    }
}

impl Host for NoNames {
    fn names(&self) -> &dyn HostNames {
        self
    }

    fn files(&self) -> &dyn Files {
        &NoFiles
    }
}

/// What the tool remembers between runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The last mark that `leaks mark` set.
    pub last_mark: Option<u32>,
    /// Size classes of pools when `slabinfo` was last asked.
    pub slabs: Vec<SlabNote>,
}

impl Memory {
    /// Nothing is remembered yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            last_mark: None,
            slabs: Vec::new(),
        }
    }
}

/// A size class of a pool as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlabNote {
    /// The TA whose heap this is, or nil.
    pub pool: TeeUuid,
    /// The number of its instance; 0 for the kernel.
    pub instance: u32,
    /// One of [`tally_records::class_kind`].
    pub kind: u32,
    /// Bytes that a block can hold.
    pub block_size: u32,
    /// Live blocks.
    pub live: u32,
    /// Bytes of memory.
    pub bytes: u64,
}

impl SlabNote {
    /// The note of a row of this instance's pool.
    #[must_use]
    pub const fn of(row: &ClassRow, instance: u32) -> Self {
        Self {
            pool: row.pool,
            instance,
            kind: row.kind,
            block_size: row.block_size,
            live: row.live,
            bytes: row.bytes,
        }
    }
}

/// Exit status: done.
pub const STATUS_OK: u8 = 0;
/// Exit status: it failed.
pub const STATUS_FAILED: u8 = 1;
/// Exit status: not understood.
pub const STATUS_USAGE: u8 = 2;

answer! {
    /// A command that came to nothing.
    struct Failed {
        /// What is wrong.
        error: String,
        /// Exit status: 1 it failed, 2 not understood.
        status: u32,
        /// What the other side answered (GPD_SPE_007, 4.4.1), if it was asked.
        result: Option<u32>,
    }

    /// This tool.
    struct Version {
        version: &'static str,
    }
}

/// What is answered whichever command it is.
const ANSWERS: &[Answer] = &[("error", Failed::schema), ("--version", Version::schema)];

/// Runs `teestat` with `args` (without the program's name) and returns its exit status. With `--json` a complaint
/// is an object too, on `out` unless half an answer is there.
pub fn run(
    args: &[&str],
    context: &Context<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
    host: &dyn Host,
    memory: &mut Memory,
) -> u8 {
    let as_json = args.contains(&"--json");
    let words: Vec<&str> = args.iter().copied().filter(|&a| a != "--json").collect();
    let namer = Namer::new(context, host.names());
    let columns = host.terminal().columns();
    let mut out = Fitted::new(out, columns.filter(|_| !as_json));
    let mut tool = Tool {
        context,
        out: &mut out,
        names: &namer,
        files: host.files(),
        terminal: host.terminal(),
        server: host.server(),
        memory,
        as_json,
    };
    let result = dispatch(&mut tool, &words);
    let result = out.end().map_err(Failure::from).and(result);
    let failure = match result {
        Ok(status) => return status,
        Err(failure) => failure,
    };
    let status = failure.status();
    let failed = Failed::from(&failure);
    // Where complaints cannot be written, the status still tells.
    if as_json {
        let _ = match out.is_begun {
            true => json::write(err, &failed),
            false => json::write(&mut out, &failed),
        };
        return status;
    }
    let mut err = Fitted::new(err, columns);
    let _ = writeln!(err, "teestat: {}", failed.error);
    if let Failure::Usage(_) = failure {
        let _ = help_for(&mut err, columns, &words);
    }
    status
}

impl From<&Failure> for Failed {
    fn from(failure: &Failure) -> Self {
        let error = match failure {
            Failure::Usage(what) | Failure::Command(what) | Failure::Said(what) => what.clone(),
            Failure::Client(error) => alloc::format!("{error}"),
            Failure::Output => String::from("cannot write the output"),
        };
        let result = match failure {
            Failure::Client(error) => error.code(),
            Failure::Usage(_) | Failure::Command(_) | Failure::Said(_) | Failure::Output => None,
        };
        Self {
            error,
            status: failure.status().into(),
            result,
        }
    }
}

/// Help for a command line that has these words.
fn help_for(out: &mut dyn Write, columns: Option<usize>, words: &[&str]) -> fmt::Result {
    match words.first().and_then(|name| commands::find(name)) {
        Some(command) => commands::help_with(out, columns, command, words.get(1).copied()),
        None => commands::help(out, columns),
    }
}

fn help_about(tool: &mut Tool<'_, '_>, words: &[&str]) -> Result<u8, Failure> {
    let words = words.iter().copied();
    let words: Vec<&str> = words.filter(|word| !asks_for_help(word)).collect();
    if let Some(name) = words.first().filter(|name| commands::find(name).is_none()) {
        return Err(Failure::Command(commands::no_such(name)));
    }
    help_for(tool.out, tool.terminal.columns(), &words)?;
    Ok(STATUS_OK)
}

/// Whether this word asks for help, wherever it stands.
fn asks_for_help(word: &&str) -> bool {
    matches!(*word, "--help" | "-h")
}

fn dispatch(tool: &mut Tool<'_, '_>, words: &[&str]) -> Result<u8, Failure> {
    match words {
        [] => Err(usage("which command?")),
        ["--version" | "-V"] => {
            let version = env!("CARGO_PKG_VERSION");
            tool.tell(&Version { version }, |out| {
                writeln!(out, "teestat {version}, schema {}", json::SCHEMA)
            })?;
            Ok(STATUS_OK)
        }
        ["help", about @ ..] => help_about(tool, about),
        about if about.iter().any(asks_for_help) => help_about(tool, about),
        [name, rest @ ..] => match commands::find(name) {
            Some(command) => (command.run)(tool, rest),
            None => Err(Failure::Command(commands::no_such(name))),
        },
    }
}
