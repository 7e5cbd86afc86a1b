//! Interrupt latency of the normal world while the secure world does what clients and TAs can have it do.
//!
//! **Invariant:** virtual time, in which an instruction takes a nanosecond.

use serde_json::{Map, Value, json};

/// The most that an interrupt may wait for.
const BOUND_NS: u64 = 100_000;
/// What the names of questions to `teestat` begin with, on the machine.
const TEESTAT: &str = "teestat ";

/// The longest of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wait {
    name: String,
    /// That a tick waited for its handler.
    micros: u64,
    /// That the secure world had interrupts masked.
    masked: u64,
}

impl Wait {
    /// The JSON object has had questions without the tool's name from the first.
    fn key(&self) -> String {
        let name = self.name.strip_prefix(TEESTAT).unwrap_or(&self.name);
        name.to_owned()
    }

    fn nanos(&self) -> u64 {
        self.masked.max(self.micros * 1000)
    }
}

/// Adds what was measured once. What has no name does not count.
pub(super) fn add(waits: &mut Vec<Wait>, name: &str, micros: u64, masked: u64) {
    if let Some(known) = waits.iter_mut().find(|wait| wait.name == name) {
        known.micros = known.micros.max(micros);
        known.masked = known.masked.max(masked);
    } else if !name.is_empty() {
        waits.push(Wait {
            name: name.to_owned(),
            micros,
            masked,
        });
    }
}

/// Microseconds by name.
pub(super) fn micros(waits: &[Wait]) -> Value {
    let entries = waits.iter().map(|wait| (wait.key(), json!(wait.micros)));
    entries.collect::<Map<_, _>>().into()
}

/// Instructions with interrupts masked by name.
pub(super) fn masked(waits: &[Wait]) -> Value {
    let entries = waits.iter().map(|wait| (wait.key(), json!(wait.masked)));
    entries.collect::<Map<_, _>>().into()
}

/// Those that are longer than they may be.
pub(super) fn too_long(waits: &[Wait]) -> Vec<String> {
    let long = waits.iter().filter(|wait| wait.nanos() > BOUND_NS);
    long.map(|wait| format!("{} ({} us)", wait.name, wait.nanos().div_ceil(1000)))
        .collect()
}

/// Prints them, longest first.
pub(super) fn print(waits: &[Wait]) {
    let mut sorted = waits.to_vec();
    sorted.sort_by_key(|wait| std::cmp::Reverse(wait.nanos()));
    if !sorted.is_empty() {
        anstream::println!(
            "\n{:<74}{:>8}{:>8}",
            format!(
                "longest that an interrupt waited (us of virtual time), at most {}",
                BOUND_NS / 1000
            ),
            "waited",
            "masked"
        );
    }
    for wait in sorted {
        let masked = wait.masked as f64 / 1000.0;
        anstream::println!("{:<74}{:>8}{masked:>8.1}", wait.name, wait.micros);
    }
}
