//! The account as OpenMetrics text, asked for piece by piece.
//!
//! **Invariant:** the secure world takes no memory for it beyond the calls' own; no TA is entered.

use alloc::string::String;
use alloc::vec::Vec;

use tally_abi::TeeUuid;
use tally_metrics::figures::{Figures, Site, write};
use tally_metrics::naming;
use tally_metrics::text::{Label, Text};
use tally_records::{SiteRow, TaDetail};
use teec::Context;

use crate::Names;
use crate::client::inspect::{Subject, tas};
use crate::client::{self, ClientError};
use crate::frames::{KernelNames, name_frames};
use crate::server::Labels;

/// All figures of this moment; `labels` are on every sample.
///
/// # Errors
/// [`ClientError`]: nothing is told if anything is missing, but for call sites of a TA that ended or
/// whose heap cannot be read, which `tally_pool_inconsistent` tells.
pub fn metrics(
    context: &Context<'_>,
    names: &dyn Names,
    labels: &Labels,
) -> Result<String, ClientError> {
    let (seconds, millis) = client::times(context)?.tee;
    let threads = client::threads(context)?;
    let meminfo = client::meminfo(context)?;
    let pools = client::pools(context)?;
    let owners = client::owners(context)?;
    let tas = tas(context, &Subject::NOBODY)?;
    let sites = sites(context, names, &tas)?;
    let figures = Figures {
        uptime_ms: u64::from(seconds) * 1000 + u64::from(millis),
        secure_ram: client::secure_ram(context)?,
        threads: Some(threads),
        meminfo: &meminfo,
        pools: &pools,
        owners: &owners,
        tas: &tas,
        sites: &sites,
    };
    let labels: Vec<Label<'_>> = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    let mut out = String::new();
    let mut text = Text::new(&mut out, &labels);
    // Writing to a string does not fail.
    let _ = write(&mut text, &figures, &Known(names)).and_then(|()| text.end());
    Ok(out)
}

struct Known<'a>(&'a dyn Names);

impl naming::Names for Known<'_> {
    fn name_of(&self, uuid: TeeUuid) -> Option<String> {
        self.0.name_of(uuid)
    }
}

/// Call sites of the kernel heap and of every TA's.
fn sites(
    context: &Context<'_>,
    names: &dyn Names,
    tas: &[TaDetail],
) -> Result<Vec<Site>, ClientError> {
    let mut rows = client::pools::sites(context, &Subject::NOBODY)?;
    for ta in tas {
        match client::pools::sites(context, &Subject::instance(ta.uuid, ta.instance)) {
            Ok(of_ta) => rows.extend(of_ta),
            Err(ClientError::Invoke(..)) => {}
            Err(error) => return Err(error),
        }
    }
    let mut kernel = KernelNames::new(context);
    Ok(rows
        .iter()
        .map(|row| site(row, name_frames(&mut kernel, names, row.pool, &row.frames)))
        .collect())
}

/// A call site by the innermost of its names that is not the way into the allocator.
fn site(row: &SiteRow, names: Vec<String>) -> Site {
    let name = names.into_iter().next();
    let name = name.unwrap_or_else(|| String::from("no call stack"));
    // "function file:line", or what has no place.
    let (function, place) = match name.rsplit_once(' ') {
        Some((function, place)) if place.contains(':') => (function, place),
        _ => (name.as_str(), ""),
    };
    Site {
        pool: row.pool,
        function: function.into(),
        place: place.into(),
        live_bytes: row.live_bytes,
        live_blocks: row.live_blocks,
        allocations: row.is_counted().then_some(row.allocations),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_split_into_function_and_place() {
        let split = |name: &str| {
            let site = site(&SiteRow::default(), Vec::from([String::from(name)]));
            (site.function, site.place)
        };
        let pair = |function: &str, place: &str| (String::from(function), String::from(place));
        assert_eq!(split("new a/b.rs:7"), pair("new", "a/b.rs:7"));
        assert_eq!(split("<A as B>::c a.rs:7"), pair("<A as B>::c", "a.rs:7"));
        assert_eq!(split("kernel+0x10"), pair("kernel+0x10", ""));
        let none = site(&SiteRow::default(), Vec::new());
        assert_eq!(none.function, "no call stack");
    }
}
