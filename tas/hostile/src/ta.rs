//! The hostile TA: by a seed it makes system calls with any argument, nests, forges its books, and dies.
//!
//! **Invariant:** its calls are all that can tell; what it does to itself is its own affair.

use crate::keys;
use crate::words::{self, BOOKS, SHARED};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use ta_runtime::ParamType::{self, MemrefInout, ValueInput};
use ta_runtime::abi::ta::{UteeParams, param_type, svc};
use ta_runtime::{
    Error, ErrorKind, Parameters, Result, heap, syscall, ta_close_session, ta_create, ta_destroy,
    ta_invoke_command, ta_open_session,
};
use ta_uuids::hostile::{self, Random};

extern crate alloc;
use alloc::vec::Vec;

const PAGE: usize = 4096;
/// Words of the books that are forged.
const BOOK_WORDS: usize = PAGE / 8;
/// Calls in an entry that opens, closes or ends.
const ENTRY_CALLS: u32 = 12;

/// Sessions that it has opened, 0 for none.
static SESSIONS: [AtomicU32; 16] = [const { AtomicU32::new(0) }; 16];
/// What the next entry without a seed begins with.
static SEED: AtomicU64 = AtomicU64::new(1);
/// The books as they were.
static KEPT: [AtomicU64; BOOK_WORDS] = [const { AtomicU64::new(0) }; BOOK_WORDS];

#[ta_create]
fn create() -> Result<()> {
    let mut block = Vec::new();
    block.try_reserve_exact(64)?;
    block.resize(64, 1_u8);
    let books = heap::base();
    for (n, kept) in KEPT.iter().enumerate() {
        // SAFETY: the first page of the books.
        let word = unsafe { (books as *const u64).add(n).read_volatile() };
        kept.store(word, Ordering::Relaxed);
    }
    BOOKS.store(books as u64, Ordering::Relaxed);
    // Giving it back would need the books.
    core::mem::forget(block);
    Ok(())
}

#[ta_open_session]
fn open_session(params: &mut Parameters) -> Result<()> {
    if params.0.param_type == ValueInput {
        let value = params.0.as_value()?;
        run(value.a(), value.b().min(ENTRY_CALLS));
    }
    Ok(())
}

#[ta_close_session]
fn close_session() {
    run(SEED.load(Ordering::Relaxed) as u32, ENTRY_CALLS);
}

#[ta_destroy]
fn destroy() {
    run(SEED.load(Ordering::Relaxed) as u32, ENTRY_CALLS);
}

#[ta_invoke_command]
fn invoke_command(command: u32, params: &mut Parameters) -> Result<()> {
    if command != hostile::CMD_RUN || params.0.param_type != ValueInput {
        return Err(Error::new(ErrorKind::NotSupported));
    }
    let value = params.0.as_value()?;
    let (seed, count) = (value.a(), value.b());
    // Of a client that counts, each call is counted before it is made: it may be the last one.
    let mut counter = core::ptr::null_mut::<u64>();
    if params.1.param_type == MemrefInout {
        let mut memory = params.1.as_memref()?;
        let bytes = memory.buffer();
        if bytes.len() >= PAGE {
            counter = bytes.as_mut_ptr().cast();
        }
    }
    SHARED.store(counter.addr() as u64, Ordering::Relaxed);
    let mut random = Random::new(u64::from(seed));
    for n in 0..count {
        if !counter.is_null() {
            // SAFETY: the client's memory for this call, at the start of a page; others may write it meanwhile.
            unsafe { counter.write_volatile(u64::from(n) + 1) };
        }
        step(&mut random);
    }
    SHARED.store(0, Ordering::Relaxed);
    Ok(())
}

fn run(seed: u32, count: u32) {
    let mut random = Random::new(u64::from(seed));
    for _ in 0..count {
        step(&mut random);
    }
    SEED.store(random.any(), Ordering::Relaxed);
}

/// One call, or what makes the next one worse.
fn step(random: &mut Random) {
    match random.below(64) {
        0 => open(random),
        1..12 => invoke(random),
        12..15 => close(random),
        15..18 => forge(random),
        18 if random.once_in(24) => die(random),
        19..27 => keys::step(random),
        _ => any_call(random),
    }
}

pub(crate) fn raw(number: u64, args: [u64; 8]) -> u64 {
    // SAFETY: none. Whatever the kernel writes into this TA is its own affair: it is here to be hostile, and ends when it
    // has hit itself.
    unsafe { syscall::raw(number, args) }
}

fn any_call(random: &mut Random) {
    let number = words::number(random);
    let mut args = core::array::from_fn(|_| words::word(random));
    match number {
        // Most are short: nobody else is in the instance meanwhile.
        svc::WAIT if !random.once_in(48) => args[0] = random.below(2),
        svc::LOG if !random.once_in(48) => args[1] = random.below(48),
        _ => {}
    }
    raw(number, args);
}

/// An address where something of the caller's is, or any other.
pub(crate) fn place(random: &mut Random, own: u64) -> u64 {
    if random.once_in(24) {
        words::word(random)
    } else {
        own
    }
}

fn params(random: &mut Random) -> UteeParams {
    let mut params = UteeParams::default();
    let kinds = core::array::from_fn(|_| random.below(8) as u32);
    params.types = u64::from(param_type::pack(kinds));
    if random.once_in(32) {
        params.types |= random.any();
    }
    for (kind, pair) in kinds.iter().zip(params.vals.chunks_exact_mut(2)) {
        let values = if *kind >= param_type::MEMREF_INPUT {
            [words::address(random), words::size(random)]
        } else {
            [words::word(random), random.below(64)]
        };
        pair.copy_from_slice(&values);
    }
    params
}

fn timeout(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => random.below(20),
        _ => u64::from(u32::MAX),
    }
}

fn open(random: &mut Random) {
    let uuid = words::target(random);
    let mut params = params(random);
    if random.once_in(2) {
        params.types = u64::from(ParamType::ValueInput as u32);
        params.vals = [random.any(), random.below(8), 0, 0, 0, 0, 0, 0];
    }
    let (mut session, mut origin) = (0_u32, 0_u32);
    let args = [
        place(random, &raw const uuid as u64),
        timeout(random),
        place(random, &raw mut params as u64),
        place(random, &raw mut session as u64),
        place(random, &raw mut origin as u64),
        0,
        0,
        0,
    ];
    if raw(svc::OPEN_TA_SESSION, args) == 0 {
        // The one that was here before is left to the kernel.
        let at = random.index(SESSIONS.len());
        SESSIONS[at].store(session, Ordering::Relaxed);
    }
}

/// A session of its own, of somebody else or of nobody.
fn session(random: &mut Random) -> u64 {
    let at = random.index(SESSIONS.len());
    let own = u64::from(SESSIONS[at].load(Ordering::Relaxed));
    match random.below(16) {
        0 => random.below(256),
        1 => own ^ (1 << random.below(32)),
        _ => own,
    }
}

fn invoke(random: &mut Random) {
    let mut params = params(random);
    let mut command = random.below(28);
    if random.once_in(2) {
        // For one of its kind: what it does goes on there.
        command = u64::from(hostile::CMD_RUN);
        let kinds = [param_type::VALUE_INPUT, param_type::MEMREF_INOUT, 0, 0];
        params.types = u64::from(param_type::pack(kinds));
        let memory = [words::address(random), PAGE as u64];
        params.vals = [
            random.any() & 0xffff_ffff,
            random.below(24),
            memory[0],
            memory[1],
            0,
            0,
            0,
            0,
        ];
    }
    let mut origin = 0_u32;
    let args = [
        session(random),
        timeout(random),
        command,
        place(random, &raw mut params as u64),
        place(random, &raw mut origin as u64),
        0,
        0,
        0,
    ];
    raw(svc::INVOKE_TA_COMMAND, args);
}

fn close(random: &mut Random) {
    raw(
        svc::CLOSE_TA_SESSION,
        [session(random), 0, 0, 0, 0, 0, 0, 0],
    );
}

/// Writes into the books of its heap, or puts them right, so that readers come as far as the next wrong word.
fn forge(random: &mut Random) {
    let books = BOOKS.load(Ordering::Relaxed) as *mut u64;
    if books.is_null() {
        return;
    }
    if random.once_in(4) {
        for (n, kept) in KEPT.iter().enumerate() {
            // SAFETY: the page of the books, of which the runtime makes nothing any more.
            unsafe { books.add(n).write_volatile(kept.load(Ordering::Relaxed)) };
        }
        return;
    }
    let at = random.index(BOOK_WORDS);
    let word = match random.below(4) {
        0 => words::word(random),
        1 => random.below(1 << 20),
        2 => random.any() & 0xffff_ffff,
        _ => KEPT[at].load(Ordering::Relaxed) ^ (1 << random.below(64)),
    };
    // SAFETY: as above.
    unsafe { books.add(at).write_volatile(word) };
}

fn die(random: &mut Random) {
    match random.below(6) {
        // SAFETY: not sound at all; the kernel ends the TA here.
        0 => unsafe { asm!("ldr {0}, [{1}]", out(reg) _, in(reg) 0_u64) },
        // SAFETY: traps, which is the point.
        1 => unsafe { asm!("udf #0") },
        // SAFETY: the stack pointer goes where nothing is; the kernel ends the TA at the next push.
        2 => unsafe {
            asm!("mov sp, {0}", "str xzr, [sp, #-16]!", in(reg) words::word(random) & !15, options(noreturn))
        },
        // SAFETY: a jump to anywhere; the kernel ends the TA there, or goes on with what stands there.
        3 => unsafe { asm!("br {0}", in(reg) words::word(random), options(noreturn)) },
        4 => loop {
            core::hint::spin_loop();
        },
        _ => syscall::panic(random.any() as u32),
    }
}
