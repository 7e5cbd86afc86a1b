//! All CPUs at once, CPUs that come and go, and TAs that never return.
//!
//! **Invariant:** when a test ends all CPUs are on and no TA loops.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use ta_uuids::{crash, hello};
use teec::Context;

use crate::bench::{self, Outcome};
use crate::{account, lateness};

/// How late a sleeper may wake while a TA loops, where QEMU itself waits for a busy machine. What it is
/// on a machine with exact time, `cargo xtask bench --linux` says.
const LATEST: Duration = Duration::from_secs(2);

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
            .and_then(|object| Some(object["ta"].as_array()?.len() >= count))
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

/// After how many seconds without a grace period Linux complains, least that it takes.
const STALL_SECONDS: &str = "3";
const STALL_TIMEOUT: &str = "/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout";

/// Longer than Linux waits before it complains of a CPU that does not come back.
const SLEEPS: usize = 4000;

pub(super) fn ticks_go_on() -> Outcome {
    // The sleeper and the loop have one CPU in common.
    let here = sched_getaffinity(None).map_err(|error| format!("affinity: {error}"))?;
    let mut last = CpuSet::new();
    last.set(count() - 1);
    let timeout = bench::file(STALL_TIMEOUT)?;
    let stall = |seconds: &str| {
        std::fs::write(STALL_TIMEOUT, seconds).map_err(|error| format!("{STALL_TIMEOUT}: {error}"))
    };
    let stay =
        |cpus: &CpuSet| sched_setaffinity(None, cpus).map_err(|error| format!("affinity: {error}"));
    let quiet = bench::warnings()?.len();
    stall(STALL_SECONDS)?;
    let result = stay(&last).and_then(|()| {
        let alone = lateness::measure(SLEEPS / 4)?;
        while_looping(1, || {
            let beside = lateness::measure(SLEEPS)?;
            println!("   latest wake-ups alone {alone:?}, beside a TA that loops {beside:?}");
            if beside.worst > LATEST {
                return Err(format!("a sleeper woke {:?} late", beside.worst));
            }
            Ok(())
        })
    });
    stay(&here)?;
    stall(&timeout)?;
    result?;
    bench::equal(
        bench::warnings()?.len(),
        quiet,
        "warnings in the kernel's log",
    )
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
