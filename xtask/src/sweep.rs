//! `cargo xtask sweep`: each request for memory of each operation is refused once, in QEMU.
//!
//! **Invariant:** the figures are the guest's; a run without its closing record has failed.

use crate::images::{self, Config};
use crate::qemu::{Ending, Outcome, Output, Run};
use crate::test::sources;
use crate::{paths, ui};
use anyhow::Result;
use serde_json::{Value, json};
use std::time::Duration;

/// Requests that are refused at a time, with `--persistent`: all from the first one on.
const ALL: u32 = u32::MAX;

/// What to sweep.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only operations whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Refuse each request and all that follow it until the operation has ended
    #[arg(long)]
    persistent: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// End a guest that has been silent for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

/// One operation, as the guest tells it.
struct Row {
    name: String,
    heap: u64,
    pages: u64,
    refused: u64,
    succeeded: u64,
    failed: String,
}

impl Row {
    fn parse(object: &Value) -> Option<Self> {
        let number = |key: &str| object[key].as_u64();
        Some(Self {
            name: object["operation"].as_str()?.to_owned(),
            heap: number("heap")?,
            pages: number("pages")?,
            refused: number("refused")?,
            succeeded: number("succeeded")?,
            failed: object["failed"].as_str()?.to_owned(),
        })
    }

    fn json(&self) -> Value {
        json!({
            "operation": self.name,
            "heap_requests": self.heap,
            "page_requests": self.pages,
            "refused": self.refused,
            "succeeded": self.succeeded,
            "failed": self.failed,
        })
    }
}

/// Sweeps; 1 if an operation failed badly.
pub(crate) fn run(args: &Args) -> Result<u8> {
    sources::holds(&operations()?, &args.filter, "operation")?;
    let images = images::build(&Config::hooked())?;
    let command = command(args.persistent, &args.filter);
    let outcome = Run {
        output: if args.json {
            Output::Captured
        } else {
            Output::of_many_deaths()
        },
        ..Run::captured(
            &images,
            "sweep",
            &command,
            Duration::from_secs(args.timeout),
        )
    }
    .start()?;
    let rows = match rows(&outcome) {
        Ok(rows) => rows,
        Err(why) => {
            ui::error(outcome.trouble(&images).unwrap_or(why));
            return Ok(1);
        }
    };
    let refused: u64 = rows.iter().map(|row| row.refused).sum();
    if args.json {
        let list: Vec<Value> = rows.iter().map(Row::json).collect();
        anstream::println!("{}", json!({ "operations": list, "refused": refused }));
    } else {
        show(&rows, refused);
    }
    Ok(u8::from(rows.iter().any(|row| !row.failed.is_empty())))
}

/// Names of all operations, from the sources.
fn operations() -> Result<Vec<String>> {
    let dir = paths::root().join("qemu/ree/src/selftest/sweep");
    let mut text = String::new();
    for file in ["operations.rs", "stored.rs"] {
        text += &std::fs::read_to_string(dir.join(file))?;
    }
    let kinds = ["\n    quick(", "\n    slow("].into_iter();
    let entries = kinds.flat_map(|kind| text.split(kind).skip(1));
    let names = entries.filter_map(|entry| entry.split('"').nth(1));
    Ok(names.map(str::to_owned).collect())
}

/// The guest's command.
pub(crate) fn command(is_persistent: bool, filter: &str) -> String {
    let count = if is_persistent { ALL } else { 1 };
    match filter {
        "" => format!("sweep {count}"),
        filter => format!("sweep {count} \"{filter}\""),
    }
}

/// What a run of the guest's command came to; an error if it did not end, or an operation failed badly.
pub(crate) fn verdict(outcome: &Outcome) -> Result<(), String> {
    let rows = rows(outcome)?;
    let failed = rows.iter().filter(|row| !row.failed.is_empty());
    let lines: Vec<String> = failed
        .map(|row| format!("{}: {}", row.name, row.failed))
        .collect();
    if !lines.is_empty() {
        return Err(lines.join("\n"));
    }
    match rows.iter().map(|row| row.refused).sum() {
        0_u64 => Err("nothing was refused".to_owned()),
        _ => Ok(()),
    }
}

fn rows(outcome: &Outcome) -> Result<Vec<Row>, String> {
    let (mut rows, mut done) = (Vec::new(), None);
    for line in outcome.results.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_default();
        done = done.or(object["done"].as_u64());
        rows.extend(Row::parse(&object));
    }
    match (done, &outcome.ending) {
        (Some(done), Ending::Exit(0 | 1)) if done == rows.len() as u64 && done != 0 => Ok(rows),
        (Some(0), Ending::Exit(_)) => Err("no operation has this in its name".to_owned()),
        (_, ending) => Err(format!(
            "ended in the middle, after {} operations: {ending:?}",
            rows.len()
        )),
    }
}

fn show(rows: &[Row], refused: u64) {
    anstream::println!(
        "{:<42} {:>8} {:>8} {:>8} {:>9}",
        "operation",
        "heap",
        "pages",
        "refused",
        "succeeded"
    );
    for row in rows {
        anstream::println!(
            "{:<42} {:>8} {:>8} {:>8} {:>9}",
            row.name,
            row.heap,
            row.pages,
            row.refused,
            row.succeeded
        );
        if !row.failed.is_empty() {
            ui::error(&row.failed);
        }
    }
    ui::step(
        "Swept",
        format_args!("{} operations, {refused} requests refused", rows.len()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was refused by the machine, which had been built and started for it.
    #[test]
    fn an_operation_that_is_none_is_told_at_once() {
        let args = Args {
            filter: "nosuch".to_owned(),
            persistent: false,
            json: false,
            timeout: 1,
        };
        let why = format!("{:#}", run(&args).unwrap_err());
        assert!(
            why.starts_with("no operation has `nosuch` in its name; there are nothing, "),
            "{why}"
        );
        let all = operations().unwrap();
        assert!(sources::holds(&all, "close a session", "operation").is_ok());
        assert_eq!(
            all.iter().filter(|name| *name == "a scan of a TA").count(),
            1
        );
    }
}
