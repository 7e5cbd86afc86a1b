//! A TA on Teaclave's `optee-utee`, as an author who knows nothing of Tally writes one.
#![no_std]
#![no_main]
#![expect(
    missing_docs,
    reason = "the macros and the header that is included make public items"
)]

extern crate alloc;

use alloc::vec::Vec;
use optee_utee::prelude::*;
use optee_utee::{ErrorKind, Random, Result};

/// `(value inout)`: adds one to a.
const CMD_INCREMENT: u32 = 0;
/// `(memref in, memref out)`: turns bytes round, by way of the heap.
const CMD_REVERSE: u32 = 1;
/// `(value in)`: keeps a bytes until the session ends.
const CMD_KEEP: u32 = 2;
/// `(memref out)`: 16 random bytes.
const CMD_RANDOM: u32 = 3;
/// No parameters.
const CMD_PANIC: u32 = 4;

/// What a session keeps.
#[derive(Default)]
struct Kept(Vec<Vec<u8>>);

#[ta_create]
fn create() -> Result<()> {
    trace_println!("created");
    Ok(())
}

#[ta_open_session]
fn open_session(_params: &mut ParametersAny, _kept: &mut Kept) -> Result<()> {
    Ok(())
}

#[ta_close_session]
fn close_session(_kept: &mut Kept) {}

#[ta_destroy]
fn destroy() {}

#[ta_invoke_command]
fn invoke_command(kept: &mut Kept, command: u32, params: &mut ParametersAny) -> Result<()> {
    match command {
        CMD_INCREMENT => {
            let value = params.0.as_value_inout()?;
            let a = value.get_a();
            value.set_a(a.wrapping_add(1));
            Ok(())
        }
        CMD_REVERSE => {
            let mut bytes = params.0.as_memref_input()?.read_to_vec();
            bytes.reverse();
            params.1.as_memref_output()?.set_output(&bytes)
        }
        CMD_KEEP => {
            let len = params.0.as_value_input()?.get_a() as usize;
            let mut bytes = Vec::new();
            bytes
                .try_reserve_exact(len)
                .map_err(|_| ErrorKind::OutOfMemory)?;
            bytes.resize(len, 0);
            kept.0.push(bytes);
            Ok(())
        }
        CMD_RANDOM => {
            let mut bytes = [0; 16];
            Random::generate(&mut bytes);
            params.0.as_memref_output()?.set_output(bytes)
        }
        CMD_PANIC => panic!("as it was told"),
        _ => Err(ErrorKind::NotSupported.into()),
    }
}

include!(concat!(env!("OUT_DIR"), "/user_ta_header.rs"));
