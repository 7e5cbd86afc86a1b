//! The paired tests, those of `qemu/paired` among them: this world against the secure one, with accounts before and after.
//!
//! **Invariant:** after every test secure RAM adds up, and every account is as it was before, to
//! the byte; the test fails otherwise.

mod answers;
mod caller;
mod calls;
mod crashes;
mod firmware;
mod hindsight;
pub(crate) mod hostile;
pub(crate) mod hostile_ta;
mod images;
mod inspect;
mod leaks;
mod memory;
mod phrases;
mod races;
mod raw;
mod sessions;
mod stacks;
mod storage;
pub(crate) mod sweep;
mod vocabulary;

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write;
use core::ops::Deref;
use serde_json::json;
use tally_paired::{
    NO_HOOKS, Outcome, Side, equal, fails, figures, holds, parsed, soak, value_call, value_in,
    value_out, works,
};
use teec::Context;

use crate::machine::console::{self, Console};
use crate::machine::{cpu, interrupts};
use crate::names::MachineNames;
use crate::tee::{self, Tee};
use crate::{results, supplicant};
use tally_paired::account;

/// One test: its name, a sentence, and what it does.
type Test = (&'static str, fn(&Bench) -> Outcome);

/// Why some tests cannot be run.
const ONE_CPU: &str = "this machine has one CPU";
const OTHER_FIRMWARE: &str = "the firmware is not Tally's";

/// What every test gets.
struct Bench {
    tee: &'static Tee,
    paired: tally_paired::Bench<'static>,
}

impl Bench {
    fn new(tee: &'static Tee) -> Self {
        Self {
            tee,
            paired: tally_paired::Bench::new(Context::new(tee), &MachineNames),
        }
    }
}

impl Deref for Bench {
    type Target = tally_paired::Bench<'static>;

    fn deref(&self) -> &Self::Target {
        &self.paired
    }
}

impl Side for MachineNames {
    fn micros(&self) -> u64 {
        cpu::micros()
    }

    fn shared_count(&self) -> usize {
        tee::found().map_or(0, Tee::shared_count)
    }

    fn say(&self, text: &str) {
        say(text);
    }

    fn is_interrupted(&self) -> bool {
        console::breaks() > 0
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
        crashes::TESTS,
        races::TESTS,
        inspect::TESTS,
        stacks::TESTS,
        answers::TESTS,
        hindsight::TESTS,
        leaks::TESTS,
        firmware::TESTS,
        storage::TESTS,
        sweep::TESTS,
    ];
    let own = groups.into_iter().flatten();
    let own = own.map(|(name, test)| (*name, Runs::Here(*test)));
    let shared = tally_paired::GROUPS.into_iter().flatten();
    let shared = shared.map(|(name, test)| (*name, Runs::Anywhere(*test)));
    bench.warm_up();
    for (name, test) in own.chain(shared) {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter)) {
            continue;
        }
        if console::breaks() > 0 {
            break;
        }
        ran += 1;
        let start = cpu::micros();
        let result = run_one(&bench, test);
        let millis = (cpu::micros() - start) / 1000;
        let (word, detail) = match (result, bench.take_skipped()) {
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

/// Where a test can be run.
#[derive(Clone, Copy)]
enum Runs {
    Here(fn(&Bench) -> Outcome),
    Anywhere(fn(&tally_paired::Bench) -> Outcome),
}

fn run_one(bench: &Bench, test: Runs) -> Outcome {
    bench.check(|| {
        let result = match test {
            Runs::Here(test) => test(bench),
            Runs::Anywhere(test) => test(bench),
        };
        supplicant::set_lie(None);
        crate::storage::set_lie(None, 0);
        result
    })
}

/// `soak --rounds N` or `soak --seconds N`: 0 if nothing grew.
pub(crate) fn run_soak(args: &[&str]) -> Result<u8, String> {
    let limit = match args {
        ["--rounds", count] => count.parse().ok().map(soak::Limit::Rounds),
        ["--seconds", count] => count
            .parse()
            .ok()
            .map(|seconds: u64| soak::Limit::Micros(seconds.saturating_mul(1_000_000))),
        _ => None,
    };
    let Some(limit) = limit else {
        say("usage: soak --rounds N | soak --seconds N\n");
        return Ok(teestat::STATUS_USAGE);
    };
    let bench = Bench::new(tee::get()?);
    soak::run(&bench, limit).map(|()| teestat::STATUS_OK)
}
