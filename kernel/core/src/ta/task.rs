//! Tasks: why a TA is entered, and how that ends.

use tally_mem::machine::Abort;

/// What to enter a TA with.
#[derive(Clone, Copy, Debug)]
pub struct TaCall {
    /// One of [`tally_abi::ta::entry`].
    pub function: u64,
    /// Session id as the TA knows it.
    pub session: u32,
    /// Command.
    pub command: u32,
}

/// The call that an instance serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// One of [`tally_abi::ta::entry`].
    pub function: u32,
    /// Command, if the function is to invoke one.
    pub command: u32,
    /// Session that it is for.
    pub session: u32,
    /// Counter ticks when it began.
    pub since: u64,
}

/// How a run at EL0 ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this.
    Return(u32),
    /// It panicked, crashed or was killed.
    Died,
}

/// How a run at EL0 went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub exit: Exit,
    /// Lowest stack pointer at a trap.
    pub lowest_sp: u64,
    /// Its thread pointer at the end (TPIDR_EL0).
    pub tpidr: u64,
}

/// Why a TA died of its own doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It panicked with this code.
    Panic(u32),
    /// It touched what it may not.
    Abort(Abort),
    /// Another exception, with this syndrome.
    Fault(u64),
}

/// How an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nobody needed it any more.
    Orderly,
    /// It panicked, crashed or was killed.
    Died,
}

/// What an instance died of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody knows.
    Unknown,
    /// It panicked with this code.
    Panicked(u32),
    /// It touched what it may not, or met another exception.
    Crashed,
    /// Its stack was too small.
    StackOverflow,
    /// Somebody ended it.
    Killed,
}

impl From<&Death> for Cause {
    fn from(death: &Death) -> Self {
        match death {
            Death::Panic(code) => Self::Panicked(*code),
            Death::Abort(_) | Death::Fault(_) => Self::Crashed,
        }
    }
}

/// How an instance died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Of what.
    pub cause: Cause,
    /// What it was in.
    pub task: Option<Task>,
    /// Counter ticks then.
    pub at: u64,
}
