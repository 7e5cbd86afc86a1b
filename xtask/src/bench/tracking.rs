//! Cost of tracking: the pair of malloc and free with more bookkeeping beside the same pair with less.
//!
//! **Invariant:** both pairs of a ratio come from the same run.

use super::Measure;
use serde_json::{Map, Value, json};

/// A way to keep books, what it is compared with, how it is called, and at most how many percent more are wanted.
const STEPS: [(&str, &str, &str, Option<f64>); 5] = [
    (
        "accounts",
        "untracked",
        "figures, owners and marks, on against off",
        None,
    ),
    (
        "light",
        "accounts",
        "call sites, on against off, depth 1",
        Some(6.0),
    ),
    (
        "depth_1",
        "accounts",
        "  with allocations and peak of each",
        None,
    ),
    ("depth_4", "accounts", "  the same, depth 4", None),
    ("depth_8", "accounts", "  the same, depth 8", None),
];

/// One step: what it adds, in percent, by the number of live blocks.
struct Step {
    name: &'static str,
    text: &'static str,
    limit: Option<f64>,
    more: Vec<(u64, f64)>,
}

/// Secure instructions of each measure of one strategy, by live blocks.
fn pairs<'a>(measures: &'a [Measure], strategy: &'a str) -> impl Iterator<Item = (u64, u64)> + 'a {
    let of = move |measure: &&Measure| measure.strategy.as_deref() == Some(strategy);
    let pairs = measures.iter().filter(of);
    pairs.filter_map(|measure| Some((measure.live?, measure.secure())))
}

/// The steps of which both sides were measured.
fn steps(measures: &[Measure]) -> Vec<Step> {
    let step = |(name, base, text, limit)| {
        let with = pairs(measures, name).zip(pairs(measures, base));
        let more = with.map(|((live, more), (_, less))| {
            let less = less.max(1) as f64;
            (live, (more as f64 - less) * 100.0 / less)
        });
        Step {
            name,
            text,
            limit,
            more: more.collect(),
        }
    };
    let steps = STEPS.into_iter().map(step);
    steps.filter(|step| !step.more.is_empty()).collect()
}

/// For the JSON object.
pub(super) fn object(measures: &[Measure]) -> Value {
    let steps = steps(measures).into_iter().map(|step| {
        let more = step.more.iter();
        let more: Map<String, Value> = more
            .map(|(live, more)| (live.to_string(), json!((more * 10.0).round() / 10.0)))
            .collect();
        (step.name.to_owned(), Value::Object(more))
    });
    Value::Object(steps.collect())
}

/// Prints the steps, if any was measured.
pub(super) fn print(measures: &[Measure]) {
    let steps = steps(measures);
    let Some(first) = steps.first() else {
        return;
    };
    let mut head = format!("{:<44}", "instructions a heap pair, more, by live blocks");
    for (live, _) in &first.more {
        head += &format!("{live:>9}");
    }
    anstream::println!("\n{head}   at most (Linux)");
    for step in &steps {
        let mut line = format!("{:<46}", step.text);
        for (_, more) in &step.more {
            line += &format!("{more:>7.1} %");
        }
        if let Some(limit) = step.limit {
            line += &format!("{limit:>8.1} % (6.4)");
        }
        anstream::println!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(strategy: &str, live: u64, pair: u64) -> Measure {
        Measure {
            name: "heap_pair".into(),
            strategy: Some(strategy.into()),
            live: Some(live),
            iterations: 10,
            counts: [0, 0, pair * 10, 0],
        }
    }

    #[test]
    fn each_step_is_beside_the_one_it_adds_to() {
        let measures = [
            measure("accounts", 10, 80),
            measure("accounts", 100, 100),
            measure("light", 10, 84),
            measure("light", 100, 104),
            measure("depth_1", 10, 100),
            measure("depth_1", 100, 100),
        ];
        assert_eq!(
            object(&measures),
            json!({
                "light": {"10": 5.0, "100": 4.0},
                "depth_1": {"10": 25.0, "100": 0.0},
            })
        );
    }

    #[test]
    fn what_was_not_measured_is_not_told() {
        assert_eq!(object(&[measure("light", 10, 84)]), json!({}));
    }
}
