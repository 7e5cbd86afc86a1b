//! Tally's pTA of the audit: what is not undone, and what was done in the wrong order.
//!
//! **Invariant:** layouts are [`tally_abi::pta::audit`]'s.
//! **Knows nothing of:** how it is noticed.

use crate::list;
use crate::records;
use tally_abi::TeeResult;
use tally_abi::pta::audit::{
    CMD_COMMANDS, CMD_EVENTS, CMD_FAULT, CMD_HELD, CMD_LEDGER, CMD_TOTALS, UUID,
};
use tally_abi::ta::param_type::{MEMREF_INPUT, MEMREF_OUTPUT, NONE, VALUE_INPUT, VALUE_OUTPUT};
use tally_core::pta_api::{Params, PseudoTa, Services};

pub(crate) const PTA: PseudoTa = PseudoTa {
    uuid: UUID,
    name: "audit",
    // It tells of every TA.
    serves_tas: false,
    invoke,
};

fn invoke(services: &dyn Services, command: u32, params: &mut dyn Params) -> Result<(), TeeResult> {
    const LIST: [u32; 4] = [MEMREF_OUTPUT, NONE, NONE, NONE];
    match command {
        CMD_HELD => {
            list::expect(params, LIST)?;
            records::write(services, params, 0, |index| services.held(index))
        }
        CMD_EVENTS => {
            list::expect(params, LIST)?;
            records::write(services, params, 0, |index| services.audit_event(index))
        }
        CMD_TOTALS => {
            list::expect(params, [VALUE_OUTPUT, VALUE_OUTPUT, NONE, NONE])?;
            let totals = services.audit_totals();
            params.set_value(0, clamp(totals.events), clamp(totals.dropped));
            let commands = clamp(services.commands_dropped());
            params.set_value(1, clamp(totals.stacks_dropped), commands);
            Ok(())
        }
        CMD_COMMANDS => {
            list::expect(params, [MEMREF_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
            let uuid = list::uuid(params, 0)?;
            records::write(services, params, 1, |index| services.command(uuid, index))
        }
        CMD_LEDGER => {
            list::expect(params, [MEMREF_INPUT, VALUE_INPUT, NONE, NONE])?;
            let uuid = list::uuid(params, 0)?;
            services.ledger(uuid, params.value(1).0)
        }
        CMD_FAULT => {
            list::expect(params, [VALUE_INPUT, NONE, NONE, NONE])?;
            services.set_buffer_fault(params.value(0).0 != 0)
        }
        _ => Err(TeeResult::NOT_SUPPORTED),
    }
}

fn clamp(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
