//! Commands of a TA for people.

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};

use tally_abi::ta::entry;
use tally_insight::names::Names;
use tally_records::CommandRow;

use super::{Called, Count};

/// What was called: a session's beginning or end, or a command by its number.
pub(crate) fn call_name(row: &CommandRow) -> String {
    match u64::from(row.function) {
        entry::OPEN_SESSION => "open".into(),
        entry::CLOSE_SESSION => "close".into(),
        entry::INVOKE_COMMAND => format!("{}", row.command),
        function => format!("entry {function}"),
    }
}

pub(crate) fn commands(
    out: &mut dyn Write,
    rows: &[CommandRow],
    dropped: u32,
    names: &dyn Names,
) -> fmt::Result {
    if let Some(first) = rows.first() {
        writeln!(out, "{}", Called(first.uuid, names))?;
    }
    writeln!(
        out,
        "{:<8} {:>7} {:>6} {:>9} {:>9} {:>9} {:>7} {:>7} {:>7}",
        "command", "calls", "failed", "net", "peak", "ticks", "allocs", "frees", "stack"
    )?;
    for row in rows {
        let detail = |figure: u64| match row.detailed {
            0 => String::from("-"),
            _ => format!("{figure}"),
        };
        writeln!(
            out,
            "{:<8} {:>7} {:>6} {:>+9} {:>9} {:>9} {:>7} {:>7} {:>7}",
            call_name(row),
            row.calls,
            row.failed,
            row.net_bytes,
            row.heap_above_entry,
            row.ticks / row.calls.max(1),
            detail(row.allocations),
            detail(row.releases),
            detail(row.stack_deepest)
        )?;
    }
    writeln!(
        out,
        "net: heap bytes afterwards less before, all calls; peak: most above where a call began;\n\
         ticks: of the system counter, a call"
    )?;
    if rows.iter().any(|row| row.detailed < row.calls) {
        writeln!(
            out,
            "allocs, frees and stack: of calls looked at in detail, see --detail"
        )?;
    }
    if dropped != 0 {
        let calls = Count(dropped.into(), "call");
        writeln!(out, "the table is full: {calls} not in it")?;
    }
    Ok(())
}
