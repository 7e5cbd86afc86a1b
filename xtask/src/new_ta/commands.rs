//! Commands of the TA `@NAME@`.
extern crate alloc;

use alloc::vec::Vec;
use ta_runtime::ParamType::{None as Unused, ValueInout, ValueInput};
use ta_runtime::abi::TeeUuid;
use ta_runtime::{
    Error, ErrorKind, Parameters, Result, ta_close_session, ta_invoke_command, ta_open_session,
    trace_println,
};

ta_runtime::properties! {
    uuid: TeeUuid::from_u128(@UUID@),
    flags: 0,
    stack_size: 8 << 10,
    heap_size: 32 << 10, // At most: the heap starts small and grows by pages.
}

/// `(value inout)`: `a + 100`.
const CMD_ADD: u32 = 0;
/// `(value in)`: keeps `a` bytes more until the session closes.
const CMD_KEEP: u32 = 1;

/// What a session keeps.
#[derive(Default)]
struct Session {
    kept: Vec<u8>,
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
        CMD_ADD => add(params),
        CMD_KEEP => keep(session, params),
        _ => Err(Error::new(ErrorKind::NotSupported)),
    }
}

fn add(params: &mut Parameters) -> Result<()> {
    params.expect([ValueInout, Unused, Unused, Unused])?;
    let mut value = params.0.as_value()?;
    let sum = value.a().wrapping_add(100);
    value.set_a(sum);
    trace_println!("now {}", sum);
    Ok(())
}

fn keep(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, Unused, Unused, Unused])?;
    let more = params.0.as_value()?.a() as usize;
    session.kept.try_reserve_exact(more)?;
    session.kept.resize(session.kept.len() + more, 0);
    Ok(())
}
