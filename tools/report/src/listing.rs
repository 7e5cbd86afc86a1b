//! What grew, as lines for a terminal.
//!
//! **Invariant:** reads like `teestat leaks diff`; what did not change is not listed.
//! **Knows nothing of:** colours.

use crate::account::Account;
use crate::growth::Change;
use crate::names::{Stack, function, place};
use crate::shown::{counted, counted_change};
use std::fmt::Write as _;

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

/// A call stack, a line a function.
#[must_use]
pub fn stack(stack: &Stack) -> String {
    let mut out = String::new();
    for shown in stack.shown() {
        let inlined = if shown.inlined { " (inlined)" } else { "" };
        let (name, place) = (function(shown.frame), place(shown.frame));
        let line = format!("  #{} {name} {place}", shown.depth);
        let _ = writeln!(out, "{}{inlined}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth;
    use crate::names::NoNames;
    use crate::sample;

    #[test]
    fn only_what_changed_is_listed() {
        let account = |n| Account::new(sample::machine(n), "s", &NoNames);
        let (before, after) = (account(0), account(2));
        let text = changes(&before, &after, &growth::between(&before, &after));
        assert!(text.starts_with("+560 bytes from s to s, in 1 place\n"));
        assert!(text.contains("\n+560 bytes in +20 blocks, sessions of "));
        assert_eq!(text.matches("  #").count(), 3);
    }
}
