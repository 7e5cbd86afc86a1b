//! Scripts of shell commands, and the commands that take the account around them.
//!
//! **Invariant:** what runs before the first account and what runs between the two is the same
//! text, cycle by cycle.

use anyhow::{Result, ensure};

/// Stands between the part that runs once and the part that runs every cycle.
const SEPARATOR: &str = "---";

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

    /// The whole session at the shell; accounts go to `files`, before and after.
    pub(super) fn commands(&self, warmup: u64, cycles: u64, files: [&str; 2]) -> String {
        let mut out = self.once.clone();
        for (times, file) in [warmup, cycles].into_iter().zip(files) {
            for _ in 0..times {
                out.push_str(&self.cycle);
            }
            // Jobs that the script started belong to it.
            out.push_str("wait\n");
            out.push_str(&format!("teestat snapshot {file}\n"));
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
        let commands = script.commands(1, 2, ["a", "c"]);
        assert_eq!(commands.matches("open heap").count(), 1);
        assert_eq!(commands.matches("invoke 1 leak").count(), 3);
        let first = commands.find("snapshot a").unwrap();
        assert_eq!(commands[..first].matches("invoke 1 leak").count(), 1);
        assert!(commands.ends_with("teestat snapshot c\n"));
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
