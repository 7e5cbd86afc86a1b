//! Tally's pTA of snapshots and watchpoints.
//!
//! **Invariant:** layouts are [`tally_abi::pta::watch`]'s.

use crate::params::{expect, uuid};
use tally_abi::TeeResult;
use tally_abi::pta::watch::{CMD_ARM, CMD_DROP, CMD_READ, CMD_TAKE, MAX_BYTES, UUID};
use tally_abi::ta::param_type::{MEMREF_INPUT, MEMREF_OUTPUT, NONE, VALUE_INPUT, VALUE_OUTPUT};
use tally_account::api::{Answers, Entry};
use tally_account::book::Book;
use tally_account::snapshot::keep::Watchpoint;
use tally_core::pta::{Params, PseudoTa, Work};
use tally_records::trigger;

/// Bytes copied at a time.
const CHUNK: usize = 512;

pub(crate) const PTA: PseudoTa<Book> = PseudoTa {
    uuid: UUID,
    name: "watch",
    work: Work::Account(Entry::Asks(|account, session, step| {
        step.of_normal_world(session, |command, params| invoke(account, command, params))
    })),
};

fn invoke(account: &dyn Answers, command: u32, params: &mut dyn Params) -> Result<(), TeeResult> {
    match command {
        CMD_TAKE => {
            expect(params, [VALUE_OUTPUT, NONE, NONE, NONE])?;
            let (number, bytes) = account.take_snapshot()?;
            params.set_value(0, number, bytes);
            Ok(())
        }
        CMD_READ => read(account, params),
        CMD_DROP => {
            expect(params, [VALUE_INPUT, NONE, NONE, NONE])?;
            account.drop_snapshot(params.value(0).0)
        }
        CMD_ARM => {
            expect(params, [MEMREF_INPUT, VALUE_INPUT, VALUE_OUTPUT, NONE])?;
            let uuid = uuid(params, 0)?;
            let (trigger, wanted) = params.value(1);
            match trigger {
                trigger::ENTRY | trigger::EXIT | trigger::FAILURE | trigger::HEAP => {}
                _ => return Err(TeeResult::BAD_PARAMETERS),
            }
            let number = account.arm(Watchpoint {
                trigger,
                uuid,
                wanted: u64::from(wanted),
            })?;
            params.set_value(2, number, 0);
            Ok(())
        }
        _ => Err(TeeResult::NOT_SUPPORTED),
    }
}

fn read(account: &dyn Answers, params: &mut dyn Params) -> Result<(), TeeResult> {
    expect(params, [VALUE_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
    let (number, offset) = params.value(0);
    let room = params.memref_len(1).min(MAX_BYTES as u64) as u32;
    let mut done = 0;
    let mut chunk = [0; CHUNK];
    loop {
        let wanted = &mut chunk[..(room - done).min(CHUNK as u32) as usize];
        let at = offset.checked_add(done).ok_or(TeeResult::BAD_PARAMETERS)?;
        let len = account.read_snapshot(number, at, wanted)?;
        params.write(1, u64::from(done), &wanted[..len])?;
        done += len as u32;
        if len < CHUNK {
            break;
        }
    }
    params.set_memref_len(1, u64::from(done));
    Ok(())
}
