//! `cargo xtask`: builds xtask where whoever waits sees it, then becomes it.
//!
//! **Invariant:** this crate depends on nothing, so that the first line is there within a second.

use std::io::Error;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

/// A build that takes longer is spoken of.
const PATIENCE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match start() {
        Ok(status) => status,
        Err(err) => {
            eprintln!("error: cannot start xtask: {err}");
            ExitCode::FAILURE
        }
    }
}

/// Returns only when xtask cannot be built.
fn start() -> Result<ExitCode, Error> {
    // Cargo puts both into one directory.
    let xtask = std::env::current_exe()?.with_file_name("xtask");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--package", "xtask"]);
    if xtask.exists() {
        build.arg("--quiet");
        thread::spawn(|| {
            thread::sleep(PATIENCE);
            say("xtask again, it has changed");
        });
    } else {
        say("xtask, the tool that does the rest: one to two minutes, once");
    }
    let status = build.status()?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    Err(Command::new(xtask).args(std::env::args_os().skip(1)).exec())
}

/// Says what is built, aligned with cargo's own lines.
fn say(what: &str) {
    eprintln!("{:>12} {what}", "Building");
}
