//! Text output.
//!
//! **Invariant:** prints what it is given, whatever that is: names are cut at their first zero
//! and made printable.

mod advice;
mod audit;
mod columns;
pub(crate) mod failures;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod leaks;
mod ledger;
pub(crate) mod pools;
mod stock;
pub(crate) mod storage;
pub(crate) mod top;
mod watch;

pub(crate) use advice::advice;
pub(crate) use audit::{events, held};
pub(crate) use ledger::commands;
pub(crate) use stock::{MEMLEAK, alloc, pager, ta, times};
pub(crate) use watch::{snapshot, snapshots};

#[cfg(test)]
use alloc::string::String;
use core::fmt::{self, Display, Write};

use tally_abi::TeeUuid;
use tally_insight::growth::Amount;
use tally_insight::names::{Names, NoNames, Stack, printable};
use tally_insight::openmetrics::Threads;
use tally_records::{
    MeminfoRow, OwnerRow, PoolRow, PoolStats, owner_kind, pool_kind, strategy, tracking, word,
};

use columns::Columns;

/// So many of something whose plural has an `s`.
pub(crate) struct Count(pub(crate) u64, pub(crate) &'static str);

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.0, self.1)
    }
}

/// A zero-padded name.
pub(crate) struct Label<'a>(pub(crate) &'a [u8]);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&printable(self.0))
    }
}

/// A call stack, a line a function, without the way into the allocator.
pub(crate) fn frames(out: &mut dyn Write, stack: &Stack) -> fmt::Result {
    for (depth, shown) in stack.shown().iter().enumerate() {
        writeln!(out, "  #{depth} {}", shown.frame)?;
    }
    Ok(())
}

/// A UUID with its short name, if it has one.
pub(crate) struct Called<'a>(pub(crate) TeeUuid, pub(crate) &'a dyn Names);

impl Display for Called<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1.name_of(self.0) {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

pub(crate) fn threads(out: &mut dyn Write, threads: &Threads) -> fmt::Result {
    writeln!(out, "threads for calls:      {}", threads.count)?;
    writeln!(out, "in use, with this one:  {}", threads.in_use)?;
    writeln!(out, "calls turned away:      {}", threads.turned_away)
}

/// Prints secure RAM by use, empty rows only if `all`; says whether all rows add up to `secure_ram`
/// bytes.
pub(crate) fn meminfo(
    out: &mut dyn Write,
    secure_ram: u64,
    rows: &[MeminfoRow],
    all: bool,
) -> fmt::Result {
    const COLUMNS: Columns = Columns(&[("use", 32), ("bytes", 10), ("pages", 6)]);
    COLUMNS.head::<MeminfoRow>(out)?;
    writeln!(out)?;
    let shown = |row: &&MeminfoRow| all || row.bytes != 0 || row.pages != 0;
    for row in rows.iter().filter(shown) {
        COLUMNS.row(out, row, &NoNames)?;
        writeln!(out)?;
    }
    COLUMNS.sum(out, "sum", &["bytes", "pages"], rows)?;
    writeln!(out)?;
    let sum = meminfo_sum(rows);
    match rows.len() - rows.iter().filter(shown).count() {
        0 => {}
        1 => writeln!(out, "1 unused row hidden, --all shows it")?,
        n => writeln!(out, "{n} unused rows hidden, --all shows them")?,
    }
    if sum == secure_ram {
        return writeln!(out, "adds up to the {} MiB of secure RAM", sum >> 20);
    }
    let (word, by) = if sum < secure_ram {
        ("missing", secure_ram - sum)
    } else {
        ("too many", sum - secure_ram)
    };
    writeln!(
        out,
        "does NOT add up to the {secure_ram} bytes of secure RAM: {by} {word}"
    )
}

/// What a pool's bookkeeping takes; nothing for a pool that has none of its own.
fn bookkeeping(out: &mut dyn Write, pool: &PoolStats) -> fmt::Result {
    if pool.metadata == 0 {
        return Ok(());
    }
    write!(
        out,
        "  bookkeeping {}: tables {}",
        pool.metadata, pool.tables
    )?;
    if let Some(share) = pool.tables_per_myriad() {
        write!(out, " ({} % of the pool)", Hundredths(share))?;
    }
    write!(out, ", records {}", pool.records)?;
    // Slabs have records for blocks to come: few blocks would seem to cost what they do not.
    let is_telling = pool.live_blocks >= TELLING_BLOCKS;
    if let Some(each) = pool.records_a_block().filter(|_| is_telling) {
        write!(out, " ({} a block)", Hundredths(each))?;
    }
    let rest = pool.metadata.saturating_sub(pool.tables);
    let rest = rest.saturating_sub(pool.records);
    writeln!(out, ", padding {rest}")
}

/// Live blocks from which on a mean of all blocks says something.
const TELLING_BLOCKS: u64 = 100;

/// A number with two digits behind the point.
pub(crate) struct Hundredths(pub(crate) u64);

impl fmt::Display for Hundredths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// Memory that only describes memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tables {
    /// Bytes of records of pages.
    pub(crate) pages: u64,
    /// Most bytes that tables of all heaps take of it. Pages of tables that nobody has touched take
    /// none.
    pub(crate) heaps: u64,
}

impl Tables {
    /// Name of the row of `meminfo` that has the records of pages.
    const PAGES: &str = "page records";

    /// `kernel`: the kernel heap, whose tables are all there. `tas`: the heaps of living TAs, each
    /// with the bytes of memory behind its addresses: what blocks do not have of it is tables at
    /// most.
    pub(crate) fn of(
        rows: &[MeminfoRow],
        kernel: Option<&PoolStats>,
        tas: &[(PoolStats, u64)],
    ) -> Self {
        let pages = rows
            .iter()
            .find(|row| row.label.starts_with(Self::PAGES.as_bytes()));
        let of_tas = tas.iter().map(|(heap, populated)| {
            let blocks = u64::from(heap.alloc.allocated);
            heap.tables.min(populated.saturating_sub(blocks))
        });
        Self {
            pages: pages.map_or(0, |row| row.bytes),
            heaps: kernel
                .map(|pool| pool.tables)
                .into_iter()
                .chain(of_tas)
                .fold(0, u64::saturating_add),
        }
    }

    /// Hundredths of a percent of `secure_ram` bytes.
    pub(crate) fn per_myriad(self, secure_ram: u64) -> u64 {
        let bytes = self.pages.saturating_add(self.heaps);
        bytes.saturating_mul(10_000) / secure_ram.max(1)
    }
}

pub(crate) fn tables(out: &mut dyn Write, secure_ram: u64, tables: Tables) -> fmt::Result {
    writeln!(
        out,
        "tables among it: {} bytes for pages, at most {} for heaps, {} % of the secure RAM",
        tables.pages,
        tables.heaps,
        Hundredths(tables.per_myriad(secure_ram))
    )
}

pub(crate) fn meminfo_sum(rows: &[MeminfoRow]) -> u64 {
    rows.iter()
        .fold(0, |sum, row| sum.saturating_add(row.bytes))
}

pub(crate) fn pools(out: &mut dyn Write, pools: &[PoolRow], names: &dyn Names) -> fmt::Result {
    for (n, row) in pools.iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        let pool = &row.pool;
        out.write_str(word(pool_kind::WORDS, row.kind))?;
        if pool.owner != TeeUuid::nil() {
            write!(out, " of {}", Called(pool.owner, names))?;
            let same = pools.iter().filter(|other| other.pool.owner == pool.owner);
            if let Some(number) = row.instance()
                && same.count() > 1
            {
                write!(out, " #{number}")?;
            }
        }
        writeln!(out)?;
        figures(out, pool)?;
    }
    Ok(())
}

fn figures(out: &mut dyn Write, pool: &PoolStats) -> fmt::Result {
    let a = &pool.alloc;
    writeln!(
        out,
        "  {} of {} bytes allocated in {}, at most {}",
        a.allocated,
        a.size,
        Count(pool.live_blocks, "block"),
        a.max_allocated
    )?;
    writeln!(
        out,
        "  {} to allocate, {} to free; largest free chunk {}",
        Count(pool.num_get, "call"),
        pool.num_release,
        pool.largest_free
    )?;
    bookkeeping(out, pool)?;
    if pool.promised > 0 {
        writeln!(
            out,
            "  {} of the allocated bytes are promised to TAs, which have not touched them yet",
            pool.promised
        )?;
    }
    writeln!(
        out,
        "  {}, the biggest of {} bytes with {} allocated; strategy {}, tracking {}",
        Count(a.num_alloc_fail.into(), "failure"),
        a.biggest_alloc_fail,
        a.biggest_alloc_fail_used,
        word(strategy::WORDS, pool.strategy),
        word(tracking::WORDS, pool.tracking)
    )?;
    if pool.inconsistent != 0 {
        writeln!(
            out,
            "  its bookkeeping does not add up: figures are not to be trusted"
        )?;
    }
    Ok(())
}

/// What a list of blocks does not have.
pub(crate) fn left_out(out: &mut dyn Write, left_out: Amount) -> fmt::Result {
    if left_out == Amount::default() {
        return Ok(());
    }
    writeln!(
        out,
        "left out: {}, {} bytes of the kernel heap, of statistics and calls in flight",
        Count(left_out.blocks, "block"),
        left_out.bytes
    )
}

/// A session's id as every text shows it; `-` for none.
pub(crate) struct Session(pub(crate) u32);

impl Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.pad("-"),
            id => f.pad(&alloc::format!("{id:#x}")),
        }
    }
}

/// What an owner is.
pub(crate) fn kind_name(kind: u32) -> &'static str {
    match kind {
        owner_kind::TA => "TA",
        kind => word(owner_kind::WORDS, kind),
    }
}

/// Who holds something: what it is, and whose.
pub(crate) struct Holder<'a> {
    pub(crate) kind: u32,
    pub(crate) label: &'a [u8],
    pub(crate) session: u32,
    pub(crate) ta: TeeUuid,
    pub(crate) names: &'a dyn Names,
}

impl Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = kind_name(self.kind);
        f.write_str(kind)?;
        let label = alloc::format!("{}", Label(self.label));
        if !label.is_empty() && !label.eq_ignore_ascii_case(kind) && label != "ta" {
            write!(f, " {label}")?;
        }
        if self.session != 0 {
            write!(f, " {}", Session(self.session))?;
        }
        if self.ta != TeeUuid::nil() {
            write!(f, " of {}", Called(self.ta, self.names))?;
        }
        Ok(())
    }
}

pub(crate) fn owners(out: &mut dyn Write, rows: &[OwnerRow], names: &dyn Names) -> fmt::Result {
    const COLUMNS: Columns = Columns(&[
        ("number", 6),
        ("kind", 8),
        ("owner", 16),
        ("session", 7),
        ("heap_bytes", 10),
        ("heap_blocks", 7),
        ("pages", 6),
        ("uuid", 0),
    ]);
    COLUMNS.head::<OwnerRow>(out)?;
    writeln!(out)?;
    for row in rows {
        COLUMNS.row(out, row, names)?;
        writeln!(out)?;
    }
    Ok(())
}

/// What is written, for tests.
#[cfg(test)]
pub(crate) fn print(f: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut out = String::new();
    f(&mut out).expect("strings take everything");
    out
}

/// A call stack with these functions, for tests.
#[cfg(test)]
pub(crate) fn stack(functions: &[&str]) -> Stack {
    let call = |name: &&str| tally_insight::names::Call {
        offset: 4,
        frames: alloc::vec![tally_insight::names::Frame::parse(name)],
    };
    Stack {
        calls: functions.iter().map(call).collect(),
        ..Stack::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_abi::pta::DESC_LEN;

    fn desc(text: &str) -> [u8; DESC_LEN] {
        let mut desc = [0; DESC_LEN];
        desc[..text.len()].copy_from_slice(text.as_bytes());
        desc
    }

    #[test]
    fn meminfo_says_whether_it_adds_up() {
        let row = |bytes| MeminfoRow {
            label: desc("free"),
            bytes,
            ..MeminfoRow::default()
        };
        let rows = [row(15 << 20), row(1 << 20)];
        let out = print(|out| meminfo(out, 16 << 20, &rows, false));
        assert!(out.ends_with("adds up to the 16 MiB of secure RAM\n"));
        let out = print(|out| meminfo(out, 16 << 20, &rows[..1], false));
        assert!(out.ends_with("1048576 missing\n"));
        // A machine with less of it.
        let out = print(|out| meminfo(out, 8 << 20, &rows[..1], false));
        assert!(out.ends_with("8388608 bytes of secure RAM: 7340032 too many\n"));
    }

    #[test]
    fn tables_are_told_as_a_share_of_the_ram() {
        let row = |label, bytes| MeminfoRow {
            label: desc(label),
            bytes,
            ..MeminfoRow::default()
        };
        let ta = |tables, allocated, populated| {
            let mut heap = PoolStats {
                tables,
                ..PoolStats::default()
            };
            heap.alloc.allocated = allocated;
            (heap, populated)
        };
        let kernel = PoolStats {
            tables: 30_000,
            ..PoolStats::default()
        };
        let rows = [row("free", 16 << 20), row("page records", 32768)];
        let tas = [ta(8000, 100, 16_384), ta(2000, 0, 16_384)];
        let found = Tables::of(&rows, Some(&kernel), &tas);
        let mut out = String::new();
        tables(&mut out, 16 << 20, found).unwrap();
        assert_eq!(
            out,
            "tables among it: 32768 bytes for pages, at most 40000 for heaps, 0.43 % of the secure \
             RAM\n"
        );
        // Tables of 76,000 bytes, of which 12,288 can be there: the rest was never touched.
        let untouched = [ta(76_000, 4096, 16_384)];
        assert_eq!(Tables::of(&rows, Some(&kernel), &untouched).heaps, 42_288);
    }

    #[test]
    fn bookkeeping_is_told_for_tables_and_for_each_block() {
        let mut pool = PoolStats {
            metadata: 1000,
            tables: 100,
            records: 720,
            live_blocks: 100,
            ..PoolStats::default()
        };
        pool.alloc.size = 9900;
        let mut out = String::new();
        bookkeeping(&mut out, &pool).unwrap();
        assert_eq!(
            out,
            "  bookkeeping 1000: tables 100 (1.00 % of the pool), records 720 (7.20 a block), \
             padding 180\n"
        );
        pool.live_blocks = 3;
        let mut out = String::new();
        bookkeeping(&mut out, &pool).unwrap();
        assert!(
            out.ends_with(", records 720, padding 180\n"),
            "few blocks: {out}"
        );
        let mut out = String::new();
        bookkeeping(&mut out, &PoolStats::default()).unwrap();
        assert_eq!(out, "");
    }

    #[test]
    fn meminfo_hides_empty_rows_unless_asked() {
        let row = |bytes| MeminfoRow {
            label: desc("row"),
            bytes,
            ..MeminfoRow::default()
        };
        let rows = [row(0), row(16 << 20), row(0)];
        let out = print(|out| meminfo(out, 16 << 20, &rows, false));
        assert_eq!(out.matches("row ").count(), 1);
        assert!(out.contains("\n2 unused rows hidden, --all shows them\nadds up"));
        let out = print(|out| meminfo(out, 16 << 20, &rows, true));
        assert_eq!(out.matches("row ").count(), 3);
        assert!(!out.contains("hidden"));
    }
}
