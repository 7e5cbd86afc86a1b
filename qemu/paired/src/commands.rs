//! Tests of the cost of each TA command, and of snapshots.
//!
//! **Invariant:** every test leaves no snapshot and no TA that is looked at in detail.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use ta_uuids::{crash, heap, hello};
use tally_abi::TeeUuid;
use tally_abi::pta::audit::ledger;
use tally_abi::ta::entry;
use tally_records::Selector;
use tally_records::snapshot::{Header, MAGIC, Section};
use tally_records::{
    CommandRow, LeakRecord, MeminfoRow, OwnerRow, PoolRow, Record, RegionRow, TaDetail,
};
use teec::ErrorKind;
use teestat::client::{self, ClientError};
use zerocopy::FromBytes;

use crate::{Bench, Outcome, Test, equal, fails, holds, value_call, value_in, works};

pub(crate) const TESTS: &[Test] = &[
    ("the ledger tells commands apart", commands),
    ("the ledger counts allocations when asked", detail),
    ("a command that ends the TA counts as failed", deadly),
    ("a snapshot adds up and is given back", snapshot),
];

fn told<T>(result: Result<T, ClientError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// The figures of one command.
pub fn row(
    bench: &Bench,
    uuid: TeeUuid,
    function: u64,
    command: u32,
) -> Result<CommandRow, String> {
    let rows = told(client::rows::<CommandRow>(
        &bench.context,
        &Selector::ta(uuid),
    ))?;
    let found = rows
        .iter()
        .find(|row| u64::from(row.function) == function && row.command == command);
    found
        .copied()
        .ok_or_else(|| format!("no row for command {command}"))
}

fn invoked(bench: &Bench, command: u32) -> Result<CommandRow, String> {
    row(bench, heap::UUID, entry::INVOKE_COMMAND, command)
}

fn commands(bench: &Bench) -> Outcome {
    told(client::set_ledger(
        &bench.context,
        TeeUuid::nil(),
        ledger::CLEAR,
    ))?;
    let mut session = bench.open(heap::UUID)?;
    let (handle, _) = works(value_call(&mut session, heap::CMD_ALLOC, 5000, 0))?;
    let (other, _) = works(value_call(&mut session, heap::CMD_ALLOC, 700, 0))?;
    works(value_in(&mut session, heap::CMD_FREE, handle, 0))?;
    fails(
        value_in(&mut session, heap::CMD_FREE, handle, 0),
        ErrorKind::ItemNotFound,
    )?;
    works(value_in(&mut session, heap::CMD_GROW, 100_000, 0))?;
    works(value_in(&mut session, heap::CMD_LEAK, 3, 64))?;

    let opened = row(bench, heap::UUID, entry::OPEN_SESSION, 0)?;
    equal((opened.calls, opened.failed), (1, 0), "sessions opened")?;
    let alloc = invoked(bench, heap::CMD_ALLOC)?;
    equal((alloc.calls, alloc.failed), (2, 0), "allocated")?;
    holds(
        (5700..5700 + 512).contains(&alloc.net_bytes),
        &format!("allocating grew by {}", alloc.net_bytes),
    )?;
    let free = invoked(bench, heap::CMD_FREE)?;
    equal((free.calls, free.failed), (2, 1), "freed")?;
    equal(free.net_bytes, -5000, "freeing")?;
    let grow = invoked(bench, heap::CMD_GROW)?;
    equal(grow.net_bytes, 0, "allocating and freeing")?;
    equal(grow.heap_above_entry, 100_000, "most above the entry")?;
    let leak = invoked(bench, heap::CMD_LEAK)?;
    equal(leak.net_bytes, 3 * 64, "leaking")?;
    holds(leak.ticks > 0, "no time passed")?;
    equal(leak.detailed, 0, "calls in detail that nobody asked for")?;
    works(value_in(&mut session, heap::CMD_FREE, other, 0))
}

fn detail(bench: &Bench) -> Outcome {
    let context = &bench.context;
    told(client::set_ledger(context, TeeUuid::nil(), ledger::CLEAR))?;
    let mut session = bench.open(heap::UUID)?;
    told(client::set_ledger(context, heap::UUID, ledger::DETAIL))?;
    let leaked = works(value_in(&mut session, heap::CMD_LEAK, 20, 48));
    told(client::set_ledger(context, heap::UUID, ledger::PLAIN))?;
    leaked?;
    works(value_in(&mut session, heap::CMD_LEAK, 5, 48))?;
    let leak = invoked(bench, heap::CMD_LEAK)?;
    equal((leak.calls, leak.detailed), (2, 1), "calls, and in detail")?;
    equal((leak.allocations, leak.releases), (20, 0), "in detail")?;
    equal(leak.net_bytes, 25 * 48, "bytes of both")?;
    holds(
        (64..8192).contains(&leak.stack_deepest),
        &format!("a stack of {} bytes", leak.stack_deepest),
    )?;
    // So many TAs at a time, and no more.
    let others = (1..=4_u128).map(TeeUuid::from_u128);
    let all = others
        .clone()
        .try_for_each(|uuid| told(client::set_ledger(context, uuid, ledger::DETAIL)));
    let more = client::set_ledger(context, hello::UUID, ledger::DETAIL);
    for uuid in others {
        told(client::set_ledger(context, uuid, ledger::PLAIN))?;
    }
    all?;
    equal(
        more.err().and_then(|error| error.kind()),
        Some(ErrorKind::OutOfMemory),
        "one TA too many",
    )
}

fn deadly(bench: &Bench) -> Outcome {
    told(client::set_ledger(
        &bench.context,
        TeeUuid::nil(),
        ledger::CLEAR,
    ))?;
    let mut session = bench.open(crash::UUID)?;
    works(session.invoke_plain(crash::CMD_NOP))?;
    fails(
        session.invoke_plain(crash::CMD_NULL_READ),
        ErrorKind::TargetDead,
    )?;
    let of = |command| row(bench, crash::UUID, entry::INVOKE_COMMAND, command);
    equal(of(crash::CMD_NOP)?.failed, 0, "the harmless command")?;
    let deadly = of(crash::CMD_NULL_READ)?;
    equal((deadly.calls, deadly.failed), (1, 1), "the deadly command")
}

/// A section of a snapshot, with its records.
pub(crate) type Records<'a> = (Section, &'a [u8]);

/// A snapshot's header, and its sections.
pub(crate) fn sections(bytes: &[u8]) -> Result<(Header, Vec<Records<'_>>), String> {
    let (header, mut rest) =
        Header::read_from_prefix(bytes).map_err(|_| "it has no header".to_string())?;
    equal(header.magic, MAGIC, "magic")?;
    equal(header.total_bytes as usize, bytes.len(), "bytes")?;
    equal(header.dropped, 0, "records dropped")?;
    let mut sections = Vec::new();
    while !rest.is_empty() {
        let (section, records) =
            Section::read_from_prefix(rest).map_err(|_| "a section is cut".to_string())?;
        let len = section.record_bytes as usize * section.count as usize;
        let (records, behind) = records
            .split_at_checked(len)
            .ok_or_else(|| "records are cut".to_string())?;
        sections.push((section, records));
        rest = behind;
    }
    Ok((header, sections))
}

/// All bytes of a snapshot.
pub(crate) fn read(bench: &Bench, number: u32) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let len = told(client::read_snapshot(&bench.context, number, |piece| {
        bytes.extend_from_slice(piece);
        true
    }))?;
    equal(len, bytes.len(), "bytes read")?;
    Ok(bytes)
}

fn snapshot(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    works(value_in(&mut session, heap::CMD_LEAK, 3, 64))?;
    let (number, len) = told(client::take_snapshot(&bench.context))?;
    let bytes = read(bench, number);
    let charged = told(client::rows::<MeminfoRow>(&bench.context, &Selector::ALL))?;
    told(client::drop_snapshot(&bench.context, number))?;
    let bytes = bytes?;
    equal(bytes.len(), len as usize, "bytes")?;
    let pages = charged
        .iter()
        .find(|row| row.label.starts_with(b"snapshots"));
    holds(
        pages.is_some_and(|row| row.bytes as usize >= bytes.len()),
        "its memory is not accounted for",
    )?;
    let (header, sections) = sections(&bytes)?;
    let of = |kind| sections.iter().find(|(s, _)| s.kind == kind);
    let (_, meminfo) = of(MeminfoRow::SECTION).ok_or("no meminfo")?;
    let rows = meminfo.chunks(size_of::<MeminfoRow>());
    let sum: u64 = rows
        .filter_map(|row| MeminfoRow::read_from_bytes(row).ok())
        .map(|row| row.bytes)
        .sum();
    equal(sum, header.secure_ram, "secure RAM by use")?;
    for kind in [
        PoolRow::SECTION,
        OwnerRow::SECTION,
        TaDetail::SECTION,
        RegionRow::SECTION,
        LeakRecord::SECTION,
        CommandRow::SECTION,
    ] {
        let count = of(kind).map_or(0, |(section, _)| section.count);
        holds(count > 0, &format!("section {kind} is empty"))?;
    }
    let none = client::read_snapshot(&bench.context, number, |_| true);
    equal(
        none.err().and_then(|error| error.kind()),
        Some(ErrorKind::ItemNotFound),
        "a snapshot that was dropped",
    )
}
