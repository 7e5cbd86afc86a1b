//! The audit for programs.

use alloc::string::String;
use core::fmt::{self, Write};

use tally_records::{EventRow, HeldRow, Who, held};

use super::{Quoted, array, uuid_fields};
use crate::Names;
use crate::client::AuditTotals;
use crate::commands::NamedStack;
use crate::text::{event_name, event_steps, held_name};

fn frames(out: &mut dyn Write, frames: &[String]) -> fmt::Result {
    out.write_char('[')?;
    for (depth, name) in frames.iter().enumerate() {
        let comma = if depth == 0 { "" } else { "," };
        write!(out, "{comma}{}", Quoted(name))?;
    }
    out.write_char(']')
}

/// A field `"WHAT_at"` with a leading comma.
fn stack(out: &mut dyn Write, what: &str, stack: &NamedStack) -> fmt::Result {
    write!(out, ",\"{what}_at\":{{\"ta\":")?;
    frames(out, &stack.ta)?;
    out.write_str(",\"kernel\":")?;
    frames(out, &stack.kernel)?;
    out.write_char('}')
}

/// Fields of who did it, with a leading comma.
fn by(out: &mut dyn Write, who: &Who, names: &dyn Names) -> fmt::Result {
    uuid_fields(out, who.ta, names)?;
    write!(
        out,
        ",\"session\":{},\"login\":{},\"client\":\"{}\",\"pta_session\":{},\"instance\":{}",
        who.session, who.login, who.client, who.pta_session, who.instance
    )
}

pub(crate) fn held(
    out: &mut dyn Write,
    rows: &[HeldRow],
    stacks: &[NamedStack],
    names: &dyn Names,
) -> fmt::Result {
    array(out, "held", rows, |out, i, row| {
        write!(
            out,
            "{{\"kind\":\"{}\",\"handle\":{},\"bytes\":{},\"at_ms\":{}",
            held_name(row.kind),
            row.handle,
            row.bytes,
            row.at_ms
        )?;
        match row.kind {
            held::SHARED_MEMORY => write!(out, ",\"cookie\":{}", row.place)?,
            held::MAPPING if row.place != 0 => write!(out, ",\"va\":{}", row.place)?,
            held::MAPPING => write!(out, ",\"va\":null")?,
            held::SESSION => write!(out, ",\"target\":\"{}\"", row.target)?,
            _ => {}
        }
        by(out, &row.who, names)?;
        if let Some(named) = stacks.get(i) {
            stack(out, "held", named)?;
        }
        out.write_char('}')
    })?;
    writeln!(out, "}}")
}

pub(crate) fn events(
    out: &mut dyn Write,
    totals: &AuditTotals,
    rows: &[EventRow],
    stacks: &[[NamedStack; 2]],
    names: &dyn Names,
) -> fmt::Result {
    array(out, "events", rows, |out, i, row| {
        write!(
            out,
            "{{\"number\":{},\"kind\":{},\"channel\":{},\"mappings\":{},\"bytes\":{},\
             \"at_ms\":{},\"last_ms\":{},\"times\":{},\"cause\":{}",
            row.number,
            Quoted(event_name(row.kind)),
            row.channel,
            row.mappings,
            row.bytes,
            row.at_ms,
            row.last_ms,
            row.times,
            row.cause
        )?;
        by(out, &row.who, names)?;
        if let Some([at, earlier]) = stacks.get(i) {
            let (did, against) = event_steps(row.kind);
            stack(out, did, at)?;
            stack(out, against, earlier)?;
        }
        out.write_char('}')
    })?;
    writeln!(
        out,
        ",\"total\":{},\"dropped\":{},\"stacks_dropped\":{}}}",
        totals.events, totals.dropped, totals.stacks_dropped
    )
}
