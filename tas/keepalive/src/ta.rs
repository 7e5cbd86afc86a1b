//! The commands.
//!
//! **Invariant:** the counters start at zero in a new instance and live as long as it does.
extern crate alloc;

use alloc::vec::Vec;
use core::cell::RefCell;
use ta_runtime::ParamType::{None as Unused, ValueInput, ValueOutput};
use ta_runtime::abi::ta::flags;
use ta_runtime::{
    Error, ErrorKind, Parameters, Result, ta_close_session, ta_create, ta_destroy,
    ta_invoke_command, ta_open_session,
};
use ta_uuids::keepalive;

ta_runtime::properties! {
    uuid: keepalive::UUID,
    flags: flags::SINGLE_INSTANCE | flags::MULTI_SESSION | flags::INSTANCE_KEEP_ALIVE,
    stack_size: 8 << 10,
    heap_size: 32 << 10,
}

/// What the held block is filled with.
const PATTERN: u8 = 0x5a;

struct Life {
    count: u32,
    created: u32,
    open: u32,
    opened: u32,
    held: Vec<u8>,
}

struct Instance(RefCell<Life>);

// SAFETY: the kernel lets one call at a time into an instance.
unsafe impl Sync for Instance {}

static LIFE: Instance = Instance(RefCell::new(Life {
    count: 0,
    created: 0,
    open: 0,
    opened: 0,
    held: Vec::new(),
}));

#[ta_create]
fn create() -> Result<()> {
    LIFE.0.borrow_mut().created += 1;
    Ok(())
}

#[ta_destroy]
fn destroy() {
    LIFE.0.borrow_mut().held = Vec::new();
}

#[ta_open_session]
fn open_session(_params: &mut Parameters) -> Result<()> {
    let mut life = LIFE.0.borrow_mut();
    life.open += 1;
    life.opened += 1;
    Ok(())
}

#[ta_close_session]
fn close_session() {
    LIFE.0.borrow_mut().open -= 1;
}

#[ta_invoke_command]
fn invoke_command(command: u32, params: &mut Parameters) -> Result<()> {
    let mut life = LIFE.0.borrow_mut();
    match command {
        keepalive::CMD_COUNT => {
            params.expect([ValueOutput, Unused, Unused, Unused])?;
            life.count += 1;
            answer(params, life.count, life.open)
        }
        keepalive::CMD_HOLD => {
            params.expect([ValueInput, ValueOutput, Unused, Unused])?;
            let len = params.0.as_value()?.a() as usize;
            let mut held = Vec::new();
            held.try_reserve_exact(len)?;
            held.resize(len, PATTERN);
            life.held = held;
            params.1.as_value()?.set_a(len as u32);
            Ok(())
        }
        keepalive::CMD_HELD => {
            params.expect([ValueOutput, Unused, Unused, Unused])?;
            let intact = life.held.iter().all(|byte| *byte == PATTERN);
            answer(params, life.held.len() as u32, u32::from(intact))
        }
        keepalive::CMD_PANIC => panic!("asked to panic"),
        keepalive::CMD_LIVES => {
            params.expect([ValueOutput, Unused, Unused, Unused])?;
            answer(params, life.created, life.opened)
        }
        _ => Err(Error::new(ErrorKind::NotSupported)),
    }
}

fn answer(params: &mut Parameters, a: u32, b: u32) -> Result<()> {
    let mut value = params.0.as_value()?;
    value.set_a(a);
    value.set_b(b);
    Ok(())
}
