//! Tally's pTA of the audit: what is not undone, and what was done in the wrong order.
//!
//! **Invariant:** layouts are [`tally_abi::pta::audit`]'s.

use crate::params::{expect, uuid};
use tally_abi::TeeResult;
use tally_abi::pta::audit::{CMD_FAULT, CMD_LEDGER, CMD_TOTALS, UUID};
use tally_abi::ta::param_type::{MEMREF_INPUT, NONE, VALUE_INPUT, VALUE_OUTPUT};
use tally_account::api::{Answers, Entry};
use tally_account::book::Book;
use tally_core::pta::{Params, PseudoTa, Work};

pub(crate) const PTA: PseudoTa<Book> = PseudoTa {
    uuid: UUID,
    name: "audit",
    work: Work::Account(Entry::Asks(|account, session, step| {
        step.of_normal_world(session, |command, params| invoke(account, command, params))
    })),
};

fn invoke(account: &dyn Answers, command: u32, params: &mut dyn Params) -> Result<(), TeeResult> {
    match command {
        CMD_TOTALS => {
            expect(params, [VALUE_OUTPUT, VALUE_OUTPUT, NONE, NONE])?;
            let totals = account.audit_totals();
            params.set_value(0, clamp(totals.events), clamp(totals.dropped));
            params.set_value(1, clamp(totals.stacks_dropped), 0);
            Ok(())
        }
        CMD_LEDGER => {
            expect(params, [MEMREF_INPUT, VALUE_INPUT, NONE, NONE])?;
            let uuid = uuid(params, 0)?;
            account.ledger(uuid, params.value(1).0)
        }
        CMD_FAULT => {
            expect(params, [VALUE_INPUT, NONE, NONE, NONE])?;
            account.set_buffer_fault(params.value(0).0 != 0)
        }
        _ => Err(TeeResult::NOT_SUPPORTED),
    }
}

fn clamp(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
