//! Pool contents as text.
//!
//! **Invariant:** a column has the same width in every row.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};

use tally_records::{
    BlockRow, ChunkRow, ClassRow, OwnerRow, SiteRow, chunk_kind, class_kind, damage,
};

use super::{Count, Holder, Session};
use crate::{Names, SlabNote};

pub(crate) const fn class_name(kind: u32) -> &'static str {
    match kind {
        class_kind::SLAB => "slab",
        class_kind::RUN => "large",
        class_kind::KEPT_RUN => "kept large",
        class_kind::FREE => "free",
        _ => "unknown",
    }
}

pub(crate) const fn chunk_name(kind: u32) -> &'static str {
    match kind {
        chunk_kind::FREE => "free",
        chunk_kind::BLOCK => "block",
        chunk_kind::KEPT => "kept",
        chunk_kind::OWN => "own",
        _ => "unknown",
    }
}

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

/// Classes; with `before` what changed since besides, and only what did.
pub(crate) fn classes(
    out: &mut dyn Write,
    rows: &[ClassRow],
    before: Option<&[SlabNote]>,
) -> fmt::Result {
    write!(
        out,
        "{:<10} {:>6} {:>6} {:>7} {:>7} {:>6} {:>9} {:>9}",
        "class", "size", "slabs", "blocks", "live", "kept", "bytes", "asked for"
    )?;
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
        write!(
            out,
            "{:<10} {:>6} {:>6} {:>7} {:>7} {:>6} {:>9} {:>9}",
            class_name(row.kind),
            row.block_size,
            row.slabs,
            row.blocks,
            row.live,
            row.kept,
            row.bytes,
            row.requested
        )?;
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
    let sum = |of: fn(&ClassRow) -> u64| rows.iter().map(of).fold(0, u64::saturating_add);
    writeln!(
        out,
        "{:<10} {:>6} {:>6} {:>7} {:>7} {:>6} {:>9} {:>9}",
        "all",
        "",
        sum(|row| row.slabs.into()),
        sum(|row| row.blocks.into()),
        sum(|row| row.live.into()),
        sum(|row| row.kept.into()),
        sum(|row| row.bytes),
        sum(|row| row.requested)
    )?;
    match empty {
        0 => Ok(()),
        1 => writeln!(out, "1 empty class is left out"),
        _ => writeln!(out, "{empty} empty classes are left out"),
    }
}

/// Which instance of a TA this is about, and how the others are asked about; `name`: the TA as it was named.
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
pub(crate) fn sites(
    out: &mut dyn Write,
    rows: &[SiteRow],
    stacks: &[Vec<String>],
    all: usize,
) -> fmt::Result {
    writeln!(
        out,
        "{:>10} {:>7} {:>9} {:>10}  allocated at, called from",
        "bytes", "blocks", "calls", "peak"
    )?;
    for (row, stack) in rows.iter().zip(stacks) {
        write!(out, "{:>10} {:>7} ", row.live_bytes, row.live_blocks)?;
        if row.is_counted() {
            write!(out, "{:>9} {:>10} ", row.allocations, row.peak_bytes)?;
        } else {
            write!(out, "{:>9} {:>10} ", "-", "-")?;
        }
        for (depth, name) in stack.iter().take(3).enumerate() {
            let before = if depth == 0 { " " } else { " < " };
            write!(out, "{before}{name}")?;
        }
        if stack.is_empty() {
            write!(out, " unknown, or no room in the table of call sites")?;
        }
        writeln!(out)?;
    }
    match all - rows.len() {
        0 => {}
        n => writeln!(out, "{n} more")?,
    }
    if rows.iter().all(SiteRow::is_counted) {
        return Ok(());
    }
    writeln!(
        out,
        "-: this pool does not count calls and peak at its call sites"
    )
}

/// Who owns a block of the kernel heap, by the number it has for that, and by name if it is among `owners`.
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
    stack: &[String],
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
    for (depth, name) in stack.iter().enumerate() {
        writeln!(out, "  #{depth} {name}")?;
    }
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
    pub(crate) fn add(&mut self, row: &ChunkRow) {
        self.count += 1;
        if let Some(bytes) = self.bytes.get_mut(row.kind as usize) {
            *bytes = bytes.saturating_add(row.bytes);
        }
    }
}

pub(crate) fn chunks_head(out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "{:>10} {:>9}  what", "offset", "bytes")
}

pub(crate) fn chunk(out: &mut dyn Write, row: &ChunkRow) -> fmt::Result {
    writeln!(
        out,
        "{:>#10x} {:>9}  {}",
        row.offset,
        row.bytes,
        chunk_name(row.kind)
    )
}

pub(crate) fn chunk_totals(out: &mut dyn Write, totals: &ChunkTotals) -> fmt::Result {
    write!(out, "{}:", Count(totals.count, "chunk"))?;
    for (kind, bytes) in (0..).zip(totals.bytes) {
        let comma = if kind == 0 { "" } else { "," };
        write!(out, "{comma} {bytes} bytes {}", chunk_name(kind))?;
    }
    let sum = totals.bytes.into_iter().fold(0, u64::saturating_add);
    writeln!(out, "; {sum} in all")
}

pub(crate) const fn damage_text(found: u32) -> &'static str {
    match found {
        damage::NONE => "the pool is sound",
        damage::WALK => "the pool's books make no sense: INCONSISTENT",
        damage::UNIT => "a unit's entry is not what its neighbours say",
        damage::UNJOINED => "two free runs touch",
        damage::OVERRUN => "somebody wrote past the end of a block",
        _ => "the pool is damaged",
    }
}

pub(crate) fn checked(out: &mut dyn Write, found: u32, at: u32) -> fmt::Result {
    write!(out, "{}", damage_text(found))?;
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
    use crate::NoNames;
    use crate::text::print;
    use tally_records::owner_kind;

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
            "class        size  slabs  blocks    live   kept     bytes asked for\n\
             slab           32      2      24      10      3      1024       280\n\
             free            0      0       0       0      0      3072         0\n\
             all                    2      24      10      3      4096       280\n"
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
        let stack = [String::from("make file.rs:3")];
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
        let text = print(|out| block_whole(out, &row, &ta_owner(5), &[], 0, None));
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
        let stack = ["lose a.rs:1", "do b.rs:2", "run c.rs:3", "main d.rs:4"];
        let stacks = [stack.map(String::from).to_vec()];
        assert_eq!(
            print(|out| sites(out, &[row], &stacks, 3)),
            "     bytes  blocks     calls       peak  allocated at, called from\n       \
             280      10        12        300  lose a.rs:1 < do b.rs:2 < run c.rs:3\n2 more\n"
        );
    }

    #[test]
    fn a_pool_that_does_not_count_says_what_the_dash_is() {
        let row = SiteRow {
            live_bytes: 280,
            live_blocks: 10,
            ..SiteRow::default()
        };
        let text = print(|out| sites(out, &[row], &[Vec::new()], 1));
        assert!(text.contains("         -          - "), "{text}");
        let last = "\n-: this pool does not count calls and peak at its call sites\n";
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
