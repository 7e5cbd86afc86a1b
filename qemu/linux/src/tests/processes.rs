//! Many clients, and clients and supplicants that die.
//!
//! **Invariant:** when a test ends no child of it is left and a supplicant runs.
//! **Knows nothing of:** CPUs.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use ta_uuids::{crash, hello};
use teec::Context;

use crate::account;
use crate::bench::{self, Outcome};

/// What OP-TEE turned 1,829 calls away for.
const CLIENTS: u32 = 64;

pub(crate) fn many_clients() -> Outcome {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || -> Outcome {
                    let transport = bench::connect()?;
                    let context = Context::new(&transport);
                    for round in 0..3 {
                        let mut session = bench::open(&context, hello::UUID)?;
                        for call in 0..5 {
                            bench::increment(&mut session, client * 100 + round * 10 + call)?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().map_err(|_| "a client panicked")?)
    })
}

/// Waits until `count` instances of any TA are there.
fn instances(count: usize) -> Outcome {
    let transport = bench::connect()?;
    let context = Context::new(&transport);
    bench::until("TAs to be loaded", || {
        account::teestat(&context, "ta")
            .ok()
            .and_then(|object| Some(object["tas"].as_array()?.len() >= count))
            .unwrap_or(false)
    })
}

pub(super) fn killed_asleep() -> Outcome {
    let child = bench::child("wait")?;
    instances(1)?;
    thread::sleep(Duration::from_millis(200));
    bench::end(child)
}

pub(super) fn killed_in_queue() -> Outcome {
    let busy = bench::child("busy")?;
    instances(1)?;
    thread::sleep(Duration::from_millis(100));
    let queue = bench::child("queue")?;
    thread::sleep(Duration::from_millis(200));
    bench::end(queue)?;
    bench::end(busy)
}

pub(super) fn killed_in_loop() -> Outcome {
    let mut child = bench::child("loop")?;
    instances(1)?;
    thread::sleep(Duration::from_millis(200));
    child.kill().map_err(|error| error.to_string())?;
    // A process cannot end while its call does not: somebody has to end the TA.
    bench::program("teestat", &["kill", &crash::UUID.to_string()])?;
    bench::end(child)
}

pub(super) fn supplicant_killed() -> Outcome {
    bench::signal_supplicant(Signal::STOP)?;
    let mut child = bench::child("open")?;
    thread::sleep(Duration::from_millis(300));
    if child
        .try_wait()
        .map_err(|error| error.to_string())?
        .is_some()
    {
        bench::signal_supplicant(Signal::CONT)?;
        return Err("the TA was opened without the supplicant".into());
    }
    bench::stop_supplicant()?;
    // The request is answered by the driver, and the call fails.
    let mut status = None;
    let ended = bench::until("the client's call", || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    bench::start_supplicant()?;
    ended?;
    if status.is_some_and(|status| status.success()) {
        return Err("the call went well without a supplicant".into());
    }
    let transport = bench::connect()?;
    let mut session = bench::open(&Context::new(&transport), hello::UUID)?;
    bench::increment(&mut session, 1)
}
