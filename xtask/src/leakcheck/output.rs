//! The answer as text, JSON and JUnit's XML.
//!
//! **Invariant:** all three say the same; what comes from the guest is escaped.

use super::{Answer, Question};
use anyhow::Result;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::fmt::Write as _;
use tally_insight::gate::{Figure, Gate, Place, Verdict};
use tally_insight::json;
use tally_insight::numbers::counted;
use tally_report::listing;
use tally_report::xml::chars;

fn place_text(verdict: &Verdict, place: &Place) -> String {
    let grown = place.grown();
    format!(
        "{} in {} ({}), {}, heap of {}\n{}",
        counted(grown.bytes, "byte"),
        counted(grown.blocks, "block"),
        place.pace.text("byte"),
        place.change.owner,
        verdict.after.program(place.change.image),
        listing::stack(&place.change.stack)
    )
}

/// What came of it, in a word or three.
fn result(answer: &Answer) -> &'static str {
    match answer {
        Answer::Unknown(_) => "cannot be told",
        Answer::Told(verdict) if verdict.leaks() => "memory grew",
        Answer::Told(verdict) if verdict.grew() => "growth ended",
        Answer::Told(_) => "nothing grew",
    }
}

/// For a terminal.
pub(super) fn text(question: &Question<'_>, answer: &Answer) -> String {
    let (name, result) = (question.name, result(answer));
    // Writing to a string does not fail.
    let mut out = String::new();
    match answer {
        Answer::Unknown(why) => {
            let _ = writeln!(out, "{name}: {result}: {why}");
        }
        Answer::Told(verdict) => {
            let compared: usize = verdict.areas.iter().map(|area| area.compared).sum();
            let _ = writeln!(
                out,
                "{name}: {result} in {} ({} compared)",
                counted(question.cycles, "cycle"),
                counted(compared as u64, "figure")
            );
            for figure in verdict.areas.iter().flat_map(|area| &area.grown) {
                let _ = writeln!(out, "  {}", figure.text());
            }
            for place in &verdict.stacks {
                let _ = write!(out, "\n{}", place_text(verdict, place));
            }
            for doubt in verdict.doubts() {
                let _ = writeln!(out, "\n{doubt}");
            }
        }
    }
    out
}

/// For programs.
pub(super) fn json(question: &Question<'_>, answer: &Answer) -> Result<String> {
    let gate = Gate {
        script: question.name,
        cycles: question.cycles,
        warmup: question.warmup,
        status: answer.status().into(),
        result: result(answer),
        reason: None,
        areas: Vec::new(),
        stacks: Vec::new(),
        doubts: Vec::new(),
    };
    let text = match answer {
        Answer::Unknown(why) => json::pretty(&Gate {
            reason: Some(why),
            ..gate
        }),
        Answer::Told(verdict) => json::pretty(&gate.told(verdict)),
    };
    Ok(text?)
}

/// For CI: a test case an area, and one for the call stacks. Growth that ended fails none; it is
/// what the case has printed.
pub(super) fn junit(question: &Question<'_>, answer: &Answer) -> Result<String> {
    let mut suite = TestSuite::new(chars(question.name));
    let mut add = |name: &str, status: TestCaseStatus, ended: &[String]| {
        let mut case = TestCase::new(name, status);
        case.set_classname("leakcheck");
        if !ended.is_empty() {
            case.set_system_out(chars(&ended.join("\n")));
        }
        suite.add_test_case(case);
    };
    match answer {
        Answer::Unknown(why) => {
            let mut error = TestCaseStatus::non_success(NonSuccessKind::Error);
            error.set_message("it cannot be told whether memory grew");
            add("the script runs", described(error, why), &[]);
        }
        Answer::Told(verdict) => {
            for area in &verdict.areas {
                let lines: Vec<String> = area.grown.iter().map(Figure::text).collect();
                match area.leaks() {
                    true => add(
                        area.name,
                        failure(&format!("{} grew", area.name), &lines),
                        &[],
                    ),
                    false => add(area.name, TestCaseStatus::success(), &lines),
                }
            }
            let stacks = verdict.stacks.iter();
            let leaks = verdict.stacks.iter().filter(|place| place.leaks()).count() as u64;
            let stacks = stacks.map(|place| place_text(verdict, place));
            let texts: Vec<String> = stacks.chain(verdict.doubts()).collect();
            match leaks {
                0 => add("call stacks", TestCaseStatus::success(), &texts),
                n => {
                    let message = format!("{} grew", counted(n, "call stack"));
                    add("call stacks", failure(&message, &texts), &[]);
                }
            }
        }
    }
    let mut report = Report::new("leakcheck");
    report.add_test_suite(suite);
    Ok(report.to_string()?)
}

fn failure(message: &str, lines: &[String]) -> TestCaseStatus {
    let mut failure = TestCaseStatus::non_success(NonSuccessKind::Failure);
    failure.set_message(message);
    described(failure, &lines.join("\n"))
}

fn described(mut status: TestCaseStatus, text: &str) -> TestCaseStatus {
    status.set_description(chars(text));
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_abi::TeeUuid;
    use tally_insight::account::Account;
    use tally_insight::account::{Build, NoSymbols, Symbols};
    use tally_insight::gate::Taken;
    use tally_insight::names::Frame;
    use tally_insight::sample;

    /// The answer for a machine that is in these cycles of its life.
    fn of(cycles: &[u64], symbols: &dyn Symbols) -> Answer {
        let account = |cycle: &u64| Account::new(sample::machine(*cycle), "", symbols);
        let accounts: Vec<Account> = cycles.iter().map(account).collect();
        let taken: Vec<Taken<'_>> = (0..).zip(&accounts).collect();
        Answer::Told(Box::new(Verdict::of(&taken).unwrap()))
    }

    fn told(cycles: &[u64]) -> Answer {
        of(cycles, &NoSymbols)
    }

    fn value(answer: &Answer) -> serde_json::Value {
        serde_json::from_str(&json(&question(), answer).unwrap()).unwrap()
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
        let answer = told(&[1, 2, 3, 4, 5]);
        assert_eq!(answer.status(), 1);
        let said = text(&question(), &answer);
        assert!(
            said.contains("1,120 bytes in 40 blocks (280 bytes a cycle)"),
            "{said}"
        );
        let value = value(&answer);
        assert_eq!(value["stacks"][0]["bytes"], 1120);
        assert_eq!(value["stacks"][0]["pace"], "regular");
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
        let answer = of(&[1, 5], &OtherBuilds);
        let why = format!("{:016x}", sample::LEAKER_ID);
        assert!(text(&question(), &answer).contains(&why));
        assert!(value(&answer)["doubts"][0].to_string().contains(&why));
        assert!(junit(&question(), &answer).unwrap().contains(&why));
    }

    /// A cache that had filled was a leak.
    #[test]
    fn all_forms_say_that_growth_ended() {
        let answer = told(&[1, 2, 3, 3, 3, 3]);
        assert_eq!(answer.status(), 0);
        let said = text(&question(), &answer);
        let ended = "560 bytes until cycle 2, none since";
        assert!(
            said.contains("growth ended in 4 cycles") && said.contains(ended),
            "{said}"
        );
        let value = value(&answer);
        assert_eq!(value["result"], "growth ended");
        assert_eq!(
            (
                &value["stacks"][0]["pace"],
                &value["stacks"][0]["per_cycles"]
            ),
            (&"ended".into(), &2.into())
        );
        let xml = junit(&question(), &answer).unwrap();
        assert!(xml.contains("failures=\"0\" errors=\"0\""), "{xml}");
        assert!(xml.contains("<system-out>") && xml.contains(ended), "{xml}");
    }

    #[test]
    fn all_forms_say_that_nothing_grew() {
        let answer = told(&[2, 2]);
        assert_eq!(answer.status(), 0);
        assert!(text(&question(), &answer).contains("nothing grew in 4 cycles"));
        assert_eq!(value(&answer)["result"], "nothing grew");
        assert!(
            junit(&question(), &answer)
                .unwrap()
                .contains("failures=\"0\" errors=\"0\"")
        );
    }

    #[test]
    fn all_forms_say_that_it_cannot_be_told() {
        let answer = Answer::Unknown("a command & <more>\u{1b}\u{fffe}".into());
        assert_eq!(answer.status(), 2);
        assert!(text(&question(), &answer).contains("cannot be told: a command"));
        assert_eq!(value(&answer)["status"], 2);
        let xml = junit(&question(), &answer).unwrap();
        assert!(
            xml.contains("errors=\"1\"") && xml.contains("&lt;more&gt;\u{fffd}\u{fffd}</error>")
        );
    }
}
