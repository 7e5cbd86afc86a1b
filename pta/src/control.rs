//! Tally's control pTA: what OP-TEE's interfaces have no call for.
//!
//! **Invariant:** layouts are [`tally_abi::pta::control`]'s.

use crate::lists::Text;
use crate::params::{expect, uuid};
use core::fmt::Write;
use tally_abi::TeeResult;
use tally_abi::pta::control::{
    CMD_FAULT, CMD_INJECT, CMD_KILL, CMD_LAST_OOM, CMD_RESET, CMD_SECURE_RAM, CMD_THREADS, UUID,
};
use tally_abi::pta::stats::alloc_id;
use tally_abi::ta::param_type::{MEMREF_INPUT, MEMREF_OUTPUT, NONE, VALUE_INPUT, VALUE_OUTPUT};
use tally_account::api::{Answers, Entry};
use tally_account::book::Book;
use tally_core::pta::services::Control;
use tally_core::pta::{Params, PseudoTa, Work};
use tally_mem::injection::Injection;

pub(crate) const PTA: PseudoTa<Book> = PseudoTa {
    uuid: UUID,
    name: "control",
    work: Work::Account(Entry::Controls(|account, control, session, step| {
        step.of_normal_world(session, |command, params| {
            invoke(account, control, command, params)
        })
    })),
};

fn invoke(
    account: &dyn Answers,
    control: &dyn Control,
    command: u32,
    params: &mut dyn Params,
) -> Result<(), TeeResult> {
    match command {
        CMD_KILL => kill(control, params),
        CMD_RESET => {
            expect(params, [NONE; 4])?;
            account.reset_stats(alloc_id::ALL);
            account.reset_tas();
            Ok(())
        }
        CMD_LAST_OOM => {
            expect(params, [MEMREF_OUTPUT, NONE, NONE, NONE])?;
            let mut text = Text::new(params, 0);
            if !account.last_oom(&mut text as &mut dyn Write) {
                return Err(TeeResult::NO_DATA);
            }
            text.finish()
        }
        CMD_FAULT => {
            expect(params, [VALUE_INPUT, NONE, NONE, NONE])?;
            account.fault(params.value(0).0).ok()
        }
        CMD_INJECT => {
            expect(params, [VALUE_INPUT, VALUE_INPUT, VALUE_OUTPUT, NONE])?;
            let (pool, (first, count)) = (params.value(0).0, params.value(1));
            let before = account.inject(pool, Injection::new(first, count))?;
            params.set_value(2, before.seen(), before.refused());
            Ok(())
        }
        CMD_THREADS => {
            expect(params, [VALUE_OUTPUT, VALUE_OUTPUT, NONE, NONE])?;
            let [threads, in_use, turned_away] = account.threads();
            params.set_value(0, threads, in_use);
            params.set_value(1, turned_away, 0);
            Ok(())
        }
        CMD_SECURE_RAM => {
            expect(params, [VALUE_OUTPUT, NONE, NONE, NONE])?;
            let bytes = account.secure_ram();
            params.set_value(0, bytes as u32, (bytes >> 32) as u32);
            Ok(())
        }
        _ => Err(TeeResult::NOT_SUPPORTED),
    }
}

fn kill(control: &dyn Control, params: &mut dyn Params) -> Result<(), TeeResult> {
    expect(params, [MEMREF_INPUT, VALUE_OUTPUT, NONE, NONE])?;
    let killed = control.kill(uuid(params, 0)?);
    params.set_value(1, killed, 0);
    if killed == 0 {
        Err(TeeResult::ITEM_NOT_FOUND)
    } else {
        Ok(())
    }
}
