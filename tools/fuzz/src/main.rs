//! Fuzz targets and a driver that needs nothing but the toolchain.
//!
//! `tally-fuzz list` names the targets; `tally-fuzz TARGET [SECONDS [SEED]]` runs one. Inputs are
//! pseudo-random from the seed: fresh bytes, and mutations of samples and of earlier inputs.
//!
//! **Invariant:** the same seed gives the same inputs in the same order; the input at hand is
//! written down before the target sees it, so that a crash of any kind leaves it behind.

mod device_tree;
mod mutate;
mod snapshot;
mod storage;
mod targets;

use mutate::Inputs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use targets::{TARGETS, Target};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let name = args.first().map_or("list", String::as_str);
    if name == "list" {
        for target in TARGETS {
            println!("{}", target.name);
        }
        return ExitCode::SUCCESS;
    }
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        eprintln!("no target {name}; `tally-fuzz list` names them");
        return ExitCode::from(2);
    };
    let number = |n: usize, default: u64| match args.get(n) {
        Some(text) => text.parse().ok(),
        None => Some(default),
    };
    match (number(1, 10), number(2, 1)) {
        (Some(seconds), Some(seed)) => run(target, Duration::from_secs(seconds), seed),
        _ => {
            eprintln!("usage: tally-fuzz TARGET [SECONDS [SEED]]");
            ExitCode::from(2)
        }
    }
}

/// Time between two lines that say how far it is.
const NEWS: Duration = Duration::from_secs(10);

fn run(target: &'static Target, time: Duration, seed: u64) -> ExitCode {
    let mut inputs = Inputs::new(seed, (target.samples)());
    let start = Instant::now();
    let mut news = NEWS;
    let mut n = 0u64;
    let mut current = Vec::new();
    install_hook(target.name, seed);
    while start.elapsed() < time {
        inputs.next(&mut current);
        CURRENT.with_borrow_mut(|kept| {
            kept.clear();
            kept.extend_from_slice(&current);
        });
        (target.run)(&current);
        n += 1;
        let elapsed = start.elapsed();
        if elapsed >= news && elapsed < time {
            let (name, done, of) = (target.name, elapsed.as_secs(), time.as_secs());
            eprintln!("{name}: {n} inputs in {done} of {of} s");
            news += NEWS;
        }
    }
    println!(
        "{}: {n} inputs in {} s, seed {seed}",
        target.name,
        time.as_secs()
    );
    ExitCode::SUCCESS
}

thread_local! {
    /// The input at hand, for the panic hook.
    static CURRENT: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Says what failed and where its input is, then lets the program end.
fn install_hook(name: &'static str, seed: u64) {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        default(info);
        let dir = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target"),
            PathBuf::from,
        );
        let file = dir.join(format!("fuzz-{name}-failure"));
        let kept = CURRENT.with_borrow(|bytes| std::fs::write(&file, bytes).is_ok());
        eprintln!("target {name} failed with seed {seed}");
        if kept {
            eprintln!("its input is in {}", file.display());
        }
    }));
}
