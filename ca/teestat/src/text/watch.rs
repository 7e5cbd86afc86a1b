//! Snapshots and watchpoints for people.
//!
//! **Invariant:** a snapshot that is cut or of another version is not understood, never guessed at.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use tally_abi::TeeUuid;
use tally_records::{
    LeakRecord, MeminfoRow, PoolStats, SnapshotRow, TaDetail,
    snapshot::{Header, MAGIC, Section, VERSION, section},
    snapshot_state, trigger,
};
use zerocopy::FromBytes;

use super::{Count, Named, meminfo, pools};
use crate::Names;
use crate::instances::instances_of;

/// A snapshot in memory, well-formed as far as its sections go.
pub(crate) struct Snapshot<'a> {
    pub(crate) header: Header,
    pub(crate) sections: Vec<(Section, &'a [u8])>,
}

impl<'a> Snapshot<'a> {
    /// `None` unless all of it is there and its version is known.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, _) = Header::read_from_prefix(bytes).ok()?;
        if header.magic != MAGIC || header.version != VERSION {
            return None;
        }
        let end = usize::try_from(header.total_bytes).ok()?;
        let mut rest = bytes.get(header.header_bytes as usize..end)?;
        let mut sections = Vec::new();
        while !rest.is_empty() {
            let (section, records) = Section::read_from_prefix(rest).ok()?;
            let len = (section.record_bytes as usize).checked_mul(section.count as usize)?;
            let (records, behind) = records.split_at_checked(len)?;
            sections.push((section, records));
            rest = behind;
        }
        Some(Self { header, sections })
    }

    /// The records of a section, as far as this program knows them.
    fn records<T: FromBytes + 'a>(&self, kind: u32) -> impl Iterator<Item = T> {
        let found = self.sections.iter().filter(move |(s, _)| s.kind == kind);
        found.flat_map(|(section, bytes)| {
            let len = (section.record_bytes as usize).max(1);
            let whole = bytes.chunks_exact(len);
            whole.filter_map(|record| Some(T::read_from_prefix(record).ok()?.0))
        })
    }

    /// All live blocks by owner and call stack.
    pub(crate) fn leaks(&self) -> impl Iterator<Item = LeakRecord> {
        self.records(section::LIVE)
    }
}

/// Where a snapshot is in its life.
pub(crate) const fn snapshot_state(number: u32) -> &'static str {
    match number {
        snapshot_state::ARMED => "armed",
        snapshot_state::TAKING => "being taken",
        snapshot_state::TAKEN => "taken",
        snapshot_state::ENDED => "ended with its TA",
        snapshot_state::FAILED => "met without memory for it",
        _ => "unknown",
    }
}

/// What it waits, or waited, for.
pub(crate) fn condition(kind: u32, wanted: u64) -> String {
    match kind {
        trigger::ASKED => String::from("asked"),
        trigger::ENTRY => format!("entry:{wanted}"),
        trigger::EXIT => format!("exit:{wanted}"),
        trigger::HEAP => format!("heap>{wanted}"),
        trigger::FAILURE => String::from("fail"),
        _ => format!("{kind}:{wanted}"),
    }
}

/// What a section holds.
pub(crate) const fn section_name(kind: u32) -> &'static str {
    match kind {
        section::MEMINFO => "meminfo",
        section::POOLS => "pools",
        section::OWNERS => "owners",
        section::TAS => "tas",
        section::REGIONS => "regions",
        section::SITES => "sites",
        section::LIVE => "live",
        section::CLASSES => "classes",
        section::COMMANDS => "commands",
        section::FAILURES => "failures",
        section::HISTORY => "history",
        section::UNFREED => "unfreed",
        _ => "unknown",
    }
}

pub(crate) fn snapshots(
    out: &mut dyn Write,
    rows: &[SnapshotRow],
    names: &dyn Names,
) -> fmt::Result {
    if rows.is_empty() {
        return writeln!(out, "no watchpoint is armed, and no snapshot is kept");
    }
    writeln!(
        out,
        "{:>6}  {:<18} {:<16} {:>9} {:>9}  TA",
        "number", "state", "on", "bytes", "at ms"
    )?;
    for row in rows {
        // What has no snapshot has neither size nor time.
        let of_snapshot = |figure: u64| match row.state {
            snapshot_state::TAKEN => format!("{figure}"),
            _ => String::from("-"),
        };
        write!(
            out,
            "{:>6}  {:<18} {:<16} {:>9} {:>9}",
            row.number,
            snapshot_state(row.state),
            condition(row.trigger, row.wanted),
            of_snapshot(row.bytes),
            of_snapshot(row.at_ms)
        )?;
        if row.uuid != TeeUuid::nil() {
            write!(out, "  {}", Named(row.uuid, names))?;
        }
        if row.dropped != 0 {
            write!(out, "  ({} had no room)", Count(row.dropped, "record"))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

pub(crate) fn snapshot(
    out: &mut dyn Write,
    snapshot: &Snapshot<'_>,
    names: &dyn Names,
) -> fmt::Result {
    let header = &snapshot.header;
    write!(
        out,
        "{} bytes, taken {} ms after boot, ",
        header.total_bytes, header.at_ms,
    )?;
    match header.reason {
        trigger::HEAP => write!(out, "the heap at {} bytes", header.value)?,
        reason => write!(out, "on {}", condition(reason, header.value))?,
    }
    if header.subject != TeeUuid::nil() {
        write!(out, " of {}", Named(header.subject, names))?;
    }
    writeln!(out)?;
    if header.dropped != 0 {
        writeln!(out, "{} had no room", Count(header.dropped, "record"))?;
    }
    for (section, _) in &snapshot.sections {
        write!(out, "{} {}  ", section.count, section_name(section.kind))?;
    }
    writeln!(out, "\n")?;
    let rows: Vec<MeminfoRow> = snapshot.records(section::MEMINFO).collect();
    meminfo(out, header.secure_ram, &rows, false)?;
    let all: Vec<PoolStats> = snapshot.records(section::POOLS).collect();
    let tas: Vec<TaDetail> = snapshot.records(section::TAS).collect();
    let of_subject = |(pool, _): &(PoolStats, Option<u32>)| pool.owner == header.subject;
    let all = all.iter().copied().zip(instances_of(&all, &tas));
    let (found, numbers): (Vec<PoolStats>, Vec<Option<u32>>) = all.filter(of_subject).unzip();
    if header.subject != TeeUuid::nil() && !found.is_empty() {
        writeln!(out)?;
        pools(out, &found, &numbers, names)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn bytes() -> Vec<u8> {
        let row = MeminfoRow {
            bytes: 4096,
            pages: 1,
            ..MeminfoRow::default()
        };
        let section = Section {
            kind: section::MEMINFO,
            record_bytes: size_of::<MeminfoRow>() as u32,
            count: 1,
            reserved: 0,
        };
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            header_bytes: size_of::<Header>() as u32,
            total_bytes: (size_of::<Header>() + size_of::<Section>() + size_of_val(&row)) as u64,
            ..Header::default()
        };
        [header.as_bytes(), section.as_bytes(), row.as_bytes()].concat()
    }

    #[test]
    fn a_snapshot_is_read_section_by_section() {
        let bytes = bytes();
        let snapshot = Snapshot::parse(&bytes).unwrap();
        let rows: Vec<MeminfoRow> = snapshot.records(section::MEMINFO).collect();
        assert_eq!((rows.len(), rows[0].bytes), (1, 4096));
        assert_eq!(snapshot.leaks().count(), 0);
    }

    #[test]
    fn what_is_cut_or_strange_is_not_understood() {
        let whole = bytes();
        for len in 0..whole.len() {
            assert!(Snapshot::parse(&whole[..len]).is_none(), "{len} bytes");
        }
        for at in [0, 8, size_of::<Header>() + 8] {
            let mut strange = whole.clone();
            strange[at] ^= 0x40;
            assert!(Snapshot::parse(&strange).is_none(), "byte {at} changed");
        }
    }
}
