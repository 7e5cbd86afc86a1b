//! Tally's leak finder: mark, do the work, list what is still there and who has it.
//!
//! **Invariant:** no TA is entered; the list's own buffers are charged to an owner that the list
//! leaves out.

use crate::list;
use crate::records::{self, Records, Text};
use core::fmt::Write;
use tally_abi::pta::memleak::MARK_NAME;
use tally_abi::pta::memleak::{
    CMD_CLEAR, CMD_DIFF, CMD_ENDED, CMD_LIST, CMD_MARK, CMD_MARK_NAMED, CMD_MARKS, CMD_NAME,
    CMD_SCAN, CMD_SUSPECTS, UUID, list_flag,
};
use tally_abi::ta::param_type::{MEMREF_INPUT, MEMREF_OUTPUT, NONE, VALUE_INPUT, VALUE_OUTPUT};
use tally_abi::{TeeResult, TeeUuid};
use tally_account::api::leaks::{Heaps, MarkRange};
use tally_account::api::{Answers, Entry};
use tally_account::book::Book;
use tally_account::which::Which;
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
        CMD_MARK => {
            list::expect(params, [VALUE_OUTPUT, NONE, NONE, NONE])?;
            let mark = account.mark_named(b"")?;
            params.set_value(0, u32::from(mark), 0);
            Ok(())
        }
        CMD_MARK_NAMED => mark_named(account, params),
        CMD_MARKS => {
            list::expect(params, [VALUE_OUTPUT, MEMREF_OUTPUT, NONE, NONE])?;
            let (last, dropped) = account.mark_counts();
            params.set_value(0, last, dropped);
            records::write(account, params, 1, |index| account.mark_row(index))
        }
        CMD_DIFF => diff(account, params),
        CMD_ENDED => {
            list::expect(params, [VALUE_INPUT, VALUE_OUTPUT, MEMREF_OUTPUT, NONE])?;
            let since = mark_number(params.value(0).0)?;
            params.set_value(1, account.ended_dropped(), 0);
            records::write(account, params, 2, |index| account.ended_row(since, index))
        }
        CMD_SCAN => scan(account, params),
        CMD_SUSPECTS => {
            list::expect(params, [MEMREF_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
            let heaps = one_heap(account, params, 0)?;
            let mut list = Records::new(params, 1);
            account.suspects(heaps, &mut |row| list.put(row))?;
            list.finish()
        }
        CMD_CLEAR => {
            list::expect(params, [MEMREF_INPUT, VALUE_OUTPUT, NONE, NONE])?;
            let cleared = account.clear(one_heap(account, params, 0)?)?;
            params.set_value(1, cleared, 0);
            Ok(())
        }
        CMD_LIST => list_leaks(account, params),
        CMD_NAME => {
            list::expect(params, [VALUE_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
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

/// The number of a mark, or 0.
fn mark_number(value: u32) -> Result<u16, TeeResult> {
    u16::try_from(value).map_err(|_| TeeResult::BAD_PARAMETERS)
}

/// The heap that UUID octets name: nil is the kernel's.
///
/// # Errors
/// `BAD_PARAMETERS`; `TARGET_DEAD` if the TA has no heap any more.
fn one_heap(account: &dyn Answers, params: &dyn Params, index: usize) -> Result<Heaps, TeeResult> {
    let mut octets = [0; 16];
    if params.memref_len(index) != octets.len() as u64 {
        return Err(TeeResult::BAD_PARAMETERS);
    }
    params.read(index, 0, &mut octets)?;
    let uuid = TeeUuid::from_octets(octets);
    if uuid == TeeUuid::nil() {
        return Ok(Heaps::Kernel);
    }
    let all_of_it = Which {
        uuid: Some(uuid),
        instance: None,
    };
    if account.is_dead(all_of_it) {
        return Err(TeeResult::TARGET_DEAD);
    }
    Ok(Heaps::Ta(uuid))
}

fn mark_named(account: &dyn Answers, params: &mut dyn Params) -> Result<(), TeeResult> {
    list::expect(params, [MEMREF_INPUT, VALUE_OUTPUT, NONE, NONE])?;
    let mut name = [0; MARK_NAME];
    let len = usize::try_from(params.memref_len(0)).unwrap_or(usize::MAX);
    let name = name.get_mut(..len).ok_or(TeeResult::BAD_PARAMETERS)?;
    params.read(0, 0, name)?;
    let mark = account.mark_named(name)?;
    params.set_value(1, u32::from(mark), 0);
    Ok(())
}

fn diff(account: &dyn Answers, params: &mut dyn Params) -> Result<(), TeeResult> {
    list::expect(
        params,
        [VALUE_INPUT, VALUE_INPUT, MEMREF_INPUT, MEMREF_OUTPUT],
    )?;
    let (from, until) = params.value(0);
    let marks = MarkRange {
        from: mark_number(from)?,
        until: mark_number(until)?,
    };
    if ![marks.from, marks.until]
        .iter()
        .all(|&mark| mark == 0 || account.knows_mark(mark))
    {
        return Err(TeeResult::BAD_PARAMETERS);
    }
    let heaps = match (params.memref_len(2), params.value(1).0) {
        (0, 0) => Heaps::All,
        (0, list_flag::KERNEL_ONLY) => Heaps::Kernel,
        (0, list_flag::TA_ONLY) => Heaps::Tas,
        (_, 0) => one_heap(account, params, 2)?,
        _ => return Err(TeeResult::BAD_PARAMETERS),
    };
    if matches!(heaps, Heaps::Ta(_)) && account.heap_count(heaps) == 0 {
        return Err(TeeResult::ITEM_NOT_FOUND);
    }
    let mut list = Records::new(params, 3);
    account.diff(heaps, marks, &mut |record| list.put(record))?;
    list.finish()
}

fn scan(account: &dyn Answers, params: &mut dyn Params) -> Result<(), TeeResult> {
    list::expect(params, [MEMREF_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
    let heaps = one_heap(account, params, 0)?;
    let needed = account.heap_count(heaps) as u64 * size_of::<ScanRow>() as u64;
    // Nothing is scanned for an answer that has no room.
    if params.memref_len(1) < needed {
        return list::finish(params, 1, needed);
    }
    let mut list = Records::new(params, 1);
    account.scan(heaps, &mut |row| list.put(row))?;
    list.finish()
}

fn list_leaks(account: &dyn Answers, params: &mut dyn Params) -> Result<(), TeeResult> {
    list::expect(params, [VALUE_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
    let (mark, flags) = params.value(0);
    let marks = MarkRange {
        from: mark_number(mark)?,
        until: 0,
    };
    let heaps = match flags & (list_flag::KERNEL_ONLY | list_flag::TA_ONLY) {
        0 => Heaps::All,
        list_flag::KERNEL_ONLY => Heaps::Kernel,
        list_flag::TA_ONLY => Heaps::Tas,
        _ => return list::finish(params, 1, 0),
    };
    let mut list = Records::new(params, 1);
    account.diff(heaps, marks, &mut |record| list.put(record))?;
    list.finish()
}
