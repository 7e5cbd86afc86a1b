//! JSON output: one object a run.
//!
//! **Invariant:** strings are escaped (RFC 8259), numbers are integers.

mod audit;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod leaks;
mod ledger;
pub(crate) mod pools;
pub(crate) mod top;
mod watch;

pub(crate) use audit::{events, held};
pub(crate) use ledger::commands;
pub(crate) use watch::{saved, snapshot, snapshots};

use core::fmt::{self, Display, Write};

use tally_abi::TeeUuid;
use tally_abi::pta::stats::{AllocStats, TaStats};
use tally_metrics::figures::Threads;
use tally_records::{MeminfoRow, OwnerRow, PoolStats, strategy, tracking};

use crate::Names;
use crate::client::{Pager, Times};
use crate::text::{Hundredths, Label, Tables, fragmentation, kind_name, meminfo_sum};

/// A string in quotes.
struct Quoted<T>(T);

struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escape<'_, '_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for c in s.chars() {
            match c {
                '"' => self.0.write_str("\\\"")?,
                '\\' => self.0.write_str("\\\\")?,
                '\n' => self.0.write_str("\\n")?,
                c if c < ' ' => write!(self.0, "\\u{:04x}", u32::from(c))?,
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

impl<T: Display> Display for Quoted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        write!(Escape(f), "{}", self.0)?;
        f.write_char('"')
    }
}

/// Writes `{"KEY":[...]` (left open), one element by `each`.
fn array<T>(
    out: &mut dyn Write,
    key: &str,
    items: &[T],
    mut each: impl FnMut(&mut dyn Write, usize, &T) -> fmt::Result,
) -> fmt::Result {
    write!(out, "{{\"{key}\":[")?;
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.write_char(',')?;
        }
        each(out, i, item)?;
    }
    out.write_char(']')
}

/// Text for programs that take JSON only.
pub(crate) fn metrics(out: &mut dyn Write, text: &str) -> fmt::Result {
    writeln!(out, "{{\"openmetrics\":{}}}", Quoted(text))
}

/// Fields of a pool, without braces.
fn pool_fields(out: &mut dyn Write, pool: &AllocStats) -> fmt::Result {
    write!(
        out,
        "\"pool\":{},\"allocated\":{},\"max_allocated\":{},\"size\":{},\"num_alloc_fail\":{},\
         \"biggest_alloc_fail\":{},\"biggest_alloc_fail_used\":{},\"free2_sum\":{}",
        Quoted(Label(&pool.desc)),
        pool.allocated,
        pool.max_allocated,
        pool.size,
        pool.num_alloc_fail,
        pool.biggest_alloc_fail,
        pool.biggest_alloc_fail_used,
        pool.free2_sum
    )?;
    match fragmentation(pool) {
        Some(percent) => write!(out, ",\"fragmentation_percent\":{percent}"),
        None => Ok(()),
    }
}

/// Fields `"uuid"` and, if known, `"name"`, with a leading comma; nothing for the nil UUID.
fn uuid_fields(out: &mut dyn Write, uuid: TeeUuid, names: &dyn Names) -> fmt::Result {
    if uuid == TeeUuid::nil() {
        return Ok(());
    }
    write!(out, ",\"uuid\":\"{uuid}\"")?;
    match names.name_of(uuid) {
        Some(name) => write!(out, ",\"name\":{}", Quoted(name)),
        None => Ok(()),
    }
}

pub(crate) fn alloc(out: &mut dyn Write, stats: &[AllocStats]) -> fmt::Result {
    array(out, "pools", stats, |out, _, pool| {
        out.write_char('{')?;
        pool_fields(out, pool)?;
        out.write_char('}')
    })?;
    writeln!(out, "}}")
}

pub(crate) fn ta(out: &mut dyn Write, stats: &[TaStats], names: &dyn Names) -> fmt::Result {
    array(out, "tas", stats, |out, _, ta| {
        write!(
            out,
            "{{\"panicked\":{},\"sessions\":{}",
            ta.panicked, ta.sess_num
        )?;
        uuid_fields(out, ta.uuid, names)?;
        out.write_str(",\"heap\":{")?;
        pool_fields(out, &ta.heap)?;
        out.write_str("}}")
    })?;
    writeln!(out, "}}")
}

pub(crate) fn pager(out: &mut dyn Write, p: &Pager) -> fmt::Result {
    writeln!(
        out,
        "{{\"unlocked\":{},\"pool\":{},\"read_only_faults\":{},\"read_write_faults\":{},\
         \"hidden_faults\":{},\"released\":{}}}",
        p.unlocked, p.pool, p.read_only_faults, p.read_write_faults, p.hidden_faults, p.released
    )
}

pub(crate) fn threads(out: &mut dyn Write, t: &Threads) -> fmt::Result {
    writeln!(
        out,
        "{{\"threads\":{},\"in_use\":{},\"turned_away\":{}}}",
        t.count, t.in_use, t.turned_away
    )
}

pub(crate) fn times(out: &mut dyn Write, t: &Times) -> fmt::Result {
    writeln!(
        out,
        "{{\"ree\":{{\"seconds\":{},\"millis\":{}}},\"tee\":{{\"seconds\":{},\"millis\":{}}}}}",
        t.ree.0, t.ree.1, t.tee.0, t.tee.1
    )
}

pub(crate) fn meminfo(
    out: &mut dyn Write,
    secure_ram: u64,
    rows: &[MeminfoRow],
    tables: Tables,
) -> core::result::Result<bool, fmt::Error> {
    array(out, "rows", rows, |out, _, row| {
        write!(
            out,
            "{{\"use\":{},\"bytes\":{},\"pages\":{}}}",
            Quoted(Label(&row.label)),
            row.bytes,
            row.pages
        )
    })?;
    let sum = meminfo_sum(rows);
    let adds_up = sum == secure_ram;
    writeln!(
        out,
        ",\"sum\":{sum},\"secure_ram\":{secure_ram},\"adds_up\":{adds_up},\
         \"tables\":{{\"pages\":{},\"heaps\":{},\"percent\":{}}}}}",
        tables.pages,
        tables.heaps,
        Hundredths(tables.per_myriad(secure_ram))
    )?;
    Ok(adds_up)
}

/// `instances`: of which instance each pool is, as far as that is known.
pub(crate) fn pools(
    out: &mut dyn Write,
    pools: &[PoolStats],
    instances: &[Option<u32>],
    names: &dyn Names,
) -> fmt::Result {
    array(out, "pools", pools, |out, n, pool| {
        out.write_char('{')?;
        pool_fields(out, &pool.alloc)?;
        uuid_fields(out, pool.owner, names)?;
        if let Some(Some(number)) = instances.get(n) {
            write!(out, ",\"instance\":{number}")?;
        }
        write!(
            out,
            ",\"num_get\":{},\"num_release\":{},\"largest_free\":{},\"live_blocks\":{},\
             \"metadata\":{},\"tables\":{},\"records\":{},\"consistent\":{},\"strategy\":\"{}\",\
             \"tracking\":\"{}\",\"promised\":{}}}",
            pool.num_get,
            pool.num_release,
            pool.largest_free,
            pool.live_blocks,
            pool.metadata,
            pool.tables,
            pool.records,
            pool.inconsistent == 0,
            strategy::name(pool.strategy),
            tracking::name(pool.tracking),
            pool.promised
        )
    })?;
    writeln!(out, "}}")
}

pub(crate) fn owners(out: &mut dyn Write, rows: &[OwnerRow], names: &dyn Names) -> fmt::Result {
    array(out, "owners", rows, |out, _, row| {
        write!(
            out,
            "{{\"number\":{},\"kind\":\"{}\",\"owner\":{},\"session\":{},\"heap_bytes\":{},\
             \"heap_blocks\":{},\"pages\":{}",
            row.number,
            kind_name(row.kind),
            Quoted(Label(&row.label)),
            row.session,
            row.heap_bytes,
            row.heap_blocks,
            row.pages
        )?;
        uuid_fields(out, row.uuid, names)?;
        out.write_char('}')
    })?;
    writeln!(out, "}}")
}

pub(crate) fn oom(out: &mut dyn Write, report: Option<&str>) -> fmt::Result {
    match report {
        Some(report) => writeln!(out, "{{\"report\":{}}}", Quoted(report)),
        None => writeln!(out, "{{\"report\":null}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    #[test]
    fn strings_are_escaped() {
        let quoted = alloc::format!("{}", Quoted("a\"b\\c\n\u{1}"));
        assert_eq!(quoted, "\"a\\\"b\\\\c\\n\\u0001\"");
    }

    #[test]
    fn meminfo_is_one_object() {
        let row = MeminfoRow {
            bytes: 16 << 20,
            pages: 4096,
            ..MeminfoRow::default()
        };
        let mut out = String::new();
        let tables = Tables {
            pages: 4096,
            heaps: 0,
        };
        assert_eq!(meminfo(&mut out, 16 << 20, &[row], tables), Ok(true));
        assert_eq!(
            out,
            "{\"rows\":[{\"use\":\"\",\"bytes\":16777216,\"pages\":4096}],\"sum\":16777216,\
             \"secure_ram\":16777216,\"adds_up\":true,\
             \"tables\":{\"pages\":4096,\"heaps\":0,\"percent\":0.02}}\n"
        );
    }
}
