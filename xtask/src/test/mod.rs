//! `cargo xtask test`: what there is to test, and what is run of it.
//!
//! **Invariant:** the last line is `N passed, N failed`, with `N skipped` on a line before it when
//! something could not be run; a filter that meets nothing is status 2 before anything is built, and so is
//! one that meets only what was skipped, afterwards.

mod carried;
mod choice;
mod crash;
mod debian_tas;
mod encrypted_ta;
mod gdb;
pub(crate) mod guest;
mod host;
mod leaks;
mod list;
mod miri;
mod own_ta;
mod report;
pub(crate) mod results;
pub(crate) mod sources;
mod teaclave;
mod terminal;
mod variants;
mod xtest;

use crate::deny::Unavailable;
use crate::images::{self, Config, Images};
use crate::{file, fuzz, lint, linux, mutants, stacks, tidy, tool, ui};
use anyhow::Result;
use choice::{Choice, choose};
use results::{Results, Verdict};
use sources::Member;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Exit status for a filter that meets no test, or none that can be run.
const STATUS_NOTHING_RUN: u8 = 2;

const AFTER_HELP: &str = "Minutes are those of two cores when other people's crates are built, with the guest's images (1 minute) in the first part that needs them. Without --host, --miri, --qemu and --linux all four are run.\n\n\
Exit status: 0 nothing failed; 1 something failed; 2 no test has the filter in its name, or all that have it were skipped.";

/// Which tests.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Unit tests of all members, tidy, stacks, lint, reports, short fuzzing: 6 minutes
    #[arg(long)]
    host: bool,
    /// Paired tests in QEMU, hostile calls, build variants, leak gate, crashes of the kernel: 4 minutes
    #[arg(long)]
    qemu: bool,
    /// Paired tests in Debian's Linux in QEMU, and OP-TEE's test suite (`xtest`) as Debian built it: 6 minutes
    #[arg(long)]
    linux: bool,
    /// Portable crates under Miri: 3 minutes
    #[arg(long)]
    miri: bool,
    /// Also what takes long, in all hours: a twelfth of the wrong changes of `mutants`, another one each day; every
    /// operation of `sweep`; ten times as many hostile calls; slow tests under Miri, fuzzing and HTTP at length; TF-A; Debian 12;
    /// cargo-deny and advisories
    #[arg(long)]
    long: bool,
    /// Show the names of the tests, and run none
    #[arg(long)]
    list: bool,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the results as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// End a guest that has been silent for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// A test that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    name: String,
    /// Whether it belongs to `--long` alone.
    long: bool,
}

impl Known {
    pub(crate) fn short(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { name, long: false }
    }

    pub(crate) fn long(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { name, long: true }
    }
}

/// A part of the tests that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Host,
    Miri,
    Qemu,
    Linux,
}

impl Part {
    const ALL: [Self; 4] = [Self::Host, Self::Miri, Self::Qemu, Self::Linux];

    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Miri => "miri",
            Self::Qemu => "qemu",
            Self::Linux => "linux",
        }
    }

    /// Its tests, none of which is built yet.
    fn tests(self, members: &[Member]) -> Result<Vec<Known>> {
        let short = |names: Vec<String>| names.into_iter().map(Known::short).collect();
        Ok(match self {
            Self::Host => {
                let mut tests: Vec<Known> = short(host::names(members));
                tests.push(Known::short(TIDY));
                tests.push(Known::short(STACKS));
                tests.push(Known::long(MUTANTS));
                tests.extend(lint::CHECKS.iter().map(|check| Known {
                    name: check.name.to_owned(),
                    long: check.long,
                }));
                tests.extend(report::NAMES.map(Known::short));
                tests.extend(fuzzing_names()?);
                tests
            }
            Self::Miri => miri::names().collect(),
            Self::Qemu => {
                let mut tests = guest::names()?;
                tests.push(Known::short(IMAGES));
                tests.extend(leaks::names().map(Known::short));
                tests.extend(terminal::names());
                let others = [own_ta::NAME, gdb::NAME, encrypted_ta::NAME];
                tests.extend(others.map(Known::short));
                tests.extend(debian_tas::NAMES.map(Known::short));
                tests
            }
            Self::Linux => {
                let mut tests = linux::tests::known()?;
                let others = [xtest::NAME, teaclave::NAME, carried::NAME];
                tests.extend(others.map(Known::short));
                tests
            }
        })
    }
}

/// Runs what was asked for.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let asked = [args.host, args.miri, args.qemu, args.linux];
    let mut parts: Vec<Part> = Part::ALL
        .into_iter()
        .zip(asked)
        .filter_map(|(part, asked)| asked.then_some(part))
        .collect();
    if parts.is_empty() {
        parts.extend(Part::ALL);
    }
    file::ensure_writable([&args.json, &args.junit].into_iter().flatten())?;
    let members = sources::members()?;
    let mut tests = Vec::new();
    for part in Part::ALL {
        tests.extend(part.tests(&members)?.into_iter().map(|test| (part, test)));
    }
    let wanted = match choose(
        &tests,
        &parts,
        args.long,
        args.filter.as_deref().unwrap_or_default(),
    ) {
        Choice::Tests(wanted) => wanted,
        Choice::None(why) => {
            ui::error(why);
            return Ok(STATUS_NOTHING_RUN);
        }
    };
    if args.list {
        for name in wanted {
            anstream::println!("{name}");
        }
        return Ok(0);
    }
    let known = tests.iter().map(|(_, test)| test.name.clone()).collect();
    let of_part = |part: Part| {
        let tests = tests.iter().filter(move |(of, _)| *of == part);
        tests.map(|(_, test)| test.name.as_str())
    };
    let mut results = Results::new(known, wanted);
    let silence = Duration::from_secs(args.timeout);
    let mut images = Built::default();
    for part in Part::ALL {
        if !parts.contains(&part) || !results.wants_any(of_part(part)) {
            continue;
        }
        let start = Instant::now();
        match part {
            Part::Host => on_host(&mut results, &members, &mut images),
            Part::Miri => miri::run(&mut results),
            Part::Qemu => {
                if let Some(images) = images.get(&mut results) {
                    leaks::run(&mut results, images, silence);
                    terminal::run(&mut results);
                    own_ta::run(&mut results, images, silence);
                    gdb::run(&mut results, images, silence);
                    debian_tas::run(&mut results, silence);
                    encrypted_ta::run(&mut results, images, silence);
                    guest::run(&mut results, images, silence);
                }
            }
            Part::Linux => {
                if let Some(images) = images.get(&mut results) {
                    linux::tests::run(&mut results, images, silence);
                    teaclave::run(&mut results, images, silence);
                }
                xtest::run(&mut results, silence);
                carried::run(&mut results, silence);
            }
        }
        let seconds = start.elapsed().as_secs();
        ui::step(
            "Finished",
            format_args!(
                "--{} in {} min {} s",
                part.name(),
                seconds / 60,
                seconds % 60
            ),
        );
    }
    results.end();
    results.write(args.json.as_deref(), args.junit.as_deref())?;
    Ok(results.close())
}

/// The guest's images, built when the first test needs them.
#[derive(Default)]
struct Built(Option<Result<Images, ()>>);

impl Built {
    /// `None` when they cannot be built, which is a failure of its own.
    fn get(&mut self, results: &mut Results) -> Option<&Images> {
        let build = || {
            let start = Instant::now();
            let built = images::build(&Config::default());
            let verdict = match &built {
                Ok(_) => Verdict::Passed,
                Err(err) => Verdict::Failed(format!("{err:#}")),
            };
            results.record(IMAGES, Some(start.elapsed()), verdict);
            built.map_err(|_| ())
        };
        self.0.get_or_insert_with(build).as_ref().ok()
    }
}

const IMAGES: &str = "build: guest images";
const TIDY: &str = "tidy";
const STACKS: &str = "stacks: the deepest paths fit";
const MUTANTS: &str = "mutants: today's share of the threat model's files";

fn on_host(results: &mut Results, members: &[Member], images: &mut Built) {
    host::run(results, members);
    results.check(TIDY, || match tidy::check() {
        Ok(complaints) if complaints.is_empty() => Ok(()),
        Ok(complaints) => Err(complaints.join("\n")),
        Err(err) => Err(format!("{err:#}")),
    });
    if results.wants(STACKS)
        && let Some(images) = images.get(results)
    {
        results.check(STACKS, || stacks::check(images));
    }
    // Clippy for the guest includes the loader's image.
    if results.wants_any(lint::CHECKS.iter().map(|check| check.name))
        && images.get(results).is_some()
    {
        match lint::prepare() {
            Ok(()) => {
                for check in lint::CHECKS {
                    lint_check(results, check);
                }
            }
            Err(err) => results.fail("lint", format_args!("{err:#}")),
        }
    }
    report::run(results);
    fuzzing(results);
    results.check(MUTANTS, || {
        mutants::todays_share().map_err(|err| format!("{err:#}"))
    });
}

fn lint_check(results: &mut Results, check: &lint::Check) {
    if !results.wants(check.name) {
        return;
    }
    let start = Instant::now();
    let running = ui::running(check.name);
    let result = (check.run)();
    drop(running);
    let verdict = match result {
        Ok(()) => Verdict::Passed,
        Err(err) if err.is::<Unavailable>() => Verdict::Skipped(format!("{err:#}")),
        Err(err) => Verdict::Failed(format!("{err:#}")),
    };
    results.record(check.name, Some(start.elapsed()), verdict);
}

/// Seconds for each target, every day and with `--long`: some ten thousand inputs a second.
const FUZZING: [(&str, u64); 2] = [("", 2), (", at length", 30)];

fn fuzzing_names() -> Result<Vec<Known>> {
    let mut names = Vec::new();
    for target in fuzz::targets()? {
        let [short, long] = FUZZING.map(|(suffix, _)| format!("fuzz: {target}{suffix}"));
        names.extend([Known::short(short), Known::long(long)]);
    }
    Ok(names)
}

fn fuzzing(results: &mut Results) {
    if results.of_group("fuzz").next().is_none() {
        return;
    }
    match fuzz::build().and_then(|()| fuzz::targets()) {
        Ok(targets) => {
            for target in targets {
                for (suffix, seconds) in FUZZING {
                    results.check(&format!("fuzz: {target}{suffix}"), || {
                        succeeds(&mut fuzz::command(&target, seconds, 1))
                    });
                }
            }
        }
        Err(err) => results.fail("fuzz", format_args!("{err:#}")),
    }
}

/// Runs a program; when it fails, what it printed is the reason.
pub(crate) fn succeeds(command: &mut std::process::Command) -> Result<(), String> {
    match tool::captured(command) {
        Ok((true, _)) => Ok(()),
        Ok((false, text)) => {
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(200)..].join("\n");
            Err(format!("{tail}\n`{}` failed", tool::line(command)))
        }
        Err(err) => Err(format!("{err:#}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn all() -> Vec<String> {
        let members = sources::members().unwrap();
        let tests = Part::ALL.map(|part| part.tests(&members).unwrap());
        tests.into_iter().flatten().map(|test| test.name).collect()
    }

    #[test]
    fn names_are_told_apart() {
        let mut names = BTreeSet::new();
        for name in all() {
            assert!(names.insert(name.clone()), "twice: {name}");
        }
    }

    /// Rows named code without a test, and files that had what they tell no more.
    #[test]
    fn each_row_of_the_threat_model_names_code_and_tests_that_there_are() {
        let known: BTreeSet<String> = all().into_iter().collect();
        let model = crate::paths::root().join("docs").join("THREAT_MODEL.md");
        let model = std::fs::read_to_string(model).unwrap();
        let rows = model.lines().filter(|line| line.starts_with("| "));
        let mut count = 0;
        for row in rows.skip(1) {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
            let [_, _, code, tests] = cells[..] else {
                panic!("not four cells: {row}");
            };
            assert!(code.contains('`'), "no code: {row}");
            let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
            assert!(!tests.is_empty(), "no test: {row}");
            for test in tests {
                assert!(known.contains(test), "there is no `{test}`: {row}");
            }
            count += 1;
        }
        assert!(count > 30, "{count} rows");
    }
}
