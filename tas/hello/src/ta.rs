//! The commands.
//!
//! **Invariant:** a buffer's contents are read once where they are checked.
extern crate alloc;

use alloc::vec::Vec;
use ta_runtime::ParamType::{
    MemrefInout, MemrefInput, MemrefOutput, None as Unused, ValueInout, ValueInput, ValueOutput,
};
use ta_runtime::abi::TeeResult;
use ta_runtime::log::info;
use ta_runtime::{
    Error, ErrorKind, ParamType, Parameters, Random, Result, Time, syscall, ta_close_session,
    ta_invoke_command, ta_open_session,
};
use ta_uuids::hello::{self, place};

ta_runtime::properties! {
    uuid: hello::UUID,
    flags: 0,
    stack_size: 8 << 10,
    heap_size: 32 << 10,
}

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
        hello::CMD_NOP => Ok(()),
        hello::CMD_INC => inc(params),
        hello::CMD_CHECKSUM => checksum(params),
        hello::CMD_FILL => fill(params),
        hello::CMD_REVERSE => reverse(params),
        hello::CMD_ECHO => echo(params),
        hello::CMD_LOG => log_line(params),
        hello::CMD_TIME => time(params),
        hello::CMD_RANDOM => random(params),
        hello::CMD_CHECK_ACCESS => check_access(params),
        hello::CMD_WAIT => wait(params),
        hello::CMD_MIX => mix(params),
        hello::CMD_KEEP => keep(session, params),
        _ => Err(Error::new(ErrorKind::NotSupported)),
    }
}

fn inc(params: &mut Parameters) -> Result<()> {
    params.expect([ValueInout, Unused, Unused, Unused])?;
    let mut value = params.0.as_value()?;
    let (a, b) = (value.a().wrapping_add(1), value.b().wrapping_add(2));
    value.set_a(a);
    value.set_b(b);
    Ok(())
}

fn checksum(params: &mut Parameters) -> Result<()> {
    params.expect([MemrefInput, ValueOutput, Unused, Unused])?;
    let mut memory = params.0.as_memref()?;
    let bytes = memory.buffer();
    let sum = bytes
        .iter()
        .fold(0_u32, |sum, o| sum.wrapping_add(u32::from(*o)));
    let mut value = params.1.as_value()?;
    value.set_a(sum);
    value.set_b(bytes.len() as u32);
    Ok(())
}

fn fill(params: &mut Parameters) -> Result<()> {
    params.expect([MemrefOutput, ValueInput, Unused, Unused])?;
    let value = params.1.as_value()?;
    let mut memory = params.0.as_memref()?;
    memory.reserve(value.b() as usize)?.fill(value.a() as u8);
    Ok(())
}

fn reverse(params: &mut Parameters) -> Result<()> {
    params.expect([MemrefInout, Unused, Unused, Unused])?;
    let mut memory = params.0.as_memref()?;
    let bytes = memory.buffer();
    bytes.reverse();
    bytes.make_ascii_uppercase();
    Ok(())
}

fn echo(params: &mut Parameters) -> Result<()> {
    params.expect([MemrefInput, MemrefOutput, Unused, Unused])?;
    let mut from = params.0.as_memref()?;
    let from = from.buffer();
    params
        .1
        .as_memref()?
        .reserve(from.len())?
        .copy_from_slice(from);
    Ok(())
}

fn log_line(params: &mut Parameters) -> Result<()> {
    params.expect([MemrefInput, Unused, Unused, Unused])?;
    // The client may change its buffer at any time: check and print a copy.
    let mut copy = Vec::new();
    let mut memory = params.0.as_memref()?;
    let bytes = memory.buffer();
    copy.try_reserve_exact(bytes.len())?;
    copy.extend_from_slice(bytes);
    let text = core::str::from_utf8(&copy).map_err(|_| Error::new(ErrorKind::BadFormat))?;
    info!("hello: {text}");
    Ok(())
}

fn time(params: &mut Parameters) -> Result<()> {
    params.expect([ValueOutput, ValueOutput, Unused, Unused])?;
    let mut now = Time::new();
    now.system_time();
    let mut value = params.0.as_value()?;
    value.set_a(now.seconds);
    value.set_b(now.millis);
    now.ree_time();
    let mut value = params.1.as_value()?;
    value.set_a(now.seconds);
    value.set_b(now.millis);
    Ok(())
}

fn random(params: &mut Parameters) -> Result<()> {
    params.expect([MemrefOutput, Unused, Unused, Unused])?;
    Random::generate(params.0.as_memref()?.buffer());
    Ok(())
}

fn check_access(params: &mut Parameters) -> Result<()> {
    const LEN: u64 = 16;
    let on_stack = [0_u8; LEN as usize];
    let asked = params.0.as_value()?;
    let (address, len) = match asked.b() {
        place::NULL => (0, LEN),
        place::STACK => (on_stack.as_ptr() as u64, LEN),
        place::CODE => (invoke_command as *const () as u64, LEN),
        place::KERNEL => (0xffff_ffff_8000_0000, LEN),
        place::WRAPS => (u64::MAX - 7, LEN),
        place::PARAM => {
            let mut memory = params.2.as_memref()?;
            let bytes = memory.buffer();
            (bytes.as_ptr() as u64, bytes.len() as u64)
        }
        _ => return Err(Error::new(ErrorKind::BadParameters)),
    };
    let answer = syscall::check_access(asked.a(), address, len);
    params.1.as_value()?.set_a(TeeResult::from_result(answer).0);
    Ok(())
}

fn wait(params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, Unused, Unused, Unused])?;
    syscall::mask_cancellation(false);
    Time::wait(params.0.as_value()?.a())
}

fn mix(params: &mut Parameters) -> Result<()> {
    if params.3.param_type != ParamType::MemrefInput {
        params.expect([ValueInput, ValueOutput, ValueInout, Unused])?;
    }
    let x = params.0.as_value()?;
    let mut y = params.2.as_value()?;
    let mut out = params.1.as_value()?;
    let (a, b) = (y.a(), y.b());
    out.set_a(x.a().wrapping_add(a));
    out.set_b(x.b().wrapping_add(b));
    y.set_a(b);
    y.set_b(a);
    Ok(())
}

fn keep(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, Unused, Unused, Unused])?;
    let more = params.0.as_value()?.a() as usize;
    session.kept.try_reserve_exact(more)?;
    session.kept.resize(session.kept.len() + more, 0xa5);
    Ok(())
}
