//! Refused allocations, for people.
//!
//! **Invariant:** each says whose it was, and which limit it met.

use alloc::string::ToString;
use core::fmt::{self, Display, Write};

use tally_abi::TeeUuid;
use tally_abi::image::ImageFault;
use tally_insight::names::{Names, Stack};
use tally_records::{FailureRow, Placed, failed_pool, limit, word};

use super::inspect::Seconds;
use super::{Called, Label, Session, frames, kind_name};

/// To whom an allocation was refused.
struct Asker<'a>(&'a FailureRow, &'a dyn Names);

impl Display for Asker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(row, names) = self;
        let kind = kind_name(row.owner_kind);
        let label = alloc::format!("{}", Label(&row.label));
        f.write_str(kind)?;
        if row.owner != TeeUuid::nil() {
            write!(f, " {}", Called(row.owner, *names))?;
        } else if !label.eq_ignore_ascii_case(kind) {
            write!(f, " {label}")?;
        }
        if row.session != 0 {
            write!(f, ", session {}", Session(row.session))?;
        }
        Ok(())
    }
}

/// What was refused.
struct What<'a>(&'a FailureRow);

impl Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.0;
        let pool = word(failed_pool::WORDS, row.pool);
        if row.fault != 0 {
            write!(f, "a {pool} of {} bytes", row.size)
        } else if row.entries != 0 {
            write!(f, "{} more {pool}", row.wanted_entries)
        } else {
            write!(f, "{} bytes of {pool}", row.size)
        }
    }
}

/// What was in use then.
fn figures(out: &mut dyn Write, row: &FailureRow, names: &dyn Names) -> fmt::Result {
    if row.entries == 0 {
        let tables = if row.pool == failed_pool::TA_HEAP {
            " (tables included)"
        } else {
            ""
        };
        return writeln!(
            out,
            "  {} of {} bytes in use{tables}, largest free {}",
            row.used, row.pool_size, row.largest_free
        );
    }
    write!(out, "  {} of {} in use", row.used_entries, row.entries)?;
    if row.held_entries == 0 {
        return writeln!(out);
    }
    if row.holder == TeeUuid::nil() {
        write!(out, ", most by clients of the normal world")?;
    } else {
        write!(out, ", most by TA {}", Called(row.holder, names))?;
    }
    writeln!(out, ": {}", row.held_entries)
}

pub(crate) fn failures(out: &mut dyn Write, rows: &[FailureRow], names: &dyn Names) -> fmt::Result {
    if rows.is_empty() {
        return writeln!(out, "nothing was refused");
    }
    for (n, row) in rows.iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        let number = row.number;
        write!(out, "#{number} at {}: {}", Seconds(row.at_ms), What(row))?;
        writeln!(out, " refused to {}", Asker(row, names))?;
        if row.fault != 0 {
            writeln!(out, "  {}", word(ImageFault::WORDS, row.fault))?;
            continue;
        }
        figures(out, row, names)?;
        writeln!(out, "  the limit is {}", word(limit::WORDS, row.pool))?;
        frames(out, &Stack::of(names, row))?;
        if row.top_blocks < row.live_blocks {
            writeln!(
                out,
                "  of the first {} of {} blocks:",
                row.top_blocks, row.live_blocks
            )?;
        }
        for top in row.top.iter().take(row.tops as usize) {
            let origin = row.frames().origin.unwrap_or_default();
            let stack = Stack::new(names, top.frames(), origin);
            let function = stack.innermost().map(ToString::to_string);
            let name = function.unwrap_or_default();
            writeln!(out, "  {} bytes held by {name}", top.bytes)?;
        }
    }
    match forgotten(rows) {
        0 => Ok(()),
        1 => writeln!(out, "\n1 other one is forgotten"),
        n => writeln!(out, "\n{n} others are forgotten"),
    }
}

/// How many refusals there were besides those that are kept.
pub(crate) fn forgotten(rows: &[FailureRow]) -> u64 {
    let all = rows.last().map_or(0, |row| row.number);
    all.saturating_sub(rows.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::print;
    use alloc::string::String;
    use tally_insight::names::NoNames;
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
            print(|out| failures(out, &[row], &NoNames)),
            "#2 at 0.000 s: 40000 bytes of TA heap refused to TA \
             00000000-0000-0000-0000-000000000007, session 0x102\n\
             \x20 24 of 45056 bytes in use (tables included), largest free 0\n\
             \x20 the limit is the heap size that the TA declares (heap_size)\n\
             \n1 other one is forgotten\n"
        );
    }

    #[test]
    fn a_refused_image_says_why_and_a_refused_session_who_has_them() {
        let mut row = FailureRow {
            number: 1,
            size: 70_000,
            pool: failed_pool::IMAGE,
            owner_kind: owner_kind::TA,
            owner: TeeUuid::from_u128(7),
            fault: ImageFault::NeedsTls.code(),
            ..FailureRow::default()
        };
        let told = |row| print(|out| failures(out, &[row], &NoNames));
        assert_eq!(
            told(row),
            "#1 at 0.000 s: a TA image of 70000 bytes refused to TA 00000000-0000-0000-0000-000000000007\n\
             \x20 it needs thread-local storage, aligned above 16 bytes or without __elf_phdr_info\n"
        );
        row.fault = 0;
        row.pool = failed_pool::SESSIONS;
        (row.used_entries, row.entries, row.wanted_entries) = (120, 120, 1);
        (row.holder, row.held_entries) = (TeeUuid::from_u128(9), 32);
        assert_eq!(
            told(row),
            "#1 at 0.000 s: 1 more sessions refused to TA 00000000-0000-0000-0000-000000000007\n\
             \x20 120 of 120 in use, most by TA 00000000-0000-0000-0000-000000000009: 32\n\
             \x20 the limit is the share of the sessions\n"
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
        row.top[0].frames[0] = 0x1ea4;
        let told = |row| {
            let text = print(|out| failures(out, &[row], &NoNames));
            let (_, held) = text.split_once("(heap_size)\n").unwrap_or_default();
            String::from(held)
        };
        assert_eq!(told(row), "  28616 bytes held by kernel+0x1ea4\n");
        row.live_blocks = 2001;
        assert_eq!(
            told(row),
            "  of the first 1024 of 2001 blocks:\n  28616 bytes held by kernel+0x1ea4\n"
        );
    }
}
