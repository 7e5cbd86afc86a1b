//! QEMU's machine protocol, as far as a hang report needs it.
//!
//! **Invariant:** every answer is waited for a few seconds at most; a dead QEMU is an error.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A fresh socket path, short enough for `sun_path` wherever the checkout lies.
pub(crate) fn socket_path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("tally-{}-{n}.qmp", std::process::id()))
}

/// A connection.
pub(crate) struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects and stops the machine's CPUs, so that answers fit together.
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("cannot reach QEMU's monitor")?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut qmp = Self {
            stream: BufReader::new(stream),
        };
        qmp.line()?;
        qmp.execute(&json!({"execute": "qmp_capabilities"}))?;
        qmp.execute(&json!({"execute": "stop"}))?;
        Ok(qmp)
    }

    /// A command of the human monitor, as CPU `cpu` sees things.
    pub(crate) fn human(&mut self, line: &str, cpu: usize) -> Result<String> {
        let arguments = json!({"command-line": line, "cpu-index": cpu});
        let command = json!({"execute": "human-monitor-command", "arguments": arguments});
        let answer = self.execute(&command)?;
        Ok(answer.as_str().unwrap_or_default().replace('\r', ""))
    }

    fn execute(&mut self, command: &Value) -> Result<Value> {
        let mut text = command.to_string();
        text.push('\n');
        self.stream.get_mut().write_all(text.as_bytes())?;
        loop {
            let mut answer = self.line()?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU's monitor says: {error}");
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            // Anything else is an event.
        }
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("QEMU's monitor closed the connection");
        }
        Ok(serde_json::from_str(&line)?)
    }
}
