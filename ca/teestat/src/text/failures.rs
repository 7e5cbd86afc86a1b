//! Refused allocations, for people.
//!
//! **Invariant:** each says whose it was, and which limit it met.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};

use tally_abi::TeeUuid;
use tally_records::{FailureRow, failed_pool};

use super::inspect::Seconds;
use super::{Label, Named, Session, kind_name};
use crate::Names;

/// A refused allocation with its call stack, and the places that held most, named.
pub(crate) type NamedFailure = (FailureRow, Vec<String>, Vec<String>);

pub(crate) const fn failed_pool_name(pool: u32) -> &'static str {
    match pool {
        failed_pool::KERNEL_HEAP => "kernel heap",
        failed_pool::TA_RAM => "TA memory",
        failed_pool::TA_HEAP => "TA heap",
        failed_pool::TA_QUOTA => "TA quota",
        _ => "unknown pool",
    }
}

/// What stood in the way of an allocation, in the words of the kernel's own report.
pub(crate) const fn limit_name(pool: u32) -> &'static str {
    match pool {
        failed_pool::KERNEL_HEAP => "the kernel heap (HEAP_BYTES)",
        failed_pool::TA_RAM => "secure RAM, what is left of it for TAs",
        failed_pool::TA_HEAP => "the heap size that the TA declares (heap_size)",
        failed_pool::TA_QUOTA => "the TA's page quota",
        _ => "not known",
    }
}

/// To whom an allocation was refused.
struct Asker<'a>(&'a FailureRow, &'a dyn Names);

impl Display for Asker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(row, names) = self;
        let kind = kind_name(row.owner_kind);
        let label = alloc::format!("{}", Label(&row.label));
        f.write_str(kind)?;
        if row.owner != TeeUuid::nil() {
            write!(f, " {}", Named(row.owner, *names))?;
        } else if !label.eq_ignore_ascii_case(kind) {
            write!(f, " {label}")?;
        }
        if row.session != 0 {
            write!(f, ", session {}", Session(row.session))?;
        }
        Ok(())
    }
}

pub(crate) fn failures(
    out: &mut dyn Write,
    rows: &[NamedFailure],
    names: &dyn Names,
) -> fmt::Result {
    if rows.is_empty() {
        return writeln!(out, "nothing was refused");
    }
    for (n, (row, stack, tops)) in rows.iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        writeln!(
            out,
            "#{} at {}: {} bytes of {} refused to {}",
            row.number,
            Seconds(row.at_ms),
            row.size,
            failed_pool_name(row.pool),
            Asker(row, names)
        )?;
        writeln!(
            out,
            "  {} of {} bytes in use{}, largest free {}",
            row.used,
            row.pool_size,
            if row.pool == failed_pool::TA_HEAP {
                " (tables included)"
            } else {
                ""
            },
            row.largest_free
        )?;
        writeln!(out, "  the limit is {}", limit_name(row.pool))?;
        for (depth, name) in stack.iter().enumerate() {
            writeln!(out, "  #{depth} {name}")?;
        }
        if row.top_blocks < row.live_blocks {
            writeln!(
                out,
                "  of the first {} of {} blocks:",
                row.top_blocks, row.live_blocks
            )?;
        }
        for (top, name) in row.top.iter().zip(tops) {
            writeln!(out, "  {} bytes held by {name}", top.bytes)?;
        }
    }
    match forgotten(rows) {
        0 => Ok(()),
        1 => writeln!(out, "\n1 older one is forgotten"),
        n => writeln!(out, "\n{n} older ones are forgotten"),
    }
}

/// How many refusals came before those that are kept.
pub(crate) fn forgotten(rows: &[NamedFailure]) -> u64 {
    let first = rows.first().map_or(1, |(row, _, _)| row.number);
    first.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoNames;
    use crate::text::print;
    use tally_records::owner_kind;

    #[test]
    fn a_refusal_names_the_ta_once_and_the_limit() {
        let row = FailureRow {
            number: 2,
            size: 40_000,
            used: 24,
            pool_size: 45_056,
            pool: failed_pool::TA_HEAP,
            owner_kind: owner_kind::TA,
            session: 0x102,
            owner: TeeUuid::from_u128(7),
            label: *b"ta\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ..FailureRow::default()
        };
        assert_eq!(
            print(|out| failures(out, &[(row, Vec::new(), Vec::new())], &NoNames)),
            "#2 at 0.000 s: 40000 bytes of TA heap refused to TA \
             00000000-0000-0000-0000-000000000007, session 0x102\n\
             \x20 24 of 45056 bytes in use (tables included), largest free 0\n\
             \x20 the limit is the heap size that the TA declares (heap_size)\n\
             \n1 older one is forgotten\n"
        );
    }

    #[test]
    fn what_was_held_says_of_how_many_blocks_it_is() {
        let mut row = FailureRow {
            number: 1,
            pool: failed_pool::TA_HEAP,
            tops: 1,
            top_blocks: 1024,
            live_blocks: 1024,
            ..FailureRow::default()
        };
        row.top[0].bytes = 28_616;
        let told = |row| {
            let named = (row, Vec::new(), alloc::vec![String::from("leak")]);
            let text = print(|out| failures(out, &[named], &NoNames));
            let (_, held) = text.split_once("(heap_size)\n").unwrap_or_default();
            String::from(held)
        };
        assert_eq!(told(row), "  28616 bytes held by leak\n");
        row.live_blocks = 2001;
        assert_eq!(
            told(row),
            "  of the first 1024 of 2001 blocks:\n  28616 bytes held by leak\n"
        );
    }
}
