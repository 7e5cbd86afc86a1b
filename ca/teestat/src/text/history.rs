//! History of ended TAs as text: memory used, blocks not freed.
//!
//! **Invariant:** what is not freed is told whole: what is of no place that is kept is told as such.

use core::fmt::{self, Write};

use tally_metrics::advice::declared_once;
use tally_records::HistoryRow;

use super::{Count, Named};
use crate::Names;
use crate::growth::Amount;
use crate::unfreed::{Unfreed, UnfreedPlace};

pub(crate) fn history(
    out: &mut dyn Write,
    rows: &[HistoryRow],
    dropped: u32,
    unfreed: &Unfreed,
    names: &dyn Names,
) -> fmt::Result {
    if rows.is_empty() {
        return writeln!(out, "no TA has ended yet");
    }
    writeln!(
        out,
        "{:>5} {:>5} {:>17} {:>15} {:>8} {:>15} {:>15} {:>7}  TA",
        "ended",
        "died",
        "heap most/of",
        "stack most/of",
        "memory",
        "unfreed/bytes",
        "held/bytes",
        "refused"
    )?;
    for row in rows {
        let pair = |most, of| alloc::format!("{most}/{of}");
        writeln!(
            out,
            "{:>5} {:>5} {:>17} {:>15} {:>8} {:>15} {:>15} {:>7}  {}",
            row.ended,
            row.died,
            pair(row.heap_max, declared_once(row)),
            pair(row.stack_max, row.stack_size),
            row.charged_max,
            pair(row.unfreed_blocks, row.unfreed_bytes),
            pair(row.held_blocks, row.held_bytes),
            row.refused,
            Named(row.uuid, names)
        )?;
    }
    writeln!(
        out,
        "unfreed: blocks left by those that ended in good order; held: by those that died"
    )?;
    for row in rows.iter().filter(|row| row.inconsistent > 0) {
        writeln!(
            out,
            "{} of {} ended with INCONSISTENT books: what was not freed there is not known",
            Count(row.inconsistent.into(), "instance"),
            Named(row.uuid, names)
        )?;
    }
    if dropped > 0 {
        writeln!(
            out,
            "{} forgotten for want of room",
            Count(dropped.into(), "row")
        )?;
    }
    for place in &unfreed.places {
        writeln!(out)?;
        unfreed_place(out, place, names)?;
    }
    for row in rows {
        for died in [false, true] {
            let rest = unfreed.rest(row, died);
            if rest == Amount::default() {
                continue;
            }
            writeln!(
                out,
                "\n{} bytes in {}, {} {}, from places that are not kept",
                rest.bytes,
                Count(rest.blocks, "block"),
                if died { "held by" } else { "not freed by" },
                Named(row.uuid, names)
            )?;
        }
    }
    Ok(())
}

/// One place, and its call stack.
fn unfreed_place(out: &mut dyn Write, place: &UnfreedPlace, names: &dyn Names) -> fmt::Result {
    let row = &place.row;
    write!(
        out,
        "{} bytes in {}, ",
        row.bytes,
        Count(row.blocks, "block")
    )?;
    let name = Named(row.uuid, names);
    match (row.died, row.instances) {
        (0, 1) => writeln!(out, "not freed by {name}")?,
        (0, n) => writeln!(out, "not freed by {n} instances of {name}")?,
        (_, 1) => writeln!(out, "held by {name} when it died")?,
        (_, n) => writeln!(out, "held by {n} instances of {name} when they died")?,
    }
    for (depth, name) in place.stack.iter().enumerate() {
        writeln!(out, "  #{depth} {name}")?;
    }
    if place.stack.is_empty() {
        writeln!(out, "  unknown, or no room in the table of call sites")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoNames;
    use crate::text::print;
    use alloc::string::String;
    use alloc::vec::Vec;
    use tally_abi::TeeUuid;
    use tally_records::UnfreedRow;

    #[test]
    fn history_tells_what_was_leaked_from_what_was_held_at_death() {
        let row = HistoryRow {
            ended: 1,
            died: 1,
            heap_size: 34_304,
            held_blocks: 2,
            held_bytes: 5024,
            ..HistoryRow::default()
        };
        let kept = Unfreed::default();
        let text = print(|out| history(out, &[row], 0, &kept, &NoNames));
        let figures = text.lines().nth(1).unwrap_or_default();
        let figures: Vec<&str> = figures.split_whitespace().collect();
        assert_eq!(
            figures[..8],
            ["1", "1", "0/32768", "0/0", "0", "0/0", "2/5024", "0"]
        );
        let none = print(|out| history(out, &[], 0, &kept, &NoNames));
        assert_eq!(none, "no TA has ended yet\n");
        let lost = HistoryRow {
            inconsistent: 1,
            ..row
        };
        let text = print(|out| history(out, &[lost], 0, &kept, &NoNames));
        assert!(
            text.contains(
                "\n1 instance of 00000000-0000-0000-0000-000000000000 ended with INCONSISTENT"
            ),
            "{text}"
        );
    }

    #[test]
    fn what_was_not_freed_is_told_by_place_and_whole() {
        // Bug: only the totals were told.
        let uuid = TeeUuid::from_u128(7);
        let history_row = HistoryRow {
            uuid,
            ended: 3,
            died: 1,
            unfreed_blocks: 4,
            unfreed_bytes: 112,
            held_blocks: 3,
            held_bytes: 300,
            ..HistoryRow::default()
        };
        let row = |died, frame, bytes, blocks, instances| {
            let mut row = UnfreedRow {
                uuid,
                bytes,
                blocks,
                instances,
                died,
                ..UnfreedRow::default()
            };
            row.frames[0] = frame;
            row
        };
        // The last two are return addresses of one line.
        let rows = [
            row(1, 4, 100, 1, 1),
            row(0, 8, 84, 3, 2),
            row(0, 12, 28, 1, 1),
        ];
        let named = |row: &UnfreedRow| {
            let name = if row.died == 1 {
                "hold a.rs:2"
            } else {
                "leak a.rs:7"
            };
            Vec::from([String::from(name)])
        };
        let kept = Unfreed::of(&rows, 0, named);
        let text = print(|out| history(out, &[history_row], 0, &kept, &NoNames));
        let (_, places) = text.split_once("that died\n").unwrap_or_default();
        assert_eq!(
            places,
            "\n112 bytes in 4 blocks, not freed by 2 instances of \
             00000000-0000-0000-0000-000000000007\n\
             \x20 #0 leak a.rs:7\n\
             \n100 bytes in 1 block, held by 00000000-0000-0000-0000-000000000007 when it died\n\
             \x20 #0 hold a.rs:2\n\
             \n200 bytes in 2 blocks, held by 00000000-0000-0000-0000-000000000007, from places that are \
             not kept\n"
        );
    }
}
