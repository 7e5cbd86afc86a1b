//! `cargo xtask fuzz`.
//!
//! The targets are in `tools/fuzz`, a program of its own so that xtask does not wait for the
//! crates under test. Its plain mode needs nothing but the toolchain: inputs are pseudo-random
//! from a fixed seed and mutated from built-in samples. `--smc` is another thing: a hostile normal
//! world in QEMU, against the kernel as it ships.
//!
//! **Invariant:** a failure names the target and the seed that repeats it.

use crate::images::{self, Config};
use crate::qemu::{self, Ending, Output, Run};
use crate::test::sources;
use crate::{paths, tool, ui};
use anyhow::Result;
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = "tally-fuzz";

/// What to fuzz.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Time for each target
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Only this target; without, all of them in turn
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Random calls, shared pages that change in flight and wrong RPC answers, in QEMU
    #[arg(long)]
    smc: bool,
    /// Calls to make at least, with --smc
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    calls: u64,
    /// Begin with another pseudo-random sequence
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Runs the targets; their messages go to the terminal.
pub(crate) fn run(args: &Args) -> Result<u8> {
    if args.smc {
        return smc(args.calls, args.seed);
    }
    let targets = match &args.target {
        Some(target) => vec![target.clone()],
        None => targets()?,
    };
    build()?;
    for target in targets {
        tool::run(&mut command(&target, args.seconds, args.seed))?;
    }
    Ok(0)
}

/// Runs the hostile normal world of `qemu/ree`.
fn smc(calls: u64, seed: u64) -> Result<u8> {
    let images = images::build(&Config::default())?;
    qemu::announce("fuzz-smc");
    let command = smc_command(calls, seed);
    let outcome = Run {
        images: &images,
        label: "fuzz-smc",
        command: Some(&command),
        output: Output::Shown,
        secure_console: false,
        silence: Duration::from_secs(120),
        files: None,
        cpus: 2,
        extra: Vec::new(),
    }
    .start()?;
    let time = outcome.time.as_secs();
    match (&outcome.ending, outcome.trouble(&images)) {
        (Ending::Exit(0), _) => ui::step(
            "Fuzzed",
            format_args!(
                "{} min {} s, and every account is as before",
                time / 60,
                time % 60
            ),
        ),
        (_, Some(trouble)) => ui::error(trouble),
        (_, None) => ui::error("the last round above failed; its seed repeats it"),
    }
    Ok(outcome.status())
}

/// The command of `qemu/ree` that makes hostile calls.
pub(crate) fn smc_command(calls: u64, seed: u64) -> String {
    format!("hostile {calls} {seed}")
}

/// Names of all targets.
pub(crate) fn targets() -> Result<Vec<String>> {
    sources::tables("tools/fuzz/src", "TARGETS")
}

/// Builds the program of all targets, with the features that the workspace's tests have: most of it is there
/// after them.
pub(crate) fn build() -> Result<()> {
    let mut cargo = tool::cargo();
    cargo.args(["build", "--quiet", "--workspace", "--bin", PROGRAM]);
    tool::run(&mut cargo)
}

/// Runs one target for a time.
pub(crate) fn command(target: &str, seconds: u64, seed: u64) -> Command {
    let mut command = Command::new(paths::target().join("debug").join(PROGRAM));
    command.args([target, &seconds.to_string(), &seed.to_string()]);
    command
}

#[cfg(test)]
mod tests {
    use crate::Cli;
    use clap::Parser as _;

    #[test]
    fn fuzzing_of_nothing_is_refused() {
        // Bug: with no time or no calls, nothing was tried and the status was 0.
        let is_understood = |option, n| Cli::try_parse_from(["xtask", "fuzz", option, n]).is_ok();
        for option in ["--seconds", "--calls"] {
            assert!(is_understood(option, "1"), "{option}");
            assert!(!is_understood(option, "0"), "{option}");
        }
    }
}
