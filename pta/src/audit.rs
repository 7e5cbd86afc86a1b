//! Tally's pTA of the audit: what is not undone, and what was done in the wrong order.
//!
//! **Invariant:** layouts are [`tally_abi::pta::audit`]'s.

use crate::list;
use crate::records;
use tally_abi::TeeResult;
use tally_abi::pta::audit::{
    CMD_COMMANDS, CMD_EVENTS, CMD_FAULT, CMD_HELD, CMD_LEDGER, CMD_TOTALS, UUID,
};
use tally_abi::ta::param_type::{MEMREF_INPUT, MEMREF_OUTPUT, NONE, VALUE_INPUT, VALUE_OUTPUT};
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
    const LIST: [u32; 4] = [MEMREF_OUTPUT, NONE, NONE, NONE];
    match command {
        CMD_HELD => {
            list::expect(params, LIST)?;
            records::write(account, params, 0, |index| account.held(index))
        }
        CMD_EVENTS => {
            list::expect(params, LIST)?;
            records::write(account, params, 0, |index| account.audit_event(index))
        }
        CMD_TOTALS => {
            list::expect(params, [VALUE_OUTPUT, VALUE_OUTPUT, NONE, NONE])?;
            let totals = account.audit_totals();
            params.set_value(0, clamp(totals.events), clamp(totals.dropped));
            let commands = clamp(account.commands_dropped());
            params.set_value(1, clamp(totals.stacks_dropped), commands);
            Ok(())
        }
        CMD_COMMANDS => {
            list::expect(params, [MEMREF_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
            let uuid = list::uuid(params, 0)?;
            records::write(account, params, 1, |index| account.command(uuid, index))
        }
        CMD_LEDGER => {
            list::expect(params, [MEMREF_INPUT, VALUE_INPUT, NONE, NONE])?;
            let uuid = list::uuid(params, 0)?;
            account.ledger(uuid, params.value(1).0)
        }
        CMD_FAULT => {
            list::expect(params, [VALUE_INPUT, NONE, NONE, NONE])?;
            account.set_buffer_fault(params.value(0).0 != 0)
        }
        _ => Err(TeeResult::NOT_SUPPORTED),
    }
}

fn clamp(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
