//! Figures over HTTP, as a scraper gets them.
//!
//! **Invariant:** when a test ends its server has ended.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use ta_uuids::hello;
use tally_board_virt::SECURE_RAM_BYTES;
use teec::Context;

use crate::account;
use crate::bench::{self, Outcome, equal};

const ADDRESS: &str = "127.0.0.1:9644";

/// Runs `body` while `teestat serve` does, then ends the server as an init system does.
pub(super) fn while_serving(body: impl FnOnce() -> Outcome) -> Outcome {
    let mut server = Command::new("teestat")
        .args(["serve", "--listen", ADDRESS, "--label", "device=a \"b\""])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("teestat serve: {error}"))?;
    let result = bench::until("the server", || TcpStream::connect(ADDRESS).is_ok())
        .and_then(|()| body())
        .and_then(|()| terminate(&mut server));
    if result.is_err() {
        // It may have ended by itself, and then cannot be killed.
        let _ = server.kill();
        let _ = server.wait();
    }
    result
}

fn terminate(server: &mut Child) -> Outcome {
    let pid = i32::try_from(server.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or("the server has no number")?;
    kill_process(pid, Signal::TERM).map_err(|error| format!("SIGTERM: {error}"))?;
    let status = server.wait().map_err(|error| format!("server: {error}"))?;
    equal(status.code(), Some(0), "status of the server")
}

/// What busybox' wget gets.
fn fetch(path: &str) -> Result<String, String> {
    bench::program(
        "wget",
        &["-q", "-O", "-", &format!("http://{ADDRESS}{path}")],
    )
}

/// Header and body that a request gets.
pub(super) fn answer(request: &str) -> Result<(String, String), String> {
    let mut text = String::new();
    TcpStream::connect(ADDRESS)
        .and_then(|mut stream| {
            stream.write_all(request.as_bytes())?;
            stream.read_to_string(&mut text)
        })
        .map_err(|error| format!("{request:?}: {error}"))?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    Ok((head.to_owned(), body.to_owned()))
}

/// Use and bytes, by name, as OpenMetrics tells it.
pub(super) fn uses(metrics: &str) -> Result<Vec<(String, u64)>, String> {
    let row = |line: &str| -> Option<(String, u64)> {
        let (labels, bytes) = line.rsplit_once("\"} ")?;
        let (_, name) = labels.split_once(",use=\"")?;
        Some((name.to_owned(), bytes.parse().ok()?))
    };
    let lines = metrics.lines();
    let mut rows = lines
        .filter(|line| line.starts_with("tally_secure_memory_bytes{"))
        .map(|line| row(line).ok_or_else(|| format!("not understood: {line}")))
        .collect::<Result<Vec<_>, _>>()?;
    rows.sort();
    Ok(rows)
}

/// Bytes of secure RAM, as OpenMetrics tells them.
pub(super) fn secure_ram(metrics: &str) -> Result<u64, String> {
    let mut lines = metrics.lines();
    let line = lines.find(|line| line.starts_with("tally_secure_ram_bytes{"));
    let value = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
    value.ok_or_else(|| "secure RAM is not told".to_owned())
}

pub(super) fn figures_are_served() -> Outcome {
    while_serving(|| {
        let transport = bench::connect()?;
        let context = Context::new(&transport);
        let session = bench::open(&context, hello::UUID)?;
        let metrics = fetch("/metrics")?;
        if !metrics.ends_with("\n# EOF\n") {
            return Err(format!("the text has no end: {metrics}"));
        }
        let object = account::teestat(&context, "meminfo --all")?;
        let rows = object["meminfo"].as_array().ok_or("meminfo has no rows")?;
        let mut told: Vec<(String, u64)> = rows
            .iter()
            .filter_map(|row| Some((row["use"].as_str()?.to_owned(), row["bytes"].as_u64()?)))
            .collect();
        told.sort();
        equal(uses(&metrics)?, told, "secure RAM by use")?;
        for wanted in [
            "tally_ta_sessions{device=\"a \\\"b\\\"\",ta=\"hello\",uuid=\"7a11e110-0001-",
            "tally_calls_turned_away_total{device=\"a \\\"b\\\"\"} ",
            &format!("tally_secure_ram_bytes{{device=\"a \\\"b\\\"\"}} {SECURE_RAM_BYTES}\n"),
        ] {
            if !metrics.contains(wanted) {
                return Err(format!("no `{wanted}` in: {metrics}"));
            }
        }
        session.close().map_err(|error| format!("close: {error}"))?;
        equal(fetch("/healthz")?, "ok\n".into(), "health")
    })
}

pub(super) fn requests_are_answered_as_they_deserve() -> Outcome {
    while_serving(|| {
        // Clients that send nothing, and hold up nobody.
        let mut silent = Vec::new();
        for _ in 0..10 {
            silent.push(TcpStream::connect(ADDRESS).map_err(|error| format!("silent: {error}"))?);
        }
        let begun = Instant::now();
        let host = "HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for (request, status) in [
            (format!("GET /metrics {host}"), "200"),
            (format!("HEAD /healthz {host}"), "200"),
            (format!("GET /nothing {host}"), "404"),
            (format!("POST /metrics {host}"), "405"),
            // A page that has its own name resolved to this machine.
            (
                "GET /healthz HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n".into(),
                "421",
            ),
            ("nonsense\r\n\r\n".into(), "400"),
            (
                format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(9000)),
                "431",
            ),
        ] {
            let (head, _) = answer(&request)?;
            if !head.starts_with(&format!("HTTP/1.1 {status} ")) {
                return Err(format!("{}: {head}", request.escape_debug()));
            }
            let kind =
                "\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8";
            equal(
                head.contains(kind),
                request.contains("GET /metrics"),
                "the type",
            )?;
        }
        if begun.elapsed() > Duration::from_secs(4) {
            return Err(format!(
                "silent clients held others up: {:?}",
                begun.elapsed()
            ));
        }
        drop(silent);
        Ok(())
    })
}
