//! A whole kernel on the model of the machine, with a normal world that answers its calls and
//! TAs that tests script.
//!
//! **Invariant:** whatever a test does, [`World::accounts`] says what is taken; equal accounts
//! before and after mean that nothing was left behind.
//! **Knows nothing of:** what a test wants to see.
//!
//! `ldelf` is modelled too: it maps a page of code and a stack for every image and returns the
//! flags that the image's payload begins with. TAs run the steps of [`World::ta`], in the order in
//! which they run at all, and return success when there is none.

use super::{NORMAL_BASE, TestMachine};
use crate::addr::{PAGE_SIZE, PhysAddr};
use crate::entry::Entry;
use crate::heap::{KernelHeap, LiveGroup};
use crate::kernel::{Kernel, LdelfImage, Parts};
use crate::machine::{NormalMemory, ThreadControl, Trap, UserContext, UserRoot};
use crate::mem::pages::PageUse;
use crate::owner::OwnerId;
use crate::pta_api::PseudoTa;
use crate::rsa::{MODULUS_LEN, PublicKey};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U2048};
use sha2::{Digest, Sha256};
use spin::Mutex;
use tally_abi::ldelf::{LdelfArg, svc as ldelf_svc};
use tally_abi::msg::{MsgHeader, MsgParam, arg_size, attr, cmd};
use tally_abi::pta::control::PoolStats;
use tally_abi::shdr::{BootstrapHeader, MAGIC, SignedHeader, algo, img_type};
use tally_abi::smc::{FunctionId, ret};
use tally_abi::ta::{UteeParams, svc};
use tally_abi::{TeeResult, TeeUuid, rpc};
use zerocopy::{FromZeros, IntoBytes};

/// Modulus of the test key, whose private exponent is [`EXPONENT`]: no secret, signs tests only.
const MODULUS: U2048 = U2048::from_be_hex(N);
const N: &str = "9819a7d77a7efe4022f94fe9993935acf863a85432362eb29f4db9d17883a01d931a74d300d7e891\
6c526309a89d4baca0ba51eeb2157b9f8d96fad408eacc5417e6e1303a17d1c434c55057b3e5b68e\
a5fd3b4de18b8fbe16af9edac79662def1aa6befa58f575562cdd0ffa90dba6328751032d0663134\
bef7e8e4c0d1e3709c6d1cfdbdc5136990d166f4cd7b2c76c9f0d50e2f989927d9f4c8833c880c52\
3919072477c22d8c823702995b0c0c634fa5f8ae0e2b5d4858cb20380aa09d2ab77650886e5812f4\
e023036d67369b050fd92f8f28b133bf8a029b4dcd0c62ed603feb89770fa2c885a147dd3054df32\
b9d8ef3a2f3b09a85e97fe9805c98d59";
/// Its private exponent.
const EXPONENT: U2048 = U2048::from_be_hex(
    "093f52118b3c8a57bae89e7facd5aa1a4495c687abefd861fac67e7c2a50125d89f28b54c2d1ddad\
6dc10a8d6d4776f0dd6ac68d751d52414e99f5d10b63bf1d83c081436ddcc1dfa477b49d486e386d\
aed0d918b0944c1e7a019e6e5dc11a6cc493a0715707027fc9fc8a6ee8c7d163b2f37f131fd17ebf\
5eb6f2dd698db93ea8faf6265f592883ea4083fde5aff2866846ff22d5c874b7caf62987b01e1dfd\
fae56e1272bff2b042e4c98125efc3c4b7c144d2bf3d422822bc6cc0385d945ec9d12ff5430ca10d\
eafe717d5320642f217b2f37fb27e6a592d8ca2ecd922b4a1cb97575d785a961d05ef17f7347bcd6\
307d91437391abcb101e323e4224d509",
);
/// The public half.
pub const KEY: &PublicKey = &match PublicKey::from_modulus(&octets_of(N)) {
    Some(key) => key,
    None => panic!("an even modulus"),
};

const fn octets_of(hex: &str) -> [u8; MODULUS_LEN] {
    const fn digit(c: u8) -> u8 {
        if c < b'a' { c - b'0' } else { c - b'a' + 10 }
    }
    let hex = hex.as_bytes();
    let mut octets = [0; MODULUS_LEN];
    let mut n = 0;
    while n < MODULUS_LEN {
        octets[n] = digit(hex[2 * n]) << 4 | digit(hex[2 * n + 1]);
        n += 1;
    }
    octets
}

/// Where `ldelf` begins in its code; tells its runs from a TA's.
const LDELF_ENTRY: u64 = 0x40;
/// Where a TA begins in its code.
const TA_ENTRY: u64 = 0x100;
/// Bytes of a TA's stack.
pub const TA_STACK: u64 = 2 * PAGE_SIZE as u64;
/// First of the normal world's pages that tests may use, [`CLIENT_PAGES`] of them.
pub const CLIENT: PhysAddr = PhysAddr(NORMAL_BASE.0 + 0x1_0000);
/// How many.
pub const CLIENT_PAGES: usize = 64;
/// Threads of the kernel.
pub const THREADS: usize = 4;
const SHM_BASE: PhysAddr = PhysAddr(CLIENT.0 + (CLIENT_PAGES * PAGE_SIZE) as u64);
const NORMAL_PAGES: usize = 16 + CLIENT_PAGES + 64;
const SECURE_PAGES: usize = 160;

/// A heap that counts nothing: the crate has no allocator of its own on the host.
struct NoHeap;

impl KernelHeap for NoHeap {
    fn stats(&self) -> PoolStats {
        PoolStats::default()
    }
    fn reset(&self) {}
    fn set_epoch(&self, _: u16) {}
    fn account(&self, _: OwnerId) -> (u32, u32) {
        (0, 0)
    }
    fn live_groups(&self, _: u16, groups: &mut [LiveGroup]) -> usize {
        if let Some(group) = groups.first_mut() {
            *group = LiveGroup {
                owner: OwnerId::GUEST,
                blocks: 2,
                bytes: 64,
                block_size: 32,
                ..LiveGroup::default()
            };
        }
        1
    }
    fn dump(&self, _: &mut dyn fmt::Write) {}
    fn name_site(&self, offset: u64, out: &mut dyn fmt::Write) -> bool {
        offset == 0x40 && out.write_str("site kernel.rs:1").is_ok()
    }
    fn last_oom(&self, _: &mut dyn fmt::Write) -> bool {
        false
    }
}

/// Something that a thread is suspended for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command of [`rpc::cmd`].
    Command(u32),
    /// An interrupt of the normal world.
    Interrupt,
    /// `RPC_ALLOC`.
    Alloc,
    /// `RPC_FREE`.
    Free,
}

/// What a TA does until its next trap.
pub type TaStep = Box<dyn FnOnce(&mut Run<'_>) -> Trap + Send>;
/// What happens beside, while the normal world has the CPU.
pub type Hook = Box<dyn FnOnce(&World) + Send>;

/// A TA that runs.
pub struct Run<'a> {
    /// The world around it.
    pub world: &'a World,
    /// Its registers.
    pub context: &'a mut UserContext,
    /// Its address space.
    pub root: UserRoot,
}

impl Run<'_> {
    /// Returns `code` from the entry point.
    pub fn exit(&mut self, code: TeeResult) -> Trap {
        self.call(svc::RETURN, &[u64::from(code.0)])
    }

    /// Makes a system call.
    pub fn call(&mut self, number: u64, args: &[u64]) -> Trap {
        self.context.x[8] = number;
        self.context.x[..args.len()].copy_from_slice(args);
        Trap::Syscall
    }

    /// The result of the last system call.
    #[must_use]
    pub fn result(&self) -> TeeResult {
        TeeResult(self.context.x[0] as u32)
    }

    /// The `n`-th free byte of its stack, upwards, 8-byte aligned places of 1 KiB in all.
    #[must_use]
    pub fn stack(&self, n: u64) -> u64 {
        self.context.sp - 2048 + n
    }

    /// Loads as the TA would, with its page faults answered.
    pub fn load(&mut self, va: u64, buf: &mut [u8]) {
        let machine = &self.world.kernel.machine;
        for (n, octet) in buf.iter_mut().enumerate() {
            let octet = core::slice::from_mut(octet);
            if let Err(abort) = machine.user_load(self.root, va + n as u64, octet) {
                self.world.touch(self.root, abort);
                let again = machine.user_load(self.root, va + n as u64, octet);
                assert_eq!(again, Ok(()), "a load that faults for ever");
            }
        }
    }

    /// Stores as the TA would, with its page faults answered.
    pub fn store(&mut self, va: u64, data: &[u8]) {
        let machine = &self.world.kernel.machine;
        for (n, octet) in data.iter().enumerate() {
            let octet = core::slice::from_ref(octet);
            if let Err(abort) = machine.user_store(self.root, va + n as u64, octet) {
                self.world.touch(self.root, abort);
                let again = machine.user_store(self.root, va + n as u64, octet);
                assert_eq!(again, Ok(()), "a store that faults for ever");
            }
        }
    }

    /// A number in its memory.
    pub fn load_u64(&mut self, va: u64) -> u64 {
        let mut octets = [0; 8];
        self.load(va, &mut octets);
        u64::from_le_bytes(octets)
    }

    /// A number in its memory.
    pub fn load_u32(&mut self, va: u64) -> u32 {
        let mut octets = [0; 4];
        self.load(va, &mut octets);
        u32::from_le_bytes(octets)
    }

    /// Its parameters. At its entry only.
    pub fn params(&mut self) -> UteeParams {
        let mut params = UteeParams::default();
        let at = self.context.x[2];
        self.load(at, params.as_mut_bytes());
        params
    }
}

/// What the normal world has.
#[derive(Default)]
struct Normal {
    images: Vec<(TeeUuid, Vec<u8>)>,
    /// Payloads of images that were not asked for yet.
    unsigned: Vec<(TeeUuid, Vec<u8>)>,
    /// Physical address of each thread's RPC argument.
    rpc_arg: BTreeMap<usize, PhysAddr>,
    /// Pages lent by SHM_ALLOC and RPC_ALLOC, by cookie.
    lent: BTreeMap<u64, u64>,
    events: Vec<Event>,
    hooks: VecDeque<(Event, Hook)>,
    ta_steps: VecDeque<TaStep>,
    fail_event: Option<usize>,
    /// Octets that the answer to this event from now on is overwritten with.
    garble: Option<(usize, Vec<u8>)>,
    /// Answers were garbled: what is freed need not have been lent.
    garbled: bool,
    /// Events that are answered; all after them are refused.
    patience: Option<usize>,
    woken: Vec<u64>,
}

/// A kernel and what is around it.
pub struct World {
    /// The kernel.
    pub kernel: Kernel<TestMachine>,
    normal: Mutex<Normal>,
}

/// What a message came back with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// x0.
    pub code: u32,
    /// The result.
    pub result: TeeResult,
    /// Its origin.
    pub origin: u32,
    /// The session.
    pub session: u32,
    /// The parameters.
    pub params: Vec<MsgParam>,
}

/// All that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounts {
    by_use: Vec<u32>,
    promised: u32,
    sessions: usize,
    instances: usize,
    shm: usize,
    owners: usize,
    asid: Option<u16>,
    lent: usize,
    threads: usize,
    owner: OwnerId,
}

/// A value parameter.
#[must_use]
pub const fn value(kind: u64, a: u64, b: u64) -> MsgParam {
    MsgParam {
        attr: kind,
        a,
        b,
        c: 0,
    }
}

/// A memory parameter: address or offset, size, cookie.
#[must_use]
pub const fn memref(kind: u64, a: u64, size: u64, cookie: u64) -> MsgParam {
    MsgParam {
        attr: kind,
        a,
        b: size,
        c: cookie,
    }
}

impl World {
    /// A fresh one with these pseudo-TAs.
    ///
    /// # Panics
    /// If the host has no memory.
    #[must_use]
    pub fn new(ptas: &'static [&'static dyn PseudoTa]) -> Arc<Self> {
        Arc::new_cyclic(|world: &Weak<Self>| {
            let machine = TestMachine::new(SECURE_PAGES, NORMAL_PAGES);
            let mut pages = machine.page_allocator();
            let code = match pages.alloc(PageUse::LdelfImage, OwnerId::KERNEL) {
                Ok(page) => page,
                Err(err) => panic!("{err:?}"),
            };
            let (user, normal) = (world.clone(), world.clone());
            machine.set_models(
                Arc::new(move |_, context, root| match user.upgrade() {
                    Some(world) => world.run_user(context, root),
                    None => Trap::Fault { esr: 0 },
                }),
                Arc::new(move |_, out| match normal.upgrade() {
                    Some(world) => world.suspended(out),
                    None => [0; 8],
                }),
            );
            let parts = Parts {
                machine,
                pages,
                threads: THREADS,
                ldelf: LdelfImage {
                    code,
                    code_pages: 1,
                    data: b"initial data",
                    data_len: 100,
                    entry_offset: LDELF_ENTRY,
                },
                key: KEY,
                fault: None,
            };
            let kernel = match Kernel::new(parts, &NoHeap, ptas) {
                Ok(kernel) => kernel,
                Err(err) => panic!("{err:?}"),
            };
            Self {
                kernel,
                normal: Mutex::default(),
            }
        })
    }

    /// Gives the supplicant an image of `uuid` with these flags, `len` bytes of payload.
    pub fn install(&self, uuid: TeeUuid, flags: u32, len: usize) {
        let mut payload = vec![0x5a; len.max(4)];
        payload[..4].copy_from_slice(&flags.to_le_bytes());
        self.install_image(uuid, Vec::new());
        // Signed when it is asked for: that takes a while.
        self.normal.lock().unsigned.push((uuid, payload));
    }

    /// Gives the supplicant any octets as image of `uuid`.
    pub fn install_image(&self, uuid: TeeUuid, image: Vec<u8>) {
        let mut normal = self.normal.lock();
        normal.images.retain(|(other, _)| *other != uuid);
        normal.unsigned.retain(|(other, _)| *other != uuid);
        normal.images.push((uuid, image));
    }

    /// Appends a step of a TA.
    pub fn ta(&self, step: impl FnOnce(&mut Run<'_>) -> Trap + Send + 'static) {
        self.normal.lock().ta_steps.push_back(Box::new(step));
    }

    /// How many steps of TAs were not taken.
    #[must_use]
    pub fn ta_steps_left(&self) -> usize {
        self.normal.lock().ta_steps.len()
    }

    /// Forgets the steps of TAs that were not taken.
    pub fn clear_ta_steps(&self) {
        self.normal.lock().ta_steps.clear();
    }

    /// Has `hook` run the next time a thread is suspended for `event`, before it is answered.
    pub fn on(&self, event: Event, hook: impl FnOnce(&Self) + Send + 'static) {
        self.normal.lock().hooks.push_back((event, Box::new(hook)));
    }

    /// Has the `n`-th event from now on be refused, once.
    pub fn fail_event(&self, n: Option<usize>) {
        self.normal.lock().fail_event = n;
    }

    /// Overwrites the answer to the `n`-th event from now on with `octets`.
    pub fn garble_event(&self, n: usize, octets: Vec<u8>) {
        self.normal.lock().garble = Some((n, octets));
    }

    /// Has the normal world refuse everything after so many events.
    pub fn set_patience(&self, events: Option<usize>) {
        self.normal.lock().patience = events;
    }

    /// Everything that the normal world lent and may have lost track of, forgotten.
    pub fn forget_lent(&self) {
        let mut normal = self.normal.lock();
        normal.lent.clear();
        normal.garble = None;
        normal.hooks.clear();
    }

    /// Whether that is still to come.
    #[must_use]
    pub fn failure_pending(&self) -> bool {
        self.normal.lock().fail_event.is_some()
    }

    /// The events since the last call.
    #[must_use]
    pub fn take_events(&self) -> Vec<Event> {
        core::mem::take(&mut self.normal.lock().events)
    }

    /// The threads that were sent notifications since the last call.
    #[must_use]
    pub fn take_woken(&self) -> Vec<u64> {
        core::mem::take(&mut self.normal.lock().woken)
    }

    /// Everything that is taken; the page allocator's books are checked.
    ///
    /// # Panics
    /// If they do not add up.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        let mut state = self.kernel.state();
        assert_eq!(state.pages.check(), Ok(()));
        let asid = state.take_asid();
        if let Some(asid) = asid {
            state.give_asid(asid);
        }
        Accounts {
            by_use: PageUse::ALL
                .iter()
                .map(|usage| state.pages.used_for(*usage))
                .collect(),
            promised: state.pages.promised_pages(),
            sessions: state.guest.sessions.iter().count(),
            instances: state.guest.instances.iter().count(),
            shm: state.guest.shm.len(),
            owners: state.owners.iter().count(),
            asid,
            lent: self.normal.lock().lent.len(),
            threads: self.kernel.threads.in_use(),
            owner: self.kernel.machine.owner(),
        }
    }

    /// Writes to the normal world's memory.
    ///
    /// # Panics
    /// If there is none.
    pub fn write(&self, pa: PhysAddr, data: &[u8]) {
        assert!(
            self.kernel.machine.write_normal(pa, data),
            "no RAM at {pa:?}"
        );
    }

    /// Reads the normal world's memory.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn read(&self, pa: PhysAddr, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        assert!(
            self.kernel.machine.read_normal(pa, &mut data),
            "no RAM at {pa:?}"
        );
        data
    }

    /// One yielding call with these registers, on the next free thread.
    pub fn call(&self, x: &[u64; 8]) -> [u64; 4] {
        match self.kernel.yield_entry(x) {
            Entry::Reply(reply) => reply,
            Entry::Resume(thread) => panic!("thread {thread} was not suspended"),
            Entry::Start(thread) => self.run(thread, x),
        }
    }

    fn run(&self, thread: usize, x: &[u64; 8]) -> [u64; 4] {
        let machine = &self.kernel.machine;
        let before = machine.thread_id();
        machine.set_thread_id(thread);
        let owner = machine.set_owner(OwnerId::KERNEL);
        let out = self.kernel.yielding_call(x);
        assert_eq!(machine.owner(), OwnerId::KERNEL, "a call keeps its owner");
        assert!(self.kernel.try_state().is_some(), "a call keeps the lock");
        machine.set_owner(owner);
        machine.set_thread_id(before);
        self.kernel.threads.done(thread);
        out
    }

    /// Sends a message with room for an RPC argument behind it.
    pub fn send(&self, header: MsgHeader, params: &[MsgParam]) -> Reply {
        self.send_as(FunctionId::CALL_WITH_RPC_ARG, header, params)
    }

    /// Sends a message with `CALL_WITH_ARG` or `CALL_WITH_RPC_ARG`.
    pub fn send_as(&self, function: FunctionId, header: MsgHeader, params: &[MsgParam]) -> Reply {
        let x0 = u64::from(function.0);
        let thread = match self.kernel.yield_entry(&[x0, 0, 0, 0, 0, 0, 0, 0]) {
            Entry::Start(thread) => thread,
            Entry::Reply(reply) => {
                return Reply {
                    code: reply[0] as u32,
                    result: TeeResult::SUCCESS,
                    origin: 0,
                    session: 0,
                    params: Vec::new(),
                };
            }
            Entry::Resume(thread) => panic!("thread {thread} was not suspended"),
        };
        let pa = PhysAddr(NORMAL_BASE.0 + (thread * PAGE_SIZE) as u64);
        let header = MsgHeader {
            num_params: params.len() as u32,
            ..header
        };
        self.write(pa, header.as_bytes());
        let params_at = PhysAddr(pa.0 + size_of::<MsgHeader>() as u64);
        self.write(params_at, params.as_bytes());
        let behind = PhysAddr(pa.0 + arg_size(params.len()) as u64);
        let old = self.normal.lock().rpc_arg.insert(thread, behind);
        let out = self.run(thread, &[x0, pa.0 >> 32, pa.0 & 0xffff_ffff, 0, 0, 0, 0, 0]);
        if let Some(old) = old {
            self.normal.lock().rpc_arg.insert(thread, old);
        }
        let (mut back, mut back_params) = (MsgHeader::new_zeroed(), params.to_vec());
        let machine = &self.kernel.machine;
        assert!(machine.read_normal(pa, back.as_mut_bytes()));
        assert!(machine.read_normal(params_at, back_params.as_mut_bytes()));
        Reply {
            code: out[0] as u32,
            result: TeeResult(back.ret),
            origin: back.ret_origin,
            session: back.session,
            params: back_params,
        }
    }

    /// Opens a session.
    pub fn open(&self, uuid: TeeUuid, params: &[MsgParam]) -> Reply {
        let (a, b) = uuid.to_value_pair();
        let mut all = vec![
            value(attr::VALUE_INPUT | attr::META, a, b),
            value(attr::VALUE_INPUT | attr::META, 0, 0),
        ];
        all.extend_from_slice(params);
        let mut reply = self.send(header(cmd::OPEN_SESSION, 0, 0), &all);
        if reply.params.len() >= 2 {
            reply.params.drain(..2);
        }
        reply
    }

    /// Opens a session that must open; its id.
    ///
    /// # Panics
    /// If it does not.
    pub fn opened(&self, uuid: TeeUuid) -> u32 {
        let reply = self.open(uuid, &[]);
        assert_eq!((reply.code, reply.result), (ret::OK, TeeResult::SUCCESS));
        reply.session
    }

    /// Invokes a command.
    pub fn invoke(&self, session: u32, func: u32, params: &[MsgParam]) -> Reply {
        self.send(header(cmd::INVOKE_COMMAND, session, func), params)
    }

    /// Closes a session.
    pub fn close(&self, session: u32) -> TeeResult {
        let reply = self.send(header(cmd::CLOSE_SESSION, session, 0), &[]);
        assert_eq!(reply.code, ret::OK);
        reply.result
    }

    /// Answers what a thread is suspended for.
    fn suspended(&self, out: [u64; 4]) -> [u64; 8] {
        assert!(
            self.kernel.try_state().is_some(),
            "a lock is held across a suspend"
        );
        let thread = out[3] as usize;
        let cookie = (out[1] & 0xffff_ffff) << 32 | out[2] & 0xffff_ffff;
        let arg = if cookie == 0 {
            self.normal.lock().rpc_arg.get(&thread).copied()
        } else {
            Some(PhysAddr(cookie))
        }
        .filter(|arg| self.kernel.machine.is_normal(*arg, arg_size(4) as u64));
        let event = match out[0] as u32 {
            ret::RPC_FOREIGN_INTR => Event::Interrupt,
            ret::RPC_ALLOC => Event::Alloc,
            ret::RPC_FREE => Event::Free,
            ret::RPC_CMD => Event::Command(match arg {
                Some(arg) => u32::from_le_bytes(self.read(arg, 4).try_into().unwrap_or_default()),
                // A garbled cookie names nothing.
                None => return [0; 8],
            }),
            other => panic!("suspended for {other:#x}"),
        };
        let (hook, fails, garbage) = {
            let mut normal = self.normal.lock();
            normal.events.push(event);
            let garbage = match normal.garble.take() {
                Some((0, octets)) => {
                    normal.garbled = true;
                    Some(octets)
                }
                Some((n, octets)) => {
                    normal.garble = Some((n - 1, octets));
                    None
                }
                None => None,
            };
            let tired = normal.patience == Some(0);
            normal.patience = normal.patience.map(|left| left.saturating_sub(1));
            let fails = normal.fail_event == Some(0) || tired;
            normal.fail_event = match normal.fail_event {
                Some(0) | None => None,
                Some(n) => Some(n - 1),
            };
            let hook = match normal.hooks.front() {
                Some((wanted, _)) if *wanted == event => normal.hooks.pop_front(),
                _ => None,
            };
            (hook, fails, garbage)
        };
        if let Some((_, hook)) = hook {
            let machine = &self.kernel.machine;
            let owner = machine.set_owner(OwnerId::KERNEL);
            hook(self);
            machine.set_owner(owner);
            assert_eq!(machine.thread_id(), thread);
        }
        let mut back = [0; 8];
        match event {
            Event::Interrupt => {}
            Event::Alloc if fails => {}
            Event::Alloc => {
                let pa = self.lend(out[1]);
                back[1] = pa >> 32;
                back[2] = pa & 0xffff_ffff;
                back[4] = back[1];
                back[5] = back[2];
            }
            Event::Free => {
                let mut normal = self.normal.lock();
                let lent = normal.lent.remove(&cookie).is_some();
                assert!(lent || normal.garbled, "freed what was not lent");
            }
            Event::Command(command) => {
                let arg = arg.unwrap_or_default();
                let result = if fails {
                    // What is to be freed is freed even where the answer says otherwise.
                    if command == rpc::cmd::SHM_FREE {
                        self.answer(command, arg);
                    }
                    TeeResult::GENERIC
                } else {
                    self.answer(command, arg)
                };
                self.write(PhysAddr(arg.0 + 20), &result.0.to_le_bytes());
                if let Some(octets) = &garbage {
                    let len = octets.len().min(arg_size(4));
                    self.write(arg, &octets[..len]);
                }
            }
        }
        if let (Event::Alloc, Some(octets)) = (event, &garbage) {
            for (word, chunk) in back.iter_mut().zip(octets.chunks_exact(4)) {
                *word = chunk
                    .iter()
                    .fold(0, |sum, octet| sum << 8 | u64::from(*octet));
            }
        }
        back
    }

    /// Pages for so many bytes; their address is their cookie.
    fn lend(&self, bytes: u64) -> u64 {
        let mut normal = self.normal.lock();
        let mut at = SHM_BASE.0;
        for (cookie, len) in &normal.lent {
            if at + bytes <= *cookie {
                break;
            }
            at = cookie + len;
        }
        if at + bytes > NORMAL_BASE.0 + (NORMAL_PAGES * PAGE_SIZE) as u64 {
            at = SHM_BASE.0;
        }
        let len = bytes.next_multiple_of(PAGE_SIZE as u64);
        normal.lent.insert(at, len);
        at
    }

    fn answer(&self, command: u32, arg: PhysAddr) -> TeeResult {
        let at = PhysAddr(arg.0 + size_of::<MsgHeader>() as u64);
        let mut params = [MsgParam::default(); 2];
        assert!(self.kernel.machine.read_normal(at, params.as_mut_bytes()));
        let [first, second] = &mut params;
        let result = match command {
            rpc::cmd::LOAD_TA => self.load_ta(TeeUuid::from_value_pair(first.a, first.b), second),
            rpc::cmd::SHM_ALLOC => {
                let size = first.b;
                let pa = self.lend(size);
                *first = memref(attr::TMEM_OUTPUT, pa, size, pa);
                TeeResult::SUCCESS
            }
            rpc::cmd::SHM_FREE => {
                let mut normal = self.normal.lock();
                let lent = normal.lent.remove(&first.b).is_some();
                assert!(lent || normal.garbled, "freed what was not lent");
                TeeResult::SUCCESS
            }
            rpc::cmd::GET_TIME => {
                *first = value(attr::VALUE_OUTPUT, 1_700_000_000, 5_000_000);
                TeeResult::SUCCESS
            }
            rpc::cmd::SUSPEND => {
                self.kernel.machine.advance(first.a * 1000);
                TeeResult::SUCCESS
            }
            rpc::cmd::NOTIFICATION => {
                if first.a == rpc::notification::SEND {
                    self.normal.lock().woken.push(first.b);
                }
                TeeResult::SUCCESS
            }
            _ => TeeResult::NOT_SUPPORTED,
        };
        if command != rpc::cmd::NOTIFICATION {
            self.write(at, params[..1].as_bytes());
        }
        if command == rpc::cmd::LOAD_TA {
            self.write(at, params.as_bytes());
        }
        result
    }

    fn load_ta(&self, uuid: TeeUuid, out: &mut MsgParam) -> TeeResult {
        let mut normal = self.normal.lock();
        if let Some(at) = normal.unsigned.iter().position(|(other, _)| *other == uuid) {
            let (_, payload) = normal.unsigned.swap_remove(at);
            let image = signed_image(uuid, &payload);
            normal.images.retain(|(other, _)| *other != uuid);
            normal.images.push((uuid, image));
        }
        let Some((_, image)) = normal.images.iter().find(|(other, _)| *other == uuid) else {
            return TeeResult::ITEM_NOT_FOUND;
        };
        let room = out.b;
        out.b = image.len() as u64;
        if out.attr & attr::TYPE_MASK == attr::TMEM_OUTPUT {
            return TeeResult::SHORT_BUFFER;
        }
        if room < image.len() as u64 {
            return TeeResult::SHORT_BUFFER;
        }
        if self.kernel.machine.write_normal(PhysAddr(out.c), image) {
            TeeResult::SUCCESS
        } else {
            TeeResult::GENERIC
        }
    }

    /// Answers a page fault of a TA as the kernel does.
    fn touch(&self, root: UserRoot, abort: crate::machine::Abort) {
        assert!(abort.translation, "a TA may not touch {:#x}", abort.va);
        let mut state = self.kernel.state();
        let crate::kernel::State { pages, guest, .. } = &mut *state;
        for (_, found) in guest.instances.iter_mut() {
            if let Some(space) = found.space.as_mut()
                && space.root() == root
            {
                let mut mem = crate::kernel::mem(pages, &self.kernel.machine);
                let va = crate::addr::UserVa(abort.va);
                assert_eq!(space.fault(&mut mem, va, abort.access), Ok(()));
            }
        }
    }

    fn run_user(&self, context: &mut UserContext, root: UserRoot) -> Trap {
        assert!(
            self.kernel.try_state().is_some(),
            "a lock is held while a TA runs"
        );
        let offset = context.pc % PAGE_SIZE as u64;
        let mut run = Run {
            world: self,
            context,
            root,
        };
        if offset == LDELF_ENTRY {
            return ldelf(&mut run);
        }
        let step = self.normal.lock().ta_steps.pop_front();
        match step {
            Some(step) => step(&mut run),
            None => run.exit(TeeResult::SUCCESS),
        }
    }
}

/// The model of `ldelf`; x19 counts its steps.
fn ldelf(run: &mut Run<'_>) -> Trap {
    let step = run.context.x[19];
    run.context.x[19] += 1;
    if step == 0 {
        run.context.x[20] = run.context.x[0];
    } else if run.result() != TeeResult::SUCCESS {
        let result = run.context.x[0];
        return run.call(ldelf_svc::RETURN, &[result]);
    }
    let arg_va = run.context.x[20];
    let word = arg_va - 64;
    let page = PAGE_SIZE as u64;
    match step {
        0 => {
            run.store(word, &[0; 8]);
            run.call(ldelf_svc::MAP_ZI, &[word, page, 0, page, 0])
        }
        1 => {
            let code = run.load_u64(word);
            run.context.x[21] = code;
            // Read as parameters: one value out.
            run.store(code, &[2, 0, 0, 0]);
            run.call(
                ldelf_svc::SET_PROT,
                &[code, page, tally_abi::ldelf::prot::EXEC],
            )
        }
        2 => {
            run.store(word, &[0; 8]);
            run.call(
                ldelf_svc::MAP_ZI,
                &[word, TA_STACK, 0, 0, tally_abi::ldelf::map_flag::STACK],
            )
        }
        _ => {
            let stack = run.load_u64(word);
            let mut arg = LdelfArg::default();
            run.load(arg_va, arg.as_mut_bytes());
            let mut flags = [0; 4];
            run.load(arg.image_va, &mut flags);
            arg.flags = u32::from_le_bytes(flags);
            arg.load_base = run.context.x[21];
            arg.load_len = page;
            arg.entry = arg.load_base + TA_ENTRY;
            arg.stack_ptr = stack + TA_STACK;
            arg.stack_len = TA_STACK;
            run.store(arg_va, arg.as_bytes());
            run.call(ldelf_svc::RETURN, &[0])
        }
    }
}

/// The fixed part of a message.
#[must_use]
pub fn header(command: u32, session: u32, func: u32) -> MsgHeader {
    MsgHeader {
        cmd: command,
        func,
        session,
        ..MsgHeader::default()
    }
}

/// An image of `uuid` with this payload, signed with the test key.
#[must_use]
pub fn signed_image(uuid: TeeUuid, payload: &[u8]) -> Vec<u8> {
    let shdr = SignedHeader {
        magic: MAGIC,
        img_type: img_type::BOOTSTRAP_TA,
        img_size: payload.len() as u32,
        algo: algo::RSASSA_PKCS1_V1_5_SHA256,
        hash_size: 32,
        sig_size: MODULUS_LEN as u16,
    };
    let bootstrap = BootstrapHeader {
        uuid: uuid.to_octets(),
        ta_version: 1,
    };
    let digest = Sha256::new()
        .chain_update(shdr.as_bytes())
        .chain_update(bootstrap.as_bytes())
        .chain_update(payload)
        .finalize();
    let mut image = shdr.as_bytes().to_vec();
    image.extend_from_slice(&digest);
    image.extend_from_slice(&sign(&digest));
    image.extend_from_slice(bootstrap.as_bytes());
    image.extend_from_slice(payload);
    image
}

/// RSASSA-PKCS1-v1_5 with the test key.
fn sign(digest: &[u8]) -> Vec<u8> {
    let info = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
        0x05, 0x00, 0x04, 0x20,
    ];
    let mut encoded = vec![0xff; MODULUS_LEN - info.len() - digest.len()];
    encoded[..2].copy_from_slice(&[0, 1]);
    if let Some(last) = encoded.last_mut() {
        *last = 0;
    }
    encoded.extend_from_slice(&info);
    encoded.extend_from_slice(digest);
    let Some(odd) = Odd::new(MODULUS).into_option() else {
        panic!("an even modulus");
    };
    let params = FixedMontyParams::new_vartime(odd);
    let power = FixedMontyForm::new(&U2048::from_be_slice(&encoded), &params).pow(&EXPONENT);
    let octets = power.retrieve().to_be_bytes();
    let octets: &[u8] = octets.as_ref();
    octets.to_vec()
}
