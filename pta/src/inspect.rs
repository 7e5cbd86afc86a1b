//! Tally's inspector: TAs, regions, sessions, pools, what was refused, what has ended.
//!
//! **Invariant:** layouts are [`tally_abi::pta::inspect`]'s; memory it needs is on the stack, however long a
//! list is.
//! **Knows nothing of:** how the figures come about.

use crate::{list, records};
use tally_abi::pta::inspect::{
    CMD_BLOCK, CMD_BLOCK_BYTES, CMD_BLOCKS, CMD_CHECK, CMD_CHUNKS, CMD_CLASSES, CMD_FAILURES,
    CMD_HISTORY, CMD_REGIONS, CMD_SESSIONS, CMD_SITES, CMD_STATUS, CMD_TAS, CMD_UNFREED, UUID,
};
use tally_abi::ta::param_type::{
    MEMREF_INPUT, MEMREF_OUTPUT, NONE, VALUE_INOUT, VALUE_INPUT, VALUE_OUTPUT,
};
use tally_abi::{TeeResult, TeeUuid};
use tally_core::inspect::Which;
use tally_core::inspect::pools::Step;
use tally_core::inspect::regions::RegionCursor;
use tally_core::inspect::rows::MAX_CLASSES;
use tally_core::pta_api::{Params, PseudoTa, Services};
use tally_records::{BlockRow, ChunkRow, ClassRow, SiteRow};
use zerocopy::{Immutable, IntoBytes};

pub(crate) const PTA: PseudoTa = PseudoTa {
    uuid: UUID,
    name: "inspect",
    // TAs have no business with each other's memory.
    serves_tas: false,
    invoke,
};

fn invoke(services: &dyn Services, command: u32, params: &mut dyn Params) -> Result<(), TeeResult> {
    const LIST: [u32; 4] = [MEMREF_INPUT, MEMREF_OUTPUT, NONE, NONE];
    match command {
        CMD_TAS => {
            list::expect(params, LIST)?;
            let which = loaded(services, params)?;
            let mut from = 0;
            records::write(services, params, 1, |_| {
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
            records::write(services, params, 1, |_| {
                let (row, next) = services.session(which, from)?;
                from = next;
                Some(row)
            })
        }
        CMD_FAILURES => {
            list::expect(params, [MEMREF_OUTPUT, NONE, NONE, NONE])?;
            let mut from = 0;
            records::write(services, params, 0, |_| {
                let row = services.failure(from)?;
                from = row.number + 1;
                Some(row)
            })
        }
        CMD_HISTORY => {
            list::expect(params, [MEMREF_OUTPUT, VALUE_OUTPUT, NONE, NONE])?;
            params.set_value(1, services.history_dropped(), 0);
            records::write(services, params, 0, |index| services.history(index))
        }
        CMD_UNFREED => {
            list::expect(params, [MEMREF_OUTPUT, VALUE_OUTPUT, NONE, NONE])?;
            params.set_value(1, services.unfreed_dropped(), 0);
            records::write(services, params, 0, |index| services.unfreed(index))
        }
        CMD_SITES => stream(
            services,
            params,
            |which, cursor, rows: &mut [SiteRow; 8]| services.pool_sites(which, cursor, rows),
        ),
        CMD_BLOCKS => stream(
            services,
            params,
            |which, cursor, rows: &mut [BlockRow; 32]| services.pool_blocks(which, cursor, rows),
        ),
        CMD_CHUNKS => stream(
            services,
            params,
            |which, cursor, rows: &mut [ChunkRow; 32]| services.pool_chunks(which, cursor, rows),
        ),
        CMD_CLASSES => {
            list::expect(params, LIST)?;
            let which = loaded(services, params)?;
            let mut rows = [ClassRow::default(); MAX_CLASSES];
            let count = services.pool_classes(which, &mut rows)?;
            records::write(services, params, 1, |index| {
                rows[..count].get(index).copied()
            })
        }
        CMD_CHECK => {
            list::expect(params, [MEMREF_INPUT, VALUE_OUTPUT, NONE, NONE])?;
            let which = loaded(services, params)?;
            let (damage, at) = services.pool_check(which)?;
            params.set_value(1, damage, at);
            Ok(())
        }
        CMD_BLOCK => {
            list::expect(params, [MEMREF_INPUT, VALUE_INPUT, MEMREF_OUTPUT, NONE])?;
            let which = loaded(services, params)?;
            let row = services.pool_block(which, wide(params.value(1)))?;
            records::write(services, params, 2, |index| (index == 0).then_some(row))
        }
        CMD_BLOCK_BYTES => {
            list::expect(
                params,
                [MEMREF_INPUT, VALUE_INPUT, MEMREF_OUTPUT, VALUE_OUTPUT],
            )?;
            block_bytes(services, params)
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

const fn wide((low, high): (u32, u32)) -> u64 {
    low as u64 | (high as u64) << 32
}

/// As many rows from the cursor in value 1 on as memory reference 2 has room for, a step at a time.
fn stream<T: IntoBytes + Immutable + Copy + Default, const N: usize>(
    services: &dyn Services,
    params: &mut dyn Params,
    mut ask: impl FnMut(Which, u64, &mut [T; N]) -> Result<Step, TeeResult>,
) -> Result<(), TeeResult> {
    list::expect(params, [MEMREF_INPUT, VALUE_INOUT, MEMREF_OUTPUT, NONE])?;
    let which = loaded(services, params)?;
    let step_bytes = (N * size_of::<T>()) as u64;
    let room = params.memref_len(2);
    if room < step_bytes {
        params.set_memref_len(2, step_bytes);
        return Err(TeeResult::SHORT_BUFFER);
    }
    let mut cursor = wide(params.value(1));
    let mut rows = [T::default(); N];
    let mut written = 0;
    loop {
        let step = ask(which, cursor, &mut rows)?;
        let octets = rows[..step.count].as_bytes();
        params.write(2, written, octets)?;
        written += octets.len() as u64;
        cursor = step.next;
        services.breathe();
        if cursor == 0 || room - written < step_bytes {
            break;
        }
    }
    params.set_value(1, cursor as u32, (cursor >> 32) as u32);
    params.set_memref_len(2, written);
    Ok(())
}

fn block_bytes(services: &dyn Services, params: &mut dyn Params) -> Result<(), TeeResult> {
    let which = loaded(services, params)?;
    // Asked first, so that a build that does not show them says so whatever the offset.
    services.pool_bytes(which, 0, &mut [])?;
    let block = services.pool_block(which, wide(params.value(1)))?;
    params.set_value(3, block.offset as u32, block.size as u32);
    let room = params.memref_len(2).min(block.size);
    let mut done = 0;
    let mut chunk = [0; 256];
    while done < room {
        let piece = &mut chunk[..(room - done).min(256) as usize];
        services.pool_bytes(which, block.offset + done, piece)?;
        params.write(2, done, piece)?;
        done += piece.len() as u64;
    }
    list::finish(params, 2, block.size)
}

fn regions(services: &dyn Services, params: &mut dyn Params) -> Result<(), TeeResult> {
    let which = loaded(services, params)?;
    if which.uuid.is_some() {
        if services.is_dead(which) {
            return Err(TeeResult::TARGET_DEAD);
        }
        let mut cursor = RegionCursor::default();
        return records::write(services, params, 1, |_| {
            let (row, next) = services.ta_region(which, cursor)?;
            cursor = next;
            Some(row)
        });
    }
    let mut from = 0;
    records::write(services, params, 1, |_| {
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
