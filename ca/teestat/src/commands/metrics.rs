//! `metrics`: the account as OpenMetrics text; `serve`: the same for whoever scrapes it.
//!
//! **Invariant:** labels that families or scrapers use for something else are refused.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use tally_insight::answer;
use tally_insight::names::Names;
use tally_insight::openmetrics::{Figures, Label, Text, is_free_label, write};
use tally_insight::schema::{Answer, Schema};
use tally_records::{MeminfoRow, OwnerRow, PoolRow, Selector, TaDetail};
use teec::Context;

use super::{Command, Form, Nothing};
use crate::STATUS_OK;
use crate::client::{self, ClientError};
use crate::server::Labels;
use crate::tool::{Failure, Tool, usage};

/// Where figures are served, unless said otherwise: to this machine alone.
const LISTEN: &str = "127.0.0.1:9644";

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "metrics",
        forms: &[Form(
            "[--label NAME=VALUE]",
            "all figures as OpenMetrics text",
        )],
        run: |tool, words| tool.metrics(words),
    },
    Command {
        name: "serve",
        forms: &[Form(
            "[--listen ADDRESS:PORT] [--host NAME] [--label NAME=VALUE]",
            "the same over HTTP, at 127.0.0.1:9644/metrics (in Linux)",
        )],
        run: |tool, words| tool.serve(words),
    },
];

#[derive(Debug, Default, PartialEq, Eq)]
struct Options<'a> {
    listen: Option<&'a str>,
    hosts: Vec<&'a str>,
    labels: Vec<(String, String)>,
}

fn options<'a>(words: &[&'a str]) -> Result<Options<'a>, Failure> {
    let mut options = Options::default();
    let mut rest = words;
    loop {
        rest = match rest {
            [] => return Ok(options),
            ["--listen", listen, rest @ ..] if options.listen.is_none() => {
                options.listen = Some(listen);
                rest
            }
            ["--host", host, rest @ ..] => {
                options.hosts.push(host);
                rest
            }
            ["--label", label, rest @ ..] => {
                options.labels.push(free_label(label, &options.labels)?);
                rest
            }
            ["--listen"] => return Err(usage("which address and port?")),
            ["--host"] => return Err(usage("which name is this machine asked for by?")),
            ["--label"] => return Err(usage("which label? NAME=VALUE")),
            [word, ..] => return Err(usage(&format!("`{word}` is not understood here"))),
        };
    }
}

fn free_label(word: &str, others: &[(String, String)]) -> Result<(String, String), Failure> {
    let (name, value) = word
        .split_once('=')
        .ok_or_else(|| usage(&format!("`{word}` is no label: NAME=VALUE")))?;
    if !is_free_label(name) || others.iter().any(|(other, _)| other == name) {
        return Err(usage(&format!(
            "`{name}` cannot be a label's name, or is another one's"
        )));
    }
    Ok((name.into(), value.into()))
}

pub(super) const ANSWERS: &[Answer] =
    &[("metrics", Exposition::schema), ("serve", Nothing::schema)];

answer! {
    /// Text for programs that take JSON only.
    struct Exposition {
        openmetrics: String,
    }
}

/// All figures of this moment; `labels` are on every sample. The secure world takes no memory for
/// it beyond the calls' own, and no TA is entered.
///
/// # Errors
/// [`ClientError`]: nothing is told if anything is missing, but for call sites of a TA that ended
/// or whose heap cannot be read, which `tally_pool_inconsistent` tells.
pub fn metrics(
    context: &Context<'_>,
    names: &dyn Names,
    labels: &Labels,
) -> Result<String, ClientError> {
    let uptime_ms = client::times(context)?.tee.in_millis();
    let threads = client::threads(context)?;
    let meminfo = client::rows::<MeminfoRow>(context, &Selector::ALL)?;
    let pools = client::rows::<PoolRow>(context, &Selector::ALL)?;
    let owners = client::rows::<OwnerRow>(context, &Selector::ALL)?;
    let tas = client::rows::<TaDetail>(context, &Selector::TAS)?;
    let sites = client::pools::sites(context, &Selector::ALL)?;
    let figures = Figures {
        uptime_ms,
        secure_ram: client::secure_ram(context)?,
        threads: Some(threads),
        meminfo: &meminfo,
        pools: &pools,
        owners: &owners,
        tas: &tas,
        sites: &sites,
        ..Figures::default()
    };
    let labels: Vec<Label<'_>> = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    let mut out = String::new();
    let mut text = Text::new(&mut out, &labels);
    // Writing to a string does not fail.
    let _ = write(&mut text, &figures, names).and_then(|()| text.end());
    Ok(out)
}

impl Tool<'_, '_> {
    fn metrics(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let options = options(words)?;
        if options.listen.is_some() || !options.hosts.is_empty() {
            return Err(usage("`teestat serve` listens"));
        }
        let answer = Exposition {
            openmetrics: metrics(self.context, self.names, &options.labels)?,
        };
        self.tell(&answer, |out| out.write_str(&answer.openmetrics))?;
        Ok(STATUS_OK)
    }

    fn serve(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let options = options(words)?;
        let listen = options.listen.unwrap_or(LISTEN);
        let served = self.server.serve(listen, &options.hosts, &options.labels);
        served.map_err(Failure::Said)?;
        self.tell(&Nothing {}, |_| Ok(()))?;
        Ok(STATUS_OK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood_in_any_order() {
        let words = [
            "--label", "rack=7", "--listen", "[::]:80", "--host", "h", "--label", "a=b=c",
        ];
        let found = options(&words).ok();
        let label = |name: &str, value: &str| (String::from(name), String::from(value));
        let labels = Vec::from([label("rack", "7"), label("a", "b=c")]);
        let listen = Some("[::]:80");
        let hosts = Vec::from(["h"]);
        let all = Options {
            listen,
            hosts,
            labels,
        };
        assert_eq!(found, Some(all));
        assert_eq!(options(&[]).ok(), Some(Options::default()));
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            &["--listen"][..],
            &["--listen", "a:1", "--listen", "b:1"],
            &["--host"],
            &["--label"],
            &["--label", "rack"],
            &["--label", "=7"],
            &["--label", "use=7"],
            &["--label", "a=1", "--label", "a=2"],
            &["now"],
        ] {
            let refused = matches!(options(words), Err(Failure::Usage(_)));
            assert!(refused, "{words:?}");
        }
    }
}
