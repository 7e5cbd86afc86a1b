//! Tests of what holds for all tables.

use super::*;
extern crate std;
use std::collections::HashSet;
use std::vec::Vec;
use tally_abi::ta::entry;
use tally_abi::{TeeResult, TeeUuid};

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

#[test]
fn a_selector_of_a_mark_that_no_block_can_carry_makes_no_sense() {
    let last = u32::from(u16::MAX);
    assert!(Selector::ALL.since(last).checked().is_ok());
    for mark in [last + 1, u32::MAX] {
        let refused = Selector::ALL.since(mark).checked();
        assert_eq!(refused, Err(TeeResult::BAD_PARAMETERS), "{mark}");
    }
}

#[test]
fn an_instance_is_meant_by_its_number_and_its_ta() {
    let [one, other] = [1, 2].map(TeeUuid::from_u128);
    let selector = Selector::instance(one, 7);
    assert!(selector.means(one, 7));
    assert!(!selector.means(one, 8));
    assert!(!selector.means(other, 7), "of the same number");
}

#[test]
fn a_ta_that_was_killed_while_idle_was_in_no_call() {
    let killed = TaDetail {
        state: state::DEAD,
        cause: cause::KILLED,
        function: entry::INVOKE_COMMAND as u32,
        command: 77,
        ..TaDetail::default()
    };
    for key in ["function", "command", "session", "busy_since_ms"] {
        assert!(matches!(value(&killed, key), Value::Null), "{key}");
    }
}

#[test]
fn a_panic_code_is_told_of_a_panic_alone() {
    for cause in [cause::NONE, cause::CRASHED, cause::KILLED] {
        let dead = TaDetail {
            state: state::DEAD,
            cause,
            panic_code: 9,
            ..TaDetail::default()
        };
        assert_eq!(said(&dead, "panic_code"), None, "{cause}");
    }
}

#[test]
fn a_command_is_told_of_an_invocation_alone() {
    for (function, told) in [
        (entry::OPEN_SESSION, None),
        (entry::CLOSE_SESSION, None),
        (entry::INVOKE_COMMAND, Some(77)),
    ] {
        let function = function as u32;
        let busy = TaDetail {
            state: state::BUSY,
            function,
            command: 77,
            ..TaDetail::default()
        };
        assert_eq!(said(&busy, "command"), told, "{function}");
        let row = CommandRow {
            function,
            command: 77,
            ..CommandRow::default()
        };
        assert_eq!(said(&row, "command"), told, "{function}");
    }
}

#[test]
fn figures_of_looking_in_detail_are_null_where_nobody_looked() {
    let mut row = CommandRow {
        allocations: 3,
        releases: 2,
        stack_deepest: 1024,
        ..CommandRow::default()
    };
    let told =
        |row: &CommandRow| ["allocations", "releases", "stack_deepest"].map(|key| said(row, key));
    assert_eq!(told(&row), [None; 3]);
    row.detailed = 1;
    assert_eq!(told(&row), [Some(3), Some(2), Some(1024)]);
}

#[test]
fn a_pool_is_an_instances_if_it_is_a_tas_heap() {
    for (kind, told) in [
        (pool_kind::KERNEL_HEAP, None),
        (pool_kind::TA_MEMORY, None),
        (pool_kind::TA_HEAP, Some(7)),
    ] {
        let row = PoolRow {
            kind,
            instance: 7,
            ..PoolRow::default()
        };
        assert_eq!(said(&row, "instance"), told, "{kind}");
    }
}

#[test]
fn rows_of_sites_are_one_where_nobody_counts_and_pool_number_and_stack_agree() {
    let part = SiteRow {
        pool: TeeUuid::from_u128(1),
        site: 4,
        live_bytes: 8,
        live_blocks: 1,
        ..SiteRow::default()
    };
    let stack = [0x40; tally_abi::pta::MAX_FRAMES];
    for (other, is_same) in [
        (part, true),
        // Without a stack, too, a site is told from others.
        (SiteRow { site: 5, ..part }, false),
        (
            SiteRow {
                pool: TeeUuid::nil(),
                ..part
            },
            false,
        ),
        (
            SiteRow {
                frames: stack,
                ..part
            },
            false,
        ),
        (
            SiteRow {
                allocations: 1,
                ..part
            },
            false,
        ),
    ] {
        let mut sum = part;
        assert_eq!(sum.join(&other), is_same, "{other:?}");
        assert_eq!(sum.live_bytes, if is_same { 16 } else { 8 });
        let mut turned = other;
        assert_eq!(turned.join(&part), is_same, "{other:?}");
    }
}
