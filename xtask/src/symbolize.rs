//! `cargo xtask symbolize`.
//!
//! **Invariant:** every input line comes out again, whole.
//! **Knows nothing of:** log formats.

use crate::images::{self, Config};
use crate::symbols::Symbols;
use anyhow::{Context as _, Result};
use std::io::Read as _;
use std::path::PathBuf;

/// What to read.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File with a log; `-` or nothing: standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    config: Config,
}

/// Prints the log with names.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let text = match &args.file {
        Some(path) if path.as_os_str() != "-" => {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        _ => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes)?;
            bytes
        }
    };
    let images = images::build(&args.config)?;
    anstream::print!(
        "{}",
        Symbols::new(&images).annotate(&String::from_utf8_lossy(&text))
    );
    Ok(0)
}
