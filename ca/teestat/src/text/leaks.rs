//! Marks, growth between them, scans, for people.
//!
//! **Invariant:** prints what it is given; amounts agree with the records.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use tally_abi::TeeUuid;
use tally_insight::cycles::{Growth, Place};
use tally_insight::growth::Amount;
use tally_insight::names::{Names, Stack};
use tally_records::{EndedRow, LATE_SCAN, LeakRecord, MarkRow, ScanRow, SuspectRow, ended};

use super::{Called, Count, Holder, Hundredths, frames};
use crate::marks;

const fn blocks(count: u64) -> Count {
    Count(count, "block")
}

pub(crate) fn marks(out: &mut dyn Write, marks: &[MarkRow], dropped: u32) -> fmt::Result {
    if marks.is_empty() {
        return writeln!(out, "no mark is set; `teestat leaks mark` sets one");
    }
    writeln!(out, "{:>6}  {:<15}  set at", "mark", "name")?;
    for mark in marks {
        writeln!(
            out,
            "{:>6}  {:<15}  {}.{:03} s",
            mark.number,
            marks::name(mark),
            mark.at_ms / 1000,
            mark.at_ms % 1000
        )?;
    }
    match dropped {
        0 => Ok(()),
        n => writeln!(out, "{} dropped", Count(n.into(), "older mark")),
    }
}

pub(crate) fn growth(out: &mut dyn Write, growth: &Growth, names: &dyn Names) -> fmt::Result {
    match (&growth.from, &growth.until) {
        (None, _) => write!(out, "live now")?,
        (Some(from), None) => {
            write!(out, "live and allocated since mark {}", marks::title(from))?;
        }
        (Some(from), Some(until)) => write!(
            out,
            "live and allocated since mark {} and before mark {}",
            marks::title(from),
            marks::title(until)
        )?,
    }
    if growth.cycles > 1 {
        write!(out, ", {} cycles", growth.cycles)?;
    }
    let total = growth.total();
    let places = growth.places.len() as u64;
    writeln!(
        out,
        ": {} bytes in {} from {}",
        total.bytes,
        blocks(total.blocks),
        Count(places, "place")
    )?;
    super::left_out(out, growth.left_out)?;
    for (heap, instance) in &growth.unreadable {
        let heap = heap_name(*heap, names);
        writeln!(
            out,
            "INCONSISTENT: the books of the {heap}, instance {instance}, do not add up; its blocks are not told"
        )?;
    }
    for place in &growth.places {
        writeln!(out)?;
        holding(out, &place.record, names)?;
        if growth.cycles > 1 {
            writeln!(out, "  {}", per_cycle(place))?;
        }
        if growth.from.is_some() && place.before.blocks > 0 {
            let percent = place.percent().unwrap_or(0);
            writeln!(
                out,
                "  {percent} % more than the {} bytes before",
                place.before.bytes
            )?;
        }
        frames(out, &place.stack)?;
    }
    ended_instances(out, growth, names)
}

/// What a place leaves each cycle.
fn per_cycle(place: &Place) -> String {
    let cycles = place.cycles.len() as u64;
    match place.steady() {
        Some(Amount { blocks: n, bytes }) => format!(
            "per cycle: {bytes} bytes in {}, exactly the same in each of {cycles}",
            blocks(n)
        ),
        None => {
            let bytes = place.cycles.iter().map(|cycle| cycle.bytes);
            let least = bytes.clone().min().unwrap_or(0);
            let most = bytes.max().unwrap_or(0);
            let cycles = cycles.max(1);
            let hundredths = place
                .record
                .bytes
                .saturating_mul(100)
                .saturating_add(cycles / 2)
                / cycles;
            let leaking = place.cycles.iter().filter(|cycle| cycle.blocks > 0).count();
            format!(
                "per cycle: {} bytes, from {least} to {most}, in {leaking} of {cycles} cycles",
                Hundredths(hundredths)
            )
        }
    }
}

fn holding(out: &mut dyn Write, record: &LeakRecord, names: &dyn Names) -> fmt::Result {
    let count = blocks(record.blocks.into());
    write!(out, "{} bytes in {count}", record.bytes)?;
    if record.block_size != 0 {
        write!(out, " of {}", record.block_size)?;
    }
    let holder = Holder {
        kind: record.owner_kind,
        label: &record.label,
        session: record.session,
        ta: record.owner,
        names,
    };
    writeln!(out, ", {holder}")
}

fn ended_instances(out: &mut dyn Write, growth: &Growth, names: &dyn Names) -> fmt::Result {
    let mut rows: Vec<&EndedRow> = growth.ended.iter().collect();
    if !rows.is_empty() {
        writeln!(out, "\nended meanwhile, their heaps with them:")?;
    }
    while let Some(uuid) = rows.first().map(|row| row.uuid) {
        let (same, rest): (Vec<&EndedRow>, Vec<&EndedRow>) =
            rows.into_iter().partition(|row| row.uuid == uuid);
        rows = rest;
        let count = same.len() as u64;
        let died = same.iter().filter(|row| row.how == ended::DIED).count();
        let bytes: u64 = same.iter().map(|row| row.bytes).sum();
        let held: u64 = same.iter().map(|row| u64::from(row.blocks)).sum();
        write!(
            out,
            "  {}: {}",
            Called(uuid, names),
            Count(count, "instance")
        )?;
        if died > 0 {
            write!(out, ", {died} of them died")?;
        }
        let lost = same.iter().filter(|row| row.how == ended::UNKNOWN).count();
        if lost > 0 {
            write!(out, ", {lost} of them with books that did not add up")?;
        }
        match held {
            0 if lost > 0 => writeln!(out, ", what was not freed is not known")?,
            0 => writeln!(out, ", all freed")?,
            n => writeln!(out, ", {bytes} bytes in {} not freed", blocks(n))?,
        }
    }
    if growth.ended.iter().any(|row| row.blocks > 0) {
        writeln!(out, "  `teestat history` says where they allocated it")?;
    }
    if growth.from.is_some() && growth.ended_dropped > 0 && !growth.ended.is_empty() {
        let ends = Count(growth.ended_dropped.into(), "earlier end");
        writeln!(out, "  {ends} not kept")?;
    }
    Ok(())
}

/// Whose heap this is.
fn heap_name(heap: TeeUuid, names: &dyn Names) -> String {
    if heap == TeeUuid::nil() {
        String::from("kernel heap")
    } else {
        format!("heap of {}", Called(heap, names))
    }
}

/// Bytes as mebibytes with two digits behind the point.
fn mebibytes(bytes: u64) -> String {
    let hundredths = bytes.saturating_mul(100) >> 20;
    format!("{}.{:02} MiB", hundredths / 100, hundredths % 100)
}

pub(crate) fn scans(out: &mut dyn Write, rows: &[ScanRow], names: &dyn Names) -> fmt::Result {
    for row in rows {
        let mut heap = heap_name(row.heap, names);
        if rows.iter().filter(|r| r.heap == row.heap).count() > 1 {
            heap = format!("{heap} #{}", row.instance);
        }
        if row.inconsistent != 0 {
            writeln!(out, "{heap}: its bookkeeping does not add up, no scan")?;
            continue;
        }
        write!(
            out,
            "{heap}: scan {}, {} looked at, ",
            row.number,
            blocks(u64::from(row.blocks))
        )?;
        match (row.suspects, row.cleared) {
            (0, 0) => writeln!(out, "something points to each")?,
            (0, n) => writeln!(out, "something points to all but {n} hidden")?,
            (n, hidden) => {
                write!(
                    out,
                    "nothing points to {n} ({} bytes, {} new)",
                    row.suspect_bytes, row.new
                )?;
                match hidden {
                    0 => writeln!(out)?,
                    hidden => writeln!(out, ", {hidden} hidden")?,
                }
            }
        }
        let read = row.root_bytes + row.block_bytes;
        write!(
            out,
            "  {} read in {} pass{}, {} us",
            mebibytes(read),
            row.passes,
            if row.passes == 1 { "" } else { "es" },
            row.micros(row.ticks)
        )?;
        if let Some(each) = row.micros_per_mebibyte() {
            write!(out, " ({each} us a MiB)")?;
        }
        writeln!(
            out,
            ", {} of at most {} us, {} for marks",
            Count(row.steps.into(), "step"),
            row.micros(row.longest_step),
            Count(row.pages.into(), "page")
        )?;
    }
    Ok(())
}

/// Nothing was scanned.
pub(crate) fn no_heap(out: &mut dyn Write, heap: TeeUuid, names: &dyn Names) -> fmt::Result {
    writeln!(
        out,
        "{}: nothing was allocated yet, no scan",
        heap_name(heap, names)
    )
}

pub(crate) fn suspects(
    out: &mut dyn Write,
    found: &[(SuspectRow, Stack)],
    names: &dyn Names,
) -> fmt::Result {
    if found.is_empty() {
        return writeln!(
            out,
            "nothing to show; `teestat leaks scan` looks for more, and counts what `clear` hid"
        );
    }
    for (n, (row, stack)) in found.iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        holding(out, &row.leak, names)?;
        let late = if row.first_scan >= LATE_SCAN {
            " or later"
        } else {
            ""
        };
        writeln!(
            out,
            "  nothing points to them; first found by scan {}{late}, last scan {}",
            row.first_scan, row.last_scan
        )?;
        frames(out, stack)?;
    }
    Ok(())
}

pub(crate) fn ta(
    out: &mut dyn Write,
    live: &Growth,
    rows: &[ScanRow],
    found: &[(SuspectRow, Stack)],
    names: &dyn Names,
) -> fmt::Result {
    growth(out, live, names)?;
    writeln!(out)?;
    scans(out, rows, names)?;
    if !found.is_empty() {
        writeln!(out)?;
        suspects(out, found, names)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::print;
    use tally_insight::names::NoNames;
    use tally_records::owner_kind;

    fn mark(number: u32, name: &str) -> MarkRow {
        let mut row = MarkRow {
            number,
            at_ms: 1234,
            ..MarkRow::default()
        };
        row.name[..name.len()].copy_from_slice(name.as_bytes());
        row
    }

    fn record(blocks: u32) -> LeakRecord {
        LeakRecord {
            bytes: u64::from(blocks) * 28,
            blocks,
            block_size: 28,
            owner_kind: owner_kind::TA,
            label: *b"heap\0\0\0\0\0\0\0\0\0\0\0\0",
            ..LeakRecord::default()
        }
    }

    fn stack() -> Stack {
        crate::text::stack(&["lose main.rs:7"])
    }

    #[test]
    fn leaks_name_owner_and_stack() {
        let mut found = Growth {
            from: Some(mark(3, "")),
            cycles: 1,
            ..Growth::default()
        };
        found.add(record(10), stack(), Some(0));
        assert_eq!(
            print(|out| growth(out, &found, &NoNames)),
            "live and allocated since mark 3: 280 bytes in 10 blocks from 1 place\n\
             \n\
             280 bytes in 10 blocks of 28, TA heap\n  #0 lose main.rs:7\n"
        );
    }

    #[test]
    fn growth_tells_cycles_percent_and_what_ended() {
        let mut found = Growth {
            from: Some(mark(3, "start")),
            until: Some(mark(9, "")),
            cycles: 3,
            ..Growth::default()
        };
        for cycle in 0..3 {
            found.add(record(1), stack(), Some(cycle));
        }
        found.add(record(2), stack(), None);
        let row = EndedRow {
            bytes: 28,
            blocks: 1,
            how: ended::DIED,
            ..EndedRow::default()
        };
        found.ended = alloc::vec![row, EndedRow::default()];
        assert_eq!(
            print(|out| growth(out, &found, &NoNames)),
            "live and allocated since mark 3 `start` and before mark 9, 3 cycles: 84 bytes in 3 \
             blocks from 1 place\n\
             \n\
             84 bytes in 3 blocks of 28, TA heap\n\
             \x20 per cycle: 28 bytes in 1 block, exactly the same in each of 3\n\
             \x20 150 % more than the 56 bytes before\n\
             \x20 #0 lose main.rs:7\n\
             \n\
             ended meanwhile, their heaps with them:\n\
             \x20 00000000-0000-0000-0000-000000000000: 2 instances, 1 of them died, 28 bytes in 1 \
             block not freed\n\
             \x20 `teestat history` says where they allocated it\n"
        );
    }

    #[test]
    fn what_cannot_be_read_is_said_to_be_so() {
        // Bug: a heap whose books do not add up was left out of lists in silence, and one that
        // ended with such books was said to have freed all.
        let mut found = Growth {
            from: Some(mark(3, "")),
            cycles: 1,
            unreadable: alloc::vec![(TeeUuid::from_u128(7), 2)],
            ..Growth::default()
        };
        let row = EndedRow {
            how: ended::UNKNOWN,
            ..EndedRow::default()
        };
        found.ended = alloc::vec![row];
        assert_eq!(
            print(|out| growth(out, &found, &NoNames)),
            "live and allocated since mark 3: 0 bytes in 0 blocks from 0 places\n\
             INCONSISTENT: the books of the heap of 00000000-0000-0000-0000-000000000007, instance 2, do \
             not add up; its blocks are not told\n\
             \nended meanwhile, their heaps with them:\n\
             \x20 00000000-0000-0000-0000-000000000000: 1 instance, 1 of them with books that did not add \
             up, what was not freed is not known\n"
        );
    }

    #[test]
    fn an_uneven_place_says_between_what() {
        let mut found = Growth {
            from: Some(mark(1, "")),
            cycles: 4,
            ..Growth::default()
        };
        found.add(record(1), stack(), Some(0));
        found.add(record(2), stack(), Some(2));
        assert_eq!(
            per_cycle(&found.places[0]),
            "per cycle: 21.00 bytes, from 0 to 56, in 2 of 4 cycles"
        );
        let mut thirds = Growth {
            cycles: 3,
            ..Growth::default()
        };
        thirds.add(record(2), stack(), Some(0));
        assert!(
            per_cycle(&thirds.places[0]).contains(": 18.67 bytes"),
            "56 in 3 cycles"
        );
    }

    #[test]
    fn marks_are_listed_with_name_and_time() {
        assert_eq!(
            print(|out| marks(out, &[mark(3, "start")], 2)),
            "  mark  name             set at\n\
             \x20    3  start            1.234 s\n\
             2 older marks dropped\n"
        );
    }

    #[test]
    fn a_scan_tells_what_it_found_and_what_it_cost() {
        let row = ScanRow {
            number: 2,
            passes: 2,
            blocks: 40,
            suspects: 3,
            new: 1,
            cleared: 4,
            suspect_bytes: 84,
            root_bytes: 1 << 20,
            block_bytes: 1 << 19,
            ticks: 62_500,
            longest_step: 2500,
            ticks_per_second: 62_500_000,
            steps: 20,
            pages: 3,
            ..ScanRow::default()
        };
        assert_eq!(
            print(|out| scans(out, &[row], &NoNames)),
            "kernel heap: scan 2, 40 blocks looked at, nothing points to 3 (84 bytes, 1 new), 4 \
             hidden\n\
             \x20 1.50 MiB read in 2 passes, 1000 us (666 us a MiB), 20 steps of at most 40 us, 3 \
             pages for marks\n"
        );
        let small = ScanRow {
            root_bytes: 10_000,
            block_bytes: 55_535,
            ..row
        };
        let text = print(|out| scans(out, &[small], &NoNames));
        assert!(
            text.contains("\n  0.06 MiB read in 2 passes, 1000 us, 20 steps"),
            "{text}"
        );
        let enough = ScanRow {
            block_bytes: 55_536,
            ..small
        };
        assert_eq!(enough.micros_per_mebibyte(), Some(16_000));
        // Bug: something was said to point to each block, hidden ones included.
        let hidden = ScanRow { suspects: 0, ..row };
        let text = print(|out| scans(out, &[hidden], &NoNames));
        assert!(
            text.contains("40 blocks looked at, something points to all but 4 hidden\n"),
            "{text}"
        );
        let bad = ScanRow {
            inconsistent: 1,
            ..row
        };
        assert!(print(|out| scans(out, &[bad], &NoNames)).contains("does not add up"));
        let heap = TeeUuid::from_u128(7);
        let of_ta = |instance| ScanRow {
            heap,
            instance,
            ..row
        };
        let text = print(|out| scans(out, &[row, of_ta(0), of_ta(4)], &NoNames));
        assert_eq!(text.matches("kernel heap: ").count(), 1);
        assert!(
            text.contains(" #0: scan 2") && text.contains(" #4: scan 2"),
            "{text}"
        );
    }

    #[test]
    fn one_block_is_no_blocks_and_a_session_is_hexadecimal() {
        let one = LeakRecord {
            session: 0x602,
            owner_kind: owner_kind::SESSION,
            label: *b"session\0\0\0\0\0\0\0\0\0",
            ..record(1)
        };
        assert_eq!(
            print(|out| holding(out, &one, &NoNames)),
            "28 bytes in 1 block of 28, session 0x602\n"
        );
    }

    #[test]
    fn a_list_of_all_blocks_says_what_it_leaves_out() {
        let mut found = Growth {
            cycles: 1,
            left_out: Amount {
                blocks: 10,
                bytes: 25_088,
            },
            ..Growth::default()
        };
        found.add(record(1), stack(), Some(0));
        let text = print(|out| growth(out, &found, &NoNames));
        assert!(text.starts_with(
            "live now: 28 bytes in 1 block from 1 place\n\
             left out: 10 blocks, 25088 bytes of the kernel heap, of statistics and calls in flight\n"
        ));
    }

    #[test]
    fn what_was_found_says_since_when() {
        let row = SuspectRow {
            leak: record(2),
            first_scan: 1,
            last_scan: 3,
        };
        assert_eq!(
            print(|out| suspects(out, &[(row, stack())], &NoNames)),
            "56 bytes in 2 blocks of 28, TA heap\n\
             \x20 nothing points to them; first found by scan 1, last scan 3\n\
             \x20 #0 lose main.rs:7\n"
        );
    }
}
