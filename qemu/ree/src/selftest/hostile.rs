//! Hostile calls by the hundred thousand: random functions, messages, shared pages that change in
//! flight, and RPC answers of every wrong kind, from all CPUs.
//!
//! **Invariant:** after every round nothing of it is left: calls, sessions, TAs and shared memory are
//! gone, and every account is as it was before, to the byte. A round that fails says how to repeat it.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use tally_records::Selector;
use tally_records::SnapshotRow;

use spin::Mutex;
use tally_abi::TeeUuid;
use tally_abi::msg::{MsgHeader, MsgParam, attr, cmd};
use tally_abi::pta::{control, inspect};
use tally_abi::smc::{FunctionId, ret};
use tally_records::{OwnerRow, owner_kind};
use teec::smc::Conduit;
use teec::{Session, Transport};

use super::account::Account;
use super::caller::{Caller, Reached};
use super::raw::RawCall;
use super::vocabulary::{self, Arena, CALLERS, COOKIES};
use super::{Bench, Outcome, say};
use crate::machine::{console, cpu};
use crate::{jobs, tee};
use ta_uuids::hostile::Random;

/// Calls of a round, by this CPU.
const ROUND: u64 = 10_000;
/// Times that suspended calls are resumed until they must have ended.
const PATIENCE: u32 = 5_000;
/// Calls after which it is asked which sessions there are.
const REVIEW: u64 = 200;

struct Hostile<'a> {
    bench: &'a Bench,
    /// A session with `control` from before: when no more can be opened, it still answers.
    observer: &'a mut Session<'static>,
    /// One with `inspect`, likewise.
    lister: &'a mut Session<'static>,
    arena: &'static Arena,
}

/// Makes at least `count` calls; 0 if the secure world was as before after each round.
pub(crate) fn run(count: u64, seed: u64) -> u8 {
    let result = tee::get().and_then(|tee| {
        let bench = Bench::new(tee);
        let arena = Arena::new().ok_or("no memory for the arena")?;
        rounds(&bench, Box::leak(Box::new(arena)), count, seed)
    });
    match result {
        Ok(sent) => {
            say(&format!("{sent} hostile calls, nothing left of them\n"));
            0
        }
        Err(why) => {
            say(&format!("hostile calls: {why}\n"));
            1
        }
    }
}

fn rounds(bench: &Bench, arena: &'static Arena, count: u64, seed: u64) -> Result<u64, String> {
    bench.warm_up();
    let mut observer = bench.open(control::UUID)?;
    let mut lister = bench.open(inspect::UUID)?;
    let mut hostile = Hostile {
        bench,
        observer: &mut observer,
        lister: &mut lister,
        arena,
    };
    let before = Account::take(bench)?;
    let mut reached = Reached::default();
    let start = cpu::micros();
    let mut sent = 0;
    let mut round = 0;
    while sent < count && console::breaks() == 0 {
        let seed = seed.wrapping_add(round);
        // Said first, for the case that this round is the last one.
        say(&format!("round {round}, seed {seed}: "));
        let again = |why| {
            format!("round {round}: {why}\nagain: cargo xtask fuzz --smc --calls 1 --seed {seed}")
        };
        // By the seed, so that a round that is repeated does what it did.
        let (calls, came) = hostile.round(seed, seed % 2 == 0).map_err(again)?;
        sent += calls;
        reached += came;
        let after = Account::take(bench).map_err(again)?;
        after.adds_up().map_err(again)?;
        before.same_as(&after).map_err(again)?;
        round += 1;
        let rate = sent * 1_000_000 / (cpu::micros() - start).max(1);
        say(&format!("{sent} calls, {rate} a second\n"));
    }
    say(&format!("{reached}\n"));
    super::holds(reached.anything(), "no call got past the first checks")?;
    Ok(sent)
}

impl Hostile<'_> {
    /// Calls made, and how far they came. The other CPUs make calls too; unless `all_call`, one of them changes pages
    /// instead.
    fn round(&mut self, seed: u64, all_call: bool) -> Result<(u64, Reached), String> {
        let mut random = Random::new(seed);
        self.arena.write_lists(&mut random);
        self.arena.know_sessions(&[]);
        let stop = Arc::new(AtomicBool::new(false));
        let others: Arc<Mutex<Vec<_>>> = Arc::default();
        let (tee, arena) = (self.bench.tee, self.arena);
        let count = cpu::start_others().min(CALLERS - 1);
        let mut waiting = Vec::new();
        for index in 1..=count {
            let random = Random::new(random.any());
            let (stopped, left) = (Arc::clone(&stop), Arc::clone(&others));
            let job = jobs::start("hostile calls", move || {
                if index == 1 && !all_call {
                    disturb(arena, random, &stopped);
                    return 0;
                }
                let mut caller = Caller::new(tee, arena, index, false, random);
                let mut result = Ok(());
                while !stopped.load(Ordering::Relaxed) && result.is_ok() {
                    result = caller.step();
                }
                left.lock().push((caller, result));
                0
            });
            waiting.extend(job);
        }
        let alone = count == 0 || count == 1 && !all_call;
        let mut caller = Caller::new(tee, arena, 0, alone, random);
        let mut result = Ok(());
        while caller.sent() < ROUND && result.is_ok() {
            if caller.sent().is_multiple_of(REVIEW)
                && let Ok(open) = self.sessions()
            {
                arena.know_sessions(&open);
            }
            result = caller.step();
        }
        stop.store(true, Ordering::Relaxed);
        while !waiting.is_empty() {
            waiting.retain(|job| jobs::collect(*job).is_none());
            cpu::doze();
        }
        result?;
        let mut callers = Vec::from([caller]);
        for (caller, result) in others.lock().drain(..) {
            result.map_err(|why| format!("{why}, on another CPU"))?;
            callers.push(caller);
        }
        self.clean_up(&mut callers)?;
        let mut sum = (0, Reached::default());
        for caller in callers {
            sum.0 += caller.sent();
            sum.1 += caller.reached();
        }
        Ok(sum)
    }

    /// Ends everything, as one who may.
    fn clean_up(&mut self, callers: &mut [Caller]) -> Outcome {
        for n in 0.. {
            if n > 0 && callers.iter().all(Caller::is_idle) {
                break;
            }
            if n % 32 == 0 {
                // Those that loop, and those that were loaded meanwhile.
                for uuid in vocabulary::USER {
                    self.kill(&mut callers[0], uuid)?;
                }
            }
            callers.iter_mut().try_for_each(Caller::resume_honestly)?;
            super::holds(n < PATIENCE, "a call does not end")?;
        }
        // First of all: closing a session of a TA that is alive enters it.
        for uuid in vocabulary::USER {
            // Those that are not loaded are none to end.
            let _ = teestat::client::kill(&self.bench.context, uuid);
        }
        for (session, _) in self.sessions()? {
            // An answer to the closing of a session whose TA was killed above tells nothing.
            let _ = self.bench.tee.close_session(session);
        }
        self.unregister()?;
        self.drop_snapshots()?;
        crate::storage::files().clear();
        let idle = [FunctionId::DISABLE_SHM_CACHE.0, 0, 0, 0, 0, 0, 0, 0];
        let code = self.bench.tee.conduit().smc(idle)[0];
        super::equal(code, ret::ENOTAVAIL, "whether a thread is still in use")
    }

    /// Kills a TA by a call like others, which waits for nobody.
    fn kill(&self, caller: &mut Caller, uuid: TeeUuid) -> Outcome {
        let header = MsgHeader {
            cmd: cmd::INVOKE_COMMAND,
            func: control::CMD_KILL,
            session: self.observer.id(),
            ..MsgHeader::default()
        };
        let bytes = uuid.to_bytes();
        caller.ask(header, &bytes, |address| {
            [
                MsgParam {
                    attr: attr::TMEM_INPUT,
                    a: address,
                    b: bytes.len() as u64,
                    c: 0,
                },
                MsgParam {
                    attr: attr::VALUE_OUTPUT,
                    ..MsgParam::default()
                },
            ]
        })
    }

    /// All sessions but our own, and who they are with.
    fn sessions(&mut self) -> Result<Vec<(u32, TeeUuid)>, String> {
        let rows = teestat::client::listed_in::<OwnerRow>(self.lister, &Selector::ALL);
        let (rows, _) = rows.map_err(|error| format!("owners: {error}"))?;
        let own = [self.observer.id(), self.lister.id()];
        Ok(rows
            .iter()
            .filter(|row| row.kind == owner_kind::SESSION && !own.contains(&row.session))
            .map(|row| (row.session, row.uuid))
            .collect())
    }

    fn unregister(&self) -> Outcome {
        for cookie in COOKIES {
            let param = MsgParam {
                attr: attr::RMEM_INPUT,
                a: 0,
                b: 0,
                c: cookie,
            };
            let header = MsgHeader {
                cmd: cmd::UNREGISTER_SHM,
                ..MsgHeader::default()
            };
            let mut call = RawCall::new(self.bench, header, &[param])?;
            call.step_past_interrupts(self.bench.tee);
        }
        Ok(())
    }

    fn drop_snapshots(&self) -> Outcome {
        let told = |error: teestat::client::ClientError| format!("snapshots: {error}");
        let context = &self.bench.context;
        for row in teestat::client::rows::<SnapshotRow>(context, &Selector::ALL).map_err(told)? {
            teestat::client::drop_snapshot(context, row.number).map_err(told)?;
        }
        Ok(())
    }
}

/// Changes pages that the secure world may be reading, until it is told to stop.
fn disturb(arena: &Arena, mut random: Random, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        arena.disturb(&mut random);
        for _ in 0..random.index(200) {
            core::hint::spin_loop();
        }
    }
}
