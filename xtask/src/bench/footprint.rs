//! Cost of bookkeeping for a block, a heap and the secure memory; bytes lost in fragments.
//!
//! **Invariant:** heaps' figures come from pools that are made here as a TA makes its own, and are the same
//! there, as a pool's layout is; the secure memory's are the guest's own, from `teestat meminfo`.

use crate::images::Images;
use crate::qemu::{Ending, Run};
use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tally_ledger::footprint::{footprint, most_live, phases, smallest_body};
use tally_ledger::{Config, Strategy};

/// Bytes of the heaps that are filled.
const HEAP_BYTES: usize = 1 << 20;
/// Names, and sizes of blocks in turn.
const MIXES: [(&str, &[usize]); 5] = [
    ("16", &[16]),
    ("64", &[64]),
    ("256", &[256]),
    ("4096", &[4096]),
    (
        "mixed",
        &[
            16, 24, 40, 16, 64, 100, 32, 16, 256, 48, 16, 200, 24, 600, 16, 1500,
        ],
    ),
];
/// What runs in the guest when the secure memory is asked about: two TAs, of which one holds 100,000 bytes.
const GUEST: &str = "open hello; open heap; invoke 2 alloc 100000; teestat --json meminfo";
/// OP-TEE's debug heap keeps at least so many bytes a block.
const OPTEE_BLOCK: f64 = 36.0;
/// Phases, and steps of each, of the program whose heap is made as small as it can be.
const PHASES: (usize, usize) = (8, 1500);
/// To so many bytes.
const STEP: usize = 1024;
const STRATEGIES: [(&str, Strategy); 3] = [
    ("default", Strategy::Segregated),
    ("first_fit", Strategy::FirstFit),
    ("best_fit", Strategy::BestFit),
];
/// Most that is wanted.
const BLOCK_LIMIT: f64 = 16.0;
const TABLES_LIMIT: f64 = 1.0;

/// A heap full of blocks.
struct Mix {
    name: &'static str,
    /// Bytes of records for a block.
    block: f64,
    /// Tables that grow with the heap, in % of it.
    tables: f64,
}

/// All of it.
pub(super) struct Footprint {
    mixes: Vec<Mix>,
    /// Bytes of tables of which a heap has one each, however large it is.
    fixed: usize,
    /// Tables for all pages and heaps in the guest: bytes, and % of the secure memory.
    secure: (u64, f64),
    /// Most bytes that the program in phases has live.
    live: usize,
    /// Bytes of the smallest pools that serve it, in the order of [`STRATEGIES`].
    smallest: Vec<usize>,
}

impl Footprint {
    /// Makes the pools, and runs the guest.
    pub(super) fn measure(images: &Images, silence: Duration) -> Result<Self> {
        let config = Config::TA;
        let fixed = tally_ledger::fixed_metadata_bytes(&config);
        let mut mixes = Vec::new();
        for (name, sizes) in MIXES {
            let stats = footprint(HEAP_BYTES, &config, sizes).context("no such pool")?;
            mixes.push(Mix {
                name,
                block: stats.records as f64 / stats.live_blocks.max(1) as f64,
                tables: (stats.tables as f64 - fixed as f64) * 100.0 / stats.committed as f64,
            });
        }
        let trace = phases(PHASES.0, PHASES.1);
        let smallest = STRATEGIES.map(|(name, strategy)| {
            let config = Config { strategy, ..config };
            smallest_body(&trace, &config, STEP)
                .with_context(|| format!("no pool by {name} serves the program in phases"))
        });
        Ok(Self {
            mixes,
            fixed,
            secure: in_guest(images, silence)?,
            live: most_live(&trace),
            smallest: smallest.into_iter().collect::<Result<_>>()?,
        })
    }

    /// For the JSON object.
    pub(super) fn object(&self) -> Value {
        let blocks: Map<String, Value> = self
            .mixes
            .iter()
            .map(|mix| (mix.name.into(), json!(round(mix.block))))
            .collect();
        let tables = self.mixes.iter().map(|mix| mix.tables).fold(0.0, f64::max);
        json!({
            "bytes_a_block": blocks,
            "heap_tables_percent": round(tables),
            "heap_tables_fixed": self.fixed,
            "secure_tables": self.secure.0,
            "secure_tables_percent": self.secure.1,
            "phases_live": self.live,
            "phases_smallest_pool": self.pools().collect::<Map<_, _>>(),
        })
    }

    fn pools(&self) -> impl Iterator<Item = (String, Value)> {
        let named = STRATEGIES.iter().zip(&self.smallest);
        named.map(|((name, _), bytes)| ((*name).to_owned(), json!(bytes)))
    }

    pub(super) fn print(&self) {
        anstream::println!();
        let fact = |name: &str, ours: String, limit: String| {
            anstream::println!("{name:<50}{ours:>12}{limit:>26}");
        };
        fact("bookkeeping", String::new(), "at most (OP-TEE)".to_owned());
        for mix in &self.mixes {
            let name = match mix.name {
                "mixed" => "records of a block, mixed sizes (bytes)".to_owned(),
                size => format!("records of a block of {size} (bytes)"),
            };
            fact(
                &name,
                format!("{:.2}", mix.block),
                format!("{BLOCK_LIMIT} ({OPTEE_BLOCK})"),
            );
        }
        let most = self.mixes.iter().map(|mix| mix.tables).fold(0.0, f64::max);
        fact(
            "tables of a heap that grow with it (%)",
            format!("{most:.2}"),
            format!("{TABLES_LIMIT}"),
        );
        fact(
            "tables of a TA's heap besides (bytes)",
            crate::ui::thousands(self.fixed as u64),
            String::new(),
        );
        fact(
            "tables for pages and heaps, of secure RAM (%)",
            format!("{:.2}", self.secure.1),
            format!("{TABLES_LIMIT}"),
        );
        anstream::println!();
        fact(
            "program in phases, most live (bytes)",
            crate::ui::thousands(self.live as u64),
            String::new(),
        );
        for ((name, _), &bytes) in STRATEGIES.iter().zip(&self.smallest) {
            let more = (bytes as f64 / self.live.max(1) as f64 - 1.0) * 100.0;
            fact(
                &format!("  smallest pool that serves it ({name})"),
                crate::ui::thousands(bytes as u64),
                format!("{more:.1} % more"),
            );
        }
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Tables for all pages and heaps while two TAs are loaded, as `meminfo` tells them.
fn in_guest(images: &Images, silence: Duration) -> Result<(u64, f64)> {
    let outcome = Run {
        cpus: 1,
        ..Run::captured(images, "bench-meminfo", GUEST, silence)
    }
    .start()?;
    if outcome.ending != Ending::Exit(0) {
        bail!(
            "meminfo ended with {:?}: {}",
            outcome.ending,
            outcome.normal
        );
    }
    told(&outcome.normal).context("meminfo does not tell of tables")
}

/// Bytes and percent of the tables in the line of JSON among `console`.
fn told(console: &str) -> Option<(u64, f64)> {
    let line = console.lines().find(|line| line.starts_with('{'))?;
    let tables = &serde_json::from_str::<Value>(line).ok()?["tables"];
    let bytes = tables["pages"].as_u64()? + tables["heaps"].as_u64()?;
    Some((bytes, tables["percent"].as_f64()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_from_among_other_lines() {
        let console = "handle 1 (session 1) of hello\n\
            {\"meminfo\":[],\"meminfo_sum\":0,\"tables\":{\"pages\":32768,\"heaps\":40000,\"percent\":0.43}}\n";
        assert_eq!(told(console), Some((72768, 0.43)));
        assert_eq!(told("{\"meminfo\":[]}\n"), None);
    }

    #[test]
    fn every_mix_keeps_the_limits() {
        for (name, sizes) in MIXES {
            let stats = footprint(HEAP_BYTES, &Config::TA, sizes).unwrap();
            let each = stats.records as f64 / stats.live_blocks as f64;
            assert!(each <= BLOCK_LIMIT, "{name}: {each}");
        }
    }
}
