//! Snapshots and watchpoints for programs.

use core::fmt::{self, Write};

use tally_records::SnapshotRow;

use super::{Quoted, array, uuid_fields};
use crate::Names;
use crate::text::{Snapshot, condition, section_name, snapshot_state};

pub(crate) fn saved(out: &mut dyn Write, path: &str, bytes: usize) -> fmt::Result {
    writeln!(out, "{{\"file\":{},\"bytes\":{bytes}}}", Quoted(path))
}

pub(crate) fn snapshots(
    out: &mut dyn Write,
    rows: &[SnapshotRow],
    names: &dyn Names,
) -> fmt::Result {
    array(out, "snapshots", rows, |out, _, row| {
        write!(
            out,
            "{{\"number\":{},\"state\":\"{}\",\"on\":\"{}\",\"at_ms\":{},\"bytes\":{},\
             \"memory\":{},\"dropped\":{}",
            row.number,
            snapshot_state(row.state),
            condition(row.trigger, row.wanted),
            row.at_ms,
            row.bytes,
            row.memory,
            row.dropped
        )?;
        uuid_fields(out, row.uuid, names)?;
        out.write_char('}')
    })?;
    writeln!(out, "}}")
}

pub(crate) fn snapshot(
    out: &mut dyn Write,
    snapshot: &Snapshot<'_>,
    names: &dyn Names,
) -> fmt::Result {
    array(out, "sections", &snapshot.sections, |out, _, section| {
        write!(
            out,
            "{{\"section\":\"{}\",\"records\":{},\"record_bytes\":{}}}",
            section_name(section.0.kind),
            section.0.count,
            section.0.record_bytes
        )
    })?;
    let header = &snapshot.header;
    write!(
        out,
        ",\"version\":{},\"bytes\":{},\"at_ms\":{},\"mark\":{},\"on\":\"{}\",\"dropped\":{}",
        header.version,
        header.total_bytes,
        header.at_ms,
        header.mark,
        condition(header.reason, header.value),
        header.dropped
    )?;
    uuid_fields(out, header.subject, names)?;
    writeln!(out, "}}")
}
