//! The account as OpenMetrics text (github.com/prometheus/OpenMetrics, version 1.0), through the
//! field tables.
//!
//! A family is called `tally_RECORD_KEY`, with the unit at its end.
//!
//! **Invariant:** every family has TYPE and HELP and, where its name ends with one, UNIT; label
//! values are escaped; labels of all samples come first. No two samples have the same name and
//! labels: records that have the same labels are added up. Uses of secure RAM add up to all of it.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};

use tally_abi::TeeUuid;
use tally_records::snapshot::Header;
use tally_records::{
    CacheRow, Described, Field, Figure, MeminfoRow, Origin, OwnerRow, PoolRow, Row, Shape, SiteRow,
    StorageRow, TABLES, TaDetail, Table, Value, table,
};

use crate::account::Account;
use crate::growth::Change;
use crate::names::{Names, Stack, printable, short};

/// What an HTTP answer with such a text says it is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A label: its name and its value.
pub type Label<'a> = (&'a str, String);

/// The text, as it is written.
pub struct Text<'a> {
    out: &'a mut dyn Write,
    /// Labels of every sample.
    common: &'a [Label<'a>],
}

impl<'a> Text<'a> {
    /// Writes to `out`; every sample gets the labels `common`.
    pub fn new(out: &'a mut dyn Write, common: &'a [Label<'a>]) -> Self {
        Self { out, common }
    }

    /// Begins a family. `unit` is empty or the end of the name.
    ///
    /// # Errors
    /// The output's.
    pub fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) -> fmt::Result {
        writeln!(self.out, "# TYPE {name} {kind}")?;
        if !unit.is_empty() {
            writeln!(self.out, "# UNIT {name} {unit}")?;
        }
        writeln!(self.out, "# HELP {name} {}", Escaped(help))
    }

    /// Writes a sample of the family that was begun last. A label that says nothing is left out.
    ///
    /// # Errors
    /// The output's.
    pub fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) -> fmt::Result {
        self.out.write_str(name)?;
        let mut begin = '{';
        let said = self.common.iter().chain(labels);
        for (label, text) in said.filter(|(_, text)| !text.is_empty()) {
            write!(self.out, "{begin}{label}=\"{}\"", Escaped(text))?;
            begin = ',';
        }
        if begin == ',' {
            self.out.write_char('}')?;
        }
        writeln!(self.out, " {value}")
    }

    /// Ends the text.
    ///
    /// # Errors
    /// The output's.
    pub fn end(self) -> fmt::Result {
        self.out.write_str("# EOF\n")
    }
}

/// Whether a label of this name can be put on every sample: letters, digits and `_`, not one that
/// families or scrapers use.
#[must_use]
pub fn is_free_label(name: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    let goes_on = |c: char| begins(c) || c.is_ascii_digit();
    let is_taken = |table: &Table| {
        let mut labels = table.fields.iter().filter(|f| f.figure == Figure::Label);
        labels.any(|field| label_names(field).contains(&name))
    };
    name.starts_with(begins)
        && name.chars().all(goes_on)
        && !name.starts_with("__")
        && !["instance", "job", "le", "quantile", "file", "pool", "stack"].contains(&name)
        && !TABLES.iter().any(|table| is_taken(table))
}

/// The labels that a field makes.
fn label_names(field: &Field) -> &[&'static str] {
    match (field.shape, field.key) {
        (Shape::Ta, _) => &["ta", "uuid"],
        (Shape::Frames, _) => &["function", "place"],
        // `instance` is the scraper's.
        (_, "instance") => &["ta_instance"],
        _ => core::slice::from_ref(&field.key),
    }
}

struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The figures of one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures<'a> {
    /// Milliseconds since boot.
    pub uptime_ms: u64,
    /// Bytes of secure RAM.
    pub secure_ram: u64,
    /// Threads for calls, where that is known.
    pub threads: Option<Threads>,
    /// Secure RAM by use.
    pub meminfo: &'a [MeminfoRow],
    /// Pools.
    pub pools: &'a [PoolRow],
    /// Owners of kernel heap and pages.
    pub owners: &'a [OwnerRow],
    /// TA instances.
    pub tas: &'a [TaDetail],
    /// Call sites; those that read the same are added up.
    pub sites: &'a [SiteRow],
    /// Caches of trusted storage.
    pub caches: &'a [CacheRow],
    /// What TAs have of it.
    pub storage: &'a [StorageRow],
}

/// Kernel threads, one for each call inside.
#[derive(Clone, Copy, Debug, Default)]
pub struct Threads {
    /// How many there are.
    pub count: u32,
    /// How many serve a call.
    pub in_use: u32,
    /// Calls that were turned away for want of one.
    pub turned_away: u32,
}

table! {
    /// Kernel threads, one for each call inside.
    Threads: "threads" = 0, metrics "calls" {
        /// Threads for calls.
        count => gauge(Count) "threads",
        /// Threads that serve a call, that of the question included.
        in_use => gauge(Count),
        /// Calls that found no thread.
        turned_away => counter(Count),
    }
}

/// Writes all families.
///
/// # Errors
/// The output's.
pub fn write(out: &mut Text<'_>, figures: &Figures<'_>, names: &dyn Names) -> fmt::Result {
    let uptime = "tally_uptime_seconds";
    out.family(uptime, "gauge", "seconds", "Time since boot")?;
    let (seconds, millis) = (figures.uptime_ms / 1000, figures.uptime_ms % 1000);
    out.sample(uptime, &[], format_args!("{seconds}.{millis:03}"))?;
    let ram = "tally_secure_ram_bytes";
    out.family(ram, "gauge", "bytes", "Secure RAM in all")?;
    out.sample(ram, &[], figures.secure_ram)?;
    families(out, figures.meminfo, names)?;
    families(out, figures.threads.as_slice(), names)?;
    families(out, figures.pools, names)?;
    families(out, figures.owners, names)?;
    families(out, figures.tas, names)?;
    families(out, figures.sites, names)?;
    families(out, figures.caches, names)?;
    families(out, figures.storage, names)
}

/// What records with the same labels say of each family; `None`: nothing.
type Sums = Vec<Option<i128>>;

/// The families of a record, with a sample for each that differs in its labels.
fn families<T: Described>(out: &mut Text<'_>, rows: &[T], names: &dyn Names) -> fmt::Result {
    let mut samples: BTreeMap<Vec<Label<'static>>, Sums> = BTreeMap::new();
    for row in rows {
        let (mut labels, mut figures) = (Vec::new(), Vec::new());
        read(row, names, &mut labels, &mut figures);
        let sums = samples
            .entry(labels)
            .or_insert_with(|| vec![None; figures.len()]);
        for (sum, (field, figure)) in sums.iter_mut().zip(figures) {
            *sum = match (*sum, figure, field.shape) {
                (sum, None, _) => sum,
                (None, figure, _) => figure,
                (Some(sum), Some(figure), Shape::Flag) => Some(sum.max(figure)),
                (Some(sum), Some(figure), _) => Some(sum.saturating_add(figure)),
            };
        }
    }
    let mut fields = Vec::new();
    figures_of(T::TABLE, &mut fields);
    for (n, field) in fields.into_iter().enumerate() {
        let (unit, family) = family_name(T::TABLE, field);
        let (kind, suffix) = match field.figure {
            Figure::Counter => ("counter", "_total"),
            _ => ("gauge", ""),
        };
        out.family(&family, kind, unit, field.help())?;
        for (labels, sums) in &samples {
            if let Some(Some(sum)) = sums.get(n) {
                out.sample(&format!("{family}{suffix}"), labels, sum)?;
            }
        }
    }
    Ok(())
}

/// The unit and the name of a field's family.
pub(crate) fn family_name(table: &Table, field: &Field) -> (&'static str, String) {
    let (record, key) = (table.metrics, field.key);
    match field.shape {
        Shape::Number(unit) if !unit.name().is_empty() => {
            let unit = unit.name();
            let end = key.strip_suffix(unit).unwrap_or(key);
            let end = end.trim_end_matches('_');
            let between = if end.is_empty() { "" } else { "_" };
            (unit, format!("tally_{record}_{end}{between}{unit}"))
        }
        _ => ("", format!("tally_{record}_{key}")),
    }
}

/// The fields that have families, those of flat records where they stand.
fn figures_of(table: &Table, out: &mut Vec<&'static Field>) {
    for field in table.fields {
        match (field.shape, field.figure) {
            (Shape::Flat(inner), _) => figures_of(inner, out),
            (_, Figure::Gauge | Figure::Counter) => out.push(field),
            _ => {}
        }
    }
}

/// Labels and figures of a record.
fn read(
    row: &dyn Row,
    names: &dyn Names,
    labels: &mut Vec<Label<'static>>,
    figures: &mut Vec<(&'static Field, Option<i128>)>,
) {
    for (n, field) in row.table().fields.iter().enumerate() {
        match (row.value(n), field.figure) {
            (Value::Row(inner), _) if matches!(field.shape, Shape::Flat(_)) => {
                read(inner, names, labels, figures);
            }
            (value, Figure::Label) => {
                let texts = label_texts(value, names);
                labels.extend(label_names(field).iter().copied().zip(texts));
            }
            (value, Figure::Gauge | Figure::Counter) => figures.push((field, value.figure())),
            _ => {}
        }
    }
}

/// What the labels of a field say; empty where there is nothing to say.
fn label_texts(value: Value<'_>, names: &dyn Names) -> [String; 2] {
    match value {
        Value::Ta(uuid) if uuid == TeeUuid::nil() => Default::default(),
        Value::Ta(uuid) => {
            let text = uuid.to_string();
            [short(names, uuid).unwrap_or_else(|| text.clone()), text]
        }
        Value::Frames(frames) => {
            let stack = Stack::new(names, frames, Origin::default());
            let frame = stack.innermost();
            let function = frame.map_or("no call stack", |frame| &frame.function);
            [
                function.to_owned(),
                frame.map(|frame| frame.place()).unwrap_or_default(),
            ]
        }
        Value::Word(word) => [word.to_owned(), String::new()],
        Value::Text(text) => [printable(text), String::new()],
        value => [
            value.figure().map(|n| n.to_string()).unwrap_or_default(),
            String::new(),
        ],
    }
}

/// A snapshot's figures.
#[must_use]
pub fn figures(account: &Account) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_figures(Text::new(&mut text, &[]), account);
    text
}

fn write_figures(mut out: Text<'_>, account: &Account) -> fmt::Result {
    let snapshot = &account.snapshot;
    let header: &Header = &snapshot.header;
    let help = "The snapshot behind these figures";
    out.family("tally_snapshot", "info", "", help)?;
    let mut labels = vec![("file", account.file.clone())];
    read(header, account, &mut labels, &mut Vec::new());
    out.sample("tally_snapshot_info", &labels, 1)?;
    let figures = Figures {
        uptime_ms: header.at_ms,
        secure_ram: header.secure_ram,
        // Snapshots have no such section.
        threads: None,
        meminfo: &snapshot.meminfo,
        pools: &snapshot.pools,
        owners: &snapshot.owners,
        tas: &snapshot.tas,
        sites: &snapshot.sites,
        caches: &snapshot.caches,
        storage: &snapshot.storage,
    };
    write(&mut out, &figures, account)?;
    out.end()
}

/// What grew between two snapshots.
#[must_use]
pub fn change(account: &Account, changes: &[Change]) -> String {
    let mut sums: BTreeMap<[String; 3], [i64; 2]> = BTreeMap::new();
    for change in changes {
        let stack = change.stack.shown();
        let stack: Vec<&str> = stack.iter().map(|shown| &*shown.frame.function).collect();
        let key = [
            account.program(change.image),
            change.owner.clone(),
            stack.join(" < "),
        ];
        let [bytes, blocks] = sums.entry(key).or_default();
        *bytes = bytes.saturating_add(change.bytes());
        *blocks = blocks.saturating_add(change.blocks());
    }
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_change(Text::new(&mut text, &[]), &sums);
    text
}

fn write_change(mut out: Text<'_>, sums: &BTreeMap<[String; 3], [i64; 2]>) -> fmt::Result {
    for (n, (name, unit, help)) in [
        ("tally_growth_bytes", "bytes", "Growth of live bytes"),
        ("tally_growth_blocks", "blocks", "Growth of live blocks"),
    ]
    .into_iter()
    .enumerate()
    {
        let help = format!("{help} between two snapshots, by pool, owner and call stack");
        out.family(name, "gauge", unit, &help)?;
        for ([pool, owner, stack], growth) in sums {
            let labels = [
                ("pool", pool.clone()),
                ("owner", owner.clone()),
                ("stack", stack.clone()),
            ];
            out.sample(name, &labels, growth[n])?;
        }
    }
    out.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::NoSymbols;
    use crate::sample;
    use alloc::collections::BTreeSet;

    #[test]
    fn labels_of_all_samples_come_first_and_are_escaped() {
        let mut out = String::new();
        let common = [("device", "a \"b\"\n\\".to_owned())];
        let mut text = Text::new(&mut out, &common);
        text.family("x_bytes", "gauge", "bytes", "A help").unwrap();
        text.sample("x_bytes", &[("use", "free".to_owned())], 7)
            .unwrap();
        text.end().unwrap();
        assert_eq!(
            out,
            "# TYPE x_bytes gauge\n# UNIT x_bytes bytes\n# HELP x_bytes A help\n\
             x_bytes{device=\"a \\\"b\\\"\\n\\\\\",use=\"free\"} 7\n# EOF\n"
        );
    }

    #[test]
    fn a_sample_without_labels_has_no_braces() {
        let mut out = String::new();
        Text::new(&mut out, &[]).sample("x", &[], 1).unwrap();
        assert_eq!(out, "x 1\n");
    }

    #[test]
    fn labels_that_mean_something_else_are_not_free() {
        for name in ["device", "rack_2", "_x"] {
            assert!(is_free_label(name), "{name}");
        }
        for name in ["", "2nd", "a-b", "__x", "instance", "ta", "use", "é"] {
            assert!(!is_free_label(name), "{name}");
        }
    }

    #[test]
    fn families_are_named_by_rule() {
        let name = |key| {
            let mut fields = Vec::new();
            figures_of(PoolRow::TABLE, &mut fields);
            let found = fields.into_iter().find(|field| field.key == key);
            family_name(PoolRow::TABLE, found.unwrap())
        };
        assert_eq!(name("size"), ("bytes", "tally_pool_size_bytes".into()));
        assert_eq!(
            name("live_blocks"),
            ("blocks", "tally_pool_live_blocks".into())
        );
        assert_eq!(name("refused"), ("", "tally_pool_refused".into()));
        let bytes = &MeminfoRow::TABLE.fields[1];
        let (_, name) = family_name(MeminfoRow::TABLE, bytes);
        assert_eq!(name, "tally_secure_memory_bytes");
    }

    #[test]
    fn samples_are_unique_and_uses_add_up() {
        let mut snapshot = sample::machine(2);
        // Two pools that nothing tells apart.
        snapshot.pools.push(snapshot.pools[2]);
        let account = Account::new(snapshot, "a \"b\"\n\\", &NoSymbols);
        let text = figures(&account);
        let mut seen = BTreeSet::new();
        let mut sum = 0;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(seen.insert(name), "{name} twice");
            if name.starts_with("tally_secure_memory_bytes") {
                sum += value.parse::<u64>().unwrap();
            }
        }
        assert_eq!(sum, account.snapshot.header.secure_ram);
        assert!(text.contains("file=\"a \\\"b\\\"\\n\\\\\""));
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn every_figure_of_an_instance_is_told_with_who_it_is() {
        let account = Account::new(sample::machine(2), "", &NoSymbols);
        let text = figures(&account);
        let heap = account.snapshot.tas[0].heap.alloc.allocated;
        let uuid = sample::LEAKER;
        for line in [
            format!(
                "tally_pool_allocated_bytes{{ta=\"{uuid}\",uuid=\"{uuid}\",kind=\"TA heap\",ta_instance=\"1\"}} {heap}"
            ),
            format!("tally_ta_busy{{ta=\"{uuid}\",uuid=\"{uuid}\",ta_instance=\"1\"}} 1"),
            "tally_snapshot_info{mark=\"1\",reason=\"exit\"} 1".to_owned(),
        ] {
            assert!(
                text.lines().any(|other| other == line),
                "{line} is not in {text}"
            );
        }
    }
}
