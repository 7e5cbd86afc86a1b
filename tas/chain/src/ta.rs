//! The commands.
//!
//! **Invariant:** what another TA answers is passed on unless a command says otherwise.
extern crate alloc;

use alloc::vec::Vec;
use ta_runtime::ParamIndex::{Arg0, Arg1, Arg2, Arg3};
use ta_runtime::ParamType::{
    MemrefInout, MemrefInput, MemrefOutput, None as Unused, ValueInout, ValueInput, ValueOutput,
};
use ta_runtime::abi::TeeUuid;
use ta_runtime::abi::pta::stats;
use ta_runtime::{
    Error, ErrorKind, ErrorOrigin, Parameters, Random, Result, TaSession, TaSessionBuilder,
    TeeParams, Time, Uuid, ta_close_session, ta_invoke_command, ta_open_session,
};
use ta_uuids::{chain, hello};
use tally_simd as simd;

ta_runtime::properties! {
    uuid: chain::UUID,
    flags: 0,
    stack_size: 8 << 10,
    heap_size: 32 << 10,
}

/// What a session keeps.
#[derive(Default)]
struct Session {
    kept: Option<TaSession>,
}

#[ta_open_session]
fn open_session(_params: &mut Parameters, _session: &mut Session) -> Result<()> {
    Ok(())
}

#[ta_close_session]
fn close_session(session: &mut Session) {
    // Closing what `CMD_KEEP_SESSION` opened is the kernel's duty: that is what it tests.
    core::mem::forget(session.kept.take());
}

#[ta_invoke_command]
fn invoke_command(session: &mut Session, command: u32, params: &mut Parameters) -> Result<()> {
    match command {
        chain::CMD_INC => inc(params),
        chain::CMD_ECHO => echo(params),
        chain::CMD_STATS => kernel_stats(params),
        chain::CMD_NEST => nest(params),
        chain::CMD_REVERSE => reverse(params),
        chain::CMD_CALL => call(params),
        chain::CMD_SHORT => short(params),
        chain::CMD_KEEP_SESSION => {
            session.kept = Some(open(hello::UUID)?);
            Ok(())
        }
        chain::CMD_PASS_ALL => pass_all(params),
        chain::CMD_VECTORS => vectors(params),
        chain::CMD_VECTORS_CRASH => {
            simd::fill(1);
            // SAFETY: faults, which is the point.
            unsafe { core::ptr::null::<u32>().read_volatile() };
            Ok(())
        }
        _ => Err(Error::new(ErrorKind::NotSupported)),
    }
}

fn open(uuid: TeeUuid) -> Result<TaSession> {
    TaSessionBuilder::new(Uuid::from(uuid)).build()
}

fn inc(params: &mut Parameters) -> Result<()> {
    params.expect([ValueInout, Unused, Unused, Unused])?;
    let mut value = params.0.as_value()?;
    let mut to_hello = TeeParams::new().with_value_inout(Arg0, value.a(), value.b());
    open(hello::UUID)?.invoke_command(hello::CMD_INC, &mut to_hello)?;
    let (a, b) = to_hello[Arg0]
        .output_value()
        .ok_or(Error::new(ErrorKind::BadState))?;
    value.set_a(a);
    value.set_b(b);
    Ok(())
}

/// Passes the client's two buffers to `command` of hello, and the size that comes back.
fn pass_on(params: &mut Parameters, command: u32) -> Result<()> {
    let mut from = params.0.as_memref()?;
    let mut to = params.1.as_memref()?;
    let mut to_hello = TeeParams::new()
        .with_memref_in(Arg0, from.buffer())
        .with_memref_out(Arg1, to.buffer());
    let answer = open(hello::UUID)?.invoke_command(command, &mut to_hello);
    let size = to_hello[Arg1].updated_size();
    let short = matches!(&answer, Err(e) if e.kind() == ErrorKind::ShortBuffer);
    if answer.is_ok() || short {
        to.set_updated_size(size);
    }
    answer
}

fn echo(params: &mut Parameters) -> Result<()> {
    params.expect([MemrefInput, MemrefOutput, Unused, Unused])?;
    pass_on(params, hello::CMD_ECHO)
}

fn kernel_stats(params: &mut Parameters) -> Result<()> {
    params.expect([ValueOutput, Unused, Unused, Unused])?;
    let mut bytes = [0_u8; size_of::<stats::AllocStats>()];
    let mut to_stats = TeeParams::new()
        .with_value_in(Arg0, stats::alloc_id::HEAP, 0)
        .with_memref_out(Arg1, &mut bytes);
    open(stats::UUID)?.invoke_command(stats::CMD_ALLOC_STATS, &mut to_stats)?;
    let written = to_stats[Arg1].updated_size();
    // `allocated` follows the name and `free2_sum`.
    let allocated = bytes.get(40..).and_then(|rest| rest.first_chunk().copied());
    let mut value = params.0.as_value()?;
    value.set_a(written as u32);
    value.set_b(allocated.map_or(0, u32::from_le_bytes));
    Ok(())
}

fn nest(params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, ValueOutput, Unused, Unused])?;
    let depth = params.0.as_value()?.a();
    let reached = match depth {
        0 => 0,
        1..=chain::MAX_DEPTH => {
            let mut to_self = TeeParams::new()
                .with_value_in(Arg0, depth - 1, 0)
                .with_value_out(Arg1, 0, 0);
            open(chain::UUID)?.invoke_command(chain::CMD_NEST, &mut to_self)?;
            let answer = to_self[Arg1].output_value();
            answer.ok_or(Error::new(ErrorKind::BadState))?.0
        }
        _ => return Err(Error::new(ErrorKind::BadParameters)),
    };
    params.1.as_value()?.set_a(reached + 1);
    Ok(())
}

fn vectors(params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, ValueInput, ValueOutput, Unused])?;
    let (asked, depth) = (params.0.as_value()?, params.1.as_value()?.a());
    let (seed, millis) = (u64::from(asked.a()), asked.b());
    let is_zero = |register: &&u128| **register == 0;
    let mut used = 32 - simd::copy().iter().filter(is_zero).count() as u32;
    used += u32::from(simd::control() != 0);
    let control = (seed & 3) << 22;
    // Before, so that nothing comes between the registers and the call.
    let other = if depth > 0 {
        Some(open(chain::UUID)?)
    } else {
        None
    };
    simd::fill(seed);
    simd::set_control(control);
    let mut changed = 0;
    if let Some(mut other) = other {
        let mut to_other = TeeParams::new()
            .with_value_in(Arg0, asked.a() + 1000, millis)
            .with_value_in(Arg1, depth - 1, 0)
            .with_value_out(Arg2, 0, 0);
        other.invoke_command(chain::CMD_VECTORS, &mut to_other)?;
        let answer = to_other[Arg2].output_value();
        let answer = answer.ok_or(Error::new(ErrorKind::BadState))?;
        used += answer.0;
        changed += answer.1;
    }
    let now = || {
        let mut now = Time::new();
        now.system_time();
        now.seconds * 1000 + now.millis
    };
    let start = now();
    loop {
        // The kernel computes with registers of its own.
        Random::generate([0; 64]);
        let expected = simd::filled(seed);
        let pairs = simd::copy().into_iter().zip(expected);
        changed += pairs.filter(|(is, was)| is != was).count() as u32;
        changed += u32::from(simd::control() != control);
        if now() - start >= millis {
            break;
        }
    }
    let mut answer = params.2.as_value()?;
    answer.set_a(used);
    answer.set_b(changed);
    Ok(())
}

fn reverse(params: &mut Parameters) -> Result<()> {
    params.expect([MemrefInout, Unused, Unused, Unused])?;
    let mut memory = params.0.as_memref()?;
    let bytes = memory.buffer();
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len())?;
    copy.extend_from_slice(bytes);
    let mut to_hello = TeeParams::new().with_memref_inout(Arg0, &mut copy);
    open(hello::UUID)?.invoke_command(hello::CMD_REVERSE, &mut to_hello)?;
    bytes.copy_from_slice(&copy);
    Ok(())
}

fn call(params: &mut Parameters) -> Result<()> {
    params.expect([MemrefInput, ValueInput, ValueOutput, Unused])?;
    let uuid = Uuid::from_slice(params.0.as_memref()?.buffer())?;
    let command = params.1.as_value()?.a();
    let answer = TaSessionBuilder::new(uuid)
        .build()
        .and_then(|mut session| session.invoke_command(command, &mut TeeParams::new()));
    let (code, origin) = match answer {
        Ok(()) => (0, u32::from(ErrorOrigin::TA)),
        Err(e) => (e.raw_code(), e.origin().map_or(0, u32::from)),
    };
    let mut value = params.2.as_value()?;
    value.set_a(code);
    value.set_b(origin);
    Ok(())
}

fn pass_all(params: &mut Parameters) -> Result<()> {
    params.expect([MemrefInout; 4])?;
    let mut memory = (
        params.0.as_memref()?,
        params.1.as_memref()?,
        params.2.as_memref()?,
        params.3.as_memref()?,
    );
    let mut to_hello = TeeParams::new()
        .with_memref_inout(Arg0, memory.0.buffer())
        .with_memref_inout(Arg1, memory.1.buffer())
        .with_memref_inout(Arg2, memory.2.buffer())
        .with_memref_inout(Arg3, memory.3.buffer());
    open(hello::UUID)?.invoke_command(hello::CMD_NOP, &mut to_hello)
}

fn short(params: &mut Parameters) -> Result<()> {
    params.expect([MemrefInput, MemrefOutput, Unused, Unused])?;
    let mut to = params.1.as_memref()?;
    let wanted = to.buffer().len() as u32 + 1;
    let mut to_hello = TeeParams::new()
        .with_memref_out(Arg0, to.buffer())
        .with_value_in(Arg1, 0, wanted);
    let answer = open(hello::UUID)?.invoke_command(hello::CMD_FILL, &mut to_hello);
    let size = to_hello[Arg0].updated_size();
    to.set_updated_size(size);
    answer
}
