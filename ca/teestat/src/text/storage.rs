//! Trusted storage as text.

use core::fmt::{self, Write};

use tally_insight::names::Names;
use tally_records::{CacheRow, StorageRow};

use super::columns::Columns;

const CACHES: Columns = Columns(&[
    ("cache", 16),
    ("entries", 7),
    ("limit", 5),
    ("bytes", 7),
    ("bytes_max", 9),
    ("hits", 8),
    ("misses", 8),
    ("hit_rate", 8),
    ("evicted", 8),
]);

const STORAGE: Columns = Columns(&[
    ("objects", 7),
    ("handles", 7),
    ("bytes", 7),
    ("calls", 8),
    ("failed", 7),
    ("requests", 8),
    ("read", 10),
    ("written", 10),
    ("corrupt", 7),
    ("uuid", 4),
]);

pub(crate) fn storage(
    out: &mut dyn Write,
    caches: &[CacheRow],
    storage: &[StorageRow],
    names: &dyn Names,
) -> fmt::Result {
    CACHES.head::<CacheRow>(out)?;
    writeln!(out)?;
    for row in caches {
        CACHES.row(out, row, names)?;
        writeln!(out)?;
    }
    if storage.is_empty() {
        return writeln!(out, "\nno TA has used trusted storage");
    }
    writeln!(out)?;
    STORAGE.head::<StorageRow>(out)?;
    writeln!(out)?;
    for row in storage {
        STORAGE.row(out, row, names)?;
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::storage;
    use crate::text::print;
    use tally_abi::TeeUuid;
    use tally_insight::names::NoNames;
    use tally_records::{CacheRow, StorageRow, cache};

    #[test]
    fn each_cache_and_each_ta_has_a_line_and_what_was_never_asked_for_no_rate() {
        let caches = [(cache::BLOCKS, 3, 1), (cache::NODES, 0, 0)];
        let caches = caches.map(|(cache, hits, misses)| CacheRow {
            cache,
            hits,
            misses,
            ..CacheRow::default()
        });
        let ta = StorageRow {
            uuid: TeeUuid::from_u128(7),
            calls: 5,
            requests: 9,
            ..StorageRow::default()
        };
        let text = print(|out| storage(out, &caches, &[ta], &NoNames));
        let rate = |line: usize| text.lines().nth(line)?.split_whitespace().nth(7);
        assert_eq!((rate(1), rate(2)), (Some("75"), Some("-")));
        let last = text.lines().last().unwrap();
        assert!(last.ends_with("00000007"), "{text}");
        let none = print(|out| storage(out, &caches, &[], &NoNames));
        assert!(
            none.ends_with("\nno TA has used trusted storage\n"),
            "{none}"
        );
    }
}
