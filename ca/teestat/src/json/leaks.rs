//! Marks, growth between them, scans, for programs.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use tally_abi::TeeUuid;
use tally_records::{LeakRecord, MarkRow, ScanRow, SuspectRow, ended};

use super::{Quoted, array, uuid_fields};
use crate::Names;
use crate::growth::{Amount, Growth};
use crate::text::leaks::micros_per_mebibyte;
use crate::text::{Label, kind_name};

pub(crate) fn mark(out: &mut dyn Write, number: u32, name: &str) -> fmt::Result {
    writeln!(out, "{{\"mark\":{number},\"name\":{}}}", Quoted(name))
}

pub(crate) fn marks(out: &mut dyn Write, marks: &[MarkRow], dropped: u32) -> fmt::Result {
    array(out, "marks", marks, |out, _, mark| {
        write!(
            out,
            "{{\"mark\":{},\"name\":{},\"at_ms\":{}}}",
            mark.number,
            Quoted(Label(&mark.name)),
            mark.at_ms
        )
    })?;
    writeln!(out, ",\"dropped\":{dropped}}}")
}

pub(crate) fn growth(out: &mut dyn Write, growth: &Growth, names: &dyn Names) -> fmt::Result {
    growth_fields(out, growth, names)?;
    writeln!(out, "}}")
}

/// The object, left open.
fn growth_fields(out: &mut dyn Write, growth: &Growth, names: &dyn Names) -> fmt::Result {
    array(out, "leaks", &growth.places, |out, _, place| {
        record(out, &place.record, &place.stack, names)?;
        write!(out, ",\"bytes_before\":{}", place.before.bytes)?;
        if growth.cycles > 1 {
            out.write_str(",\"cycles\":[")?;
            for (n, cycle) in place.cycles.iter().enumerate() {
                let comma = if n == 0 { "" } else { "," };
                write!(
                    out,
                    "{comma}{{\"bytes\":{},\"blocks\":{}}}",
                    cycle.bytes, cycle.blocks
                )?;
            }
            write!(out, "],\"steady\":{}", place.steady().is_some())?;
        }
        out.write_char('}')
    })?;
    let number = |mark: &Option<MarkRow>| mark.map_or(0, |mark| mark.number);
    let total = growth.total();
    write!(
        out,
        ",\"mark\":{},\"until\":{},\"cycles\":{},\"bytes\":{},\"blocks\":{},\"ended\":[",
        number(&growth.from),
        number(&growth.until),
        growth.cycles,
        total.bytes,
        total.blocks
    )?;
    for (n, row) in growth.ended.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        write!(
            out,
            "{comma}{{\"at_ms\":{},\"mark\":{},\"born\":{},\"died\":{},\"consistent\":{},\"bytes\":{},\
             \"blocks\":{}",
            row.at_ms,
            row.mark,
            row.born,
            row.how == ended::DIED,
            row.how != ended::UNKNOWN,
            row.bytes,
            row.blocks
        )?;
        uuid_fields(out, row.uuid, names)?;
        out.write_char('}')?;
    }
    write!(out, "],\"ended_dropped\":{}", growth.ended_dropped)?;
    for (n, (heap, instance)) in growth.unreadable.iter().enumerate() {
        let before = if n == 0 { ",\"inconsistent\":[" } else { "," };
        write!(out, "{before}{{\"instance\":{instance}")?;
        uuid_fields(out, *heap, names)?;
        out.write_char('}')?;
    }
    if !growth.unreadable.is_empty() {
        out.write_char(']')?;
    }
    match growth.left_out {
        Amount {
            blocks: 0,
            bytes: 0,
        } => Ok(()),
        Amount { blocks, bytes } => write!(
            out,
            ",\"left_out\":{{\"blocks\":{blocks},\"bytes\":{bytes}}}"
        ),
    }
}

/// One group, left open.
fn record(
    out: &mut dyn Write,
    record: &LeakRecord,
    stack: &[String],
    names: &dyn Names,
) -> fmt::Result {
    write!(
        out,
        "{{\"bytes\":{},\"blocks\":{},\"block_size\":{},\"kind\":\"{}\",\"owner\":{},\
         \"session\":{}",
        record.bytes,
        record.blocks,
        record.block_size,
        kind_name(record.owner_kind),
        Quoted(Label(&record.label)),
        record.session
    )?;
    uuid_fields(out, record.owner, names)?;
    out.write_str(",\"stack\":[")?;
    for (depth, name) in stack.iter().enumerate() {
        let comma = if depth == 0 { "" } else { "," };
        write!(out, "{comma}{}", Quoted(name))?;
    }
    out.write_char(']')
}

pub(crate) fn scans(out: &mut dyn Write, rows: &[ScanRow], names: &dyn Names) -> fmt::Result {
    scan_fields(out, rows, names)?;
    writeln!(out, "}}")
}

fn scan_fields(out: &mut dyn Write, rows: &[ScanRow], names: &dyn Names) -> fmt::Result {
    array(out, "scans", rows, |out, _, row| {
        write!(
            out,
            "{{\"heap\":\"{}\",\"instance\":{},\"scan\":{},\"consistent\":{},\"passes\":{},\"blocks\":{},\
             \"suspects\":{},\"suspect_bytes\":{},\"new\":{},\"cleared\":{},\"root_bytes\":{},\
             \"block_bytes\":{},\"ticks\":{},\"longest_step\":{},\"ticks_per_second\":{},\
             \"steps\":{},\"pages\":{}",
            if row.heap == TeeUuid::nil() {
                "kernel"
            } else {
                "ta"
            },
            row.instance,
            row.number,
            row.inconsistent == 0,
            row.passes,
            row.blocks,
            row.suspects,
            row.suspect_bytes,
            row.new,
            row.cleared,
            row.root_bytes,
            row.block_bytes,
            row.ticks,
            row.longest_step,
            row.ticks_per_second,
            row.steps,
            row.pages
        )?;
        if let Some(micros) = micros_per_mebibyte(row) {
            write!(out, ",\"micros_per_mebibyte\":{micros}")?;
        }
        uuid_fields(out, row.heap, names)?;
        out.write_char('}')
    })
}

pub(crate) fn suspects(
    out: &mut dyn Write,
    found: &[(SuspectRow, Vec<String>)],
    names: &dyn Names,
) -> fmt::Result {
    suspect_fields(out, found, names)?;
    writeln!(out, "}}")
}

fn suspect_fields(
    out: &mut dyn Write,
    found: &[(SuspectRow, Vec<String>)],
    names: &dyn Names,
) -> fmt::Result {
    array(out, "suspects", found, |out, _, (row, stack)| {
        record(out, &row.leak, stack, names)?;
        write!(
            out,
            ",\"first_scan\":{},\"last_scan\":{}}}",
            row.first_scan, row.last_scan
        )
    })
}

pub(crate) fn ta(
    out: &mut dyn Write,
    live: &Growth,
    rows: &[ScanRow],
    found: &[(SuspectRow, Vec<String>)],
    names: &dyn Names,
) -> fmt::Result {
    out.write_str("{\"live\":")?;
    growth_fields(out, live, names)?;
    out.write_str("},\"scan\":")?;
    scan_fields(out, rows, names)?;
    out.write_str("},\"found\":")?;
    suspect_fields(out, found, names)?;
    writeln!(out, "}}}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoNames;

    #[test]
    fn all_of_a_ta_is_one_object() {
        let mut out = String::new();
        let live = Growth {
            cycles: 1,
            ..Growth::default()
        };
        let row = SuspectRow {
            first_scan: 1,
            last_scan: 2,
            ..SuspectRow::default()
        };
        ta(&mut out, &live, &[], &[(row, Vec::new())], &NoNames).expect("strings take everything");
        assert_eq!(
            out,
            "{\"live\":{\"leaks\":[],\"mark\":0,\"until\":0,\"cycles\":1,\"bytes\":0,\
             \"blocks\":0,\"ended\":[],\"ended_dropped\":0},\"scan\":{\"scans\":[]},\
             \"found\":{\"suspects\":[{\"bytes\":0,\"blocks\":0,\"block_size\":0,\
             \"kind\":\"kernel\",\"owner\":\"\",\"session\":0,\"stack\":[],\"first_scan\":1,\
             \"last_scan\":2}]}}\n"
        );
    }
}
