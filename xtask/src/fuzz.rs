//! `cargo xtask fuzz`.
//!
//! The targets are in `tools/fuzz`, a program of its own so that xtask does not wait for the
//! crates under test. Its plain mode needs nothing but the toolchain: inputs are pseudo-random
//! from a fixed seed and mutated from built-in samples. `--smc` and `--ta` are another thing: a hostile normal
//! world and hostile TAs in QEMU, against the kernel as it ships.
//!
//! **Invariant:** a failure names the target and the seed that repeats it.

use crate::images::{self, Config, Images};
use crate::qemu::{Ending, Output, Run};
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
    #[arg(long, group = "hostile")]
    smc: bool,
    /// Random steps of TAs, in QEMU: system calls with any nesting, forged books, deaths
    #[arg(long, group = "hostile")]
    ta: bool,
    /// Calls to make at least with --smc, steps with --ta
    #[arg(long, value_name = "N", requires = "hostile", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    calls: u64,
    /// Begin with another pseudo-random sequence
    #[arg(long, value_name = "N", requires = "hostile", default_value_t = 1)]
    seed: u64,
}

/// Runs the targets; their messages go to the terminal.
pub(crate) fn run(args: &Args) -> Result<u8> {
    for (is_wanted, hostile) in [(args.smc, SMC), (args.ta, TA)] {
        if is_wanted {
            return run_hostile(hostile, args.calls, args.seed);
        }
    }
    let targets = match &args.target {
        Some(target) => vec![target.clone()],
        None => targets()?,
    };
    build()?;
    for target in targets {
        ui::step("Fuzzing", format_args!("{target} for {} s", args.seconds));
        tool::run(&mut command(&target, args.seconds, args.seed))?;
    }
    Ok(0)
}

/// Who is hostile in QEMU.
#[derive(Clone, Copy)]
pub(crate) struct Hostile {
    label: &'static str,
    /// The command of `qemu/ree`.
    command: &'static str,
}

/// The normal world.
pub(crate) const SMC: Hostile = Hostile {
    label: "fuzz-smc",
    command: "hostile",
};
/// TAs.
pub(crate) const TA: Hostile = Hostile {
    label: "fuzz-ta",
    command: "hostile-ta",
};

impl Hostile {
    /// A run of so many calls, on four CPUs.
    pub(crate) fn run<'a>(
        self,
        images: &'a Images,
        command: &'a str,
        silence: Duration,
    ) -> Run<'a> {
        Run {
            cpus: 4,
            ..Run::captured(images, self.label, command, silence)
        }
    }

    /// The command of `qemu/ree` that makes the calls.
    pub(crate) fn command(self, calls: u64, seed: u64) -> String {
        format!("{} {calls} {seed}", self.command)
    }
}

fn run_hostile(hostile: Hostile, calls: u64, seed: u64) -> Result<u8> {
    let images = images::build(&Config::default())?;
    let command = hostile.command(calls, seed);
    let outcome = Run {
        output: Output::of_many_deaths(),
        ..hostile.run(&images, &command, Duration::from_secs(120))
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
        let is_understood = |words: &[&str]| {
            let all = ["xtask", "fuzz"].iter().chain(words);
            Cli::try_parse_from(all).is_ok()
        };
        for words in [
            &["--seconds"][..],
            &["--ta", "--calls"],
            &["--smc", "--calls"],
        ] {
            assert!(is_understood(&[words, &["1"]].concat()), "{words:?}");
            assert!(!is_understood(&[words, &["0"]].concat()), "{words:?}");
        }
        // Bug: calls of nobody were not asked for, and all targets ran.
        assert!(!is_understood(&["--calls", "1"]));
        assert!(!is_understood(&["--smc", "--ta"]));
    }
}
