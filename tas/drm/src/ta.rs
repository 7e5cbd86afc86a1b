//! The commands.
//!
//! **Invariant:** each step of a switch is a function of its own, so that call stacks name it.

use ta_runtime::ParamIndex::{Arg0, Arg1};
use ta_runtime::ParamType::{None as Unused, ValueInput, ValueOutput};
use ta_runtime::abi::pta::vdec;
use ta_runtime::abi::ta::access;
use ta_runtime::{
    Error, ErrorKind, Parameters, Result, TaSession, TaSessionBuilder, TeeParams, Uuid, syscall,
    ta_close_session, ta_invoke_command, ta_open_session,
};
use ta_uuids::drm;

ta_runtime::properties! {
    uuid: drm::UUID,
    flags: 0,
    stack_size: 8 << 10,
    heap_size: 32 << 10,
}

/// What a session keeps.
#[derive(Default)]
struct Session {
    decoder: Option<TaSession>,
}

/// A buffer of a channel.
struct Buffer {
    low: u32,
    high: u32,
}

#[ta_open_session]
fn open_session(_params: &mut Parameters, session: &mut Session) -> Result<()> {
    session.decoder = Some(TaSessionBuilder::new(Uuid::from(vdec::UUID)).build()?);
    Ok(())
}

#[ta_close_session]
fn close_session(session: &mut Session) {
    session.decoder = None;
}

#[ta_invoke_command]
fn invoke_command(session: &mut Session, command: u32, params: &mut Parameters) -> Result<()> {
    let decoder = session.decoder.as_mut();
    let decoder = decoder.ok_or(Error::new(ErrorKind::BadState))?;
    match command {
        drm::CMD_SWITCH => switches(decoder, params),
        drm::CMD_HOLD => hold(decoder, params),
        _ => Err(Error::new(ErrorKind::NotSupported)),
    }
}

fn switches(decoder: &mut TaSession, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, ValueOutput, Unused, Unused])?;
    let asked = params.0.as_value()?;
    let (count, order) = (asked.a(), asked.b());
    let mut refused = 0;
    for n in 0..count {
        let wrong = match order {
            drm::order::RIGHT => false,
            drm::order::WRONG => true,
            drm::order::ALTERNATE => n % 2 == 1,
            _ => return Err(Error::new(ErrorKind::BadParameters)),
        };
        if wrong {
            refused += u32::from(switch_in_wrong_order(decoder)?);
        } else {
            switch_in_right_order(decoder)?;
        }
    }
    let mut answer = params.1.as_value()?;
    answer.set_a(count);
    answer.set_b(refused);
    Ok(())
}

#[inline(never)]
fn switch_in_right_order(decoder: &mut TaSession) -> Result<()> {
    let channel = open_channel(decoder)?;
    let buffer = map_buffer(decoder, channel, drm::BUFFER_BYTES)?;
    unmap_buffer(decoder, channel, &buffer)?;
    close_channel(decoder, channel)
}

/// Whether unmapping was refused, since the channel had gone.
#[inline(never)]
fn switch_in_wrong_order(decoder: &mut TaSession) -> Result<bool> {
    let channel = open_channel(decoder)?;
    let buffer = map_buffer(decoder, channel, drm::BUFFER_BYTES)?;
    close_channel(decoder, channel)?;
    match unmap_buffer(decoder, channel, &buffer) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == ErrorKind::ItemNotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn hold(decoder: &mut TaSession, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, Unused, Unused, Unused])?;
    let bytes = params.0.as_value()?.a();
    let channel = open_channel(decoder)?;
    let buffer = map_buffer(decoder, channel, bytes)?;
    // The buffer is the TA's to read and to write.
    let address = u64::from(buffer.high) << 32 | u64::from(buffer.low);
    let rights = access::READ | access::WRITE | access::ANY_OWNER;
    Ok(syscall::check_access(rights, address, u64::from(bytes))?)
}

#[inline(never)]
fn open_channel(decoder: &mut TaSession) -> Result<u32> {
    let mut params = TeeParams::new().with_value_out(Arg0, 0, 0);
    decoder.invoke_command(vdec::CMD_OPEN_CHANNEL, &mut params)?;
    let answer = params[Arg0].output_value();
    Ok(answer.ok_or(Error::new(ErrorKind::BadState))?.0)
}

#[inline(never)]
fn map_buffer(decoder: &mut TaSession, channel: u32, bytes: u32) -> Result<Buffer> {
    let mut params = TeeParams::new()
        .with_value_in(Arg0, channel, bytes)
        .with_value_out(Arg1, 0, 0);
    decoder.invoke_command(vdec::CMD_MAP, &mut params)?;
    let answer = params[Arg1].output_value();
    let (low, high) = answer.ok_or(Error::new(ErrorKind::BadState))?;
    Ok(Buffer { low, high })
}

#[inline(never)]
fn unmap_buffer(decoder: &mut TaSession, channel: u32, buffer: &Buffer) -> Result<()> {
    let mut params = TeeParams::new()
        .with_value_in(Arg0, channel, 0)
        .with_value_in(Arg1, buffer.low, buffer.high);
    decoder.invoke_command(vdec::CMD_UNMAP, &mut params)
}

#[inline(never)]
fn close_channel(decoder: &mut TaSession, channel: u32) -> Result<()> {
    let mut params = TeeParams::new().with_value_in(Arg0, channel, 0);
    decoder.invoke_command(vdec::CMD_CLOSE_CHANNEL, &mut params)
}
