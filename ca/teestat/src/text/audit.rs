//! The audit for people.

use core::fmt::{self, Display, Write};

use tally_abi::TeeUuid;
use tally_insight::names::{Names, Stack as Calls};
use tally_records::{EventRow, HeldRow, Origin, Stack, Who, event, held, login, word};

use super::inspect::Seconds;
use super::{Called, Count};
use crate::client::AuditTotals;

/// What was done at an event, and what it goes against.
const fn event_steps(kind: u32) -> (&'static str, &'static str) {
    match kind {
        event::CLOSE_BEFORE_UNMAP => ("closed", "mapped"),
        event::UNMAP_AFTER_CLOSE => ("unmapped", "closed"),
        _ => ("ended", "opened"),
    }
}

/// A TA with the session it served, and whose that is.
struct By<'a>(&'a Who, &'a dyn Names);

impl Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let By(who, names) = self;
        write!(f, "{}", Called(who.ta, *names))?;
        if who.session != 0 {
            write!(f, ", session {:#x}", who.session)?;
            if who.client == TeeUuid::nil() {
                write!(f, " of a {} client", word(login::WORDS, who.login))?;
            } else {
                let client = Called(who.client, *names);
                write!(f, " of {client}, {} client", word(login::WORDS, who.login))?;
            }
        }
        if who.pta_session != 0 {
            write!(f, ", through its session {:#x}", who.pta_session)?;
        }
        Ok(())
    }
}

/// Where something was done: in the TA, and in the kernel.
fn place(out: &mut dyn Write, what: &str, who: &Who, at: &Stack, names: &dyn Names) -> fmt::Result {
    let [ta, kernel] =
        [at.of_ta(who), at.of_kernel()].map(|frames| Calls::new(names, frames, Origin::default()));
    if ta.calls.is_empty() && kernel.calls.is_empty() {
        return Ok(());
    }
    writeln!(out, "  {what} at")?;
    for (n, shown) in ta.shown().iter().enumerate() {
        writeln!(out, "    #{n} {}", shown.frame)?;
    }
    if !kernel.calls.is_empty() {
        writeln!(out, "   in the kernel")?;
    }
    for (n, shown) in kernel.shown().iter().enumerate() {
        writeln!(out, "    #{n} {}", shown.frame)?;
    }
    Ok(())
}

pub(crate) fn held(out: &mut dyn Write, rows: &[HeldRow], names: &dyn Names) -> fmt::Result {
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
    for row in rows {
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
                "shared memory of {} bytes, registered by the normal world since {}, {} under way, cookie {:#x}",
                row.bytes,
                Seconds(row.at_ms),
                Count(row.uses.into(), "use"),
                row.place
            )?,
            held::SESSION => writeln!(
                out,
                "session {:#x} with {}",
                row.handle,
                Called(row.target, names)
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
        place(out, what, &row.who, &row.stack, names)?;
    }
    Ok(())
}

pub(crate) fn events(
    out: &mut dyn Write,
    totals: &AuditTotals,
    rows: &[EventRow],
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
    for row in rows {
        write!(
            out,
            "\n{}: channel {} {}, {} of {} bytes, at {}",
            row.number,
            row.channel,
            word(event::WORDS, row.kind),
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
        place(out, did, &row.who, &row.stack, names)?;
        place(out, against, &row.who, &row.earlier, names)?;
    }
    Ok(())
}
