//! OP-TEE's test suite as Debian built it, byte for byte: client, libraries, supplicant and TAs, in Debian's Linux.
//!
//! **Invariant:** what becomes of each case is compared with a list, so that one that begins to pass, or to fail, changes
//! it; a case after which the secure world holds more than before fails, whatever the list says.

use super::list::List;
use super::results::Results;
use crate::images::{self, Config};
use crate::linux::{self, Debian, Unreachable};
use crate::qemu::{Ending, Run};
use crate::ui;
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Its name.
pub(super) const NAME: &str =
    "xtest: every case of OP-TEE's test suite, as Debian built it, ends as it is listed";
/// What becomes of each case, and why.
const LIST: &str = "xtask/xtest.txt";

/// What the guest tells of a case.
#[derive(Deserialize)]
struct Case {
    case: String,
    ends: String,
    why: String,
    subtests: u64,
    all_cases: usize,
    growth: Option<String>,
}

/// Runs it if it is wanted.
pub(super) fn run(results: &mut Results, silence: Duration) {
    if !results.wants(NAME) {
        return;
    }
    match Debian::Trixie.ta_key() {
        Err(err) if err.is::<Unreachable>() => results.skip(NAME, &format!("{err:#}")),
        key => results.check(NAME, || {
            key.and_then(|key| check(key.into_iter().collect(), silence))
                .map_err(|err| format!("{err:#}"))
        }),
    }
}

fn check(ta_key: Vec<PathBuf>, silence: Duration) -> Result<()> {
    let list = List::read(LIST)?;
    let images = images::build(&Config {
        ta_key,
        ..Config::default()
    })?;
    let linux = linux::prepare(&images, Debian::Trixie)?;
    let cases: Vec<&str> = list.listed.keys().map(String::as_str).collect();
    let command = format!("linux-tests xtest /dev/vport0p1 {}", cases.join(" "));
    let outcome = Run::captured(&images, "xtest", &command, silence).start_linux(&linux)?;
    let told = parse(&outcome.results);
    let told = told.with_context(|| match outcome.trouble(&images) {
        Some(trouble) => trouble,
        None => super::guest::tail(&outcome.normal, 40),
    })?;
    ensure!(
        outcome.ending == Ending::Exit(0),
        "the guest ended with {:?}",
        outcome.ending
    );
    ui::step("Counted", counts(&told));
    compare(&list, &told)
}

/// Reads the guest's results: one JSON object a line, and how many there are.
fn parse(text: &str) -> Result<Vec<Case>> {
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.pop().unwrap_or_default();
    let closed = format!("{{\"done\":{}}}", lines.len());
    ensure!(
        last == closed,
        "the guest ended in the middle, after {} cases",
        lines.len()
    );
    let cases = lines
        .iter()
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a case: {line}")));
    cases.collect()
}

fn counts(cases: &[Case]) -> String {
    let mut ends = BTreeMap::<&str, usize>::new();
    for case in cases {
        *ends.entry(&case.ends).or_default() += 1;
    }
    let ends: Vec<String> = ends
        .iter()
        .map(|(ends, count)| format!("{count} {ends}"))
        .collect();
    let subtests: u64 = cases.iter().map(|case| case.subtests).sum();
    format!(
        "{} cases: {}; {subtests} checks",
        cases.len(),
        ends.join(", ")
    )
}

fn compare(list: &List, cases: &[Case]) -> Result<()> {
    let grown: Vec<String> = cases
        .iter()
        .filter_map(|case| Some(format!("{}: {}", case.case, case.growth.as_deref()?)))
        .collect();
    ensure!(grown.is_empty(), "{}", grown.join("\n"));
    let unlisted = cases.iter().find(|case| case.all_cases != cases.len());
    if let Some(case) = unlisted {
        anyhow::bail!("xtest has {} cases, {LIST} {}", case.all_cases, cases.len());
    }
    let found = cases
        .iter()
        .map(|case| (case.case.clone(), case.ends.clone()));
    list.compare(&found.collect()).with_context(|| {
        let fails = cases.iter().filter(|case| !case.why.is_empty());
        let whys: Vec<String> = fails
            .filter(|case| list.listed.get(&case.case) != Some(&case.ends))
            .map(|case| format!("{}: {}", case.case, case.why))
            .collect();
        whys.join("\n")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(case: &str, ends: &str, growth: &str) -> String {
        format!(
            "{{\"case\":\"{case}\",\"ends\":\"{ends}\",\"why\":\"\",\"subtests\":3,\"all_cases\":2,\"growth\":{growth},\"ms\":1}}\n"
        )
    }

    #[test]
    fn cases_count_only_when_all_are_told() {
        let both = line("a", "passes", "null") + &line("b", "fails", "null");
        assert!(parse(&both).is_err());
        assert!(parse(&format!("{both}{{\"done\":3}}\n")).is_err());
        let cases = parse(&format!("{both}{{\"done\":2}}\n")).unwrap();
        assert_eq!(counts(&cases), "2 cases: 1 fails, 1 passes; 6 checks");
    }

    #[test]
    fn growth_fails_whatever_is_listed_and_so_does_a_case_that_is_not() {
        let list = List::parse(
            LIST,
            "a: passes \u{2014}\u{20}\nb: fails \u{2014} storage\n",
        )
        .unwrap();
        let compared = |lines: &[String]| {
            let text = lines.concat() + &format!("{{\"done\":{}}}\n", lines.len());
            compare(&list, &parse(&text).unwrap()).is_ok()
        };
        let a = line("a", "passes", "null");
        assert!(compared(&[a.clone(), line("b", "fails", "null")]));
        assert!(!compared(&[a.clone(), line("b", "fails", "\"+ a page\"")]));
        assert!(!compared(&[a.clone(), line("b", "passes", "null")]));
        assert!(!compared(&[a]));
    }
}
