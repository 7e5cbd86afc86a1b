//! OP-TEE's device enumeration pTA: which TAs the normal world's kernel should offer as devices.
//!
//! It answers as upstream's does (`pta_device.h`).

use crate::params::{expect, finish};
use tally_abi::pta::device::{CMD_GET_DEVICES, CMD_GET_DEVICES_SUPP, UUID};
use tally_abi::pta::rng;
use tally_abi::ta::param_type::{MEMREF_OUTPUT, NONE};
use tally_abi::{TeeResult, TeeUuid};
use tally_core::book::Book;
use tally_core::pta::{Params, PseudoTa, Work};

/// Those that need no supplicant.
const DEVICES: [TeeUuid; 1] = [rng::UUID];

/// The pseudo-TA.
pub(crate) const fn pta<O: Book>() -> PseudoTa<O> {
    PseudoTa {
        uuid: UUID,
        name: "device.ta",
        work: Work::Alone(|_, step| step.of_anyone(invoke)),
    }
}

fn invoke(command: u32, params: &mut dyn Params) -> Result<(), TeeResult> {
    match command {
        CMD_GET_DEVICES => list(params, &DEVICES),
        CMD_GET_DEVICES_SUPP => list(params, &[]),
        _ => Err(TeeResult::NOT_IMPLEMENTED),
    }
}

/// Writes the UUIDs.
fn list(params: &mut dyn Params, devices: &[TeeUuid]) -> Result<(), TeeResult> {
    expect(params, [MEMREF_OUTPUT, NONE, NONE, NONE])?;
    let room = params.memref_len(0);
    let mut needed = 0;
    for uuid in devices {
        let at = needed;
        needed += size_of::<TeeUuid>() as u64;
        if needed <= room {
            params.write(0, at, &uuid.to_bytes())?;
        }
    }
    finish(params, 0, needed)
}
