//! OP-TEE's test suite, as Debian built it: each case in a process of its own, with its limit and the account around it.
//!
//! **Invariant:** what a case prints is read as text and decides nothing but its own result.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use teec::Context;

use crate::account::Account;
use crate::bench;
use crate::results::Results;

const PROGRAM: &str = "xtest";
/// Checks at most of a case that opens a session and then says that it skips itself.
const OPENING: u64 = 2;
/// Where a case's output goes.
const OUTPUT: &str = "/tmp/xtest.log";
/// Cases of a TA that stays, and the TA: it is ended before what it leaves is counted.
const STAYS: (&str, &str) = ("pkcs11_", "fd02c9da-306c-48c7-a49c-bbd827ae86ee");
/// After this a case hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `cases`, and writes a line for each.
pub(crate) fn run(results: &str, cases: &[&str]) -> Result<(), String> {
    let mut results = Results::open(results).map_err(|error| format!("{results}: {error}"))?;
    let transport = bench::connect()?;
    let context = Context::new(&transport);
    let mut before = Account::take(&context)?;
    for case in cases {
        let begun = Instant::now();
        let status = ended(case)?;
        let output = std::fs::read(OUTPUT).map_err(|error| format!("{OUTPUT}: {error}"))?;
        let output = String::from_utf8_lossy(&output);
        println!("{output}");
        let told = Told::read(&output);
        let (ends, why) = told.ends(status);
        if case.starts_with(STAYS.0) {
            // It may have died of its case.
            let _ = bench::program("teestat", &["kill", STAYS.1]);
        }
        let after = Account::take(&context)?;
        let growth = before.same_as(&after).err();
        before = after;
        let line = json!({
            "case": case,
            "ends": ends,
            "why": why,
            "subtests": told.subtests,
            "all_cases": told.cases,
            "growth": growth,
            "ms": u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        println!("{ends} {case}");
        results
            .row(&line)
            .map_err(|error| format!("results: {error}"))?;
    }
    results.close().map_err(|error| format!("results: {error}"))
}

/// Runs a case to its end; `None` when it hung.
fn ended(case: &str) -> Result<Option<ExitStatus>, String> {
    let failed = |error: std::io::Error| format!("{PROGRAM}: {error}");
    let output = File::create(OUTPUT).map_err(failed)?;
    let errors = output.try_clone().map_err(failed)?;
    let mut child = Command::new(PROGRAM)
        .args(["-t", "regression+pkcs11", case])
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(failed)?;
    let status = within(&mut child, LIMIT).map_err(failed)?;
    if status.is_none() {
        child.kill().and_then(|()| child.wait()).map_err(failed)?;
    }
    Ok(status)
}

fn within(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        let status = child.try_wait()?;
        if status.is_some() || begun.elapsed() > limit {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a run of one case tells at its end.
#[derive(Debug, PartialEq)]
struct Told<'t> {
    /// Checks that were made.
    subtests: u64,
    /// Cases that there are, this one among them.
    cases: u64,
    /// The first check that failed, or what is missing.
    why: &'t str,
    /// Whether nothing was checked but that something is missing.
    skips: bool,
}

impl<'t> Told<'t> {
    fn read(output: &'t str) -> Self {
        // As in "138 test cases were skipped".
        let sum = |unit: &str| -> u64 {
            let lines = output.lines().filter(|line| line.contains(unit));
            let numbers = lines.filter_map(|line| line.split(' ').next());
            numbers
                .filter_map(|number| number.parse::<u64>().ok())
                .sum()
        };
        let first = |words: &str| output.lines().find(|line| line.contains(words));
        let skip = first("skip test").or(first("skipping"));
        let subtests = sum(" subtest");
        Self {
            subtests,
            cases: sum(" test case"),
            why: first("unexpected value").or(skip).unwrap_or_default(),
            skips: subtests == 0 || skip.is_some() && subtests <= OPENING,
        }
    }

    /// In a word, and why.
    fn ends(&self, status: Option<ExitStatus>) -> (&'static str, String) {
        let why = self.why.to_owned();
        match status.map(|status| (status.code(), status.signal())) {
            None => ("hangs", format!("for more than {LIMIT:?}")),
            Some((_, Some(signal))) => ("crashes", format!("by signal {signal}")),
            Some((Some(0), _)) if self.skips => ("tests nothing", why),
            Some((Some(0), _)) => ("passes", String::new()),
            Some(_) => ("fails", why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_s_end_is_read_from_what_it_prints() {
        let exited = |status: i32| Some(ExitStatus::from_raw(status << 8));
        for (printed, subtests, status, ends) in [
            ("no such TA: skip test", 3, exited(0), "passes"),
            ("", 1, exited(0), "passes"),
            ("", 0, exited(0), "tests nothing"),
            ("no such TA, skipping test 1", 2, exited(0), "tests nothing"),
            ("no C++, skipping C++ tests", 1, exited(0), "tests nothing"),
            (
                "a.c:1: f() has an unexpected value: 0x1",
                8,
                exited(1),
                "fails",
            ),
            ("", 0, Some(ExitStatus::from_raw(11)), "crashes"),
            ("", 0, None, "hangs"),
        ] {
            let output = format!(
                "{printed}\n{subtests} subtests of which 0 failed\n\
                 1 test case of which 0 failed\n138 test cases were skipped\n"
            );
            let told = Told::read(&output);
            assert_eq!((told.ends(status).0, told.cases), (ends, 139), "{printed}");
        }
    }
}
