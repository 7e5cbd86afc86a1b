//! OP-TEE's system pTA (`pta_system.h`), as far as memory, libraries and the supplicant's plugins go.

use crate::params::{expect, native_uuid};
use tally_abi::TeeResult;
use tally_abi::pta::system::{
    CMD_DLOPEN, CMD_DLSYM, CMD_MAP_ZI, CMD_SUPP_PLUGIN_INVOKE, CMD_UNMAP, DLOPEN_FLAGS,
    MAP_SHAREABLE, UUID,
};
use tally_abi::ta::param_type::{
    MEMREF_INOUT, MEMREF_INPUT, NONE, VALUE_INOUT, VALUE_INPUT, VALUE_OUTPUT,
};
use tally_core::book::Book;
use tally_core::pta::system_services::{Plugin, SystemServices};
use tally_core::pta::{Params, PseudoTa, Session, Step, Work};

/// Longest name of a symbol that is looked for, in bytes.
const MAX_SYMBOL: usize = 512;

/// The pseudo-TA.
pub(crate) const fn pta<O: Book>() -> PseudoTa<O> {
    PseudoTa {
        uuid: UUID,
        name: "system.pta",
        work: Work::System(enter),
    }
}

fn enter(
    system: &dyn SystemServices,
    session: &Session<'_>,
    step: Step<'_>,
) -> Result<(), TeeResult> {
    match step {
        Step::Open if !session.is_of_ta() => Err(TeeResult::ACCESS_DENIED),
        step => step.of_anyone(|command, params| invoke(system, command, params)),
    }
}

fn invoke(
    system: &dyn SystemServices,
    command: u32,
    params: &mut dyn Params,
) -> Result<(), TeeResult> {
    match command {
        CMD_MAP_ZI => {
            expect(params, [VALUE_INPUT, VALUE_INOUT, VALUE_INPUT, NONE])?;
            let (bytes, flags) = params.value(0);
            if bytes == 0 || flags & !MAP_SHAREABLE != 0 {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            let va = system.map_zero(bytes, join(params.value(1)), params.value(2))?;
            set_address(params, 1, va);
            Ok(())
        }
        CMD_UNMAP => {
            expect(params, [VALUE_INPUT, VALUE_INPUT, NONE, NONE])?;
            let (bytes, flags) = params.value(0);
            if flags != 0 {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            system.unmap(bytes, join(params.value(1)))
        }
        CMD_DLOPEN => {
            expect(params, [MEMREF_INPUT, VALUE_INPUT, NONE, NONE])?;
            let uuid = native_uuid(params, 0)?;
            if params.value(1).0 != DLOPEN_FLAGS {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            if uuid.is_nil() {
                // The program itself, which is there.
                return Ok(());
            }
            system.open_library(uuid)
        }
        CMD_DLSYM => dlsym(system, params),
        CMD_SUPP_PLUGIN_INVOKE => {
            expect(
                params,
                [MEMREF_INPUT, VALUE_INPUT, MEMREF_INOUT, VALUE_OUTPUT],
            )?;
            let uuid = native_uuid(params, 0)?;
            let (command, subcommand) = params.value(1);
            let plugin = Plugin {
                uuid,
                command,
                subcommand,
            };
            system.invoke_plugin(plugin, params, 2, 3)
        }
        _ => Err(TeeResult::NOT_IMPLEMENTED),
    }
}

#[inline(never)]
fn dlsym(system: &dyn SystemServices, params: &mut dyn Params) -> Result<(), TeeResult> {
    expect(params, [MEMREF_INPUT, MEMREF_INPUT, VALUE_OUTPUT, NONE])?;
    let uuid = native_uuid(params, 0)?;
    let mut name = [0; MAX_SYMBOL];
    let room = params.memref_len(1).min(MAX_SYMBOL as u64) as usize;
    params.read(1, 0, &mut name[..room])?;
    // It ends with its zero, or with the buffer.
    let len = name.iter().position(|byte| *byte == 0);
    let name = match len {
        Some(len) => &name[..len],
        None if params.memref_len(1) > MAX_SYMBOL as u64 => return Err(TeeResult::ITEM_NOT_FOUND),
        None => &name[..room],
    };
    if name.is_empty() {
        return Err(TeeResult::BAD_PARAMETERS);
    }
    let va = system.find_symbol(uuid, name)?;
    set_address(params, 2, va);
    Ok(())
}

/// The address in a pair of values, high word first (`reg_pair_to_64` of optee_os `lib/libutils/ext/include/util.h`).
const fn join((high, low): (u32, u32)) -> u64 {
    (high as u64) << 32 | low as u64
}

fn set_address(params: &mut dyn Params, index: usize, va: u64) {
    params.set_value(index, (va >> 32) as u32, va as u32);
}
