//! `cargo xtask stacks`: the deepest stack of every entry to the kernel, from its image.
//!
//! **Invariant:** bytes are those of the code that runs; what is not understood of it is a complaint, and the status 1.

mod kernel;

use crate::images::{self, Config, Images};
use crate::ui::{self, thousands};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::path::PathBuf;
use tally_stacks::bound::{self, Chain, Names, Report};
use tally_stacks::program::Program;
use tally_symbols::dwarf::Dwarf;

const AFTER_HELP: &str = "A stack is as deep as the code says: what each function takes of it, whom it calls, and what an interrupt takes where one may come. Indirect calls and recursion are explained by xtask/src/stacks/kernel.rs, which is compared with the image.\n\n\
Exit status: 0 all stacks are large enough; 1 one is not, or something in the image is not explained.";

/// What to show.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Show the functions of the deepest path of the entries, checks and levels that have this in their name
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// Show the functions that take most themselves
    #[arg(long, value_name = "N", default_value_t = 0)]
    top: usize,
    /// Of a kernel that trusts this key as well: a longer key takes a deeper stack
    #[arg(long, value_name = "FILE")]
    ta_key: Vec<PathBuf>,
}

/// Prints the stacks.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let config = Config {
        ta_key: args.ta_key.clone(),
        ..Config::default()
    };
    let report = report(&images::build(&config)?)?;
    if let Some(wanted) = &args.entry {
        let names: Vec<&str> = paths(&report).into_iter().map(|(name, ..)| name).collect();
        ensure!(
            names.iter().any(|name| name.contains(wanted.as_str())),
            "nothing has `{wanted}` in its name; there are: {}",
            names.join("; ")
        );
    }
    if args.json {
        anstream::println!("{}", as_json(&report));
    } else {
        print(&report, args);
    }
    for complaint in &report.complaints {
        ui::error(complaint);
    }
    Ok(u8::from(!report.complaints.is_empty()))
}

/// That all stacks are large enough.
///
/// # Errors
/// Complaints, one a line.
pub(crate) fn check(images: &Images) -> Result<(), String> {
    let report = report(images).map_err(|err| format!("{err:#}"))?;
    if report.complaints.is_empty() {
        Ok(())
    } else {
        Err(report.complaints.join("\n"))
    }
}

fn report(images: &Images) -> Result<Report> {
    let image = &images.kernel;
    let dwarf = Dwarf::load(image, &crate::paths::root())?;
    let names = Names {
        symbol: &|name| image.symbol(name),
        frames: &|at| dwarf.frames(at),
    };
    bound::report(&Program::read(image)?, &names, &kernel::PLAN)
}

/// Paths by name, each with the bytes that it may take, and what these are: entries, checks, and what else is told.
fn paths(report: &Report) -> Vec<(&str, &Chain, Option<u64>, String)> {
    let mut paths = Vec::new();
    for row in &report.rows {
        let stack = format!("{} stack", row.stack);
        paths.push((row.entry.as_str(), &row.chain, Some(row.size), stack));
    }
    for check in &report.checks {
        let stack = "left by this check, and taken up to the next one".to_owned();
        paths.push((
            check.check.as_str(),
            &check.chain,
            Some(check.reserve),
            stack,
        ));
    }
    if let Some(nesting) = &report.nesting {
        let first = "before a TA is entered".to_owned();
        paths.push(("first TA", &nesting.first, None, first));
        let next = "from a TA to one that it calls".to_owned();
        paths.push(("next TA", &nesting.level, None, next));
    }
    let interrupt = "on top of where it may come".to_owned();
    paths.push(("interrupt", &report.interrupt, None, interrupt));
    let fatal = "on top of any path; where it does not fit, there is no report".to_owned();
    paths.push(("panic", &report.fatal, None, fatal));
    paths
}

fn print(report: &Report, args: &Args) {
    anstream::println!("{:>8} {:>8}", "bytes", "of");
    for (name, chain, size, what) in paths(report) {
        let size = size.map_or_else(String::new, thousands);
        anstream::println!("{:>8} {size:>8}  {name}: {what}", thousands(chain.bytes));
        let is_wanted = |wanted: &String| name.contains(wanted.as_str());
        if args.entry.as_ref().is_some_and(is_wanted) {
            for (function, bytes) in &chain.steps {
                anstream::println!("{:>17}  {function}", thousands(*bytes));
            }
            if chain.interrupt > 0 {
                anstream::println!("{:>17}  an interrupt", thousands(chain.interrupt));
            }
        }
    }
    if let Some(nesting) = &report.nesting {
        let [bytes, size] = [nesting.bytes, nesting.size].map(thousands);
        anstream::println!(
            "{bytes:>8} {size:>8}  {} TAs in one another",
            nesting.levels
        );
    }
    for (function, bytes) in report.frames.iter().take(args.top) {
        anstream::println!("{:>8} {:>8}  {function}", thousands(*bytes), "itself");
    }
}

fn as_json(report: &Report) -> Value {
    let paths = paths(report).into_iter().map(|(name, chain, size, what)| {
        let steps = chain.steps.iter();
        let steps = steps.map(|(function, bytes)| json!({"function": function, "bytes": bytes}));
        json!({
            "name": name,
            "what": what,
            "bytes": chain.bytes,
            "of": size,
            "interrupt": chain.interrupt,
            "path": steps.collect::<Vec<_>>(),
        })
    });
    json!({
        "paths": paths.collect::<Vec<_>>(),
        "levels": report.nesting.as_ref().map(|nesting| nesting.levels),
        "levels_bytes": report.nesting.as_ref().map(|nesting| nesting.bytes),
        "complaints": report.complaints,
    })
}
