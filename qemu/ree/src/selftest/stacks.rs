//! Tests of how deep TAs use their stacks.
//!
//! **Invariant:** every test leaves no TA that is looked at in detail.

use alloc::format;
use alloc::string::String;
use ta_uuids::crash;
use tally_abi::TeeUuid;
use tally_abi::pta::audit::ledger;
use tally_abi::ta::entry;
use tally_insight::advice::{self, Verdict, What};
use tally_records::{HistoryRow, Selector, TaDetail, cause};
use teec::ErrorKind;
use teestat::client;

use super::inspect::detail;
use super::{Bench, Outcome, Test, equal, fails, holds, works};
use tally_paired::commands::row;

pub(super) const TESTS: &[Test] = &[
    ("a stack overflow is called by its name", overflow),
    (
        "a cleared array on the stack is use of the stack",
        cleared_array,
    ),
];

const PAGE: u64 = 4096;
/// Of the runtime above a command.
const BESIDES: u64 = 2048;

/// One that died of a 584 KiB frame was told to shrink its stack.
fn overflow(bench: &Bench) -> Outcome {
    const FRAME: u64 = crash::BIG_FRAME as u64;
    let one = dead(bench, crash::CMD_BIG_FRAME, cause::STACK_OVERFLOW)?;
    holds(
        (FRAME..FRAME + PAGE).contains(&one.stack_deepest),
        &format!("a frame that needs {} bytes", one.stack_deepest),
    )?;
    let history = client::rows::<HistoryRow>(&bench.context, &Selector::ta(crash::UUID));
    let advice = advice::advise(&[], &[], &history.map_err(|e| format!("{e}"))?);
    let stack = *advice::by_ta(&advice)
        .get(&(crash::UUID, What::Stack))
        .ok_or("no advice")?;
    holds(
        stack.verdict() == Verdict::Raise && stack.set > FRAME,
        &format!("{stack:?}"),
    )?;
    let deep = dead(bench, crash::CMD_STACK_OVERFLOW, cause::STACK_OVERFLOW)?;
    holds(
        (deep.stack + 1..=deep.stack + PAGE).contains(&deep.stack_deepest),
        &format!("recursion that needs {} bytes", deep.stack_deepest),
    )?;
    for command in [
        crash::CMD_NULL_READ,
        crash::CMD_WILD_WRITE,
        crash::CMD_EXEC_DATA,
    ] {
        dead(bench, command, cause::CRASHED)?;
    }
    Ok(())
}

/// The TA that a command has ended.
fn dead(bench: &Bench, command: u32, cause: u32) -> Result<TaDetail, String> {
    let mut session = bench.open(crash::UUID)?;
    fails(session.invoke_plain(command), ErrorKind::TargetDead)?;
    let ta = detail(bench, crash::UUID)?;
    equal(ta.cause, cause, &format!("cause of command {command}"))?;
    Ok(ta)
}

/// 9 KiB of zeros counted as 1,120 bytes, and `advise` said 4096, with which the TA died.
fn cleared_array(bench: &Bench) -> Outcome {
    const ZEROED: u64 = crash::ZEROED as u64;
    let set =
        |uuid, what| client::set_ledger(&bench.context, uuid, what).map_err(|e| format!("{e}"));
    set(TeeUuid::nil(), ledger::CLEAR)?;
    let mut session = bench.open(crash::UUID)?;
    works(session.invoke_plain(crash::CMD_ZEROED))?;
    let ta = detail(bench, crash::UUID)?;
    holds(
        (ZEROED..ZEROED + BESIDES).contains(&ta.stack_deepest),
        &format!("{} bytes", ta.stack_deepest),
    )?;
    set(crash::UUID, ledger::DETAIL)?;
    let both = [crash::CMD_ZEROED, crash::CMD_NOP].map(|command| {
        works(session.invoke_plain(command))?;
        row(bench, crash::UUID, entry::INVOKE_COMMAND, command)
    });
    set(crash::UUID, ledger::PLAIN)?;
    let [cleared, nothing] = both;
    let (cleared, nothing) = (cleared?.stack_deepest, nothing?.stack_deepest);
    holds(
        (ZEROED..ZEROED + BESIDES).contains(&cleared) && (1..BESIDES).contains(&nothing),
        &format!("{cleared} bytes in detail, and {nothing} for nothing"),
    )
}
