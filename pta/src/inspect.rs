//! Tally's inspector: TAs, regions, sessions, pools, what was refused, what has ended.
//!
//! **Invariant:** layouts are [`tally_abi::pta::inspect`]'s; memory it needs is on the stack, however long a
//! list is.

use crate::{list, records};
use tally_abi::pta::inspect::{
    CMD_BLOCK, CMD_BLOCK_BYTES, CMD_BLOCKS, CMD_CHECK, CMD_CHUNKS, CMD_CLASSES, CMD_FAILURES,
    CMD_HISTORY, CMD_REGIONS, CMD_SESSIONS, CMD_SITES, CMD_STATUS, CMD_TAS, CMD_UNFREED, UUID,
};
use tally_abi::ta::param_type::{
    MEMREF_INPUT, MEMREF_OUTPUT, NONE, VALUE_INOUT, VALUE_INPUT, VALUE_OUTPUT,
};
use tally_abi::{TeeResult, TeeUuid};
use tally_account::api::{Answers, Entry};
use tally_account::book::Book;
use tally_account::heaps::question::Step;
use tally_account::heaps::rows::MAX_CLASSES;
use tally_account::tas::regions::RegionCursor;
use tally_account::which::Which;
use tally_core::pta::{Params, PseudoTa, Work};
use tally_records::{BlockRow, ChunkRow, ClassRow, SiteRow};
use zerocopy::{Immutable, IntoBytes};

pub(crate) const PTA: PseudoTa<Book> = PseudoTa {
    uuid: UUID,
    name: "inspect",
    work: Work::Account(Entry::Asks(|account, session, step| {
        step.of_normal_world(session, |command, params| invoke(account, command, params))
    })),
};

fn invoke(account: &dyn Answers, command: u32, params: &mut dyn Params) -> Result<(), TeeResult> {
    const LIST: [u32; 4] = [MEMREF_INPUT, MEMREF_OUTPUT, NONE, NONE];
    match command {
        CMD_TAS => {
            list::expect(params, LIST)?;
            let which = loaded(account, params)?;
            let mut from = 0;
            records::write(account, params, 1, |_| {
                let (row, next) = account.ta_detail(which, from)?;
                from = next;
                Some(row)
            })
        }
        CMD_REGIONS => {
            list::expect(params, LIST)?;
            regions(account, params)
        }
        CMD_SESSIONS => {
            list::expect(params, LIST)?;
            let which = loaded(account, params)?;
            let mut from = 0;
            records::write(account, params, 1, |_| {
                let (row, next) = account.session(which, from)?;
                from = next;
                Some(row)
            })
        }
        CMD_FAILURES => {
            list::expect(params, [MEMREF_OUTPUT, NONE, NONE, NONE])?;
            let mut from = 0;
            records::write(account, params, 0, |_| {
                let row = account.failure(from)?;
                from = row.number + 1;
                Some(row)
            })
        }
        CMD_HISTORY => {
            list::expect(params, [MEMREF_OUTPUT, VALUE_OUTPUT, NONE, NONE])?;
            params.set_value(1, account.history_dropped(), 0);
            records::write(account, params, 0, |index| account.history(index))
        }
        CMD_UNFREED => {
            list::expect(params, [MEMREF_OUTPUT, VALUE_OUTPUT, NONE, NONE])?;
            params.set_value(1, account.unfreed_dropped(), 0);
            records::write(account, params, 0, |index| account.unfreed(index))
        }
        CMD_SITES => stream(account, params, |which, cursor, rows: &mut [SiteRow; 8]| {
            account.pool_sites(which, cursor, rows)
        }),
        CMD_BLOCKS => stream(
            account,
            params,
            |which, cursor, rows: &mut [BlockRow; 32]| account.pool_blocks(which, cursor, rows),
        ),
        CMD_CHUNKS => stream(
            account,
            params,
            |which, cursor, rows: &mut [ChunkRow; 32]| account.pool_chunks(which, cursor, rows),
        ),
        CMD_CLASSES => {
            list::expect(params, LIST)?;
            let which = loaded(account, params)?;
            let mut rows = [ClassRow::default(); MAX_CLASSES];
            let count = account.pool_classes(which, &mut rows)?;
            records::write(account, params, 1, |index| {
                rows[..count].get(index).copied()
            })
        }
        CMD_CHECK => {
            list::expect(params, [MEMREF_INPUT, VALUE_OUTPUT, NONE, NONE])?;
            let which = loaded(account, params)?;
            let (damage, at) = account.pool_check(which)?;
            params.set_value(1, damage, at);
            Ok(())
        }
        CMD_BLOCK => {
            list::expect(params, [MEMREF_INPUT, VALUE_INPUT, MEMREF_OUTPUT, NONE])?;
            let which = loaded(account, params)?;
            let row = account.pool_block(which, wide(params.value(1)))?;
            records::write(account, params, 2, |index| (index == 0).then_some(row))
        }
        CMD_BLOCK_BYTES => {
            list::expect(
                params,
                [MEMREF_INPUT, VALUE_INPUT, MEMREF_OUTPUT, VALUE_OUTPUT],
            )?;
            block_bytes(account, params)
        }
        CMD_STATUS => {
            list::expect(params, [MEMREF_INPUT, NONE, NONE, NONE])?;
            match subject(params)?.uuid {
                Some(uuid) if account.print_status(uuid) > 0 => Ok(()),
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
    account: &dyn Answers,
    params: &mut dyn Params,
    mut ask: impl FnMut(Which, u64, &mut [T; N]) -> Result<Step, TeeResult>,
) -> Result<(), TeeResult> {
    list::expect(params, [MEMREF_INPUT, VALUE_INOUT, MEMREF_OUTPUT, NONE])?;
    let which = loaded(account, params)?;
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
        account.breathe();
        if cursor == 0 || room - written < step_bytes {
            break;
        }
    }
    params.set_value(1, cursor as u32, (cursor >> 32) as u32);
    params.set_memref_len(2, written);
    Ok(())
}

fn block_bytes(account: &dyn Answers, params: &mut dyn Params) -> Result<(), TeeResult> {
    let which = loaded(account, params)?;
    // Asked first, so that a build that does not show them says so whatever the offset.
    account.pool_bytes(which, 0, &mut [])?;
    let block = account.pool_block(which, wide(params.value(1)))?;
    params.set_value(3, block.offset as u32, block.size as u32);
    let room = params.memref_len(2).min(block.size);
    let mut done = 0;
    let mut chunk = [0; 256];
    while done < room {
        let piece = &mut chunk[..(room - done).min(256) as usize];
        account.pool_bytes(which, block.offset + done, piece)?;
        params.write(2, done, piece)?;
        done += piece.len() as u64;
    }
    list::finish(params, 2, block.size)
}

fn regions(account: &dyn Answers, params: &mut dyn Params) -> Result<(), TeeResult> {
    let which = loaded(account, params)?;
    if which.uuid.is_some() {
        if account.is_dead(which) {
            return Err(TeeResult::TARGET_DEAD);
        }
        let mut cursor = RegionCursor::default();
        return records::write(account, params, 1, |_| {
            let (row, next) = account.ta_region(which, cursor)?;
            cursor = next;
            Some(row)
        });
    }
    let mut from = 0;
    records::write(account, params, 1, |_| {
        let (row, next) = account.kernel_region(from)?;
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
fn loaded(account: &dyn Answers, params: &dyn Params) -> Result<Which, TeeResult> {
    let which = subject(params)?;
    if which.uuid.is_some() && !account.is_loaded(which) {
        return Err(TeeResult::ITEM_NOT_FOUND);
    }
    Ok(which)
}
