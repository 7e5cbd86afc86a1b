//! Tests of what holds for all tables.

use super::*;
extern crate std;
use std::collections::HashSet;
use std::vec::Vec;

/// Fields as they come out, those of flat records among them.
fn fields(table: &Table) -> Vec<&'static Field> {
    let of = |field: &'static Field| match field.shape {
        Shape::Hidden => Vec::new(),
        Shape::Flat(inner) => fields(inner),
        _ => Vec::from([field]),
    };
    table.fields.iter().flat_map(of).collect()
}

#[test]
fn every_field_has_a_key_of_its_own_and_is_explained() {
    for table in TABLES {
        let mut seen = HashSet::new();
        assert!(table.help().ends_with('.'), "{}", table.name);
        for field in fields(table) {
            let key = field.key;
            assert!(seen.insert(key), "{} has {key} twice", table.name);
            assert!(!field.help().is_empty(), "{} {key}", table.name);
            let is_key = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(
                key.chars().all(|c| is_key(c) || c.is_ascii_digit()),
                "{key}"
            );
        }
    }
}

#[test]
fn every_section_has_a_number_of_its_own() {
    let mut seen = HashSet::new();
    let sections = TABLES.iter().filter(|table| table.section != 0);
    for table in sections {
        assert!(seen.insert(table.section), "{}", table.name);
        assert_eq!(section_name(table.section), table.list);
    }
    assert_eq!(section_name(0), "unknown");
    assert_eq!(section_name(999), "unknown");
}

/// What a record says of a field, as a figure.
fn said<T: Row>(row: &T, key: &str) -> Option<i128> {
    assert!(row.table().field(key).is_some(), "{key}");
    value(row, key).figure()
}

#[test]
fn what_is_not_counted_or_not_so_is_null() {
    let idle = TaDetail {
        session: 7,
        panic_code: 9,
        ..TaDetail::default()
    };
    let dead = TaDetail {
        state: state::DEAD,
        cause: cause::PANICKED,
        ..idle
    };
    for key in ["session", "panic_code", "died_ms"] {
        assert_eq!(said(&idle, key), None, "{key}");
        assert!(said(&dead, key).is_some(), "{key}");
    }
    let site = SiteRow {
        live_bytes: 3,
        ..SiteRow::default()
    };
    assert_eq!(
        (said(&site, "live_bytes"), said(&site, "peak_bytes")),
        (Some(3), None)
    );
    assert_eq!(said(&RegionRow::default(), "va"), None);
    // Fields of flat records are the record's own.
    let suspect = SuspectRow {
        leak: LeakRecord {
            bytes: 9,
            ..LeakRecord::default()
        },
        ..SuspectRow::default()
    };
    assert_eq!(said(&suspect, "bytes"), Some(9));
}

#[test]
fn unknown_codes_are_said_to_be() {
    assert_eq!(word(state::WORDS, state::BUSY), "busy");
    assert_eq!(word(state::WORDS, 9_u32), "unknown");
    assert_eq!(word(tracking::WORDS, tracking::LIGHT), "light");
}

#[test]
fn a_heap_was_declared_in_whole_pages_whatever_its_tables_and_rounding_take() {
    let mut large = TaDetail {
        heap_reserved: 8_466_432,
        ..TaDetail::default()
    };
    large.heap.tables = 76_288;
    assert_eq!(large.heap_declared(), 8 << 20);
    large.heap_reserved = 45_056;
    large.heap.tables = 10_752;
    assert_eq!(large.heap_declared(), 32 << 10);
    let row = HistoryRow {
        heap_size: 34_304,
        ..HistoryRow::default()
    };
    assert_eq!(row.heap_declared(), 32 << 10);
    assert_eq!(TaDetail::default().heap_declared(), 0);
}

#[test]
fn free_memory_that_is_in_pieces_is_told_in_percent() {
    let mut pool = AllocStats {
        size: 100,
        free2_sum: 100 * 100,
        ..AllocStats::default()
    };
    assert_eq!(fragmentation(&pool), Some(0));
    pool.free2_sum /= 2;
    assert_eq!(fragmentation(&pool), Some(50));
    pool.allocated = 100;
    assert_eq!(fragmentation(&pool), None);
}
