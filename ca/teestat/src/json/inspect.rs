//! TAs whole, regions and status, for programs.
//!
//! **Invariant:** what is hidden is `null`.

use core::fmt::{self, Display, Write};

use tally_metrics::advice::{Advice, declared_heap};
use tally_records::{RegionRow, SessionRow, TaDetail, cause, prot, state};

use super::{Quoted, array, pool_fields, uuid_fields};
use crate::Names;
use crate::text::failures::{NamedFailure, failed_pool_name, forgotten, limit_name};
use crate::text::inspect::{FlagNames, cause_name, function_name, state_name};
use crate::text::{Label, kind_name};

/// A number, or `null` for zero.
struct OrNull(u64);

impl Display for OrNull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("null"),
            number => write!(f, "{number}"),
        }
    }
}

pub(crate) fn tas(out: &mut dyn Write, tas: &[TaDetail], names: &dyn Names) -> fmt::Result {
    array(out, "tas", tas, |out, _, ta| {
        out.write_char('{')?;
        ta_fields(out, ta, names)?;
        out.write_char('}')
    })?;
    writeln!(out, "}}")
}

fn ta_fields(out: &mut dyn Write, ta: &TaDetail, names: &dyn Names) -> fmt::Result {
    write!(
        out,
        "\"instance\":{},\"state\":\"{}\"",
        ta.instance,
        state_name(ta.state)
    )?;
    uuid_fields(out, ta.uuid, names)?;
    if ta.state == state::BUSY {
        write!(
            out,
            ",\"busy\":{{\"function\":\"{}\",\"command\":{},\"session\":{},\"since_ms\":{}}}",
            function_name(ta.function),
            ta.command,
            ta.session,
            ta.busy_since_ms
        )?;
    }
    if ta.state == state::DEAD {
        write!(
            out,
            ",\"death\":{{\"cause\":\"{}\",\"at_ms\":{}",
            cause_name(ta.cause),
            ta.died_ms
        )?;
        if ta.cause == cause::PANICKED {
            write!(out, ",\"panic_code\":{}", ta.panic_code)?;
        }
        if ta.session != 0 {
            write!(
                out,
                ",\"function\":\"{}\",\"command\":{},\"session\":{}",
                function_name(ta.function),
                ta.command,
                ta.session
            )?;
        }
        out.write_char('}')?;
    }
    write!(
        out,
        ",\"loaded_ms\":{},\"sessions\":{},\"flags\":\"{}\"",
        ta.loaded_ms,
        ta.sessions,
        FlagNames(ta.flags)
    )?;
    for (key, value) in [
        ("code", ta.code),
        ("data", ta.data),
        ("stack", ta.stack),
        ("stack_deepest", ta.stack_deepest),
        ("heap_committed", ta.heap_committed),
        ("heap_reserved", ta.heap_reserved),
        ("heap_declared", declared_heap(ta)),
        ("page_tables", ta.tables),
        ("kernel_heap", ta.kernel_heap),
        ("kernel_blocks", ta.kernel_blocks),
        ("shared", ta.shared),
        ("quota", ta.quota),
        ("charged", ta.charged),
        ("charged_max", ta.charged_max),
        ("vss", ta.vss),
        ("rss", ta.rss),
        ("pss", ta.pss),
        ("uss", ta.uss),
    ] {
        write!(out, ",\"{key}\":{value}")?;
    }
    out.write_str(",\"heap\":{")?;
    pool_fields(out, &ta.heap.alloc)?;
    write!(
        out,
        ",\"num_get\":{},\"num_release\":{},\"largest_free\":{},\"live_blocks\":{},\
         \"metadata\":{},\"tables\":{},\"records\":{},\"consistent\":{}}}",
        ta.heap.num_get,
        ta.heap.num_release,
        ta.heap.largest_free,
        ta.heap.live_blocks,
        ta.heap.metadata,
        ta.heap.tables,
        ta.heap.records,
        ta.heap.inconsistent == 0
    )
}

pub(crate) fn regions(out: &mut dyn Write, rows: &[RegionRow], names: &dyn Names) -> fmt::Result {
    array(out, "regions", rows, |out, _, row| region(out, row, names))?;
    writeln!(out, "}}")
}

fn region(out: &mut dyn Write, row: &RegionRow, names: &dyn Names) -> fmt::Result {
    let has = |bit| row.prot & bit != 0;
    write!(
        out,
        "{{\"what\":{},\"va\":{},\"pa\":{},\"bytes\":{},\"usable\":{},\"populated\":{},\
         \"read\":{},\"write\":{},\"execute\":{},\"normal_world\":{},\"device\":{},\
         \"shared\":{},\"instance\":{},\"session\":{}",
        Quoted(Label(&row.label)),
        OrNull(row.va),
        OrNull(row.pa),
        row.bytes,
        row.usable,
        row.populated,
        has(prot::READ),
        has(prot::WRITE),
        has(prot::EXECUTE),
        has(prot::NON_SECURE),
        has(prot::DEVICE),
        has(prot::SHARED),
        row.instance,
        row.session
    )?;
    uuid_fields(out, row.owner, names)?;
    out.write_char('}')
}

/// One TA's status, an object.
pub(crate) fn status(
    out: &mut dyn Write,
    ta: &TaDetail,
    sessions: &[SessionRow],
    regions: &[RegionRow],
    names: &dyn Names,
) -> fmt::Result {
    write!(
        out,
        "{{\"arch\":\"aarch64\",\"instance\":{},\"state\":\"{}\",\"flags\":\"{}\"",
        ta.instance,
        state_name(ta.state),
        FlagNames(ta.flags)
    )?;
    uuid_fields(out, ta.uuid, names)?;
    out.write_str(",\"sessions\":[")?;
    for (n, session) in sessions.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        write!(out, "{comma}{}", session.session)?;
    }
    write!(
        out,
        "],\"stack_pointer\":{},\"stack\":{},\"stack_free\":{},\"memory_used\":{},\"regions\":[",
        OrNull(ta.stack_pointer),
        ta.stack,
        ta.stack.saturating_sub(ta.stack_deepest),
        regions
            .iter()
            .map(|row| row.usable)
            .fold(0, u64::saturating_add)
    )?;
    for (n, row) in regions.iter().enumerate() {
        if n > 0 {
            out.write_char(',')?;
        }
        region(out, row, names)?;
    }
    out.write_str("]}")
}

pub(crate) fn failures(
    out: &mut dyn Write,
    rows: &[NamedFailure],
    names: &dyn Names,
) -> fmt::Result {
    array(out, "failures", rows, |out, _, (row, stack, tops)| {
        write!(
            out,
            "{{\"number\":{},\"at_ms\":{},\"pool\":\"{}\",\"limit\":\"{}\",\"size\":{},\
             \"used\":{},\"pool_size\":{},\"largest_free\":{},\"kind\":\"{}\",\"owner\":{},\"session\":{}",
            row.number,
            row.at_ms,
            failed_pool_name(row.pool),
            limit_name(row.pool),
            row.size,
            row.used,
            row.pool_size,
            row.largest_free,
            kind_name(row.owner_kind),
            Quoted(Label(&row.label)),
            row.session
        )?;
        uuid_fields(out, row.owner, names)?;
        out.write_str(",\"stack\":[")?;
        for (n, name) in stack.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(out, "{comma}{}", Quoted(name))?;
        }
        write!(
            out,
            "],\"live_blocks\":{},\"looked_at_blocks\":{},\"held\":[",
            row.live_blocks, row.top_blocks
        )?;
        for (n, (top, name)) in row.top.iter().zip(tops).enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(
                out,
                "{comma}{{\"bytes\":{},\"site\":{}}}",
                top.bytes,
                Quoted(name)
            )?;
        }
        out.write_str("]}")
    })?;
    writeln!(out, ",\"forgotten\":{}}}", forgotten(rows))
}

pub(crate) fn advice(out: &mut dyn Write, advice: &[Advice], names: &dyn Names) -> fmt::Result {
    array(out, "advice", advice, |out, _, one| {
        write!(
            out,
            "{{\"what\":\"{}\",\"now\":{},\"most\":{},\"set\":{},\"setting\":{},\"refused\":{},\"impossible\":{}",
            one.what.name(),
            one.now,
            one.most,
            OrNull(one.set),
            Quoted(one.what.setting()),
            one.refused,
            OrNull(one.impossible)
        )?;
        uuid_fields(out, one.uuid, names)?;
        out.write_char('}')
    })?;
    writeln!(out, "}}")
}
