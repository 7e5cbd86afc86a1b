//! All CPUs at once, CPUs that come and go, and TAs that never return.
//!
//! **Invariant:** when a test ends all CPUs are on and no TA loops.
//! **Knows nothing of:** how many CPUs there are, until it asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ta_uuids::{crash, hello};
use teec::Context;

use crate::account;
use crate::bench::{self, Outcome};

/// How late a sleeper may wake while a TA loops, emulated on a busy machine.
const LATEST: Duration = Duration::from_millis(500);

fn count() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Starts `count` children that loop in a TA and hands over when all do; ends them afterwards.
fn while_looping(count: usize, body: impl FnOnce() -> Outcome) -> Outcome {
    let children: Vec<_> = (0..count).map(|_| bench::child("loop")).collect();
    let transport = bench::connect()?;
    let context = Context::new(&transport);
    let loaded = bench::until("the loops", || {
        account::teestat(&context, "ta")
            .ok()
            .and_then(|object| Some(object["tas"].as_array()?.len() >= count))
            .unwrap_or(false)
    });
    thread::sleep(Duration::from_millis(200));
    let result = loaded.and_then(|()| body());
    let killed = bench::program("teestat", &["kill", &crash::UUID.to_string()]);
    for child in children {
        bench::end(child?)?;
    }
    result.and(killed.map(drop))
}

pub(super) fn ticks_go_on() -> Outcome {
    while_looping(1, || {
        let mut worst = Duration::ZERO;
        for _ in 0..100 {
            let begun = Instant::now();
            thread::sleep(Duration::from_millis(10));
            let late = begun.elapsed().saturating_sub(Duration::from_millis(10));
            worst = worst.max(late);
        }
        if worst > LATEST {
            return Err(format!("a sleeper woke {worst:?} late"));
        }
        println!("   latest wake-up of 100 while a TA loops: {worst:?}");
        Ok(())
    })
}

/// Time that each CPU has been idle, in ticks.
fn idle_ticks() -> Result<Vec<u64>, String> {
    let text = bench::file("/proc/stat")?;
    let line = |line: &str| -> Option<u64> {
        let mut words = line.split_whitespace();
        let name = words.next()?.strip_prefix("cpu")?;
        name.parse::<u32>().ok()?;
        let ticks: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        // user, nice, system, idle, waiting.
        Some(ticks.iter().skip(3).take(2).sum())
    };
    Ok(text.lines().filter_map(line).collect())
}

pub(super) fn all_in_tas() -> Outcome {
    /// Of 100 in the second that is measured.
    const MAX_IDLE_TICKS: u64 = 20;
    let cpus = count();
    while_looping(cpus, || {
        let before = idle_ticks()?;
        thread::sleep(Duration::from_secs(1));
        let after = idle_ticks()?;
        let idle: Vec<u64> = before
            .iter()
            .zip(&after)
            .map(|(before, after)| after.saturating_sub(*before))
            .collect();
        if idle.len() != cpus || idle.iter().any(|&ticks| ticks > MAX_IDLE_TICKS) {
            return Err(format!("idle ticks of the CPUs in a second: {idle:?}"));
        }
        // One more client gets through.
        let transport = bench::connect()?;
        let mut session = bench::open(&Context::new(&transport), hello::UUID)?;
        bench::increment(&mut session, 1)
    })
}

fn switch(cpu: usize, on: bool) -> Outcome {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/online");
    let word = if on { "1" } else { "0" };
    std::fs::write(&path, word).map_err(|error| format!("{path} = {word}: {error}"))
}

pub(super) fn hotplug() -> Outcome {
    let cpus = count();
    if cpus < 2 {
        return Err("one CPU cannot be switched off".into());
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..cpus)
            .map(|_| {
                scope.spawn(|| -> Outcome {
                    let transport = bench::connect()?;
                    let mut session = bench::open(&Context::new(&transport), hello::UUID)?;
                    let mut number = 0;
                    while !stop.load(Ordering::Relaxed) {
                        bench::increment(&mut session, number)?;
                        number += 1;
                    }
                    Ok(())
                })
            })
            .collect();
        let switched = (0..3).try_for_each(|_| {
            (1..cpus).try_for_each(|cpu| switch(cpu, false))?;
            thread::sleep(Duration::from_millis(100));
            (1..cpus).try_for_each(|cpu| switch(cpu, true))
        });
        stop.store(true, Ordering::Relaxed);
        let called = callers
            .into_iter()
            .try_for_each(|caller| caller.join().map_err(|_| "a caller panicked")?);
        switched.and(called)
    })
}
