//! A file of the smallest records through the reader and every format: memory and time are bounded by its length.
//!
//! **Invariant:** alone in its process, whose peak is measured.

use tally_insight::account::{Account, NoSymbols};
use tally_insight::answers::{Comparison, Whole};
use tally_insight::snapshot::{MAX_GROWTH, Snapshot};
use tally_insight::{growth, json, openmetrics, sample};
use tally_records::{HistoryRow, Record, SiteRow, TaDetail, UnfreedRow};
use tally_report::flame::Look;
use tally_report::{flame, html, listing, pprof};

/// Length of the file.
const FILE_BYTES: usize = 1 << 20;
/// Most that a process may take for all outputs of one file.
const MAX_KIB: u64 = 256 << 10;

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .trim()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// Sections of these kinds and records of so many bytes, as many as have room, each record another one.
fn file(sections: &[(u32, usize)]) -> Vec<u8> {
    let mut file = sample::machine(1).to_bytes();
    let room = (FILE_BYTES - file.len()) / sections.len();
    let mut random = 0x5eed_u64;
    for &(kind, record_bytes) in sections {
        let count = room / record_bytes;
        for field in [kind, record_bytes as u32, count as u32, 0] {
            file.extend(field.to_le_bytes());
        }
        for _ in 0..count * record_bytes / 8 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Small numbers too: kinds and states that there are.
            let small = random & 0x0000_0003_0000_0003;
            let word = if random & 4 == 0 { small } else { random };
            file.extend(word.to_le_bytes());
        }
    }
    sample::fix_length(&mut file);
    file
}

/// A section of this kind with the smallest records that are read.
fn smallest<T: Record>() -> (u32, usize) {
    let least = size_of::<T>().div_ceil(MAX_GROWTH).next_multiple_of(8);
    (T::SECTION, least)
}

fn report(snapshot: Snapshot) {
    let sound = Account::new(sample::machine(1), "sound", &NoSymbols);
    let account = Account::new(snapshot, "small", &NoSymbols);
    let look = Look::default();
    let changes = growth::between(&sound, &account);
    let _ = flame::draw(&flame::folded(&account), &look);
    pprof::profile(&account).unwrap();
    assert!(openmetrics::figures(&account).ends_with("# EOF\n"));
    json::text(&Whole(&account)).unwrap();
    json::text(&Comparison::new(&sound, &account, &changes)).unwrap();
    assert!(!listing::changes(&sound, &account, &changes).is_empty());
    html::page(&[sound, account]).unwrap();
}

/// Records of 8 bytes took more than a gigabyte, and minutes.
#[test]
fn a_mebibyte_of_small_records_takes_bounded_memory() {
    for kind in 1..=UnfreedRow::SECTION {
        assert!(Snapshot::parse(&file(&[(kind, 8)])).is_err(), "{kind}");
    }
    let file = file(&[
        smallest::<TaDetail>(),
        smallest::<SiteRow>(),
        smallest::<HistoryRow>(),
    ]);
    report(Snapshot::parse(&file).unwrap());
    let peak = peak_kib();
    assert!(peak < MAX_KIB, "{peak} KiB");
}
