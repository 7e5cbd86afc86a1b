//! Tally's inspector: every list of the account, and what lies in heaps.
//!
//! **Invariant:** layouts are [`tally_abi::pta::inspect`]'s; memory it needs is on the stack, however long a
//! list is.

use crate::lists::{list, selector};
use crate::params::{expect, finish, uuid};
use tally_abi::TeeResult;
use tally_abi::pta::inspect::{CMD_BLOCK, CMD_BLOCK_BYTES, CMD_CHECK, CMD_LIST, CMD_STATUS, UUID};
use tally_abi::ta::param_type::{MEMREF_INPUT, MEMREF_OUTPUT, NONE, VALUE_INPUT, VALUE_OUTPUT};
use tally_account::api::{Answers, Entry};
use tally_account::book::Book;
use tally_core::pta::{Params, PseudoTa, Work};
use zerocopy::IntoBytes;

pub(crate) const PTA: PseudoTa<Book> = PseudoTa {
    uuid: UUID,
    name: "inspect",
    work: Work::Account(Entry::Asks(|account, session, step| {
        step.of_normal_world(session, |command, params| invoke(account, command, params))
    })),
};

fn invoke(account: &dyn Answers, command: u32, params: &mut dyn Params) -> Result<(), TeeResult> {
    match command {
        CMD_LIST => list(account, params),
        CMD_CHECK => {
            expect(params, [MEMREF_INPUT, VALUE_OUTPUT, NONE, NONE])?;
            let (damage, at) = account.check_heap(&selector(params, 0)?)?;
            params.set_value(1, damage, at);
            Ok(())
        }
        CMD_BLOCK => {
            expect(params, [MEMREF_INPUT, VALUE_INPUT, MEMREF_OUTPUT, NONE])?;
            let row = account.block_at(&selector(params, 0)?, wide(params.value(1)))?;
            let row = row.as_bytes();
            if params.memref_len(2) >= row.len() as u64 {
                params.write(2, 0, row)?;
            }
            finish(params, 2, row.len() as u64)
        }
        CMD_BLOCK_BYTES => {
            expect(
                params,
                [MEMREF_INPUT, VALUE_INPUT, MEMREF_OUTPUT, VALUE_OUTPUT],
            )?;
            block_bytes(account, params)
        }
        CMD_STATUS => {
            expect(params, [MEMREF_INPUT, NONE, NONE, NONE])?;
            if account.print_status(uuid(params, 0)?) == 0 {
                return Err(TeeResult::ITEM_NOT_FOUND);
            }
            Ok(())
        }
        _ => Err(TeeResult::NOT_SUPPORTED),
    }
}

const fn wide((low, high): (u32, u32)) -> u64 {
    low as u64 | (high as u64) << 32
}

fn block_bytes(account: &dyn Answers, params: &mut dyn Params) -> Result<(), TeeResult> {
    let of = selector(params, 0)?;
    // Asked first, so that a build that does not show them says so whatever the offset.
    account.heap_bytes(&of, 0, &mut [])?;
    let block = account.block_at(&of, wide(params.value(1)))?;
    params.set_value(3, block.offset as u32, block.size as u32);
    let room = params.memref_len(2).min(block.size);
    let mut done = 0;
    let mut chunk = [0; 256];
    while done < room {
        let piece = &mut chunk[..(room - done).min(256) as usize];
        account.heap_bytes(&of, block.offset + done, piece)?;
        params.write(2, done, piece)?;
        done += piece.len() as u64;
    }
    finish(params, 2, block.size)
}
