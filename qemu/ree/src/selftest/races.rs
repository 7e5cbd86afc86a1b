//! The other CPU changes what a call is made with, while it is made.
//!
//! **Invariant:** everything that the other CPU writes lies in pages of the test's own; what the
//! spoiled calls registered is unregistered at the end.

use alloc::format;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};
use ta_uuids::hello;
use tally_abi::TeeResult;
use tally_abi::msg::{MsgHeader, MsgParam, PAGE_SIZE, arg_size, attr, cmd};
use tally_abi::smc::{FunctionId, ret};
use tally_board_virt as virt;
use teec::smc::{CallInfo, Conduit, Message, Pages};

use super::{Bench, ONE_CPU, Outcome, Test, equal, holds, second_cpu, works};
use crate::jobs;
use crate::machine::cpu;

pub(super) const TESTS: &[Test] = &[(
    "message and page list change while they are read",
    spoiled_calls,
)];

const CALLS: u32 = 6000;
/// Cookies that a spoiled message may register.
const COOKIES: [u64; 3] = [0x7200_0001, 0x7200_0002, 0x7200_0003];
/// Pages of the page list, and of the buffer.
const BUFFER_PAGES: usize = 4;

/// What both CPUs write to.
struct Arena {
    message: Pages,
    list: Pages,
    buffer: Pages,
    /// Nobody knows where it is.
    canary: Pages,
}

/// xorshift64*, from a fixed seed: the interleaving is random enough.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let n = self.next() as usize % from.len().max(1);
        from.get(n).copied()
    }
}

/// Physical addresses of the arena.
#[derive(Clone, Copy)]
struct Places {
    message: u64,
    list: u64,
    buffer: u64,
}

/// Writes one word of the message or of the page list.
fn spoil(arena: &Arena, places: Places, dice: &mut Dice) {
    let addresses = [
        0,
        1,
        16,
        PAGE_SIZE as u64,
        1 << 40,
        u64::MAX,
        0xffff_ffff_ffff_f000,
        virt::SECURE_RAM_BASE,
        virt::KERNEL_BASE,
        virt::SECURE_RAM_END - PAGE_SIZE as u64,
        virt::GICD,
        places.message,
        places.list,
        places.list + 8,
        places.buffer,
        places.buffer + PAGE_SIZE as u64,
        COOKIES[0],
        COOKIES[1],
        COOKIES[2],
    ];
    let attributes = [
        0,
        attr::VALUE_INPUT,
        attr::VALUE_INPUT | attr::META,
        attr::TMEM_INPUT,
        attr::TMEM_INPUT | attr::NONCONTIG,
        attr::TMEM_OUTPUT | attr::NONCONTIG,
        attr::TMEM_INOUT | attr::NONCONTIG,
        attr::RMEM_INPUT,
        attr::RMEM_INOUT,
        u64::MAX,
    ];
    if dice.next() & 1 == 0 {
        let at = dice.next() as usize % (BUFFER_PAGES + 1);
        if let Some(address) = dice.pick(&addresses) {
            arena.list.set(at, address);
        }
        return;
    }
    let header_words = arg_size(0) / 8;
    let at = dice.next() as usize % (arg_size(2) / 8);
    let value = if at < header_words {
        // Two halves: command and function, result and number of parameters, ...
        dice.pick(&[0, 1, 2, 3, 4, 5, 7, 8, 100, 0xffff_ffff])
            .map(|half| half | (dice.next() % 9) << 32)
    } else if (at - header_words).is_multiple_of(4) {
        dice.pick(&attributes)
    } else {
        dice.pick(&addresses)
    };
    if let Some(value) = value {
        arena.message.set(at, value);
    }
}

/// The message as it should be: a checksum of the buffer.
fn write_all(arena: &Arena, places: Places, session: u32, call: u32) {
    let message = Message::at(&arena.message, 0);
    for page in 0..BUFFER_PAGES {
        arena
            .list
            .set(page, places.buffer + (page * PAGE_SIZE) as u64);
    }
    let header = MsgHeader {
        cmd: cmd::INVOKE_COMMAND,
        func: hello::CMD_CHECKSUM,
        session,
        num_params: 2,
        ..MsgHeader::default()
    };
    // Every third call registers the memory instead of lending it, every other of those undoes it.
    let (header, memory) = match call % 6 {
        2 => (
            MsgHeader {
                cmd: cmd::REGISTER_SHM,
                num_params: 1,
                ..MsgHeader::default()
            },
            attr::TMEM_OUTPUT | attr::NONCONTIG,
        ),
        5 => (
            MsgHeader {
                cmd: cmd::UNREGISTER_SHM,
                num_params: 1,
                ..MsgHeader::default()
            },
            attr::RMEM_INPUT,
        ),
        _ => (header, attr::TMEM_INPUT | attr::NONCONTIG),
    };
    message.set_param(
        0,
        &MsgParam {
            attr: memory,
            a: places.list,
            b: (BUFFER_PAGES * PAGE_SIZE) as u64,
            c: COOKIES[0],
        },
    );
    message.set_param(
        1,
        &MsgParam {
            attr: attr::VALUE_OUTPUT,
            ..MsgParam::default()
        },
    );
    message.set_header(&header);
}

/// Makes the call without an RPC argument in the message: where that lies, nobody can say now.
fn call(bench: &Bench, message: u64) -> u32 {
    let mut regs = [
        FunctionId::CALL_WITH_ARG.0,
        (message >> 32) as u32,
        message as u32,
        0,
        0,
        0,
        0,
        0,
    ];
    loop {
        regs = bench.tee.conduit().smc(regs);
        if !ret::is_rpc(regs[0]) {
            return regs[0];
        }
        bench
            .tee
            .serve_suspension(&mut regs, &CallInfo::default(), None);
    }
}

fn rounds(bench: &Bench, arena: &Arena, places: Places) -> Result<u32, alloc::string::String> {
    let mut session = bench.open(hello::UUID)?;
    let mut done = 0;
    for n in 0..CALLS {
        write_all(arena, places, session.id(), n);
        let code = call(bench, places.message);
        holds(
            [ret::OK, ret::EBADADDR, ret::EBADCMD].contains(&code),
            &format!("call {n} came back with {code:#x}"),
        )?;
        if code == ret::OK {
            done += 1;
        }
        if n % 32 == 0 {
            // A spoiled message may have closed it.
            if session.invoke_plain(hello::CMD_NOP).is_err() {
                drop(session);
                session = bench.open(hello::UUID)?;
            }
            works(session.invoke_plain(hello::CMD_NOP))?;
        }
    }
    Ok(done)
}

fn spoiled_calls(bench: &Bench) -> Outcome {
    let pages = |n| Pages::allocate(n).ok_or("no memory");
    let arena = Arc::new(Arena {
        message: pages(1)?,
        list: pages(1)?,
        buffer: pages(BUFFER_PAGES)?,
        canary: pages(1)?,
    });
    let physical = |pages: &Pages| bench.tee.conduit().physical(pages.address());
    let places = Places {
        message: physical(&arena.message),
        list: physical(&arena.list),
        buffer: physical(&arena.buffer),
    };
    for word in 0..PAGE_SIZE / 8 {
        arena.canary.set(word, 0x0c0f_fee0 + word as u64);
    }
    if !second_cpu()? {
        return bench.skipped(ONE_CPU);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let job = {
        let (arena, stop) = (arena.clone(), stop.clone());
        jobs::start("spoil", move || {
            let mut dice = Dice(0x7a11_e110_0bad_5eed);
            while !stop.load(Ordering::Relaxed) {
                spoil(&arena, places, &mut dice);
                // Sometimes fast, sometimes slow, so that some messages get through.
                for _ in 0..dice.next() % 64 {
                    core::hint::spin_loop();
                }
            }
            0
        })
        .ok_or("no second CPU")?
    };
    let result = rounds(bench, &arena, places);
    stop.store(true, Ordering::Relaxed);
    while jobs::collect(job).is_none() {
        cpu::doze();
    }
    for cookie in (0..32)
        .chain(COOKIES)
        .chain([PAGE_SIZE as u64, places.message, places.list])
        .chain([places.list + 8, places.buffer, 1 << 40, u64::MAX])
        .chain([places.buffer + PAGE_SIZE as u64, 0xffff_ffff_ffff_f000])
        .chain([virt::SECURE_RAM_BASE, virt::KERNEL_BASE, virt::GICD])
        .chain([virt::SECURE_RAM_END - PAGE_SIZE as u64])
    {
        // Most were never registered.
        let _ = bench.tee.unregister(cookie);
    }
    let answered = result?;
    holds(
        answered > CALLS / 50,
        &format!("only {answered} of {CALLS} calls had an answer"),
    )?;
    let intact = (0..PAGE_SIZE / 8).all(|w| arena.canary.get(w) == 0x0c0f_fee0 + w as u64);
    holds(intact, "a page that nobody named was written")?;
    // Undisturbed, the same call is right.
    let session = bench.open(hello::UUID)?;
    arena.buffer.write(0, &[3; 100]);
    write_all(&arena, places, session.id(), 0);
    equal(call(bench, places.message), ret::OK, "an undisturbed call")?;
    let message = Message::at(&arena.message, 0);
    equal(
        TeeResult(message.header().ret),
        TeeResult::SUCCESS,
        "an undisturbed call",
    )?;
    let sum: u64 = (0..BUFFER_PAGES * PAGE_SIZE)
        .map(|at| {
            let mut byte = [0];
            arena.buffer.read(at, &mut byte);
            u64::from(byte[0])
        })
        .sum();
    equal(message.param(1).a, sum, "its checksum")
}
