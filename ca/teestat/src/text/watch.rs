//! Snapshots and watchpoints for people.
//!
//! **Invariant:** a snapshot that is cut or of another version is not understood, never guessed at.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use tally_abi::TeeUuid;
use tally_insight::names::{Names, Stack};
use tally_insight::snapshot::Snapshot;
use tally_records::{LeakRecord, PoolRow, SnapshotRow, snapshot_state, trigger, word};

use super::{Called, Count, frames, meminfo, pools};

/// What it waits, or waited, for.
fn condition(kind: u32, wanted: u64) -> String {
    match kind {
        trigger::ASKED => String::from("asked"),
        trigger::ENTRY => format!("entry:{wanted}"),
        trigger::EXIT => format!("exit:{wanted}"),
        trigger::HEAP => format!("heap>{wanted}"),
        trigger::FAILURE => String::from("fail"),
        _ => format!("{kind}:{wanted}"),
    }
}

pub(crate) fn snapshots(
    out: &mut dyn Write,
    rows: &[SnapshotRow],
    names: &dyn Names,
) -> fmt::Result {
    if rows.is_empty() {
        return writeln!(out, "no watchpoint is armed, and no snapshot is kept");
    }
    writeln!(
        out,
        "{:>6}  {:<18} {:<16} {:>9} {:>9}  TA",
        "number", "state", "on", "bytes", "at ms"
    )?;
    for row in rows {
        // What has no snapshot has neither size nor time.
        let of_snapshot = |figure: u64| match row.state {
            snapshot_state::TAKEN => format!("{figure}"),
            _ => String::from("-"),
        };
        write!(
            out,
            "{:>6}  {:<18} {:<16} {:>9} {:>9}",
            row.number,
            word(snapshot_state::WORDS, row.state),
            condition(row.trigger, row.wanted),
            of_snapshot(row.bytes),
            of_snapshot(row.at_ms)
        )?;
        if row.uuid != TeeUuid::nil() {
            write!(out, "  {}", Called(row.uuid, names))?;
        }
        if row.dropped != 0 {
            write!(out, "  ({} had no room)", Count(row.dropped, "record"))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// A snapshot in short; `held`: the live blocks of its subject.
pub(crate) fn snapshot(
    out: &mut dyn Write,
    snapshot: &Snapshot,
    held: &[(LeakRecord, Stack)],
    names: &dyn Names,
) -> fmt::Result {
    let header = &snapshot.header;
    write!(
        out,
        "{} bytes, taken {} ms after boot, ",
        header.total_bytes, header.at_ms,
    )?;
    match header.reason {
        trigger::HEAP => write!(out, "the heap at {} bytes", header.value)?,
        reason => write!(out, "on {}", condition(reason, header.value))?,
    }
    if header.subject != TeeUuid::nil() {
        write!(out, " of {}", Called(header.subject, names))?;
    }
    writeln!(out)?;
    if header.dropped != 0 {
        writeln!(out, "{} had no room", Count(header.dropped, "record"))?;
    }
    for (list, count) in snapshot.counts() {
        write!(out, "{count} {list}  ")?;
    }
    writeln!(out, "\n")?;
    meminfo(out, header.secure_ram, &snapshot.meminfo, false)?;
    let of_subject = |row: &&PoolRow| row.pool.owner == header.subject;
    let found: Vec<PoolRow> = snapshot.pools.iter().filter(of_subject).copied().collect();
    if header.subject != TeeUuid::nil() && !found.is_empty() {
        writeln!(out)?;
        pools(out, &found, names)?;
    }
    for (record, stack) in held {
        let count = Count(record.blocks.into(), "block");
        writeln!(out, "\n{} bytes in {count}", record.bytes)?;
        frames(out, stack)?;
    }
    Ok(())
}
