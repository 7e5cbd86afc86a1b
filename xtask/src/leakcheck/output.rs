//! The answer as text, JSON and JUnit's XML.
//!
//! **Invariant:** all three say the same; what comes from the guest is escaped.

use super::verdict::{Area, Figure, Verdict};
use super::{Answer, Question};
use anyhow::Result;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};
use std::fmt::Write as _;
use tally_insight::growth::Change;
use tally_insight::numbers::{counted, thousands};
use tally_report::listing;

/// `280 a cycle`, or `14 in 20 cycles` when it cannot be the same each time.
fn each(growth: u64, cycles: u64) -> String {
    if growth.is_multiple_of(cycles) {
        format!("{} a cycle", thousands(growth / cycles))
    } else {
        format!("{} in {}", thousands(growth), counted(cycles, "cycle"))
    }
}

fn figure_line(figure: &Figure, cycles: u64) -> String {
    format!(
        "{}: {} to {}, {}",
        figure.what,
        thousands(figure.before),
        counted(figure.after, figure.unit),
        each(figure.growth(), cycles)
    )
}

fn stack_text(verdict: &Verdict, change: &Change, cycles: u64) -> String {
    let (bytes, blocks) = amounts(change);
    format!(
        "{} in {} ({}), {}, heap of {}\n{}",
        counted(bytes, "byte"),
        counted(blocks, "block"),
        each(bytes, cycles),
        change.owner,
        verdict.after.program(change.image),
        listing::stack(&change.stack)
    )
}

fn amounts(change: &Change) -> (u64, u64) {
    let positive = |n: i64| u64::try_from(n).unwrap_or(0);
    (positive(change.bytes()), positive(change.blocks()))
}

/// For a terminal.
pub(super) fn text(question: &Question<'_>, answer: &Answer) -> String {
    let cycles = question.cycles;
    // Writing to a string does not fail.
    let mut out = String::new();
    match answer {
        Answer::Unknown(why) => {
            let _ = writeln!(out, "{}: cannot be told: {why}", question.name);
        }
        Answer::Told(verdict) if !verdict.grew() => {
            let compared: usize = verdict.areas.iter().map(|area| area.compared).sum();
            let _ = writeln!(
                out,
                "{}: nothing grew in {} ({} compared)",
                question.name,
                counted(cycles, "cycle"),
                counted(compared as u64, "figure")
            );
        }
        Answer::Told(verdict) => {
            let _ = writeln!(
                out,
                "{}: memory grew in {}",
                question.name,
                counted(cycles, "cycle")
            );
            for area in &verdict.areas {
                for figure in &area.grown {
                    let _ = writeln!(out, "  {}", figure_line(figure, cycles));
                }
            }
            for change in &verdict.stacks {
                let _ = write!(out, "\n{}", stack_text(verdict, change, cycles));
            }
            for doubt in verdict.doubts() {
                let _ = writeln!(out, "\n{doubt}");
            }
        }
    }
    out
}

/// For programs.
pub(super) fn json(question: &Question<'_>, answer: &Answer) -> Value {
    let mut value = json!({
        "script": question.name,
        "cycles": question.cycles,
        "warmup": question.warmup,
        "status": answer.status(),
        "result": match answer.status() {
            0 => "nothing grew",
            super::STATUS_GREW => "memory grew",
            _ => "cannot be told",
        },
    });
    match answer {
        Answer::Unknown(why) => value["reason"] = json!(why),
        Answer::Told(verdict) => {
            let areas = verdict.areas.iter().map(|area| {
                let grown: Vec<Value> = area.grown.iter().map(figure_json).collect();
                json!({"area": area.name, "compared": area.compared, "grown": grown})
            });
            value["areas"] = areas.collect();
            let stacks = verdict.stacks.iter().map(|change| {
                let shown = change.stack.shown();
                let frames: Vec<Value> = shown
                    .iter()
                    .map(|s| json!({"function": s.frame.function, "place": s.frame.place()}))
                    .collect();
                let (bytes, blocks) = amounts(change);
                json!({
                    "owner": change.owner, "heap": verdict.after.program(change.image),
                    "bytes": bytes, "blocks": blocks, "stack": frames,
                })
            });
            value["stacks"] = stacks.collect();
            value["doubts"] = json!(verdict.doubts());
        }
    }
    value
}

fn figure_json(figure: &Figure) -> Value {
    json!({
        "what": figure.what, "unit": format!("{}s", figure.unit), "before": figure.before,
        "after": figure.after, "growth": figure.growth(),
    })
}

/// For CI: a test case an area, and one for the call stacks.
pub(super) fn junit(question: &Question<'_>, answer: &Answer) -> Result<String> {
    let mut suite = TestSuite::new(question.name);
    let mut add = |name: &str, status: TestCaseStatus| {
        let mut case = TestCase::new(name, status);
        case.set_classname("leakcheck");
        suite.add_test_case(case);
    };
    match answer {
        Answer::Unknown(why) => {
            let mut error = TestCaseStatus::non_success(NonSuccessKind::Error);
            error.set_message("it cannot be told whether memory grew");
            add("the script runs", described(error, why));
        }
        Answer::Told(verdict) => {
            for area in &verdict.areas {
                add(area.name, area_status(area, question.cycles));
            }
            let stacks = verdict.stacks.iter();
            let stacks = stacks.map(|change| stack_text(verdict, change, question.cycles));
            let texts: Vec<String> = stacks.chain(verdict.doubts()).collect();
            let status = match verdict.stacks.len() as u64 {
                0 => TestCaseStatus::success(),
                n => failure(&format!("{} grew", counted(n, "call stack")), &texts),
            };
            add("call stacks", status);
        }
    }
    let mut report = Report::new("leakcheck");
    report.add_test_suite(suite);
    Ok(report.to_string()?)
}

fn area_status(area: &Area, cycles: u64) -> TestCaseStatus {
    if area.grown.is_empty() {
        return TestCaseStatus::success();
    }
    let lines = area.grown.iter().map(|figure| figure_line(figure, cycles));
    failure(&format!("{} grew", area.name), &lines.collect::<Vec<_>>())
}

fn failure(message: &str, lines: &[String]) -> TestCaseStatus {
    let mut failure = TestCaseStatus::non_success(NonSuccessKind::Failure);
    failure.set_message(message);
    described(failure, &lines.join("\n"))
}

fn described(mut status: TestCaseStatus, text: &str) -> TestCaseStatus {
    status.set_description(text);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_abi::TeeUuid;
    use tally_insight::account::Account;
    use tally_insight::account::{Build, NoSymbols, Symbols};
    use tally_insight::names::Frame;
    use tally_insight::sample;

    fn told(before: u64, after: u64) -> Answer {
        let account = |cycle| Account::new(sample::machine(cycle), "", &NoSymbols);
        let verdict = Verdict::between(&account(before), &account(after), after - before + 1);
        Answer::Told(Box::new(verdict))
    }

    fn question() -> Question<'static> {
        Question {
            name: "a <b>",
            cycles: 4,
            warmup: 3,
        }
    }

    #[test]
    fn all_forms_say_that_it_grew() {
        let answer = told(1, 5);
        assert_eq!(answer.status(), 1);
        let said = text(&question(), &answer);
        assert!(
            said.contains("1,120 bytes in 40 blocks (280 a cycle)"),
            "{said}"
        );
        let value = json(&question(), &answer);
        assert_eq!(value["stacks"][0]["bytes"], 1120);
        let xml = junit(&question(), &answer).unwrap();
        assert!(xml.contains("name=\"a &lt;b&gt;\" tests=\"5\""), "{xml}");
        assert!(xml.contains("message=\"1 call stack grew\"") && !xml.contains("failures=\"0\""));
        assert_eq!(xml.matches("<testcase").count(), 5);
    }

    /// Names nothing: of each program another build is wanted.
    struct OtherBuilds;

    impl Symbols for OtherBuilds {
        fn functions(&self, _build: Build, _offset: u64) -> Vec<Frame> {
            Vec::new()
        }

        fn program(&self, _uuid: TeeUuid) -> Option<String> {
            None
        }

        fn lacks(&self, _build: Build) -> bool {
            true
        }
    }

    /// A signed image in the place of a TA of another build was named by that one, or had no names and no word of why.
    #[test]
    fn all_forms_say_why_calls_have_no_names() {
        let account = |cycle| Account::new(sample::machine(cycle), "", &OtherBuilds);
        let verdict = Verdict::between(&account(1), &account(5), 4);
        let answer = Answer::Told(Box::new(verdict));
        let why = format!("{:016x}", sample::LEAKER_ID);
        assert!(text(&question(), &answer).contains(&why));
        assert!(
            json(&question(), &answer)["doubts"][0]
                .to_string()
                .contains(&why)
        );
        assert!(junit(&question(), &answer).unwrap().contains(&why));
    }

    #[test]
    fn all_forms_say_that_nothing_grew() {
        let answer = told(2, 2);
        assert_eq!(answer.status(), 0);
        assert!(text(&question(), &answer).contains("nothing grew in 4 cycles"));
        assert_eq!(json(&question(), &answer)["result"], "nothing grew");
        assert!(
            junit(&question(), &answer)
                .unwrap()
                .contains("failures=\"0\" errors=\"0\"")
        );
    }

    #[test]
    fn all_forms_say_that_it_cannot_be_told() {
        let answer = Answer::Unknown("a command & <more>\u{1b}".into());
        assert_eq!(answer.status(), 2);
        assert!(text(&question(), &answer).contains("cannot be told: a command"));
        assert_eq!(json(&question(), &answer)["status"], 2);
        let xml = junit(&question(), &answer).unwrap();
        assert!(xml.contains("errors=\"1\"") && xml.contains("&lt;more&gt;</error>"));
    }
}
