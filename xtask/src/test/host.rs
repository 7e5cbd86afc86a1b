//! Tests that run on the host: libtest's, and the same under Miri.
//!
//! **Invariant:** each test of libtest is one test of the report; a test program that dies
//! without reporting is a failed test of its own.

use super::{Report, succeeds};
use crate::{setup, tool, ui};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PORTABLE: &[&str] = &[
    "tally-abi",
    "tally-records",
    "tally-insight",
    "tally-ledger",
    "tally-mem",
    "tally-core",
    "tally-account",
    "tally-pta",
    "ldelf",
    "teec",
    "teestat",
    "tally-symbols",
    "tally-report",
    "xtask",
    "tally-fuzz",
];

/// Packages, and how many processes share their tests: Miri runs on one CPU, whatever a test's own threads do.
const UNDER_MIRI: &[(&str, usize)] = &[
    ("tally-ledger", 3),
    ("tally-core", 1),
    ("tally-mem", 1),
    ("tally-account", 1),
];

/// Runs `cargo test` on the portable crates.
pub(crate) fn unit_tests(report: &mut Report) {
    ui::step("Testing", "portable crates on the host");
    for package in PORTABLE {
        let mut cargo = tool::cargo();
        cargo.args(["test", "--quiet", "--no-fail-fast", "-p", package]);
        // Cargo's `--quiet` would pass itself on to libtest.
        cargo.args(["--", "--format=pretty"]);
        if let Some(filter) = report.filter() {
            cargo.arg(filter);
        }
        libtest(report, package, &mut cargo);
    }
}

/// Runs the tests of the crates with unsafe code and of the kernel's core under Miri.
pub(crate) fn miri(report: &mut Report) {
    let wanted: Vec<(&str, usize)> = UNDER_MIRI
        .iter()
        .copied()
        .filter(|(package, _)| report.wants(&format!("miri: {package}")))
        .collect();
    if wanted.is_empty() {
        return;
    }
    if let Err(err) = setup::ensure(setup::Part::Miri) {
        let why = format!("{err:#}").replace('\n', " ");
        for (package, _) in wanted {
            report.skip(&format!("miri: {package}"), &why);
        }
        return;
    }
    let mut runs = Vec::new();
    for (package, shares) in wanted {
        ui::step("Testing", format_args!("{package} under Miri"));
        for share in 1..=shares {
            let run = move || under_miri(package, share, shares);
            let name = match shares {
                1 => format!("miri: {package}"),
                _ => format!("miri: {package}, {share} of {shares}"),
            };
            runs.push((name, std::thread::spawn(run)));
        }
    }
    for (name, run) in runs {
        match run.join() {
            Ok((time, result)) => report.record(&name, Some(time), result),
            Err(_) => report.record(&name, None, Err("the runner itself panicked".into())),
        }
    }
}

/// Runs every `shares`th test of a package, beginning with the `share`th.
fn under_miri(package: &str, share: usize, shares: usize) -> (Duration, Result<(), String>) {
    let start = Instant::now();
    let miri = || {
        let mut cargo = tool::cargo_nightly();
        cargo.args(["miri", "test", "--quiet", "-p", package, "--lib", "--"]);
        cargo.env(
            "MIRIFLAGS",
            "-Zmiri-strict-provenance -Zmiri-disable-isolation",
        );
        cargo
    };
    let run = || {
        let mut cargo = miri();
        if shares > 1 {
            let list = tool::captured(miri().args(["--list", "--format=terse"]));
            let (_, list) = list.map_err(|err| format!("{err:#}"))?;
            let names = every(&list, share, shares);
            if names.is_empty() {
                return Err(format!("no test to share was found:\n{list}"));
            }
            cargo.arg("--exact").args(names);
        }
        succeeds(&mut cargo)
    };
    let result = run();
    (start.elapsed(), result)
}

/// Of libtest's terse list every `shares`th test, beginning with the `share`th.
fn every(list: &str, share: usize, shares: usize) -> Vec<&str> {
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    names.skip(share - 1).step_by(shares).collect()
}

/// Runs one `cargo test` and reports its tests by `package path::of::test`.
fn libtest(report: &mut Report, package: &str, cargo: &mut Command) {
    let start = Instant::now();
    let spawned = cargo
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(err) => {
            let reason = format!("cannot start `{}`: {err}", tool::line(cargo));
            return report.record(package, None, Err(reason));
        }
    };
    let stderr = child.stderr.take().map(|stderr| {
        std::thread::spawn(move || std::io::read_to_string(stderr).unwrap_or_default())
    });
    let mut lines = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            lines.push(line);
        }
    }
    let succeeded = child.wait().is_ok_and(|status| status.success());
    let stderr = stderr
        .and_then(|thread| thread.join().ok())
        .unwrap_or_default();
    let output = parse(&lines);
    let failed = output.tests.iter().any(|(_, ok)| !ok);
    let each = start.elapsed() / u32::try_from(output.tests.len()).unwrap_or(1).max(1);
    for (name, ok) in output.tests {
        let full = format!("{package}: {name}");
        let result = if ok {
            Ok(())
        } else {
            Err(output.details.join("\n"))
        };
        // libtest runs tests in parallel and does not time them; the mean must do.
        report.record(
            &full,
            (each > Duration::from_millis(100)).then_some(each),
            result,
        );
    }
    if !succeeded && !failed {
        let tail: Vec<&str> = stderr
            .lines()
            .chain(lines.iter().map(String::as_str))
            .collect();
        let tail = tail[tail.len().saturating_sub(100)..].join("\n");
        report.record(&format!("{package}: test program"), None, Err(tail));
    }
}

#[derive(Debug, Default)]
struct Output {
    tests: Vec<(String, bool)>,
    details: Vec<String>,
}

/// Reads libtest's pretty output.
fn parse(lines: &[String]) -> Output {
    let mut output = Output::default();
    let mut in_details = false;
    for line in lines {
        if let Some(test) = line.strip_prefix("test ")
            && let Some((name, verdict)) = test.rsplit_once(" ... ")
        {
            match verdict {
                "ok" => output.tests.push((name.to_owned(), true)),
                "FAILED" => output.tests.push((name.to_owned(), false)),
                _ => {}
            }
        } else if line == "failures:" {
            in_details = true;
        } else if line.starts_with("test result:") {
            in_details = false;
        } else if in_details && !line.trim().is_empty() {
            output.details.push(line.clone());
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_a_list_are_all_of_it() {
        let list = "warning: slow\na::one: test\na::two: test\nb: test\nc: benchmark\n";
        assert_eq!(every(list, 1, 2), ["a::one", "b"]);
        assert_eq!(every(list, 2, 2), ["a::two"]);
    }

    #[test]
    fn verdicts_of_libtest_are_read() {
        let text = "\nrunning 2 tests\ntest a::works ... ok\ntest a::fails ... FAILED\n\n\
                    failures:\n\n---- a::fails stdout ----\nleft: 1\n\n\
                    test result: FAILED. 1 passed; 1 failed\n\
                    test b - doc (line 3) ... ok\n";
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let output = parse(&lines);
        let expected = [
            ("a::works", true),
            ("a::fails", false),
            ("b - doc (line 3)", true),
        ];
        assert_eq!(
            output.tests,
            expected.map(|(name, ok)| (name.to_owned(), ok))
        );
        assert_eq!(output.details, ["---- a::fails stdout ----", "left: 1"]);
    }
}
