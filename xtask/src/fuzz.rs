//! `cargo xtask fuzz`.
//!
//! The targets are in `tools/fuzz`, a program of its own so that xtask does not wait for the
//! crates under test. Its plain mode needs nothing but the toolchain: inputs are pseudo-random
//! from a fixed seed and mutated from built-in samples.
//!
//! **Invariant:** a failure names the target and the seed that repeats it.
//! **Knows nothing of:** what the targets check.

use crate::tool;
use anyhow::Result;
use std::process::Command;

/// What to fuzz.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Time for each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Only this target; without, all of them in turn
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Begin with another pseudo-random sequence
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Runs the targets; their messages go to the terminal.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let targets = match &args.target {
        Some(target) => vec![target.clone()],
        None => targets()?,
    };
    for target in targets {
        tool::run(&mut command(&target, args.seconds, args.seed))?;
    }
    Ok(0)
}

/// Names of all targets.
pub(crate) fn targets() -> Result<Vec<String>> {
    let mut list = tool::cargo();
    list.args(["run", "--quiet", "-p", "tally-fuzz", "--", "list"]);
    Ok(tool::output(&mut list)?
        .lines()
        .map(str::to_owned)
        .collect())
}

/// Runs one target for a time.
pub(crate) fn command(target: &str, seconds: u64, seed: u64) -> Command {
    let mut cargo = tool::cargo();
    cargo.args(["run", "--quiet", "-p", "tally-fuzz", "--", target]);
    cargo.args([seconds.to_string(), seed.to_string()]);
    cargo
}
