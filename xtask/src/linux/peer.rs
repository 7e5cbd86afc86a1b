//! `cargo xtask bench --peer`: Tally beside OP-TEE as Debian built it, under one TF-A, with one Linux, client and TAs.
//!
//! **Invariant:** both columns come from one run of this command; a row is there only if both did the same.

use super::bench::{Measure, Told, pair};
use super::kept::Kept;
use super::{Debian, Linux, prepare};
use crate::images::{self, Config, Images};
use crate::qemu::{Ending, Preloaded, Run};
use crate::tfa::Tfa;
use crate::ui::{self, thousands};
use crate::{bench, paths};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tally_board_virt::SECURE_RAM_BYTES;

/// Where OP-TEE for this machine lies among Debian's packages.
const OPTEE: &str = "usr/lib/optee/vexpress-qemu_armv8a";
/// Its images, as TF-A wants them; the last one is empty where nothing is paged.
const IMAGES: [&str; 3] = [
    "tee-header_v2.bin",
    "tee-pager_v2.bin",
    "tee-pageable_v2.bin",
];

/// What is compared of a secure world.
struct Side {
    name: String,
    told: Told,
    image_bytes: u64,
}

/// This kernel and Debian's, to be booted one after the other with one firmware and one Linux.
pub(crate) struct Pair {
    debian: Debian,
    /// With the key of Debian's TAs.
    pub(crate) images: Images,
    tfa: Tfa,
    linux: Linux,
    optee: Vec<Vec<u8>>,
}

impl Pair {
    /// Gets and builds all.
    ///
    /// # Errors
    /// [`super::Unreachable`] when Debian's packages cannot be had.
    pub(crate) fn build() -> Result<Self> {
        let debian = Debian::Trixie;
        let root = debian.unpacked()?;
        let tfa = Tfa::debian()?;
        let images = images::build(&Config {
            ta_key: debian.ta_key()?.into_iter().collect(),
            ..Config::default()
        })?;
        let linux = prepare(&images, debian)?;
        let optee = IMAGES.map(|name| root.join(OPTEE).join(name));
        let optee = optee.map(|path| {
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
        });
        Ok(Self {
            debian,
            images,
            tfa,
            linux,
            optee: optee.into_iter().collect::<Result<_>>()?,
        })
    }

    fn world<'p>(&'p self, secure: impl Iterator<Item = &'p [u8]>) -> Preloaded<'p> {
        Preloaded {
            tfa: &self.tfa,
            secure: secure.filter(|image| !image.is_empty()).collect(),
            linux: &self.linux,
        }
    }

    /// This kernel.
    pub(crate) fn ours(&self) -> Preloaded<'_> {
        self.world(std::iter::once(&self.images.kernel_raw.bytes[..]))
    }

    /// Debian's OP-TEE.
    pub(crate) fn theirs(&self) -> Preloaded<'_> {
        self.world(self.optee.iter().map(Vec::as_slice))
    }

    /// Has Linux keep these files of trusted storage, and tell them at its end.
    pub(crate) fn keep(&mut self, files: &Kept) -> Result<()> {
        self.linux.keep(files)
    }
}

/// Measures and prints.
pub(crate) fn run(silence: Duration, as_json: bool) -> Result<u8> {
    let both = Pair::build()?;
    let plugin = bench::plugin()?.display().to_string();
    let images = &both.images;
    let measure = |label: &str, worlds: &Preloaded<'_>| -> Result<Told> {
        measure(images, worlds, label, &plugin, silence)
    };
    let sides = [
        Side {
            name: "Tally".into(),
            told: measure("peer-tally", &both.ours())?,
            image_bytes: (images.kernel_raw_len - images.kernel_sites_len) as u64,
        },
        Side {
            name: format!("OP-TEE {}", both.debian.version_of("optee-os")?),
            image_bytes: both.optee.iter().map(|image| image.len() as u64).sum(),
            told: measure("peer-optee", &both.theirs())?,
        },
    ];
    let names = sides.each_ref().map(|side| {
        let measures = side.told.measures.iter();
        measures
            .map(|measure| measure.name.as_str())
            .collect::<Vec<_>>()
    });
    ensure!(names[0] == names[1], "the two sides measured {names:?}");
    if as_json {
        anstream::println!("{}", object(&sides));
    } else {
        anstream::print!("{}", table(&sides));
    }
    Ok(0)
}

fn measure(
    images: &Images,
    worlds: &Preloaded<'_>,
    label: &str,
    plugin: &str,
    silence: Duration,
) -> Result<Told> {
    ui::step(
        "Measuring",
        format_args!("{label}: instructions of Linux's calls, one CPU, -icount shift=0"),
    );
    let counts = paths::out().join(format!("{label}-insn-count.jsonl"));
    // Counts of an earlier run must not speak for this one.
    let _ = std::fs::remove_file(&counts);
    let mut extra = bench::deterministic_with_timers();
    let plugin = format!("{plugin},out={},linux=on", counts.display());
    extra.extend(["-plugin".to_owned(), plugin]);
    let command = "linux-tests peer /dev/vport0p1";
    let outcome = Run {
        cpus: 1,
        extra,
        ..Run::captured(images, label, command, silence)
    }
    .start_preloaded(worlds)?;
    if outcome.ending != Ending::Exit(0) {
        let trouble = outcome.trouble(images).unwrap_or(outcome.normal.clone());
        bail!("{label} ended with {:?}\n{trouble}", outcome.ending);
    }
    let counts = std::fs::read_to_string(&counts).context("the plugin wrote no counts")?;
    let lines: Vec<String> = outcome.results.lines().map(str::to_owned).collect();
    pair(&counts, &lines)
}

/// What stands beside the measures: its name, what it is for people, the figure of a side.
type Fact = (&'static str, &'static str, fn(&Side) -> u64);
const FACTS: [Fact; 3] = [
    (
        "start",
        "secure kernel, reset to Linux (instructions)",
        |side| side.told.boot[1],
    ),
    ("image", "kernel's raw image (bytes)", |side| {
        side.image_bytes
    }),
    ("kept", "secure RAM that TAs cannot have (bytes)", |side| {
        SECURE_RAM_BYTES - side.told.secure_free
    }),
];

fn object(sides: &[Side; 2]) -> Value {
    let mut object = Map::new();
    for side in sides {
        let measures = side.told.measures.iter().map(|measure| {
            let [firmware, kernel, ta, linux, client] =
                std::array::from_fn(|world| measure.each(world));
            let figures = json!({
                "firmware": firmware, "kernel": kernel, "ta": ta, "linux": linux, "client": client,
            });
            (measure.name.clone(), figures)
        });
        let facts = FACTS
            .iter()
            .map(|(key, _, of)| ((*key).to_owned(), json!(of(side))));
        let all: Map<String, Value> = measures.chain(facts).collect();
        object.insert(side.name.clone(), Value::Object(all));
    }
    Value::Object(object)
}

fn table(sides: &[Side; 2]) -> String {
    let row = |name: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>12}")).collect();
        format!("{}\n", format!("{name:<21}{cells}").trim_end())
    };
    let [ours, theirs] = sides;
    let mut out = format!("{:21}  {:<46}  {}\n", "", ours.name, theirs.name);
    let worlds = ["firmware", "kernel", "TA", "all worlds"].map(str::to_owned);
    let mut head = [&worlds[..], &worlds].concat();
    head.extend(["kernel, TA".to_owned(), "all worlds".to_owned()]);
    out += &row("", &head);
    for (ours, theirs) in ours.told.measures.iter().zip(&theirs.told.measures) {
        let figures = |measure: &Measure| {
            let all = [
                measure.each(0),
                measure.each(1),
                measure.each(2),
                measure.all(),
            ];
            all.map(thousands)
        };
        let mut cells = [figures(ours), figures(theirs)].concat();
        let secure = |measure: &Measure| measure.each(1) + measure.each(2);
        cells.push(percent(secure(ours), secure(theirs)));
        cells.push(percent(ours.all(), theirs.all()));
        out += &row(&ours.name, &cells);
    }
    out.push('\n');
    for (_, name, of) in FACTS {
        let [ours, theirs] = sides.each_ref().map(of);
        let cells = [thousands(ours), thousands(theirs), percent(ours, theirs)];
        out += &row(&format!("{name:<57}"), &cells);
    }
    out
}

fn percent(ours: u64, theirs: u64) -> String {
    format!("{:.1} %", ours as f64 * 100.0 / theirs.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::super::bench::pair;
    use super::{SECURE_RAM_BYTES, Side, object, table};
    use serde_json::json;

    /// One measure of ten calls, with these counts a call by world.
    fn side(name: &str, each: [u64; 5], image_bytes: u64) -> Side {
        let [monitor, kernel, ta, normal, client] = each.map(|count| 10 * count);
        let counts = json!({
            "monitor": monitor, "kernel": kernel, "ta": ta, "normal": normal, "client": client,
        });
        let boot = json!({ "boot": { "kernel": 3 * image_bytes } });
        let measure = json!({ "measure": 0, "counts": counts, "masked": 0 });
        let ns = 10 * each.iter().sum::<u64>();
        let lines = [
            json!({ "bench": "call", "iterations": 10, "ns": ns }),
            json!({ "fact": "secure_free", "figure": SECURE_RAM_BYTES - 5 * image_bytes }),
        ];
        let told = pair(
            &format!("{boot}\n{measure}\n"),
            &lines.map(|line| line.to_string()),
        );
        Side {
            name: name.to_owned(),
            told: told.unwrap(),
            image_bytes,
        }
    }

    #[test]
    fn each_figure_stands_below_its_side_and_percent_are_of_the_other() {
        let sides = [
            side("Ours", [1, 20, 300, 4000, 50_000], 300),
            side("Theirs", [10, 200, 440, 5000, 60_000], 200),
        ];
        let table = table(&sides);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[0].find("Theirs").zip(lines[0].find("Ours")),
            Some((71, 23))
        );
        let cells: Vec<&str> = lines[2].split_whitespace().collect();
        let expected = [
            "call", "1", "20", "300", "54,321", "10", "200", "440", "65,650",
        ];
        assert_eq!(cells[..9], expected);
        // 320 of 640, and 54,321 of 65,650.
        assert_eq!(cells[9..], ["50.0", "%", "82.7", "%"]);
        for (line, figures) in [(4, "900 600"), (5, "300 200"), (6, "1,500 1,000")] {
            let cells: Vec<&str> = lines[line].split_whitespace().rev().take(4).collect();
            assert_eq!(cells[..2], ["%", "150.0"]);
            assert_eq!(format!("{} {}", cells[3], cells[2]), figures);
        }
        let object = object(&sides);
        assert_eq!(object["Ours"]["call"]["ta"], 300);
        assert_eq!(object["Theirs"]["kept"], 1000);
    }
}
