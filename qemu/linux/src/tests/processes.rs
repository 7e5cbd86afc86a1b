//! Many clients, and clients and supplicants that die.
//!
//! **Invariant:** when a test ends no child of it is left and a supplicant runs.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use ta_uuids::{crash, hello};
use teec::Context;

use crate::account::{self, Account};
use crate::bench::{self, Outcome};

/// As many as there are threads for everybody: of 64 four are kept for those who ask who has the others.
const CLIENTS: u32 = 60;

/// Calls that found no thread since the secure world's start.
fn turned_away() -> Result<u64, String> {
    let transport = bench::connect()?;
    let object = account::teestat(&Context::new(&transport), "threads")?;
    let count = object["turned_away"].as_u64();
    count.ok_or_else(|| format!("teestat threads: {object}"))
}

pub(super) fn nobody_is_turned_away() -> Outcome {
    let before = turned_away()?;
    many_clients()?;
    let count = turned_away()? - before;
    println!("   calls of {CLIENTS} clients turned away for want of a thread: {count}");
    bench::equal(count, 0, "calls turned away")
}

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
            .and_then(|object| Some(object["ta"].as_array()?.len() >= count))
            .unwrap_or(false)
    })
}

/// Sessions to TAs, of all clients.
fn sessions() -> Result<u64, String> {
    let transport = bench::connect()?;
    let object = account::teestat(&Context::new(&transport), "ta")?;
    let tas = object["ta"].as_array().ok_or("teestat ta lists none")?;
    tas.iter()
        .map(|ta| ta["sessions"].as_u64())
        .sum::<Option<u64>>()
        .ok_or_else(|| format!("teestat ta: {object}"))
}

/// Kills a client in the middle of its call. When it is gone, so is its session.
fn killed_in_call(child: &str, slack: Duration) -> Outcome {
    let account = || -> Result<Account, String> {
        let transport = bench::connect()?;
        Account::take(&Context::new(&transport))
    };
    let before = account()?;
    let child = bench::child(child)?;
    let inside = instances(1).and_then(|()| {
        thread::sleep(Duration::from_millis(200));
        bench::equal(sessions()?, 1, "sessions while the client lives")
    });
    let begun = Instant::now();
    bench::end(child)?;
    let took = begun.elapsed();
    inside?;
    bench::equal(sessions()?, 0, "sessions when it is gone")?;
    println!("   the client was gone {took:?} after SIGKILL");
    if took > slack {
        return Err(format!("the killed client went {took:?} later"));
    }
    before.same_as(&account()?)
}

pub(super) fn killed_asleep() -> Outcome {
    // The call sleeps three seconds, of which some are left.
    killed_in_call("wait", Duration::from_secs(5))
}

pub(super) fn killed_while_busy() -> Outcome {
    killed_in_call("busy", Duration::from_secs(60))
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
