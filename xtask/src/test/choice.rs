//! Tests that a command line means.
//!
//! **Invariant:** a choice is never empty: it is some tests, or a sentence on why there are none.

use super::{Known, Part};
use std::collections::BTreeSet;

/// Which tests are wanted.
#[derive(Debug, PartialEq)]
pub(super) enum Choice {
    Tests(BTreeSet<String>),
    /// None, and what to say of it.
    None(String),
}

/// Chooses among the tests of all parts.
pub(super) fn choose(tests: &[(Part, Known)], parts: &[Part], long: bool, filter: &str) -> Choice {
    let is_asked = |(part, test): &&(Part, Known)| parts.contains(part) && (long || !test.long);
    let meets = |(_, test): &&(Part, Known)| test.name.contains(filter);
    let name = |(_, test): &(Part, Known)| test.name.clone();
    let chosen: BTreeSet<String> = tests
        .iter()
        .filter(is_asked)
        .filter(meets)
        .map(name)
        .collect();
    if !chosen.is_empty() {
        return Choice::Tests(chosen);
    }
    let elsewhere: BTreeSet<String> = tests
        .iter()
        .filter(meets)
        .map(|(part, test)| {
            format!(
                "--{}{}",
                part.name(),
                if test.long { " --long" } else { "" }
            )
        })
        .collect();
    let advice = if elsewhere.is_empty() {
        let names = tests.iter().filter(is_asked);
        let names = names.map(|(_, test)| test.name.as_str());
        format!("the nearest:\n  {}", nearest(names, filter).join("\n  "))
    } else {
        let places: Vec<_> = elsewhere.into_iter().collect();
        format!("some have with {}", places.join(" or "))
    };
    Choice::None(match filter {
        "" => "what was asked for is run with --long alone".to_owned(),
        _ => format!("no test has `{filter}` in its name; {advice}"),
    })
}

/// The names that have something most like `text` in them.
fn nearest<'a>(names: impl Iterator<Item = &'a str>, text: &str) -> Vec<&'a str> {
    const SHOWN: usize = 5;
    let text = text.to_lowercase();
    let words = text.split_whitespace().count().max(1);
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        let parts: Vec<&str> = name
            .split([' ', ':', '_'])
            .filter(|p| !p.is_empty())
            .collect();
        let runs = parts.windows(words.min(parts.len()).max(1));
        let likeness =
            runs.map(|run| strsim::normalized_damerau_levenshtein(&run.join(" "), &text));
        likeness.fold(0.0, f64::max)
    };
    let mut names: Vec<(f64, &str)> = names.map(|name| (likeness(name), name)).collect();
    names.sort_by(|a, b| b.0.total_cmp(&a.0));
    names
        .into_iter()
        .take(SHOWN)
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<(Part, Known)> {
        vec![
            (Part::Host, Known::short("tidy")),
            (Part::Host, Known::long("fuzz: elf, at length")),
            (
                Part::Qemu,
                Known::short("qemu: a leak is found with its function"),
            ),
        ]
    }

    fn chosen(parts: &[Part], long: bool, filter: &str) -> Vec<String> {
        match choose(&known(), parts, long, filter) {
            Choice::Tests(tests) => tests.into_iter().collect(),
            Choice::None(why) => vec![why],
        }
    }

    #[test]
    fn what_takes_long_is_asked_for() {
        assert_eq!(chosen(&[Part::Host], false, ""), ["tidy"]);
        assert_eq!(chosen(&[Part::Host], true, "").len(), 2);
        assert_eq!(chosen(&Part::ALL, true, "fuzz"), ["fuzz: elf, at length"]);
    }

    #[test]
    fn a_filter_that_meets_nothing_is_answered_with_the_nearest() {
        let [why] = &chosen(&Part::ALL, true, "leek is")[..] else {
            panic!("a test was chosen");
        };
        assert!(
            why.starts_with("no test has `leek is` in its name; the nearest:\n  qemu: a leak is"),
            "{why}"
        );
    }

    #[test]
    fn a_filter_that_meets_something_elsewhere_says_where() {
        assert_eq!(
            chosen(&[Part::Qemu], false, "tidy"),
            ["no test has `tidy` in its name; some have with --host"]
        );
        assert_eq!(
            chosen(&Part::ALL, false, "fuzz"),
            ["no test has `fuzz` in its name; some have with --host --long"]
        );
        assert_eq!(
            chosen(&[Part::Miri], false, ""),
            ["what was asked for is run with --long alone"]
        );
    }
}
