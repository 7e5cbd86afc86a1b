//! `cargo xtask bench --linux`: what a call of a Linux process costs, by world.
//!
//! **Invariant:** as for the other measures: instructions under `-icount shift=0` on one CPU; names in
//! the JSON object do not change.
//! **Knows nothing of:** how the guest does the measures.

use super::prepare;
use crate::images::Images;
use crate::qemu::{Ending, Output, Run};
use crate::ui::{self, thousands};
use crate::{bench, paths};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};
use std::time::Duration;

const WORLDS: [&str; 5] = ["monitor", "kernel", "ta", "normal", "client"];

/// OP-TEE 4.10 on the same Linux, machine and CPU model: instructions in its kernel, its firmware and
/// its TA, and in all.
const OPTEE: &[(&str, u64, u64)] = &[
    ("pta_invoke", 8_900 + 950, 23_200),
    ("ta_invoke", 36_800, 51_400),
    ("ta_invoke_memref_4k", 61_900, 113_000),
    ("ta_open_close_loaded", 73_600, 101_700),
];
/// Its load of a TA of 32 KiB heap; there is no figure for all worlds.
const OPTEE_LOAD: (&str, u64) = ("ta_load", 37_600_000);
/// Its own start, and its raw image in bytes.
const OPTEE_BOOT: u64 = 6_500_000;
const OPTEE_IMAGE: u64 = 451_000;

type Counts = [u64; WORLDS.len()];

/// One measure: counts of all its iterations.
struct Measure {
    name: String,
    iterations: u64,
    counts: Counts,
}

impl Measure {
    fn each(&self, world: usize) -> u64 {
        let n = self.iterations.max(1);
        (self.counts[world] + n / 2) / n
    }

    /// Monitor, kernel and TA.
    fn secure(&self) -> u64 {
        (0..3).map(|world| self.each(world)).sum()
    }

    fn all(&self) -> u64 {
        (0..WORLDS.len()).map(|world| self.each(world)).sum()
    }

    fn optee(&self) -> (Option<u64>, Option<u64>) {
        if self.name == OPTEE_LOAD.0 {
            return (Some(OPTEE_LOAD.1), None);
        }
        let found = OPTEE.iter().find(|(name, ..)| *name == self.name);
        found.map_or((None, None), |&(_, secure, all)| (Some(secure), Some(all)))
    }
}

/// Measures and prints.
pub(crate) fn run(images: &Images, silence: Duration, as_json: bool) -> Result<u8> {
    let linux = prepare(images)?;
    let plugin = bench::plugin()?;
    ui::step(
        "Measuring",
        "instructions of Linux's calls, one CPU, -icount shift=0",
    );
    let counts = paths::out().join("linux-insn-count.jsonl");
    let results = paths::out().join("linux-bench.jsonl");
    let _ = std::fs::remove_file(&counts);
    let plugin = format!("{},out={},linux=on", plugin.display(), counts.display());
    let mut extra: Vec<String> = bench::DETERMINISTIC.map(str::to_owned).to_vec();
    extra.extend(["-plugin".to_owned(), plugin]);
    let outcome = Run {
        images,
        label: "linux-bench",
        command: Some("linux-tests bench /dev/vport0p1"),
        output: Output::Captured,
        secure_console: false,
        silence,
        results: Some(results.clone()),
        cpus: 1,
        extra,
    }
    .start_linux(&linux)?;
    if outcome.ending != Ending::Exit(0) {
        let trouble = outcome.trouble(images).unwrap_or(outcome.normal.clone());
        bail!("the bench run ended with {:?}\n{trouble}", outcome.ending);
    }
    let counts = std::fs::read_to_string(&counts).context("the plugin wrote no counts")?;
    let (boot, measures) = pair(&counts, &super::told(&results).0)?;
    let image = images.kernel_raw_len as u64;
    if as_json {
        anstream::println!("{}", object(&boot, &measures, image));
    } else {
        print(&boot, &measures, image);
    }
    Ok(0)
}

/// Puts the plugin's counts and the guest's names together.
fn pair(counts: &str, names: &[String]) -> Result<(Counts, Vec<Measure>)> {
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
            measured.push(read(&line["counts"]));
        }
    }
    let mut measures = Vec::new();
    for line in names {
        let line = parse(line)?;
        if let (Some(name), Some(iterations)) =
            (line["bench"].as_str(), line["iterations"].as_u64())
        {
            let counts = measured.get(measures.len()).copied();
            measures.push(Measure {
                name: name.to_owned(),
                iterations,
                counts: counts.with_context(|| format!("the plugin did not count {name}"))?,
            });
        }
    }
    ensure!(
        measures.len() == measured.len() && !measures.is_empty(),
        "the guest names {} measures, the plugin counted {}",
        measures.len(),
        measured.len()
    );
    Ok((boot.context("Linux was never reached")?, measures))
}

fn object(boot: &Counts, measures: &[Measure], image: u64) -> Value {
    let mut object = Map::new();
    for measure in measures {
        let worlds = WORLDS.iter().enumerate();
        let worlds: Map<String, Value> = worlds
            .map(|(n, world)| ((*world).to_owned(), json!(measure.each(n))))
            .collect();
        object.insert(measure.name.clone(), Value::Object(worlds));
    }
    object.insert(
        "boot".into(),
        json!({"monitor": boot[0], "kernel": boot[1]}),
    );
    object.insert("image".into(), json!({"kernel": image}));
    Value::Object(object)
}

fn print(boot: &Counts, measures: &[Measure], image: u64) {
    let line = |cells: [String; 10]| {
        let [name, rest @ ..] = cells;
        let rest: String = rest.iter().map(|cell| format!("{cell:>12}")).collect();
        anstream::println!("{name:<22}{rest}");
    };
    let head = [
        "", "monitor", "kernel", "TA", "Linux", "client", "secure", "OP-TEE", "all", "OP-TEE",
    ];
    line(head.map(str::to_owned));
    let or_none = |n: Option<u64>| n.map_or(String::new(), thousands);
    for measure in measures {
        let (secure, all) = measure.optee();
        line([
            measure.name.clone(),
            thousands(measure.each(0)),
            thousands(measure.each(1)),
            thousands(measure.each(2)),
            thousands(measure.each(3)),
            thousands(measure.each(4)),
            thousands(measure.secure()),
            or_none(secure),
            thousands(measure.all()),
            or_none(all),
        ]);
    }
    anstream::println!();
    for (name, ours, theirs) in [
        (
            "kernel's own start (instructions)",
            boot[1],
            Some(OPTEE_BOOT),
        ),
        ("firmware's own start (instructions)", boot[0], None),
        (
            "kernel's raw image with call sites (bytes)",
            image,
            Some(OPTEE_IMAGE),
        ),
    ] {
        anstream::println!("{name:<46}{:>12}{:>12}", thousands(ours), or_none(theirs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: &str = "{\"boot\":{\"monitor\":5,\"kernel\":6}}\n\
        {\"measure\":0,\"counts\":{\"monitor\":10,\"kernel\":20,\"ta\":30,\"normal\":40,\"client\":50}}\n";

    #[test]
    fn counts_are_for_one_iteration() {
        let names = [
            "{\"bench\":\"ta_invoke\",\"iterations\":10}".to_owned(),
            "{\"done\":1}".to_owned(),
        ];
        let (boot, measures) = pair(COUNTS, &names).unwrap();
        assert_eq!(boot[1], 6);
        assert_eq!((measures[0].secure(), measures[0].all()), (6, 15));
        assert_eq!(measures[0].optee(), (Some(36_800), Some(51_400)));
    }

    #[test]
    fn a_measure_that_one_side_lacks_is_an_error() {
        assert!(pair(COUNTS, &[]).is_err());
        let two = [
            "{\"bench\":\"a\",\"iterations\":1}".to_owned(),
            "{\"bench\":\"b\",\"iterations\":1}".to_owned(),
        ];
        assert!(pair(COUNTS, &two).is_err());
    }
}
