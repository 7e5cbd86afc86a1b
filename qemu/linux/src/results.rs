//! The results file: one JSON object a line.
//!
//! **Invariant:** lines are whole, and the last one says how many there are.

use std::fs::File;
use std::io::{self, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use crate::lateness::Lateness;

/// What a test came to.
pub(crate) enum Verdict {
    Passed,
    Failed(String),
    /// It cannot be run here.
    Skipped(String),
}

impl Verdict {
    /// As it is written down.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
        }
    }

    /// Why it did not pass.
    pub(crate) fn detail(&self) -> &str {
        match self {
            Self::Passed => "",
            Self::Failed(why) | Self::Skipped(why) => why,
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// An open results file.
pub(crate) struct Results {
    file: File,
    count: u64,
}

impl Results {
    /// Opens `path`, a file or a port.
    pub(crate) fn open(path: &str) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { file, count: 0 })
    }

    /// Writes one test's result.
    pub(crate) fn test(&mut self, name: &str, time: Duration, verdict: &Verdict) -> io::Result<()> {
        self.count += 1;
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let line = json!({
            "name": name, "result": verdict.word(), "detail": verdict.detail(), "ms": ms,
        });
        self.line(&line.to_string())
    }

    /// Writes what was measured, and how long it took.
    pub(crate) fn measure(
        &mut self,
        name: &str,
        iterations: u32,
        time: Duration,
    ) -> io::Result<()> {
        self.count += 1;
        let line = json!({"bench": name, "iterations": iterations, "ns": nanos(time)});
        self.line(&line.to_string())
    }

    /// Writes how late a sleeper was.
    pub(crate) fn lateness(&mut self, name: &str, lateness: &Lateness) -> io::Result<()> {
        self.count += 1;
        let line = json!({
            "lateness": name,
            "sleeps": lateness.sleeps,
            "median_ns": nanos(lateness.median),
            "worst_ns": nanos(lateness.worst),
        });
        self.line(&line.to_string())
    }

    /// Writes a figure that is no measure.
    pub(crate) fn fact(&mut self, name: &str, figure: u64) -> io::Result<()> {
        self.count += 1;
        self.line(&json!({"fact": name, "figure": figure}).to_string())
    }

    /// Writes a row of another form.
    pub(crate) fn row(&mut self, row: &Value) -> io::Result<()> {
        self.count += 1;
        self.line(&row.to_string())
    }

    /// Writes the last line.
    pub(crate) fn close(mut self) -> io::Result<()> {
        let line = json!({"done": self.count}).to_string();
        self.line(&line)
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        self.file.write_all(format!("{line}\n").as_bytes())
    }
}
