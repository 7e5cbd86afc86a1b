//! Hostile calls by the hundred thousand: random functions, messages, shared pages that change in
//! flight, and RPC answers of every wrong kind.
//!
//! **Invariant:** after every round nothing of it is left: calls, sessions, TAs and shared memory are
//! gone, and every account is as it was before, to the byte. A round that fails says how to repeat it.
//! **Knows nothing of:** what the kernel should answer to a message; it must stay alive and tidy, and
//! resume no call but a suspended one.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use tally_abi::msg::{MsgHeader, MsgParam, PAGE_SIZE, arg_size, attr, cmd};
use tally_abi::pta::control::{self, OwnerRow};
use tally_abi::pta::memleak::owner_kind;
use tally_abi::smc::{FunctionId, ret};
use tally_abi::{TeeResult, TeeUuid, rpc};
use teec::smc::{Conduit, Message};
use teec::{Context, Operation, ParamNone, ParamTmpRef, Session, Transport};
use zerocopy::FromBytes;

use super::account::Account;
use super::raw::RawCall;
use super::vocabulary::{
    self, Arena, COOKIES, FIRST_IMAGE, IMAGE_PAGES, Random, SLOTS, SPARE_SLOT, WORDS,
};
use super::{Bench, Outcome, say};
use crate::machine::cpu;
use crate::{jobs, supplicant, tee};

/// Calls of a round.
const ROUND: u64 = 20_000;
/// Resumptions after which a round's calls must have ended.
const PATIENCE: usize = 100_000;
/// Calls after which it is asked which sessions there are.
const REVIEW: u64 = 200;
/// Sessions from which on more are closed than opened.
const MANY_SESSIONS: usize = 48;
/// Owners that the kernel has at most.
const OWNERS: usize = 256;
/// Where a call without an RPC argument of its own gets one.
const ARGUMENT: usize = 2048;
/// More threads than the secure world has.
const THREADS: u32 = 64;

/// A suspended call: the registers that it came out with.
#[derive(Clone, Copy)]
struct Suspended {
    regs: [u32; 8],
}

impl Suspended {
    const fn thread(&self) -> u32 {
        self.regs[3]
    }
}

/// How far hostile calls came, so that one sees that they came anywhere.
#[derive(Default)]
struct Reached {
    /// Calls that the secure world answered with a message.
    answered: u64,
    /// Sessions opened, commands that succeeded, sessions closed.
    opened: u64,
    invoked: u64,
    closed: u64,
    /// Shared memory registered.
    registered: u64,
    /// Suspensions, and images delivered in them.
    suspended: u64,
    images: u64,
    /// Resumptions that were refused, as they had to be.
    refused: u64,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages answered: {} sessions opened, {} commands done, {} sessions closed, {} memories \
             registered; {} suspensions, {} images delivered, {} wrong resumptions",
            self.answered,
            self.opened,
            self.invoked,
            self.closed,
            self.registered,
            self.suspended,
            self.images,
            self.refused
        )
    }
}

struct Hostile<'a> {
    bench: &'a Bench,
    /// A session with `control` from before: when no more can be opened, it still answers.
    observer: &'a mut Session<'static>,
    arena: &'static Arena,
    random: Random,
    /// By the page of the call's message.
    calls: [Option<Suspended>; SLOTS + 1],
    /// Whose image lies in the arena.
    image: Option<TeeUuid>,
    many_sessions: bool,
    sent: u64,
    reached: &'a mut Reached,
}

/// Makes at least `count` calls; 0 if the secure world was as before after each round.
pub(crate) fn run(count: u64, seed: u64) -> u8 {
    let result = tee::get().and_then(|tee| {
        let bench = Bench {
            tee,
            context: Context::new(tee),
        };
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
    super::warm_up(bench);
    let mut observer = bench.open(control::UUID)?;
    let before = Account::take(bench)?;
    let mut reached = Reached::default();
    let start = cpu::micros();
    let mut sent = 0;
    let mut round = 0;
    while sent < count {
        let seed = seed.wrapping_add(round);
        // Said first, for the case that this round is the last one.
        say(&format!("round {round}, seed {seed}: "));
        let again = |why| {
            format!("round {round}: {why}\nagain: cargo xtask fuzz --smc --calls 1 --seed {seed}")
        };
        let mut hostile = Hostile {
            bench,
            observer: &mut observer,
            arena,
            random: Random::new(seed),
            calls: [None; SLOTS + 1],
            image: None,
            many_sessions: false,
            sent: 0,
            reached: &mut reached,
        };
        hostile.round().map_err(again)?;
        sent += hostile.sent;
        let after = Account::take(bench).map_err(again)?;
        after.adds_up().map_err(again)?;
        before.same_as(&after).map_err(again)?;
        round += 1;
        let rate = sent * 1_000_000 / (cpu::micros() - start).max(1);
        say(&format!("{sent} calls, {rate} a second\n"));
    }
    say(&format!("{reached}\n"));
    Ok(sent)
}

impl Hostile<'_> {
    fn round(&mut self) -> Outcome {
        self.arena.write_lists(&mut self.random);
        self.arena.know_sessions(&[]);
        let stop = Arc::new(AtomicBool::new(false));
        let (arena, seed) = (self.arena, self.random.next());
        let stopped = Arc::clone(&stop);
        // On one CPU the pages change between calls only.
        let disturber = jobs::start("disturb shared pages", move || {
            let mut random = Random::new(seed);
            while !stopped.load(Ordering::Relaxed) {
                arena.disturb(&mut random);
                for _ in 0..random.below(200) {
                    core::hint::spin_loop();
                }
            }
            0
        });
        let mut result = Ok(());
        while self.sent < ROUND && result.is_ok() {
            result = self.step();
        }
        stop.store(true, Ordering::Relaxed);
        if let Some(job) = disturber {
            while jobs::collect(job).is_none() {
                cpu::doze();
            }
        }
        result?;
        self.clean_up()
    }

    /// One call, new or resumed.
    fn step(&mut self) -> Outcome {
        if self.sent.is_multiple_of(REVIEW)
            && let Ok(open) = self.sessions()
        {
            self.arena.know_sessions(&open);
            self.many_sessions = open.len() > MANY_SESSIONS;
        }
        if self.random.once_in(8) {
            self.arena.disturb(&mut self.random);
        }
        if self.random.once_in(24) {
            return self.stray();
        }
        let slot = self.random.below(SLOTS);
        match self.calls[slot] {
            Some(call) => self.resume(slot, call, false),
            None if self.random.once_in(16) => {
                let mut regs = [0; 8];
                regs[0] = vocabulary::function(&mut self.random);
                for reg in &mut regs[1..] {
                    *reg = self.random.next() as u32;
                }
                self.call(slot, regs)
            }
            None => self.message(slot),
        }
    }

    /// Resumes without an answer: a thread of some call with any registers, or one that no call waits on.
    fn stray(&mut self) -> Outcome {
        let mut regs = [0; 8];
        for reg in &mut regs {
            *reg = self.random.next() as u32;
        }
        regs[0] = FunctionId::RETURN_FROM_RPC.0;
        if self.random.once_in(2) {
            // One that ended, perhaps, or never began.
            regs[3] %= THREADS;
        }
        let slot = self.random.below(SLOTS);
        if let Some(call) = self.calls[slot]
            && self.random.once_in(2)
        {
            regs[3] = call.thread();
        }
        let waiting = |call: &Option<Suspended>| call.is_some_and(|c| c.thread() == regs[3]);
        match self.calls.iter().position(waiting) {
            Some(slot) => {
                self.calls[slot] = None;
                self.call(slot, regs)
            }
            None => {
                let code = self.bench.tee.conduit().smc(regs)[0];
                self.sent += 1;
                self.reached.refused += 1;
                super::equal(code, ret::ERESUME, "a call that does not wait was resumed")
            }
        }
    }

    /// Sends a message of the slot's page.
    fn message(&mut self, slot: usize) -> Outcome {
        let Self { arena, random, .. } = self;
        arena.write_message(slot, self.many_sessions, random);
        let address = arena.page(slot);
        let mut regs = [0; 8];
        [regs[1], regs[2]] = split(address);
        regs[0] = match random.below(16) {
            0 => {
                let offset = (random.next() & 0xff8) as u32;
                [regs[1], regs[2]] = split(arena.cookie(random));
                regs[3] = offset;
                FunctionId::CALL_WITH_REGD_ARG.0
            }
            1 | 2 => FunctionId::CALL_WITH_ARG.0,
            3 => {
                [regs[1], regs[2]] = split(arena.address(random));
                FunctionId::CALL_WITH_RPC_ARG.0
            }
            _ => FunctionId::CALL_WITH_RPC_ARG.0,
        };
        self.call(slot, regs)
    }

    /// Answers what a call was suspended for and goes on with it; `honestly`: so that it ends.
    fn resume(&mut self, slot: usize, call: Suspended, honestly: bool) -> Outcome {
        let mut regs = call.regs;
        regs[0] = FunctionId::RETURN_FROM_RPC.0;
        match call.regs[0] {
            ret::RPC_ALLOC => {
                let address = if !honestly && self.random.once_in(4) {
                    self.arena.address(&mut self.random)
                } else {
                    self.arena.page(slot) + ARGUMENT as u64
                };
                [regs[1], regs[2]] = split(address);
                [regs[4], regs[5]] = split(self.arena.cookie(&mut self.random));
            }
            ret::RPC_CMD => {
                let first = Message::at(&self.arena.pages, slot * PAGE_SIZE);
                let params = (first.header().num_params as usize).min(6);
                for at in [
                    slot * PAGE_SIZE + arg_size(params),
                    slot * PAGE_SIZE + ARGUMENT,
                ] {
                    self.answer(at, honestly);
                }
            }
            _ => {}
        }
        self.calls[slot] = None;
        self.call(slot, regs)
    }

    /// Answers the RPC argument at `at`, if there is one.
    fn answer(&mut self, at: usize, honestly: bool) {
        let arena = self.arena;
        let argument = Message::at(&arena.pages, at);
        let result = if honestly {
            TeeResult::OUT_OF_MEMORY
        } else {
            self.serve(argument)
        };
        argument.set_ret(result.0, 0);
        if !honestly && self.random.once_in(5) {
            let word = self.random.below(20);
            let value = arena.message_word(&mut self.random, word);
            arena.pages.set(at / 8 + word, value);
        }
    }

    /// As a supplicant would.
    fn serve(&mut self, argument: Message<'_>) -> TeeResult {
        let [first, second] = [argument.param(0), argument.param(1)];
        let image_at = self.arena.page(FIRST_IMAGE);
        match argument.header().cmd {
            rpc::cmd::LOAD_TA => {
                let uuid = TeeUuid::from_value_pair(first.a, first.b);
                let Some(image) = supplicant::image(uuid) else {
                    return TeeResult::ITEM_NOT_FOUND;
                };
                let size = image.len() as u64;
                argument.set_param(1, &MsgParam { b: size, ..second });
                if second.b < size || image.len() > IMAGE_PAGES * PAGE_SIZE {
                    return TeeResult::SHORT_BUFFER;
                }
                if self.image != Some(uuid) {
                    self.arena.pages.write(FIRST_IMAGE * PAGE_SIZE, image);
                    self.image = Some(uuid);
                }
                if self.random.once_in(8) {
                    // One octet wrong, and put right by the next copy.
                    let at = FIRST_IMAGE * WORDS + self.random.below(image.len() / 8);
                    self.arena.pages.set(at, self.random.next());
                    self.image = None;
                }
                self.reached.images += 1;
                TeeResult::SUCCESS
            }
            rpc::cmd::SHM_ALLOC if first.b <= (IMAGE_PAGES * PAGE_SIZE) as u64 => {
                let lent = MsgParam {
                    attr: attr::TMEM_OUTPUT,
                    a: image_at,
                    b: first.b,
                    c: self.arena.cookie(&mut self.random),
                };
                argument.set_param(0, &lent);
                TeeResult::SUCCESS
            }
            rpc::cmd::SHM_ALLOC => TeeResult::OUT_OF_MEMORY,
            rpc::cmd::GET_TIME => {
                let time = MsgParam {
                    attr: attr::VALUE_OUTPUT,
                    a: self.random.next(),
                    b: self.random.next(),
                    c: 0,
                };
                argument.set_param(0, &time);
                TeeResult::SUCCESS
            }
            rpc::cmd::SHM_FREE | rpc::cmd::NOTIFICATION | rpc::cmd::SUSPEND => TeeResult::SUCCESS,
            _ => TeeResult::NOT_SUPPORTED,
        }
    }

    /// Makes a call, and notes what came of it.
    fn call(&mut self, slot: usize, regs: [u32; 8]) -> Outcome {
        let function = regs[0];
        let regs = self.bench.tee.conduit().smc(regs);
        self.sent += 1;
        let code = regs[0];
        if ret::is_rpc(code) {
            self.calls[slot] = Some(Suspended { regs });
            self.reached.suspended += 1;
            return Ok(());
        }
        if function == FunctionId::RETURN_FROM_RPC.0 && code == ret::ERESUME {
            return Err("a call that waits is not resumed".to_string());
        }
        if !FunctionId(function).is_fast() {
            return self.ended(slot, code);
        }
        Ok(())
    }

    /// A yielding call ended with `code`.
    fn ended(&mut self, slot: usize, code: u32) -> Outcome {
        match code {
            ret::OK => {
                let message = Message::at(&self.arena.pages, slot * PAGE_SIZE);
                let header = message.header();
                // If it still says so: other calls and another CPU write there, too.
                self.reached.answered += 1;
                match (header.cmd, header.ret) {
                    (cmd::OPEN_SESSION, 0) => self.reached.opened += 1,
                    (cmd::INVOKE_COMMAND, 0) => self.reached.invoked += 1,
                    (cmd::CLOSE_SESSION, 0) => self.reached.closed += 1,
                    (cmd::REGISTER_SHM, 0) => self.reached.registered += 1,
                    _ => {}
                }
                Ok(())
            }
            ret::UNKNOWN_FUNCTION
            | ret::ETHREAD_LIMIT
            | ret::EBUSY
            | ret::EBADADDR
            | ret::EBADCMD
            | ret::ENOMEM => Ok(()),
            _ => Err(format!("a call ended with {code:#x}")),
        }
    }

    /// Ends everything, as one who may.
    fn clean_up(&mut self) -> Outcome {
        for n in 0.. {
            if n % 500 == 0 {
                // Those that loop, and those that were loaded meanwhile.
                for uuid in vocabulary::USER {
                    self.kill(uuid)?;
                }
            }
            let slot = n % self.calls.len();
            if let Some(call) = self.calls[slot] {
                self.resume(slot, call, true)?;
            } else if self.calls.iter().all(Option::is_none) {
                break;
            }
            if n > PATIENCE {
                return Err("a call does not end".into());
            }
        }
        for (session, _) in self.sessions()? {
            // An answer to the closing of a session whose TA was killed above tells nothing.
            let _ = self.bench.tee.close_session(session);
        }
        for uuid in vocabulary::USER {
            // Those that are not loaded are none to end.
            let _ = teestat::client::kill(&self.bench.context, uuid);
        }
        self.unregister()?;
        self.drop_snapshots()?;
        let idle = [FunctionId::DISABLE_SHM_CACHE.0, 0, 0, 0, 0, 0, 0, 0];
        let code = self.bench.tee.conduit().smc(idle)[0];
        super::equal(code, ret::ENOTAVAIL, "a thread is still in use")
    }

    /// Kills a TA by a call like others, which waits for nobody.
    fn kill(&mut self, uuid: TeeUuid) -> Outcome {
        if self.calls[SPARE_SLOT].is_some() {
            return Ok(());
        }
        let at = SPARE_SLOT * PAGE_SIZE;
        let octets_at = at + PAGE_SIZE - size_of::<TeeUuid>();
        self.arena.pages.write(octets_at, &uuid.to_octets());
        let message = Message::at(&self.arena.pages, at);
        let (session, address) = (self.observer.id(), self.arena.page(SPARE_SLOT));
        let params = [
            MsgParam {
                attr: attr::TMEM_INPUT,
                a: address + (octets_at - at) as u64,
                b: size_of::<TeeUuid>() as u64,
                c: 0,
            },
            MsgParam {
                attr: attr::VALUE_OUTPUT,
                ..MsgParam::default()
            },
        ];
        message.set_header(&MsgHeader {
            cmd: cmd::INVOKE_COMMAND,
            func: control::CMD_KILL,
            session,
            num_params: params.len() as u32,
            ..MsgHeader::default()
        });
        for (index, param) in params.iter().enumerate() {
            message.set_param(index, param);
        }
        let [high, low] = split(address);
        let regs = [FunctionId::CALL_WITH_RPC_ARG.0, high, low, 0, 0, 0, 0, 0];
        self.call(SPARE_SLOT, regs)
    }

    /// All sessions but the observer's own, and who they are with.
    fn sessions(&mut self) -> Result<Vec<(u32, TeeUuid)>, String> {
        let mut rows = vec![0; OWNERS * size_of::<OwnerRow>()];
        let memory = ParamTmpRef::new_output(&mut rows);
        let mut op = Operation::new(0, memory, ParamNone, ParamNone, ParamNone);
        let asked = self
            .observer
            .invoke_command(control::CMD_OWNERS, &mut op)
            .map_err(|error| format!("owners: {error}"));
        let len = op.parameters().0.updated_size();
        asked?;
        let own = self.observer.id();
        Ok(rows[..len.min(rows.len())]
            .chunks_exact(size_of::<OwnerRow>())
            .filter_map(|row| OwnerRow::read_from_bytes(row).ok())
            .filter(|row| row.kind == owner_kind::SESSION && row.session != own)
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
        for row in teestat::client::snapshots(context).map_err(told)? {
            teestat::client::drop_snapshot(context, row.number).map_err(told)?;
        }
        Ok(())
    }
}

/// High and low half, as registers have them.
const fn split(value: u64) -> [u32; 2] {
    [(value >> 32) as u32, value as u32]
}
