//! A whole kernel on the model of the machine, with a normal world that answers its calls and
//! TAs that tests script.
//!
//! **Invariant:** whatever a test does, [`World::accounts`] says what is taken; equal accounts
//! before and after mean that nothing was left behind.
//!
//! `ldelf` is modelled too: it maps a page of code and a stack for every image and returns the
//! flags that the image's payload begins with. TAs run the steps of [`World::ta`], in the order in
//! which they run at all, and return success when there is none.

mod files;
mod supplicant;

pub use super::signing::{
    HARDWARE_KEY, KEY, KeyPair, MODULUS, MODULUS_LEN, OTHER_KEY, TEST_KEY, sign_encoded,
    signed_image,
};
use super::ta::ldelf;
pub use super::ta::{
    FAULTY_LIBRARY, LIBRARY, LINKED, ODD_LAYOUT, ODD_LAYOUTS, PANICS_LDELF, Run, SYMBOLS,
};
use crate::call::entry::Entry;
use crate::guest_id::GuestId;
use crate::kernel::{Kernel, KernelHeap, LdelfImage, Parts};
use crate::observer::Observer;
use crate::pta::PseudoTa;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;
use spin::Mutex;
use tally_abi::msg::{MsgHeader, MsgParam, arg_size, attr, cmd};
use tally_abi::smc::{FunctionId, ret};
use tally_abi::{TeeResult, TeeUuid, rpc};
use tally_mem::addr::{PAGE_SIZE, PhysAddr};
use tally_mem::machine::{NormalMemory, ThreadControl, Trap, UserContext, UserRoot};
use tally_mem::owner::OwnerId;
use tally_mem::pages::PageUse;
use tally_mem::testing::{NORMAL_BASE, TestMachine};
use zerocopy::{FromZeros, IntoBytes};

/// Where `ldelf` begins in its code; tells its runs from a TA's.
const LDELF_ENTRY: u64 = 0x40;
/// Which build of it.
const LDELF_ID: u64 = 0x1de1;
/// Where a TA begins in its code.
pub(super) const TA_ENTRY: u64 = 0x100;
/// Bytes of a TA's stack.
pub const TA_STACK: u64 = 2 * PAGE_SIZE as u64;
/// First of the normal world's pages that tests may use, [`CLIENT_PAGES`] of them.
pub const CLIENT: PhysAddr = PhysAddr(NORMAL_BASE.0 + 0x1_0000);
/// How many.
pub const CLIENT_PAGES: usize = 64;
/// Threads of the kernel.
pub const THREADS: usize = 16;
const SHM_BASE: PhysAddr = PhysAddr(CLIENT.0 + (CLIENT_PAGES * PAGE_SIZE) as u64);
/// Pages of the normal world, those of its own messages and shared memory included.
pub const NORMAL_PAGES: usize = 16 + CLIENT_PAGES + 160;
const SECURE_PAGES: usize = 160;

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
pub type TaStep<O> = Box<dyn FnOnce(&mut Run<'_, O>) -> Trap + Send>;
/// What happens beside, while the normal world has the CPU.
pub type Hook<O> = Box<dyn FnOnce(&World<O>) + Send>;

/// What the normal world has.
struct Normal<O: Observer> {
    images: Vec<(TeeUuid, Vec<u8>)>,
    /// Payloads of images that were not asked for yet.
    unsigned: Vec<(TeeUuid, Vec<u8>)>,
    /// Physical address of each thread's RPC argument.
    rpc_arg: BTreeMap<usize, PhysAddr>,
    /// Pages lent by SHM_ALLOC and RPC_ALLOC, by cookie.
    lent: BTreeMap<u64, u64>,
    events: Vec<Event>,
    hooks: VecDeque<(Event, Hook<O>)>,
    /// What happens beside when interrupts come through for the n-th time from now on.
    interrupt: Option<(usize, Hook<O>)>,
    ta_steps: VecDeque<TaStep<O>>,
    fail_event: Option<usize>,
    /// Bytes that the answer to this event from now on is overwritten with.
    garble: Option<(usize, Vec<u8>)>,
    /// Answers were garbled: what is freed need not have been lent.
    garbled: bool,
    /// Events that are answered; all after them are refused.
    patience: Option<usize>,
    /// Most bytes that SHM_ALLOC lends at a time.
    shm_limit: Option<u64>,
    woken: Vec<u64>,
    /// Files of trusted storage.
    files: files::Files,
    /// What is answered to what is refused.
    refusal: TeeResult,
}

impl<O: Observer> Default for Normal<O> {
    fn default() -> Self {
        Self {
            images: Vec::new(),
            unsigned: Vec::new(),
            rpc_arg: BTreeMap::new(),
            lent: BTreeMap::new(),
            events: Vec::new(),
            hooks: VecDeque::new(),
            interrupt: None,
            ta_steps: VecDeque::new(),
            fail_event: None,
            garble: None,
            garbled: false,
            patience: None,
            shm_limit: None,
            woken: Vec::new(),
            files: files::Files::default(),
            refusal: TeeResult::GENERIC,
        }
    }
}

/// A kernel and what is around it.
pub struct World<O: Observer = ()> {
    /// The kernel.
    pub kernel: Kernel<TestMachine, O>,
    normal: Mutex<Normal<O>>,
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
    open_files: usize,
    open_objects: usize,
    storage_users: u32,
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
    /// A fresh one with these pseudo-TAs, whose account nobody keeps.
    ///
    /// # Panics
    /// If the host has no memory.
    #[must_use]
    pub fn new(ptas: &'static [PseudoTa<()>]) -> Arc<Self> {
        Self::observed(ptas, (), &NoHeap)
    }
}

/// The kernel heap of a model that counts nothing: the host's allocator serves it.
struct NoHeap;

impl KernelHeap for NoHeap {
    fn account(&self, _: OwnerId) -> (u32, u32) {
        (0, 0)
    }
}

impl<O: Observer> World<O> {
    /// A fresh one with these pseudo-TAs, whose account an observer keeps.
    ///
    /// # Panics
    /// If the host has no memory.
    #[must_use]
    pub fn observed(
        ptas: &'static [PseudoTa<O>],
        shared: O::Shared,
        heap: &'static dyn KernelHeap,
    ) -> Arc<Self> {
        Arc::new_cyclic(|world: &Weak<Self>| {
            let machine = TestMachine::new(SECURE_PAGES, NORMAL_PAGES);
            let mut pages = machine.page_allocator();
            let code = match pages.alloc(PageUse::LdelfImage, OwnerId::KERNEL) {
                Ok(page) => page,
                Err(err) => panic!("{err:?}"),
            };
            let (user, normal, beside) = (world.clone(), world.clone(), world.clone());
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
            machine.set_interrupt_model(Arc::new(move || {
                if let Some(world) = beside.upgrade() {
                    world.interrupted();
                }
            }));
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
                    id: LDELF_ID,
                },
                keys: &[KEY],
                hardware_key: HARDWARE_KEY,
                fault: None,
                shared,
            };
            let kernel = Kernel::new(parts, heap, ptas);
            if let Err(err) = kernel.begin_guest(GuestId::FIRST) {
                panic!("{err:?}");
            }
            Self {
                kernel,
                normal: Mutex::new(Normal::default()),
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

    /// Gives the supplicant any bytes as image of `uuid`.
    pub fn install_image(&self, uuid: TeeUuid, image: Vec<u8>) {
        let mut normal = self.normal.lock();
        normal.images.retain(|(other, _)| *other != uuid);
        normal.unsigned.retain(|(other, _)| *other != uuid);
        normal.images.push((uuid, image));
    }

    /// Appends a step of a TA.
    pub fn ta(&self, step: impl FnOnce(&mut Run<'_, O>) -> Trap + Send + 'static) {
        self.normal.lock().ta_steps.push_back(Box::new(step));
    }

    /// Forgets the `n`-th step of TAs that was not taken.
    pub fn drop_ta_step(&self, n: usize) {
        self.normal.lock().ta_steps.remove(n);
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

    /// Has `hook` run when interrupts come through for the `n`-th time from now on, 0 being the next.
    pub fn at_interrupt(&self, n: usize, hook: impl FnOnce(&Self) + Send + 'static) {
        self.normal.lock().interrupt = Some((n, Box::new(hook)));
    }

    /// Whether that is still to come; it is forgotten then.
    pub fn forget_interrupt(&self) -> bool {
        self.normal.lock().interrupt.take().is_some()
    }

    fn interrupted(&self) {
        let due = self.normal.lock().interrupt.take();
        match due {
            Some((0, hook)) => self.beside(hook),
            Some((n, hook)) => self.normal.lock().interrupt = Some((n - 1, hook)),
            None => {}
        }
    }

    /// Runs what other threads do meanwhile.
    fn beside(&self, hook: Hook<O>) {
        let machine = &self.kernel.machine;
        let thread = machine.thread_id();
        let owner = machine.set_owner(OwnerId::KERNEL);
        hook(self);
        machine.set_owner(owner);
        assert_eq!(machine.thread_id(), thread);
    }

    /// Has the `n`-th event from now on be refused, once.
    pub fn fail_event(&self, n: Option<usize>) {
        self.normal.lock().fail_event = n;
    }

    /// Overwrites the answer to the `n`-th event from now on with `bytes`.
    pub fn garble_event(&self, n: usize, bytes: Vec<u8>) {
        self.normal.lock().garble = Some((n, bytes));
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
        let (lent, open_files) = {
            let normal = self.normal.lock();
            (normal.lent.len(), normal.files.open())
        };
        Accounts {
            by_use: PageUse::ALL
                .iter()
                .map(|usage| state.pages.used_for(*usage))
                .collect(),
            promised: state.pages.promised_pages(),
            sessions: state.guest(GuestId::FIRST).sessions.iter().count(),
            instances: state.guest(GuestId::FIRST).instances.iter().count(),
            shm: state.guest(GuestId::FIRST).shm.len(),
            owners: self.kernel.owners().iter().count(),
            asid,
            lent,
            open_files,
            open_objects: state.guest(GuestId::FIRST).storage.objects.iter().count(),
            storage_users: state.guest(GuestId::FIRST).storage.users,
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
        self.kernel.thread_done(thread);
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
                Some((0, bytes)) => {
                    normal.garbled = true;
                    Some(bytes)
                }
                Some((n, bytes)) => {
                    normal.garble = Some((n - 1, bytes));
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
            self.beside(hook);
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
                    if command == rpc::cmd::SHM_FREE || self.closes_file(command, arg) {
                        self.answer(command, arg);
                    }
                    self.normal.lock().refusal
                } else {
                    self.answer(command, arg)
                };
                self.write(PhysAddr(arg.0 + 20), &result.0.to_le_bytes());
                if let Some(bytes) = &garbage {
                    let len = bytes.len().min(arg_size(4));
                    self.write(arg, &bytes[..len]);
                }
            }
        }
        if let (Event::Alloc, Some(bytes)) = (event, &garbage) {
            for (word, chunk) in back.iter_mut().zip(bytes.chunks_exact(4)) {
                *word = chunk
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            }
        }
        back
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

    /// Answers a page fault of a TA as the kernel does.
    pub(super) fn touch(&self, root: UserRoot, abort: tally_mem::machine::Abort) {
        assert!(abort.translation, "a TA may not touch {:#x}", abort.va);
        let mut state = self.kernel.state();
        let (pages, guest) = state.split(GuestId::FIRST);
        for (_, found) in guest.instances.iter_mut() {
            if let Some(space) = found.space.as_mut()
                && space.root() == root
            {
                let mut mem = tally_mem::mem::Mem::new(pages, &self.kernel.machine);
                let va = tally_mem::addr::UserVa(abort.va);
                assert_eq!(space.fault(&mut mem, va, abort.access), Ok(()));
            }
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
