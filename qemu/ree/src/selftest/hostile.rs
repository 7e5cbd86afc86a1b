//! Hostile calls by the hundred thousand: random functions, messages, shared pages that change in
//! flight, and RPC answers of every wrong kind.
//!
//! **Invariant:** after every round nothing of it is left: calls, sessions, TAs and shared memory are
//! gone, and every account is as it was before, to the byte.
//! **Knows nothing of:** what the kernel should answer; it must only stay alive and tidy.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use tally_abi::msg::{MsgHeader, MsgParam, PAGE_SIZE, arg_size, attr, cmd};
use tally_abi::pta::memleak::owner_kind;
use tally_abi::smc::{FunctionId, ret};
use tally_abi::{TeeResult, TeeUuid, rpc};
use teec::smc::{Conduit, Message};
use teec::{Context, Transport};

use super::account::Account;
use super::raw::{RawCall, open_params};
use super::vocabulary::{self, Arena, COOKIES, FIRST_IMAGE, IMAGE_PAGES, Random, SLOTS};
use super::{Bench, Outcome, say};
use crate::machine::cpu;
use crate::{jobs, supplicant, tee};

/// Calls of a round.
const ROUND: u64 = 50_000;
/// Resumptions after which a round's calls must have ended.
const PATIENCE: u64 = 100_000;
const WORDS: usize = PAGE_SIZE / 8;
/// Where a call without an RPC argument of its own gets one.
const ARGUMENT: usize = 2048;

/// A suspended call.
#[derive(Clone, Copy)]
struct Suspended {
    regs: [u32; 8],
}

struct Hostile<'a> {
    bench: &'a Bench,
    arena: &'static Arena,
    random: Random,
    calls: [Option<Suspended>; SLOTS],
    /// Whose image lies in the arena.
    image: Option<TeeUuid>,
    sent: u64,
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
            say(&format!("hostile calls, seed {seed}: {why}\n"));
            1
        }
    }
}

fn rounds(bench: &Bench, arena: &'static Arena, count: u64, seed: u64) -> Result<u64, String> {
    super::warm_up(bench);
    let before = Account::take(bench)?;
    let mut sent = 0;
    let mut round = 0;
    while sent < count {
        let mut hostile = Hostile {
            bench,
            arena,
            random: Random::new(seed.wrapping_add(round)),
            calls: [None; SLOTS],
            image: None,
            sent: 0,
        };
        hostile
            .round()
            .map_err(|why| format!("round {round}: {why}"))?;
        let after = Account::take(bench)?;
        after.adds_up()?;
        before
            .same_as(&after)
            .map_err(|why| format!("round {round}: {why}"))?;
        sent += hostile.sent;
        round += 1;
        say(&format!("{sent} calls\n"));
    }
    Ok(sent)
}

impl Hostile<'_> {
    fn round(&mut self) -> Outcome {
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
        while self.sent < ROUND {
            self.step();
        }
        stop.store(true, Ordering::Relaxed);
        if let Some(job) = disturber {
            while jobs::collect(job).is_none() {
                cpu::doze();
            }
        }
        self.clean_up()
    }

    /// One call, new or resumed.
    fn step(&mut self) {
        let slot = self.random.below(SLOTS);
        if self.random.once_in(8) {
            self.arena.disturb(&mut self.random);
        }
        match self.calls[slot] {
            Some(call) => self.resume(slot, call, false),
            None if self.random.once_in(16) => {
                let mut regs = [0; 8];
                regs[0] = vocabulary::function(&mut self.random);
                for reg in &mut regs[1..] {
                    *reg = self.random.next() as u32;
                }
                self.call(slot, regs);
            }
            None => self.message(slot),
        }
    }

    /// Sends a message of the slot's page.
    fn message(&mut self, slot: usize) {
        let Self { arena, random, .. } = self;
        for word in 0..arg_size(6) / 8 {
            let value = arena.message_word(random, word);
            arena.pages.set(slot * WORDS + word, value);
        }
        let message = Message::at(&arena.pages, slot * PAGE_SIZE);
        if random.once_in(3) {
            let header = message.header();
            message.set_header(&MsgHeader {
                cmd: cmd::OPEN_SESSION,
                num_params: 2 + random.below(5) as u32,
                ..header
            });
            for (index, param) in open_params(vocabulary::target(random)).iter().enumerate() {
                message.set_param(index, param);
            }
        }
        let address = arena.page(slot);
        let mut regs = [0; 8];
        [regs[1], regs[2]] = [(address >> 32) as u32, address as u32];
        regs[0] = match random.below(16) {
            0 => {
                let cookie = arena.cookie(random);
                let offset = (random.next() & 0xff8) as u32;
                [regs[1], regs[2], regs[3]] = [(cookie >> 32) as u32, cookie as u32, offset];
                FunctionId::CALL_WITH_REGD_ARG.0
            }
            1 | 2 => FunctionId::CALL_WITH_ARG.0,
            3 => {
                let address = arena.address(random);
                [regs[1], regs[2]] = [(address >> 32) as u32, address as u32];
                FunctionId::CALL_WITH_RPC_ARG.0
            }
            4 => {
                // A thread that no call of ours is on.
                regs[3] = 64 + random.next() as u32 % 1000;
                FunctionId::RETURN_FROM_RPC.0
            }
            _ => FunctionId::CALL_WITH_RPC_ARG.0,
        };
        self.call(slot, regs);
    }

    /// Answers what a call was suspended for and goes on with it; `honestly`: so that it ends.
    fn resume(&mut self, slot: usize, call: Suspended, honestly: bool) {
        let mut regs = call.regs;
        regs[0] = FunctionId::RETURN_FROM_RPC.0;
        match call.regs[0] {
            ret::RPC_ALLOC => {
                let address = if !honestly && self.random.once_in(4) {
                    self.arena.address(&mut self.random)
                } else {
                    self.arena.page(slot) + ARGUMENT as u64
                };
                let cookie = self.arena.cookie(&mut self.random);
                [regs[1], regs[2]] = [(address >> 32) as u32, address as u32];
                [regs[4], regs[5]] = [(cookie >> 32) as u32, cookie as u32];
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
        self.call(slot, regs);
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

    fn call(&mut self, slot: usize, regs: [u32; 8]) {
        let regs = self.bench.tee.conduit().smc(regs);
        self.sent += 1;
        if ret::is_rpc(regs[0]) {
            self.calls[slot] = Some(Suspended { regs });
        }
    }

    /// Ends everything, as one who may.
    fn clean_up(&mut self) -> Outcome {
        self.end_tas();
        for n in 0.. {
            let slot = n as usize % SLOTS;
            if let Some(call) = self.calls[slot] {
                self.resume(slot, call, true);
            } else if self.calls.iter().all(Option::is_none) {
                break;
            }
            if n % 1000 == 999 {
                // One that was loaded meanwhile.
                self.end_tas();
            }
            if n > PATIENCE {
                return Err("a call does not end".into());
            }
        }
        let owners = teestat::client::owners(&self.bench.context);
        let owners = owners.map_err(|error| format!("owners: {error}"))?;
        for owner in owners.iter().filter(|row| row.kind == owner_kind::SESSION) {
            // The one of the question itself is closed already.
            let _ = self.bench.tee.close_session(owner.session);
        }
        self.end_tas();
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

    fn end_tas(&self) {
        for uuid in vocabulary::USER {
            // Those that are not loaded are none to end.
            let _ = teestat::client::kill(&self.bench.context, uuid);
        }
    }
}
