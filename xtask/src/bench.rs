//! `cargo xtask bench`.
//!
//! The guest executes the measures between markers and writes their names and iteration counts,
//! in the same order, to its results file; the TCG plugin `tools/insn-count` writes the counts.
//!
//! **Invariant:** figures are instructions under `-icount shift=0` on one CPU: the same sources
//! give the same figures on every machine. The names in the JSON object do not change.

mod against;
mod footprint;
mod heaps;
mod tracking;
mod waits;

use crate::images::{self, Config, Images};
use crate::qemu::{Ending, Run};
use crate::test::sources;
use crate::ui::thousands;
use crate::{linux, paths, setup, tool, ui};
use anyhow::{Context as _, Result, bail, ensure};
use footprint::Footprint;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use waits::Wait;

/// How to report.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Show what changed since a run whose JSON object is in FILE
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    against: Option<PathBuf>,
    /// Measure calls of a process in Debian's Linux
    #[arg(long, conflicts_with_all = ["only", "against"])]
    linux: bool,
    /// Measure Debian's OP-TEE beside this kernel: the same TF-A, Linux, client and TAs
    #[arg(long, conflicts_with_all = ["only", "against", "linux", "heaps"])]
    peer: bool,
    /// Compare the ledger's heap with other allocators, on this machine under callgrind
    #[arg(long, conflicts_with_all = ["only", "against", "linux"])]
    heaps: bool,
    /// End a guest that has been silent for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Only the measures whose names contain this
    #[arg(value_name = "NAME", default_value = "")]
    only: String,
}

/// Figures of OP-TEE 4.10, of its TAs' own heap: release build, same QEMU, same CPU model. Its calls are measured beside ours by
/// `bench --peer`.
const OPTEE: &[(&str, f64)] = &[
    ("heap_pair 10", 434.0),
    ("heap_pair 100", 989.0),
    ("heap_pair 1000", 5_947.0),
    ("heap_pair 10000", 9_686.0),
];

const WORLDS: [&str; 4] = ["monitor", "kernel", "ta", "normal"];

/// Instructions by world, in the order of [`WORLDS`].
type Counts = [u64; 4];

/// One measure: what the guest called it, and counts for one iteration.
#[derive(Clone, Debug, PartialEq)]
struct Measure {
    name: String,
    strategy: Option<String>,
    live: Option<u64>,
    iterations: u64,
    counts: Counts,
}

impl Measure {
    fn each(&self, world: usize) -> u64 {
        let n = self.iterations.max(1);
        (self.counts[world] + n / 2) / n
    }

    fn secure(&self) -> u64 {
        self.each(1) + self.each(2)
    }

    fn label(&self) -> String {
        match self.live {
            Some(live) => format!("{} {live}", self.name),
            None => self.name.clone(),
        }
    }
}

/// Measures and prints.
pub(crate) fn run(args: &Args) -> Result<u8> {
    if args.heaps {
        return heaps::run(args.json);
    }
    if args.peer {
        return linux::peer::run(Duration::from_secs(args.timeout), args.json);
    }
    let before = args.against.as_deref().map(against::read).transpose()?;
    sources::holds(
        &sources::tables("qemu/ree/src", "MEASURES")?,
        &args.only,
        "measure",
    )?;
    setup::ensure(setup::Part::Qemu)?;
    let images = images::build(&Config::default())?;
    let silence = Duration::from_secs(args.timeout);
    if args.linux {
        return linux::bench::run(&images, silence, args.json);
    }
    let plugin = plugin()?;
    let (boot, measures, waits) = measure(&images, &plugin, silence, &args.only)?;
    let facts = Facts::of(&images, boot, silence)?;
    let footprint = Footprint::measure(&images, silence)?;
    let mut object = object(&facts, &measures, &waits);
    object["tracking_percent"] = tracking::object(&measures);
    object["bookkeeping"] = footprint.object();
    if args.json {
        anstream::println!("{object}");
    } else {
        print_table(&facts, &measures);
        tracking::print(&measures);
        waits::print(&waits);
        footprint.print();
        if let Some(before) = before {
            against::print(&before, &object, !args.only.is_empty());
        }
    }
    let too_long = waits::too_long(&waits);
    ensure!(
        too_long.is_empty(),
        "interrupts wait too long: {}",
        too_long.join(", ")
    );
    Ok(0)
}

/// What is not a measure of the guest.
struct Facts {
    boot: Counts,
    kernel_image: u64,
    kernel_sites: u64,
    kernel_ram: u64,
    monitor_image: u64,
    archive: u64,
    to_shell: Option<Duration>,
}

impl Facts {
    fn of(images: &Images, boot: Counts, silence: Duration) -> Result<Self> {
        ui::step("Measuring", "host time to the shell");
        let outcome = Run::captured(images, "bench-shell", "help", silence).start()?;
        Ok(Self {
            boot,
            kernel_image: (images.kernel_raw_len - images.kernel_sites_len) as u64,
            kernel_sites: images.kernel_sites_len as u64,
            kernel_ram: images.kernel.mem_len(),
            monitor_image: images.monitor.flatten()?.len() as u64,
            archive: images.archive.bytes.len() as u64,
            to_shell: outcome.first_output,
        })
    }
}

/// A nanosecond an instruction.
pub(crate) const ICOUNT: &str = "shift=0";

/// With `-icount` time is a function of instructions; the seed fixes what RNDR returns, and the clock
/// what time it is.
pub(crate) const DETERMINISTIC: [&str; 8] = [
    "-accel",
    "tcg,thread=single",
    "-icount",
    ICOUNT,
    "-seed",
    "1",
    "-rtc",
    "base=2026-01-01T00:00:00,clock=vm",
];

/// [`DETERMINISTIC`] where somebody sleeps: an idle CPU jumps to the next timer, else it waits for the host's clock.
pub(crate) fn deterministic_with_timers() -> Vec<String> {
    let words = DETERMINISTIC.map(|word| match word {
        ICOUNT => format!("{word},sleep=off"),
        word => word.to_owned(),
    });
    words.to_vec()
}

/// Builds the plugin.
pub(crate) fn plugin() -> Result<PathBuf> {
    let version = tool::output(std::process::Command::new(setup::QEMU).arg("--version"))?;
    let major: u32 = version
        .split_whitespace()
        .find_map(|word| word.split_once('.')?.0.parse().ok())
        .with_context(|| format!("cannot read QEMU's version from: {version}"))?;
    let mut cargo = tool::cargo();
    cargo.args(["build", "--quiet", "-p", "insn-count"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    if major >= 9 {
        cargo.args(["--features", "insn-count/qemu-10"]);
    }
    for line in tool::output(&mut cargo)?.lines() {
        let message: Value = serde_json::from_str(line).unwrap_or_default();
        if message["target"]["name"] == "insn_count"
            && let Some(file) = message["filenames"][0].as_str()
        {
            return Ok(file.into());
        }
    }
    bail!("cargo built no plugin")
}

fn measure(
    images: &Images,
    plugin: &Path,
    silence: Duration,
    only: &str,
) -> Result<(Counts, Vec<Measure>, Vec<Wait>)> {
    ui::step(
        "Measuring",
        "instructions in QEMU, one CPU, -icount shift=0",
    );
    let out = paths::out();
    let counts = out.join("insn-count.jsonl");
    // Counts of an earlier run must not speak for this one.
    let _ = std::fs::remove_file(&counts);
    let plugin = format!("{},out={}", plugin.display(), counts.display());
    let mut extra = DETERMINISTIC.map(str::to_owned).to_vec();
    extra.extend(["-plugin".to_owned(), plugin]);
    let command = format!("bench {only}");
    let outcome = Run {
        cpus: 1,
        extra,
        ..Run::captured(images, "bench", command.trim_end(), silence)
    }
    .start()?;
    if outcome.ending != Ending::Exit(0) {
        let trouble = outcome.trouble(images).unwrap_or(outcome.normal.clone());
        bail!("a measure failed: {}", trouble.trim_end());
    }
    let counts = std::fs::read_to_string(&counts).context("the plugin wrote no counts")?;
    pair(&counts, &outcome.results)
}

/// Puts the plugin's counts and the guest's names together.
fn pair(counts: &str, results: &str) -> Result<(Counts, Vec<Measure>, Vec<Wait>)> {
    let parse = |text: &str| -> Result<Vec<Value>> {
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")))
            .collect()
    };
    let read = |value: &Value| -> Counts { WORLDS.map(|w| value[w].as_u64().unwrap_or(0)) };
    let mut boot = None;
    let mut measured: Vec<(Counts, u64)> = Vec::new();
    for line in parse(counts)? {
        if line["boot"].is_object() {
            boot = Some(read(&line["boot"]));
        } else if line["measure"].is_u64() {
            let masked = line["masked"].as_u64().unwrap_or(0);
            measured.push((read(&line["counts"]), masked));
        } else if let Some(n) = line["overhead"].as_u64() {
            // The loop around what is measured, measured by itself.
            let whole = usize::try_from(n).ok().and_then(|n| measured.get_mut(n));
            let whole = whole.context("the plugin counted the overhead of nothing")?;
            for (count, off) in whole.0.iter_mut().zip(read(&line["counts"])) {
                *count = count.saturating_sub(off);
            }
        }
    }
    let names: Vec<Value> = parse(results)?
        .into_iter()
        .filter(|line| line["bench"].is_string() || line["wait"].is_string())
        .collect();
    ensure!(
        names.len() == measured.len(),
        "the guest names {} measures, the plugin counted {}",
        names.len(),
        measured.len()
    );
    let mut measures = Vec::new();
    let mut waits = Vec::new();
    for (name, (counts, masked)) in names.iter().zip(measured) {
        if let Some(wait) = name["wait"].as_str() {
            let micros = name["micros"].as_u64().unwrap_or(0);
            waits::add(&mut waits, wait, micros, masked);
        } else {
            measures.push(Measure {
                name: name["bench"].as_str().unwrap_or_default().to_owned(),
                strategy: name["strategy"].as_str().map(str::to_owned),
                live: name["live"].as_u64(),
                iterations: name["iterations"].as_u64().unwrap_or(1),
                counts,
            });
        }
    }
    subtract_call(&mut measures);
    Ok((
        boot.context("the normal world was never reached")?,
        measures,
        waits,
    ))
}

/// The guest measures calls with a memory reference; the figure is what the reference adds to a
/// call.
fn subtract_call(measures: &mut [Measure]) {
    let Some(call) = measures
        .iter()
        .find(|measure| measure.name == "ta_invoke")
        .cloned()
    else {
        return;
    };
    for measure in measures
        .iter_mut()
        .filter(|measure| measure.name == "memref_1m")
    {
        let n = measure.iterations;
        for (world, count) in measure.counts.iter_mut().enumerate() {
            *count = count.saturating_sub(call.each(world) * n);
        }
    }
}

fn object(facts: &Facts, measures: &[Measure], waits: &[Wait]) -> Value {
    let mut object = Map::new();
    let mut heap = Map::new();
    for measure in measures {
        if let Some(live) = measure.live {
            let strategy = measure.strategy.clone().unwrap_or_else(|| "default".into());
            let by_live = heap.entry(strategy).or_insert_with(|| json!({}));
            by_live[live.to_string()] = json!({"kernel": measure.each(1), "ta": measure.each(2)});
        } else {
            let worlds: Map<String, Value> = WORLDS
                .iter()
                .enumerate()
                .map(|(n, world)| ((*world).to_owned(), json!(measure.each(n))))
                .collect();
            object.insert(measure.name.clone(), Value::Object(worlds));
        }
    }
    object.insert("heap_pair".into(), Value::Object(heap));
    object.insert("longest_wait_us".into(), waits::micros(waits));
    object.insert("longest_masked_ns".into(), waits::masked(waits));
    object.insert(
        "boot".into(),
        json!({"monitor": facts.boot[0], "kernel": facts.boot[1]}),
    );
    object.insert(
        "image".into(),
        json!({
            "kernel": facts.kernel_image,
            "kernel_sites": facts.kernel_sites,
            "monitor": facts.monitor_image,
            "ta_archive": facts.archive,
        }),
    );
    object.insert("ram".into(), json!({"kernel_static": facts.kernel_ram}));
    Value::Object(object)
}

fn print_table(facts: &Facts, measures: &[Measure]) {
    let line = |cells: [String; 8]| {
        let [name, rest @ ..] = cells;
        let rest: String = rest.iter().map(|cell| format!("{cell:>12}")).collect();
        anstream::println!("{name:<26}{rest}");
    };
    line(
        [
            "",
            "monitor",
            "kernel",
            "TA",
            "normal",
            "secure OS",
            "OP-TEE",
            "of OP-TEE",
        ]
        .map(str::to_owned),
    );
    let ratio = |ours: u64, theirs: Option<f64>| {
        theirs.map_or(String::new(), |theirs| {
            format!("{:.1} %", ours as f64 * 100.0 / theirs)
        })
    };
    for measure in measures {
        let theirs = OPTEE
            .iter()
            .find(|(name, _)| *name == measure.label())
            .map(|(_, n)| *n);
        let name = match &measure.strategy {
            Some(strategy) => format!("{} ({strategy})", measure.label()),
            None => measure.label(),
        };
        line([
            name,
            thousands(measure.each(0)),
            thousands(measure.each(1)),
            thousands(measure.each(2)),
            thousands(measure.each(3)),
            thousands(measure.secure()),
            theirs.map_or(String::new(), |n| thousands(n as u64)),
            ratio(measure.secure(), theirs),
        ]);
    }
    anstream::println!();
    let fact = |name: &str, figure: u64| {
        anstream::println!("{name:<50}{:>12}", thousands(figure));
    };
    fact("kernel's own start (instructions)", facts.boot[1]);
    fact("firmware's own start (instructions)", facts.boot[0]);
    fact("kernel's raw image (bytes)", facts.kernel_image);
    fact("  its table of call sites (bytes)", facts.kernel_sites);
    fact(
        "kernel's image in memory, stacks included (bytes)",
        facts.kernel_ram,
    );
    fact("firmware's raw image (bytes)", facts.monitor_image);
    fact("TA archive (bytes)", facts.archive);
    if let Some(time) = facts.to_shell {
        anstream::println!(
            "{:<50}{:>10.2} s",
            "host time from reset to the shell",
            time.as_secs_f64()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: &str = "{\"boot\":{\"monitor\":5,\"kernel\":6,\"ta\":0,\"normal\":0}}\n\
        {\"measure\":0,\"counts\":{\"monitor\":10,\"kernel\":20,\"ta\":0,\"normal\":40}}\n\
        {\"measure\":1,\"counts\":{\"monitor\":0,\"kernel\":9,\"ta\":360,\"normal\":0}}\n\
        {\"overhead\":1,\"counts\":{\"monitor\":0,\"kernel\":0,\"ta\":60,\"normal\":0}}\n";

    #[test]
    fn counts_and_names_pair_up_in_order() {
        let names = "{\"bench\":\"pta_invoke\",\"iterations\":10}\n\
            {\"bench\":\"heap_pair\",\"iterations\":3,\"strategy\":\"slabs\",\"live\":10}\n";
        let (boot, measures, _) = pair(COUNTS, names).unwrap();
        assert_eq!(boot, [5, 6, 0, 0]);
        assert_eq!((measures[0].each(0), measures[0].each(3)), (1, 4));
        assert_eq!(
            (measures[1].secure(), measures[1].label()),
            (103, "heap_pair 10".into())
        );
    }

    #[test]
    fn a_wait_is_named_by_the_guest_and_counted_by_the_plugin() {
        let counts = "{\"boot\":{\"monitor\":5}}\n\
            {\"measure\":0,\"counts\":{\"monitor\":1},\"masked\":70}\n\
            {\"measure\":1,\"counts\":{\"monitor\":1},\"masked\":101000}\n\
            {\"measure\":2,\"counts\":{\"monitor\":1},\"masked\":9}\n";
        let names = "{\"wait\":\"teestat pools\",\"micros\":7}\n\
            {\"wait\":\"open\",\"micros\":9}\n{\"wait\":\"open\",\"micros\":99}\n";
        let (_, _, waits) = pair(counts, names).unwrap();
        assert_eq!(waits::micros(&waits), json!({"pools": 7, "open": 99}));
        assert_eq!(waits::masked(&waits), json!({"pools": 70, "open": 101_000}));
        assert_eq!(waits::too_long(&waits), ["open (101 us)"]);
    }

    #[test]
    fn memory_reference_is_what_it_adds_to_a_call() {
        let measure = |name: &str, iterations, counts| Measure {
            name: name.into(),
            strategy: None,
            live: None,
            iterations,
            counts,
        };
        let mut measures = [
            measure("ta_invoke", 10, [10, 20, 30, 40]),
            measure("memref_1m", 2, [2, 204, 6, 9]),
        ];
        subtract_call(&mut measures);
        assert_eq!(measures[1].counts, [0, 200, 0, 1]);
    }

    /// The machine was built and started first, and the reason stood behind `Exit(1)`.
    #[test]
    fn a_measure_that_is_none_is_told_at_once() {
        let args = Args {
            json: false,
            against: None,
            linux: false,
            peer: false,
            heaps: false,
            timeout: 1,
            only: "nosuch".to_owned(),
        };
        let why = format!("{:#}", run(&args).unwrap_err());
        assert!(
            why.starts_with("no measure has `nosuch` in its name; there are pta_invoke, "),
            "{why}"
        );
    }

    #[test]
    fn missing_name_is_an_error() {
        assert!(pair(COUNTS, "{\"bench\":\"a\",\"iterations\":1}\n").is_err());
    }
}
