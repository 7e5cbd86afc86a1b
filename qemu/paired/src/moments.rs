//! Watchpoints: snapshots of the very moment.
//!
//! **Invariant:** every test leaves no watchpoint and no snapshot.

use alloc::format;
use alloc::string::{String, ToString};
use ta_uuids::{heap, hello, keepalive};
use tally_abi::TeeUuid;
use tally_abi::pta::watch::SLOTS;
use tally_records::Selector;
use tally_records::{PoolRow, PoolStats, Record, SnapshotRow, snapshot_state, trigger};
use teec::ErrorKind;
use teestat::client::{self, ClientError};
use zerocopy::FromBytes;

use crate::commands::{read, sections};
use crate::{Bench, Outcome, Test, equal, fails, holds, value_call, value_in, works};

pub(crate) const TESTS: &[Test] = &[
    ("a watchpoint takes a snapshot on entry and on exit", around),
    ("a watchpoint takes a snapshot of a refusal", refusal),
    ("a watchpoint takes a snapshot when a heap rises", rising),
    (
        "a watchpoint sees a heap rise that the very command makes",
        first_rise,
    ),
    (
        "one allocation meets every watchpoint that it rises above",
        two_at_once,
    ),
    ("several TAs are watched, and their ends disarm", several),
    ("there are so many watchpoints and no more", full),
];

fn told<T>(result: Result<T, ClientError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn arm(bench: &Bench, uuid: TeeUuid, kind: u32, wanted: u32) -> Result<u32, String> {
    told(client::arm(&bench.context, uuid, kind, wanted))
}

fn row(bench: &Bench, number: u32) -> Result<SnapshotRow, String> {
    let rows = told(client::rows::<SnapshotRow>(&bench.context, &Selector::ALL))?;
    let found = rows.iter().find(|row| row.number == number);
    found.copied().ok_or_else(|| format!("no row {number}"))
}

/// Drops all that are there, so that a test that fails leaves nothing.
fn drop_all(bench: &Bench) -> Outcome {
    for row in told(client::rows::<SnapshotRow>(&bench.context, &Selector::ALL))? {
        told(client::drop_snapshot(&bench.context, row.number))?;
    }
    Ok(())
}

/// Runs a test, and drops what is left then.
fn tidily(bench: &Bench, test: impl FnOnce() -> Outcome) -> Outcome {
    let result = test();
    drop_all(bench)?;
    result
}

/// The heap of a TA as a snapshot has it, whose reason and subject must be these.
fn heap_in(bench: &Bench, number: u32, why: u32, uuid: TeeUuid) -> Result<PoolStats, String> {
    equal(row(bench, number)?.state, snapshot_state::TAKEN, "state")?;
    let bytes = read(bench, number)?;
    let (header, sections) = sections(&bytes)?;
    equal(header.reason, why, "reason")?;
    equal(header.subject, uuid, "subject")?;
    let pools = sections.iter().find(|(s, _)| s.kind == PoolRow::SECTION);
    let (_, records) = pools.ok_or("no pools")?;
    let mut pools = records
        .chunks(size_of::<PoolRow>())
        .filter_map(|record| PoolRow::read_from_bytes(record).ok());
    let found = pools.find(|row| row.pool.owner == uuid);
    found
        .map(|row| row.pool)
        .ok_or_else(|| "no heap".to_string())
}

fn around(bench: &Bench) -> Outcome {
    tidily(bench, || {
        let mut session = bench.open(heap::UUID)?;
        let entry = arm(bench, heap::UUID, trigger::ENTRY, heap::CMD_LEAK)?;
        let exit = arm(bench, heap::UUID, trigger::EXIT, heap::CMD_LEAK)?;
        works(session.invoke_plain(heap::CMD_FREE_ALL))?;
        equal(
            row(bench, entry)?.state,
            snapshot_state::ARMED,
            "before the command",
        )?;
        for _ in 0..2 {
            works(value_in(&mut session, heap::CMD_LEAK, 10, 100))?;
        }
        let before = heap_in(bench, entry, trigger::ENTRY, heap::UUID)?;
        let after = heap_in(bench, exit, trigger::EXIT, heap::UUID)?;
        let grown = after.alloc.allocated - before.alloc.allocated;
        equal(grown, 1000, "bytes that the first call leaked")?;
        equal(after.live_blocks - before.live_blocks, 10, "blocks of it")
    })
}

fn refusal(bench: &Bench) -> Outcome {
    tidily(bench, || {
        let mut session = bench.open(heap::UUID)?;
        let number = arm(bench, heap::UUID, trigger::FAILURE, 0)?;
        works(value_in(&mut session, heap::CMD_GROW, 100_000, 0))?;
        equal(
            row(bench, number)?.state,
            snapshot_state::ARMED,
            "before the refusal",
        )?;
        fails(
            value_call(&mut session, heap::CMD_ALLOC, 77_777_777, 0),
            ErrorKind::OutOfMemory,
        )?;
        let then = heap_in(bench, number, trigger::FAILURE, heap::UUID)?;
        equal(
            (then.alloc.num_alloc_fail, then.alloc.biggest_alloc_fail),
            (1, 77_777_777),
            "the heap's own count of refusals",
        )?;
        let bytes = read(bench, number)?;
        let (header, _) = sections(&bytes)?;
        equal(header.value, 77_777_777, "bytes refused")?;
        // Once the TA has counted it, it is not counted twice.
        let tas = told(client::ta_stats(&bench.context))?;
        let now = tas.iter().find(|ta| ta.uuid == heap::UUID);
        equal(
            now.map(|ta| ta.heap.num_alloc_fail),
            Some(1),
            "refusals afterwards",
        )
    })
}

fn rising(bench: &Bench) -> Outcome {
    tidily(bench, || {
        let mut session = bench.open(heap::UUID)?;
        let number = arm(bench, heap::UUID, trigger::HEAP, 5000)?;
        works(value_in(&mut session, heap::CMD_LEAK, 4, 1000))?;
        equal(row(bench, number)?.state, snapshot_state::ARMED, "below")?;
        // In the middle of this command, not at its end.
        works(value_in(&mut session, heap::CMD_LEAK, 10, 1000))?;
        let then = heap_in(bench, number, trigger::HEAP, heap::UUID)?;
        holds(
            (5001..=6000).contains(&then.alloc.allocated),
            &format!("{} bytes were live", then.alloc.allocated),
        )
    })
}

fn two_at_once(bench: &Bench) -> Outcome {
    tidily(bench, || {
        let mut session = bench.open(heap::UUID)?;
        let numbers =
            [50_000, 10_000, 90_000].map(|bytes| arm(bench, heap::UUID, trigger::HEAP, bytes));
        let [high, low, above] = numbers;
        let (high, low, above) = (high?, low?, above?);
        works(value_call(&mut session, heap::CMD_ALLOC, 60_000, 0))?;
        for number in [high, low] {
            let then = heap_in(bench, number, trigger::HEAP, heap::UUID)?;
            holds(then.alloc.allocated >= 60_000, "the block is not in it")?;
        }
        equal(
            row(bench, above)?.state,
            snapshot_state::ARMED,
            "the one above",
        )?;
        works(value_call(&mut session, heap::CMD_ALLOC, 60_000, 0))?;
        equal(
            row(bench, above)?.state,
            snapshot_state::TAKEN,
            "the one above",
        )
    })
}

fn first_rise(bench: &Bench) -> Outcome {
    tidily(bench, || {
        let number = arm(bench, keepalive::UUID, trigger::HEAP, 10)?;
        let mut session = bench.open(keepalive::UUID)?;
        works(value_call(&mut session, keepalive::CMD_HOLD, 5000, 0))?;
        let then = heap_in(bench, number, trigger::HEAP, keepalive::UUID)?;
        works(value_call(&mut session, keepalive::CMD_HOLD, 0, 0))?;
        works(session.close())?;
        told(client::kill(&bench.context, keepalive::UUID))?;
        holds(
            then.alloc.allocated > 10,
            &format!("{} bytes were live", then.alloc.allocated),
        )
    })
}

fn several(bench: &Bench) -> Outcome {
    tidily(bench, || {
        let never = arm(bench, heap::UUID, trigger::ENTRY, 9999)?;
        let nop = arm(bench, hello::UUID, trigger::ENTRY, hello::CMD_NOP)?;
        let other = arm(bench, hello::UUID, trigger::EXIT, hello::CMD_INC)?;
        let mut first = bench.open(heap::UUID)?;
        let mut second = bench.open(hello::UUID)?;
        works(first.invoke_plain(heap::CMD_FREE_ALL))?;
        works(second.invoke_plain(hello::CMD_NOP))?;
        equal(
            row(bench, nop)?.state,
            snapshot_state::TAKEN,
            "the one that was met",
        )?;
        for number in [never, other] {
            equal(
                row(bench, number)?.state,
                snapshot_state::ARMED,
                "the others",
            )?;
        }
        works(first.close())?;
        works(second.close())?;
        for number in [never, other] {
            equal(
                row(bench, number)?.state,
                snapshot_state::ENDED,
                "their TAs ended",
            )?;
            equal(row(bench, number)?.memory, 0, "memory without a snapshot")?;
        }
        // What was disarmed stays so.
        let mut third = bench.open(hello::UUID)?;
        works(third.invoke_plain(hello::CMD_NOP))?;
        equal(
            row(bench, other)?.state,
            snapshot_state::ENDED,
            "with another instance",
        )?;
        let taken = row(bench, nop)?;
        holds(
            taken.memory >= taken.bytes && taken.bytes > 0,
            "a snapshot without memory",
        )
    })
}

fn full(bench: &Bench) -> Outcome {
    tidily(bench, || {
        for n in 0..SLOTS as u32 {
            arm(bench, heap::UUID, trigger::ENTRY, n)?;
        }
        let more = client::arm(&bench.context, heap::UUID, trigger::ENTRY, 0);
        equal(
            more.err().and_then(|error| error.kind()),
            Some(ErrorKind::OutOfMemory),
            "one more",
        )?;
        for kind in [trigger::ASKED, trigger::FAILURE + 1, u32::MAX] {
            let refused = client::arm(&bench.context, heap::UUID, kind, 0);
            equal(
                refused.err().and_then(|error| error.kind()),
                Some(ErrorKind::BadParameters),
                "no such condition",
            )?;
        }
        Ok(())
    })
}
