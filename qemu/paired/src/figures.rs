//! Tests of `teestat`'s text for this machine, line by line.
//!
//! **Invariant:** asks only; changes nothing.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use ta_uuids::{heap, hello};
use tally_records::MeminfoRow;
use tally_records::Selector;
use teestat::{Memory, client};

use crate::{Bench, NO_HOOKS, Outcome, Test, equal, holds, value_in, works};

pub(crate) const TESTS: &[Test] = &[
    ("teestat alloc prints five pools as xtest does", alloc_text),
    ("teestat ta prints loaded TAs as xtest does", ta_text),
    (
        "teestat pager and time print as xtest does",
        pager_time_text,
    ),
    (
        "teestat meminfo adds up and hides what is unused",
        meminfo_text,
    ),
    (
        "teestat leaks lists what was done and nothing else",
        leaks_text,
    ),
    (
        "the records of all pages add up to the figures",
        page_records,
    ),
];

/// As after every test; here it must be possible.
fn page_records(bench: &Bench) -> Outcome {
    let _held = bench.open(heap::UUID)?;
    match bench.page_records()? {
        true => Ok(()),
        false => bench.skipped(NO_HOOKS),
    }
}

/// The five lines that `--alloc` and `--ta` share; `#` stands for a number.
const FIGURES: [&str; 5] = [
    "Max bytes allocated:                   #",
    "Size of pool:                          #",
    "Number of failed allocations:          #",
    "Size of larges allocation failure:     #",
    "Total bytes allocated at that failure: #",
];

/// Runs `teestat` and returns what it printed. It must succeed.
pub fn printed(bench: &Bench, args: &[&str], memory: &mut Memory) -> Result<String, String> {
    let (mut out, mut err) = (String::new(), String::new());
    let status = teestat::run(args, &bench.context, &mut out, &mut err, bench.side, memory);
    if status == 0 && err.is_empty() {
        Ok(out)
    } else {
        Err(format!("teestat {args:?}: status {status}: {err}"))
    }
}

/// Whether `line` is `pattern` with decimal numbers for `#`.
fn like(line: &str, pattern: &str) -> bool {
    let mut rest = line;
    for (n, piece) in pattern.split('#').enumerate() {
        if n > 0 {
            let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            if digits.len() == rest.len() {
                return false;
            }
            rest = digits;
        }
        let Some(behind) = rest.strip_prefix(piece) else {
            return false;
        };
        rest = behind;
    }
    rest.is_empty()
}

/// All of `text` is these lines, each ended by a newline.
fn lines_like(text: &str, patterns: &[String]) -> Outcome {
    let mut lines: Vec<&str> = text.split('\n').collect();
    equal(lines.pop(), Some(""), "what follows the last newline")?;
    for (n, (line, pattern)) in lines.iter().zip(patterns).enumerate() {
        holds(
            like(line, pattern),
            &format!("line {n} is {line:?}, not like {pattern:?}"),
        )?;
    }
    equal(lines.len(), patterns.len(), "lines")
}

fn alloc_text(bench: &Bench) -> Outcome {
    let text = printed(bench, &["alloc"], &mut Memory::default())?;
    let pools = [
        ("Heap", true),
        ("Public DDR (deprecated)", false),
        ("Physical TA memory", true),
        ("KHeap (disabled)", false),
        ("RPMB secure storage (no data)", false),
    ];
    let mut wanted = Vec::new();
    for (name, exists) in pools {
        if !wanted.is_empty() {
            wanted.push(String::new());
        }
        wanted.push(format!("Pool:                {name}"));
        wanted.push(String::from("Bytes allocated:                       #"));
        if exists {
            wanted.push(String::from("Fragmentation:\t\t\t       # %"));
        }
        wanted.extend(FIGURES.map(String::from));
    }
    lines_like(&text, &wanted)
}

fn ta_text(bench: &Bench) -> Outcome {
    let text = printed(bench, &["ta"], &mut Memory::default())?;
    equal(text.as_str(), "No loaded TA found", "without a TA")?;
    let sessions = [bench.open(hello::UUID)?, bench.open(heap::UUID)?];
    let text = printed(bench, &["ta"], &mut Memory::default());
    drop(sessions);
    let mut wanted = Vec::new();
    for uuid in [
        "7a11e110-0001-4c6e-8d015ec0de000001",
        "7a11e110-0002-4c6e-8d015ec0de000002",
    ] {
        if !wanted.is_empty() {
            wanted.push(String::new());
        }
        wanted.push(format!("ta({uuid})"));
        wanted.push(String::from("\tpanicked(0) -- True if TA has panicked"));
        wanted.push(String::from("\tsession number(1)"));
        wanted.push(String::from("\tHeap Status:"));
        wanted.push(String::from("\t\tBytes allocated:                       #"));
        wanted.extend(FIGURES.map(|line| format!("\t\t{line}")));
    }
    lines_like(&text?, &wanted)
}

fn pager_time_text(bench: &Bench) -> Outcome {
    let text = printed(bench, &["pager"], &mut Memory::default())?;
    equal(
        text.as_str(),
        "Pager statistics (Number of):\n\
         Unlocked pages:     0\n\
         Page pool size:     0\n\
         R/O faults:         0\n\
         R/W faults:         0\n\
         Hidden faults:      0\n\
         Zi pages released:  0\n",
        "pager statistics",
    )?;
    let text = printed(bench, &["time"], &mut Memory::default())?;
    let line = |world| format!("{world} time: # seconds, # milliseconds");
    lines_like(&text, &[line("REE"), line("TEE")])
}

fn meminfo_text(bench: &Bench) -> Outcome {
    let rows =
        client::rows::<MeminfoRow>(&bench.context, &Selector::ALL).map_err(|e| format!("{e}"))?;
    let unused = rows.iter().filter(|row| row.bytes == 0).count();
    let brief = printed(bench, &["meminfo"], &mut Memory::default())?;
    let full = printed(bench, &["meminfo", "--all"], &mut Memory::default())?;
    let mib = tally_board_virt::SECURE_RAM_BYTES >> 20;
    let sum = format!("adds up to the {mib} MiB of secure RAM\ntables among it: ");
    holds(
        brief.contains(&sum) && full.contains(&sum),
        "it does not add up, or does not tell the tables",
    )?;
    equal(full.lines().count(), rows.len() + 4, "lines of all rows")?;
    equal(
        brief.lines().count(),
        rows.len() - unused + 4 + usize::from(unused > 0),
        "lines of used rows",
    )
}

fn leaks_text(bench: &Bench) -> Outcome {
    let mut memory = Memory::default();
    let mut session = bench.open(heap::UUID)?;
    printed(bench, &["leaks", "mark"], &mut memory)?;
    let first = memory.last_mark.unwrap_or_default();
    printed(bench, &["leaks", "diff"], &mut memory)?;
    let text = printed(bench, &["leaks", "diff"], &mut memory)?;
    equal(
        text,
        format!("live and allocated since mark {first}: 0 bytes in 0 blocks from 0 places\n"),
        "nothing was done",
    )?;
    printed(bench, &["leaks", "mark"], &mut memory)?;
    equal(
        memory.last_mark,
        Some(first + 1),
        "the mark after the first",
    )?;
    works(value_in(&mut session, heap::CMD_LEAK, 10, 28))?;
    let text = printed(bench, &["leaks", "diff"], &mut memory)?;
    let head = format!(
        "live and allocated since mark {}: 280 bytes in 10 blocks from 1 place\n",
        first + 1
    );
    holds(text.starts_with(&head), &text)?;
    holds(
        text.contains(&format!(
            "\n  #0 {} tas/heap/src/ta.rs:",
            heap::LEAK_FUNCTION
        )),
        &text,
    )
}
