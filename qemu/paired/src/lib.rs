//! Paired tests that need a client and nothing else of the normal world: they run on the bare machine and in Linux.
//!
//! **Invariant:** after every test secure RAM adds up, and every account is as it was before, to the byte; the test
//! fails otherwise.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod account;
pub mod commands;
mod crashes;
pub mod figures;
pub mod heaps;
mod moments;
mod order;
mod pools;
pub mod soak;
pub mod storage;
mod vectors;

use account::Account;
use alloc::format;
use alloc::string::{String, ToString};
use core::cell::Cell;
use core::fmt::Debug;
use tally_abi::TeeUuid;
use tally_abi::pta::control::fault;
use teec::{Context, ErrorKind, Operation, ParamNone, ParamType, ParamValue, Session};
use teestat::Host;

/// What a test says: nothing, or what was wrong.
pub type Outcome = Result<(), String>;

/// One test: its name, a sentence, and what it does.
pub type Test = (&'static str, fn(&Bench) -> Outcome);

/// The tests by module.
pub const GROUPS: [&[Test]; 9] = [
    crashes::TESTS,
    vectors::TESTS,
    heaps::TESTS,
    figures::TESTS,
    pools::TESTS,
    order::TESTS,
    commands::TESTS,
    moments::TESTS,
    storage::TESTS,
];

/// Why some tests cannot be run.
pub const NO_HOOKS: &str = "this kernel has no test hooks";

/// What of the normal world a test sees beside the secure one.
pub trait Side: Host {
    /// Microseconds since some moment.
    fn micros(&self) -> u64;
    /// Shared memories that this side keeps.
    fn shared_count(&self) -> usize;
    /// Prints progress.
    fn say(&self, text: &str);
    /// Whether a person wants it to end.
    fn is_interrupted(&self) -> bool {
        false
    }
}

/// What every test gets.
pub struct Bench<'t> {
    /// The way to the secure world.
    pub context: Context<'t>,
    /// The world around the test.
    pub side: &'t dyn Side,
    /// Why the test at hand was not run.
    skipped: Cell<Option<&'static str>>,
}

impl<'t> Bench<'t> {
    /// One on this side.
    #[must_use]
    pub const fn new(context: Context<'t>, side: &'t dyn Side) -> Self {
        Self {
            context,
            side,
            skipped: Cell::new(None),
        }
    }

    /// Ends a test that cannot be run here.
    pub fn skipped(&self, why: &'static str) -> Outcome {
        self.skipped.set(Some(why));
        Ok(())
    }

    /// Why the last test was not run, if it was not.
    #[must_use]
    pub fn take_skipped(&self) -> Option<&'static str> {
        self.skipped.take()
    }

    /// Opens a session.
    pub fn open(&self, uuid: TeeUuid) -> Result<Session<'t>, String> {
        let opened = self.context.open_session(uuid);
        opened.map_err(|error| format!("open {}: {error}", self.name(uuid)))
    }

    fn name(&self, uuid: TeeUuid) -> String {
        let name = self.side.names().name_of(uuid);
        name.unwrap_or_else(|| uuid.to_string())
    }

    /// Opening a session with `uuid` must fail as `kind`.
    pub fn refused(&self, uuid: TeeUuid, kind: ErrorKind) -> Outcome {
        fails(self.context.open_session(uuid).map(drop), kind)
    }

    /// Has the kernel allocate now what it allocates once.
    pub fn warm_up(&self) {
        for uuid in [ta_uuids::hello::UUID, ta_uuids::keepalive::UUID] {
            // If this does not work, the tests will say so.
            let _ = self.context.open_session(uuid);
            let _ = teestat::client::kill(&self.context, uuid);
        }
    }

    /// Runs a test between two accounts.
    pub fn check(&self, test: impl FnOnce() -> Outcome) -> Outcome {
        let before = Account::take(self)?;
        test()?;
        let after = Account::take(self)?;
        after.adds_up()?;
        self.page_records()?;
        before.same_as(&after)
    }

    /// That the figures of the pages are what the records of all pages add up to; false on a kernel that cannot be asked.
    pub fn page_records(&self) -> Result<bool, String> {
        match teestat::client::fault(&self.context, fault::CHECK_PAGES) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == Some(ErrorKind::NotSupported) => Ok(false),
            Err(error) => Err(format!("the records of pages do not add up: {error}")),
        }
    }
}

/// `result` must be an error of `kind`.
pub fn fails<T>(result: teec::Result<T>, kind: ErrorKind) -> Outcome {
    match result {
        Ok(_) => Err(format!("succeeded instead of {kind:?}")),
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => Err(format!("{error} instead of {kind:?}")),
    }
}

/// `result` must be a success.
pub fn works<T>(result: teec::Result<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// `got` must be what is wanted.
pub fn equal<T: PartialEq + Debug>(got: T, wanted: T, what: &str) -> Outcome {
    if got == wanted {
        Ok(())
    } else {
        Err(format!("{what}: {got:?} instead of {wanted:?}"))
    }
}

/// A condition.
pub fn holds(condition: bool, what: &str) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(what.to_string())
    }
}

/// What `teestat --json` printed.
pub fn parsed(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|why| format!("no JSON: {why}: {text}"))
}

/// Invokes with one value in, and one value out (given back).
pub fn value_call(
    session: &mut Session<'_>,
    command: u32,
    a: u32,
    b: u32,
) -> teec::Result<(u32, u32)> {
    let mut op = Operation::new(
        0,
        ParamValue::new(a, b, ParamType::ValueInput),
        ParamValue::new(0, 0, ParamType::ValueOutput),
        ParamNone,
        ParamNone,
    );
    session.invoke_command(command, &mut op)?;
    Ok((op.parameters().1.a(), op.parameters().1.b()))
}

/// Invokes with one value in.
pub fn value_in(session: &mut Session<'_>, command: u32, a: u32, b: u32) -> teec::Result<()> {
    let mut op = Operation::new(
        0,
        ParamValue::new(a, b, ParamType::ValueInput),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    session.invoke_command(command, &mut op)
}

/// Invokes with one value out.
pub fn value_out(session: &mut Session<'_>, command: u32) -> teec::Result<(u32, u32)> {
    let mut op = Operation::new(
        0,
        ParamValue::new(0, 0, ParamType::ValueOutput),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    session.invoke_command(command, &mut op)?;
    Ok((op.parameters().0.a(), op.parameters().0.b()))
}
