//! The incident of the protected streams, replayed: buffers unmapped after their channel was closed.
//!
//! **Invariant:** every test ends with the fault off and the TA gone.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use ta_uuids::drm;
use tally_abi::TeeUuid;
use tally_records::RegionRow;
use tally_records::Selector;
use tally_records::{EventRow, HeldRow, LeakRecord, Stack, event, held};
use teec::{ErrorKind, Session};
use teestat::client::leaks as calls;
use teestat::client::{self, ClientError};

use crate::{Bench, NO_HOOKS, Outcome, Test, equal, fails, holds, value_call, value_in, works};

pub(crate) const TESTS: &[Test] = &[
    ("what a session mapped is listed until it is undone", listed),
    ("a wrong order is named when it happens", wrong_order),
    (
        "10,000 switches leak what the fault loses, and nothing without it",
        ten_thousand,
    ),
];

/// Switches with one TA: half of them in the wrong order leave a region each.
const ROUND: u32 = 100;
/// Rounds before the fault is switched off once, which frees what it lost.
const ROUNDS: u32 = 10;
/// Of this many rounds.
const SERIES: u32 = 10;

fn told<T>(result: Result<T, ClientError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn switch(session: &mut Session<'_>, count: u32, order: u32) -> Result<u32, String> {
    let (done, refused) = works(value_call(session, drm::CMD_SWITCH, count, order))?;
    equal(done, count, "switches")?;
    Ok(refused)
}

/// Names of the frames of a stack in `image`.
fn names(bench: &Bench, image: TeeUuid, frames: &[u64]) -> Vec<String> {
    let frames = frames.iter().take_while(|&&frame| frame != 0);
    frames
        .map(|&frame| teestat::frame_name(&bench.context, bench.side.names(), image, frame))
        .collect()
}

/// The stack must pass through these two functions, of the TA and of the kernel.
fn passes(bench: &Bench, stack: &Stack, ta: &str, kernel: &str) -> Outcome {
    for (image, frames, function) in [
        (drm::UUID, &stack.ta, ta),
        (TeeUuid::nil(), &stack.kernel, kernel),
    ] {
        let names = names(bench, image, frames);
        let named = names.iter().any(|name| name.starts_with(function));
        holds(named, &format!("no {function} in {names:?}"))?;
    }
    Ok(())
}

fn held_by_drm(bench: &Bench, kind: u32) -> Result<Vec<HeldRow>, String> {
    let mut rows = told(client::rows::<HeldRow>(&bench.context, &Selector::ALL))?;
    rows.retain(|row| row.kind == kind && row.who.ta == drm::UUID);
    Ok(rows)
}

fn listed(bench: &Bench) -> Outcome {
    let mut session = bench.open(drm::UUID)?;
    equal(held_by_drm(bench, held::SESSION)?.len(), 1, "sessions")?;
    works(value_in(&mut session, drm::CMD_HOLD, 5000, 0))?;
    equal(switch(&mut session, 3, drm::order::RIGHT)?, 0, "refused")?;
    let mappings = held_by_drm(bench, held::MAPPING)?;
    equal(mappings.len(), 1, "mappings")?;
    let row = &mappings[0];
    equal(row.bytes, 8192, "bytes, in whole pages")?;
    equal(row.who.session, session.id(), "session")?;
    let regions = client::rows::<RegionRow>(&bench.context, &Selector::ta(drm::UUID));
    holds(
        told(regions)?.iter().any(|region| region.va == row.place),
        "no region begins where the mapping does (both are hidden, or neither)",
    )?;
    passes(bench, &row.stack, "map_buffer", "map_buffer")?;
    let channels = held_by_drm(bench, held::CHANNEL)?;
    equal(channels.len(), 1, "channels")?;
    passes(bench, &channels[0].stack, "open_channel", "open_channel")?;
    for bytes in [0, 65_537, u32::MAX] {
        fails(
            value_in(&mut session, drm::CMD_HOLD, bytes, 0),
            ErrorKind::BadParameters,
        )?;
    }
    let id = session.id();
    works(session.close())?;
    for kind in [held::CHANNEL, held::MAPPING, held::SESSION] {
        equal(held_by_drm(bench, kind)?.len(), 0, "held afterwards")?;
    }
    // Channels that nobody closed are told: those of the refused buffers too.
    let events = told(client::rows::<EventRow>(&bench.context, &Selector::ALL))?;
    let ended = |e: &&EventRow| e.kind == event::END_BEFORE_CLOSE && e.who.session == id;
    let times: u64 = events.iter().filter(ended).map(|e| e.times).sum();
    equal(times, 4, "channels that were never closed")
}

/// The events of this session, by kind.
fn events_of(bench: &Bench, session: u32, kind: u32) -> Result<Vec<EventRow>, String> {
    let mut events = told(client::rows::<EventRow>(&bench.context, &Selector::ALL))?;
    events.retain(|e| e.kind == kind && e.who.session == session);
    Ok(events)
}

fn wrong_order(bench: &Bench) -> Outcome {
    let mut session = bench.open(drm::UUID)?;
    let id = session.id();
    equal(switch(&mut session, 5, drm::order::RIGHT)?, 0, "refused")?;
    for kind in [event::CLOSE_BEFORE_UNMAP, event::UNMAP_AFTER_CLOSE] {
        equal(events_of(bench, id, kind)?.len(), 0, "events before")?;
    }
    equal(switch(&mut session, 1, drm::order::WRONG)?, 1, "refused")?;
    let close = events_of(bench, id, event::CLOSE_BEFORE_UNMAP)?;
    let unmap = events_of(bench, id, event::UNMAP_AFTER_CLOSE)?;
    equal((close.len(), unmap.len()), (1, 1), "events")?;
    let (close, unmap) = (&close[0], &unmap[0]);
    equal((close.times, unmap.times), (1, 1), "times")?;
    equal((close.mappings, close.bytes), (1, 4096), "mappings")?;
    equal(unmap.cause, close.number, "the close that came before")?;
    equal(unmap.channel, close.channel, "channel")?;
    equal(close.who.ta, drm::UUID, "TA")?;
    equal(
        close.who.login,
        tally_abi::msg::login::PUBLIC,
        "client's login",
    )?;
    passes(bench, &close.stack, "close_channel", "close_channel")?;
    passes(bench, &close.earlier, "map_buffer", "map_buffer")?;
    passes(bench, &unmap.stack, "unmap_buffer", "unmap_buffer")?;
    equal(unmap.earlier, close.stack, "where it was closed")?;
    // Again: counted, not kept twice.
    equal(switch(&mut session, 7, drm::order::WRONG)?, 7, "refused")?;
    let close = events_of(bench, id, event::CLOSE_BEFORE_UNMAP)?;
    equal((close.len(), close[0].times), (1, 8), "events")?;
    equal(held_by_drm(bench, held::MAPPING)?.len(), 0, "mappings left")
}

/// Blocks and bytes of blocks of `size` bytes that `function` allocated and nobody freed.
fn lost(records: &[LeakRecord], bench: &Bench, size: u32, function: &str) -> (u32, u64) {
    let mut sum = (0, 0);
    for record in records.iter().filter(|r| r.block_size == size) {
        let names = names(bench, record.image, &record.frames);
        if names.iter().any(|name| name.starts_with(function)) {
            sum = (sum.0 + record.blocks, sum.1 + record.bytes);
        }
    }
    sum
}

/// A series of switches with the fault on: what is lost per wrong switch.
fn faulty_series(bench: &Bench) -> Outcome {
    told(client::set_buffer_fault(&bench.context, true))?;
    let mark = told(calls::mark(&bench.context, ""))?;
    for _ in 0..ROUNDS {
        let mut session = bench.open(drm::UUID)?;
        let refused = switch(&mut session, ROUND, drm::order::ALTERNATE)?;
        equal(refused, ROUND / 2, "refused")?;
        let left = held_by_drm(bench, held::MAPPING)?;
        let bytes: u64 = left.iter().map(|row| row.bytes).sum();
        equal(
            (left.len() as u32, bytes),
            (ROUND / 2, u64::from(ROUND / 2) * 4096),
            "regions left in the TA",
        )?;
        let close = events_of(bench, session.id(), event::CLOSE_BEFORE_UNMAP)?;
        equal((close.len(), close[0].times), (1, 50), "closed too early")?;
    }
    let wrong = ROUNDS * ROUND / 2;
    let records = told(calls::live(&bench.context, &Selector::KERNEL.since(mark)))?;
    for (size, function) in [(28, "new_region_node"), (32, "new_buffer_object")] {
        let (blocks, bytes) = lost(&records, bench, size, function);
        equal(blocks, wrong, "blocks lost")?;
        equal(
            bytes / u64::from(wrong),
            u64::from(size),
            "bytes per wrong switch",
        )?;
    }
    let all: u64 = records.iter().map(|r| r.bytes).sum();
    equal(all, u64::from(wrong) * (28 + 32), "bytes lost in all")?;
    told(client::set_buffer_fault(&bench.context, false))
}

/// A series without the fault: nothing grows.
fn sound_series(bench: &Bench) -> Outcome {
    let mut session = bench.open(drm::UUID)?;
    let mark = told(calls::mark(&bench.context, ""))?;
    let refused = switch(&mut session, ROUNDS * ROUND, drm::order::ALTERNATE)?;
    equal(refused, ROUNDS * ROUND / 2, "refused")?;
    let records = told(calls::live(&bench.context, &Selector::ALL.since(mark)))?;
    let grown: u64 = records.iter().map(|r| r.bytes).sum();
    equal(grown, 0, "bytes that grew")?;
    equal(held_by_drm(bench, held::MAPPING)?.len(), 0, "mappings left")
}

fn ten_thousand(bench: &Bench) -> Outcome {
    match client::set_buffer_fault(&bench.context, false) {
        Err(error) if error.kind() == Some(ErrorKind::NotSupported) => {
            return bench.skipped(NO_HOOKS);
        }
        other => told(other)?,
    }
    let result = (0..SERIES).try_for_each(|_| faulty_series(bench));
    told(client::set_buffer_fault(&bench.context, false))?;
    result?;
    (0..SERIES).try_for_each(|_| sound_series(bench))
}
