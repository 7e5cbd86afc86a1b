//! Interrupt latency of the normal world while `teestat`'s questions are answered.
//!
//! **Invariant:** microseconds of virtual time, in which an instruction takes a nanosecond.

use serde_json::{Value, json};

/// The longest wait during one question.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wait {
    question: String,
    micros: u64,
}

/// Those that the guest wrote among its results.
pub(super) fn parse(results: &str) -> Vec<Wait> {
    let lines = results
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter_map(|line: Value| {
            Some(Wait {
                question: line["wait"].as_str()?.to_owned(),
                micros: line["micros"].as_u64()?,
            })
        })
        .collect()
}

/// By question.
pub(super) fn object(waits: &[Wait]) -> Value {
    waits
        .iter()
        .map(|wait| (wait.question.clone(), json!(wait.micros)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Prints them, longest first.
pub(super) fn print(waits: &[Wait]) {
    let mut sorted = waits.to_vec();
    sorted.sort_by_key(|wait| std::cmp::Reverse(wait.micros));
    if !sorted.is_empty() {
        anstream::println!(
            "\nlongest that an interrupt waited (us of virtual time), with 20,000 live blocks"
        );
    }
    for wait in sorted {
        anstream::println!(
            "{:<50}{:>12}",
            format!("teestat {}", wait.question),
            wait.micros
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_found_among_other_results() {
        let results =
            "{\"bench\":\"ta_invoke\",\"iterations\":3}\n{\"wait\":\"pools\",\"micros\":7}\n";
        let waits = parse(results);
        assert_eq!(waits.len(), 1);
        assert_eq!(object(&waits), json!({"pools": 7}));
    }
}
