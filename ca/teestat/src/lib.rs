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
mod marks;
mod names;
mod server;
mod terminal;
mod text;
mod tool;

pub use commands::metrics;
pub use files::{FileSink, Files, NoFiles};
pub use names::{Namer, frame_name};
pub use server::{Labels, NoServer, Server};
pub use terminal::{NoTerminal, Terminal};

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use tally_abi::TeeUuid;
use tally_insight::names::Frame;
use tally_records::ClassRow;
use teec::Context;

use tool::{Failure, Tool, usage};

/// Names that a machine keeps.
pub trait HostNames {
    /// Short name of a TA.
    fn name_of(&self, uuid: TeeUuid) -> Option<String>;

    /// The TA of this short name.
    fn uuid_of(&self, name: &str) -> Option<TeeUuid>;

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

/// Runs `teestat` with `args` (without the program's name) and returns its exit status.
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
    let mut tool = Tool {
        context,
        out,
        names: &namer,
        files: host.files(),
        terminal: host.terminal(),
        server: host.server(),
        memory,
        as_json,
    };
    let (status, said) = match dispatch(&mut tool, &words) {
        Ok(status) => return status,
        Err(Failure::Usage(why)) => {
            // Where complaints cannot be written, the status still tells.
            let _ = writeln!(err, "teestat: {why}");
            match words.first().and_then(|name| commands::find(name)) {
                Some(command) => {
                    let _ = commands::help_with(err, command, words.get(1).copied());
                }
                None => {
                    let _ = commands::help(err);
                }
            }
            return STATUS_USAGE;
        }
        Err(Failure::Command(why)) => (STATUS_USAGE, why),
        Err(Failure::Said(what)) => (STATUS_FAILED, what),
        Err(Failure::Client(error)) => (STATUS_FAILED, alloc::format!("{error}")),
        Err(Failure::Output) => (STATUS_FAILED, String::from("cannot write the output")),
    };
    let _ = writeln!(err, "teestat: {said}");
    status
}

fn dispatch(tool: &mut Tool<'_, '_>, words: &[&str]) -> Result<u8, Failure> {
    match words {
        [] => Err(usage("which command?")),
        ["help" | "--help" | "-h"] => {
            commands::help(tool.out)?;
            Ok(STATUS_OK)
        }
        ["help", name] | [name, "--help" | "-h"] => match commands::find(name) {
            Some(command) => {
                commands::help_of(tool.out, command)?;
                Ok(STATUS_OK)
            }
            None => Err(Failure::Command(commands::no_such(name))),
        },
        [name, rest @ ..] => match commands::find(name) {
            Some(command) => (command.run)(tool, rest),
            None => Err(Failure::Command(commands::no_such(name))),
        },
    }
}
