//! Paired tests in QEMU: the guest's own, and runs that are meant to die.
//!
//! **Invariant:** results come from the file that the guest writes, never from its console; a
//! run without the closing record has failed.

use super::{Report, variants};
use crate::images::{self, Config, Images};
use crate::linux::Unreachable;
use crate::qemu::{Ending, Outcome, Output, Run, STATUS_KERNEL_PANIC};
use crate::tfa::Tfa;
use crate::{fuzz, paths, ui};
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Commands after which the kernel must have panicked.
const FATAL: &[&str] = &[
    "fault panic",
    "fault bad-read",
    "fault stack-overflow",
    "fault write-code",
];

/// Group of the tests on a kernel with test hooks.
const HOOKED: &str = "test hooks";

/// Runs them all.
pub(crate) fn run(report: &mut Report, images: &Images, silence: Duration) {
    ui::step("Testing", "in QEMU");
    selftest(report, images, silence, None);
    hostile(report, images, silence);
    under_tfa(report, images, silence);
    fatal(report, silence);
    variants::run(report, silence);
}

/// Hostile calls of the same two rounds each time: pages change in flight in one, both CPUs call in the other.
fn hostile(report: &mut Report, images: &Images, silence: Duration) {
    const CALLS: u64 = 20_000;
    let name = "qemu: hostile calls, answers and pages leave nothing behind";
    report.check(name, || {
        let command = fuzz::smc_command(CALLS, 1);
        let outcome = qemu_run(images, "hostile", &command, silence, None)
            .start()
            .map_err(|err| format!("{err:#}"))?;
        if outcome.ending == Ending::Exit(0) {
            return Ok(());
        }
        // The last round and its seed, and what the secure world said.
        let trouble = outcome.trouble(images).unwrap_or_default();
        Err(format!("{}\n{trouble}", tail(&outcome.normal, 10)))
    });
}

/// The same kernel under stock TF-A.
fn under_tfa(report: &mut Report, images: &Images, silence: Duration) {
    let name = "tf-a: selftest";
    if !report.wants(name) {
        return;
    }
    match Tfa::debian() {
        Ok(tfa) => selftest(report, images, silence, Some(&tfa)),
        Err(err) if err.is::<Unreachable>() => report.skip(name, &format!("{err:#}")),
        Err(err) => report.record(name, None, Err(format!("{err:#}"))),
    }
}

fn fatal(report: &mut Report, silence: Duration) {
    let name = |command| format!("qemu: `{command}` ends in a kernel panic with a named account");
    let fatal_wanted = FATAL.iter().any(|command| report.wants(&name(command)));
    if !fatal_wanted && !report.filter().is_some_and(|f| f.starts_with(HOOKED)) {
        return;
    }
    // Only a kernel built for it can be broken on purpose, or shows addresses and memory.
    let config = Config::with(&["test-hooks", "addresses", "block-bytes"]);
    let images = match images::build(&config) {
        Ok(images) => images,
        Err(err) => {
            let reason = Err(format!("{err:#}"));
            return report.record("build: kernel with test hooks", None, reason);
        }
    };
    let images = &images;
    hooked(report, images, silence);
    shown(report, images, silence);
    for command in FATAL {
        report.check(&name(command), || {
            let label = command.replace(' ', "-");
            match qemu_run(images, &label, command, silence, None).start() {
                Ok(outcome) => died_well(images, &outcome),
                Err(err) => Err(format!("{err:#}")),
            }
        });
    }
}

/// The guest's tests on a kernel with test hooks: some can only fail where a fault can be switched on.
fn hooked(report: &mut Report, images: &Images, silence: Duration) {
    let results = paths::out().join("hooked.jsonl");
    // A stale file must not speak for this run.
    let _ = std::fs::remove_file(&results);
    let run = qemu_run(images, "hooked", "selftest", silence, Some(results.clone()));
    let ended = run.start().map_err(|err| format!("{err:#}"));
    let parsed = parse(&std::fs::read_to_string(&results).unwrap_or_default());
    record(report, HOOKED, &parsed);
    if let Err(why) = ended.and_then(|_| closing(&parsed)) {
        report.record("test hooks: selftest", None, Err(why));
    }
}

/// That it is such a kernel on which the guest's tests have looked at addresses and memory.
fn shown(report: &mut Report, images: &Images, silence: Duration) {
    report.check("test hooks: a block's address and bytes are shown", || {
        let command =
            "open heap; invoke 1 alloc 5000; teestat blocks heap; teestat maps heap --json";
        let run = qemu_run(images, "shown", command, silence, None);
        let outcome = run.start().map_err(|err| format!("{err:#}"))?;
        let json = outcome.normal.lines().find(|line| line.starts_with('{'));
        let told: Value = serde_json::from_str(json.unwrap_or_default())
            .map_err(|err| format!("{err}\n{}", outcome.normal))?;
        let regions = told["regions"].as_array().map_or(&[][..], Vec::as_slice);
        let with_address = |region: &&Value| region["va"].as_u64().is_some();
        match regions.iter().filter(with_address).count() {
            0 => Err(format!("no addresses:\n{}", outcome.normal)),
            _ => Ok(()),
        }
    });
}

pub(super) fn qemu_run<'a>(
    images: &'a Images,
    label: &'a str,
    command: &'a str,
    silence: Duration,
    results: Option<PathBuf>,
) -> Run<'a> {
    Run {
        images,
        label,
        command: Some(command),
        output: Output::Captured,
        secure_console: false,
        silence,
        results,
        cpus: 2,
        extra: Vec::new(),
    }
}

/// Runs the guest's own tests, under stock TF-A or our firmware.
fn selftest(report: &mut Report, images: &Images, silence: Duration, tfa: Option<&Tfa>) {
    let (label, group) = match tfa {
        Some(_) => ("selftest-tfa", "tf-a"),
        None => ("selftest", "qemu"),
    };
    if report
        .filter()
        .is_some_and(|f| "tidylintfuzzbuildmiri".contains(f))
    {
        return;
    }
    let results = paths::out().join(format!("{label}.jsonl"));
    // A stale file must not speak for this run.
    let _ = std::fs::remove_file(&results);
    let begun = Instant::now();
    let run = qemu_run(images, label, "selftest", silence, Some(results.clone()));
    let whole = format!("{group}: selftest");
    let outcome = match tfa {
        Some(tfa) => run.start_under(tfa),
        None => run.start(),
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(err) => return report.record(&whole, None, Err(format!("{err:#}"))),
    };
    let time = begun.elapsed();
    let parsed = parse(&std::fs::read_to_string(&results).unwrap_or_default());
    record(report, group, &parsed);
    let result = closing(&parsed).and_then(|()| match outcome.ending {
        Ending::Exit(0) => Ok(()),
        // A failed test is its own record; the guest says so by its status, too.
        Ending::Exit(1) if parsed.failed() => Ok(()),
        Ending::Exit(status) => Err(format!("the guest ended with status {status}")),
        Ending::Hung(_) | Ending::Interrupted | Ending::Killed(_) | Ending::Silent => {
            Err("the guest did not end by itself".into())
        }
    });
    let result = result.map_err(|why| match outcome.trouble(images) {
        Some(trouble) => format!("{why}\n{trouble}"),
        None => format!(
            "{why}\nend of the normal console:\n{}",
            tail(&outcome.normal, 30)
        ),
    });
    if result.is_err() || report.wants(&whole) {
        report.record(&format!("{whole} ran to its end"), Some(time), result);
    }
}

/// Status of a panic, and on the secure console registers, a named backtrace and the account.
fn died_well(images: &Images, outcome: &Outcome) -> Result<(), String> {
    let secure = &outcome.secure;
    let lower = secure.to_lowercase();
    let complaint = if outcome.ending != Ending::Exit(STATUS_KERNEL_PANIC) {
        format!(
            "ended with {:?}, not with status {STATUS_KERNEL_PANIC}",
            outcome.ending
        )
    } else if !lower.contains("panic") && !lower.contains("crash") {
        "the secure console does not speak of a panic".to_owned()
    } else if !secure.contains(".rs:") {
        "the backtrace has no file:line".to_owned()
    } else if !lower.contains("heap") && !lower.contains("memory") {
        "the account of memory is missing".to_owned()
    } else {
        return Ok(());
    };
    let end = outcome.trouble(images).unwrap_or_else(|| tail(secure, 40));
    Err(format!("{complaint}\n{end}"))
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Takes the results of the tests that were asked for.
pub(crate) fn record(report: &mut Report, kind: &str, parsed: &Results) {
    for test in &parsed.tests {
        let name = format!("{kind}: {}", test.name);
        if report.wants(&name) {
            let result = if test.ok {
                Ok(())
            } else {
                Err(test.detail.clone())
            };
            report.record(&name, test.time, result);
        }
    }
}

/// What a guest told.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Results {
    tests: Vec<GuestTest>,
    done: Option<u64>,
    broken: Vec<String>,
}

impl Results {
    /// Whether a test failed.
    pub(crate) fn failed(&self) -> bool {
        self.tests.iter().any(|test| !test.ok)
    }
}

#[derive(Debug, Default, PartialEq)]
struct GuestTest {
    name: String,
    ok: bool,
    detail: String,
    time: Option<Duration>,
}

/// Reads the guest's results: one JSON object a line.
pub(crate) fn parse(text: &str) -> Results {
    let mut results = Results::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let Ok(object) = serde_json::from_str::<Value>(line) else {
            results.broken.push(line.to_owned());
            continue;
        };
        if let Some(done) = object["done"].as_u64() {
            results.done = Some(done);
        } else if let (Some(name), Some(ok)) = (object["name"].as_str(), object["ok"].as_bool()) {
            results.tests.push(GuestTest {
                name: name.to_owned(),
                ok,
                detail: object["detail"].as_str().unwrap_or_default().to_owned(),
                time: object["ms"].as_u64().map(Duration::from_millis),
            });
        }
    }
    results
}

/// Whether the results are whole.
pub(crate) fn closing(results: &Results) -> Result<(), String> {
    let n = results.tests.len() as u64;
    if let Some(line) = results.broken.first() {
        return Err(format!("not a result: {line}"));
    }
    match results.done {
        Some(done) if done == n && n > 0 => Ok(()),
        Some(done) => Err(format!("the guest says {done} tests, its results have {n}")),
        None => Err(format!("the guest ended in the middle, after {n} tests")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_count_only_when_closed() {
        let open =
            "{\"name\":\"a\",\"ok\":true}\n{\"name\":\"b\",\"ok\":false,\"detail\":\"why\"}\n";
        let results = parse(open);
        assert_eq!(results.tests.len(), 2);
        assert_eq!(results.tests[1].detail, "why");
        assert!(closing(&results).is_err());
        assert!(closing(&parse(&format!("{open}{{\"done\":2}}\n"))).is_ok());
        assert!(closing(&parse(&format!("{open}{{\"done\":3}}\n"))).is_err());
        assert!(closing(&parse("{\"done\":0}")).is_err());
        assert!(closing(&parse("{\"name\":\"a\",\"ok\":true}\n{\"na")).is_err());
    }
}
