//! Advice on sizes in sentences. What to advise is decided in one place for report and tool
//! ([`tally_metrics::advice`]).
//!
//! **Invariant:** a sentence says no other figure than the advice has.

use crate::shown::{counted, thousands};
use crate::snapshot::Snapshot;
use tally_abi::TeeUuid;
use tally_metrics::advice::{Advice, Verdict, What, advise};

/// Advice on every size of a snapshot.
#[must_use]
pub fn of(snapshot: &Snapshot) -> Vec<Advice> {
    advise(&snapshot.pools, &snapshot.tas, &snapshot.history)
}

/// The advice on one size of a TA.
#[must_use]
pub fn find(advice: &[Advice], uuid: TeeUuid, what: What) -> Option<&Advice> {
    advice
        .iter()
        .find(|one| one.uuid == uuid && one.what == what)
}

/// One sentence.
#[must_use]
pub fn sentence(advice: &Advice) -> String {
    let setting = match advice.what {
        What::Heap => "heap_size",
        What::Stack => "stack_size",
        other => other.name(),
    };
    let set = thousands(advice.set);
    let mut text = match advice.verdict() {
        Verdict::Unknown => format!("{setting}: nothing was measured"),
        Verdict::Fits => format!("{setting} fits"),
        Verdict::Lower => format!("{setting} could be {set}: half as much again as was ever used"),
        Verdict::Raise if advice.refused > 0 => format!("raise {setting} to {set}"),
        Verdict::Raise => format!("raise {setting} to {set}: half as much again as was ever used"),
    };
    if advice.refused > 0 {
        text.push_str(&format!(
            "; refused: {}",
            counted(advice.refused, "request")
        ));
    }
    if advice.impossible > 0 {
        let bytes = counted(advice.impossible, "byte");
        text.push_str(&format!(", of which one of {bytes} fits no setting"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use tally_records::HistoryRow;

    fn on(what: What, snapshot: &Snapshot) -> String {
        let advice = of(snapshot);
        sentence(find(&advice, sample::LEAKER, what).unwrap())
    }

    #[test]
    fn what_was_used_and_refused_is_told() {
        let mut snapshot = sample::machine(2);
        assert_eq!(
            on(What::Stack, &snapshot),
            "stack_size could be 4,096: half as much again as was ever used"
        );
        assert_eq!(
            on(What::Heap, &snapshot),
            "heap_size fits; refused: 1 request"
        );
        snapshot.tas[0].heap.alloc.biggest_alloc_fail = 30_000_000;
        assert_eq!(
            on(What::Heap, &snapshot),
            "heap_size fits; refused: 1 request, of which one of 30,000,000 bytes fits no setting"
        );
        snapshot.tas[0].stack_deepest = 16_000;
        assert!(on(What::Stack, &snapshot).starts_with("raise stack_size to 24,576: half"));
    }

    /// Only the living were looked at for refusals: a TA that had ended of one was told to take less.
    #[test]
    fn what_was_refused_to_a_ta_that_ended_is_told() {
        let mut snapshot = sample::machine(2);
        snapshot.tas.clear();
        snapshot.history = vec![HistoryRow {
            uuid: sample::LEAKER,
            heap_max: 24,
            heap_size: 34_304,
            refused: 1,
            biggest_refused: 40_000,
            biggest_refused_used: 24,
            ..HistoryRow::default()
        }];
        let text = on(What::Heap, &snapshot);
        assert!(text.starts_with("raise heap_size to 61,440"), "{text}");
        assert!(text.ends_with("; refused: 1 request"), "{text}");
    }
}
