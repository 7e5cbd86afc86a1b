//! Scripts of shell commands, and the commands that take the account around them.
//!
//! **Invariant:** what runs before the first account and what runs between two is the same
//! text, cycle by cycle.

use anyhow::{Result, ensure};

/// Has the shell end with the first command that fails, and name it.
const STRICT: &str = "strict";
/// Stands between the part that runs once and the part that runs every cycle.
const SEPARATOR: &str = "---";

/// Most accounts that are taken: who runs more cycles has one after every second, third ... cycle.
const MAX_ACCOUNTS: u64 = 64;

/// After which cycles an account is taken.
pub(super) fn taken(cycles: u64) -> Vec<u64> {
    let step = cycles.div_ceil(MAX_ACCOUNTS) as usize;
    (0..cycles).step_by(step).chain([cycles]).collect()
}

/// The file that an account goes to.
pub(super) fn file(cycle: u64) -> String {
    format!("cycle-{cycle}.snap")
}

/// A script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Script {
    once: String,
    cycle: String,
}

impl Script {
    /// Reads one.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut parts = vec![String::new()];
        for line in text.lines() {
            if line.trim() == SEPARATOR {
                parts.push(String::new());
            } else if let Some(part) = parts.last_mut() {
                part.push_str(line);
                part.push('\n');
            }
        }
        let cycle = parts.pop().unwrap_or_default();
        ensure!(
            parts.len() <= 1,
            "the script has more than one line `{SEPARATOR}`"
        );
        let has_command = |line: &str| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        };
        ensure!(
            cycle.lines().any(has_command),
            "the script has no command to run in a cycle"
        );
        Ok(Self {
            once: parts.pop().unwrap_or_default(),
            cycle,
        })
    }

    /// The whole session at the shell, with an account before the cycles and after each of `taken`.
    pub(super) fn commands(&self, warmup: u64, taken: &[u64]) -> String {
        // A script with a wrong line says nothing about leaks, however often it runs.
        let mut out = format!("{STRICT}\n{}", self.once);
        let mut done = 0;
        out.push_str(&self.cycle.repeat(warmup as usize));
        for &cycle in taken {
            out.push_str(&self.cycle.repeat((cycle - done) as usize));
            done = cycle;
            // Jobs that the script started belong to it.
            out.push_str("wait\n");
            out.push_str(&format!("teestat snapshot {}\n", file(cycle)));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_is_split_and_repeated() {
        let script = Script::parse("open heap\n --- \n# comment\ninvoke 1 leak 1 28\n").unwrap();
        let commands = script.commands(1, &taken(2));
        assert_eq!(commands.matches("open heap").count(), 1);
        assert_eq!(commands.matches("invoke 1 leak").count(), 3);
        for (n, cycle) in [(1, 0), (2, 1), (3, 2)] {
            let at = commands.find(&format!("snapshot {}\n", file(cycle)));
            let before = &commands[..at.unwrap()];
            assert_eq!(before.matches("invoke 1 leak").count(), n);
        }
        assert!(commands.ends_with("cycle-2.snap\n"));
        // Bug: all cycles ran after a line that was wrong, and nobody said which.
        assert!(commands.starts_with("strict\nopen heap\n"));
    }

    #[test]
    fn accounts_are_taken_from_the_first_to_the_last_cycle() {
        assert_eq!(taken(1), [0, 1]);
        assert_eq!(taken(20), (0..=20).collect::<Vec<_>>());
        for cycles in [64, 65, 100, 100_000] {
            let taken = taken(cycles);
            assert!(taken.len() as u64 <= MAX_ACCOUNTS + 1);
            assert_eq!((taken[0], taken.last()), (0, Some(&cycles)));
        }
    }

    #[test]
    fn script_without_a_cycle_is_refused() {
        for text in ["", "# nothing\n", "open heap\n---\n", "a\n---\nb\n---\nc\n"] {
            assert!(Script::parse(text).is_err(), "{text:?}");
        }
        let simple = Script::parse("heap grow 10").unwrap();
        assert_eq!(simple.once, "");
    }
}
