//! The commands.
//!
//! **Invariant:** what is held is held until the session closes or [`glutton::CMD_SPIT`].
extern crate alloc;

use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;
use ta_runtime::ParamType::{None as Unused, ValueInput, ValueOutput};
use ta_runtime::abi::ta::svc;
use ta_runtime::{
    Error, ErrorKind, Parameters, Result, heap, syscall, ta_close_session, ta_invoke_command,
    ta_open_session,
};
use ta_uuids::glutton;
use tally_ledger::{CallStack, Config, OwnerId, Pool};

ta_runtime::properties! {
    uuid: glutton::UUID,
    flags: 0,
    stack_size: 8 << 10,
    heap_size: glutton::HEAP_BYTES as usize,
}

/// What a session holds.
#[derive(Default)]
struct Session {
    blocks: Vec<Vec<u8>>,
}

#[ta_open_session]
fn open_session(_params: &mut Parameters, _session: &mut Session) -> Result<()> {
    Ok(())
}

#[ta_close_session]
fn close_session(_session: &mut Session) {}

#[ta_invoke_command]
fn invoke_command(session: &mut Session, command: u32, params: &mut Parameters) -> Result<()> {
    match command {
        glutton::CMD_NOP => Ok(()),
        glutton::CMD_EAT => eat(session, params),
        glutton::CMD_SPIT => {
            session.blocks = Vec::new();
            Ok(())
        }
        glutton::CMD_RESERVE => raw(svc::tally::HEAP_RESERVE, params),
        glutton::CMD_GROW => raw(svc::tally::HEAP_GROW, params),
        glutton::CMD_FORGE => forge(params),
        _ => Err(Error::new(ErrorKind::NotSupported)),
    }
}

fn eat(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, ValueOutput, Unused, Unused])?;
    let len = params.0.as_value()?.a() as usize;
    while session.blocks.try_reserve(1).is_ok() {
        let mut block = Vec::new();
        if block.try_reserve_exact(len).is_err() {
            break;
        }
        // Every page is touched: what was promised must be there.
        block.resize(len, 0x5a);
        session.blocks.push(block);
    }
    let held: usize = session.blocks.iter().map(Vec::len).sum();
    let mut value = params.1.as_value()?;
    value.set_a(held as u32);
    value.set_b(session.blocks.len() as u32);
    Ok(())
}

/// A system call of the heap's, behind the back of the runtime.
fn raw(number: u64, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, ValueOutput, Unused, Unused])?;
    let value = params.0.as_value()?;
    let len = u64::from(value.b()) << 32 | u64::from(value.a());
    let mut base = 0_u64;
    let second = if number == svc::tally::HEAP_RESERVE {
        &raw mut base as u64
    } else {
        0
    };
    // SAFETY: the kernel writes to `base` at most; more heap does no harm.
    let code = unsafe { syscall::raw(number, [len, second, 0, 0, 0, 0, 0, 0]) };
    params.1.as_value()?.set_a(code as u32);
    Ok(())
}

/// Writes a pool's books over those of its own heap, and has the kernel read them.
fn forge(params: &mut Parameters) -> Result<()> {
    const BYTES: usize = 3 << 19;
    params.expect([ValueInput, ValueOutput, Unused, Unused])?;
    let value = params.0.as_value()?;
    let (sites, frames) = (value.a(), value.b());
    let mut block = Vec::<u8>::new();
    block.try_reserve_exact(BYTES)?;
    let base = block.as_mut_ptr().with_addr(heap::base());
    // The block is in the heap that is written over.
    core::mem::forget(block);
    // SAFETY: not sound, on purpose: the heap is the TA's own, which does not rely on it any more.
    unsafe { base.write_bytes(0, BYTES) };
    let base = NonNull::new(base).ok_or(Error::new(ErrorKind::BadState))?;
    let config = Config {
        sites: sites as u16,
        depth: frames as u8,
        ..Config::TA
    };
    // SAFETY: as above; the memory is zeroed.
    let pool = unsafe { Pool::create(base, BYTES, BYTES, &config) };
    let mut pool = pool.map_err(|_| Error::new(ErrorKind::BadParameters))?;
    let owner = OwnerId(0);
    for site in 1..u64::from(sites) {
        let stack = CallStack::from_frames(&[site << 12; 8][..frames as usize]);
        // A full heap has as many sites as there can be.
        if pool.alloc(Layout::new::<u64>(), owner, &stack).is_err() {
            break;
        }
    }
    // More than the heap may have, for an allocation of 16 bytes.
    // SAFETY: refused.
    let code = unsafe { syscall::raw(svc::tally::HEAP_GROW, [1 << 40, 16, 0, 0, 0, 0, 0, 0]) };
    params.1.as_value()?.set_a(code as u32);
    Ok(())
}
