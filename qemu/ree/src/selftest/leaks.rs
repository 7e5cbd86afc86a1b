//! Marks, growth between them, and blocks that nothing points to.
//!
//! **Invariant:** every test ends with the TAs gone that lost blocks.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use ta_uuids::{glutton, heap, hello};
use tally_abi::TeeUuid;
use tally_abi::pta::control::fault;
use tally_abi::pta::inspect;
use tally_records::MarkRow;
use tally_records::MeminfoRow;
use tally_records::TaDetail;
use tally_records::{
    EndedRow, LeakRecord, Record, ScanRow, Selector, SuspectRow, ended, owner_kind, state,
};
use teec::{
    Direction, ErrorKind, Operation, ParamRegisteredMem, ParamTmpRef, ParamType, ParamValue,
    Session, SharedMemory,
};
use teestat::client::leaks as calls;
use teestat::client::{self, ClientError};
use teestat::{Memory, STATUS_FAILED, STATUS_OK, STATUS_USAGE};
use zerocopy::{FromBytes, IntoBytes};

use super::{
    Bench, NO_HOOKS, ONE_CPU, Outcome, Test, equal, fails, holds, parsed, second_cpu, value_call,
    value_in, works,
};
use crate::jobs;
use crate::machine::cpu;
use crate::names::MachineNames;
use tally_paired::heaps::eat_the_rest;

pub(super) const TESTS: &[Test] = &[
    ("marks have names that every client can use", names),
    ("an unknown mark is answered with the nearest", unknown_mark),
    ("growth is told per cycle", cycles),
    ("what was allocated between two marks is told", between),
    (
        "the memory for the answer is not in it, be it registered",
        registered_answer,
    ),
    (
        "TAs that came and went since a mark are told",
        came_and_went,
    ),
    ("a scan finds what a TA lost and not what it keeps", found),
    ("what was cleared is not shown, what comes is", cleared),
    ("a scan finds the leaks of a TA that loops", looping),
    ("a scan without pages is refused", no_pages),
    ("a scan of the kernel heap finds nothing", kernel_heap),
    ("a scan finds what the kernel lost", kernel_lost),
    ("leaks ta tells live blocks and lost ones", leaks_ta),
    ("top lists TAs, and rounds follow each other", top),
];

fn told<T>(result: Result<T, ClientError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// Runs `teestat`; status, output, complaints.
fn teestat(bench: &Bench, args: &[&str]) -> (u8, String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    let mut memory = Memory::default();
    let status = teestat::run(
        args,
        &bench.context,
        &mut out,
        &mut err,
        &MachineNames,
        &mut memory,
    );
    (status, out, err)
}

fn printed(bench: &Bench, args: &[&str]) -> Result<String, String> {
    match teestat(bench, args) {
        (STATUS_OK, out, err) if err.is_empty() => Ok(out),
        (status, _, err) => Err(format!("teestat {args:?}: status {status}: {err}")),
    }
}

/// A heap: a TA's, or (nil) the kernel's.
fn heap_of(uuid: TeeUuid) -> Selector {
    if uuid == TeeUuid::nil() {
        Selector::KERNEL
    } else {
        Selector::ta(uuid)
    }
}

fn scan(bench: &Bench, uuid: TeeUuid) -> Result<ScanRow, String> {
    let rows = told(calls::scan(&bench.context, &heap_of(uuid)))?;
    let [row] = rows[..] else {
        return Err(format!("{} heaps were scanned", rows.len()));
    };
    equal(row.inconsistent, 0, "inconsistent")?;
    equal(row.heap, uuid, "heap")?;
    Ok(row)
}

/// Blocks and bytes that scans have found.
fn shown(bench: &Bench, uuid: TeeUuid) -> Result<(u32, u64, Vec<SuspectRow>), String> {
    let rows = told(client::rows::<SuspectRow>(&bench.context, &heap_of(uuid)))?;
    let blocks = rows.iter().map(|row| row.leak.blocks).sum();
    let bytes = rows.iter().map(|row| row.leak.bytes).sum();
    Ok((blocks, bytes, rows))
}

fn leak(session: &mut Session<'_>, blocks: u32, bytes: u32) -> Outcome {
    works(value_in(session, heap::CMD_LEAK, blocks, bytes))
}

/// A record's call stack must name the function that loses blocks.
fn lost_there(bench: &Bench, row: &SuspectRow) -> Outcome {
    let mut frames = row.leak.frames.iter().take_while(|&&frame| frame != 0);
    let named = frames.any(|&frame| {
        teestat::frame_name(&bench.context, &MachineNames, row.leak.image, frame)
            .contains(heap::LEAK_FUNCTION)
    });
    holds(named, "a call stack does not name the function")
}

fn names(bench: &Bench) -> Outcome {
    let first = told(calls::mark(&bench.context, "test-first"))?;
    let second = told(calls::mark(&bench.context, "test-again"))?;
    let third = told(calls::mark(&bench.context, "test-again"))?;
    holds(first < second && second < third, "numbers do not rise")?;
    let (marks, _) = told(client::listed::<MarkRow>(&bench.context, &Selector::ALL))?;
    let numbers: Vec<u32> = marks.iter().rev().take(3).map(|mark| mark.number).collect();
    equal(numbers, [third, second, first].to_vec(), "the last marks")?;
    holds(
        marks
            .iter()
            .rev()
            .nth(2)
            .is_some_and(|mark| mark.name.starts_with(b"test-first\0")),
        "a name is not kept",
    )?;
    // Another client's tool knows them too; a name is the newest mark's.
    let text = printed(bench, &["leaks", "diff", "test-again"])?;
    holds(
        text.starts_with(&format!(
            "live and allocated since mark {third} `test-again`: 0 bytes"
        )),
        &text,
    )?;
    let text = printed(bench, &["leaks", "marks"])?;
    holds(
        text.lines().any(|line| {
            line.trim_start()
                .starts_with(&format!("{first}  test-first "))
        }),
        &text,
    )?;
    for bad in ["sixteen-bytes!!!", "two words", "tab\t"] {
        let error = calls::mark(&bench.context, bad).map_err(|error| error.kind());
        equal(error, Err(Some(ErrorKind::BadParameters)), bad)?;
        let (status, _, err) = teestat(bench, &["leaks", "mark", bad]);
        equal(status, STATUS_USAGE, &err)?;
    }
    Ok(())
}

fn unknown_mark(bench: &Bench) -> Outcome {
    let number = told(calls::mark(&bench.context, "test-here"))?;
    let (status, _, err) = teestat(bench, &["leaks", "diff", "test-hare"]);
    equal(status, STATUS_FAILED, &err)?;
    holds(
        err.contains(&format!("nearest are: {number} `test-here`")),
        &err,
    )?;
    let (status, _, err) = teestat(bench, &["leaks", "diff", "65000"]);
    equal(status, STATUS_FAILED, &err)?;
    holds(err.contains(&format!("nearest are: {number}")), &err)?;
    let since = |mark| {
        let live = calls::live(&bench.context, &Selector::ALL.since(mark));
        live.map(drop).map_err(|error| error.kind())
    };
    equal(since(number), Ok(()), "since a mark")?;
    equal(
        since(65_000),
        Err(Some(ErrorKind::BadParameters)),
        "since a mark that nobody set",
    )?;
    let unknown = calls::live(&bench.context, &Selector::ta(TeeUuid::from_u128(1)));
    equal(
        unknown.map(|_| ()).map_err(|error| error.kind()),
        Err(Some(ErrorKind::ItemNotFound)),
        "blocks of a TA that is not loaded",
    )
}

fn cycles(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    leak(&mut session, 2, 28)?;
    let mut first = 0;
    for cycle in 0..5 {
        let number = told(calls::mark(&bench.context, "test-cycle"))?;
        if cycle == 0 {
            first = number;
        }
        leak(&mut session, 1, 28)?;
        if cycle == 3 {
            leak(&mut session, 1, 1000)?;
        }
    }
    let text = printed(bench, &["leaks", "diff", &first.to_string()])?;
    holds(
        text.starts_with(&format!(
            "live and allocated since mark {first} `test-cycle`, 5 cycles: 1140 bytes in 6 blocks"
        )),
        &text,
    )?;
    // Both sizes are lost in one place: not the same every time.
    holds(
        text.contains("\n  per cycle: 228.00 bytes, from 28 to 1028, in 5 of 5 cycles\n"),
        &text,
    )?;
    holds(text.contains(" % more than the 56 bytes before\n"), &text)?;
    // The first three cycles alone are steady.
    let until = (first + 3).to_string();
    let text = printed(bench, &["leaks", "diff", &first.to_string(), &until])?;
    holds(
        text.contains("\n  per cycle: 28 bytes in 1 block, exactly the same in each of 3\n"),
        &text,
    )?;
    let text = printed(bench, &["leaks", "diff", &first.to_string(), "--json"])?;
    let told = parsed(&text)?;
    let figures = (told["cycles"].as_u64(), told["total"]["bytes"].as_u64());
    equal(figures, (Some(5), Some(1140)), "cycles and bytes")
}

fn between(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    let a = told(calls::mark(&bench.context, "test-a"))?;
    leak(&mut session, 3, 28)?;
    let b = told(calls::mark(&bench.context, "test-b"))?;
    leak(&mut session, 5, 32)?;
    let ours = |(from, until)| -> Result<(u32, u64), String> {
        let since = Selector::ta(heap::UUID).since(from);
        let mut records = told(calls::live(&bench.context, &since))?;
        records.retain(|record| record.mark < until);
        let blocks = records.iter().map(|record| record.blocks).sum();
        Ok((blocks, records.iter().map(|record| record.bytes).sum()))
    };
    equal(ours((a, b))?, (3, 84), "between the marks")?;
    equal(ours((b, u32::MAX))?, (5, 160), "since the second")?;
    equal(ours((a, u32::MAX))?, (8, 244), "since the first")?;
    let (status, _, err) = teestat(bench, &["leaks", "diff", "test-b", "test-a"]);
    equal(status, STATUS_USAGE, &err)
}

/// Blocks of the guest's own in an answer of so many bytes.
fn blocks_of_guest(answer: &SharedMemory<'_>, len: usize) -> u32 {
    let mut bytes = alloc::vec![0; len];
    answer.read(0, &mut bytes);
    let records = bytes.chunks_exact(size_of::<LeakRecord>());
    let records = records.filter_map(|record| LeakRecord::read_from_bytes(record).ok());
    let of_guest = records.filter(|record| record.owner_kind == owner_kind::GUEST);
    of_guest.map(|record| record.blocks).sum()
}

fn registered_answer(bench: &Bench) -> Outcome {
    let mark = told(calls::mark(&bench.context, ""))?;
    let answer = works(SharedMemory::allocate(&bench.context, 8192))?;
    let another = works(SharedMemory::allocate(&bench.context, 8192))?;
    let mut session = bench.open(inspect::UUID)?;
    let since = Selector::KERNEL.since(mark);
    // An object and the list of its pages each: those of the other memory alone.
    for (memory, blocks) in [(&answer, 2), (&another, 2)] {
        let mut op = Operation::new(
            0,
            ParamValue::new(LeakRecord::SECTION, 0, ParamType::ValueInout),
            ParamTmpRef::new_input(since.as_bytes()),
            ParamValue::new(0, 0, ParamType::ValueInout),
            ParamRegisteredMem::part(memory, Direction::Output, 0, memory.len()),
        );
        works(session.invoke_command(inspect::CMD_LIST, &mut op))?;
        let len = op.parameters().3.updated_size();
        equal(
            blocks_of_guest(memory, len),
            blocks,
            "blocks of the memory that is not used",
        )?;
    }
    works(session.close())?;
    works(answer.release())?;
    works(another.release())
}

fn came_and_went(bench: &Bench) -> Outcome {
    let mark = told(calls::mark(&bench.context, "test-before"))?;
    let mut first = bench.open(heap::UUID)?;
    leak(&mut first, 4, 25)?;
    // Younger than the mark, though no mark was set in its life.
    let since = Selector::ta(heap::UUID).since(mark);
    let records = told(calls::live(&bench.context, &since))?;
    let lost: u32 = records.iter().map(|record| record.blocks).sum();
    holds(lost >= 4, "blocks of a TA that came after the mark")?;
    works(first.close())?;
    let second = bench.open(hello::UUID)?;
    told(client::kill(&bench.context, hello::UUID))?;
    drop(second);
    let since = Selector::ALL.since(mark);
    let rows = told(client::rows::<EndedRow>(&bench.context, &since))?;
    let row = |uuid| {
        rows.iter()
            .find(|row| row.uuid == uuid)
            .ok_or_else(|| format!("an end is not told: {rows:?}"))
    };
    let heap_row = row(heap::UUID)?;
    equal(heap_row.how, ended::CLOSED, "how heap ended")?;
    holds(
        heap_row.blocks >= 4 && heap_row.bytes >= 100 && heap_row.born >= mark,
        &format!("{heap_row:?}"),
    )?;
    equal(row(hello::UUID)?.how, ended::DIED, "how hello ended")?;
    let text = printed(bench, &["leaks", "diff", "test-before"])?;
    holds(
        text.contains("ended meanwhile") && text.contains("bytes in 4 blocks not freed"),
        &text,
    )
}

fn found(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    for place in [heap::keep::STATIC, heap::keep::LIST, heap::keep::INSIDE] {
        works(value_in(&mut session, heap::CMD_KEEP, place, 100 + place))?;
    }
    let (handle, _) = works(value_call(&mut session, heap::CMD_ALLOC, 5000, 0))?;
    let row = scan(bench, heap::UUID)?;
    equal((row.suspects, row.passes), (0, 1), "suspects, passes")?;
    holds(row.blocks >= 7, "blocks looked at")?;
    leak(&mut session, 3, 64)?;
    let row = scan(bench, heap::UUID)?;
    equal((row.suspects, row.new), (3, 3), "suspects, new ones")?;
    equal((row.suspect_bytes, row.passes), (192, 2), "bytes, passes")?;
    let (blocks, bytes, rows) = shown(bench, heap::UUID)?;
    equal((blocks, bytes), (3, 192), "blocks and bytes shown")?;
    for row in &rows {
        equal((row.first_scan, row.last_scan), (2, 2), "scans")?;
        equal(row.leak.block_size, 64, "size of a block")?;
        lost_there(bench, row)?;
    }
    // Freed and lost blocks do not get mixed up where they take each other's place.
    works(value_in(&mut session, heap::CMD_FREE, handle, 0))?;
    works(session.invoke_plain(heap::CMD_FREE_ALL))?;
    leak(&mut session, 1, 4990)?;
    let row = scan(bench, heap::UUID)?;
    equal((row.suspects, row.new), (4, 1), "suspects, new ones")?;
    // One call stack lost them all: one group, known since the first.
    let (blocks, bytes, rows) = shown(bench, heap::UUID)?;
    equal((blocks, bytes), (4, 5182), "blocks and bytes shown")?;
    let scans: Vec<u32> = rows.iter().map(|row| row.first_scan).collect();
    equal(scans.iter().min(), Some(&2), "first scan")?;
    works(session.invoke_plain(heap::CMD_FORGET))?;
    equal(scan(bench, heap::UUID)?.suspects, 4, "suspects")?;
    let text = printed(bench, &["leaks", "show", "heap"])?;
    holds(
        text.contains("nothing points to them; first found by scan 2, last scan 4\n"),
        &text,
    )?;
    let text = printed(bench, &["leaks", "scan", "heap", "--json"])?;
    let told = &parsed(&text)?["scans"][0];
    let figures = ["suspects", "suspect_bytes", "new"].map(|key| told[key].as_u64());
    equal(figures, [Some(4), Some(5182), Some(0)], "what was found")
}

fn cleared(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    leak(&mut session, 5, 100)?;
    equal(scan(bench, heap::UUID)?.suspects, 5, "suspects")?;
    equal(
        told(calls::clear(&bench.context, &heap_of(heap::UUID)))?,
        5,
        "cleared",
    )?;
    equal(shown(bench, heap::UUID)?.0, 0, "shown after that")?;
    equal(
        told(calls::clear(&bench.context, &heap_of(heap::UUID)))?,
        0,
        "cleared again",
    )?;
    leak(&mut session, 2, 100)?;
    let row = scan(bench, heap::UUID)?;
    equal((row.suspects, row.cleared), (2, 5), "suspects, hidden ones")?;
    equal(shown(bench, heap::UUID)?.0, 2, "shown")?;
    let unknown = TeeUuid::from_u128(1);
    for result in [
        calls::clear(&bench.context, &heap_of(unknown)).map(drop),
        calls::scan(&bench.context, &heap_of(unknown)).map(drop),
        client::rows::<SuspectRow>(&bench.context, &heap_of(unknown)).map(drop),
    ] {
        equal(
            result.map_err(|error| error.kind()),
            Err(Some(ErrorKind::ItemNotFound)),
            "a TA that is not loaded",
        )?;
    }
    let (status, _, err) = teestat(bench, &["leaks", "scan", "hello"]);
    equal(status, STATUS_FAILED, &err)?;
    holds(err.contains("loaded are: heap"), &err)
}

/// Whether the heap TA is in a command.
fn busy(bench: &Bench) -> Result<bool, String> {
    let tas = told(client::rows::<TaDetail>(
        &bench.context,
        &Selector::ta(heap::UUID),
    ))?;
    Ok(tas
        .iter()
        .any(|ta| ta.state == state::BUSY && ta.command == heap::CMD_HOLD_AND_LOOP))
}

fn looping(bench: &Bench) -> Outcome {
    if !second_cpu()? {
        return bench.skipped(ONE_CPU);
    }
    let mut session = bench.open(heap::UUID)?;
    leak(&mut session, 5, 72)?;
    let context = bench.context;
    let job = jobs::start("hold and loop", move || {
        match context.open_session(heap::UUID) {
            Ok(mut session) => {
                let result = value_in(&mut session, heap::CMD_HOLD_AND_LOOP, 3000, 0);
                u8::from(result.is_ok())
            }
            Err(_) => 1,
        }
    })
    .ok_or("no second CPU")?;
    let result = scan_while_it_loops(bench);
    told(client::kill(&bench.context, heap::UUID))?;
    let status = loop {
        match jobs::collect(job) {
            Some(status) => break status,
            None => cpu::doze(),
        }
    };
    result?;
    equal(status, 0, "what the looping call returned")
}

fn scan_while_it_loops(bench: &Bench) -> Outcome {
    let until = cpu::micros() + 5_000_000;
    while !busy(bench)? {
        holds(cpu::micros() < until, "it does not loop")?;
        cpu::doze();
    }
    // It is on its way to the loop, and has what it holds in no place yet that is read.
    loop {
        scan(bench, heap::UUID)?;
        let (blocks, bytes, _) = shown(bench, heap::UUID)?;
        if (blocks, bytes) == (5, 360) {
            break;
        }
        let told = format!("{blocks} blocks of {bytes} bytes shown, for seconds");
        holds(cpu::micros() < until, &told)?;
        cpu::doze();
    }
    for _ in 0..3 {
        let row = scan(bench, heap::UUID)?;
        equal(row.suspects, 5, "suspects")?;
        holds(row.root_bytes > 0, "no roots were read")?;
    }
    let (blocks, bytes, rows) = shown(bench, heap::UUID)?;
    equal((blocks, bytes), (5, 360), "blocks and bytes shown")?;
    for row in &rows {
        lost_there(bench, row)?;
    }
    Ok(())
}

fn no_pages(bench: &Bench) -> Outcome {
    let mut first = bench.open(glutton::UUID)?;
    works(value_call(&mut first, glutton::CMD_EAT, 65_536, 0))?;
    let second = eat_the_rest(bench)?;
    let before = told(client::rows::<MeminfoRow>(&bench.context, &Selector::ALL))?;
    let refused = calls::scan(&bench.context, &heap_of(glutton::UUID)).map(drop);
    equal(
        refused.map_err(|error| error.kind()),
        Err(Some(ErrorKind::OutOfMemory)),
        "a scan",
    )?;
    equal(
        told(client::rows::<MeminfoRow>(&bench.context, &Selector::ALL))?,
        before,
        "memory by use",
    )?;
    equal(shown(bench, glutton::UUID)?.0, 0, "shown")?;
    works(first.invoke_plain(glutton::CMD_SPIT))?;
    works(second.close())?;
    equal(scan(bench, glutton::UUID)?.suspects, 0, "suspects")
}

fn kernel_heap(bench: &Bench) -> Outcome {
    let mut sessions = [
        bench.open(hello::UUID)?,
        bench.open(hello::UUID)?,
        bench.open(heap::UUID)?,
    ];
    for session in &mut sessions[..2] {
        works(session.invoke_plain(hello::CMD_NOP))?;
    }
    for _ in 0..2 {
        let row = scan(bench, TeeUuid::nil())?;
        equal(row.suspects, 0, "suspects")?;
        holds(row.blocks > 5, "blocks looked at")?;
        holds(
            row.root_bytes > 4096 && row.block_bytes > 0,
            "nothing was read",
        )?;
    }
    equal(shown(bench, TeeUuid::nil())?.0, 0, "shown")
}

/// Only a kernel with test hooks can lose a block on purpose; `xtask test` runs this in one.
fn kernel_lost(bench: &Bench) -> Outcome {
    match client::fault(&bench.context, fault::LOSE_BLOCK) {
        Err(error) if error.kind() == Some(ErrorKind::NotSupported) => {
            return bench.skipped(NO_HOOKS);
        }
        result => told(result)?,
    }
    let result = lost_block(bench);
    told(client::fault(&bench.context, fault::FREE_LOST))?;
    result?;
    equal(
        scan(bench, TeeUuid::nil())?.suspects,
        0,
        "suspects at the end",
    )
}

fn lost_block(bench: &Bench) -> Outcome {
    let row = scan(bench, TeeUuid::nil())?;
    equal((row.suspects, row.new), (1, 1), "suspects, new ones")?;
    let (blocks, bytes, rows) = shown(bench, TeeUuid::nil())?;
    equal((blocks, bytes), (1, 40), "blocks and bytes shown")?;
    let text = printed(bench, &["leaks", "show", "kernel"])?;
    holds(text.contains("lose_block kernel/src/faults.rs:"), &text)?;
    let first = rows.first().map_or(0, |row| row.first_scan);
    let row = scan(bench, TeeUuid::nil())?;
    equal((row.suspects, row.new), (1, 0), "suspects, new ones")?;
    equal(
        told(calls::clear(&bench.context, &Selector::KERNEL))?,
        1,
        "cleared",
    )?;
    let row = scan(bench, TeeUuid::nil())?;
    equal((row.suspects, row.cleared), (0, 1), "suspects, hidden ones")?;
    equal(first + 2, row.number, "scans since it was found")
}

fn leaks_ta(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    works(value_in(
        &mut session,
        heap::CMD_KEEP,
        heap::keep::STATIC,
        333,
    ))?;
    leak(&mut session, 2, 48)?;
    let text = printed(bench, &["leaks", "ta", "heap"])?;
    holds(text.starts_with("live now: "), &text)?;
    holds(
        text.contains("\n333 bytes in 1 block of 333, session 0x"),
        &text,
    )?;
    holds(
        text.contains("nothing points to 2 (96 bytes, 2 new)\n"),
        &text,
    )?;
    let lost = text
        .split("nothing points to them")
        .nth(1)
        .unwrap_or_default();
    holds(lost.contains(heap::LEAK_FUNCTION), &text)?;
    works(session.close())?;
    let (status, _, err) = teestat(bench, &["leaks", "ta", "heap"]);
    equal(status, STATUS_FAILED, &err)?;
    fails(
        bench.context.open_session(TeeUuid::from_u128(2)).map(drop),
        ErrorKind::ItemNotFound,
    )
}

fn top(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    let _other = bench.open(hello::UUID)?;
    works(value_call(&mut session, heap::CMD_ALLOC, 100_000, 0))?;
    for (sort, first) in [("heap", "heap "), ("name", "heap "), ("rss", "heap ")] {
        let text = printed(bench, &["top", "--sort", sort])?;
        let lines: Vec<&str> = text.lines().collect();
        equal(lines.len(), 4, &text)?;
        holds(lines[0].starts_with("TA memory "), &text)?;
        holds(lines[2].starts_with(first), &text)?;
        holds(
            !text.contains('\x1b'),
            "control sequences where no terminal is",
        )?;
    }
    let text = printed(bench, &["top", "-n", "2", "-d", "1"])?;
    equal(text.matches("TA memory ").count(), 2, &text)?;
    holds(text.contains(" new "), &text)?;
    let second = text.split("\n\n").nth(1).unwrap_or_default();
    holds(!second.is_empty() && !second.contains(" new "), &text)?;
    let text = printed(bench, &["top", "--json"])?;
    equal(
        parsed(&text)?["tas"].as_array().map(Vec::len),
        Some(2),
        &text,
    )?;
    let (status, _, err) = teestat(bench, &["top", "--sort", "size"]);
    equal(status, STATUS_USAGE, &err)
}
