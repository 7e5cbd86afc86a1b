//! `cargo xtask symbolize`.
//!
//! **Invariant:** every input line comes out again, whole; what moves a terminal is written out.

use crate::images::{self, Config};
use crate::symbols::Symbols;
use crate::ui;
use anyhow::Result;
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

/// Longest log that is read.
const MAX_LOG_BYTES: u64 = 1 << 30;

/// Prints the log with names.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let text = match &args.file {
        Some(path) if path.as_os_str() != "-" => tally_symbols::read(path, MAX_LOG_BYTES)?,
        _ => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .take(MAX_LOG_BYTES)
                .read_to_end(&mut bytes)?;
            bytes
        }
    };
    let images = images::build(&args.config)?;
    let text = String::from_utf8_lossy(&text);
    let named = Symbols::new(&images).annotate(&text);
    anstream::print!("{}", shown(&named));
    ui::step("Named", said(&text, &named));
    Ok(0)
}

/// The log as a terminal can take it: a guest made it. Carriage returns at line ends are the serial line's.
fn shown(log: &str) -> String {
    ui::plain(&log.replace("\r\n", "\n"))
}

/// What to know of the names.
fn said(text: &str, named: &str) -> &'static str {
    if named.trim_end() == text.trim_end() {
        "nothing: there is no address of code of these programs in it"
    } else {
        "by the programs as they are built now: in a log of other builds the names would be wrong"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest's line moved the terminal on which its log was symbolized.
    #[test]
    fn log_of_a_guest_moves_no_terminal() {
        let log = "one\r\ntwo\x1b[2J\r\u{61c}three\tü\n";
        assert_eq!(shown(log), "one\ntwo\\u{1b}[2J\\r\\u{61c}three\tü\n");
    }

    /// A log of other builds, and one without an address, came back without a word.
    #[test]
    fn what_the_names_are_worth_is_said() {
        assert!(said("no address\n", "no address\n").starts_with("nothing"));
        assert!(
            said("kernel+0x10", "kernel+0x10  <kernel: main>\n").contains("as they are built now")
        );
    }
}
