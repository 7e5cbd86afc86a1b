//! Tally's leak finder: mark, do the work, list what is still there and who has it.
//!
//! **Invariant:** no TA is entered; the list's own buffers are charged to an owner that the list
//! leaves out.

use crate::lists::{Records, Text, selector};
use crate::params::{expect, finish};
use core::fmt::Write;
use tally_abi::TeeResult;
use tally_abi::pta::memleak::{CMD_CLEAR, CMD_MARK, CMD_NAME, CMD_SCAN, MARK_NAME, UUID};
use tally_abi::ta::param_type::{MEMREF_INPUT, MEMREF_OUTPUT, NONE, VALUE_INPUT, VALUE_OUTPUT};
use tally_account::api::{Answers, Entry};
use tally_account::book::Book;
use tally_core::pta::{Params, PseudoTa, Work};
use tally_records::ScanRow;

pub(crate) const PTA: PseudoTa<Book> = PseudoTa {
    uuid: UUID,
    name: "memleak",
    work: Work::Account(Entry::Asks(|account, session, step| {
        step.of_normal_world(session, |command, params| invoke(account, command, params))
    })),
};

fn invoke(account: &dyn Answers, command: u32, params: &mut dyn Params) -> Result<(), TeeResult> {
    match command {
        CMD_MARK => mark(account, params),
        CMD_SCAN => scan(account, params),
        CMD_CLEAR => {
            expect(params, [MEMREF_INPUT, VALUE_OUTPUT, NONE, NONE])?;
            let cleared = account.clear(&selector(params, 0)?)?;
            params.set_value(1, cleared, 0);
            Ok(())
        }
        CMD_NAME => {
            expect(params, [VALUE_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
            let (low, high) = params.value(0);
            let offset = u64::from(high) << 32 | u64::from(low);
            let mut text = Text::new(params, 1);
            if !account.name_site(offset, &mut text as &mut dyn Write) {
                return Err(TeeResult::ITEM_NOT_FOUND);
            }
            text.finish()
        }
        _ => Err(TeeResult::NOT_SUPPORTED),
    }
}

fn mark(account: &dyn Answers, params: &mut dyn Params) -> Result<(), TeeResult> {
    expect(params, [MEMREF_INPUT, VALUE_OUTPUT, NONE, NONE])?;
    let mut name = [0; MARK_NAME];
    let len = usize::try_from(params.memref_len(0)).unwrap_or(usize::MAX);
    let name = name.get_mut(..len).ok_or(TeeResult::BAD_PARAMETERS)?;
    params.read(0, 0, name)?;
    let mark = account.mark(name)?;
    params.set_value(1, u32::from(mark), 0);
    Ok(())
}

fn scan(account: &dyn Answers, params: &mut dyn Params) -> Result<(), TeeResult> {
    expect(params, [MEMREF_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
    let of = selector(params, 0)?;
    let needed = account.heap_count(&of) as u64 * size_of::<ScanRow>() as u64;
    // Nothing is scanned for an answer that has no room.
    if params.memref_len(1) < needed {
        return finish(params, 1, needed);
    }
    let mut list = Records::new(params, 1);
    account.scan(&of, &mut list)?;
    list.finish()
}
