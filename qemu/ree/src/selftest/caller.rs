//! A hostile caller on one CPU: sends messages, and answers what the secure world asks meanwhile, well, badly,
//! with another call's answer or not at all.
//!
//! **Invariant:** it knows which of its calls are suspended, and on which thread: one that is must be
//! resumed, and a thread that no call waits on must not.

use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use core::fmt;
use core::ops::AddAssign;

use tally_abi::msg::{MsgHeader, MsgParam, PAGE_SIZE, arg_size, attr, cmd};
use tally_abi::smc::{FunctionId, ret};
use tally_abi::{TeeResult, TeeUuid, rpc};
use teec::smc::{Conduit, Files, Message};

use super::Outcome;
use super::vocabulary::{
    self, Arena, CALLER_PAGES, FIRST_IMAGE, IMAGE_PAGES, SLOTS, SPARE_SLOT, WORDS,
};
use crate::tee::Tee;
use crate::{storage, supplicant};
use ta_uuids::hostile::Random;

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

/// How far calls came, so that one sees that they came anywhere.
#[derive(Clone, Copy, Default)]
pub(super) struct Reached {
    /// Calls that were answered in their message.
    answered: u64,
    opened: u64,
    /// Commands that succeeded.
    invoked: u64,
    closed: u64,
    registered: u64,
    suspended: u64,
    /// Images given to who asked.
    images: u64,
    /// Resumptions that were refused, as they had to be.
    refused: u64,
}

impl Reached {
    /// Whether anything got past the first checks.
    pub(super) const fn anything(&self) -> bool {
        self.opened != 0 && self.invoked != 0 && self.registered != 0 && self.images != 0
    }
}

impl AddAssign for Reached {
    fn add_assign(&mut self, other: Self) {
        self.answered += other.answered;
        self.opened += other.opened;
        self.invoked += other.invoked;
        self.closed += other.closed;
        self.registered += other.registered;
        self.suspended += other.suspended;
        self.images += other.images;
        self.refused += other.refused;
    }
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

/// A caller, with pages of its own in the arena.
pub(super) struct Caller {
    tee: &'static Tee,
    arena: &'static Arena,
    random: Random,
    /// First of its pages.
    first_page: usize,
    /// Nobody else makes calls meanwhile.
    alone: bool,
    calls: [Option<Suspended>; CALLER_PAGES],
    /// Whose image it has put into the arena.
    image: Option<TeeUuid>,
    sent: u64,
    reached: Reached,
}

impl Caller {
    /// Number `index` of the callers.
    pub(super) fn new(
        tee: &'static Tee,
        arena: &'static Arena,
        index: usize,
        alone: bool,
        random: Random,
    ) -> Self {
        Self {
            tee,
            arena,
            random,
            first_page: index * CALLER_PAGES,
            alone,
            calls: [None; CALLER_PAGES],
            image: None,
            sent: 0,
            reached: Reached::default(),
        }
    }

    /// Calls made.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// What became of them.
    pub(super) const fn reached(&self) -> Reached {
        self.reached
    }

    /// One call, new or resumed.
    ///
    /// # Errors
    /// What no hostile caller may bring about.
    pub(super) fn step(&mut self) -> Outcome {
        if self.random.once_in(8) {
            self.arena.disturb(&mut self.random);
        }
        if self.random.once_in(24) {
            return self.stray();
        }
        let slot = self.random.index(SLOTS);
        match self.calls[slot] {
            Some(call) => self.resume(slot, call, false),
            None if self.random.once_in(16) => {
                let mut regs = [0; 8];
                regs[0] = vocabulary::function(&mut self.random);
                for reg in &mut regs[1..] {
                    *reg = self.random.any() as u32;
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
            *reg = self.random.any() as u32;
        }
        regs[0] = FunctionId::RETURN_FROM_RPC.0;
        if self.alone && self.random.once_in(2) {
            // One that ended, perhaps, or never began.
            regs[3] %= THREADS;
        } else {
            regs[3] |= THREADS;
        }
        let slot = self.random.index(SLOTS);
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
                let code = self.tee.conduit().smc(regs)[0];
                self.sent += 1;
                self.reached.refused += 1;
                super::equal(code, ret::ERESUME, "a call that does not wait was resumed")
            }
        }
    }

    /// The slot's page in the arena.
    const fn page_of(&self, slot: usize) -> usize {
        self.first_page + slot
    }

    /// Sends a message of the slot's page.
    fn message(&mut self, slot: usize) -> Outcome {
        let page = self.page_of(slot);
        let Self { arena, random, .. } = self;
        arena.write_message(page, random);
        let mut regs = [0; 8];
        [regs[1], regs[2]] = split(arena.page(page));
        regs[0] = match random.index(16) {
            0 => {
                let offset = (random.any() & 0xff8) as u32;
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

    /// Whether all calls have ended.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.iter().all(Option::is_none)
    }

    /// Goes on with all suspended calls, so that they end soon.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub(super) fn resume_honestly(&mut self) -> Outcome {
        for slot in 0..self.calls.len() {
            if let Some(call) = self.calls[slot] {
                self.resume(slot, call, true)?;
            }
        }
        Ok(())
    }

    /// Makes an honest call that may be suspended like all others, if the last such one has ended. `bytes` lie
    /// in memory at the address that `params` is given.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub(super) fn ask(
        &mut self,
        header: MsgHeader,
        bytes: &[u8],
        params: impl FnOnce(u64) -> [MsgParam; 2],
    ) -> Outcome {
        if self.calls[SPARE_SLOT].is_some() {
            return Ok(());
        }
        let page = self.page_of(SPARE_SLOT);
        let address = self.arena.page(page);
        let behind = PAGE_SIZE - bytes.len().next_multiple_of(8);
        self.arena.pages.write(page * PAGE_SIZE + behind, bytes);
        let message = Message::at(&self.arena.pages, page * PAGE_SIZE);
        let params = params(address + behind as u64);
        message.set_header(&MsgHeader {
            num_params: params.len() as u32,
            ..header
        });
        for (index, param) in params.iter().enumerate() {
            message.set_param(index, param);
        }
        let [high, low] = split(address);
        let regs = [FunctionId::CALL_WITH_RPC_ARG.0, high, low, 0, 0, 0, 0, 0];
        self.call(SPARE_SLOT, regs)
    }

    /// Answers what a call was suspended for and goes on with it; `honestly`: so that it ends.
    fn resume(&mut self, slot: usize, call: Suspended, honestly: bool) -> Outcome {
        let page = self.page_of(slot);
        let mut regs = call.regs;
        regs[0] = FunctionId::RETURN_FROM_RPC.0;
        match call.regs[0] {
            ret::RPC_ALLOC => {
                let address = if !honestly && self.random.once_in(4) {
                    self.arena.address(&mut self.random)
                } else {
                    self.arena.page(page) + ARGUMENT as u64
                };
                [regs[1], regs[2]] = split(address);
                [regs[4], regs[5]] = split(self.arena.cookie(&mut self.random));
            }
            ret::RPC_CMD => {
                let first = Message::at(&self.arena.pages, page * PAGE_SIZE);
                let params = (first.header().num_params as usize).min(6);
                for at in [arg_size(params), ARGUMENT] {
                    self.answer(page * PAGE_SIZE + at, honestly);
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
            let word = self.random.index(20);
            let value = arena.message_word(&mut self.random, word);
            arena.pages.set(at / 8 + word, value);
        }
    }

    /// As a supplicant would that has files, in the memory that it lends; some bits are others.
    fn serve_file(&mut self, argument: Message<'_>) -> TeeResult {
        const LENT: usize = IMAGE_PAGES * PAGE_SIZE;
        let [what, memory, out] = [0, 1, 2].map(|index| argument.param(index));
        let (pages, files) = (&self.arena.pages, storage::files());
        let at = (memory.a as usize).min(LENT);
        let mut bytes = vec![0; (memory.b as usize).min(LENT - at)];
        let at = FIRST_IMAGE * PAGE_SIZE + at;
        pages.read(at, &mut bytes);
        let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = str::from_utf8(name).unwrap_or("?").trim_start_matches('/');
        let (file, place) = (what.b as u32, what.c);
        let opened = |opened: Result<u32, TeeResult>| {
            let a = u64::from(opened?);
            argument.set_param(2, &MsgParam { a, ..out });
            Ok(())
        };
        let flipped = self.random.once_in(16).then(|| self.random.any());
        let done = match what.a {
            rpc::fs::OPEN => opened(files.open(name)),
            rpc::fs::CREATE => opened(files.create(name)),
            rpc::fs::CLOSE => files.close(file),
            rpc::fs::READ => files.read(file, place, bytes.len(), &mut |_, read| {
                pages.write(at, read);
                if let (Some(word), true) = (flipped, read.len() >= 8) {
                    pages.set(at / 8 + word as usize % (read.len() / 8), word);
                }
                let b = read.len() as u64;
                argument.set_param(1, &MsgParam { b, ..memory });
            }),
            rpc::fs::WRITE => files.write(file, place, &bytes),
            rpc::fs::TRUNCATE => files.truncate(file, place),
            rpc::fs::REMOVE => files.remove(name),
            _ => Err(TeeResult::NOT_SUPPORTED),
        };
        done.err().unwrap_or(TeeResult::SUCCESS)
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
                if self.image != Some(uuid) || !self.alone {
                    self.arena.pages.write(FIRST_IMAGE * PAGE_SIZE, image);
                    self.image = Some(uuid);
                }
                if self.random.once_in(8) {
                    // One byte wrong, and put right by the next copy.
                    let at = FIRST_IMAGE * WORDS + self.random.index(image.len() / 8);
                    self.arena.pages.set(at, self.random.any());
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
            rpc::cmd::FS => self.serve_file(argument),
            rpc::cmd::GET_TIME => {
                let time = MsgParam {
                    attr: attr::VALUE_OUTPUT,
                    a: self.random.any(),
                    b: self.random.any(),
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
        let regs = self.tee.conduit().smc(regs);
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
        if FunctionId(function).is_fast() {
            return Ok(());
        }
        self.ended(slot, code)
    }

    /// A yielding call ended with `code`.
    fn ended(&mut self, slot: usize, code: u32) -> Outcome {
        match code {
            ret::OK => {
                let page = self.page_of(slot);
                let header = Message::at(&self.arena.pages, page * PAGE_SIZE).header();
                self.reached.answered += 1;
                // If it still says so: other calls and other CPUs write there, too.
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
}

/// High and low half, as registers have them.
const fn split(value: u64) -> [u32; 2] {
    [(value >> 32) as u32, value as u32]
}
