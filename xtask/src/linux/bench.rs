//! `cargo xtask bench --linux`: what a call of a Linux process costs, by world, in Debian 12's Linux.
//!
//! **Invariant:** as for the other measures: instructions under `-icount shift=0` on one CPU; names in
//! the JSON object do not change.

use super::{Debian, prepare};
use crate::images::Images;
use crate::qemu::{Ending, Run};
use crate::ui::{self, thousands};
use crate::{bench, paths};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tally_board_virt::SECURE_RAM_BYTES;

const WORLDS: [&str; 5] = ["monitor", "kernel", "ta", "normal", "client"];

/// Normal-world RAM that Linux keeps for the secure world: memory is shared where it lies.
const NORMAL_RESERVED: u64 = 0;
/// Instructions between a look at the clock and the mark, the clock's grain of 16 ns, and a wait of Linux's that falls into a
/// measure, for which an idle CPU's time goes on by itself: 3,400 ns were seen.
const MAX_DIFFERENCE: u64 = 5_000;

pub(super) type Counts = [u64; WORLDS.len()];

/// One measure: counts of all its iterations.
pub(super) struct Measure {
    pub(super) name: String,
    iterations: u64,
    counts: Counts,
    /// Longest way of firmware and kernel with interrupts masked, in instructions.
    masked: u64,
    /// Nanoseconds by the guest's clock, all iterations together.
    ns: u64,
}

/// How late a sleeper of a millisecond woke, in nanoseconds.
pub(super) struct Lateness {
    name: String,
    sleeps: u64,
    median_ns: u64,
    worst_ns: u64,
}

/// What a run has told.
pub(super) struct Told {
    pub(super) boot: Counts,
    pub(super) measures: Vec<Measure>,
    lateness: Vec<Lateness>,
    /// Bytes of secure RAM that are free before a TA is loaded.
    pub(super) secure_free: u64,
}

impl Measure {
    pub(super) fn each(&self, world: usize) -> u64 {
        let n = self.iterations.max(1);
        (self.counts[world] + n / 2) / n
    }

    /// Monitor, kernel and TA.
    fn secure(&self) -> u64 {
        (0..3).map(|world| self.each(world)).sum()
    }

    pub(super) fn all(&self) -> u64 {
        (0..WORLDS.len()).map(|world| self.each(world)).sum()
    }

    /// One instruction takes a nanosecond of the guest's clock: both must agree, or something was
    /// counted for the wrong world, or not at all.
    fn check(&self) -> Result<()> {
        let counted: u64 = self.counts.iter().sum();
        ensure!(
            counted.abs_diff(self.ns) <= MAX_DIFFERENCE,
            "{}: {counted} instructions counted in {} ns",
            self.name,
            self.ns
        );
        Ok(())
    }
}

/// Measures and prints.
pub(crate) fn run(images: &Images, silence: Duration, as_json: bool) -> Result<u8> {
    let linux = prepare(images, Debian::Bookworm)?;
    let plugin = bench::plugin()?;
    ui::step(
        "Measuring",
        "instructions of Linux's calls, one CPU, -icount shift=0",
    );
    let counts = paths::out().join("linux-insn-count.jsonl");
    let _ = std::fs::remove_file(&counts);
    let plugin = format!("{},out={},linux=on", plugin.display(), counts.display());
    let mut extra = bench::deterministic_with_timers();
    extra.extend(["-plugin".to_owned(), plugin]);
    let command = "linux-tests bench /dev/vport0p1";
    let outcome = Run {
        cpus: 1,
        extra,
        ..Run::captured(images, "linux-bench", command, silence)
    }
    .start_linux(&linux)?;
    if outcome.ending != Ending::Exit(0) {
        let trouble = outcome.trouble(images).unwrap_or(outcome.normal.clone());
        bail!("the bench run ended with {:?}\n{trouble}", outcome.ending);
    }
    let counts = std::fs::read_to_string(&counts).context("the plugin wrote no counts")?;
    let lines: Vec<String> = outcome.results.lines().map(str::to_owned).collect();
    let told = pair(&counts, &lines)?;
    let image = (images.kernel_raw_len - images.kernel_sites_len) as u64;
    if as_json {
        anstream::println!("{}", object(&told, image));
    } else {
        print(&told, image);
    }
    Ok(0)
}

/// Puts the plugin's counts and what the guest says together.
pub(super) fn pair(counts: &str, lines: &[String]) -> Result<Told> {
    let parse = |line: &str| -> Result<Value> {
        serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))
    };
    let read = |value: &Value| -> Counts { WORLDS.map(|w| value[w].as_u64().unwrap_or(0)) };
    let mut boot = None;
    let mut measured = Vec::new();
    for line in counts.lines() {
        let line = parse(line)?;
        if line["boot"].is_object() {
            boot = Some(read(&line["boot"]));
        } else if line["measure"].is_u64() {
            let masked = line["masked"].as_u64().unwrap_or(0);
            measured.push((read(&line["counts"]), masked));
        }
    }
    let mut told = Told {
        boot: boot.context("Linux was never reached")?,
        measures: Vec::new(),
        lateness: Vec::new(),
        secure_free: 0,
    };
    for line in lines {
        let line = parse(line)?;
        let number = |field: &str| line[field].as_u64().unwrap_or(0);
        if let Some(name) = line["bench"].as_str() {
            let counted = measured.get(told.measures.len()).copied();
            let (counts, masked) =
                counted.with_context(|| format!("the plugin did not count {name}"))?;
            let measure = Measure {
                name: name.to_owned(),
                iterations: number("iterations"),
                counts,
                masked,
                ns: number("ns"),
            };
            measure.check()?;
            told.measures.push(measure);
        } else if let Some(name) = line["lateness"].as_str() {
            told.lateness.push(Lateness {
                name: name.to_owned(),
                sleeps: number("sleeps"),
                median_ns: number("median_ns"),
                worst_ns: number("worst_ns"),
            });
        } else if line["fact"] == "secure_free" {
            told.secure_free = number("figure");
        }
    }
    ensure!(
        told.measures.len() == measured.len() && !told.measures.is_empty(),
        "the guest names {} measures, the plugin counted {}",
        told.measures.len(),
        measured.len()
    );
    Ok(told)
}

fn object(told: &Told, image: u64) -> Value {
    let mut object = Map::new();
    for measure in &told.measures {
        let worlds = WORLDS.iter().enumerate();
        let worlds: Map<String, Value> = worlds
            .map(|(n, world)| ((*world).to_owned(), json!(measure.each(n))))
            .chain([("masked".to_owned(), json!(measure.masked))])
            .collect();
        object.insert(measure.name.clone(), Value::Object(worlds));
    }
    let lateness = told.lateness.iter().map(|late| {
        let figures = json!({
            "sleeps": late.sleeps,
            "median_ns": late.median_ns,
            "worst_ns": late.worst_ns,
        });
        (late.name.clone(), figures)
    });
    object.insert("lateness".into(), Value::Object(lateness.collect()));
    object.insert(
        "boot".into(),
        json!({"monitor": told.boot[0], "kernel": told.boot[1]}),
    );
    object.insert("image".into(), json!({"kernel": image}));
    object.insert(
        "ram".into(),
        json!({"secure_free": told.secure_free, "normal_reserved": NORMAL_RESERVED}),
    );
    Value::Object(object)
}

fn print(told: &Told, image: u64) {
    let line = |cells: [String; 9]| {
        let [name, rest @ ..] = cells;
        let rest: String = rest.iter().map(|cell| format!("{cell:>11}")).collect();
        anstream::println!("{name:<21}{rest}");
    };
    let head = [
        "", "monitor", "kernel", "TA", "Linux", "client", "secure", "all", "masked",
    ];
    line(head.map(str::to_owned));
    for measure in &told.measures {
        let [monitor, kernel, ta, linux, client] =
            std::array::from_fn(|world| thousands(measure.each(world)));
        line([
            measure.name.clone(),
            monitor,
            kernel,
            ta,
            linux,
            client,
            thousands(measure.secure()),
            thousands(measure.all()),
            thousands(measure.masked),
        ]);
    }
    anstream::println!();
    for (name, figure) in [
        ("secure kernel, reset to Linux (instructions)", told.boot[1]),
        ("firmware, reset to Linux (instructions)", told.boot[0]),
        ("kernel's raw image (bytes)", image),
        (
            "secure RAM that TAs cannot have (bytes)",
            SECURE_RAM_BYTES - told.secure_free,
        ),
        ("normal RAM that Linux cannot have (bytes)", NORMAL_RESERVED),
    ] {
        anstream::println!("{name:<54}{:>11}", thousands(figure));
    }
    anstream::println!();
    anstream::println!(
        "{:<54}{:>11}{:>11}{:>11}",
        "how late a sleeper wakes on the one CPU (us)",
        "sleeps",
        "median",
        "worst"
    );
    let micros = |ns: u64| format!("{:.1}", ns as f64 / 1000.0);
    for late in &told.lateness {
        let what = match late.name.as_str() {
            "idle" => "while nothing else runs",
            "linux_loop" => "while a process of Linux loops",
            "ta_load" => "while another client loads a TA again and again",
            "ta_loop" => "while another client's TA loops",
            other => other,
        };
        anstream::println!(
            "{what:<54}{:>11}{:>11}{:>11}",
            thousands(late.sleeps),
            micros(late.median_ns),
            micros(late.worst_ns)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: &str = "{\"boot\":{\"monitor\":5,\"kernel\":6}}\n\
        {\"measure\":0,\"counts\":{\"monitor\":10,\"kernel\":20,\"ta\":30,\"normal\":40,\"client\":50},\"masked\":7}\n";

    fn line(name: &str, ns: u64) -> String {
        format!("{{\"bench\":\"{name}\",\"iterations\":10,\"ns\":{ns}}}")
    }

    #[test]
    fn counts_are_for_one_iteration() {
        let late = "{\"lateness\":\"idle\",\"sleeps\":9,\"median_ns\":1,\"worst_ns\":2}";
        let fact = "{\"fact\":\"secure_free\",\"figure\":77}";
        let lines = [fact, &line("ta_invoke", 160), late, "{\"done\":3}"].map(str::to_owned);
        let told = pair(COUNTS, &lines).unwrap();
        assert_eq!((told.boot[1], told.secure_free), (6, 77));
        let measure = &told.measures[0];
        assert_eq!((measure.secure(), measure.all()), (6, 15));
        assert_eq!(measure.masked, 7);
        assert_eq!((told.lateness[0].sleeps, told.lateness[0].worst_ns), (9, 2));
    }

    #[test]
    fn a_measure_that_one_side_lacks_is_an_error() {
        assert!(pair(COUNTS, &[]).is_err());
        assert!(pair(COUNTS, &[line("a", 160), line("b", 160)]).is_err());
    }

    #[test]
    fn counts_that_contradict_the_clock_are_an_error() {
        assert!(pair(COUNTS, &[line("a", 150 + MAX_DIFFERENCE)]).is_ok());
        assert!(pair(COUNTS, &[line("a", 151 + MAX_DIFFERENCE)]).is_err());
        let many = COUNTS.replace("10", "9000");
        assert!(pair(&many, &[line("a", 160)]).is_err());
    }
}
