//! The soak: sessions opened, used, closed, TAs crashed and killed in a random order, for as long as
//! somebody wants.
//!
//! **Invariant:** after each round every account is as it was before the first, to the byte; the soak
//! fails otherwise, and says the round's seed.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use ta_uuids::{chain, crash, drm, glutton, heap, hello, keepalive, solo, stillborn};
use tally_abi::TeeUuid;
use teec::{ErrorKind, Session};
use teestat::client;

use crate::account::Account;
use crate::{Bench, Outcome, value_call, value_in};

/// Steps of a round.
const STEPS: u32 = 60;
/// Sessions open at a time.
const MAX_OPEN: usize = 6;
/// Microseconds between two lines that say how far it is.
const NEWS_MICROS: u64 = 5_000_000;

/// Every TA.
const TAS: [TeeUuid; 9] = [
    hello::UUID,
    heap::UUID,
    crash::UUID,
    chain::UUID,
    keepalive::UUID,
    solo::UUID,
    stillborn::UUID,
    glutton::UUID,
    drm::UUID,
];

/// The ways of the crash TA to end.
const ENDS: [u32; 8] = [
    crash::CMD_NULL_READ,
    crash::CMD_WRITE_CODE,
    crash::CMD_EXEC_DATA,
    crash::CMD_STACK_OVERFLOW,
    crash::CMD_UNDEFINED,
    crash::CMD_PANIC,
    crash::CMD_KERNEL_READ,
    crash::CMD_TEE_PANIC,
];

/// Numbers that a seed decides (Knuth's constants of MMIX).
struct Random(u64);

impl Random {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// When it ends.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// After so many rounds.
    Rounds(u64),
    /// After so many microseconds.
    Micros(u64),
}

/// Soaks until the limit.
pub fn run(bench: &Bench, limit: Limit) -> Outcome {
    bench.warm_up();
    let before = Account::take(bench)?;
    let micros = || bench.side.micros();
    let start = micros();
    let mut news = start;
    let mut rounds = 0;
    loop {
        let passed = micros() - start;
        let done = match limit {
            Limit::Rounds(count) => rounds >= count,
            Limit::Micros(micros) => passed >= micros,
        };
        if done || bench.side.is_interrupted() {
            break;
        }
        let held = round(bench, rounds).and_then(|()| compare(bench, &before));
        held.map_err(|why| format!("soak: round {rounds}: {why}"))?;
        rounds += 1;
        if micros() - news > NEWS_MICROS {
            news = micros();
            bench
                .side
                .say(&format!("soak: {rounds} rounds, nothing grew\n"));
        }
    }
    bench.side.say(&format!(
        "soak: {rounds} rounds of {STEPS} steps in {} s, nothing grew\n",
        (micros() - start) / 1_000_000
    ));
    Ok(())
}

fn compare(bench: &Bench, before: &Account) -> Outcome {
    let after = Account::take(bench)?;
    after.adds_up()?;
    bench.page_records()?;
    before.same_as(&after)
}

/// One round, by its seed; at its end no TA is left but those of others.
pub fn round(bench: &Bench, seed: u64) -> Outcome {
    let mut random = Random(seed);
    let mut sessions: Vec<(TeeUuid, Session<'_>)> = Vec::new();
    for _ in 0..STEPS {
        match random.below(10) {
            0..4 if sessions.len() < MAX_OPEN => {
                let uuid = TAS[random.below(TAS.len())];
                // Some refuse, some are busy: what was opened counts.
                if let Ok(session) = bench.context.open_session(uuid) {
                    sessions.push((uuid, session));
                }
            }
            0..8 => {
                if !sessions.is_empty() {
                    let at = random.below(sessions.len());
                    let (uuid, session) = &mut sessions[at];
                    invoke(*uuid, session, &mut random)?;
                }
            }
            8 => {
                if !sessions.is_empty() {
                    let (_, session) = sessions.swap_remove(random.below(sessions.len()));
                    session.close().map_err(|error| error.to_string())?;
                }
            }
            _ => kill(bench, TAS[random.below(TAS.len())])?,
        }
    }
    drop(sessions);
    TAS.into_iter().try_for_each(|uuid| kill(bench, uuid))
}

fn kill(bench: &Bench, uuid: TeeUuid) -> Outcome {
    match client::kill(&bench.context, uuid) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == Some(ErrorKind::ItemNotFound) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Some command of the TA, which may be dead already.
fn invoke(uuid: TeeUuid, session: &mut Session<'_>, random: &mut Random) -> Outcome {
    let number = random.below(1 << 16) as u32;
    let result = match uuid {
        heap::UUID => match number % 4 {
            0 => value_call(session, heap::CMD_ALLOC, number, 0).map(drop),
            1 => value_in(session, heap::CMD_LEAK, number % 50, 40),
            2 => value_in(session, heap::CMD_GROW, number, 0),
            _ => session.invoke_plain(heap::CMD_FREE_ALL),
        },
        crash::UUID => match ENDS.get(number as usize % 16) {
            Some(end) => session.invoke_plain(*end),
            None => session.invoke_plain(crash::CMD_NOP),
        },
        chain::UUID => value_call(session, chain::CMD_NEST, number % 3, 0).map(drop),
        keepalive::UUID => value_call(session, keepalive::CMD_HOLD, number % 2000, 0).map(drop),
        glutton::UUID => match number % 2 {
            0 => value_call(session, glutton::CMD_EAT, 65_536, 0).map(drop),
            _ => session.invoke_plain(glutton::CMD_SPIT),
        },
        drm::UUID => value_call(session, drm::CMD_SWITCH, number % 10, number % 3).map(drop),
        solo::UUID => session.invoke_plain(solo::CMD_NOP),
        _ => value_in(session, hello::CMD_KEEP, number % 3000, 0),
    };
    match result {
        Err(error) if error.origin() == teec::ErrorOrigin::COMMS => Err(error.to_string()),
        // Dead, full, or refused: the accounts tell whether it left something.
        _ => Ok(()),
    }
}
