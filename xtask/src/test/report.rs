//! Reports, looked at by programs that we did not write: a browser, and readers of the formats.
//!
//! **Invariant:** what cannot be had on this machine is skipped with one line that says so.

use super::results::Results;
use crate::browser::{self, Screen};
use crate::{paths, setup, tool, ui};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use tally_insight::account::Account;
use tally_insight::account::NoSymbols;
use tally_insight::{growth, openmetrics, sample};
use tally_report::html;

/// Drives the page as a person would, and writes what came of it into the document.
const DRIVER: &str = include_str!("report.js");
const CHROMIUM_TEST: &str = "report: the page in Chromium, offline, sorted, filtered, zoomed";
const METRICS_TEST: &str = "report: OpenMetrics as prometheus_client reads it";

/// Their names.
pub(super) const NAMES: [&str; 2] = [CHROMIUM_TEST, METRICS_TEST];

/// Runs what is wanted.
pub(super) fn run(results: &mut Results) {
    if !results.wants_any(NAMES) {
        return;
    }
    ui::step("Testing", "reports");
    let accounts: Vec<Account> = [1, 2, 4]
        .map(|cycle| {
            let file = format!("cycle-{cycle}.snap");
            let mut snapshot = sample::machine(cycle);
            // Something shrinks, too.
            if cycle == 1
                && let Some(block) = snapshot
                    .live
                    .iter_mut()
                    .find(|block| block.image == sample::SOUND)
            {
                block.bytes += 100;
            }
            Account::new(snapshot, &file, &NoSymbols)
        })
        .into();
    if results.wants(CHROMIUM_TEST) {
        match setup::ensure(setup::Part::Chromium) {
            Ok(()) => results.check(CHROMIUM_TEST, || said(page(&accounts, "sample"))),
            Err(err) => results.skip(CHROMIUM_TEST, &one_line(&err)),
        }
    }
    if results.wants(METRICS_TEST) {
        match python() {
            Ok(modules) => results.check(METRICS_TEST, || said(metrics(&accounts, &modules))),
            Err(err) => results.skip(METRICS_TEST, &one_line(&err)),
        }
    }
}

fn said(result: Result<()>) -> Result<(), String> {
    result.map_err(|err| format!("{err:#}"))
}

pub(super) fn one_line(err: &anyhow::Error) -> String {
    format!("{err:#}").replace('\n', " ")
}

fn dir() -> Result<PathBuf> {
    let dir = paths::out().join("report-test");
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// The page of `accounts` in a browser: its figures are the last snapshot's, to the byte.
pub(super) fn page(accounts: &[Account], name: &str) -> Result<()> {
    let html = html::page(accounts).context("no snapshots")?;
    let path = dir()?.join(format!("{name}.html"));
    let driven = html.replace("</body>", &format!("<script>\n{DRIVER}</script></body>"));
    std::fs::write(&path, driven)?;
    for screen in [Screen::WIDE, Screen::NARROW] {
        let seen = browser::open(&path, screen)?;
        ensure!(
            seen.console.is_empty(),
            "the page says on its console:\n{}",
            seen.console.join("\n")
        );
        let results = found(&seen.document)?;
        let complaints: Vec<String> = expected(accounts)
            .into_iter()
            .filter(|(what, value)| results[what] != *value)
            .map(|(what, value)| {
                format!("{what}: {} in the page, should be {value}", results[what])
            })
            .collect();
        let (width, _) = screen.size;
        ensure!(
            complaints.is_empty(),
            "at {width} pixels: {}",
            complaints.join("\n")
        );
    }
    Ok(())
}

/// What the driver found, by name.
fn found(document: &str) -> Result<Value> {
    let begin = "<pre id=\"driven\">";
    let text = document
        .split_once(begin)
        .and_then(|(_, rest)| rest.split_once("</pre>"))
        .context("the driver did not come to its end")?
        .0;
    Ok(serde_json::from_str(text)?)
}

/// What it must have found.
fn expected(accounts: &[Account]) -> Vec<(&'static str, Value)> {
    let Some(last) = accounts.last() else {
        return Vec::new();
    };
    let changes = growth::between(&accounts[0], last);
    let snapshot = &last.snapshot;
    let live: u64 = snapshot.live.iter().map(|record| record.bytes).sum();
    let sites: u64 = snapshot.sites.iter().map(|site| site.live_bytes).sum();
    let uses: u64 = snapshot.meminfo.iter().map(|row| row.bytes).sum();
    let pages: u64 = snapshot.owners.iter().map(|row| u64::from(row.pages)).sum();
    let mut expected = vec![
        ("secure RAM", snapshot.header.secure_ram.into()),
        ("sum of uses", uses.into()),
        ("live bytes", live.into()),
        ("site bytes", sites.into()),
        ("owned pages", pages.into()),
        ("flame bytes", live.into()),
        ("cards", snapshot.tas.len().into()),
        ("live rows", changes.len().into()),
        ("fetched", 0.into()),
        ("sorted", true.into()),
        ("filtered to none", 0.into()),
        ("sums are of what is shown", true.into()),
        ("sums are of all rows again", true.into()),
        ("zoomed and back", true.into()),
        ("the lowest frame can be clicked", true.into()),
        ("theme changed", true.into()),
        ("wider than the window", false.into()),
        ("cells off the screen", 0.into()),
        ("white frames", 0.into()),
        ("dark on paper", false.into()),
    ];
    if accounts.len() > 1 {
        let growth: i64 = changes.iter().map(growth::Change::bytes).sum();
        expected.push(("growth bytes", growth.into()));
        expected.push(("widths are the growth", true.into()));
    }
    expected
}

/// Where `prometheus_client` lies, installed if need be.
pub(super) fn python() -> Result<PathBuf> {
    let modules = paths::out().join("python");
    let works = |modules: &Path| {
        let mut python = Command::new("python3");
        python.args(["-c", "import prometheus_client.openmetrics.parser"]);
        let python = python.env("PYTHONPATH", modules);
        tool::captured(python).is_ok_and(|(ok, _)| ok)
    };
    if !works(&modules) {
        ui::step(
            "Installing",
            "prometheus_client, below the target directory",
        );
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--target"]);
        let (_, text) = tool::captured(pip.arg(&modules).arg("prometheus_client"))?;
        ensure!(
            works(&modules),
            "python3 has no prometheus_client and pip cannot install it: {}",
            text.lines().next_back().unwrap_or_default()
        );
    }
    Ok(modules)
}

/// Reads a metrics file; prints one JSON object of families, samples and some sums.
const METRICS_READER: &str = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = list(text_string_to_metric_families(open(sys.argv[1]).read()))
total = lambda name: int(sum(s.value for f in families for s in f.samples if s.name == name))
print(json.dumps({
    'families': len(families),
    'uses': total('tally_secure_memory_bytes'),
    'live': total('tally_site_live_bytes'),
    'growth': total('tally_growth_bytes'),
    'allocations': total('tally_pool_allocations_total'),
}))
";

/// What `prometheus_client` finds in a text, which goes into the file `name`.
fn read_metrics(modules: &Path, name: &str, text: &str) -> Result<Value> {
    let path = dir()?.join(name);
    std::fs::write(&path, text)?;
    let mut python = Command::new("python3");
    python.args(["-c", METRICS_READER]).arg(&path);
    let (ok, text) = tool::captured(python.env("PYTHONPATH", modules))?;
    ensure!(ok, "{text}");
    Ok(serde_json::from_str(&text)?)
}

/// Checks what a machine says of itself by `teestat metrics`: it is read, it adds up, and its families
/// are those of a report, but for what is a snapshot's alone or the machine's.
pub(super) fn live_metrics(python: &Path, text: &str) -> Result<Value> {
    let figures = read_metrics(python, "live.txt", text)?;
    let families = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let own = ["tally_snapshot", "tally_calls"];
        lines
            .filter(|line| !own.iter().any(|prefix| line.starts_with(prefix)))
            .map(str::to_owned)
            .collect()
    };
    let account = Account::new(sample::machine(1), "", &NoSymbols);
    let reported = families(&openmetrics::figures(&account));
    let live = families(text);
    let differ: Vec<_> = reported.symmetric_difference(&live).collect();
    ensure!(differ.is_empty(), "in one of them only: {differ:?}");
    Ok(figures)
}

fn metrics(accounts: &[Account], modules: &Path) -> Result<()> {
    let (first, last) = (&accounts[0], &accounts[accounts.len() - 1]);
    let snapshot = &last.snapshot;
    let read = |name: &str, text: &str| read_metrics(modules, name, text);
    let figures = read("figures.txt", &openmetrics::figures(last))?;
    let live: u64 = snapshot.sites.iter().map(|site| site.live_bytes).sum();
    let allocations: u64 = snapshot.pools.iter().map(|row| row.pool.num_get).sum();
    for (what, value) in [
        ("uses", snapshot.header.secure_ram),
        ("live", live),
        ("allocations", allocations),
    ] {
        ensure!(
            figures[what] == value,
            "{what}: {} read, {value} written",
            figures[what]
        );
    }
    let changes = growth::between(first, last);
    let growth: i64 = changes.iter().map(growth::Change::bytes).sum();
    let change = read("change.txt", &openmetrics::change(last, &changes))?;
    ensure!(
        change["growth"] == growth,
        "growth: {} read",
        change["growth"]
    );
    ensure!(growth > 0, "the sample machine did not grow");
    Ok(())
}
