//! Tests of refused allocations, ended TAs and size advice.
//!
//! **Invariant:** every test ends with the TA gone.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use ta_uuids::{crash, drm, glutton, heap, hello};
use tally_abi::TeeUuid;
use tally_records::MeminfoRow;
use tally_records::Selector;
use tally_records::UnfreedRow;
use tally_records::{FailureRow, HistoryRow, TaDetail, failed_pool, owner_kind};
use teec::ErrorKind;
use teestat::client::leaks as calls;
use teestat::{Memory, client};

use super::figures::printed;
use super::{
    Bench, Outcome, Test, equal, fails, holds, memory, parsed, value_call, value_in, works,
};
use crate::names::MachineNames;
use tally_paired::heaps::eat_the_rest;

pub(super) const TESTS: &[Test] = &[
    ("a refused block of a TA's heap is in the log", heap_refused),
    (
        "refused pages are in the log, a TA's load too",
        pages_refused,
    ),
    (
        "buffers count to the quota of their TA, and are shared out",
        buffers_refused,
    ),
    ("what the last resort serves was not refused", last_resort),
    (
        "a refused block of the kernel heap is in the log",
        kernel_refused,
    ),
    ("what a TA did not free is told when it ends", not_freed),
    (
        "the places of what a TA did not free are told",
        not_freed_where,
    ),
    ("what ended TAs used is known", what_they_used),
    (
        "what ended TAs were refused is known",
        what_they_were_refused,
    ),
    ("teestat advise names every setting", advice),
];

fn told(error: client::ClientError) -> String {
    format!("{error}")
}

fn log(bench: &Bench) -> Result<Vec<FailureRow>, String> {
    let log = client::rows::<FailureRow>(&bench.context, &Selector::ALL).map_err(told)?;
    let rising = log.windows(2).all(|two| two[0].number < two[1].number);
    holds(rising && log.len() <= 16, "the log is out of order")?;
    // A full one drops what is older of whoever has most, which need not be its first.
    let whole = (1..).zip(&log).all(|(number, row)| row.number == number);
    holds(whole || log.len() == 16, "the log has a hole")?;
    Ok(log)
}

/// The last refusal. It must be a new one since `before`.
fn last(bench: &Bench, before: &[FailureRow]) -> Result<FailureRow, String> {
    let number = |log: &[FailureRow]| log.last().map_or(0, |row| row.number);
    let now = log(bench)?;
    holds(number(&now) > number(before), "nothing new in the log")?;
    now.last()
        .copied()
        .ok_or_else(|| String::from("an empty log"))
}

fn heap_refused(bench: &Bench) -> Outcome {
    let before = log(bench)?;
    let mut session = bench.open(heap::UUID)?;
    works(value_in(&mut session, heap::CMD_LEAK, 2, 1000))?;
    fails(
        value_call(&mut session, heap::CMD_ALLOC, 77_777_777, 0),
        ErrorKind::OutOfMemory,
    )?;
    let row = last(bench, &before)?;
    equal(
        (row.pool, row.size, row.owner, row.image, row.session),
        (
            failed_pool::TA_HEAP,
            77_777_777,
            heap::UUID,
            heap::UUID,
            session.id(),
        ),
        "pool, size, owner, image, session",
    )?;
    holds(
        row.used >= 2000 && row.pool_size > 8 << 20,
        &format!("{} of {} in use", row.used, row.pool_size),
    )?;
    let name = |frame: u64| teestat::frame_name(&bench.context, &MachineNames, row.image, frame);
    let named = row
        .frames
        .iter()
        .any(|frame| name(*frame).starts_with("allocate tas/heap/"));
    holds(named, "the call stack does not name who asked")?;
    let held = row.top.iter().any(|top| {
        let leaks = |frame: &u64| name(*frame).contains(heap::LEAK_FUNCTION);
        top.bytes >= 1000 && top.frames.iter().any(leaks)
    });
    holds(held && row.tops > 0, "it does not say who holds most")?;
    let text = printed(bench, &["failures"], &mut Memory::default())?;
    holds(text.contains("77777777 bytes of TA heap refused"), &text)?;
    holds(text.contains(heap::LEAK_FUNCTION), &text)
}

fn pages_refused(bench: &Bench) -> Outcome {
    let eat = |session: &mut _| works(value_call(session, glutton::CMD_EAT, 65_536, 0));
    let before = log(bench)?;
    let mut first = bench.open(glutton::UUID)?;
    eat(&mut first)?;
    let row = last(bench, &before)?;
    equal(
        (row.pool, row.owner, row.pool_size),
        (failed_pool::TA_QUOTA, glutton::UUID, 2560 * 4096),
        "pool, owner and size of the quota",
    )?;
    let before = log(bench)?;
    let second = eat_the_rest(bench)?;
    let row = last(bench, &before)?;
    equal(
        (row.pool, row.owner),
        (failed_pool::TA_RAM, heap::UUID),
        "pool and owner",
    )?;
    holds(
        row.used + row.largest_free <= row.pool_size,
        "what was in use then and what was left are more than there is",
    )?;
    let before = log(bench)?;
    bench.refused(hello::UUID, ErrorKind::OutOfMemory)?;
    let row = last(bench, &before)?;
    equal(
        (row.pool, row.owner, row.image),
        (failed_pool::TA_RAM, hello::UUID, TeeUuid::nil()),
        "pool, owner and image of a load that failed",
    )?;
    let named = row.frames.iter().any(|frame| {
        client::kernel_frame(&bench.context, *frame)
            .is_ok_and(|name| name.contains("kernel/core/src/ta/load/"))
    });
    holds(named, "the call stack does not lead to the loader")?;
    // Nor is it the TAs alone that want pages.
    let before = log(bench)?;
    let scanned = calls::scan(&bench.context, &Selector::ta(heap::UUID)).map(drop);
    equal(
        scanned.map_err(|error| error.kind()),
        Err(Some(ErrorKind::OutOfMemory)),
        "a scan",
    )?;
    let row = last(bench, &before)?;
    equal(
        (
            row.pool,
            row.owner_kind,
            row.label.starts_with(b"statistics"),
        ),
        (failed_pool::TA_RAM, owner_kind::KERNEL, true),
        "pool and owner of a scan",
    )?;
    works(second.close())
}

fn buffers_refused(bench: &Bench) -> Outcome {
    let mut session = bench.open(drm::UUID)?;
    let before = log(bench)?;
    let hold = |session: &mut _, bytes| value_in(session, drm::CMD_HOLD, bytes, 0);
    let mut held = 0;
    while hold(&mut session, 1 << 16).is_ok() {
        held += 1;
    }
    let row = last(bench, &before)?;
    equal(
        (row.pool, row.owner, row.holder),
        (failed_pool::CHANNELS, drm::UUID, drm::UUID),
        "pool, owner, and who has most channels",
    )?;
    equal(
        (held, row.used_entries, row.entries, row.held_entries),
        (16, 16, 16, 16),
        "buffers held, channels in use, and a TA's share",
    )?;
    let details = client::rows::<TaDetail>(&bench.context, &Selector::ta(drm::UUID));
    let details = details.map_err(told)?;
    let detail = details.first().ok_or("the TA is not there")?;
    holds(
        detail.charged >= 16 << 16,
        &format!("charged with {} bytes", detail.charged),
    )?;
    // Another TA's are left, and no more than one's quota.
    let mut other = bench.open(drm::UUID)?;
    fails(hold(&mut other, 4096), ErrorKind::OutOfMemory)?;
    works(session.close())?;
    works(hold(&mut other, 4096))?;
    works(other.close())
}

fn last_resort(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    works(value_call(&mut session, heap::CMD_HOG, 3000, 0))?;
    let before = log(bench)?;
    // More than there is at once, until the pool gives up what it kept of the small ones.
    works(value_in(&mut session, heap::CMD_GROW, 8_380_000, 0))?;
    let now = log(bench)?;
    equal(
        now.last().map(|row| row.number),
        before.last().map(|row| row.number),
        "the last refusal",
    )?;
    works(session.close())
}

fn kernel_refused(bench: &Bench) -> Outcome {
    let before = log(bench)?;
    holds(memory::fill_heap(bench, 200)? > 0, "nothing fitted")?;
    let row = last(bench, &before)?;
    equal(
        (row.pool, row.image),
        (failed_pool::KERNEL_HEAP, TeeUuid::nil()),
        "pool and image",
    )?;
    holds(
        row.size > row.largest_free && row.used < row.pool_size && row.tops > 0,
        &format!(
            "{} of {} refused, {} free",
            row.size, row.pool_size, row.largest_free
        ),
    )?;
    let text = printed(bench, &["failures", "--json"], &mut Memory::default())?;
    let told = parsed(&text)?;
    let told = told["failures"].as_array().and_then(|rows| rows.last());
    equal(
        told.map(|row| &row["pool"]),
        Some(&"kernel heap".into()),
        "pool",
    )?;
    // Registering shared memory asks; which of its functions is inlined is the compiler's choice.
    holds(text.contains("kernel/core/src/"), &text)
}

fn history_of(bench: &Bench, uuid: TeeUuid) -> Result<HistoryRow, String> {
    let (rows, _) = client::listed::<HistoryRow>(&bench.context, &Selector::ALL).map_err(told)?;
    Ok(rows
        .into_iter()
        .find(|row| row.uuid == uuid)
        .unwrap_or_default())
}

fn not_freed(bench: &Bench) -> Outcome {
    let before = history_of(bench, heap::UUID)?;
    let mut session = bench.open(heap::UUID)?;
    works(value_in(&mut session, heap::CMD_LEAK, 3, 28))?;
    works(value_call(&mut session, heap::CMD_ALLOC, 5000, 0))?;
    works(session.close())?;
    let after = history_of(bench, heap::UUID)?;
    equal(
        (
            after.ended - before.ended,
            after.died - before.died,
            after.unfreed_blocks - before.unfreed_blocks,
            after.unfreed_bytes - before.unfreed_bytes,
        ),
        (1, 0, 3, 84),
        "ended, died, blocks and bytes not freed",
    )?;
    // Who frees what it has is not blamed.
    let mut session = bench.open(heap::UUID)?;
    works(value_call(&mut session, heap::CMD_ALLOC, 5000, 0))?;
    works(session.close())?;
    let last = history_of(bench, heap::UUID)?;
    equal(
        (last.ended - after.ended, last.unfreed_blocks),
        (1, after.unfreed_blocks),
        "a TA that freed all",
    )
}

fn not_freed_where(bench: &Bench) -> Outcome {
    // Bug: the history had the totals alone, and the call sites were on the secure console.
    let left = |died: u32| -> Result<(u64, u64), String> {
        let (rows, _) =
            client::listed::<UnfreedRow>(&bench.context, &Selector::ALL).map_err(told)?;
        let ours = rows.iter().filter(|row| {
            let name = |f: &u64| teestat::frame_name(&bench.context, &MachineNames, row.uuid, *f);
            let leaks = |f: &u64| name(f).contains(heap::LEAK_FUNCTION);
            (row.uuid, row.died) == (heap::UUID, died) && row.frames.iter().any(leaks)
        });
        Ok(ours.fold((0, 0), |(blocks, bytes), row| {
            (blocks + row.blocks, bytes + row.bytes)
        }))
    };
    let before = left(0)?;
    for _ in 0..2 {
        let mut session = bench.open(heap::UUID)?;
        works(value_in(&mut session, heap::CMD_LEAK, 3, 28))?;
        works(session.close())?;
    }
    let after = left(0)?;
    equal(
        (after.0 - before.0, after.1 - before.1),
        (6, 168),
        "blocks and bytes of the place",
    )?;
    let before = left(1)?;
    let mut session = bench.open(heap::UUID)?;
    works(value_in(&mut session, heap::CMD_LEAK, 2, 28))?;
    told_of_kill(client::kill(&bench.context, heap::UUID))?;
    drop(session);
    let after = left(1)?;
    equal(
        (after.0 - before.0, after.1 - before.1),
        (2, 56),
        "blocks and bytes that it held when it was killed",
    )?;
    let text = printed(bench, &["history"], &mut Memory::default())?;
    holds(
        text.contains(", not freed by ") && text.contains(&format!("#0 {}", heap::LEAK_FUNCTION)),
        &text,
    )?;
    let text = printed(bench, &["history", "--json"], &mut Memory::default())?;
    let json = parsed(&text)?;
    let places = json["unfreed"].as_array().ok_or("no list")?;
    let is_leak = |frame: &serde_json::Value| frame["function"] == heap::LEAK_FUNCTION;
    let is_named = |place: &serde_json::Value| {
        place["stack"]
            .as_array()
            .is_some_and(|s| s.iter().any(is_leak))
    };
    holds(places.iter().any(is_named), &text)
}

fn told_of_kill(result: Result<u32, client::ClientError>) -> Outcome {
    equal(result.map_err(told)?, 1, "instances that were ended")
}

fn what_they_were_refused(bench: &Bench) -> Outcome {
    const REFUSED: u32 = 30_000_000;
    let before = history_of(bench, heap::UUID)?;
    let mut session = bench.open(heap::UUID)?;
    works(value_in(&mut session, heap::CMD_LEAK, 1, 1000))?;
    fails(
        value_call(&mut session, heap::CMD_ALLOC, REFUSED, 0),
        ErrorKind::OutOfMemory,
    )?;
    works(session.close())?;
    let after = history_of(bench, heap::UUID)?;
    equal(after.refused - before.refused, 1, "refused")?;
    // Another test may have been refused more before.
    let biggest = after.biggest_refused;
    let this_one =
        biggest == u64::from(REFUSED) && (1000..biggest).contains(&after.biggest_refused_used);
    holds(
        this_one || biggest > u64::from(REFUSED),
        &format!(
            "{} refused with {} used",
            after.biggest_refused, after.biggest_refused_used
        ),
    )
}

fn what_they_used(bench: &Bench) -> Outcome {
    // Others of its kind have died of too small a stack.
    client::reset(&bench.context).map_err(told)?;
    let before = history_of(bench, crash::UUID)?;
    let mut session = bench.open(crash::UUID)?;
    fails(
        value_in(&mut session, crash::CMD_PANIC_HOLDING, 3, 0),
        ErrorKind::TargetDead,
    )?;
    drop(session);
    let after = history_of(bench, crash::UUID)?;
    equal(
        (after.ended - before.ended, after.died - before.died),
        (1, 1),
        "ended and died",
    )?;
    // What a TA holds when it dies is no leak, and told apart.
    holds(
        after.held_blocks > before.held_blocks
            && after.held_bytes > before.held_bytes
            && after.unfreed_blocks == before.unfreed_blocks,
        &format!(
            "{} bytes held in {} blocks, {} not freed",
            after.held_bytes, after.held_blocks, after.unfreed_blocks
        ),
    )?;
    holds(
        after.heap_max > 0 && after.heap_max <= after.heap_size,
        &format!("{} of {} bytes of heap", after.heap_max, after.heap_size),
    )?;
    holds(
        after.stack_max > 0 && after.stack_max <= after.stack_size,
        &format!("{} of {} bytes of stack", after.stack_max, after.stack_size),
    )?;
    let mut session = bench.open(heap::UUID)?;
    works(value_in(&mut session, heap::CMD_GROW, 1 << 20, 0))?;
    works(session.close())?;
    let row = history_of(bench, heap::UUID)?;
    holds(
        row.heap_max >= 1 << 20 && row.charged_max >= 1 << 20,
        &format!(
            "{} bytes of heap, {} charged",
            row.heap_max, row.charged_max
        ),
    )?;
    // What was declared, and what rounding to pages added.
    holds(
        (8 << 20..=(8 << 20) + 4096).contains(&row.heap_size),
        &format!("{} bytes of heap declared", row.heap_size),
    )?;
    let text = printed(bench, &["history"], &mut Memory::default())?;
    holds(text.contains("heap (7a11e110-0002"), &text)
}

fn advice(bench: &Bench) -> Outcome {
    let session = bench.open(hello::UUID)?;
    let text = printed(bench, &["advise"], &mut Memory::default());
    let as_json = printed(bench, &["advise", "--json"], &mut Memory::default());
    drop(session);
    let text = text?;
    for setting in [
        "HEAP_BYTES in kernel/src/roof.rs",
        "SECURE_RAM_BYTES in the board's crate",
        "DEFAULT_TA_QUOTA_PAGES in kernel/core/src/guest.rs",
        "heap_size in the TA's properties!",
        "stack_size in the TA's properties!",
    ] {
        holds(
            text.contains(setting),
            &format!("nothing on {setting}: {text}"),
        )?;
    }
    // What is set now is what is set: not what a pool has, nor what rounding and tables add.
    let now = |lines: &str, what: &str| {
        let line = lines.lines().find(|line| line.starts_with(what));
        let rest = line.and_then(|line| line.strip_prefix(what));
        rest.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
    };
    let rows = client::rows::<MeminfoRow>(&bench.context, &Selector::ALL)
        .map_err(|error| format!("{error}"))?;
    let pages = rows
        .iter()
        .find(|row| row.label.starts_with(b"kernel heap"));
    let heap = pages.map(|row| row.bytes);
    equal(now(&text, "kernel heap"), heap, "HEAP_BYTES")?;
    let of_hello = text.split("hello (").nth(1).unwrap_or_default();
    equal(now(of_hello, "heap"), Some(32 << 10), "heap_size")?;
    let json = parsed(&as_json?)?;
    equal(&json["advice"][0]["what"], &"kernel heap".into(), "what")
}
