//! Paired tests in QEMU: the guest's own, and runs that are meant to die.
//!
//! **Invariant:** results come from the channel that the guest writes to, never from its console; a
//! run without the closing record has failed.

use super::crash::{FATAL, died_well};
use super::results::{Results, Verdict};
use super::{Known, sources, variants};
use crate::fuzz::{self, Hostile};
use crate::images::{self, Config, Images};
use crate::linux::Unreachable;
use crate::qemu::{Ending, Run};
use crate::tfa::Tfa;
use crate::{sweep, ui};
use anyhow::Result;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Where the guest's tests stand, and those that run in Linux as well.
const SELFTEST: &str = "qemu/ree/src/selftest";
pub(crate) const PAIRED: &str = "qemu/paired/src";
/// Groups of the guest's tests: under our firmware, under TF-A, on a kernel with test hooks.
const OWN: &str = "qemu";
const TFA: &str = "tf-a";
const HOOKED: &str = "test hooks";
/// The one test of each group that is not the guest's.
const WHOLE: &str = "selftest ran to its end";

const HOSTILE: [(&str, Hostile, u64); 4] = [
    (
        "qemu: hostile calls, answers and pages leave nothing behind",
        fuzz::SMC,
        20_000,
    ),
    ("qemu: hostile TAs leave nothing behind", fuzz::TA, 5_000),
    (
        "qemu: many more hostile calls leave nothing behind",
        fuzz::SMC,
        200_000,
    ),
    (
        "qemu: many more calls of hostile TAs leave nothing behind",
        fuzz::TA,
        50_000,
    ),
];
const FORGED: &str = "qemu: what a TA prints is marked as its own, and no terminal obeys it";
const SHOWN: &str = "test hooks: a block's address and bytes are shown";
/// Whether all requests that follow are refused, too.
const SWEEPS: [(&str, bool); 2] = [
    (
        "test hooks: whichever request for memory is refused, every operation fails well",
        false,
    ),
    (
        "test hooks: from whichever request on memory is refused, every operation fails well",
        true,
    ),
];

fn fatal_name(command: &str) -> String {
    format!("qemu: `{command}` ends in a kernel panic with a named account")
}

/// Names of all of them. What TF-A adds takes a compiler and time.
pub(super) fn names() -> Result<Vec<Known>> {
    let [calls, tas, more_calls, more_tas] = HOSTILE.map(|(name, ..)| name);
    let mut names = vec![
        Known::short(calls),
        Known::short(tas),
        Known::long(more_calls),
        Known::long(more_tas),
        Known::short(FORGED),
        Known::short(SHOWN),
    ];
    names.extend(
        FATAL
            .iter()
            .map(|fatal| Known::short(fatal_name(fatal.command))),
    );
    names.extend(SWEEPS.map(|(name, _)| Known::long(name)));
    names.extend(variants::names().map(Known::short));
    let tests = tests()?;
    for test in tests.iter().map(String::as_str).chain([WHOLE]) {
        names.push(Known::short(format!("{OWN}: {test}")));
        names.push(Known::short(format!("{HOOKED}: {test}")));
        names.push(Known::long(format!("{TFA}: {test}")));
    }
    Ok(names)
}

/// The guest's own tests.
fn tests() -> Result<Vec<String>> {
    let mut tests = sources::tables(SELFTEST, "TESTS")?;
    tests.extend(sources::tables(PAIRED, "TESTS")?);
    Ok(tests)
}

/// Runs what is wanted.
pub(super) fn run(results: &mut Results, images: &Images, silence: Duration) {
    selftest(results, images, silence, Group::Own);
    hostile(results, images, silence);
    results.check(FORGED, || forged(images, silence));
    under_tfa(results, images, silence);
    on_hooks(results, silence);
    variants::run(results, silence);
}

/// Hostile calls: pages change in flight in one round, all CPUs call in the next.
fn hostile(results: &mut Results, images: &Images, silence: Duration) {
    for (name, hostile, calls) in HOSTILE {
        results.check(name, || {
            let command = hostile.command(calls, 1);
            let run = hostile.run(images, &command, silence);
            let outcome = run.start().map_err(|err| format!("{err:#}"))?;
            if outcome.ending == Ending::Exit(0) {
                return Ok(());
            }
            // The last round and its seed, and what the secure world said.
            let trouble = outcome.trouble(images).unwrap_or_default();
            Err(format!("{}\n{trouble}", tail(&outcome.normal, 10)))
        });
    }
}

/// A TA that prints lines of the kernel's, and lines that are cut where a character is.
fn forged(images: &Images, silence: Duration) -> std::result::Result<(), String> {
    const LINES: [&str; 4] = [
        "forged",
        "E/TC:0 00 status 70",
        "\u{1b}[2JM/MON: status 71",
        "\rE/LD:",
    ];
    let long = "\u{20ac}".repeat(200);
    let command = format!("hello log '{}'; hello log '{long}'", LINES.join("\n"));
    let outcome = Run::captured(images, "forged", &command, silence).start();
    let outcome = outcome.map_err(|err| format!("{err:#}"))?;
    let text = &outcome.secure;
    let (mut marked, mut euros) = (0, 0);
    for line in text.lines() {
        if LINES
            .iter()
            .any(|forged| line.contains(forged.trim_start_matches(char::is_control)))
        {
            marked += usize::from(line.starts_with("I/TA: "));
        }
        euros += line.matches('\u{20ac}').count();
    }
    let is_plain = |c: char| c == '\n' || !c.is_control() && c != char::REPLACEMENT_CHARACTER;
    if outcome.ending == Ending::Exit(0)
        && (marked, euros) == (4, 200)
        && text.chars().all(is_plain)
    {
        return Ok(());
    }
    Err(format!(
        "{:?}; {marked} lines marked, {euros} characters in\n{text:?}",
        outcome.ending
    ))
}

/// The same kernel under stock TF-A.
fn under_tfa(results: &mut Results, images: &Images, silence: Duration) {
    if results.of_group(TFA).next().is_none() {
        return;
    }
    match Tfa::debian() {
        Ok(tfa) => selftest(results, images, silence, Group::Tfa(&tfa)),
        Err(err) if err.is::<Unreachable>() => results.skip_group(TFA, &format!("{err:#}")),
        Err(err) => results.fail(&format!("{TFA}: {WHOLE}"), format_args!("{err:#}")),
    }
}

/// Only a kernel built for it can be broken on purpose, or shows addresses and memory.
fn on_hooks(results: &mut Results, silence: Duration) {
    let wanted = results.of_group(HOOKED).next().is_some();
    if !wanted && !results.wants_any(FATAL.iter().map(|fatal| fatal_name(fatal.command))) {
        return;
    }
    let images = match images::build(&Config::hooked()) {
        Ok(images) => images,
        Err(err) => return results.fail("build: kernel with test hooks", format_args!("{err:#}")),
    };
    let images = &images;
    selftest(results, images, silence, Group::Hooked);
    shown(results, images, silence);
    for (name, is_persistent) in SWEEPS {
        results.check(name, || {
            let command = sweep::command(is_persistent, "");
            let run = Run::captured(images, "sweep", &command, silence);
            let outcome = run.start().map_err(|err| format!("{err:#}"))?;
            sweep::verdict(&outcome).map_err(|why| match outcome.trouble(images) {
                Some(trouble) => format!("{why}\n{trouble}"),
                None => why,
            })
        });
    }
    for fatal in FATAL {
        let command = fatal.command;
        results.check(&fatal_name(command), || {
            let label = command.replace(' ', "-");
            match Run::captured(images, &label, command, silence).start() {
                Ok(outcome) => died_well(images, fatal, &outcome),
                Err(err) => Err(format!("{err:#}")),
            }
        });
    }
}

/// That it is such a kernel on which the guest's tests have looked at addresses and memory.
fn shown(results: &mut Results, images: &Images, silence: Duration) {
    results.check(SHOWN, || {
        let command =
            "open heap; invoke 1 alloc 5000; teestat blocks heap; teestat maps heap --json";
        let run = Run::captured(images, "shown", command, silence);
        let outcome = run.start().map_err(|err| format!("{err:#}"))?;
        if outcome.ending != Ending::Exit(0) {
            return Err(format!(
                "ended with {:?}\n{}",
                outcome.ending, outcome.normal
            ));
        }
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

/// Firmware and kernel of a run of the guest's tests.
#[derive(Clone, Copy)]
enum Group<'a> {
    Own,
    Tfa(&'a Tfa),
    Hooked,
}

/// The guest's command for these of its tests.
fn command(wanted: &[&str], all: usize) -> String {
    if wanted.len() == all {
        return "selftest".into();
    }
    let quoted = wanted.iter().map(|name| format!(" \"{name}\""));
    format!("selftest{}", quoted.collect::<String>())
}

/// Runs the guest's own tests as far as they are wanted.
fn selftest(results: &mut Results, images: &Images, silence: Duration, group: Group<'_>) {
    let (label, name) = match group {
        Group::Own => ("selftest", OWN),
        Group::Tfa(_) => ("selftest-tfa", TFA),
        Group::Hooked => ("hooked", HOOKED),
    };
    let tests = match tests() {
        Ok(tests) => tests,
        Err(err) => return results.fail(name, format_args!("{err:#}")),
    };
    let wanted: Vec<&str> = tests
        .iter()
        .map(String::as_str)
        .filter(|test| results.wants(&format!("{name}: {test}")))
        .collect();
    if wanted.is_empty() && !results.wants(&format!("{name}: {WHOLE}")) {
        return;
    }
    let command = command(&wanted, tests.len());
    let begun = Instant::now();
    let run = Run::captured(images, label, &command, silence);
    let running = ui::running(&format!("{} tests, {name}", wanted.len()));
    let outcome = match group {
        Group::Tfa(tfa) => run.start_under(tfa),
        Group::Own | Group::Hooked => run.start(),
    };
    drop(running);
    let whole = format!("{name}: {WHOLE}");
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(err) => return results.fail(&whole, format_args!("{err:#}")),
    };
    let time = begun.elapsed();
    let told = parse(&outcome.results);
    record(results, name, &told);
    let result = closing(&told).and_then(|()| match outcome.ending {
        Ending::Exit(0) => Ok(()),
        // A failed test is its own record; the guest says so by its status, too.
        Ending::Exit(1) if told.failed() => Ok(()),
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
    results.record(&whole, Some(time), result.into());
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Takes the results of a guest's tests.
pub(crate) fn record(results: &mut Results, group: &str, told: &Told) {
    for test in &told.tests {
        results.reported(
            &format!("{group}: {}", test.name),
            test.time,
            test.verdict.clone(),
        );
    }
}

/// What a guest told.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    tests: Vec<GuestTest>,
    done: Option<u64>,
    broken: Vec<String>,
}

impl Told {
    /// Whether a test failed.
    pub(crate) fn failed(&self) -> bool {
        let mut verdicts = self.tests.iter().map(|test| &test.verdict);
        verdicts.any(|verdict| matches!(verdict, Verdict::Failed(_)))
    }
}

#[derive(Debug, PartialEq)]
struct GuestTest {
    name: String,
    verdict: Verdict,
    time: Option<Duration>,
}

/// Reads the guest's results: one JSON object a line.
pub(crate) fn parse(text: &str) -> Told {
    let mut told = Told::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let object: Value = serde_json::from_str(line).unwrap_or_default();
        if let Some(done) = object["done"].as_u64() {
            told.done = Some(done);
        } else if let Some(test) = guest_test(&object) {
            told.tests.push(test);
        } else {
            told.broken.push(line.to_owned());
        }
    }
    told
}

fn guest_test(object: &Value) -> Option<GuestTest> {
    let detail = || object["detail"].as_str().unwrap_or_default().to_owned();
    Some(GuestTest {
        name: object["name"].as_str()?.to_owned(),
        verdict: match object["result"].as_str()? {
            "passed" => Verdict::Passed,
            "failed" => Verdict::Failed(detail()),
            "skipped" => Verdict::Skipped(detail()),
            _ => return None,
        },
        time: object["ms"].as_u64().map(Duration::from_millis),
    })
}

/// Whether the results are whole.
pub(crate) fn closing(told: &Told) -> Result<(), String> {
    let n = told.tests.len() as u64;
    if let Some(line) = told.broken.first() {
        return Err(format!("not a result: {line}"));
    }
    match told.done {
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
        let open = "{\"name\":\"a\",\"result\":\"passed\"}\n\
                    {\"name\":\"b\",\"result\":\"failed\",\"detail\":\"why\"}\n\
                    {\"name\":\"c\",\"result\":\"skipped\",\"detail\":\"no\"}\n";
        let told = parse(open);
        assert_eq!(told.tests.len(), 3);
        assert_eq!(told.tests[1].verdict, Verdict::Failed("why".into()));
        assert_eq!(told.tests[2].verdict, Verdict::Skipped("no".into()));
        assert!(closing(&told).is_err());
        assert!(closing(&parse(&format!("{open}{{\"done\":3}}\n"))).is_ok());
        assert!(closing(&parse(&format!("{open}{{\"done\":4}}\n"))).is_err());
        assert!(closing(&parse("{\"done\":0}")).is_err());
        let odd = "{\"name\":\"a\",\"result\":\"odd\"}\n{\"done\":0}\n";
        assert!(closing(&parse(odd)).is_err());
        assert!(closing(&parse("{\"name\":\"a\",\"result\":\"passed\"}\n{\"na")).is_err());
    }

    #[test]
    fn a_part_of_the_tests_is_asked_for_by_name() {
        assert_eq!(command(&["a b", "c"], 3), "selftest \"a b\" \"c\"");
        assert_eq!(command(&["a", "b"], 2), "selftest");
    }
}
