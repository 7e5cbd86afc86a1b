//! Heaps of TAs: exhaustion, leaks, figures from outside.
//!
//! **Invariant:** every test ends with the TA gone.

use alloc::format;
use alloc::string::String;
use ta_uuids::{glutton, heap, hello};
use tally_abi::pta::stats::TaStats;
use tally_abi::{TeeResult, TeeUuid};
use tally_records::{Selector, failed_pool, limit, word};
use teec::{ErrorKind, Operation, ParamNone, ParamType, ParamValue, Session};
use teestat::client;

use crate::{Bench, Outcome, Test, equal, fails, holds, value_call, value_in, works};

pub(crate) const TESTS: &[Test] = &[
    ("a TA's heap runs out for that TA alone", hog),
    ("an allocation that must not fail ends the TA", alloc_or_die),
    ("a heap grows and gives back", grow),
    ("the figures from outside are the TA's own", figures),
    (
        "the most that a heap had outlives commands, until a reset",
        maximum,
    ),
    ("a leak is found with its function", leak),
    ("freeing twice ends the TA", double_free),
    ("what TEE_Realloc adds to a block is zero", resize),
    (
        "an alignment that no heap has takes no memory",
        impossible_alignment,
    ),
    ("a failed allocation is reported", oom_report),
    ("a TA gets no more than its quota", quota),
    ("secure RAM runs out for the TA that asks", secure_ram),
    ("raw heap system calls keep to their limits", raw_heap),
];

const LIMIT: u32 = 8 << 20;

fn stats_of(bench: &Bench, uuid: TeeUuid) -> Result<TaStats, String> {
    let tas = client::ta_stats(&bench.context).map_err(|e| format!("{e}"))?;
    tas.into_iter()
        .find(|ta| ta.uuid == uuid)
        .ok_or_else(|| "the TA is not listed".into())
}

fn hog(bench: &Bench) -> Outcome {
    let mut neighbour = bench.open(hello::UUID)?;
    let mut session = bench.open(heap::UUID)?;
    for size in [65_536, 1000] {
        let (bytes, blocks) = works(value_call(&mut session, heap::CMD_HOG, size, 0))?;
        holds(
            blocks > 0 && (LIMIT / 2..=LIMIT).contains(&bytes),
            &format!("{bytes} bytes in {blocks} blocks of {size}"),
        )?;
        works(neighbour.invoke_plain(hello::CMD_NOP))?;
    }
    let stats = stats_of(bench, heap::UUID)?;
    holds(
        stats.heap.num_alloc_fail >= 2,
        "the refusals are not counted",
    )?;
    fails(
        value_call(&mut session, heap::CMD_ALLOC, 2 * LIMIT, 0),
        ErrorKind::OutOfMemory,
    )?;
    fails(
        value_call(&mut session, heap::CMD_ALLOC, u32::MAX, 0),
        ErrorKind::OutOfMemory,
    )?;
    let (handle, _) = works(value_call(&mut session, heap::CMD_ALLOC, 100, 0))?;
    works(value_in(&mut session, heap::CMD_FREE, handle, 0))
}

fn alloc_or_die(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    fails(
        value_in(&mut session, heap::CMD_ALLOC_OR_DIE, u32::MAX, 0),
        ErrorKind::TargetDead,
    )
}

fn grow(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    let before = stats_of(bench, heap::UUID)?.heap.allocated;
    for size in [1, 4096, 100_000, 4 << 20] {
        works(value_in(&mut session, heap::CMD_GROW, size, 0))?;
        let after = stats_of(bench, heap::UUID)?.heap;
        equal(after.allocated, before, "allocated after growing")?;
        holds(after.max_allocated >= size, "the maximum is too small")?;
    }
    Ok(())
}

fn figures(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    let (handle, _) = works(value_call(&mut session, heap::CMD_ALLOC, 12_345, 0))?;
    let mut op = Operation::new(
        0,
        ParamValue::new(0, 0, ParamType::ValueOutput),
        ParamValue::new(0, 0, ParamType::ValueOutput),
        ParamValue::new(0, 0, ParamType::ValueOutput),
        ParamNone,
    );
    works(session.invoke_command(heap::CMD_STATS, &mut op))?;
    let (p0, p1, _, _) = op.parameters();
    let outside = stats_of(bench, heap::UUID)?;
    equal(
        (outside.heap.allocated, outside.heap.max_allocated),
        (p0.a(), p0.b()),
        "allocated and most, outside and inside",
    )?;
    equal(
        (outside.heap.size, outside.heap.num_alloc_fail),
        (p1.a(), p1.b()),
        "size and failures, outside and inside",
    )?;
    equal((outside.panicked, outside.sess_num), (0, 1), "state")?;
    holds(outside.heap.allocated >= 12_345, "too little is allocated")?;
    works(value_in(&mut session, heap::CMD_FREE, handle, 0))?;
    fails(
        value_in(&mut session, heap::CMD_FREE, handle, 0),
        ErrorKind::ItemNotFound,
    )?;
    works(session.invoke_plain(heap::CMD_FREE_ALL))
}

fn maximum(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    works(value_in(&mut session, heap::CMD_GROW, 30_000, 0))?;
    fails(
        value_call(&mut session, heap::CMD_ALLOC, 2 * LIMIT, 0),
        ErrorKind::OutOfMemory,
    )?;
    works(value_in(&mut session, heap::CMD_LEAK, 1, 28))?;
    let before = stats_of(bench, heap::UUID)?.heap;
    holds(
        before.max_allocated >= 30_000 && before.allocated < 30_000,
        &format!("at most {}", before.max_allocated),
    )?;
    equal(before.num_alloc_fail, 1, "refused")?;
    client::reset(&bench.context).map_err(|e| format!("{e}"))?;
    let after = stats_of(bench, heap::UUID)?.heap;
    equal(
        (
            after.max_allocated,
            after.num_alloc_fail,
            after.biggest_alloc_fail,
        ),
        (before.allocated, 0, 0),
        "most, refused and the biggest after the reset",
    )
}

fn leak(bench: &Bench) -> Outcome {
    let told = |e| format!("{e}");
    let mut session = bench.open(heap::UUID)?;
    works(value_in(&mut session, heap::CMD_LEAK, 3, 64))?;
    let mark = client::leaks::mark(&bench.context, "").map_err(told)?;
    works(value_in(&mut session, heap::CMD_LEAK, 10, 28))?;
    let records = client::leaks::live(&bench.context, &Selector::ALL.since(mark)).map_err(told)?;
    let ours = records.iter().filter(|r| r.owner == heap::UUID);
    let (blocks, bytes) = ours.fold((0, 0), |(n, b), r| (n + r.blocks, b + r.bytes));
    equal(
        (blocks, bytes),
        (10, 280),
        "blocks and bytes since the mark",
    )?;
    for record in records.iter().filter(|r| r.owner == heap::UUID) {
        equal(record.block_size, 28, "size of a block")?;
        equal(record.image, heap::UUID, "image")?;
        let mut names = record.frames.iter().take_while(|&&frame| frame != 0);
        let named = names.any(|&f| {
            teestat::frame_name(&bench.context, bench.side.names(), record.image, f)
                .contains(heap::LEAK_FUNCTION)
        });
        holds(named, "a call stack does not name the function")?;
    }
    Ok(())
}

fn double_free(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    fails(
        session.invoke_plain(heap::CMD_DOUBLE_FREE),
        ErrorKind::TargetDead,
    )?;
    fails(session.invoke_plain(heap::CMD_STATS), ErrorKind::TargetDead)
}

fn oom_report(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    fails(
        value_call(&mut session, heap::CMD_ALLOC, 77_777_777, 0),
        ErrorKind::OutOfMemory,
    )?;
    let report = client::last_oom(&bench.context).map_err(|e| format!("{e}"))?;
    holds(
        report.contains("77777777"),
        &format!("the report does not tell the size: {report}"),
    )
}

/// Its last request was refused for want of this pool, whose limit the report names.
fn limit_named(bench: &Bench, pool: u32) -> Outcome {
    let report = client::last_oom(&bench.context).map_err(|e| format!("{e}"))?;
    let line = format!("the limit is {}\n", word(limit::WORDS, pool));
    holds(
        report.contains(&line),
        &format!("the report does not say {line:?}: {report}"),
    )
}

/// A session of a TA that has all secure RAM that others have left.
pub fn eat_the_rest<'a>(bench: &Bench<'a>) -> Result<Session<'a>, String> {
    let mut session = bench.open(heap::UUID)?;
    for bytes in [256 << 10, 16 << 10, 4096, 100] {
        // As many as it has handles.
        for _ in 0..heap::MAX_HANDLES {
            match value_call(&mut session, heap::CMD_ALLOC, bytes, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::OutOfMemory => break,
                Err(error) => return Err(format!("{error}")),
            }
        }
    }
    Ok(session)
}

fn eat(session: &mut Session<'_>, bytes: u32) -> Result<u32, String> {
    Ok(works(value_call(session, glutton::CMD_EAT, bytes, 0))?.0)
}

fn quota(bench: &Bench) -> Outcome {
    let mut neighbour = bench.open(hello::UUID)?;
    let mut other = bench.open(heap::UUID)?;
    let mut session = bench.open(glutton::UUID)?;
    let mut first = 0;
    for bytes in [65_536, 1000] {
        let held = eat(&mut session, bytes)?;
        limit_named(bench, failed_pool::TA_QUOTA)?;
        // Not all of it is blocks: code, stack and tables count as well.
        holds(
            (8 << 20..10 << 20).contains(&held),
            &format!("held {held} bytes at the quota"),
        )?;
        works(session.invoke_plain(glutton::CMD_NOP))?;
        works(neighbour.invoke_plain(hello::CMD_NOP))?;
        let (handle, _) = works(value_call(&mut other, heap::CMD_ALLOC, 1 << 20, 0))?;
        works(value_in(&mut other, heap::CMD_FREE, handle, 0))?;
        first = held;
    }
    works(session.invoke_plain(glutton::CMD_SPIT))?;
    holds(
        eat(&mut session, 1000)? >= first / 4 * 3,
        "freed memory does not serve again",
    )?;
    // The other limit has another name.
    fails(
        value_call(&mut other, heap::CMD_ALLOC, 2 * LIMIT, 0),
        ErrorKind::OutOfMemory,
    )?;
    limit_named(bench, failed_pool::TA_HEAP)
}

fn secure_ram(bench: &Bench) -> Outcome {
    let mut neighbour = bench.open(hello::UUID)?;
    let mut first = bench.open(glutton::UUID)?;
    let all = eat(&mut first, 65_536)?;
    limit_named(bench, failed_pool::TA_QUOTA)?;
    // Another instance would have the same quota.
    bench.refused(glutton::UUID, ErrorKind::OutOfMemory)?;
    let mut second = eat_the_rest(bench)?;
    limit_named(bench, failed_pool::TA_RAM)?;
    bench.refused(hello::UUID, ErrorKind::OutOfMemory)?;
    works(first.invoke_plain(glutton::CMD_NOP))?;
    works(second.invoke_plain(heap::CMD_FREE_ALL))?;
    works(neighbour.invoke_plain(hello::CMD_NOP))?;
    // One goes, and another has room.
    works(first.close())?;
    let mut third = bench.open(glutton::UUID)?;
    // But for a block or two: its pages are in other places.
    let again = eat(&mut third, 65_536)?;
    holds(
        again + (2 << 16) >= all,
        &format!("{all} bytes were given back, and {again} serve another"),
    )
}

fn raw_heap(bench: &Bench) -> Outcome {
    let mut session = bench.open(glutton::UUID)?;
    let mut asked = |command, bytes: u64| {
        let result = value_call(&mut session, command, bytes as u32, (bytes >> 32) as u32);
        Ok::<_, String>(TeeResult(works(result)?.0))
    };
    let quota = 2560 * 4096;
    for bytes in [quota + 1, 1 << 30] {
        equal(
            asked(glutton::CMD_RESERVE, bytes)?,
            TeeResult::OUT_OF_MEMORY,
            "reserving more than the quota",
        )?;
    }
    for bytes in [0, (1 << 30) + 1, 1 << 63, u64::MAX] {
        equal(
            asked(glutton::CMD_RESERVE, bytes)?,
            TeeResult::BAD_PARAMETERS,
            "reserving nonsense",
        )?;
    }
    // The runtime has its heap: the session's context lies in it.
    equal(
        asked(glutton::CMD_RESERVE, 4096)?,
        TeeResult::BAD_STATE,
        "reserving twice",
    )?;
    for bytes in [quota + 1, 1 << 63, u64::MAX] {
        equal(
            asked(glutton::CMD_GROW, bytes)?,
            TeeResult::OUT_OF_MEMORY,
            "growing beyond what was reserved",
        )?;
    }
    for bytes in [0, 4096, 1 << 20] {
        equal(
            asked(glutton::CMD_GROW, bytes)?,
            TeeResult::SUCCESS,
            "growing",
        )?;
    }
    works(session.invoke_plain(glutton::CMD_NOP))
}

/// It took all that it might have, and blamed its size.
fn impossible_alignment(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    works(value_in(&mut session, heap::CMD_ALIGN, 1, 4096))?;
    let before = stats_of(bench, heap::UUID)?;
    for align in [8192, 1 << 20, 1 << 31] {
        fails(
            value_in(&mut session, heap::CMD_ALIGN, 1, align),
            ErrorKind::OutOfMemory,
        )?;
    }
    let after = stats_of(bench, heap::UUID)?;
    equal(after.heap.size, before.heap.size, "bytes of the heap")?;
    equal(
        after.heap.num_alloc_fail,
        before.heap.num_alloc_fail + 3,
        "failures",
    )
}

/// It gave out what other blocks had left there.
fn resize(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    for (before, after) in [
        (0, 40),
        // In the same slot; in another class; from slots to pages, and of pages alone.
        (33, 48),
        (10, 200),
        (200, 10),
        (100, 9000),
        (5000, 5001),
        (5000, 8192),
        (9000, 300_000),
    ] {
        let result = value_in(&mut session, heap::CMD_RESIZE, before, after);
        works(result).map_err(|why| format!("{before} to {after} bytes: {why}"))?;
    }
    Ok(())
}
