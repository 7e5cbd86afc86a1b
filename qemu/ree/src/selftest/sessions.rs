//! Sessions and instances, cancellation, TAs that call others.
//!
//! **Invariant:** what is opened here is closed here, keep-alive instances are ended.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use ta_uuids::{chain, hello, keepalive, solo};
use tally_abi::TeeResult;
use tally_records::{FailureRow, Selector, failed_pool};
use teec::{Context, ErrorKind, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue, Session};
use teestat::client;

use super::{
    Bench, ONE_CPU, Outcome, Test, equal, fails, holds, second_cpu, value_call, value_in,
    value_out, works,
};
use crate::jobs;
use crate::machine::{cpu, interrupts};

pub(super) const TESTS: &[Test] = &[
    (
        "each session of a multi-instance TA has its own",
        multi_instance,
    ),
    ("many sessions at a time", many_sessions),
    (
        "clients take all sessions but those that are kept",
        sessions_full,
    ),
    ("a TA takes all instances but others'", instances_full),
    (
        "a single-instance TA without multi session is busy",
        solo_is_busy,
    ),
    ("a keep-alive TA outlives its sessions", keep_alive),
    ("closing what is not open is refused", close_unknown),
    ("invoking a closed session is refused", invoke_closed),
    ("two CPUs use the same TA", two_cpus),
    ("a wait is cancelled", cancel_wait),
    ("a spinning call is cancelled", cancel_spin),
    ("cancelling nothing harms nobody", cancel_nothing),
    ("a TA calls another TA", chain_calls),
    ("chains nest to their limit", chain_nests),
    ("a TA's sessions end with it", chain_keeps_session),
    ("interrupts go out while a TA computes", interrupts_go_out),
    ("time goes on in both worlds", time_goes_on),
];

fn sessions_of(bench: &Bench, uuid: tally_abi::TeeUuid) -> Result<(usize, u32), String> {
    let tas = client::ta_stats(&bench.context).map_err(|e| format!("{e}"))?;
    let ours = tas.iter().filter(|ta| ta.uuid == uuid);
    Ok(ours.fold((0, 0), |(n, s), ta| (n + 1, s + ta.sess_num)))
}

fn multi_instance(bench: &Bench) -> Outcome {
    let one = bench.open(hello::UUID)?;
    let two = bench.open(hello::UUID)?;
    equal(
        sessions_of(bench, hello::UUID)?,
        (2, 2),
        "instances and sessions",
    )?;
    works(one.close())?;
    equal(
        sessions_of(bench, hello::UUID)?,
        (1, 1),
        "instances and sessions",
    )?;
    works(two.close())?;
    equal(
        sessions_of(bench, hello::UUID)?,
        (0, 0),
        "instances and sessions",
    )
}

fn many_sessions(bench: &Bench) -> Outcome {
    let mut open = alloc::vec::Vec::new();
    for _ in 0..20 {
        open.push(bench.open(keepalive::UUID)?);
    }
    let found = sessions_of(bench, keepalive::UUID)?;
    let mut ids: alloc::vec::Vec<u32> = open.iter().map(Session::id).collect();
    ids.sort_unstable();
    ids.dedup();
    drop(open);
    end(bench, keepalive::UUID)?;
    equal(ids.len(), 20, "distinct sessions")?;
    equal(found, (1, 20), "instances and sessions")
}

/// Opens sessions until refused, which must be for want of memory.
fn open_all(
    bench: &Bench,
    uuid: tally_abi::TeeUuid,
) -> Result<alloc::vec::Vec<Session<'static>>, String> {
    let mut open = alloc::vec::Vec::new();
    while open.len() < 1000 {
        match bench.context.open_session(uuid) {
            Ok(session) => open.push(session),
            Err(error) if error.kind() == ErrorKind::OutOfMemory => return Ok(open),
            Err(error) => return Err(format!("after {} sessions: {error}", open.len())),
        }
    }
    Err(String::from("there is no end"))
}

fn sessions_full(bench: &Bench) -> Outcome {
    let mut caller = bench.open(chain::UUID)?;
    let mut open = open_all(bench, keepalive::UUID)?;
    let n = open.len();
    let told = client::rows::<FailureRow>(&bench.context, &Selector::ALL);
    // Whoever wants to know who has them needs one, too.
    let asking = open_all(bench, tally_abi::pta::stats::UUID)?;
    let kept = asking.len();
    // And TAs have theirs, whatever clients take.
    let nested = works(value_out(&mut caller, chain::CMD_STATS));
    let rest = bench.refused(hello::UUID, ErrorKind::OutOfMemory);
    let count = match open.last_mut() {
        Some(last) => works(value_out(last, keepalive::CMD_COUNT)),
        None => Ok((0, 0)),
    };
    // One place is enough to go on.
    drop((open.pop(), asking));
    let again = bench.open(hello::UUID).map(drop);
    drop(open);
    end(bench, keepalive::UUID)?;
    works(caller.close())?;
    nested?;
    rest?;
    again?;
    equal(n, 95, "sessions")?;
    equal(kept, 8, "sessions of those who ask")?;
    equal(count?, (1, 95), "counter and sessions")?;
    let told = told.map_err(|e| format!("{e}"))?;
    let row = told.last().ok_or("nothing was recorded")?;
    equal(
        (row.pool, row.used_entries, row.entries, row.held_entries),
        (failed_pool::SESSIONS, 96, 96, 96),
        "pool, used entries, entries, and those of who has most",
    )
}

fn instances_full(bench: &Bench) -> Outcome {
    for _ in 0..2 {
        let mut open = open_all(bench, hello::UUID)?;
        let n = open.len();
        equal(
            sessions_of(bench, hello::UUID)?,
            (n, n as u32),
            "instances and sessions",
        )?;
        for session in &mut open {
            works(session.invoke_plain(hello::CMD_NOP))?;
        }
        let rest = bench
            .open(solo::UUID)
            .and_then(|session| works(session.close()));
        drop(open);
        rest?;
        equal(n, 64, "instances")?;
    }
    works(bench.open(solo::UUID)?.close())
}

fn end(bench: &Bench, uuid: tally_abi::TeeUuid) -> Outcome {
    client::kill(&bench.context, uuid)
        .map(drop)
        .map_err(|e| format!("{e}"))
}

fn solo_is_busy(bench: &Bench) -> Outcome {
    let mut first = bench.open(solo::UUID)?;
    bench.refused(solo::UUID, ErrorKind::Busy)?;
    works(first.invoke_plain(solo::CMD_NOP))?;
    works(first.close())?;
    works(bench.open(solo::UUID)?.close())
}

fn keep_alive(bench: &Bench) -> Outcome {
    let count = |session: &mut Session<'_>| works(value_out(session, keepalive::CMD_COUNT));
    let mut session = bench.open(keepalive::UUID)?;
    equal(count(&mut session)?, (1, 1), "counter and sessions")?;
    works(session.close())?;
    equal(
        sessions_of(bench, keepalive::UUID)?,
        (1, 0),
        "instances and sessions",
    )?;
    let mut session = bench.open(keepalive::UUID)?;
    let mut second = bench.open(keepalive::UUID)?;
    equal(count(&mut session)?, (2, 2), "counter and sessions")?;
    equal(count(&mut second)?, (3, 2), "counter and sessions")?;
    fails(
        session.invoke_plain(keepalive::CMD_PANIC),
        ErrorKind::TargetDead,
    )?;
    fails(
        second.invoke_plain(keepalive::CMD_COUNT),
        ErrorKind::TargetDead,
    )?;
    drop((session, second));
    let mut fresh = bench.open(keepalive::UUID)?;
    equal(count(&mut fresh)?, (1, 1), "counter after the panic")?;
    drop(fresh);
    end(bench, keepalive::UUID)
}

fn close_unknown(bench: &Bench) -> Outcome {
    for id in [0, 1, 0xdead_beef, u32::MAX] {
        holds(
            teec::Transport::close_session(bench.tee, id).is_err(),
            &format!("session {id:#x} was closed"),
        )?;
    }
    Ok(())
}

fn invoke_closed(bench: &Bench) -> Outcome {
    let session = bench.open(hello::UUID)?;
    let id = session.id();
    works(session.close())?;
    let mut params = [const { teec::RawParam::None }; 4];
    holds(
        teec::Transport::invoke(bench.tee, id, hello::CMD_NOP, 0, &mut params).is_err(),
        "a closed session was invoked",
    )?;
    holds(
        teec::Transport::close_session(bench.tee, id).is_err(),
        "a session was closed twice",
    )
}

/// Runs `body` on the second CPU and `here` on this one; `Ok` if there is no second CPU.
fn on_both(
    body: impl FnOnce() -> Outcome + Send + 'static,
    here: impl FnOnce() -> Outcome,
) -> Outcome {
    let outcome = Arc::new(spin::Mutex::new(Ok(())));
    let there = outcome.clone();
    let job = jobs::start("test", move || {
        *there.lock() = body();
        0
    });
    let Some(job) = job else {
        return Ok(());
    };
    let result = here();
    while jobs::collect(job).is_none() {
        cpu::doze();
    }
    result?;
    let outcome = outcome.lock();
    outcome.clone()
}

fn two_cpus(bench: &Bench) -> Outcome {
    fn rounds(context: &Context<'static>) -> Outcome {
        for _ in 0..10 {
            let mut session = works(context.open_session(hello::UUID))?;
            works(session.invoke_plain(hello::CMD_NOP))?;
            let mut shared = works(context.open_session(keepalive::UUID))?;
            works(value_out(&mut shared, keepalive::CMD_COUNT))?;
            works(shared.close())?;
            works(session.close())?;
        }
        Ok(())
    }
    let context = bench.context;
    let result = on_both(move || rounds(&context), || rounds(&bench.context));
    // Fails if neither CPU got that far; then the first result says why.
    let ended = client::kill(&bench.context, keepalive::UUID);
    result?;
    if cpu::others_started() {
        ended.map(drop).map_err(|e| format!("{e}"))?;
    }
    Ok(())
}

/// A call of `command` with one value, cancelled from the other CPU.
fn cancelled(bench: &Bench, uuid: tally_abi::TeeUuid, command: u32, with_value: bool) -> Outcome {
    const STARTED: u32 = 0x1234;
    if !second_cpu()? {
        return bench.skipped(ONE_CPU);
    }
    let mut session = bench.open(uuid)?;
    let id = session.id();
    let context = bench.context;
    let done = Arc::new(AtomicU32::new(0));
    let finished = done.clone();
    on_both(
        move || {
            let from = cpu::micros();
            while finished.load(Ordering::Relaxed) == 0 {
                if cpu::micros() - from > 30_000 {
                    // Until it is in flight there is nothing to cancel.
                    let _ = context.cancel(id, STARTED);
                }
                if cpu::micros() - from > 20_000_000 {
                    let _ = client::kill(&context, uuid);
                    return Err(String::from("it was not cancelled in 20 s"));
                }
                cpu::doze();
            }
            Ok(())
        },
        || {
            let result = if with_value {
                let mut op = Operation::new(
                    STARTED,
                    ParamValue::new(60_000, 0, ParamType::ValueInput),
                    ParamNone,
                    ParamNone,
                    ParamNone,
                );
                session.invoke_command(command, &mut op)
            } else {
                let mut op = Operation::new(STARTED, ParamNone, ParamNone, ParamNone, ParamNone);
                session.invoke_command(command, &mut op)
            };
            done.store(1, Ordering::Relaxed);
            fails(result, ErrorKind::Cancel)
        },
    )
}

fn cancel_wait(bench: &Bench) -> Outcome {
    cancelled(bench, solo::UUID, solo::CMD_WAIT, true)
}

fn cancel_spin(bench: &Bench) -> Outcome {
    cancelled(bench, solo::UUID, solo::CMD_SPIN_UNTIL_CANCELLED, false)
}

fn cancel_nothing(bench: &Bench) -> Outcome {
    let mut session = bench.open(hello::UUID)?;
    // Either answer will do, if nothing else happens.
    let _ = bench.context.cancel(session.id(), 99);
    let _ = bench.context.cancel(0xdead_beef, 99);
    works(session.invoke_plain(hello::CMD_NOP))
}

fn chain_calls(bench: &Bench) -> Outcome {
    let mut session = bench.open(chain::UUID)?;
    let mut op = Operation::new(
        0,
        ParamValue::new(1, 2, ParamType::ValueInout),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    works(session.invoke_command(chain::CMD_INC, &mut op))?;
    let p = op.parameters().0;
    equal((p.a(), p.b()), (2, 4), "increment by way of chain")?;

    let input = [7_u8; 5000];
    let mut output = [0_u8; 5000];
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(&input),
        ParamTmpRef::new_output(&mut output),
        ParamNone,
        ParamNone,
    );
    works(session.invoke_command(chain::CMD_ECHO, &mut op))?;
    equal(op.parameters().1.updated_size(), 5000, "size of the echo")?;
    equal(output, input, "echo by way of chain")?;

    let mut text = *b"chain";
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_inout(&mut text),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    works(session.invoke_command(chain::CMD_REVERSE, &mut op))?;
    equal(&text, b"NIAHC", "reverse by way of chain")?;

    let mut small = [0_u8; 10];
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(b"x"),
        ParamTmpRef::new_output(&mut small),
        ParamNone,
        ParamNone,
    );
    let result = session.invoke_command(chain::CMD_SHORT, &mut op);
    fails(result, ErrorKind::ShortBuffer)?;
    equal(op.parameters().1.updated_size(), 11, "size passed on")?;

    let (size, allocated) = works(value_out(&mut session, chain::CMD_STATS))?;
    holds(
        size >= 64 && size % 64 == 0 && allocated > 0,
        "the stats pTA told a TA something odd",
    )?;

    let nobody = tally_abi::TeeUuid::from_u128(1).to_bytes();
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(&nobody),
        ParamValue::new(0, 0, ParamType::ValueInput),
        ParamValue::new(0, 0, ParamType::ValueOutput),
        ParamNone,
    );
    works(session.invoke_command(chain::CMD_CALL, &mut op))?;
    equal(
        TeeResult(op.parameters().2.a()),
        TeeResult::ITEM_NOT_FOUND,
        "a TA opens a TA that is not there",
    )
}

fn chain_nests(bench: &Bench) -> Outcome {
    let mut session = bench.open(chain::UUID)?;
    // At least as many TAs in one another as `cargo xtask stacks` says.
    for depth in 0..=3 {
        let (reached, _) = works(value_call(&mut session, chain::CMD_NEST, depth, 0))?;
        equal(reached, depth + 1, "TAs in one another")?;
    }
    fails(
        value_call(&mut session, chain::CMD_NEST, chain::MAX_DEPTH, 0),
        ErrorKind::OutOfMemory,
    )?;
    works(value_call(&mut session, chain::CMD_NEST, 3, 0))?;
    fails(
        value_call(&mut session, chain::CMD_NEST, chain::MAX_DEPTH + 1, 0),
        ErrorKind::BadParameters,
    )
}

fn chain_keeps_session(bench: &Bench) -> Outcome {
    let mut session = bench.open(chain::UUID)?;
    works(session.invoke_plain(chain::CMD_KEEP_SESSION))?;
    equal(
        sessions_of(bench, hello::UUID)?,
        (1, 1),
        "hello's instances and sessions",
    )?;
    works(session.close())?;
    equal(
        sessions_of(bench, hello::UUID)?,
        (0, 0),
        "hello's instances and sessions",
    )
}

fn interrupts_go_out(bench: &Bench) -> Outcome {
    let mut session = bench.open(solo::UUID)?;
    let before = (
        crate::supplicant::interrupted(),
        interrupts::ticks(cpu::index()),
    );
    interrupts::set_hertz(1000);
    let result = value_call(&mut session, solo::CMD_SPIN, 200, 0);
    interrupts::set_hertz(interrupts::USUAL_HERTZ);
    let (passed, _) = works(result)?;
    holds(passed >= 200, &format!("only {passed} ms passed"))?;
    let out = crate::supplicant::interrupted() - before.0;
    let ticks = interrupts::ticks(cpu::index()) - before.1;
    holds(
        out >= 10,
        &format!("the call came out {out} times in 200 ms"),
    )?;
    holds(ticks >= 10, &format!("{ticks} ticks in 200 ms"))
}

fn time_goes_on(bench: &Bench) -> Outcome {
    let told = |e| format!("{e}");
    let before = client::times(&bench.context).map_err(told)?;
    let mut session = bench.open(hello::UUID)?;
    works(value_in(&mut session, hello::CMD_WAIT, 50, 0))?;
    let after = client::times(&bench.context).map_err(told)?;
    for (name, a, b) in [
        ("normal", before.ree, after.ree),
        ("secure", before.tee, after.tee),
    ] {
        let passed = b.in_millis().saturating_sub(a.in_millis());
        holds(
            passed >= 50,
            &format!("{passed} ms of {name} time passed in a wait of 50 ms"),
        )?;
    }
    Ok(())
}
