//! Rounds of `fuzz --ta`: clients on all CPUs but one have hostile TAs make system calls, while this CPU looks at the TAs,
//! cancels, closes and kills.
//!
//! **Invariant:** after every round nothing of it is left, and every account is as it was before, to the byte.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use spin::Mutex;
use ta_uuids::{chain, crash, drm, glutton, heap, hello, hostile, hub, keepalive, solo, stillborn};
use tally_abi::TeeUuid;
use tally_abi::msg::PAGE_SIZE;
use tally_abi::pta::audit::ledger;
use tally_abi::pta::{control, inspect};
use tally_records::{
    LeakRecord, MeminfoRow, OwnerRow, PoolRow, RegionRow, Selector, SiteRow, SnapshotRow, TaDetail,
    owner_kind, trigger,
};
use teec::{
    Context, Direction, Operation, ParamNone, ParamRegisteredMem, ParamTmpRef, ParamType,
    ParamValue, Session, SharedMemory, Transport,
};
use teestat::client::{self, leaks};

use super::account::Account;
use super::{Bench, ONE_CPU, Outcome, holds, say};
use crate::machine::{console, cpu, interrupts};
use crate::supplicant::{self, Lie};
use crate::{jobs, tee};
use ta_uuids::hostile::Random;

/// Calls of a round.
const ROUND: u64 = 5_000;
/// Calls that a client asks for at a time, at most.
const BATCH: usize = 400;
/// Sessions of a client.
const SESSIONS: usize = 4;
/// The number by which every operation of a client is cancelled.
const STARTED: u32 = 7;
/// Microseconds without a call after which all TAs are killed.
const STANDSTILL: u64 = 500_000;
/// Microseconds after which a round must have ended once nobody begins anything.
const PATIENCE: u64 = 60_000_000;

/// All that may be loaded in a round.
const TAS: [TeeUuid; 11] = [
    hostile::UUID,
    hub::UUID,
    hello::UUID,
    keepalive::UUID,
    chain::UUID,
    solo::UUID,
    heap::UUID,
    drm::UUID,
    glutton::UUID,
    crash::UUID,
    stillborn::UUID,
];

/// How far it came.
#[derive(Default)]
struct Reached {
    calls: AtomicU64,
    opened: AtomicU64,
    returned: AtomicU64,
    died: AtomicU64,
    refused: AtomicU64,
    looked: AtomicU64,
}

/// `hostile-ta CALLS [SEED]`: 0 if the secure world was as before after each round.
pub(crate) fn run(count: u64, seed: u64) -> u8 {
    match tee::get().and_then(|tee| rounds(&Bench::new(tee), count, seed)) {
        Ok(calls) => {
            say(&format!(
                "{calls} hostile system calls, nothing left of them\n"
            ));
            0
        }
        Err(why) => {
            say(&format!("hostile TAs: {why}\n"));
            1
        }
    }
}

fn rounds(bench: &Bench, count: u64, seed: u64) -> Result<u64, String> {
    let clients = cpu::start_others();
    holds(clients != 0, ONE_CPU)?;
    bench.warm_up();
    let mut control = bench.open(control::UUID)?;
    let mut lister = bench.open(inspect::UUID)?;
    let before = Account::take(bench)?;
    let reached = Arc::new(Reached::default());
    let calls = |reached: &Reached| reached.calls.load(Ordering::Relaxed);
    let start = cpu::micros();
    let mut number = 0;
    while calls(&reached) < count && console::breaks() == 0 {
        let seed = seed.wrapping_add(number);
        // Said first, for the case that this round is the last one.
        say(&format!("round {number}, seed {seed}: "));
        let again = |why| {
            format!("round {number}: {why}\nagain: cargo xtask fuzz --ta --calls 1 --seed {seed}")
        };
        let mut round = Round {
            bench,
            control: &mut control,
            lister: &mut lister,
            reached: &reached,
            to_close: Arc::default(),
            until: calls(&reached) + ROUND,
            random: Random::new(seed),
        };
        round.run(clients).map_err(again)?;
        let after = Account::take(bench).map_err(again)?;
        after.adds_up().map_err(again)?;
        before.same_as(&after).map_err(again)?;
        number += 1;
        let sum = calls(&reached);
        let rate = sum * 1_000_000 / (cpu::micros() - start).max(1);
        say(&format!("{sum} calls, {rate} a second\n"));
    }
    let told = |count: &AtomicU64| count.load(Ordering::Relaxed);
    say(&format!(
        "{} CPUs: {} sessions opened, {} runs that returned, {} that ended their TA, {} refused; looked at {} times\n",
        interrupts::cpus(),
        told(&reached.opened),
        told(&reached.returned),
        told(&reached.died),
        told(&reached.refused),
        told(&reached.looked),
    ));
    holds(told(&reached.returned) != 0, "no run returned")?;
    Ok(calls(&reached))
}

struct Round<'a> {
    bench: &'a Bench,
    /// A session from before: when no more can be opened, it still ends TAs.
    control: &'a mut Session<'static>,
    lister: &'a mut Session<'static>,
    reached: &'a Arc<Reached>,
    /// A session that a client is to close, whoever has opened it; 0 for none.
    to_close: Arc<AtomicU32>,
    /// Calls at which it ends.
    until: u64,
    random: Random,
}

impl Round<'_> {
    fn run(&mut self, clients: usize) -> Outcome {
        let stop = Arc::new(AtomicBool::new(false));
        let errors: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut waiting = Vec::new();
        for _ in 0..clients {
            let random = Random::new(self.random.any());
            let (context, reached) = (self.bench.context, Arc::clone(self.reached));
            let (stop, errors) = (Arc::clone(&stop), Arc::clone(&errors));
            let (tee, to_close) = (self.bench.tee, Arc::clone(&self.to_close));
            let job = jobs::start("hostile TAs", move || {
                let close = || match to_close.swap(0, Ordering::Relaxed) {
                    0 => {}
                    // It may be gone by now.
                    session => _ = tee.close_session(session),
                };
                if let Err(why) = client(context, &reached, &stop, random, &close) {
                    errors.lock().push(why);
                }
                0
            });
            waiting.extend(job);
        }
        let mut progress = (0, cpu::micros());
        loop {
            let calls = self.reached.calls.load(Ordering::Relaxed);
            if calls >= self.until || !errors.lock().is_empty() {
                break;
            }
            if calls != progress.0 {
                progress = (calls, cpu::micros());
            } else if cpu::micros() - progress.1 > STANDSTILL {
                // All clients wait for TAs that loop.
                TAS.iter().for_each(|uuid| self.kill(*uuid));
                progress.1 = cpu::micros();
            }
            self.meddle();
            for _ in 0..self.random.index(20_000) {
                core::hint::spin_loop();
            }
        }
        stop.store(true, Ordering::Relaxed);
        supplicant::set_lie(None);
        let begun = cpu::micros();
        while !waiting.is_empty() {
            waiting.retain(|job| jobs::collect(*job).is_none());
            // Those that loop or wait, and those that were loaded meanwhile.
            TAS.iter().for_each(|uuid| self.kill(*uuid));
            holds(cpu::micros() - begun < PATIENCE, "a call does not end")?;
            cpu::doze();
        }
        if let Some(why) = errors.lock().pop() {
            return Err(why);
        }
        // First of all: closing a session of a TA that is alive enters it.
        TAS.iter().for_each(|uuid| self.kill(*uuid));
        for session in self.sessions()? {
            // An answer to the closing of a session whose TA was killed above tells nothing.
            let _ = self.bench.tee.close_session(session);
        }
        let told = |error: client::ClientError| format!("snapshots: {error}");
        let context = &self.bench.context;
        for row in client::rows::<SnapshotRow>(context, &Selector::ALL).map_err(told)? {
            client::drop_snapshot(context, row.number).map_err(told)?;
        }
        client::set_ledger(context, hub::UUID, ledger::PLAIN).map_err(told)?;
        // What a scan found while others ran may have been on its way from one place to another.
        let rows = leaks::scan(context, &Selector::KERNEL).map_err(told)?;
        let lost = rows.iter().map(|row| row.suspects).sum::<u32>();
        holds(
            lost == 0,
            &format!("{lost} blocks of the kernel heap are lost"),
        )
    }

    /// Does something that another client may do, to any session and any TA. Whatever is answered, the account tells
    /// afterwards whether it was right.
    fn meddle(&mut self) {
        let context = &self.bench.context;
        let uuid = self.random.pick(&TAS[..4], hub::UUID);
        let of = self.random.pick(
            &[Selector::ta(uuid), Selector::ALL, Selector::KERNEL],
            Selector::ALL,
        );
        self.reached.looked.fetch_add(1, Ordering::Relaxed);
        match self.random.index(24) {
            0 if self.random.once_in(6) => self.kill(uuid),
            1..4 => {
                if let Some(session) = self.any_session() {
                    let _ = context.cancel(session, STARTED);
                }
            }
            4 => {
                // By a client: whoever closes a session waits for its TA.
                if let Some(session) = self.any_session() {
                    self.to_close.store(session, Ordering::Relaxed);
                }
            }
            5 => {
                if let Ok((number, _)) = client::take_snapshot(context) {
                    let _ = client::read_snapshot(context, number, |_| true);
                    let _ = client::drop_snapshot(context, number);
                }
            }
            6 => drop(leaks::scan(context, &of)),
            7 => drop(client::rows::<LeakRecord>(context, &of)),
            8 => drop(client::rows::<SiteRow>(context, &of)),
            9 => drop(client::rows::<PoolRow>(context, &of)),
            10 => drop(client::rows::<TaDetail>(context, &of)),
            11 => drop(client::rows::<RegionRow>(context, &of)),
            12 => drop(client::rows::<MeminfoRow>(context, &Selector::ALL)),
            13 => drop(client::ta_stats(context)),
            // What is hidden stays so for as long as the block is there, and with it a page.
            14 => drop(leaks::clear(context, &Selector::ta(uuid))),
            15 => drop(client::set_ledger(context, hub::UUID, ledger::DETAIL)),
            16 => {
                let value = self.random.any() as u32 % 8;
                let kinds = [
                    trigger::ENTRY,
                    trigger::EXIT,
                    trigger::HEAP,
                    trigger::FAILURE,
                ];
                let kind = self.random.pick(&kinds, trigger::ENTRY);
                let _ = client::arm(context, uuid, kind, value);
            }
            17 => {
                for row in client::rows::<SnapshotRow>(context, &Selector::ALL).unwrap_or_default()
                {
                    let _ = client::drop_snapshot(context, row.number);
                }
            }
            18 if self.random.once_in(4) => {
                let at = self.random.index(1 << 16) as isize;
                supplicant::set_lie(Some(Lie::Flip(at)));
            }
            _ => supplicant::set_lie(None),
        }
    }

    fn any_session(&mut self) -> Option<u32> {
        let sessions = self.sessions().ok()?;
        let index = self.random.index(sessions.len());
        sessions.get(index).copied()
    }

    /// All sessions of clients but our own.
    fn sessions(&mut self) -> Result<Vec<u32>, String> {
        let rows = client::listed_in::<OwnerRow>(self.lister, &Selector::ALL);
        let (rows, _) = rows.map_err(|error| format!("owners: {error}"))?;
        let own = [self.control.id(), self.lister.id()];
        Ok(rows
            .iter()
            .filter(|row| row.kind == owner_kind::SESSION && !own.contains(&row.session))
            .map(|row| row.session)
            .collect())
    }

    /// Ends all instances of a TA; there may be none.
    fn kill(&mut self, uuid: TeeUuid) {
        let bytes = uuid.to_bytes();
        let mut op = Operation::new(
            0,
            ParamTmpRef::new_input(&bytes),
            ParamValue::new(0, 0, ParamType::ValueOutput),
            ParamNone,
            ParamNone,
        );
        let _ = self.control.invoke_command(control::CMD_KILL, &mut op);
    }
}

/// Opens, invokes and closes until it is told to stop.
fn client(
    context: Context<'static>,
    reached: &Reached,
    stop: &AtomicBool,
    mut random: Random,
    close: &dyn Fn(),
) -> Outcome {
    let told = |error| format!("a client's memory: {error}");
    let memory = SharedMemory::allocate(&context, PAGE_SIZE).map_err(told)?;
    let mut sessions: [Option<Session<'static>>; SESSIONS] = [const { None }; SESSIONS];
    while !stop.load(Ordering::Relaxed) {
        close();
        let place = random.index(SESSIONS);
        let seed = random.any() as u32;
        match &mut sessions[place] {
            empty @ None => {
                let uuid = random.pick(&[hub::UUID, hub::UUID, hostile::UUID], hub::UUID);
                let value = ParamValue::new(seed, seed % 8, ParamType::ValueInput);
                let mut op = Operation::new(STARTED, value, ParamNone, ParamNone, ParamNone);
                match context.open_session_with_operation(uuid, &mut op) {
                    Ok(session) => {
                        reached.opened.fetch_add(1, Ordering::Relaxed);
                        *empty = Some(session);
                    }
                    Err(_) => _ = reached.refused.fetch_add(1, Ordering::Relaxed),
                }
            }
            Some(_) if random.once_in(12) => sessions[place] = None,
            Some(session) => {
                memory.write(0, &[0; 8]);
                let batch = 1 + random.index(BATCH) as u32;
                let mut op = Operation::new(
                    STARTED,
                    ParamValue::new(seed, batch, ParamType::ValueInput),
                    ParamRegisteredMem::part(&memory, Direction::Inout, 0, PAGE_SIZE),
                    ParamNone,
                    ParamNone,
                );
                let result = session.invoke_command(hostile::CMD_RUN, &mut op);
                let mut count = [0; 8];
                memory.read(0, &mut count);
                // What the TA had the kernel write there is no count.
                let count = u64::from_le_bytes(count).min(u64::from(batch));
                reached.calls.fetch_add(count, Ordering::Relaxed);
                match result {
                    Ok(()) => _ = reached.returned.fetch_add(1, Ordering::Relaxed),
                    Err(error) if error.kind() == teec::ErrorKind::TargetDead => {
                        reached.died.fetch_add(1, Ordering::Relaxed);
                        sessions[place] = None;
                    }
                    Err(_) => {
                        reached.refused.fetch_add(1, Ordering::Relaxed);
                        sessions[place] = None;
                    }
                }
            }
        }
    }
    drop(sessions);
    memory
        .release()
        .map_err(|error| format!("a client's memory: {error}"))
}
