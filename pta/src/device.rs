//! OP-TEE's device enumeration pTA: which TAs the normal world's kernel should offer as devices.
//!
//! **Invariant:** answers like upstream's (`pta_device.h`) with an empty list: none of Tally's
//! pseudo-TAs is a device.
//! **Knows nothing of:** user TAs.

use crate::list;
use tally_abi::TeeResult;
use tally_abi::pta::device::{CMD_GET_DEVICES, CMD_GET_DEVICES_SUPP, UUID};
use tally_abi::ta::param_type::{MEMREF_OUTPUT, NONE};
use tally_core::pta_api::{Params, PseudoTa, Services};

pub(crate) const PTA: PseudoTa = PseudoTa {
    uuid: UUID,
    name: "device.ta",
    serves_tas: true,
    invoke,
};

fn invoke(
    _services: &dyn Services,
    command: u32,
    params: &mut dyn Params,
) -> Result<(), TeeResult> {
    match command {
        CMD_GET_DEVICES | CMD_GET_DEVICES_SUPP => {
            list::expect(params, [MEMREF_OUTPUT, NONE, NONE, NONE])?;
            list::finish(params, 0, 0)
        }
        _ => Err(TeeResult::NOT_IMPLEMENTED),
    }
}
