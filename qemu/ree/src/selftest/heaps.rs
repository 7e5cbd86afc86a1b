//! Heaps of TAs: exhaustion, leaks, figures from outside.
//!
//! **Invariant:** every test ends with the TA gone.
//! **Knows nothing of:** the allocator.

use alloc::format;
use ta_uuids::{heap, hello};
use tally_abi::TeeUuid;
use tally_abi::pta::stats::TaStats;
use teec::{ErrorKind, Operation, ParamNone, ParamType, ParamValue};
use teestat::client;

use super::{Bench, Outcome, Test, equal, fails, holds, value_call, value_in, works};
use crate::names::MachineNames;

pub(super) const TESTS: &[Test] = &[
    ("a TA's heap runs out for that TA alone", hog),
    ("an allocation that must not fail ends the TA", alloc_or_die),
    ("a heap grows and gives back", grow),
    ("the figures from outside are the TA's own", figures),
    ("a leak is found with its function", leak),
    ("freeing twice ends the TA", double_free),
    ("a failed allocation is reported", oom_report),
];

const LIMIT: u32 = 8 << 20;

fn stats_of(bench: &Bench, uuid: TeeUuid) -> Result<TaStats, alloc::string::String> {
    let tas = client::ta_stats(&bench.context).map_err(|e| format!("{e}"))?;
    tas.into_iter()
        .find(|ta| ta.uuid == uuid)
        .ok_or_else(|| "the TA is not listed".into())
}

fn hog(bench: &Bench) -> Outcome {
    let mut neighbour = bench.open(hello::UUID)?;
    let mut session = bench.open(heap::UUID)?;
    for size in [65_536, 1000] {
        let (octets, blocks) = works(value_call(&mut session, heap::CMD_HOG, size, 0))?;
        holds(
            blocks > 0 && (LIMIT / 2..=LIMIT).contains(&octets),
            &format!("{octets} octets in {blocks} blocks of {size}"),
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

fn leak(bench: &Bench) -> Outcome {
    let told = |e| format!("{e}");
    let mut session = bench.open(heap::UUID)?;
    works(value_in(&mut session, heap::CMD_LEAK, 3, 64))?;
    let mark = client::mark(&bench.context).map_err(told)?;
    works(value_in(&mut session, heap::CMD_LEAK, 10, 28))?;
    let records = client::leaks(&bench.context, mark, 0).map_err(told)?;
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
            teestat::frame_name(&bench.context, &MachineNames, record.image, f)
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
