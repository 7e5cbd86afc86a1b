//! Build, run and test Tally: `cargo xtask help` lists what there is.
//!
//! **Invariant:** exit status 0 means that all went well; 1 a failure with its reason on
//! standard error; 2 a wrong command line; `run` returns the guest's own, `leakcheck` its verdict.
#![deny(unsafe_code)]

mod archive;
mod bad;
mod bench;
mod bl32;
mod browser;
mod builds;
mod deny;
mod docs;
mod file;
mod flash;
mod fuzz;
mod gdb;
mod given;
mod images;
mod keys;
mod leakcheck;
mod lint;
mod linux;
mod lock;
mod mutants;
mod new_ta;
mod paths;
mod qemu;
mod report;
mod run;
mod setup;
mod sign;
mod sites;
mod size;
mod soak;
mod stacks;
mod sweep;
mod symbolize;
mod symbols;
mod test;
mod tfa;
mod tidy;
mod tool;
mod ui;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Build, run and test Tally
#[derive(Debug, Parser)]
#[command(
    bin_name = "cargo xtask",
    version,
    disable_help_subcommand = false,
    max_term_width = 100
)]
struct Cli {
    /// Show cargo's own progress even when nobody watches, and in `soak` and `fuzz` each death of a TA
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot in QEMU: an interactive shell, the commands given after `--`, or a short tour
    Run(run::Args),
    /// Run the tests on the host, in QEMU and in Linux; closes with `N passed, N failed`
    Test(test::Args),
    /// Build all images without running them
    Build(images::Config),
    /// Make the crate of a new TA, in `tas/` or anywhere else
    NewTa(new_ta::Args),
    /// Write the kernel for another firmware
    Image(bl32::Args),
    /// Check formatting and dependencies, and run clippy for the host and the guest
    Lint,
    /// Count instructions, beside OP-TEE's figures
    Bench(bench::Args),
    /// Sizes of all images in bytes
    Size {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// The deepest stack of every entry to the kernel, from its image; fails when one does not fit
    Stacks(stacks::Args),
    /// Check the rules of the house that no compiler checks
    Tidy,
    /// Run the fuzz targets
    Fuzz(fuzz::Args),
    /// Make small wrong changes, each of which a test must notice; compare what survives with a list
    Mutants(mutants::Args),
    /// Snapshots as one HTML page, flame graphs, pprof, OpenMetrics, JSON; what grew between two
    Report(report::Args),
    /// Run a workload many times over; fails when any memory grew, with the call stacks
    Leakcheck(leakcheck::Args),
    /// Open, close, invoke, crash and kill every test TA for a time; nothing may grow
    Soak(soak::Args),
    /// Refuse each request for memory of each operation once, in QEMU
    Sweep(sweep::Args),
    /// Name the addresses in a pasted log
    Symbolize(symbolize::Args),
    /// Capture what README.md and docs/ show from runs
    Docs(docs::Args),
    /// Install what is missing on this machine
    Setup,
    /// Show what is missing on this machine
    Doctor,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    ui::set_verbose(cli.verbose);
    match execute(&cli.command) {
        Ok(status) => ExitCode::from(status),
        Err(err) => {
            ui::error(format_args!("{err:#}"));
            ExitCode::FAILURE
        }
    }
}

fn execute(command: &Command) -> Result<u8> {
    match command {
        Command::Run(args) => run::run(args),
        Command::Build(config) => {
            let images = images::build(config)?;
            ui::step("Built", paths::shown(&images.flash.path));
            Ok(0)
        }
        Command::NewTa(args) => new_ta::run(args),
        Command::Image(args) => bl32::run(args),
        Command::Test(args) => test::run(args),
        Command::Lint => lint::run().map(|()| 0),
        Command::Bench(args) => bench::run(args),
        Command::Size { json } => size::run(*json),
        Command::Stacks(args) => stacks::run(args),
        Command::Tidy => {
            let complaints = tidy::check()?;
            for complaint in &complaints {
                anstream::println!("{complaint}");
            }
            if complaints.is_empty() {
                ui::step("Tidy", "nothing to complain about");
            }
            Ok(u8::from(!complaints.is_empty()))
        }
        Command::Fuzz(args) => fuzz::run(args),
        Command::Mutants(args) => mutants::run(args),
        Command::Report(args) => report::run(args),
        Command::Leakcheck(args) => Ok(leakcheck::run(args)),
        Command::Soak(args) => soak::run(args),
        Command::Sweep(args) => sweep::run(args),
        Command::Symbolize(args) => symbolize::run(args),
        Command::Docs(args) => docs::run(args),
        Command::Setup => Ok(u8::from(!setup::doctor(true)?)),
        Command::Doctor => Ok(u8::from(!setup::doctor(false)?)),
    }
}
