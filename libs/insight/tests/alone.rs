//! The crate by itself: its example, and what its README says of the format.

#[expect(dead_code, reason = "the example's own entry")]
#[path = "../examples/snapshot.rs"]
mod snapshot;

use core::mem::offset_of;
use tally_insight::sample;
use tally_insight::snapshot::Error;
use tally_records::snapshot::{Header, LEAST_HEADER_BYTES, Section, VERSION};
use tally_records::{Described, Record};

#[test]
fn growth_is_read_from_two_files() {
    let file = |cycle| (format!("{cycle}.snap"), sample::machine(cycle).to_bytes());
    let mut files = [file(1), file(3)];
    let text = snapshot::report(&files).unwrap();
    assert!(
        text.starts_with("3.snap, 1750 ms after boot: 16777216 bytes"),
        "{text}"
    );
    let grown = format!(
        "+{} in +{} blocks of ",
        2 * sample::LEAK_BYTES,
        2 * sample::LEAK_BLOCKS
    );
    assert!(text.contains(&grown), "{text}");
    files[0].1[8] += 1;
    assert_eq!(snapshot::report(&files), Err(Error::Version(VERSION + 1)));
}

#[test]
fn the_format_is_that_of_the_readme() {
    let readme = include_str!("../README.md");
    let mut rows = vec![
        format!("version {VERSION}"),
        format!("a header of {LEAST_HEADER_BYTES} bytes at least"),
    ];
    macro_rules! offsets {
        ($of:ty: $($field:ident),*) => {
            $(rows.push(format!("| {} | `{}` |", offset_of!($of, $field), stringify!($field)));)*
        };
    }
    offsets!(Header: magic, version, header_bytes, total_bytes, at_ms, mark, reason, subject, value, dropped,
        secure_ram, boot, build);
    offsets!(Section: kind, record_bytes, count);
    macro_rules! sections {
        ($($field:ident: $record:ty,)*) => {
            $({
                let (bytes, list) = (size_of::<$record>(), <$record>::TABLE.list);
                rows.push(format!("| {} | {list} | `{}` | {bytes} |", <$record>::SECTION,
                    stringify!($record).rsplit(' ').next().unwrap().rsplit("::").next().unwrap()));
            })*
        };
    }
    tally_records::snapshot_sections!(sections);
    let missing: Vec<_> = rows.iter().filter(|row| !readme.contains(&**row)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
