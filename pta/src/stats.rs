//! OP-TEE's statistics pTA: what `xtest --stats` asks.
//!
//! **Invariant:** commands, types and layouts are the upstream header's (`pta_stats.h`).
//! **Knows nothing of:** how the figures come about.

use crate::{list, records};
use tally_abi::TeeResult;
use tally_abi::pta::stats::{
    CMD_ALLOC_STATS, CMD_GET_TIME, CMD_MEMLEAK_STATS, CMD_PAGER_STATS, CMD_PRINT_DRIVER_INFO,
    CMD_TA_STATS, UUID, alloc_id,
};
use tally_abi::ta::param_type::{MEMREF_OUTPUT, NONE, VALUE_INPUT, VALUE_OUTPUT};
use tally_core::pta_api::{Params, PseudoTa, Services};

pub(crate) const PTA: PseudoTa = PseudoTa {
    uuid: UUID,
    name: "stats.ta",
    serves_tas: true,
    invoke,
};

fn invoke(services: &dyn Services, command: u32, params: &mut dyn Params) -> Result<(), TeeResult> {
    match command {
        CMD_PAGER_STATS => pager(params),
        CMD_ALLOC_STATS => alloc(services, params),
        CMD_MEMLEAK_STATS => {
            list::expect(params, [NONE; 4])?;
            services.dump_heap();
            Ok(())
        }
        CMD_TA_STATS => {
            list::expect(params, [MEMREF_OUTPUT, NONE, NONE, NONE])?;
            records::write(services, params, 0, |index| services.ta(index))
        }
        CMD_GET_TIME => time(services, params),
        // Tally drives no clocks and no regulators, so there is nothing to print.
        CMD_PRINT_DRIVER_INFO => {
            list::expect(params, [VALUE_INPUT, NONE, NONE, NONE])?;
            Err(TeeResult::NOT_SUPPORTED)
        }
        _ => Err(TeeResult::BAD_PARAMETERS),
    }
}

/// There is no pager: all figures are zero.
fn pager(params: &mut dyn Params) -> Result<(), TeeResult> {
    list::expect(params, [VALUE_OUTPUT, VALUE_OUTPUT, VALUE_OUTPUT, NONE])?;
    for index in 0..3 {
        params.set_value(index, 0, 0);
    }
    Ok(())
}

fn alloc(services: &dyn Services, params: &mut dyn Params) -> Result<(), TeeResult> {
    list::expect(params, [VALUE_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
    let (id, reset) = params.value(0);
    match id {
        alloc_id::ALL => records::write(services, params, 1, |index| {
            let id = u32::try_from(index).ok()? + 1;
            (id <= alloc_id::COUNT).then(|| services.alloc_stats(id))
        }),
        1..=alloc_id::COUNT => records::write(services, params, 1, |index| {
            (index == 0).then(|| services.alloc_stats(id))
        }),
        _ => Err(TeeResult::BAD_PARAMETERS),
    }?;
    if reset != 0 {
        services.reset_stats(id);
    }
    Ok(())
}

fn time(services: &dyn Services, params: &mut dyn Params) -> Result<(), TeeResult> {
    list::expect(params, [VALUE_OUTPUT, VALUE_OUTPUT, NONE, NONE])?;
    let ree = services.ree_time()?;
    let tee = services.system_time();
    params.set_value(0, ree.seconds, ree.millis);
    params.set_value(1, tee.seconds, tee.millis);
    Ok(())
}
