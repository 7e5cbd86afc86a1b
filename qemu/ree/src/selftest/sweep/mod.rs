//! The sweep: of each operation every request for memory is refused once, the first, the second and so on.
//!
//! **Invariant:** whatever is refused, an operation has the right code or its whole result, every account is as
//! before, to the byte, and the operation succeeds when it is repeated.

mod operations;
mod stored;

use alloc::format;
use alloc::string::String;
use serde_json::json;
use tally_abi::pta::control::{self, pool};
use teec::{ErrorKind, Operation, ParamNone, ParamType, ParamValue, Session};
use teestat::client::ClientError;

use super::account::Account;
use super::{Bench, NO_HOOKS, Outcome, Test, holds, say};
use crate::{results, tee};

pub(super) const TESTS: &[Test] = &[(
    "whichever request for memory is refused, quick operations fail well",
    all_quick,
)];

/// Requests of one operation at most.
const MOST: u32 = 5_000;
const POOLS: [(u32, &str); 2] = [(pool::HEAP, "heap"), (pool::PAGES, "pages")];

/// An operation, with what goes before it and after it.
struct Swept {
    name: &'static str,
    /// Whether it belongs to the daily tests.
    is_quick: bool,
    run: fn(&Bench, &mut Probe) -> Outcome,
}

const fn quick(name: &'static str, run: fn(&Bench, &mut Probe) -> Outcome) -> Swept {
    Swept {
        name,
        is_quick: true,
        run,
    }
}

const fn slow(name: &'static str, run: fn(&Bench, &mut Probe) -> Outcome) -> Swept {
    Swept {
        name,
        is_quick: false,
        run,
    }
}

/// An error that may say that there is no memory.
trait Kind {
    fn kind(&self) -> Option<ErrorKind>;
    fn text(&self) -> String;
}

impl Kind for teec::Error {
    fn kind(&self) -> Option<ErrorKind> {
        Some(Self::kind(self))
    }

    fn text(&self) -> String {
        format!("{self}")
    }
}

impl Kind for ClientError {
    fn kind(&self) -> Option<ErrorKind> {
        Self::kind(self)
    }

    fn text(&self) -> String {
        format!("{self}")
    }
}

/// Refuses requests during an operation, and knows what became of it.
struct Probe {
    control: Session<'static>,
    pool: u32,
    first: u32,
    /// Requests that are refused, 0 for none.
    count: u32,
    seen: u32,
    refused: u32,
    /// Whether the operation succeeded.
    works: bool,
}

impl Probe {
    fn new(bench: &Bench) -> Result<Self, String> {
        Ok(Self {
            control: bench.open(control::UUID)?,
            pool: pool::HEAP,
            first: 0,
            count: 0,
            seen: 0,
            refused: 0,
            works: false,
        })
    }

    fn inject(&mut self, count: u32) -> teec::Result<(u32, u32)> {
        let mut op = Operation::new(
            0,
            ParamValue::new(self.pool, 0, ParamType::ValueInput),
            ParamValue::new(self.first, count, ParamType::ValueInput),
            ParamValue::new(0, 0, ParamType::ValueOutput),
            ParamNone,
        );
        self.control.invoke_command(control::CMD_INJECT, &mut op)?;
        Ok((op.parameters().2.a(), op.parameters().2.b()))
    }

    /// Does the operation with its requests refused. `None` if it failed for want of memory.
    fn during<T, E: Kind>(
        &mut self,
        operation: impl FnOnce() -> Result<T, E>,
    ) -> Result<Option<T>, String> {
        let told = |error| format!("refusing: {error}");
        self.inject(self.count).map_err(told)?;
        let result = operation();
        (self.seen, self.refused) = self.inject(0).map_err(told)?;
        self.works = result.is_ok();
        match result {
            Ok(done) => Ok(Some(done)),
            Err(error) if self.refused != 0 && error.kind() == Some(ErrorKind::OutOfMemory) => {
                Ok(None)
            }
            Err(error) => Err(error.text()),
        }
    }

    /// As [`Self::during`], of what must succeed whatever is refused.
    fn during_what_succeeds<T, E: Kind>(
        &mut self,
        operation: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, String> {
        let done = self.during(operation)?;
        done.ok_or_else(|| "failed for want of memory, and must not fail".into())
    }
}

/// What became of an operation.
#[derive(Default)]
struct Row {
    /// Requests that it makes when none is refused, by pool.
    requests: [u32; 2],
    /// Requests that were refused.
    refused: u32,
    /// Times that it succeeded though one was.
    succeeded: u32,
}

/// Sweeps one operation; `count` requests at a time are refused.
fn sweep(bench: &Bench, operation: &Swept, count: u32) -> Result<Row, String> {
    let mut row = Row::default();
    let mut probe = Probe::new(bench)?;
    // What is there once, is there now.
    (operation.run)(bench, &mut probe)?;
    let before = Account::take(bench)?;
    for ((pool, name), requests) in POOLS.into_iter().zip(&mut row.requests) {
        probe.pool = pool;
        let mut ended = false;
        for first in 0..MOST {
            let at = |why: String| format!("request {first} of {name} refused: {why}");
            let compare = || {
                let after = Account::take(bench)?;
                after.adds_up()?;
                before.same_as(&after)
            };
            (probe.first, probe.count) = (first, count);
            (operation.run)(bench, &mut probe).map_err(at)?;
            compare().map_err(at)?;
            let (refused, works) = (probe.refused, probe.works);
            row.refused += refused;
            row.succeeded += u32::from(refused != 0 && works);
            probe.count = 0;
            (operation.run)(bench, &mut probe).map_err(|why| at(format!("afterwards: {why}")))?;
            compare().map_err(|why| at(format!("afterwards: {why}")))?;
            if refused == 0 {
                *requests = probe.seen;
                ended = true;
                break;
            }
        }
        holds(ended, &format!("more than {MOST} requests of {name}"))?;
    }
    Ok(row)
}

/// All operations.
fn operations() -> impl Iterator<Item = &'static Swept> {
    operations::OPERATIONS.iter().chain(stored::OPERATIONS)
}

/// Whether this kernel refuses on purpose.
fn has_hooks(bench: &Bench) -> Result<bool, String> {
    match Probe::new(bench)?.inject(0) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotSupported => Ok(false),
        Err(error) => Err(format!("{error}")),
    }
}

fn all_quick(bench: &Bench) -> Outcome {
    if !has_hooks(bench)? {
        return bench.skipped(NO_HOOKS);
    }
    let mut refused = 0;
    for operation in operations().filter(|operation| operation.is_quick) {
        let row = sweep(bench, operation, 1);
        refused += row
            .map_err(|why| format!("{}: {why}", operation.name))?
            .refused;
    }
    holds(refused != 0, "nothing was refused")
}

/// `sweep [COUNT [FILTER]]`: all operations whose name contains `FILTER`, `COUNT` requests refused at a time.
pub(crate) fn run(args: &[&str]) -> Result<u8, String> {
    let (count, filter) = match args {
        [] => (Some(1), ""),
        [count] => (count.parse().ok(), ""),
        [count, filter] => (count.parse().ok(), *filter),
        _ => (None, ""),
    };
    let Some(count) = count.filter(|count| *count != 0) else {
        say("usage: sweep [COUNT [FILTER]]\n");
        return Ok(teestat::STATUS_USAGE);
    };
    let bench = Bench::new(tee::get()?);
    if !has_hooks(&bench)? {
        return Err(NO_HOOKS.into());
    }
    bench.warm_up();
    let (mut ran, mut failed) = (0, 0);
    for operation in operations().filter(|o| o.name.contains(filter)) {
        let result = sweep(&bench, operation, count);
        let (row, why) = match result {
            Ok(row) => (row, String::new()),
            Err(why) => (Row::default(), why),
        };
        ran += 1;
        failed += u32::from(!why.is_empty());
        results::write(&json!({
            "operation": operation.name,
            "heap": row.requests[0],
            "pages": row.requests[1],
            "refused": row.refused,
            "succeeded": row.succeeded,
            "failed": why,
        }));
        let colon = if why.is_empty() { "" } else { ": " };
        say(&format!("{}{colon}{why}\n", operation.name));
    }
    results::write(&json!({ "done": ran }));
    Ok(u8::from(failed != 0))
}
