//! OP-TEE's statistics pTA: what `xtest --stats` asks.
//!
//! **Invariant:** commands, types and layouts are the upstream header's (`pta_stats.h`).

use crate::lists::write;
use crate::params::expect;
use tally_abi::TeeResult;
use tally_abi::pta::stats::{
    CMD_ALLOC_STATS, CMD_GET_TIME, CMD_MEMLEAK_STATS, CMD_PAGER_STATS, CMD_PRINT_DRIVER_INFO,
    CMD_TA_STATS, UUID, alloc_id,
};
use tally_abi::ta::param_type::{MEMREF_OUTPUT, NONE, VALUE_INPUT, VALUE_OUTPUT};
use tally_account::api::{Answers, Entry};
use tally_account::book::Book;
use tally_core::pta::services::Control;
use tally_core::pta::{Params, PseudoTa, Work};

pub(crate) const PTA: PseudoTa<Book> = PseudoTa {
    uuid: UUID,
    name: "stats.ta",
    work: Work::Account(Entry::Controls(|account, control, session, step| {
        let may_change = !session.is_of_ta();
        step.of_anyone(|command, params| invoke(account, control, may_change, command, params))
    })),
};

/// Serves a command; what TAs may not do is to change figures, and to fill the console.
fn invoke(
    account: &dyn Answers,
    control: &dyn Control,
    may_change: bool,
    command: u32,
    params: &mut dyn Params,
) -> Result<(), TeeResult> {
    match command {
        CMD_PAGER_STATS => pager(params),
        CMD_ALLOC_STATS => alloc(account, may_change, params),
        CMD_MEMLEAK_STATS => {
            expect(params, [NONE; 4])?;
            allowed(may_change)?;
            account.dump_heap();
            Ok(())
        }
        CMD_TA_STATS => {
            expect(params, [MEMREF_OUTPUT, NONE, NONE, NONE])?;
            write(account, params, 0, |index| account.ta_stats(index))
        }
        CMD_GET_TIME => time(control, params),
        // Tally drives no clocks and no regulators, so there is nothing to print.
        CMD_PRINT_DRIVER_INFO => {
            expect(params, [VALUE_INPUT, NONE, NONE, NONE])?;
            Err(TeeResult::NOT_SUPPORTED)
        }
        _ => Err(TeeResult::BAD_PARAMETERS),
    }
}

/// There is no pager: all figures are zero.
fn pager(params: &mut dyn Params) -> Result<(), TeeResult> {
    expect(params, [VALUE_OUTPUT, VALUE_OUTPUT, VALUE_OUTPUT, NONE])?;
    for index in 0..3 {
        params.set_value(index, 0, 0);
    }
    Ok(())
}

fn allowed(may: bool) -> Result<(), TeeResult> {
    may.then_some(()).ok_or(TeeResult::ACCESS_DENIED)
}

fn alloc(account: &dyn Answers, may_reset: bool, params: &mut dyn Params) -> Result<(), TeeResult> {
    expect(params, [VALUE_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
    let (id, reset) = params.value(0);
    allowed(reset == 0 || may_reset)?;
    match id {
        alloc_id::ALL => write(account, params, 1, |index| {
            let id = u32::try_from(index).ok()? + 1;
            (id <= alloc_id::COUNT).then(|| account.alloc_stats(id))
        }),
        1..=alloc_id::COUNT => write(account, params, 1, |index| {
            (index == 0).then(|| account.alloc_stats(id))
        }),
        _ => Err(TeeResult::BAD_PARAMETERS),
    }?;
    if reset != 0 {
        account.reset_stats(id);
    }
    Ok(())
}

fn time(control: &dyn Control, params: &mut dyn Params) -> Result<(), TeeResult> {
    expect(params, [VALUE_OUTPUT, VALUE_OUTPUT, NONE, NONE])?;
    let ree = control.ree_time()?;
    let tee = control.system_time();
    params.set_value(0, ree.seconds, ree.millis);
    params.set_value(1, tee.seconds, tee.millis);
    Ok(())
}
