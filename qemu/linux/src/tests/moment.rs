//! Accounts that add up while TAs come and go on every CPU.
//!
//! **Invariant:** when a test ends no child of it is left.

use std::process::Child;

use serde_json::Value;
use teec::Context;

use super::serve;
use crate::account;
use crate::bench::{self, Outcome};

/// How often each is asked.
const TIMES: u32 = 1000;
/// Processes that load a TA again and again.
const LOADERS: usize = 3;

/// Runs `body` while TAs are loaded all the time.
fn under_load(body: impl FnOnce() -> Outcome) -> Outcome {
    let loaders = (0..LOADERS).map(|_| bench::child("reload"));
    let loaders: Vec<Child> = loaders.collect::<Result<_, _>>()?;
    let result = body();
    loaders.into_iter().try_for_each(bench::end)?;
    result
}

/// Asks again and again; each answer says what it sums up to beside what it must be.
fn always(what: &str, mut ask: impl FnMut() -> Result<(u64, u64), String>) -> Outcome {
    let (mut wrong, mut example) = (0, None);
    for _ in 0..TIMES {
        let (sum, all) = ask()?;
        if sum != all {
            wrong += 1;
            example = example.or(Some((sum, all)));
        }
    }
    println!("   {what}: {} of {TIMES} add up", TIMES - wrong);
    match example {
        Some((sum, all)) => Err(format!("{what}: {wrong} of {TIMES} do not add up, {sum} of {all} bytes")),
        None => Ok(()),
    }
}

pub(super) fn meminfo_adds_up() -> Outcome {
    let transport = bench::connect()?;
    let context = Context::new(&transport);
    under_load(|| {
        always("meminfo", || {
            let object = account::teestat(&context, "meminfo --all")?;
            let rows = object["rows"].as_array().ok_or("meminfo has no rows")?;
            let bytes = rows.iter().filter_map(|row| row["bytes"].as_u64());
            Ok((bytes.sum(), object["secure_ram"].as_u64().unwrap_or(0)))
        })
    })
}

pub(super) fn metrics_add_up() -> Outcome {
    serve::while_serving(|| {
        under_load(|| {
            always("metrics over HTTP", || {
                let metrics = serve::fetch("/metrics")?;
                let uses = serve::uses(&metrics)?;
                let sum = uses.iter().map(|(_, bytes)| bytes).sum();
                Ok((sum, serve::secure_ram(&metrics)?))
            })
        })
    })
}
