//! `cargo xtask soak`: open, close, invoke, crash and kill of every test TA, for a time.
//!
//! **Invariant:** the guest's own `soak` command says whether any account grew; what is added here
//! is the machine's end: a guest that hangs or panics has failed. A kernel that keeps no accounts is not
//! soaked.

use crate::images::{self, Config};
use crate::qemu::{Ending, Output, Run};
use crate::{paths, ui};
use anyhow::{Result, ensure};
use std::time::Duration;

/// How long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long, in minutes of the guest
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// Virtual CPUs
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=4))]
    cpus: u32,
    /// End a guest that has been silent for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    #[command(flatten)]
    config: Config,
}

/// Soaks; the status is the guest's.
pub(crate) fn run(args: &Args) -> Result<u8> {
    ensure!(
        !args.config.kernel_no_default_features,
        "a kernel without statistics keeps no accounts: nobody could tell whether any grew"
    );
    let images = images::build(&args.config)?;
    let command = format!("soak --seconds {}", args.minutes * 60);
    let outcome = Run {
        images: &images,
        label: "soak",
        command: Some(&command),
        output: Output::of_many_deaths(),
        secure_console: false,
        silence: Duration::from_secs(args.timeout),
        files: None,
        cpus: args.cpus,
        extra: Vec::new(),
    }
    .start()?;
    let time = outcome.time.as_secs();
    let secure = paths::shown(&outcome.secure_path);
    match (&outcome.ending, outcome.trouble(&images)) {
        (Ending::Exit(0), _) => ui::step(
            "Soaked",
            format_args!(
                "{} min {} s; {} TAs died on purpose, and nothing grew; secure console in {secure}",
                time / 60,
                time % 60,
                ui::thousands(outcome.deaths)
            ),
        ),
        (_, Some(trouble)) => ui::error(trouble),
        (Ending::Exit(status), None) => ui::error(format_args!(
            "the soak failed with status {status}; the reason is named above, secure console in \
             {secure}"
        )),
        (ending, None) => ui::error(format_args!("the machine ended early: {ending:?}")),
    }
    Ok(outcome.status())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was soaked, failed at its first question, and was said to have grown.
    #[test]
    fn a_kernel_without_accounts_is_not_soaked() {
        let args = Args {
            minutes: 1,
            cpus: 1,
            timeout: 1,
            config: Config {
                kernel_no_default_features: true,
                ..Config::default()
            },
        };
        let why = run(&args).unwrap_err().to_string();
        assert!(why.contains("without statistics"), "{why}");
    }
}
