//! Results of the tests: on the terminal, as JSON and as JUnit's XML.
//!
//! **Invariant:** every test that was wanted ends as passed, failed or skipped, with a reason unless
//! it passed. One that did not report has failed, and so has one that nobody knew of.

use crate::{file, ui};
use anyhow::Result;
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};
use tally_report::xml::chars;

/// What a test came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It holds.
    Passed,
    /// It does not, for this reason.
    Failed(String),
    /// It cannot be run here, for this reason.
    Skipped(String),
}

impl Verdict {
    fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
        }
    }

    /// Why it did not pass.
    fn reason(&self) -> &str {
        match self {
            Self::Passed => "",
            Self::Failed(why) | Self::Skipped(why) => why,
        }
    }
}

impl From<Result<(), String>> for Verdict {
    fn from(result: Result<(), String>) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(why) => Self::Failed(why),
        }
    }
}

/// Why a test has failed that said nothing.
const SILENT: &str = "it did not report";

struct Outcome {
    verdict: Verdict,
    time: Option<Duration>,
}

/// The tests that are wanted, and what came of them so far.
pub(crate) struct Results {
    /// Every test that there is.
    known: BTreeSet<String>,
    wanted: BTreeSet<String>,
    outcomes: BTreeMap<String, Outcome>,
    begun: Instant,
}

impl Results {
    /// None yet.
    pub(crate) fn new(known: BTreeSet<String>, wanted: BTreeSet<String>) -> Self {
        Self {
            known,
            wanted,
            outcomes: BTreeMap::new(),
            begun: Instant::now(),
        }
    }

    /// Whether the person asked for this test.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.wanted.contains(name)
    }

    /// Whether the person asked for one of these.
    pub(crate) fn wants_any<N: AsRef<str>>(&self, names: impl IntoIterator<Item = N>) -> bool {
        names.into_iter().any(|name| self.wants(name.as_ref()))
    }

    /// Those of `group` that the person asked for, without the group's name.
    pub(crate) fn of_group<'a>(&'a self, group: &str) -> impl Iterator<Item = &'a str> {
        let prefix = format!("{group}: ");
        let wanted = self.wanted.iter();
        wanted.filter_map(move |name| name.strip_prefix(&prefix))
    }

    /// Takes a result, if the person asked for it. A failure is taken in any case.
    pub(crate) fn record(&mut self, name: &str, time: Option<Duration>, verdict: Verdict) {
        let failed = matches!(verdict, Verdict::Failed(_));
        if !self.wants(name) && !failed {
            return;
        }
        show(name, time, &verdict);
        self.keep(name.to_owned(), time, verdict);
    }

    /// A test that failed once stays so.
    fn keep(&mut self, name: String, time: Option<Duration>, verdict: Verdict) {
        let before = self.outcomes.get(&name).map(|outcome| &outcome.verdict);
        if !matches!(before, Some(Verdict::Failed(_))) {
            self.outcomes.insert(name, Outcome { verdict, time });
        }
    }

    /// Takes what a program of tests told. A test that nobody knew of has failed: no filter would find it.
    pub(crate) fn reported(&mut self, name: &str, time: Option<Duration>, verdict: Verdict) {
        if self.known.contains(name) {
            self.record(name, time, verdict);
        } else {
            let why = "it was run, and is not found in the sources".to_owned();
            self.record(name, time, Verdict::Failed(why));
        }
    }

    /// Takes a failure.
    pub(crate) fn fail(&mut self, name: &str, why: impl std::fmt::Display) {
        self.record(name, None, Verdict::Failed(why.to_string()));
    }

    /// Takes a test that cannot be run on this machine.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        self.record(name, None, Verdict::Skipped(why.to_owned()));
    }

    /// Takes all wanted tests of a group, none of which can be run on this machine.
    pub(crate) fn skip_group(&mut self, group: &str, why: &str) {
        let tests: Vec<String> = self.of_group(group).map(str::to_owned).collect();
        if tests.is_empty() {
            return;
        }
        let style = ui::WARN;
        anstream::println!(
            "{style}skipped{style:#} {group}, {} tests: {why}",
            tests.len()
        );
        for test in tests {
            let verdict = Verdict::Skipped(why.to_owned());
            self.keep(format!("{group}: {test}"), None, verdict);
        }
    }

    /// Times `check` and takes its result, if the person asked for it.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Result<(), String>) {
        if self.wants(name) {
            let start = Instant::now();
            let running = ui::running(name);
            let result = check();
            drop(running);
            self.record(name, Some(start.elapsed()), result.into());
        }
    }

    /// Fails what did not report.
    pub(crate) fn end(&mut self) {
        let wanted = self.wanted.iter();
        let silent = wanted.filter(|name| !self.outcomes.contains_key(*name));
        let silent: Vec<String> = silent.cloned().collect();
        if !silent.is_empty() {
            let style = ui::BAD;
            anstream::println!("{style}FAILED{style:#} {}", sum_of_silent(&silent));
        }
        for name in silent {
            self.keep(name, None, Verdict::Failed(SILENT.into()));
        }
    }

    /// Prints the sum and returns the status.
    pub(crate) fn close(&self) -> u8 {
        for line in self.closing() {
            anstream::println!("{}", ui::plain(&line));
        }
        if self.count("skipped") == self.outcomes.len() {
            ui::error("nothing was run: all that was asked for was skipped");
            return super::STATUS_NOTHING_RUN;
        }
        u8::from(self.count("failed") > 0)
    }

    fn count(&self, word: &str) -> usize {
        let outcomes = self.outcomes.values();
        outcomes
            .filter(|outcome| outcome.verdict.word() == word)
            .count()
    }

    /// The last lines.
    fn closing(&self) -> Vec<String> {
        let failed = self.outcomes.iter();
        let failed = failed.filter(|(_, outcome)| outcome.verdict.word() == "failed");
        let (silent, failed): (Vec<_>, Vec<_>) =
            failed.partition(|(_, outcome)| outcome.verdict.reason() == SILENT);
        let mut names: Vec<String> = failed.iter().map(|(name, _)| (*name).clone()).collect();
        if !silent.is_empty() {
            names.push(format!("{} without a report", silent.len()));
        }
        let mut lines = Vec::new();
        if !names.is_empty() {
            lines.push(format!("\nfailed: {}", names.join(", ")));
        }
        let skipped = self.count("skipped");
        if skipped > 0 {
            lines.push(format!("{skipped} skipped"));
        }
        let (passed, failed) = (self.count("passed"), self.count("failed"));
        lines.push(format!("{passed} passed, {failed} failed"));
        lines
    }

    /// For programs.
    fn json(&self) -> Value {
        let tests = self.outcomes.iter().map(|(name, outcome)| {
            json!({
                "name": name,
                "result": outcome.verdict.word(),
                "reason": outcome.verdict.reason(),
                "seconds": outcome.time.map(|time| time.as_secs_f64()),
            })
        });
        json!({
            "passed": self.count("passed"),
            "failed": self.count("failed"),
            "skipped": self.count("skipped"),
            "seconds": self.begun.elapsed().as_secs_f64(),
            "tests": tests.collect::<Vec<_>>(),
        })
    }

    /// For CI: a suite a group.
    fn junit(&self) -> Result<String> {
        let mut suites: BTreeMap<&str, TestSuite> = BTreeMap::new();
        for (name, outcome) in &self.outcomes {
            let (group, test) = name.split_once(": ").unwrap_or(("house", name));
            let reason = outcome.verdict.reason();
            let first = reason.lines().next().unwrap_or_default();
            let mut status = match outcome.verdict {
                Verdict::Passed => TestCaseStatus::success(),
                Verdict::Failed(_) => TestCaseStatus::non_success(NonSuccessKind::Failure),
                Verdict::Skipped(_) => TestCaseStatus::skipped(),
            };
            if !matches!(outcome.verdict, Verdict::Passed) {
                status.set_message(chars(first));
                status.set_description(chars(reason));
            }
            let mut case = TestCase::new(chars(test), status);
            case.set_classname(group);
            if let Some(time) = outcome.time {
                case.set_time(time);
            }
            let suite = suites.entry(group);
            let suite = suite.or_insert_with(|| TestSuite::new(chars(group)));
            suite.add_test_case(case);
        }
        let mut report = quick_junit::Report::new("cargo xtask test");
        report.set_time(self.begun.elapsed());
        report.add_test_suites(suites.into_values());
        Ok(report.to_string()?)
    }

    /// Writes the files that were asked for.
    pub(crate) fn write(&self, json: Option<&Path>, junit: Option<&Path>) -> Result<()> {
        if let Some(path) = json {
            file::put(path, format!("{:#}\n", self.json()).as_bytes())?;
        }
        if let Some(path) = junit {
            file::put(path, self.junit()?.as_bytes())?;
        }
        Ok(())
    }
}

fn show(name: &str, time: Option<Duration>, verdict: &Verdict) {
    let time = time
        .map(|time| format!(" ({:.2} s)", time.as_secs_f64()))
        .unwrap_or_default();
    // Names and reasons are the guest's.
    let name = ui::plain(name);
    match verdict {
        Verdict::Passed => {
            let style = ui::GOOD;
            anstream::println!("{style}ok{style:#} {name}{time}");
        }
        Verdict::Failed(reason) => {
            let style = ui::BAD;
            anstream::println!("{style}FAILED{style:#} {name}{time}");
            for line in ui::plain(reason).lines() {
                anstream::println!("    {line}");
            }
        }
        Verdict::Skipped(why) => {
            let style = ui::WARN;
            anstream::println!("{style}skipped{style:#} {name}: {}", ui::plain(why));
        }
    }
}

/// One line on all tests that did not report.
fn sum_of_silent(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => format!("no report of {shown}"),
        more => format!("no report of {shown}, and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(names: &[&str]) -> Results {
        let names: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
        Results::new(names.clone(), names)
    }

    #[test]
    fn skipped_is_told_apart_in_every_form() {
        let mut results = results(&["a: one", "a: two", "tidy"]);
        results.record("a: one", None, Verdict::Passed);
        results.skip("a: two", "no compiler\nat all");
        results.record("tidy", None, Verdict::Passed);
        results.end();
        assert_eq!(results.close(), 0);
        assert_eq!(results.closing(), ["1 skipped", "2 passed, 0 failed"]);
        let json = results.json();
        assert_eq!(json["skipped"], 1);
        assert_eq!(json["tests"][1]["result"], "skipped");
        assert_eq!(json["tests"][1]["reason"], "no compiler\nat all");
        let xml = results.junit().unwrap();
        assert!(xml.contains("<skipped message=\"no compiler\">"), "{xml}");
        assert!(xml.contains("name=\"house\" tests=\"1\""), "{xml}");
    }

    #[test]
    fn skipping_everything_is_not_success() {
        // Bug: a filter that met only tests that could not be run gave status 0.
        let mut results = results(&["a: one", "a: two"]);
        results.skip_group("a", "no compiler");
        results.end();
        assert_eq!(results.close(), 2);
        assert_eq!(results.closing(), ["2 skipped", "0 passed, 0 failed"]);
    }

    #[test]
    fn what_does_not_report_has_failed() {
        let mut results = results(&["a: one", "a: two"]);
        results.record("a: one", None, Verdict::Passed);
        results.end();
        assert_eq!(results.close(), 1);
        assert_eq!(
            results.closing(),
            ["\nfailed: 1 without a report", "1 passed, 1 failed"]
        );
        assert!(results.junit().unwrap().contains(SILENT));
    }

    #[test]
    fn a_test_that_nobody_knew_of_has_failed() {
        let mut results = results(&["a: one"]);
        results.reported("a: one", None, Verdict::Passed);
        results.reported("a: two", None, Verdict::Passed);
        results.end();
        assert_eq!(results.close(), 1);
        assert_eq!(
            results.closing(),
            ["\nfailed: a: two", "1 passed, 1 failed"]
        );
    }

    #[test]
    fn a_failure_is_told_whether_it_was_asked_for_or_not_and_stays() {
        let mut results = results(&["a: one"]);
        results.record("b: build", None, Verdict::Passed);
        assert!(results.outcomes.is_empty());
        results.record("b: build", None, Verdict::Failed("broken".into()));
        results.record("a: one", None, Verdict::Failed("first".into()));
        results.record("a: one", None, Verdict::Passed);
        results.end();
        assert_eq!(results.close(), 1);
        assert_eq!(results.count("failed"), 2);
    }

    #[test]
    fn many_silent_tests_are_one_line() {
        let names: Vec<String> = (1..8).map(|n| n.to_string()).collect();
        assert_eq!(
            sum_of_silent(&names),
            "no report of 1, 2, 3, 4, 5, and 2 more"
        );
        assert_eq!(sum_of_silent(&names[..1]), "no report of 1");
    }
}
