//! Growth listing for a terminal.
//!
//! **Invariant:** reads like `teestat leaks diff`; what did not change is not listed.

use std::fmt::Write as _;
use tally_insight::account::Account;
use tally_insight::growth::Change;
use tally_insight::names::Stack;
use tally_insight::numbers::{counted, counted_change};

/// Changes, the largest growth first.
#[must_use]
pub fn changes(before: &Account, after: &Account, changes: &[Change]) -> String {
    let changed: Vec<&Change> = changes
        .iter()
        .filter(|change| change.bytes() != 0 || change.blocks() != 0)
        .collect();
    let sum = changed
        .iter()
        .map(|change| change.bytes())
        .fold(0, i64::saturating_add);
    if changed.is_empty() {
        return format!("nothing changed from {} to {}\n", before.file, after.file);
    }
    // Writing to a string does not fail.
    let mut out = format!(
        "{} from {} to {}, in {}\n",
        counted_change(sum, "byte"),
        before.file,
        after.file,
        counted(changed.len() as u64, "place")
    );
    for change in changed {
        let _ = writeln!(
            out,
            "\n{} in {}, {}, heap of {}",
            counted_change(change.bytes(), "byte"),
            counted_change(change.blocks(), "block"),
            change.owner,
            after.program(change.image)
        );
        out.push_str(&stack(&change.stack));
    }
    out
}

/// A call stack, a line a function; calls are counted from the first that is shown.
#[must_use]
pub fn stack(stack: &Stack) -> String {
    let mut out = String::new();
    let frames = stack.shown();
    let first = frames.first().map_or(0, |shown| shown.depth);
    for shown in frames {
        let inlined = if shown.inlined { " (inlined)" } else { "" };
        let _ = writeln!(out, "  #{} {}{inlined}", shown.depth - first, shown.frame);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_abi::TeeUuid;
    use tally_insight::account::{Build, NoSymbols, Symbols};
    use tally_insight::names::{Call, Frame};
    use tally_insight::snapshot::Snapshot;
    use tally_insight::{growth, sample};

    /// The number of the way into the allocator, which is not shown, was left out too.
    #[test]
    fn calls_are_counted_from_the_first_that_is_shown() {
        let call = |functions: &[(&str, &str)]| Call {
            offset: 4,
            frames: functions
                .iter()
                .map(|(function, file)| Frame {
                    file: (*file).to_owned(),
                    line: 7,
                    ..Frame::named(function)
                })
                .collect(),
        };
        let text = stack(&Stack {
            image: TeeUuid::nil(),
            calls: vec![
                call(&[("alloc::alloc::alloc", "alloc/src/alloc.rs")]),
                call(&[("inner", "a.rs"), ("ours", "a.rs")]),
                call(&[("main", "a.rs")]),
            ],
        });
        let expected = "  #0 inner a.rs:7 (inlined)\n  #0 ours a.rs:7\n  #1 main a.rs:7\n";
        assert_eq!(text, expected);
    }

    /// Knows all TAs.
    struct AllTas;

    impl Symbols for AllTas {
        fn functions(&self, _build: Build, _offset: u64) -> Vec<Frame> {
            Vec::new()
        }

        fn program(&self, _uuid: TeeUuid) -> Option<String> {
            Some("heap".into())
        }

        fn lacks(&self, _build: Build) -> bool {
            false
        }
    }

    /// It was "heap of 7a11e110-...": only the first snapshot knew its name.
    #[test]
    fn a_ta_that_has_ended_keeps_its_name() {
        let snapshots = vec![
            (sample::machine(2), "a".to_owned()),
            (Snapshot::default(), "b".to_owned()),
        ];
        let accounts = Account::several(snapshots, &AllTas);
        let (before, after) = (&accounts[0], &accounts[1]);
        let text = changes(before, after, &growth::between(before, after));
        assert!(text.contains(", heap of heap\n"), "{text}");
        assert!(!text.contains(&sample::LEAKER.to_string()), "{text}");
    }

    #[test]
    fn only_what_changed_is_listed() {
        let account = |n| Account::new(sample::machine(n), "s", &NoSymbols);
        let same = changes(
            &account(2),
            &account(2),
            &growth::between(&account(2), &account(2)),
        );
        assert_eq!(same, "nothing changed from s to s\n");
        let (before, after) = (account(0), account(2));
        let text = changes(&before, &after, &growth::between(&before, &after));
        assert!(text.starts_with("+560 bytes from s to s, in 1 place\n"));
        assert!(text.contains("\n+560 bytes in +20 blocks, sessions of "));
        assert_eq!(text.matches("  #").count(), 3);
    }
}
