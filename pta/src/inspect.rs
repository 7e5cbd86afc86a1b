//! Tally's inspector: TAs, regions, sessions, status.
//!
//! **Invariant:** layouts are [`tally_abi::pta::inspect`]'s; memory it needs is on the stack, however long a
//! list is.
//! **Knows nothing of:** how the figures come about.

use crate::{list, records};
use tally_abi::pta::inspect::{
    CMD_FAILURES, CMD_HISTORY, CMD_REGIONS, CMD_SESSIONS, CMD_STATUS, CMD_TAS, UUID,
};
use tally_abi::ta::param_type::{MEMREF_INPUT, MEMREF_OUTPUT, NONE, VALUE_OUTPUT};
use tally_abi::{TeeResult, TeeUuid};
use tally_core::inspect::Which;
use tally_core::inspect::regions::RegionCursor;
use tally_core::pta_api::{Params, PseudoTa, Services};

pub(crate) struct Inspector;

impl PseudoTa for Inspector {
    fn uuid(&self) -> TeeUuid {
        UUID
    }

    fn name(&self) -> &'static str {
        "inspect"
    }

    /// TAs have no business with each other's memory.
    fn serves_tas(&self) -> bool {
        false
    }

    fn invoke(
        &self,
        services: &dyn Services,
        command: u32,
        params: &mut dyn Params,
    ) -> Result<(), TeeResult> {
        const LIST: [u32; 4] = [MEMREF_INPUT, MEMREF_OUTPUT, NONE, NONE];
        match command {
            CMD_TAS => {
                list::expect(params, LIST)?;
                let which = loaded(services, params)?;
                let mut from = 0;
                records::write(params, 1, |_| {
                    let (row, next) = services.ta_detail(which, from)?;
                    from = next;
                    Some(row)
                })
            }
            CMD_REGIONS => {
                list::expect(params, LIST)?;
                regions(services, params)
            }
            CMD_SESSIONS => {
                list::expect(params, LIST)?;
                let which = loaded(services, params)?;
                let mut from = 0;
                records::write(params, 1, |_| {
                    let (row, next) = services.session(which, from)?;
                    from = next;
                    Some(row)
                })
            }
            CMD_FAILURES => {
                list::expect(params, [MEMREF_OUTPUT, NONE, NONE, NONE])?;
                let mut from = 0;
                records::write(params, 0, |_| {
                    let row = services.failure(from)?;
                    from = row.number + 1;
                    Some(row)
                })
            }
            CMD_HISTORY => {
                list::expect(params, [MEMREF_OUTPUT, VALUE_OUTPUT, NONE, NONE])?;
                params.set_value(1, services.history_dropped(), 0);
                records::write(params, 0, |index| services.history(index))
            }
            CMD_STATUS => {
                list::expect(params, [MEMREF_INPUT, NONE, NONE, NONE])?;
                match subject(params)?.uuid {
                    Some(uuid) if services.print_status(uuid) > 0 => Ok(()),
                    _ => Err(TeeResult::ITEM_NOT_FOUND),
                }
            }
            _ => Err(TeeResult::NOT_SUPPORTED),
        }
    }
}

fn regions(services: &dyn Services, params: &mut dyn Params) -> Result<(), TeeResult> {
    let which = loaded(services, params)?;
    if which.uuid.is_some() {
        let mut cursor = RegionCursor::default();
        return records::write(params, 1, |_| {
            let (row, next) = services.ta_region(which, cursor)?;
            cursor = next;
            Some(row)
        });
    }
    let mut from = 0;
    records::write(params, 1, |_| {
        let (row, next) = services.kernel_region(from)?;
        from = next;
        Some(row)
    })
}

/// Whom memory reference 0 names: a UUID (nil: none), and perhaps an instance's number.
///
/// # Errors
/// `BAD_PARAMETERS`.
fn subject(params: &dyn Params) -> Result<Which, TeeResult> {
    let mut octets = [0; 16];
    let mut number = [0; 4];
    let uuid_len = octets.len() as u64;
    let instance = match params.memref_len(0) {
        16 => None,
        20 => {
            params.read(0, uuid_len, &mut number)?;
            Some(u32::from_le_bytes(number))
        }
        _ => return Err(TeeResult::BAD_PARAMETERS),
    };
    params.read(0, 0, &mut octets)?;
    let uuid = TeeUuid::from_octets(octets);
    Ok(Which {
        uuid: (uuid != TeeUuid::nil()).then_some(uuid),
        instance,
    })
}

/// As [`subject`]; a TA that is named must be loaded.
///
/// # Errors
/// `ITEM_NOT_FOUND` besides.
fn loaded(services: &dyn Services, params: &dyn Params) -> Result<Which, TeeResult> {
    let which = subject(params)?;
    if which.uuid.is_some() && !services.is_loaded(which) {
        return Err(TeeResult::ITEM_NOT_FOUND);
    }
    Ok(which)
}
