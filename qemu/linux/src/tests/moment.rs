//! Accounts that add up while TAs come and go on every CPU.
//!
//! **Invariant:** when a test ends no child of it is left.

use std::process::Child;

use ta_uuids::heap;
use tally_insight::snapshot::Snapshot;
use tally_records::{MeminfoRow, Selector};
use teec::Context;
use teestat::client;

use super::serve;
use crate::bench::{self, Outcome, equal};

/// How often the kernel is asked.
const TIMES: u32 = 1000;
/// How often the server is, unless at length: an answer takes half a second under this load.
const SCRAPES: u32 = 50;
/// Bytes of a page.
const PAGE: u64 = 4096;
/// Processes that load a TA again and again.
const LOADERS: usize = 3;

/// Asks again and again while TAs are loaded on all CPUs; each answer has to add up.
fn always(times: u32, mut ask: impl FnMut() -> Outcome) -> Outcome {
    let loaders = (0..LOADERS).map(|_| bench::child("reload"));
    let loaders: Vec<Child> = loaders.collect::<Result<_, _>>()?;
    let result = (1..=times).try_for_each(|n| {
        // Some of them take a second each, and whoever is silent for a minute is taken for dead.
        if n % (times / 20).clamp(5, 50) == 0 {
            println!("   {n} of {times}");
        }
        ask().map_err(|why| format!("{n} of {times}: {why}"))
    });
    let ended = loaders.into_iter().try_for_each(bench::finish);
    result.and(ended)
}

/// What a client of the account says it could not do.
fn said(what: &str) -> impl Fn(client::ClientError) -> String {
    move |error| format!("{what}: {error}")
}

pub(super) fn meminfo_adds_up() -> Outcome {
    let transport = bench::connect()?;
    let context = Context::new(&transport);
    let secure_ram = client::secure_ram(&context).map_err(said("secure RAM"))?;
    always(TIMES, || {
        let rows = client::rows::<MeminfoRow>(&context, &Selector::ALL);
        let rows = rows.map_err(said("meminfo"))?;
        equal(
            rows.iter().map(|row| row.bytes).sum(),
            secure_ram,
            "meminfo",
        )
    })
}

pub(super) fn metrics_add_up() -> Outcome {
    scraped(SCRAPES)
}

pub(super) fn metrics_add_up_at_length() -> Outcome {
    scraped(TIMES)
}

fn scraped(times: u32) -> Outcome {
    serve::while_serving(|| {
        always(times, || {
            let (_, metrics) = serve::answer("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            let uses = serve::uses(&metrics)?;
            let sum: u64 = uses.iter().map(|(_, bytes)| bytes).sum();
            equal(sum, serve::secure_ram(&metrics)?, "metrics")
        })
    })
}

pub(super) fn snapshots_add_up() -> Outcome {
    let transport = bench::connect()?;
    let context = Context::new(&transport);
    // It stays; those that are loaded and unloaded have pages before they have regions, and after.
    let session = bench::open(&context, heap::UUID)?;
    always(TIMES, || {
        let (number, _) = client::take_snapshot(&context).map_err(said("snapshot"))?;
        let mut file = Vec::new();
        let read = client::read_snapshot(&context, number, |piece| {
            file.extend_from_slice(piece);
            true
        });
        client::drop_snapshot(&context, number).map_err(said("dropping"))?;
        read.map_err(said("reading"))?;
        let snapshot = Snapshot::parse(&file).map_err(|why| format!("{why}"))?;
        adds_up(&snapshot)
    })?;
    session.close().map_err(|error| format!("close: {error}"))
}

/// Uses, owners and TAs of a snapshot say the same.
fn adds_up(snapshot: &Snapshot) -> Outcome {
    equal(snapshot.header.dropped, 0, "records without room")?;
    equal(snapshot.meminfo_sum(), snapshot.header.secure_ram, "uses")?;
    let pages: u64 = snapshot.meminfo.iter().map(|row| row.pages).sum();
    let free = snapshot.meminfo.first().map_or(0, |row| row.pages);
    let owned = snapshot.owners.iter().map(|row| u64::from(row.pages));
    equal(
        free + owned.sum::<u64>(),
        pages,
        "pages of owners and free ones",
    )?;
    for ta in &snapshot.tas {
        let instances = snapshot.tas.iter().filter(|other| other.uuid == ta.uuid);
        let by_region: u64 = instances.map(|ta| ta.uss + ta.tables).sum();
        let owned = snapshot.owners.iter().filter(|row| row.uuid == ta.uuid);
        let owned: u64 = owned.map(|row| u64::from(row.pages) * PAGE).sum();
        if ta.uuid == heap::UUID || by_region > owned {
            equal(by_region, owned, "bytes of a TA by region and by owner")?;
        }
    }
    Ok(())
}
