//! `teestat` for Linux: the tool over `/dev/tee0`.
//!
//! **Invariant:** the exit status is the tool's; figures go to standard output, complaints to
//! standard error.
#![forbid(unsafe_code)]

mod host;
mod names;
mod on_demand;
mod serve;
mod state;
mod terminal;

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use teec::Context;
use teec_linux::DEVICE;

use host::Machine;
use on_demand::OnDemand;

/// Where tee-supplicant keeps trusted applications, and xtask their names.
const APPLICATIONS: &str = "/lib/optee_armtz";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let transport = OnDemand::default();
    let before = state::load();
    let mut memory = before.clone();
    let stdout = io::stdout().lock();
    // Who watches sees each line when it is there.
    let out: Box<dyn Write> = match stdout.is_terminal() {
        true => Box::new(stdout),
        false => Box::new(io::BufWriter::new(stdout)),
    };
    let mut out = Stream(out);
    let mut status = teestat::run(
        &args,
        &Context::new(&transport),
        &mut out,
        &mut Stream(io::stderr().lock()),
        &Machine::new(APPLICATIONS),
        &mut memory,
    );
    if let Some(error) = transport.trouble() {
        eprintln!("teestat: {DEVICE}: {error}");
    }
    if let Err(error) = out.0.flush()
        && status == teestat::STATUS_OK
    {
        eprintln!("teestat: {error}");
        status = teestat::STATUS_FAILED;
    }
    if memory != before
        && let Err(error) = state::save(&memory)
    {
        eprintln!("teestat: cannot keep the mark: {error}");
        status = status.max(teestat::STATUS_FAILED);
    }
    ExitCode::from(status)
}

/// Text to bytes.
struct Stream<W>(W);

impl<W: Write> fmt::Write for Stream<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_all(text.as_bytes()).map_err(|_| fmt::Error)
    }
}
