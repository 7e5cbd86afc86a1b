//! The ledger's heap beside other allocators, counted by callgrind.
//!
//! **Invariant:** figures are instructions of the calls alone: what the loop takes around them is
//! measured with an allocator that does nothing, and taken off. The same compiler gives the same
//! figures.

use crate::ui::thousands;
use crate::{setup, tool, ui};
use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The allocator that does nothing.
const NOTHING: &str = "nothing";
/// What is counted, by the name of the function.
const COUNTED: &str = "*measured*";

/// One heap with one program.
#[derive(Debug, PartialEq)]
struct Run {
    heap: String,
    program: String,
    pairs: u64,
}

impl Run {
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split('\t');
        Some(Self {
            heap: parts.next()?.to_owned(),
            program: parts.next()?.to_owned(),
            pairs: parts.next()?.parse().ok()?,
        })
    }
}

/// What a heap needs.
struct Row {
    heap: String,
    /// Instructions a pair, in the order of the programs.
    pairs: Vec<u64>,
    /// Bytes of the smallest memory in which it serves the program in phases.
    bytes: u64,
}

/// Measures and prints.
pub(super) fn run(as_json: bool) -> Result<u8> {
    setup::ensure(setup::Part::Valgrind)?;
    ui::step("Building", "the heaps");
    let program = program()?;
    let runs: Vec<Run> = lines(&program, "").context("the runs")?;
    ui::step(
        "Measuring",
        format_args!("{} runs under callgrind", runs.len()),
    );
    let mut counts = Vec::new();
    for number in 0..runs.len() {
        counts.push(count(&program, number)?);
    }
    let memory: Vec<Run> = lines(&program, "--memory").context("the memory")?;
    let programs: Vec<&str> = of_heap(&runs, NOTHING)
        .map(|(_, run)| &*run.program)
        .collect();
    let rows = rows(&runs, &counts, &memory)?;
    let live = memory.first().map_or(0, |run| run.pairs);
    if as_json {
        anstream::println!("{}", object(&programs, &rows, live));
    } else {
        print(&programs, &rows, live);
    }
    Ok(0)
}

/// Builds the program; where it is.
fn program() -> Result<PathBuf> {
    let mut cargo = tool::cargo();
    cargo.args(["bench", "--quiet", "--no-run", "-p", "tally-ledger-bench"]);
    cargo.args([
        "--bench",
        "heaps",
        "--message-format",
        "json-render-diagnostics",
    ]);
    for line in tool::output(&mut cargo)?.lines() {
        let message: Value = serde_json::from_str(line).unwrap_or_default();
        if message["target"]["name"] == "heaps"
            && let Some(file) = message["executable"].as_str()
        {
            return Ok(file.into());
        }
    }
    bail!("cargo built no `heaps`")
}

fn lines(program: &Path, arg: &str) -> Result<Vec<Run>> {
    let text = tool::output(Command::new(program).arg(arg))?;
    let runs: Option<Vec<Run>> = text.lines().map(Run::parse).collect();
    runs.filter(|runs| !runs.is_empty())
        .with_context(|| format!("not a run a line:\n{text}"))
}

/// Instructions of the run of this number.
fn count(program: &Path, number: usize) -> Result<u64> {
    let mut valgrind = Command::new(setup::VALGRIND);
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(format!("--toggle-collect={COUNTED}"));
    let (ok, text) = tool::captured(valgrind.arg(program).arg(number.to_string()))?;
    match collected(&text) {
        Some(count @ 1..) if ok => Ok(count),
        _ => bail!("callgrind counted nothing of run {number}:\n{text}"),
    }
}

/// What callgrind says that it counted.
fn collected(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn of_heap<'a>(runs: &'a [Run], heap: &'a str) -> impl Iterator<Item = (usize, &'a Run)> {
    let numbered = runs.iter().enumerate();
    numbered.filter(move |(_, run)| run.heap == heap)
}

fn rows(runs: &[Run], counts: &[u64], memory: &[Run]) -> Result<Vec<Row>> {
    let loops: Vec<u64> = of_heap(runs, NOTHING).map(|(n, _)| counts[n]).collect();
    let row = |memory: &Run| {
        let own = of_heap(runs, &memory.heap).zip(&loops);
        let pairs = own.map(|((n, run), around)| {
            (counts[n].saturating_sub(*around) + run.pairs / 2) / run.pairs.max(1)
        });
        let pairs: Vec<u64> = pairs.collect();
        anyhow::ensure!(pairs.len() == loops.len(), "{} lacks runs", memory.heap);
        let bytes = memory.program.parse().context("bytes")?;
        Ok(Row {
            heap: memory.heap.clone(),
            pairs,
            bytes,
        })
    };
    memory.iter().map(row).collect()
}

fn object(programs: &[&str], rows: &[Row], live: u64) -> Value {
    let heaps = rows.iter().map(|row| {
        let pairs: Map<String, Value> = programs
            .iter()
            .zip(&row.pairs)
            .map(|(program, count)| ((*program).to_owned(), json!(count)))
            .collect();
        let object = json!({ "instructions_a_pair": pairs, "smallest_bytes": row.bytes });
        (row.heap.clone(), object)
    });
    json!({ "heaps": heaps.collect::<Map<String, Value>>(), "live_bytes": live })
}

fn print(programs: &[&str], rows: &[Row], live: u64) {
    let heads: String = programs.iter().map(|name| format!("{name:>8}")).collect();
    anstream::println!(
        "instructions a pair, by live blocks and in a program of phases; the smallest"
    );
    anstream::println!(
        "memory that serves that program, which has {} bytes live at most\n",
        thousands(live)
    );
    anstream::println!("{:<24}{heads}{:>12}", "", "bytes");
    for row in rows {
        let counts: String = row
            .pairs
            .iter()
            .map(|count| format!("{:>8}", thousands(*count)))
            .collect();
        anstream::println!("{:<24}{counts}{:>12}", row.heap, thousands(row.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loop_takes_is_taken_off() {
        let run = |line: &str| Run::parse(line).unwrap();
        let runs = [
            "nothing\t10\t4",
            "nothing\tphases\t2",
            "a, b\t10\t4",
            "a, b\tphases\t2",
        ]
        .map(run);
        let memory = [run("a, b\t4096\t100")];
        let rows = rows(&runs, &[40, 20, 80, 25], &memory).unwrap();
        assert_eq!((rows[0].pairs.clone(), rows[0].bytes), (vec![10, 3], 4096));
        let object = object(&["10", "phases"], &rows, 100);
        assert_eq!(object["heaps"]["a, b"]["instructions_a_pair"]["10"], 10);
        assert_eq!(object["live_bytes"], 100);
        assert!(rows.iter().all(|row| row.heap == "a, b"));
    }

    #[test]
    fn callgrinds_count_is_read() {
        let text = "==1== Events    : Ir\n==1== Collected : 193652852\n==1== \n";
        assert_eq!(collected(text), Some(193_652_852));
        assert_eq!(collected("nothing"), None);
    }
}
