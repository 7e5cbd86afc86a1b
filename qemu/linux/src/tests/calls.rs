//! Calls of one client.
//!
//! **Invariant:** every session is closed when its test ends.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use ta_uuids::{heap, hello};
use tally_abi::{TeeResult, TeeUuid};
use teec::{Context, ErrorKind, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue};

use crate::bench::{self, Outcome, equal};

pub(super) fn teestat_prints() -> Outcome {
    let alloc = bench::program("teestat", &["alloc"])?;
    if !alloc.starts_with("Pool:                Heap\n") {
        return Err(format!("teestat alloc: {alloc}"));
    }
    let ta = bench::program("teestat", &["ta"])?;
    if !ta.contains("No loaded TA found") {
        return Err(format!("teestat ta: {ta}"));
    }
    let transport = bench::connect()?;
    let context = Context::new(&transport);
    let _session = bench::open(&context, heap::UUID)?;
    let ta = bench::program("teestat", &["ta"])?;
    // The stock text leaves the last dash out.
    if !ta.contains("ta(7a11e110-0002-4c6e-8d015ec0de000002)") {
        return Err(format!("teestat ta with one loaded: {ta}"));
    }
    Ok(())
}

/// The memory for the tool's own answer is registered after the mark.
pub(super) fn nothing_leaks_by_asking() -> Outcome {
    bench::program("teestat", &["leaks", "mark"])?;
    let told = bench::program("teestat", &["leaks", "diff", "--json"])?;
    let told: Value = serde_json::from_str(&told).map_err(|error| error.to_string())?;
    equal(
        (&told["total"]["bytes"], &told["total"]["blocks"]),
        (&0.into(), &0.into()),
        "bytes and blocks right after a mark",
    )
}

pub(super) fn hello_answers() -> Outcome {
    let transport = bench::connect()?;
    let context = Context::new(&transport);
    let mut session = bench::open(&context, hello::UUID)?;
    bench::increment(&mut session, 41)?;
    session.close().map_err(|error| format!("close: {error}"))
}

pub(super) fn memory_goes_both_ways() -> Outcome {
    let transport = bench::connect()?;
    let context = Context::new(&transport);
    let mut session = bench::open(&context, hello::UUID)?;
    for len in [1, 4095, 4096, 4097, 100_000] {
        let data: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let mut back = vec![0; len];
        let from = ParamTmpRef::new_input(&data);
        let to = ParamTmpRef::new_output(&mut back);
        let mut operation = Operation::new(0, from, to, ParamNone, ParamNone);
        session
            .invoke_command(hello::CMD_ECHO, &mut operation)
            .map_err(|error| format!("echo of {len}: {error}"))?;
        equal(operation.parameters().1.updated_size(), len, "size")?;
        if back != data {
            return Err(format!("echo of {len} bytes came back changed"));
        }
    }
    let mut small = [0; 3];
    let from = ParamTmpRef::new_input(b"four");
    let to = ParamTmpRef::new_output(&mut small);
    let mut operation = Operation::new(0, from, to, ParamNone, ParamNone);
    let error = session
        .invoke_command(hello::CMD_ECHO, &mut operation)
        .err();
    let kind = error.map(|error| error.kind());
    equal(kind, Some(ErrorKind::ShortBuffer), "a small buffer")?;
    equal(operation.parameters().1.updated_size(), 4, "size needed")
}

pub(super) fn unknown_ta_is_not_found() -> Outcome {
    let transport = bench::connect()?;
    let nobody = TeeUuid::from_u128(0x1234_5678_0000_0000_0000_0000_0000_0001);
    let error = Context::new(&transport).open_session(nobody).err();
    let result = error.map(|error| error.result());
    equal(result, Some(TeeResult::ITEM_NOT_FOUND), "an unknown TA")
}

pub(super) fn time_is_linux_s() -> Outcome {
    let transport = bench::connect()?;
    let context = Context::new(&transport);
    let mut session = bench::open(&context, hello::UUID)?;
    let out = || ParamValue::new(0, 0, ParamType::ValueOutput);
    let mut operation = Operation::new(0, out(), out(), ParamNone, ParamNone);
    session
        .invoke_command(hello::CMD_TIME, &mut operation)
        .map_err(|error| format!("time: {error}"))?;
    let told = u64::from(operation.parameters().1.a());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(|error| error.to_string())?.as_secs();
    if now.abs_diff(told) > 2 {
        return Err(format!("the TA says {told} s, Linux {now} s"));
    }
    Ok(())
}

/// A client in C, where there was a compiler for it.
pub(super) const C_CLIENT: &str = "/bin/hello-client";

pub(super) fn c_client() -> Outcome {
    let text = bench::program(C_CLIENT, &[])?;
    equal(text.matches(": ok\n").count(), 5, "checks of the C client")
}

pub(super) fn cancellation() -> Outcome {
    const ID: u32 = 77;
    let transport = bench::connect()?;
    let context = Context::new(&transport);
    let mut session = bench::open(&context, hello::UUID)?;
    let number = session.id();
    let begun = Instant::now();
    let result = std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            let mut wait = bench::cancellable(ID, 60_000, 0, ParamType::ValueInput);
            session.invoke_command(hello::CMD_WAIT, &mut wait)
        });
        while !call.is_finished() {
            std::thread::sleep(Duration::from_millis(50));
            // Refused until the call is there.
            let _ = context.cancel(number, ID);
        }
        call.join()
    });
    let error = result.map_err(|_| "the call panicked")?.err();
    let kind = error.map(|error| error.kind());
    equal(kind, Some(ErrorKind::Cancel), "the cancelled call")?;
    if begun.elapsed() > Duration::from_secs(5) {
        return Err(format!("cancelling took {:?}", begun.elapsed()));
    }
    Ok(())
}
