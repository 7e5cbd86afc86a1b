//! Profiles, read back with another crate's definition of `profile.proto`.
//!
//! **Invariant:** figures are compared with the snapshot's, not with what the writer says.

use flate2::read::GzDecoder;
use pprof::protos::{Message as _, Profile};
use std::io::Read as _;
use tally_insight::account::{Account, NoSymbols};
use tally_insight::{growth, sample};
use tally_report::pprof as writer;

fn read(gzip: &[u8]) -> Profile {
    let mut bytes = Vec::new();
    GzDecoder::new(gzip).read_to_end(&mut bytes).unwrap();
    Profile::decode(&*bytes).unwrap()
}

fn account(cycle: u64) -> Account {
    Account::new(sample::machine(cycle), "snapshot", &NoSymbols)
}

fn string(profile: &Profile, index: i64) -> &str {
    &profile.string_table[usize::try_from(index).unwrap()]
}

fn sums(profile: &Profile) -> Vec<i64> {
    (0..profile.sample_type.len())
        .map(|n| profile.sample.iter().map(|sample| sample.value[n]).sum())
        .collect()
}

#[test]
fn every_sample_type_adds_up_to_the_snapshot() {
    let account = account(3);
    let profile = read(&writer::profile(&account).unwrap());
    let types: Vec<(&str, &str)> = profile
        .sample_type
        .iter()
        .map(|t| (string(&profile, t.ty), string(&profile, t.unit)))
        .collect();
    assert_eq!(
        types,
        [
            ("inuse_objects", "count"),
            ("inuse_space", "bytes"),
            ("alloc_objects", "count")
        ]
    );
    let live = &account.snapshot.live;
    let expected = [
        live.iter().map(|r| i64::from(r.blocks)).sum::<i64>(),
        live.iter().map(|r| r.bytes as i64).sum(),
        account
            .snapshot
            .sites
            .iter()
            .map(|s| s.allocations as i64)
            .sum(),
    ];
    assert_eq!(sums(&profile), expected);
    assert_eq!(string(&profile, profile.default_sample_type), "inuse_space");
}

#[test]
fn every_reference_leads_somewhere() {
    let profile = read(&writer::profile(&account(2)).unwrap());
    assert_eq!(profile.string_table[0], "");
    for sample in &profile.sample {
        assert!(!sample.location_id.is_empty());
        for id in &sample.location_id {
            let location = profile.location.iter().find(|l| l.id == *id).unwrap();
            let mapping = profile
                .mapping
                .iter()
                .find(|m| m.id == location.mapping_id)
                .unwrap();
            assert!(location.address < mapping.memory_limit);
            for line in &location.line {
                let function = profile
                    .function
                    .iter()
                    .find(|f| f.id == line.function_id)
                    .unwrap();
                assert!(!string(&profile, function.name).is_empty());
            }
        }
        for label in &sample.label {
            assert!(["pool", "owner"].contains(&string(&profile, label.key)));
            assert!(!string(&profile, label.str).is_empty());
        }
    }
}

#[test]
fn a_comparison_has_the_difference() {
    let (before, after) = (account(1), account(5));
    let changes = growth::between(&before, &after);
    let profile = read(&writer::change(&before, &after, &changes).unwrap());
    let [objects, space, _] = sums(&profile)[..] else {
        panic!("three sample types");
    };
    assert_eq!(objects, 4 * sample::LEAK_BLOCKS as i64);
    assert_eq!(space, 4 * sample::LEAK_BYTES as i64);
    let back = growth::between(&after, &before);
    let shrunk = read(&writer::change(&after, &before, &back).unwrap());
    assert_eq!(sums(&shrunk)[1], -space);
}

#[test]
fn the_same_snapshot_gives_the_same_file() {
    assert_eq!(
        writer::profile(&account(2)).unwrap(),
        writer::profile(&account(2)).unwrap()
    );
}
