//! The paired tests: this world against the secure one, with accounts before and after.
//!
//! **Invariant:** after every test secure RAM adds up, and every account is as it was before, to
//! the byte; the test fails otherwise.

mod account;
mod answers;
mod caller;
mod calls;
mod commands;
mod crashes;
mod figures;
mod firmware;
mod heaps;
mod hindsight;
pub(crate) mod hostile;
pub(crate) mod hostile_ta;
mod images;
mod inspect;
mod leaks;
mod memory;
mod moments;
mod order;
mod phrases;
mod pools;
mod races;
mod raw;
mod sessions;
pub(crate) mod soak;
pub(crate) mod sweep;
mod vocabulary;

use alloc::format;
use alloc::string::{String, ToString};
use core::cell::Cell;
use core::fmt::{Debug, Write};
use serde_json::json;
use teec::{Context, ErrorKind, Operation, ParamNone, ParamType, ParamValue, Session};

use crate::machine::console::Console;
use crate::machine::{cpu, interrupts};
use crate::tee::{self, Tee};
use crate::{results, supplicant};
use account::Account;

/// What a test says: nothing, or what was wrong.
type Outcome = Result<(), String>;

/// One test: its name, a sentence, and what it does.
type Test = (&'static str, fn(&Bench) -> Outcome);

/// Why some tests cannot be run.
const ONE_CPU: &str = "this machine has one CPU";
const NO_HOOKS: &str = "this kernel has no test hooks";
const OTHER_FIRMWARE: &str = "the firmware is not Tally's";

/// What every test gets.
struct Bench {
    tee: &'static Tee,
    context: Context<'static>,
    /// Why the test at hand was not run.
    skipped: Cell<Option<&'static str>>,
}

impl Bench {
    fn new(tee: &'static Tee) -> Self {
        Self {
            tee,
            context: Context::new(tee),
            skipped: Cell::new(None),
        }
    }

    /// Ends a test that cannot be run here.
    fn skipped(&self, why: &'static str) -> Outcome {
        self.skipped.set(Some(why));
        Ok(())
    }

    fn open(&self, uuid: tally_abi::TeeUuid) -> Result<Session<'static>, String> {
        self.context
            .open_session(uuid)
            .map_err(|error| format!("open {}: {error}", crate::names::name_of(uuid)))
    }

    /// Opening a session with `uuid` must fail as `kind`.
    fn refused(&self, uuid: tally_abi::TeeUuid, kind: ErrorKind) -> Outcome {
        fails(self.context.open_session(uuid).map(drop), kind)
    }
}

/// `result` must be an error of `kind`.
fn fails<T>(result: teec::Result<T>, kind: ErrorKind) -> Outcome {
    match result {
        Ok(_) => Err(format!("succeeded instead of {kind:?}")),
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => Err(format!("{error} instead of {kind:?}")),
    }
}

/// `result` must be a success.
fn works<T>(result: teec::Result<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn equal<T: PartialEq + Debug>(got: T, wanted: T, what: &str) -> Outcome {
    if got == wanted {
        Ok(())
    } else {
        Err(format!("{what}: {got:?} instead of {wanted:?}"))
    }
}

/// Starts the second CPU for a test that needs two; false on a machine that has one.
fn second_cpu() -> Result<bool, String> {
    match (cpu::start_others(), interrupts::cpus()) {
        (0, 1) => Ok(false),
        (0, _) => Err("the second CPU is there but does not start".into()),
        _ => Ok(true),
    }
}

fn holds(condition: bool, what: &str) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(what.to_string())
    }
}

/// What `teestat --json` printed.
fn parsed(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|why| alloc::format!("no JSON: {why}: {text}"))
}

/// Invokes with one value in, and one value out (given back).
fn value_call(session: &mut Session<'_>, command: u32, a: u32, b: u32) -> teec::Result<(u32, u32)> {
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
fn value_in(session: &mut Session<'_>, command: u32, a: u32, b: u32) -> teec::Result<()> {
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
fn value_out(session: &mut Session<'_>, command: u32) -> teec::Result<(u32, u32)> {
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

fn say(text: &str) {
    // The console takes everything.
    let _ = Console.write_str(text);
}

/// Runs the tests whose name contains one of `filters`, all without any: 0 if none failed, 2 if there are none.
pub(crate) fn run(filters: &[&str]) -> u8 {
    let tee = match tee::get() {
        Ok(tee) => tee,
        Err(why) => {
            say(&format!("selftest: {why}\n"));
            return 1;
        }
    };
    let bench = Bench::new(tee);
    let (mut ran, mut failed, mut skipped) = (0, 0, 0);
    let groups = [
        calls::TESTS,
        memory::TESTS,
        sessions::TESTS,
        images::TESTS,
        heaps::TESTS,
        crashes::TESTS,
        races::TESTS,
        figures::TESTS,
        inspect::TESTS,
        answers::TESTS,
        hindsight::TESTS,
        pools::TESTS,
        leaks::TESTS,
        order::TESTS,
        commands::TESTS,
        moments::TESTS,
        firmware::TESTS,
        sweep::TESTS,
    ];
    warm_up(&bench);
    for (name, test) in groups.into_iter().flatten() {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter)) {
            continue;
        }
        ran += 1;
        let start = cpu::micros();
        let result = run_one(&bench, *test);
        let millis = (cpu::micros() - start) / 1000;
        let (word, detail) = match (result, bench.skipped.take()) {
            (Err(why), _) => ("failed", why),
            (Ok(()), Some(why)) => ("skipped", why.to_string()),
            (Ok(()), None) => ("passed", String::new()),
        };
        failed += u32::from(word == "failed");
        skipped += u32::from(word == "skipped");
        results::write(&json!({
            "name": name, "result": word, "detail": detail, "ms": millis,
        }));
        let colon = if detail.is_empty() { "" } else { ": " };
        say(&format!("{word:7} {name}{colon}{detail}\n"));
    }
    if ran == 0 {
        say(&format!(
            "selftest: no test has `{}` in its name\n",
            filters.join("` or `")
        ));
        return teestat::STATUS_USAGE;
    }
    results::write(&json!({ "done": ran }));
    if skipped != 0 {
        say(&format!("{skipped} skipped\n"));
    }
    say(&format!(
        "{} passed, {failed} failed\n",
        ran - failed - skipped
    ));
    u8::from(failed != 0)
}

/// What the kernel allocates once, it allocates now.
fn warm_up(bench: &Bench) {
    for uuid in [ta_uuids::hello::UUID, ta_uuids::keepalive::UUID] {
        // If this does not work, the tests will say so.
        let _ = bench.context.open_session(uuid);
        let _ = teestat::client::kill(&bench.context, uuid);
    }
}

fn run_one(bench: &Bench, test: fn(&Bench) -> Outcome) -> Outcome {
    let before = Account::take(bench)?;
    let result = test(bench);
    supplicant::set_lie(None);
    result?;
    let after = Account::take(bench)?;
    after.adds_up()?;
    before.same_as(&after)
}
