//! Pool contents as JSON.
//!
//! **Invariant:** long lists are written item by item.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};

use tally_records::{BlockRow, ChunkRow, ClassRow, SiteRow, damage};

use super::{Quoted, array, uuid_fields};
use crate::client::inspect::Subject;
use crate::text::pools::{ChunkTotals, chunk_name, class_name, damage_text, note_of};
use crate::{Names, SlabNote};

/// Whose pool it is, as the last fields of an object: none for the kernel's.
pub(crate) struct Whose<'a>(pub(crate) &'a Subject, pub(crate) &'a dyn Names);

impl Display for Whose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(who, names) = *self;
        if let Some(instance) = who.instance_number() {
            write!(f, ",\"instance\":{instance}")?;
        }
        uuid_fields(f, who.uuid(), names)
    }
}

/// Classes; with `before` by how much they have changed since.
pub(crate) fn classes(
    out: &mut dyn Write,
    rows: &[ClassRow],
    before: Option<&[SlabNote]>,
    whose: &Whose<'_>,
) -> fmt::Result {
    array(out, "classes", rows, |out, _, row| {
        write!(
            out,
            "{{\"class\":\"{}\",\"size\":{},\"slabs\":{},\"blocks\":{},\"live\":{},\"kept\":{},\
             \"bytes\":{},\"requested\":{}",
            class_name(row.kind),
            row.block_size,
            row.slabs,
            row.blocks,
            row.live,
            row.kept,
            row.bytes,
            row.requested
        )?;
        if let Some(before) = before {
            let note = note_of(before, row).copied().unwrap_or_default();
            write!(
                out,
                ",\"live_change\":{},\"bytes_change\":{}",
                i64::from(row.live) - i64::from(note.live),
                row.bytes.wrapping_sub(note.bytes) as i64
            )?;
        }
        out.write_char('}')
    })?;
    writeln!(out, ",\"compared\":{}{whose}}}", before.is_some())
}

/// Texts of an array, without its brackets.
pub(super) fn strings(out: &mut dyn Write, names: &[String]) -> fmt::Result {
    for (n, name) in names.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        write!(out, "{comma}{}", Quoted(name))?;
    }
    Ok(())
}

pub(crate) fn sites(
    out: &mut dyn Write,
    rows: &[SiteRow],
    stacks: &[Vec<String>],
    all: usize,
    whose: &Whose<'_>,
) -> fmt::Result {
    array(out, "sites", rows, |out, n, row| {
        write!(
            out,
            "{{\"site\":{},\"bytes\":{},\"blocks\":{},",
            row.site, row.live_bytes, row.live_blocks
        )?;
        if row.is_counted() {
            let (calls, peak) = (row.allocations, row.peak_bytes);
            write!(out, "\"calls\":{calls},\"peak\":{peak}")?;
        } else {
            out.write_str("\"calls\":null,\"peak\":null")?;
        }
        out.write_str(",\"stack\":[")?;
        strings(out, stacks.get(n).map_or(&[][..], |stack| stack))?;
        out.write_str("]}")
    })?;
    writeln!(out, ",\"all\":{all}{whose}}}")
}

fn block_fields(out: &mut dyn Write, row: &BlockRow) -> fmt::Result {
    write!(
        out,
        "\"offset\":{},\"size\":{},\"owner\":{},\"mark\":{}",
        row.offset, row.size, row.owner, row.mark
    )?;
    match row.va {
        0 => out.write_str(",\"address\":null"),
        va => write!(out, ",\"address\":{va}"),
    }
}

/// One block of a list.
pub(crate) fn block(
    out: &mut dyn Write,
    row: &BlockRow,
    name: &str,
    is_first: bool,
) -> fmt::Result {
    out.write_str(if is_first { "{" } else { ",{" })?;
    block_fields(out, row)?;
    write!(out, ",\"site\":{}}}", Quoted(name))
}

pub(crate) fn block_whole(
    out: &mut dyn Write,
    row: &BlockRow,
    stack: &[String],
    inside: u64,
    bytes: Option<&[u8]>,
    whose: &Whose<'_>,
) -> fmt::Result {
    out.write_char('{')?;
    block_fields(out, row)?;
    write!(out, ",\"byte\":{inside},\"stack\":[")?;
    strings(out, stack)?;
    out.write_str("],\"bytes\":")?;
    match bytes {
        None => out.write_str("null")?,
        Some(bytes) => {
            out.write_char('"')?;
            for byte in bytes {
                write!(out, "{byte:02x}")?;
            }
            out.write_char('"')?;
        }
    }
    writeln!(out, "{whose}}}")
}

/// One chunk of a list.
pub(crate) fn chunk(out: &mut dyn Write, row: &ChunkRow, is_first: bool) -> fmt::Result {
    let comma = if is_first { "" } else { "," };
    write!(
        out,
        "{comma}{{\"offset\":{},\"bytes\":{},\"kind\":\"{}\"}}",
        row.offset,
        row.bytes,
        chunk_name(row.kind)
    )
}

/// The end of a list of chunks.
pub(crate) fn chunk_totals(
    out: &mut dyn Write,
    totals: &ChunkTotals,
    whose: &Whose<'_>,
) -> fmt::Result {
    write!(out, "],\"count\":{}", totals.count)?;
    for (kind, bytes) in (0..).zip(totals.bytes) {
        write!(out, ",\"{}_bytes\":{bytes}", chunk_name(kind))?;
    }
    writeln!(out, "{whose}}}")
}

pub(crate) fn checked(out: &mut dyn Write, found: u32, at: u32, whose: &Whose<'_>) -> fmt::Result {
    write!(
        out,
        "{{\"sound\":{},\"said\":{}",
        found == damage::NONE,
        Quoted(damage_text(found))
    )?;
    match found {
        damage::UNIT | damage::UNJOINED => write!(out, ",\"unit\":{at},\"offset\":null")?,
        damage::OVERRUN => write!(out, ",\"unit\":null,\"offset\":{at}")?,
        _ => write!(out, ",\"unit\":null,\"offset\":null")?,
    }
    writeln!(out, "{whose}}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoNames;

    #[test]
    fn a_pool_of_a_ta_says_of_which_instance_it_is() {
        // Bug: of two instances, only the text said which one was meant.
        let who = Subject::instance(tally_abi::TeeUuid::from_u128(7), 3);
        let mut out = String::new();
        classes(&mut out, &[], None, &Whose(&who, &NoNames)).expect("strings take everything");
        assert_eq!(
            out,
            "{\"classes\":[],\"compared\":false,\"instance\":3,\
             \"uuid\":\"00000000-0000-0000-0000-000000000007\"}\n"
        );
    }

    #[test]
    fn a_damage_has_the_place_that_the_text_has() {
        let said = |found| {
            let mut out = String::new();
            checked(&mut out, found, 288, &Whose(&Subject::NOBODY, &NoNames))
                .expect("strings take everything");
            out
        };
        assert!(said(damage::OVERRUN).ends_with(",\"unit\":null,\"offset\":288}\n"));
        assert!(said(damage::UNIT).ends_with(",\"unit\":288,\"offset\":null}\n"));
        assert_eq!(
            said(damage::NONE),
            "{\"sound\":true,\"said\":\"the pool is sound\",\"unit\":null,\"offset\":null}\n"
        );
    }
}
