//! The audit for people.

use core::fmt::{self, Display, Write};

use tally_abi::TeeUuid;
use tally_abi::msg::login;
use tally_records::{EventRow, HeldRow, Who, event, held};

use super::inspect::Seconds;
use super::{Count, Named};
use crate::Names;
use crate::client::AuditTotals;
use crate::commands::NamedStack;

/// What a thing held is called.
pub(crate) const fn held_name(kind: u32) -> &'static str {
    match kind {
        held::CHANNEL => "channel",
        held::MAPPING => "mapping",
        held::SHARED_MEMORY => "shared memory",
        held::SESSION => "session",
        _ => "unknown",
    }
}

/// What an event is called.
pub(crate) const fn event_name(kind: u32) -> &'static str {
    match kind {
        event::CLOSE_BEFORE_UNMAP => "closed before it was unmapped",
        event::UNMAP_AFTER_CLOSE => "unmapped after it was closed",
        event::END_BEFORE_CLOSE => "never closed",
        _ => "unknown",
    }
}

/// What was done at an event, and what it goes against.
pub(crate) const fn event_steps(kind: u32) -> (&'static str, &'static str) {
    match kind {
        event::CLOSE_BEFORE_UNMAP => ("closed", "mapped"),
        event::UNMAP_AFTER_CLOSE => ("unmapped", "closed"),
        _ => ("ended", "opened"),
    }
}

/// What kind of client a login class is.
const fn login_name(class: u32) -> &'static str {
    match class {
        login::PUBLIC => "public",
        login::USER => "user",
        login::GROUP => "group",
        login::APPLICATION => "application",
        login::REE_KERNEL => "normal-world kernel",
        login::TRUSTED_APP => "trusted application",
        _ => "unknown",
    }
}

/// A TA with the session it served, and whose that is.
struct By<'a>(&'a Who, &'a dyn Names);

impl Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let By(who, names) = self;
        write!(f, "{}", Named(who.ta, *names))?;
        if who.session != 0 {
            write!(f, ", session {:#x}", who.session)?;
            if who.client == TeeUuid::nil() {
                write!(f, " of a {} client", login_name(who.login))?;
            } else {
                let client = Named(who.client, *names);
                write!(f, " of {client}, {} client", login_name(who.login))?;
            }
        }
        if who.pta_session != 0 {
            write!(f, ", through its session {:#x}", who.pta_session)?;
        }
        Ok(())
    }
}

fn stack(out: &mut dyn Write, what: &str, stack: &NamedStack) -> fmt::Result {
    if stack.ta.is_empty() && stack.kernel.is_empty() {
        return Ok(());
    }
    writeln!(out, "  {what} at")?;
    for (n, name) in stack.ta.iter().enumerate() {
        writeln!(out, "    #{n} {name}")?;
    }
    if !stack.kernel.is_empty() {
        writeln!(out, "   in the kernel")?;
    }
    for (n, name) in stack.kernel.iter().enumerate() {
        writeln!(out, "    #{n} {name}")?;
    }
    Ok(())
}

pub(crate) fn held(
    out: &mut dyn Write,
    rows: &[HeldRow],
    stacks: &[NamedStack],
    names: &dyn Names,
) -> fmt::Result {
    let bytes = rows
        .iter()
        .filter(|row| row.kind != held::CHANNEL)
        .fold(0_u64, |sum, row| sum.saturating_add(row.bytes));
    let mappings = rows.iter().filter(|row| row.kind == held::MAPPING).count();
    writeln!(
        out,
        "{} held, {}; {bytes} bytes",
        Count(rows.len() as u64, "thing"),
        Count(mappings as u64, "mapping")
    )?;
    for (row, named) in rows.iter().zip(stacks) {
        writeln!(out)?;
        match row.kind {
            held::CHANNEL => writeln!(
                out,
                "channel {}, open since {}",
                row.handle,
                Seconds(row.at_ms)
            )?,
            held::MAPPING => {
                write!(out, "mapping of {} bytes", row.bytes)?;
                if row.place != 0 {
                    write!(out, " at {:#x}", row.place)?;
                }
                writeln!(
                    out,
                    " through channel {}, since {}",
                    row.handle,
                    Seconds(row.at_ms)
                )?;
            }
            held::SHARED_MEMORY => writeln!(
                out,
                "shared memory of {} bytes, cookie {:#x}, registered by the normal world",
                row.bytes, row.place
            )?,
            held::SESSION => writeln!(
                out,
                "session {:#x} with {}",
                row.handle,
                Named(row.target, names)
            )?,
            kind => writeln!(out, "something of kind {kind}")?,
        }
        if row.who.ta != TeeUuid::nil() {
            writeln!(out, "  by {}", By(&row.who, names))?;
        }
        let what = if row.kind == held::MAPPING {
            "mapped"
        } else {
            "opened"
        };
        stack(out, what, named)?;
    }
    Ok(())
}

pub(crate) fn events(
    out: &mut dyn Write,
    totals: &AuditTotals,
    rows: &[EventRow],
    stacks: &[[NamedStack; 2]],
    names: &dyn Names,
) -> fmt::Result {
    write!(
        out,
        "{}, {} kept",
        Count(u64::from(totals.events), "wrong order"),
        Count(rows.len() as u64, "different one")
    )?;
    if totals.dropped != 0 {
        write!(out, ", {} dropped", totals.dropped)?;
    }
    if totals.stacks_dropped != 0 {
        let stacks = Count(totals.stacks_dropped.into(), "call stack");
        write!(out, ", {stacks} had no room")?;
    }
    writeln!(out)?;
    for (row, [at, earlier]) in rows.iter().zip(stacks) {
        write!(
            out,
            "\n{}: channel {} {}, {} of {} bytes, at {}",
            row.number,
            row.channel,
            event_name(row.kind),
            Count(u64::from(row.mappings), "mapping"),
            row.bytes,
            Seconds(row.at_ms)
        )?;
        if row.times > 1 {
            write!(out, ", {} times until {}", row.times, Seconds(row.last_ms))?;
        }
        if row.cause != 0 {
            write!(out, ", after {}", row.cause)?;
        }
        writeln!(out, "\n  by {}", By(&row.who, names))?;
        let (did, against) = event_steps(row.kind);
        stack(out, did, at)?;
        stack(out, against, earlier)?;
    }
    Ok(())
}
