//! Memory references of every kind.
//!
//! **Invariant:** what is registered here is unregistered here.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use ta_uuids::hello;
use tally_abi::msg::{MsgHeader, MsgParam, PAGE_SIZE, attr, cmd};
use tally_abi::smc::ret;
use tally_board_virt as virt;
use teec::smc::{Conduit, PageList, Pages};
use teec::{
    Direction, ErrorKind, Operation, Param, ParamNone, ParamRegisteredMem, ParamTmpRef, ParamType,
    ParamValue, Session, SharedMemory,
};

use super::raw::RawCall;
use super::{Bench, Outcome, Test, equal, fails, holds, works};
use crate::machine::interrupts;
use tally_paired::account::Account;

pub(super) const TESTS: &[Test] = &[
    ("values go in and come out", values),
    ("four parameters travel together", four_params),
    ("wrong parameter types are refused", wrong_types),
    ("a short buffer gets the size needed", short_buffer),
    ("temporary memory of every size and offset", temporary),
    ("memory in, out and both ways", directions),
    ("null and empty references", null_references),
    ("registered memory, whole and in part", registered),
    (
        "parts beyond registered memory are refused",
        beyond_registered,
    ),
    ("pages in any order, over several list pages", scattered),
    ("registering and unregistering leaks nothing", register_many),
    ("sixteen MiB in one reference", large),
    (
        "interrupts have their turn while much memory is mapped",
        turns,
    ),
    ("scattered memory until the kernel heap is full", heap_full),
    ("shared memories until their table is full", table_full),
];

fn values(bench: &Bench) -> Outcome {
    let mut session = bench.open(hello::UUID)?;
    for (a, b) in [(0, 0), (41, 7), (u32::MAX, u32::MAX - 1)] {
        let mut op = Operation::new(
            0,
            ParamValue::new(a, b, ParamType::ValueInout),
            ParamNone,
            ParamNone,
            ParamNone,
        );
        works(session.invoke_command(hello::CMD_INC, &mut op))?;
        let p = op.parameters().0;
        equal(
            (p.a(), p.b()),
            (a.wrapping_add(1), b.wrapping_add(2)),
            "increment",
        )?;
    }
    Ok(())
}

fn four_params(bench: &Bench) -> Outcome {
    let mut session = bench.open(hello::UUID)?;
    let mut op = Operation::new(
        0,
        ParamValue::new(1, 2, ParamType::ValueInput),
        ParamValue::new(0, 0, ParamType::ValueOutput),
        ParamValue::new(30, 40, ParamType::ValueInout),
        ParamTmpRef::new_input(b"fourth"),
    );
    works(session.invoke_command(hello::CMD_MIX, &mut op))?;
    let (_, out, inout, _) = op.parameters();
    equal(
        (out.a(), out.b(), inout.a(), inout.b()),
        (31, 42, 40, 30),
        "mix",
    )
}

fn wrong_types(bench: &Bench) -> Outcome {
    let mut session = bench.open(hello::UUID)?;
    fails(
        session.invoke_plain(hello::CMD_INC),
        ErrorKind::BadParameters,
    )?;
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(b"text"),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    fails(
        session.invoke_command(hello::CMD_INC, &mut op),
        ErrorKind::BadParameters,
    )?;
    fails(session.invoke_plain(9999), ErrorKind::NotSupported)?;
    let mut stats = bench.open(tally_abi::pta::stats::UUID)?;
    fails(
        stats.invoke_plain(tally_abi::pta::stats::CMD_ALLOC_STATS),
        ErrorKind::BadParameters,
    )
}

fn fill(session: &mut Session<'_>, buffer: impl Param, n: u32) -> (teec::Result<()>, usize) {
    let mut op = Operation::new(
        0,
        buffer,
        ParamValue::new(0x5a, n, ParamType::ValueInput),
        ParamNone,
        ParamNone,
    );
    let result = session.invoke_command(hello::CMD_FILL, &mut op);
    let size = match op.parameters_mut().0.raw() {
        teec::RawParam::Temp { size, .. } | teec::RawParam::Registered { size, .. } => *size,
        teec::RawParam::None | teec::RawParam::Value { .. } => 0,
    };
    (result, size)
}

fn short_buffer(bench: &Bench) -> Outcome {
    let mut session = bench.open(hello::UUID)?;
    let mut buffer = [0; 100];
    let (result, size) = fill(&mut session, ParamTmpRef::new_output(&mut buffer), 101);
    fails(result, ErrorKind::ShortBuffer)?;
    equal(size, 101, "size needed")?;
    let (result, size) = fill(&mut session, ParamTmpRef::new_null(Direction::Output), 77);
    fails(result, ErrorKind::ShortBuffer)?;
    equal(size, 77, "size needed for a null reference")?;
    let (result, size) = fill(&mut session, ParamTmpRef::new_output(&mut buffer), 40);
    works(result)?;
    equal(size, 40, "size written")?;
    holds(
        buffer[..40].iter().all(|&b| b == 0x5a) && buffer[40..].iter().all(|&b| b == 0),
        "the buffer holds something else",
    )
}

fn checksum(session: &mut Session<'_>, memory: impl Param) -> teec::Result<(u32, u32)> {
    let mut op = Operation::new(
        0,
        memory,
        ParamValue::new(0, 0, ParamType::ValueOutput),
        ParamNone,
        ParamNone,
    );
    session.invoke_command(hello::CMD_CHECKSUM, &mut op)?;
    Ok((op.parameters().1.a(), op.parameters().1.b()))
}

fn sum(bytes: &[u8]) -> (u32, u32) {
    let sum = bytes
        .iter()
        .fold(0_u32, |sum, &b| sum.wrapping_add(u32::from(b)));
    (sum, bytes.len() as u32)
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 7 + i / 256) as u8).collect()
}

fn temporary(bench: &Bench) -> Outcome {
    let mut session = bench.open(hello::UUID)?;
    let bytes = pattern(600 * PAGE_SIZE);
    // One page, page ends, several pages, more than one list page (511 entries).
    let sizes = [
        1,
        7,
        4095,
        4096,
        4097,
        12_288,
        65_537,
        511 * 4096,
        512 * 4096 + 1,
    ];
    for offset in [0, 1, 8, 4095] {
        for size in sizes {
            let part = &bytes[offset..offset + size];
            let got = works(checksum(&mut session, ParamTmpRef::new_input(part)))?;
            equal(got, sum(part), &format!("{size} bytes at {offset}"))?;
        }
    }
    Ok(())
}

fn directions(bench: &Bench) -> Outcome {
    let mut session = bench.open(hello::UUID)?;
    let mut text = *b"Tally counts every byte";
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_inout(&mut text),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    works(session.invoke_command(hello::CMD_REVERSE, &mut op))?;
    equal(&text, b"ETYB YREVE STNUOC YLLAT", "reversed")?;
    let input = pattern(10_000);
    let mut output = vec![0; 10_100];
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(&input),
        ParamTmpRef::new_output(&mut output),
        ParamNone,
        ParamNone,
    );
    works(session.invoke_command(hello::CMD_ECHO, &mut op))?;
    equal(op.parameters().1.updated_size(), 10_000, "size of the echo")?;
    holds(
        output[..10_000] == input && output[10_000..].iter().all(|&b| b == 0),
        "the echo differs",
    )?;
    let mut random = vec![0; 5000];
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_output(&mut random),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    works(session.invoke_command(hello::CMD_RANDOM, &mut op))?;
    holds(
        random.chunks(500).all(|part| part.iter().any(|&b| b != 0)),
        "random bytes are zero",
    )
}

fn null_references(bench: &Bench) -> Outcome {
    let mut session = bench.open(hello::UUID)?;
    for _ in 0..2 {
        let null = ParamTmpRef::new_null(Direction::Input);
        equal(
            works(checksum(&mut session, null))?,
            (0, 0),
            "checksum of nothing",
        )?;
        equal(
            works(checksum(&mut session, ParamTmpRef::new_input(&[])))?,
            (0, 0),
            "checksum of an empty buffer",
        )?;
    }
    let (result, size) = fill(&mut session, ParamTmpRef::new_null(Direction::Output), 0);
    works(result)?;
    equal(size, 0, "size of nothing")
}

fn registered(bench: &Bench) -> Outcome {
    let memory = works(SharedMemory::allocate(&bench.context, 3 * PAGE_SIZE + 100))?;
    let bytes = pattern(memory.len());
    memory.write(0, &bytes);
    let mut session = bench.open(hello::UUID)?;
    let parts = [
        (0, memory.len()),
        (1, 1),
        (4090, 20),
        (PAGE_SIZE, 2 * PAGE_SIZE),
        (memory.len() - 1, 1),
        (17, 0),
    ];
    for (offset, size) in parts {
        let part = ParamRegisteredMem::part(&memory, Direction::Input, offset, size);
        let got = works(checksum(&mut session, part))?;
        equal(
            got,
            sum(&bytes[offset..offset + size]),
            &format!("{size} bytes at {offset}"),
        )?;
    }
    let part = ParamRegisteredMem::part(&memory, Direction::Output, 4000, 200);
    let (result, size) = fill(&mut session, part, 150);
    works(result)?;
    equal(size, 150, "size written")?;
    let mut got = vec![0; memory.len()];
    memory.read(0, &mut got);
    let mut wanted = bytes;
    wanted[4000..4150].fill(0x5a);
    holds(got == wanted, "other bytes were written")?;
    works(memory.release())
}

fn beyond_registered(bench: &Bench) -> Outcome {
    let memory = works(SharedMemory::allocate(&bench.context, 5000))?;
    let mut session = bench.open(hello::UUID)?;
    let parts = [
        (0, 8193),
        (1, 8192),
        (1 << 20, 1),
        (usize::MAX, 1),
        (1, usize::MAX),
        (usize::MAX, usize::MAX),
    ];
    for (offset, size) in parts {
        let part = ParamRegisteredMem::part(&memory, Direction::Input, offset, size);
        holds(
            checksum(&mut session, part).is_err(),
            &format!("{size} bytes at {offset} of 5000 were taken"),
        )?;
    }
    let unknown = ParamRegisteredMem::from_cookie(0xdead_beef, Direction::Input, 0, 16);
    holds(
        checksum(&mut session, unknown).is_err(),
        "an unknown cookie was taken",
    )?;
    works(session.invoke_plain(hello::CMD_NOP))
}

/// Every other page of a buffer, last first, as one shared memory.
fn scattered(bench: &Bench) -> Outcome {
    const N: usize = 1100;
    const COOKIE: u64 = 0x7000_0002;
    let pages = Pages::allocate(2 * N).ok_or("no memory")?;
    let physical = |va: usize| bench.tee.conduit().physical(va);
    let place = |i: usize| 2 * (N - 1 - i) * PAGE_SIZE;
    let addresses = (0..N).map(|i| physical(pages.address() + place(i)));
    let list = PageList::build(addresses, 0, physical).ok_or("no memory")?;
    let bytes = pattern(N * PAGE_SIZE);
    for (i, page) in bytes.chunks(PAGE_SIZE).enumerate() {
        pages.write(place(i), page);
    }
    works(bench.tee.register(COOKIE, list.buf_ptr(), N * PAGE_SIZE))?;
    let mut session = bench.open(hello::UUID)?;
    let check = |session: &mut Session<'_>, offset: usize, size: usize| {
        let part = ParamRegisteredMem::from_cookie(COOKIE, Direction::Input, offset, size);
        let got = works(checksum(session, part))?;
        equal(
            got,
            sum(&bytes[offset..offset + size]),
            &format!("{size} scattered bytes at {offset}"),
        )
    };
    let result = check(&mut session, 0, N * PAGE_SIZE)
        .and_then(|()| check(&mut session, 511 * PAGE_SIZE - 3, 6))
        .and_then(|()| check(&mut session, 1021 * PAGE_SIZE + 5, 2 * PAGE_SIZE));
    works(bench.tee.unregister(COOKIE))?;
    result
}

fn register_many(bench: &Bench) -> Outcome {
    for round in 0..20 {
        let mut kept = Vec::new();
        for n in 0..8 {
            let len = 1 + (round * 8 + n) * 977 % 50_000;
            kept.push(works(SharedMemory::allocate(&bench.context, len))?);
        }
        for memory in kept {
            works(memory.release())?;
        }
    }
    let pages = Pages::allocate(1).ok_or("no memory")?;
    let physical = |va: usize| bench.tee.conduit().physical(va);
    let list = PageList::of_range(pages.address(), PAGE_SIZE, physical).ok_or("no memory")?;
    const COOKIE: u64 = 0x7000_0003;
    works(bench.tee.register(COOKIE, list.buf_ptr(), PAGE_SIZE))?;
    let again = bench.tee.register(COOKIE, list.buf_ptr(), PAGE_SIZE);
    works(bench.tee.unregister(COOKIE))?;
    holds(again.is_err(), "a cookie was registered twice")?;
    holds(
        bench.tee.unregister(COOKIE).is_err(),
        "a cookie was unregistered twice",
    )?;
    // No bytes at all.
    holds(
        bench.tee.register(COOKIE, 0, 0).is_err() || bench.tee.unregister(COOKIE).is_ok(),
        "an empty memory can be registered, and not unregistered",
    )
}

fn large(bench: &Bench) -> Outcome {
    let bytes = pattern(16 << 20);
    let mut session = bench.open(hello::UUID)?;
    let first = checksum(&mut session, ParamTmpRef::new_input(&bytes));
    match first {
        Ok(got) => equal(got, sum(&bytes), "checksum"),
        // A limit is allowed, if it says so and the session goes on.
        Err(error) if error.kind() == ErrorKind::OutOfMemory => {
            works(session.invoke_plain(hello::CMD_NOP))
        }
        Err(error) => Err(format!("{error}")),
    }
}

/// The first cookie of memory that is registered here.
const FIRST: u64 = 0x7100_0000;

/// Registers the list again and again until refused, which must be for want of memory, at most
/// `most` times. While there is no room, `meanwhile` runs. Returns how many there were.
fn register_until_refused(
    bench: &Bench,
    list: u64,
    len: usize,
    most: u64,
    meanwhile: impl FnOnce() -> Outcome,
) -> Result<u64, String> {
    let mut n = 0;
    let refusal = loop {
        match bench.tee.register(FIRST + n, list, len) {
            Ok(()) if n == most => break Err(format!("{n} were taken")),
            Ok(()) => n += 1,
            Err(error) if error.kind() == ErrorKind::OutOfMemory => break Ok(()),
            Err(error) => break Err(format!("{error} instead of OutOfMemory")),
        }
    };
    let result = refusal.and_then(|()| meanwhile());
    for cookie in (FIRST..FIRST + n).rev() {
        works(bench.tee.unregister(cookie))?;
    }
    result.map(|()| n)
}

/// Registers scattered memory, so many pages at a time, until the kernel heap refuses, and gives it back; how many fitted.
pub(super) fn fill_heap(bench: &Bench, count: usize) -> Result<u64, String> {
    /// Objects of one page: their entries take much of the heap, and so the lists of scattered pages need not be more
    /// than they may be.
    const SMALL: u64 = 440;
    let mut session = bench.open(hello::UUID)?;
    let pages = Pages::allocate(2 * count).ok_or("no memory")?;
    let physical = |va: usize| bench.tee.conduit().physical(va);
    let addresses = (0..count).map(|i| physical(pages.address() + 2 * i * PAGE_SIZE));
    let list = PageList::build(addresses, 0, physical).ok_or("no memory")?;
    for n in 0..SMALL {
        works(bench.tee.register(FIRST - 1 - n, list.buf_ptr(), PAGE_SIZE))?;
    }
    let filled = register_until_refused(bench, list.buf_ptr(), count * PAGE_SIZE, 100, || {
        // What needs no memory goes on; what does is refused, and no more than that.
        works(session.invoke_plain(hello::CMD_NOP))?;
        match bench.context.open_session(hello::UUID) {
            Ok(mut other) => works(other.invoke_plain(hello::CMD_NOP)),
            Err(error) if error.kind() == ErrorKind::OutOfMemory => Ok(()),
            Err(error) => Err(format!("opening a session: {error}")),
        }
    });
    for n in (0..SMALL).rev() {
        works(bench.tee.unregister(FIRST - 1 - n))?;
    }
    filled
}

fn heap_full(bench: &Bench) -> Outcome {
    let mut before = None;
    for round in 0..4 {
        // How many fit depends on where the small blocks of the rounds before left holes.
        let fitted = fill_heap(bench, 600)?;
        holds(
            fitted > 1,
            &format!("{fitted} objects fitted in round {round}"),
        )?;
        // The first may have made tables larger that stay so.
        let now = Account::take(bench)?;
        let same = before
            .replace(now.clone())
            .is_none_or(|before| before == now);
        holds(same, &format!("round {round} left something"))?;
    }
    works(bench.open(hello::UUID)?.invoke_plain(hello::CMD_NOP))
}

fn table_full(bench: &Bench) -> Outcome {
    let mut session = bench.open(hello::UUID)?;
    let pages = Pages::allocate(1).ok_or("no memory")?;
    let physical = |va: usize| bench.tee.conduit().physical(va);
    let list = PageList::of_range(pages.address(), PAGE_SIZE, physical).ok_or("no memory")?;
    let n = register_until_refused(bench, list.buf_ptr(), PAGE_SIZE, 1000, || {
        works(session.invoke_plain(hello::CMD_NOP))?;
        fails(
            checksum(
                &mut session,
                ParamTmpRef::new_input(b"needs a place in the table"),
            ),
            ErrorKind::OutOfMemory,
        )
    })?;
    holds(n >= 100, &format!("only {n} were taken"))?;
    let got = works(checksum(
        &mut session,
        ParamTmpRef::new_input(b"room again"),
    ))?;
    equal(got, sum(b"room again"), "checksum")
}

/// Four references of 64 MiB each: some seven million instructions, of which the TA has few.
fn turns(bench: &Bench) -> Outcome {
    const BYTES: usize = 64 << 20;
    /// A tick for about 100,000 instructions of a slow machine.
    const HERTZ: u64 = 5000;
    /// Far fewer than there are ticks, and more than the TA's own run can see.
    const FEW: u32 = 3;
    /// A busy host may give QEMU's timers no time for as long as one call takes, but not each time.
    const TRIES: u32 = 8;
    let session = bench.open(hello::UUID)?;
    // Nobody reads or writes it: the command looks at no parameters.
    let pages = (0..BYTES / PAGE_SIZE).map(|n| virt::RAM_BASE + (n * PAGE_SIZE) as u64);
    let list = PageList::build(pages, 0, |va| bench.tee.conduit().physical(va));
    let list = list.ok_or("no memory for the list")?;
    let param = MsgParam {
        attr: attr::TMEM_INPUT | attr::NONCONTIG,
        a: list.buf_ptr(),
        b: BYTES as u64,
        c: 0,
    };
    let header = MsgHeader {
        cmd: cmd::INVOKE_COMMAND,
        func: hello::CMD_NOP,
        session: session.id(),
        ..MsgHeader::default()
    };
    let mut most = 0;
    for _ in 0..TRIES {
        let mut call = RawCall::new(bench, header, &[param; 4])?;
        interrupts::set_hertz(HERTZ);
        let mut turns = 0;
        let code = loop {
            match call.step(bench.tee) {
                ret::RPC_FOREIGN_INTR => {
                    turns += 1;
                    call.serve(bench.tee);
                }
                code => break code,
            }
        };
        interrupts::set_hertz(interrupts::USUAL_HERTZ);
        equal(code, ret::OK, "the call")?;
        equal(
            tally_abi::TeeResult(call.answer().ret),
            tally_abi::TeeResult::SUCCESS,
            "a command that looks at no parameters",
        )?;
        most = most.max(turns);
        if most > FEW {
            break;
        }
    }
    holds(
        most > FEW,
        &format!("interrupts had {most} turns at most, in {TRIES} calls"),
    )
}
