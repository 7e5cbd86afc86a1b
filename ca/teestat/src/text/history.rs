//! History of ended TAs as text: memory used, blocks not freed.
//!
//! **Invariant:** what is not freed is told whole: what is of no place that is kept is told as
//! such.

use core::fmt::{self, Write};

use tally_insight::growth::Amount;
use tally_insight::merged::unfreed_elsewhere;
use tally_insight::names::{Names, Stack};
use tally_records::{HistoryRow, UnfreedRow};

use super::{Called, Count, frames};

pub(crate) fn history(
    out: &mut dyn Write,
    rows: &[HistoryRow],
    dropped: u32,
    unfreed: &[(UnfreedRow, Stack)],
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
            pair(row.heap_max, row.heap_declared()),
            pair(row.stack_max, row.stack_size),
            row.charged_max,
            pair(row.unfreed_blocks, row.unfreed_bytes),
            pair(row.held_blocks, row.held_bytes),
            row.refused,
            Called(row.uuid, names)
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
            Called(row.uuid, names)
        )?;
    }
    for row in rows.iter().filter(|row| row.unclosed > 0) {
        writeln!(
            out,
            "{} not closed by {}: keys and operations, which the kernel holds for it",
            Count(row.unclosed.into(), "handle"),
            Called(row.uuid, names)
        )?;
    }
    if dropped > 0 {
        writeln!(
            out,
            "{} forgotten for want of room",
            Count(dropped.into(), "row")
        )?;
    }
    for (place, stack) in unfreed {
        writeln!(out)?;
        unfreed_place(out, place, stack, names)?;
    }
    for row in rows {
        for died in [false, true] {
            let rest = unfreed_elsewhere(unfreed, row, died);
            if rest == Amount::default() {
                continue;
            }
            writeln!(
                out,
                "\n{} bytes in {}, {} {}, from places that are not kept",
                rest.bytes,
                Count(rest.blocks, "block"),
                if died { "held by" } else { "not freed by" },
                Called(row.uuid, names)
            )?;
        }
    }
    Ok(())
}

/// One place, and its call stack.
fn unfreed_place(
    out: &mut dyn Write,
    row: &UnfreedRow,
    stack: &Stack,
    names: &dyn Names,
) -> fmt::Result {
    write!(
        out,
        "{} bytes in {}, ",
        row.bytes,
        Count(row.blocks, "block")
    )?;
    let name = Called(row.uuid, names);
    match (row.died, row.instances) {
        (0, 1) => writeln!(out, "not freed by {name}")?,
        (0, n) => writeln!(out, "not freed by {n} instances of {name}")?,
        (_, 1) => writeln!(out, "held by {name} when it died")?,
        (_, n) => writeln!(out, "held by {n} instances of {name} when they died")?,
    }
    frames(out, stack)?;
    if stack.calls.is_empty() {
        writeln!(out, "  unknown, or no room in the table of call sites")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{print, stack};
    use alloc::vec::Vec;
    use tally_abi::TeeUuid;
    use tally_insight::names::NoNames;

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
        let kept = [];
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
        let unclosed = HistoryRow { unclosed: 2, ..row };
        let text = print(|out| history(out, &[unclosed], 0, &kept, &NoNames));
        assert!(text.contains("\n2 handles not closed by 0000"), "{text}");
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
        let row = |died, bytes, blocks, instances| UnfreedRow {
            uuid,
            bytes,
            blocks,
            instances,
            died,
            ..UnfreedRow::default()
        };
        let kept = [
            (row(0, 112, 4, 2), stack(&["leak a.rs:7"])),
            (row(1, 100, 1, 1), stack(&["hold a.rs:2"])),
        ];
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
