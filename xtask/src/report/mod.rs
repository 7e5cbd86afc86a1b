//! `cargo xtask report`: snapshots as a page, as graphs, as metrics.
//!
//! **Invariant:** every output is written whole or not at all; standard output has nothing but
//! what was asked for there.

pub(crate) mod programs;

use crate::{file, paths, ui};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tally_insight::account::Account;
use tally_insight::answers::{Comparison, Whole};
use tally_insight::findings::{doubts, several_boots};
use tally_insight::growth::{self, Change};
use tally_insight::snapshot::Snapshot;
use tally_insight::{json, openmetrics};
use tally_report::flame::Look;
use tally_report::{flame, html, listing, pprof};

/// Longest file that is read; a snapshot of a machine with 16 MiB has some ten KiB.
const MAX_BYTES: u64 = 64 << 20;

/// Exit status of a wrong command line.
const STATUS_USAGE: u8 = 2;

const EXAMPLES: &str = "Examples:
  cargo xtask run -- 'open heap; teestat snapshot a.snap; invoke 1 leak 10 28; teestat snapshot b.snap'
  cd target/tally/files                         where they are now
  cargo xtask report a.snap b.snap              one HTML page, offline, with growth over time
  cargo xtask report --diff a.snap b.snap       what grew, as text
  cargo xtask report b.snap --pprof b.pb.gz     for `go tool pprof`, speedscope and the like
  cargo xtask report --diff a.snap b.snap --flamegraph grown.svg";

/// What to report.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files of `teestat snapshot`, in any order if they are of one boot
    #[arg(required = true, value_name = "SNAPSHOT")]
    snapshots: Vec<PathBuf>,
    /// The HTML page; `-` is standard output [default: target/tally/report.html, unless another
    /// format is asked for]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Compare two snapshots, the first with the second as given; alone it prints what grew
    #[arg(long)]
    diff: bool,
    /// Flame graph of live bytes (SVG); of a comparison, of what grew (red) and what shrank (blue)
    #[arg(long, value_name = "FILE")]
    flamegraph: Option<PathBuf>,
    /// Folded stacks, as inferno and FlameGraph read them
    #[arg(long, value_name = "FILE")]
    folded: Option<PathBuf>,
    /// Profile of the last snapshot for pprof: inuse_objects, inuse_space, alloc_objects
    #[arg(long, value_name = "FILE")]
    pprof: Option<PathBuf>,
    /// OpenMetrics text of the last snapshot
    #[arg(long, value_name = "FILE")]
    openmetrics: Option<PathBuf>,
    /// One JSON object of the last snapshot
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    programs: programs::Given,
}

/// Writes what was asked for.
pub(crate) fn run(args: &Args) -> Result<u8> {
    if args.diff && args.snapshots.len() != 2 {
        ui::error(format_args!(
            "--diff compares two snapshots, not {}",
            args.snapshots.len()
        ));
        return Ok(STATUS_USAGE);
    }
    let outputs = [
        &args.output,
        &args.flamegraph,
        &args.folded,
        &args.pprof,
        &args.openmetrics,
        &args.json,
    ];
    file::ensure_writable(outputs.into_iter().flatten())?;
    let mut snapshots = Vec::new();
    for path in &args.snapshots {
        snapshots.push((read(path)?, name(path)));
    }
    if !args.diff && !several_boots(snapshots.iter().map(|(snapshot, _)| snapshot)) {
        snapshots.sort_by_key(|(snapshot, _)| snapshot.header.at_ms);
    }
    let found = programs::load(&args.programs, &snapshots)?;
    found.warn(&args.programs, &snapshots, oldest(&args.snapshots));
    let accounts = Account::several(snapshots, &found.programs);
    for doubt in doubts(&accounts) {
        ui::warn(doubt);
    }
    Report {
        accounts: &accounts,
        changes: growth::between(&accounts[0], &accounts[accounts.len() - 1]),
    }
    .write(args)?;
    Ok(0)
}

/// When the oldest of these files was written.
fn oldest(paths: &[PathBuf]) -> Option<SystemTime> {
    let written = paths
        .iter()
        .filter_map(|path| path.metadata().ok()?.modified().ok());
    written.min()
}

/// Reads a snapshot.
pub(crate) fn read(path: &Path) -> Result<Snapshot> {
    let shown = path.display();
    let bytes = tally_symbols::read(path, MAX_BYTES)?;
    Snapshot::parse(&bytes).with_context(|| format!("in {shown}"))
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

struct Report<'a> {
    accounts: &'a [Account],
    changes: Vec<Change>,
}

impl Report<'_> {
    fn write(&self, args: &Args) -> Result<()> {
        let last = &self.accounts[self.accounts.len() - 1];
        let first = &self.accounts[0];
        let diff = args.diff;
        if let Some(path) = &args.flamegraph {
            let title = if diff {
                "Growth of live bytes"
            } else {
                "Live bytes"
            };
            let subtitle = if diff {
                format!("{} to {}", first.file, last.file)
            } else {
                last.file.clone()
            };
            let look = Look {
                title,
                subtitle: &subtitle,
                embedded: false,
                growth: diff,
            };
            let folded = if diff {
                flame::folded_growth(last, &self.changes)
            } else {
                flame::folded(last)
            };
            file::put(path, flame::draw(&folded, &look)?.as_bytes())?;
        }
        if let Some(path) = &args.folded {
            file::put(path, self.folded(diff).as_bytes())?;
        }
        if let Some(path) = &args.pprof {
            let profile = if diff {
                pprof::change(first, last, &self.changes)?
            } else {
                pprof::profile(last)?
            };
            file::put(path, &profile)?;
        }
        if let Some(path) = &args.openmetrics {
            let text = if diff {
                openmetrics::change(last, &self.changes)
            } else {
                openmetrics::figures(last)
            };
            file::put(path, text.as_bytes())?;
        }
        if let Some(path) = &args.json {
            let text = if diff {
                json::pretty(&Comparison::new(first, last, &self.changes))?
            } else {
                json::pretty(&Whole(last))?
            };
            file::put(path, text.as_bytes())?;
        }
        self.page(args)
    }

    fn folded(&self, diff: bool) -> String {
        let last = &self.accounts[self.accounts.len() - 1];
        if diff {
            flame::folded_change(last, &self.changes)
        } else {
            flame::folded(last)
        }
    }

    fn page(&self, args: &Args) -> Result<()> {
        let other = [
            &args.flamegraph,
            &args.folded,
            &args.pprof,
            &args.openmetrics,
            &args.json,
        ];
        let path = match &args.output {
            Some(path) => path.clone(),
            None if other.iter().any(|format| format.is_some()) => return Ok(()),
            None if args.diff => {
                let [first, .., last] = self.accounts else {
                    bail!("nothing to compare");
                };
                anstream::print!("{}", listing::changes(first, last, &self.changes));
                return Ok(());
            }
            None => paths::out().join("report.html"),
        };
        let page = html::page(self.accounts).context("there is no snapshot")?;
        file::put(&path, page.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Cli, execute};
    use clap::Parser as _;

    /// Bug: a wrong command line was a failure (1).
    #[test]
    fn a_comparison_of_one_is_a_wrong_command_line() {
        let cli = Cli::try_parse_from(["xtask", "report", "--diff", "a.snap"]);
        let status = execute(&cli.unwrap().command);
        assert_eq!(status.unwrap(), super::STATUS_USAGE);
    }
}
