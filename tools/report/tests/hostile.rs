//! Damaged snapshots through the reader and every format.
//!
//! **Invariant:** the same damage every time; `tools/fuzz` has more of it.

use tally_insight::account::{Account, NoSymbols};
use tally_insight::answers::{Comparison, Whole};
use tally_insight::snapshot::Snapshot;
use tally_insight::{growth, json, openmetrics, sample};
use tally_report::flame::Look;
use tally_report::{flame, html, listing, pprof};

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

fn damaged(random: &mut Random) -> Vec<u8> {
    let mut bytes = sample::machine(2).to_bytes();
    for _ in 0..=random.below(8) {
        // Whole fields, with numbers that break things.
        let odd = [0, 1, u64::MAX, u64::MAX / 2, 1 << 32, 1 << 63];
        let value = odd[random.below(odd.len())].to_le_bytes();
        let at = random.below(bytes.len() / 8) * 8;
        let width = [4, 8][random.below(2)];
        bytes[at..at + width].copy_from_slice(&value[..width]);
    }
    bytes
}

#[test]
fn damaged_snapshots_are_refused_or_reported() {
    let mut random = Random(0x5eed);
    let sound = Account::new(sample::machine(1), "sound", &NoSymbols);
    let look = Look {
        embedded: true,
        ..Look::default()
    };
    let mut read = 0;
    for _ in 0..400 {
        let Ok(snapshot) = Snapshot::parse(&damaged(&mut random)) else {
            continue;
        };
        read += 1;
        let account = Account::new(snapshot, "damaged", &NoSymbols);
        let changes = growth::between(&sound, &account);
        // Too much to draw is an error, not a panic.
        let _ = flame::draw(&flame::folded(&account), &look);
        let _ = flame::draw(&flame::folded_change(&account, &changes), &look);
        assert!(pprof::profile(&account).is_ok());
        assert!(pprof::change(&sound, &account, &changes).is_ok());
        assert!(openmetrics::figures(&account).ends_with("# EOF\n"));
        assert!(openmetrics::change(&account, &changes).ends_with("# EOF\n"));
        assert!(json::text(&Whole(&account)).is_ok());
        assert!(json::text(&Comparison::new(&sound, &account, &changes)).is_ok());
        assert!(!listing::changes(&sound, &account, &changes).is_empty());
        let page = html::page(&[sound.clone(), account]).unwrap();
        assert_eq!(page.matches("<script").count(), 1);
    }
    assert!(read > 50, "only {read} were read at all");
}
