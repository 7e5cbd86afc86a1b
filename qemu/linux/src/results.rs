//! The results file: one JSON object a line.
//!
//! **Invariant:** lines are whole, and the last one says how many there are.
//! **Knows nothing of:** what the results are.

use std::fs::File;
use std::io::{self, Write as _};
use std::time::Duration;

use serde_json::json;

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
    pub(crate) fn test(
        &mut self,
        name: &str,
        time: Duration,
        result: &Result<(), String>,
    ) -> io::Result<()> {
        self.count += 1;
        let detail = result.as_ref().err().map_or("", String::as_str);
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let line = json!({"name": name, "ok": result.is_ok(), "detail": detail, "ms": ms});
        self.line(&line.to_string())
    }

    /// Writes what was measured.
    pub(crate) fn measure(&mut self, name: &str, iterations: u32) -> io::Result<()> {
        self.count += 1;
        let line = json!({"bench": name, "iterations": iterations});
        self.line(&line.to_string())
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
