//! OP-TEE's device enumeration pTA: which TAs the normal world's kernel should offer as devices.
//!
//! It answers like upstream's (`pta_device.h`) with an empty list: none of Tally's pseudo-TAs is a
//! device.

use crate::params::{expect, finish};
use tally_abi::TeeResult;
use tally_abi::pta::device::{CMD_GET_DEVICES, CMD_GET_DEVICES_SUPP, UUID};
use tally_abi::ta::param_type::{MEMREF_OUTPUT, NONE};
use tally_core::book::Book;
use tally_core::pta::{Params, PseudoTa, Work};

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
        CMD_GET_DEVICES | CMD_GET_DEVICES_SUPP => {
            expect(params, [MEMREF_OUTPUT, NONE, NONE, NONE])?;
            finish(params, 0, 0)
        }
        _ => Err(TeeResult::NOT_IMPLEMENTED),
    }
}
