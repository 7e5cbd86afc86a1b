//! Pool contents as text.
//!
//! **Invariant:** a column has the same width in every row.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};

use tally_insight::names::{Names, NoNames, Stack};
use tally_records::{BlockRow, ChunkRow, ClassRow, OwnerRow, SiteRow, chunk_kind, damage, word};

use super::columns::Columns;
use super::{Count, Holder, Session, frames};
use crate::SlabNote;

/// A number with its sign.
pub(crate) fn change(now: u64, before: u64) -> String {
    if now >= before {
        alloc::format!("+{}", now - before)
    } else {
        alloc::format!("-{}", before - now)
    }
}

/// The note of the same class, if there is one.
pub(crate) fn note_of<'a>(before: &'a [SlabNote], row: &ClassRow) -> Option<&'a SlabNote> {
    before
        .iter()
        .find(|note| note.kind == row.kind && note.block_size == row.block_size)
}

const CLASSES: Columns = Columns(&[
    ("kind", 10),
    ("block_size", 6),
    ("slabs", 6),
    ("blocks", 7),
    ("live", 7),
    ("kept", 6),
    ("bytes", 9),
    ("requested", 9),
]);

/// Classes; with `before` what changed since besides, and only what did.
pub(crate) fn classes(
    out: &mut dyn Write,
    rows: &[ClassRow],
    before: Option<&[SlabNote]>,
) -> fmt::Result {
    CLASSES.head::<ClassRow>(out)?;
    match before {
        Some(_) => writeln!(out, " {:>8} {:>9}", "live +-", "bytes +-")?,
        None => writeln!(out)?,
    }
    let (mut shown, mut empty) = (0, 0);
    for row in rows {
        let note = before.map(|before| note_of(before, row).copied().unwrap_or_default());
        if note.is_some_and(|note| note.live == row.live && note.bytes == row.bytes) {
            continue;
        }
        if note.is_none() && row.bytes == 0 {
            empty += 1;
            continue;
        }
        shown += 1;
        CLASSES.row(out, row, &NoNames)?;
        match note {
            Some(note) => writeln!(
                out,
                " {:>8} {:>9}",
                change(row.live.into(), note.live.into()),
                change(row.bytes, note.bytes)
            )?,
            None => writeln!(out)?,
        }
    }
    if before.is_some() && shown == 0 {
        return writeln!(out, "nothing changed");
    }
    let summed = ["slabs", "blocks", "live", "kept", "bytes", "requested"];
    CLASSES.sum(out, "all", &summed, rows)?;
    writeln!(out)?;
    match empty {
        0 => Ok(()),
        1 => writeln!(out, "1 empty class is left out"),
        _ => writeln!(out, "{empty} empty classes are left out"),
    }
}

/// Which instance of a TA this is about, and how the others are asked about; `name`: the TA as it
/// was named.
pub(crate) fn one_of_many(name: &str, this: u32, others: &[u32]) -> String {
    let named: Vec<String> = others
        .iter()
        .map(|number| alloc::format!("`{name}#{number}`"))
        .collect();
    let (named, count) = (named.join(", "), others.len() + 1);
    match others {
        [_] => alloc::format!("{name}#{this} of {count} instances; {named} is the other\n"),
        _ => alloc::format!("{name}#{this} of {count} instances; {named} are the others\n"),
    }
}

/// Call sites; `all`: how many there are besides those shown.
pub(crate) fn sites(out: &mut dyn Write, rows: &[(SiteRow, Stack)], all: usize) -> fmt::Result {
    const COLUMNS: Columns = Columns(&[
        ("live_bytes", 10),
        ("live_blocks", 7),
        ("allocations", 9),
        ("peak_bytes", 10),
    ]);
    COLUMNS.head::<SiteRow>(out)?;
    writeln!(out, "  allocated at, called from")?;
    for (row, stack) in rows {
        COLUMNS.row(out, row, &NoNames)?;
        out.write_char(' ')?;
        for (depth, shown) in stack.shown().iter().take(3).enumerate() {
            let before = if depth == 0 { " " } else { " < " };
            write!(out, "{before}{}", shown.frame)?;
        }
        if stack.calls.is_empty() {
            write!(out, " unknown, or no room in the table of call sites")?;
        }
        writeln!(out)?;
    }
    match all - rows.len() {
        0 => {}
        n => writeln!(out, "{n} more")?,
    }
    if rows.iter().all(|(row, _)| row.is_counted()) {
        return Ok(());
    }
    writeln!(
        out,
        "-: this pool does not count allocations and peak at its call sites"
    )
}

/// Who owns a block of the kernel heap, by the number it has for that, and by name if it is among
/// `owners`.
pub(crate) fn kernel_owner(number: u32, owners: &[OwnerRow], names: &dyn Names) -> String {
    match owners.iter().find(|owner| owner.number == number) {
        None => alloc::format!("owner {number}"),
        Some(owner) => {
            let holder = Holder {
                kind: owner.kind,
                label: &owner.label,
                session: owner.session,
                ta: owner.uuid,
                names,
            };
            alloc::format!("owner {number}, {holder}")
        }
    }
}

/// Who owns a block of a TA's heap.
pub(crate) fn ta_owner(session: u32) -> String {
    alloc::format!("session {}", Session(session))
}

/// Who owns a block: in a TA's heap a session, in the kernel's the number of an owner.
struct Owner {
    number: u32,
    of_ta: bool,
}

impl Owner {
    const fn what(of_ta: bool) -> &'static str {
        if of_ta { "session" } else { "owner" }
    }
}

impl Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.of_ta {
            Session(self.number).fmt(f)
        } else {
            self.number.fmt(f)
        }
    }
}

/// `of_ta`: the blocks are those of a TA's heap.
pub(crate) fn blocks_head(out: &mut dyn Write, of_ta: bool) -> fmt::Result {
    writeln!(
        out,
        "{:>10} {:>9} {:>7} {:>5}  allocated at",
        "offset",
        "size",
        Owner::what(of_ta),
        "mark"
    )
}

pub(crate) fn block(out: &mut dyn Write, row: &BlockRow, of_ta: bool, name: &str) -> fmt::Result {
    let number = row.owner;
    writeln!(
        out,
        "{:>#10x} {:>9} {:>7} {:>5}  {name}",
        row.offset,
        row.size,
        Owner { number, of_ta },
        row.mark
    )
}

/// One block, and what is in it; `owner`: whose it is.
pub(crate) fn block_whole(
    out: &mut dyn Write,
    row: &BlockRow,
    owner: &str,
    stack: &Stack,
    inside: u64,
    bytes: Option<&[u8]>,
) -> fmt::Result {
    write!(
        out,
        "block of {} bytes at offset {:#x}",
        row.size, row.offset
    )?;
    if row.va != 0 {
        write!(out, ", address {:#x}", row.va)?;
    }
    writeln!(out, ", byte {inside} of it; {owner}, mark {}", row.mark)?;
    frames(out, stack)?;
    let Some(bytes) = bytes else {
        return writeln!(
            out,
            "what is in it is hidden; a kernel built with the feature `block-bytes` shows it"
        );
    };
    for (line, chunk) in bytes.chunks(16).enumerate() {
        write!(out, "  {:06x} ", line * 16)?;
        for n in 0..16 {
            match chunk.get(n) {
                Some(byte) => write!(out, " {byte:02x}")?,
                None => write!(out, "   ")?,
            }
        }
        write!(out, "  ")?;
        for &byte in chunk {
            let shown = byte.is_ascii_graphic() || byte == b' ';
            out.write_char(if shown { char::from(byte) } else { '.' })?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Bytes of a pool by kind of chunk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChunkTotals {
    pub(crate) count: u64,
    /// In the order of [`chunk_kind`].
    pub(crate) bytes: [u64; 4],
}

impl ChunkTotals {
    /// Bytes of each kind, by its word.
    pub(crate) fn by_kind(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let words = chunk_kind::WORDS.iter().map(|(_, word)| *word);
        words.zip(self.bytes)
    }

    pub(crate) fn add(&mut self, row: &ChunkRow) {
        self.count += 1;
        if let Some(bytes) = self.bytes.get_mut(row.kind as usize) {
            *bytes = bytes.saturating_add(row.bytes);
        }
    }
}

const CHUNKS: Columns = Columns(&[("offset", 10), ("bytes", 9), ("kind", 0)]);

pub(crate) fn chunks_head(out: &mut dyn Write) -> fmt::Result {
    CHUNKS.head::<ChunkRow>(out)?;
    writeln!(out)
}

pub(crate) fn chunk(out: &mut dyn Write, row: &ChunkRow) -> fmt::Result {
    CHUNKS.row(out, row, &NoNames)?;
    writeln!(out)
}

pub(crate) fn chunk_totals(out: &mut dyn Write, totals: &ChunkTotals) -> fmt::Result {
    write!(out, "{}:", Count(totals.count, "chunk"))?;
    for (n, (kind, bytes)) in totals.by_kind().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        write!(out, "{comma} {bytes} bytes {kind}")?;
    }
    let sum = totals.bytes.into_iter().fold(0, u64::saturating_add);
    writeln!(out, "; {sum} in all")
}

pub(crate) fn checked(out: &mut dyn Write, found: u32, at: u32) -> fmt::Result {
    write!(out, "{}", word(damage::WORDS, found))?;
    if matches!(found, damage::UNIT | damage::UNJOINED) {
        write!(
            out,
            ": unit {at}, {} bytes into the blocks",
            u64::from(at) * 512
        )?;
    }
    if found == damage::OVERRUN {
        write!(out, ": at offset {at:#x} of the pool")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{print, stack};
    use tally_records::{class_kind, owner_kind};

    fn slab(live: u32) -> ClassRow {
        ClassRow {
            kind: class_kind::SLAB,
            block_size: 32,
            slabs: 2,
            blocks: 24,
            live,
            kept: 3,
            bytes: 1024,
            requested: u64::from(live) * 28,
            ..ClassRow::default()
        }
    }

    #[test]
    fn classes_stand_in_columns_and_add_up() {
        let free = ClassRow {
            kind: class_kind::FREE,
            bytes: 3072,
            ..ClassRow::default()
        };
        let text = print(|out| classes(out, &[slab(10), free], None));
        assert_eq!(
            text,
            "kind       block size  slabs  blocks    live   kept     bytes requested\n\
             slab               32      2      24      10      3      1024       280\n\
             free                -      0       0       0      0      3072         0\n\
             all                        2      24      10      3      4096       280\n"
        );
        let with_empty = [slab(10), ClassRow::default(), free];
        let text_with = print(|out| classes(out, &with_empty, None));
        assert_eq!(
            text_with,
            alloc::format!("{text}1 empty class is left out\n")
        );
        let widths: Vec<usize> = text.lines().map(str::len).collect();
        assert!(widths.windows(2).all(|two| two[0] == two[1]), "{text}");
    }

    #[test]
    fn a_diff_shows_what_changed_alone() {
        let before = [SlabNote::of(&slab(10), 0)];
        let text = print(|out| classes(out, &[slab(10)], Some(&before)));
        assert!(text.ends_with("nothing changed\n"), "{text}");
        let text = print(|out| classes(out, &[slab(7)], Some(&before)));
        assert!(text.contains("      -3        +0\n"), "{text}");
        let text = print(|out| classes(out, &[slab(12)], Some(&[])));
        assert!(text.contains("     +12     +1024\n"), "{text}");
    }

    #[test]
    fn a_block_is_shown_in_hexadecimal_if_it_may() {
        let row = BlockRow {
            offset: 0x120,
            size: 18,
            owner: 5,
            mark: 2,
            ..BlockRow::default()
        };
        let stack = stack(&["make file.rs:3"]);
        let text = print(|out| {
            block_whole(
                out,
                &row,
                "owner 5",
                &stack,
                4,
                Some(b"Hello, wide world\n"),
            )
        });
        assert_eq!(
            text,
            "block of 18 bytes at offset 0x120, byte 4 of it; owner 5, mark 2\n  \
             #0 make file.rs:3\n  \
             000000  48 65 6c 6c 6f 2c 20 77 69 64 65 20 77 6f 72 6c  Hello, wide worl\n  \
             000010  64 0a                                            d.\n"
        );
        let text = print(|out| block_whole(out, &row, &ta_owner(5), &Stack::default(), 0, None));
        assert!(text.contains("; session 0x5, mark 2\n"), "{text}");
        assert!(text.contains("hidden"), "{text}");
    }

    #[test]
    fn the_owner_of_a_block_has_a_name() {
        let owner = |number, kind, label: &[u8], session| {
            let mut row = OwnerRow {
                number,
                kind,
                session,
                ..OwnerRow::default()
            };
            row.label[..label.len()].copy_from_slice(label);
            row
        };
        let owners = [
            owner(1, owner_kind::GUEST, b"guest", 0),
            owner(5, owner_kind::SESSION, b"session", 0x602),
        ];
        let said = |number| kernel_owner(number, &owners, &NoNames);
        assert_eq!(said(1), "owner 1, guest");
        assert_eq!(said(5), "owner 5, session 0x602");
        assert_eq!(said(6), "owner 6");
    }

    #[test]
    fn chunks_add_up_by_kind() {
        let mut totals = ChunkTotals::default();
        for (kind, bytes) in [
            (chunk_kind::OWN, 100),
            (chunk_kind::BLOCK, 32),
            (chunk_kind::FREE, 68),
        ] {
            totals.add(&ChunkRow {
                kind,
                bytes,
                ..ChunkRow::default()
            });
        }
        assert_eq!(
            print(|out| chunk_totals(out, &totals)),
            "3 chunks: 68 bytes free, 32 bytes block, 0 bytes kept, 100 bytes own; 200 in all\n"
        );
    }

    #[test]
    fn a_site_has_its_callers_beside_it() {
        let row = SiteRow {
            live_bytes: 280,
            live_blocks: 10,
            allocations: 12,
            peak_bytes: 300,
            ..SiteRow::default()
        };
        let stack = stack(&["lose a.rs:1", "do b.rs:2", "run c.rs:3", "main d.rs:4"]);
        assert_eq!(
            print(|out| sites(out, &[(row, stack)], 3)),
            "live bytes live blocks allocations peak bytes  allocated at, called from\n       \
             280          10          12        300  lose a.rs:1 < do b.rs:2 < run c.rs:3\n2 more\n"
        );
    }

    #[test]
    fn a_pool_that_does_not_count_says_what_the_dash_is() {
        let row = SiteRow {
            live_bytes: 280,
            live_blocks: 10,
            ..SiteRow::default()
        };
        let text = print(|out| sites(out, &[(row, Stack::default())], 1));
        assert!(text.contains("          -          - "), "{text}");
        let last = "\n-: this pool does not count allocations and peak at its call sites\n";
        assert!(text.ends_with(last), "{text}");
    }

    #[test]
    fn one_of_many_instances_names_the_others() {
        assert_eq!(
            one_of_many("hello", 0, &[1]),
            "hello#0 of 2 instances; `hello#1` is the other\n"
        );
        assert_eq!(
            one_of_many("hello", 1, &[2, 5]),
            "hello#1 of 3 instances; `hello#2`, `hello#5` are the others\n"
        );
    }
}
