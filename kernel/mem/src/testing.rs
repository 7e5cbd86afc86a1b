//! A model of the machine for host tests: memory of both worlds, a TLB that keeps a log, scripted
//! TAs and a scripted normal world.
//!
//! **Invariant:** no lock is held while a script runs, so that scripts may use the machine; what
//! real hardware would refuse or get wrong (secure memory touched out of range, a translation
//! used after its tables changed without a flush) is an error here.
//!
//! A test makes a [`TestMachine`], scripts what TAs ([`TestMachine::on_user`]) and the normal
//! world ([`TestMachine::on_suspend`]) will do, runs kernel code on it and looks at the outcome.

use crate::addr::{PAGE_SHIFT, PAGE_SIZE, PhysAddr, PhysPage};
use crate::machine::{
    Abort, Access, Clock, Here, KernelMap, KernelMapping, KernelRoots, NormalMemory, STACK_PAGES,
    SecureMemory, TableMemory, ThreadControl, ThreadStacks, Tlb, Trap, UserContext, UserCpu,
    UserRoot, Vectors,
};
use crate::owner::OwnerId;
use crate::pages::{PageAllocator, PageRecord};
use crate::space::Target;
use crate::table::{Leaf, bits};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use spin::Mutex;
use tally_records::prot;

/// Start of the model's secure RAM.
pub const SECURE_BASE: PhysAddr = PhysAddr(0x1010_0000);
/// Start of the model's normal-world RAM.
pub const NORMAL_BASE: PhysAddr = PhysAddr(0x8000_0000);
/// What secure pages are filled with before they are used, so that nobody counts on zeros.
pub const DIRT: u8 = 0xd1;

/// What a TA does in one run: it works on its registers and on memory, and traps.
pub type UserStep = Box<dyn FnOnce(&TestMachine, &mut UserContext, UserRoot) -> Trap + Send>;
/// What the normal world does while a thread is suspended: it gets x0..x3 and answers x0..x7.
pub type SuspendStep = Box<dyn FnOnce(&TestMachine, [u64; 4]) -> [u64; 8] + Send>;

/// What TAs do when no step is scripted.
pub type UserModel = Arc<dyn Fn(&TestMachine, &mut UserContext, UserRoot) -> Trap + Send + Sync>;
/// What the normal world does when no step is scripted.
pub type SuspendModel = Arc<dyn Fn(&TestMachine, [u64; 4]) -> [u64; 8] + Send + Sync>;
/// What happens when interrupts come through.
pub type InterruptModel = Arc<dyn Fn() + Send + Sync>;
/// Looks on, or changes things, after a read of normal-world memory: address and length.
pub type ReadHook = Arc<dyn Fn(&TestMachine, PhysAddr, usize) + Send + Sync>;

/// Whom blocks of the host's heap are charged to that are allocated now, on whatever machine: 0 is the model
/// itself and the kernel's own. For an allocator that counts them.
pub static BLOCK_OWNER: AtomicU16 = AtomicU16::new(0);

/// Runs `work` of the model, whose blocks are nobody's.
fn outside<R>(work: impl FnOnce() -> R) -> R {
    let owner = BLOCK_OWNER.swap(0, Ordering::Relaxed);
    let result = work();
    BLOCK_OWNER.store(owner, Ordering::Relaxed);
    result
}

/// One invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Of a page of an address space.
    Page(u16, u64),
    /// Of an address space.
    Asid(u16),
}

/// Bytes that are left of the model's stack unless a test says otherwise.
const STACK_BYTES: usize = crate::machine::STACK_PAGES * PAGE_SIZE;

/// The model.
pub struct TestMachine {
    secure: Mutex<Vec<u8>>,
    normal: Mutex<Vec<u8>>,
    flushes: Mutex<Vec<Flush>>,
    /// Descriptors used since they were last flushed, by address space and page.
    tlb: Mutex<BTreeMap<(u16, u64), Leaf>>,
    synced: Mutex<Vec<PhysPage>>,
    user_steps: Mutex<VecDeque<UserStep>>,
    suspend_steps: Mutex<VecDeque<SuspendStep>>,
    user_model: Mutex<Option<UserModel>>,
    suspend_model: Mutex<Option<SuspendModel>>,
    read_hook: Mutex<Option<ReadHook>>,
    interrupt_model: Mutex<Option<InterruptModel>>,
    suspensions: Mutex<Vec<[u64; 4]>>,
    ticks: AtomicU64,
    random: AtomicU64,
    owner: AtomicU16,
    thread: AtomicUsize,
    interruptible: AtomicUsize,
    interrupted_others: AtomicUsize,
    /// Where the registers are kept that are lent, or 0.
    lent_vectors: AtomicUsize,
    has_vectors: AtomicBool,
    resident_threads: AtomicUsize,
    stack_left: AtomicUsize,
    /// Stacks that are lent, by thread.
    stacks: Mutex<BTreeMap<usize, [PhysPage; STACK_PAGES]>>,
}

impl fmt::Debug for TestMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestMachine")
            .field("user_steps", &self.user_steps.lock().len())
            .field("suspend_steps", &self.suspend_steps.lock().len())
            .finish_non_exhaustive()
    }
}

impl TestMachine {
    /// Has so many bytes be left of the running stack; `None`: all of it.
    pub fn set_stack_left(&self, bytes: Option<usize>) {
        let bytes = bytes.unwrap_or(STACK_BYTES);
        self.stack_left.store(bytes, Ordering::Relaxed);
    }

    /// A machine with so many pages of secure and of normal-world RAM.
    #[must_use]
    pub fn new(secure_pages: usize, normal_pages: usize) -> Self {
        Self {
            secure: Mutex::new(vec![DIRT; secure_pages * PAGE_SIZE]),
            normal: Mutex::new(vec![0; normal_pages * PAGE_SIZE]),
            flushes: Mutex::default(),
            tlb: Mutex::default(),
            synced: Mutex::default(),
            user_steps: Mutex::default(),
            suspend_steps: Mutex::default(),
            user_model: Mutex::default(),
            suspend_model: Mutex::default(),
            read_hook: Mutex::default(),
            suspensions: Mutex::default(),
            ticks: AtomicU64::new(0),
            random: AtomicU64::new(0x9e37_79b9_7f4a_7c15),
            owner: AtomicU16::new(0),
            thread: AtomicUsize::new(0),
            interrupt_model: Mutex::new(None),
            interruptible: AtomicUsize::new(0),
            interrupted_others: AtomicUsize::new(0),
            lent_vectors: AtomicUsize::new(0),
            has_vectors: AtomicBool::new(true),
            resident_threads: AtomicUsize::new(usize::MAX),
            stack_left: AtomicUsize::new(STACK_BYTES),
            stacks: Mutex::default(),
        }
    }

    /// From now on only threads below `count` have a stack of their own.
    pub fn set_resident_threads(&self, count: usize) {
        self.resident_threads.store(count, Ordering::Relaxed);
    }

    /// Whether these bytes lie in secure memory.
    pub fn secure_holds(&self, bytes: &[u8]) -> bool {
        let secure = self.secure.lock();
        secure.windows(bytes.len()).any(|piece| piece == bytes)
    }

    /// A page allocator over all of its secure RAM.
    #[must_use]
    pub fn page_allocator(&self) -> PageAllocator {
        let count = self.secure.lock().len() / PAGE_SIZE;
        PageAllocator::new(PhysPage::containing(SECURE_BASE), test_records(count))
    }

    /// Appends what a TA does the next time it runs.
    pub fn on_user(
        &self,
        step: impl FnOnce(&Self, &mut UserContext, UserRoot) -> Trap + Send + 'static,
    ) {
        self.user_steps.lock().push_back(Box::new(step));
    }

    /// Appends what the normal world does the next time a thread is suspended.
    pub fn on_suspend(&self, step: impl FnOnce(&Self, [u64; 4]) -> [u64; 8] + Send + 'static) {
        self.suspend_steps.lock().push_back(Box::new(step));
    }

    /// Sets what TAs and the normal world do when no step is scripted.
    pub fn set_models(&self, user: UserModel, suspend: SuspendModel) {
        *self.user_model.lock() = Some(user);
        *self.suspend_model.lock() = Some(suspend);
    }

    /// Sets what happens each time that interrupts come through.
    pub fn set_interrupt_model(&self, model: InterruptModel) {
        *self.interrupt_model.lock() = Some(model);
    }

    /// Sets what happens right after each read of normal-world memory.
    pub fn set_read_hook(&self, hook: Option<ReadHook>) {
        *self.read_hook.lock() = hook;
    }

    /// How many scripted steps of TAs and of the normal world were not taken yet.
    #[must_use]
    pub fn steps_left(&self) -> (usize, usize) {
        (
            self.user_steps.lock().len(),
            self.suspend_steps.lock().len(),
        )
    }

    /// The x0..x3 of all suspensions so far.
    #[must_use]
    pub fn suspensions(&self) -> Vec<[u64; 4]> {
        self.suspensions.lock().clone()
    }

    /// The invalidations since the last call.
    pub fn take_flushes(&self) -> Vec<Flush> {
        core::mem::take(&mut *self.flushes.lock())
    }

    /// The pages synchronised for instruction fetch since the last call.
    pub fn take_synced(&self) -> Vec<PhysPage> {
        core::mem::take(&mut *self.synced.lock())
    }

    /// Lets time pass. The model's counter has a million ticks a second.
    pub fn advance(&self, ticks: u64) {
        self.ticks.fetch_add(ticks, Ordering::Relaxed);
    }

    /// Sets the number of the current thread.
    pub fn set_thread_id(&self, thread: usize) {
        self.thread.store(thread, Ordering::Relaxed);
    }

    /// How often [`ThreadControl::interruptible`] was called.
    #[must_use]
    pub fn interruptible_calls(&self) -> usize {
        self.interruptible.load(Ordering::Relaxed)
    }

    /// Whether a TA's floating-point registers are in the CPU.
    #[must_use]
    pub fn vectors_are_lent(&self) -> bool {
        self.lent_vectors.load(Ordering::Relaxed) != 0
    }

    /// Has TAs have floating-point registers or none.
    pub fn set_has_vectors(&self, has: bool) {
        self.has_vectors.store(has, Ordering::Relaxed);
    }

    /// How often [`UserCpu::interrupt_others`] was called.
    #[must_use]
    pub fn interrupted_others(&self) -> usize {
        self.interrupted_others.load(Ordering::Relaxed)
    }

    /// The current owner of heap blocks.
    #[must_use]
    pub fn owner(&self) -> OwnerId {
        OwnerId(self.owner.load(Ordering::Relaxed))
    }

    /// Translates as the hardware does at EL0, and remembers it as a TLB does.
    ///
    /// # Errors
    /// The abort that the TA would take.
    pub fn user_translate(&self, root: UserRoot, va: u64, access: Access) -> Result<Target, Abort> {
        let abort = |translation| Abort {
            va,
            esr: 0,
            access,
            translation,
        };
        let page = va >> PAGE_SHIFT;
        let walked = self.walk(root.table, va);
        let mut tlb = self.tlb.lock();
        if let Some(cached) = tlb.get(&(root.asid, page)) {
            assert_eq!(
                Some(*cached),
                walked,
                "a translation of {va:#x} that was not flushed"
            );
        }
        let leaf = walked.ok_or(abort(true))?;
        outside(|| tlb.insert((root.asid, page), leaf));
        drop(tlb);

        let must = bits::TABLE_OR_PAGE | bits::ACCESSED | bits::NOT_GLOBAL;
        assert_eq!(leaf.0 & must, must, "a malformed descriptor {:#x}", leaf.0);
        assert!(
            leaf.0 & bits::PRIVILEGED_EXECUTE_NEVER != 0,
            "the kernel could execute it"
        );
        let writable = leaf.0 & bits::READ_ONLY == 0;
        let executable = leaf.0 & bits::USER_EXECUTE_NEVER == 0;
        assert!(!(writable && executable), "a page writable and executable");
        let allowed = match access {
            Access::Read => true,
            Access::Write => writable,
            Access::Execute => executable,
        };
        if leaf.0 & bits::USER == 0 || !allowed {
            return Err(abort(false));
        }
        let pa = PhysAddr(leaf.frame().addr().0 + va % PAGE_SIZE as u64);
        Ok(if leaf.is_normal_world() {
            Target::Normal(pa)
        } else {
            Target::Secure(pa)
        })
    }

    /// The last-level descriptor of an address.
    fn walk(&self, root: PhysPage, va: u64) -> Option<Leaf> {
        if va >> 39 != 0 {
            return None;
        }
        let mut table = root;
        for level in [2, 1, 0] {
            let index = (va >> (PAGE_SHIFT + 9 * level)) as usize & 511;
            let entry = Leaf(self.read_entry(table, index));
            if !entry.is_valid() {
                return None;
            }
            assert!(
                entry.0 & bits::TABLE_OR_PAGE != 0,
                "a block in a TA's tables"
            );
            if level == 0 {
                return Some(entry);
            }
            table = entry.frame();
        }
        None
    }

    /// A TA's load of bytes. What lies before the abort has been copied.
    ///
    /// # Errors
    /// The abort that the TA would take.
    pub fn user_load(&self, root: UserRoot, va: u64, buf: &mut [u8]) -> Result<(), Abort> {
        for (va, byte) in (va..).zip(buf) {
            let byte = core::slice::from_mut(byte);
            match self.user_translate(root, va, Access::Read)? {
                Target::Secure(pa) => self.read_secure(pa, byte),
                Target::Normal(pa) => {
                    assert!(self.read_normal(pa, byte), "no normal-world RAM at {pa:?}");
                }
            }
        }
        Ok(())
    }

    /// A TA's store of bytes. What lies before the abort has been stored.
    ///
    /// # Errors
    /// The abort that the TA would take.
    pub fn user_store(&self, root: UserRoot, va: u64, data: &[u8]) -> Result<(), Abort> {
        for (va, byte) in (va..).zip(data) {
            let byte = core::slice::from_ref(byte);
            match self.user_translate(root, va, Access::Write)? {
                Target::Secure(pa) => self.write_secure(pa, byte),
                Target::Normal(pa) => {
                    assert!(self.write_normal(pa, byte), "no normal-world RAM at {pa:?}");
                }
            }
        }
        Ok(())
    }
}

/// Offset of a range in a RAM that starts at `base`, if the RAM has all of it.
fn offset_in(ram: &[u8], base: PhysAddr, pa: PhysAddr, len: u64) -> Option<usize> {
    let offset = pa.0.checked_sub(base.0)?;
    let all = ram.len() as u64;
    // Nothing, too, lies in it only before its end.
    (offset < all && offset.checked_add(len)? <= all).then_some(offset as usize)
}

fn secure_offset(ram: &[u8], pa: PhysAddr, len: usize) -> usize {
    match offset_in(ram, SECURE_BASE, pa, len as u64) {
        Some(offset) => offset,
        None => panic!("not secure RAM: {len} bytes at {pa:?}"),
    }
}

impl TableMemory for TestMachine {
    fn read_entry(&self, table: PhysPage, index: usize) -> u64 {
        assert!(index < 512, "entry {index} of a table");
        let mut bytes = [0; 8];
        self.read_secure(PhysAddr(table.addr().0 + index as u64 * 8), &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn write_entry(&self, table: PhysPage, index: usize, value: u64) {
        assert!(index < 512, "entry {index} of a table");
        self.write_secure(
            PhysAddr(table.addr().0 + index as u64 * 8),
            &value.to_le_bytes(),
        );
    }
}

impl SecureMemory for TestMachine {
    fn read_secure(&self, pa: PhysAddr, buf: &mut [u8]) {
        let ram = self.secure.lock();
        let offset = secure_offset(&ram, pa, buf.len());
        buf.copy_from_slice(&ram[offset..offset + buf.len()]);
    }

    fn write_secure(&self, pa: PhysAddr, data: &[u8]) {
        let mut ram = self.secure.lock();
        let offset = secure_offset(&ram, pa, data.len());
        ram[offset..offset + data.len()].copy_from_slice(data);
    }

    fn zero_page(&self, page: PhysPage) {
        self.write_secure(page.addr(), &[0; PAGE_SIZE]);
    }

    fn with_page<R>(&self, page: PhysPage, read: impl FnOnce(&[u8; PAGE_SIZE]) -> R) -> R {
        let mut copy = Box::new([0; PAGE_SIZE]);
        self.read_secure(page.addr(), &mut copy[..]);
        read(&copy)
    }

    fn sync_code(&self, page: PhysPage) {
        outside(|| self.synced.lock().push(page));
    }
}

impl NormalMemory for TestMachine {
    fn is_normal(&self, pa: PhysAddr, len: u64) -> bool {
        offset_in(&self.normal.lock(), NORMAL_BASE, pa, len).is_some()
    }

    fn read_normal(&self, pa: PhysAddr, buf: &mut [u8]) -> bool {
        let ram = self.normal.lock();
        let Some(offset) = offset_in(&ram, NORMAL_BASE, pa, buf.len() as u64) else {
            return false;
        };
        buf.copy_from_slice(&ram[offset..offset + buf.len()]);
        drop(ram);
        let hook = self.read_hook.lock().clone();
        if let Some(hook) = hook {
            hook(self, pa, buf.len());
        }
        true
    }

    fn write_normal(&self, pa: PhysAddr, data: &[u8]) -> bool {
        let mut ram = self.normal.lock();
        let Some(offset) = offset_in(&ram, NORMAL_BASE, pa, data.len() as u64) else {
            return false;
        };
        ram[offset..offset + data.len()].copy_from_slice(data);
        true
    }
}

impl Tlb for TestMachine {
    fn flush_page(&self, asid: u16, va: u64) {
        self.tlb.lock().remove(&(asid, va >> PAGE_SHIFT));
        outside(|| self.flushes.lock().push(Flush::Page(asid, va)));
    }

    fn flush_asid(&self, asid: u16) {
        self.tlb.lock().retain(|(cached, _), _| *cached != asid);
        outside(|| self.flushes.lock().push(Flush::Asid(asid)));
    }
}

impl UserCpu for TestMachine {
    fn run_user(&self, context: &mut UserContext, root: UserRoot) -> Trap {
        outside(|| self.user(context, root))
    }

    fn interrupt_others(&self) {
        self.interrupted_others.fetch_add(1, Ordering::Relaxed);
    }

    fn lend_vectors(&self, vectors: &Vectors) -> bool {
        let has = self.has_vectors.load(Ordering::Relaxed);
        if has {
            let at = core::ptr::from_ref(vectors).addr();
            let before = self.lent_vectors.swap(at, Ordering::Relaxed);
            assert_eq!(before, 0, "registers are lent twice");
        }
        has
    }

    fn take_vectors(&self) {
        self.lent_vectors.store(0, Ordering::Relaxed);
    }
}

impl TestMachine {
    fn user(&self, context: &mut UserContext, root: UserRoot) -> Trap {
        let step = self.user_steps.lock().pop_front();
        let model = self.user_model.lock().clone();
        match (step, model) {
            (Some(step), _) => step(self, context, root),
            (None, Some(model)) => model(self, context, root),
            (None, None) => panic!(
                "a TA runs (pc {:#x}) that no step was scripted for",
                context.pc
            ),
        }
    }

    fn normal(&self, out: [u64; 4]) -> [u64; 8] {
        self.suspensions.lock().push(out);
        let step = self.suspend_steps.lock().pop_front();
        let model = self.suspend_model.lock().clone();
        match (step, model) {
            (Some(step), _) => step(self, out),
            (None, Some(model)) => model(self, out),
            (None, None) => {
                panic!("a thread suspends with {out:x?}, which no step was scripted for")
            }
        }
    }
}

impl ThreadControl for TestMachine {
    fn suspend(&self, out: [u64; 4]) -> [u64; 8] {
        self.take_vectors();
        outside(|| self.normal(out))
    }

    fn interruptible<R>(&self, work: impl FnOnce() -> R) -> R {
        self.interruptible.fetch_add(1, Ordering::Relaxed);
        let model = self.interrupt_model.lock().clone();
        if let Some(model) = model {
            model();
        }
        work()
    }

    fn thread_id(&self) -> usize {
        self.thread.load(Ordering::Relaxed)
    }

    fn set_owner(&self, owner: OwnerId) -> OwnerId {
        BLOCK_OWNER.store(owner.0, Ordering::Relaxed);
        OwnerId(self.owner.swap(owner.0, Ordering::Relaxed))
    }

    fn stack_left(&self) -> usize {
        self.stack_left.load(Ordering::Relaxed)
    }
}

/// The model's kernel has no memory of its own: what it keeps, the host has.
impl KernelRoots for TestMachine {
    fn variables(&self, _: usize) -> Option<Range<u64>> {
        None
    }

    fn stack_of(&self, _: usize, _: bool) -> Range<u64> {
        0..0
    }

    fn here(&self) -> Here {
        Here::default()
    }

    fn read_words(&self, _: u64, _: &mut [u64]) -> usize {
        0
    }
}

impl ThreadStacks for TestMachine {
    fn resident_threads(&self) -> usize {
        self.resident_threads.load(Ordering::Relaxed)
    }

    fn lend_stack(&self, thread: usize, pages: &[PhysPage; STACK_PAGES]) {
        for page in pages {
            self.with_page(*page, |bytes| assert!(bytes.iter().all(|&b| b == 0)));
        }
        let before = self.stacks.lock().insert(thread, *pages);
        assert!(before.is_none(), "thread {thread} has a stack already");
    }

    fn return_stack(&self, thread: usize) -> [PhysPage; STACK_PAGES] {
        match self.stacks.lock().remove(&thread) {
            Some(pages) => pages,
            None => panic!("thread {thread} has no stack"),
        }
    }
}

impl KernelMap for TestMachine {
    fn kernel_mapping(&self, from: u64) -> Option<KernelMapping> {
        const MAPPINGS: [KernelMapping; 3] = [
            KernelMapping {
                va: 0xffff_ffff_ffff_0000,
                pa: 0x1000,
                bytes: 0x3000,
                prot: prot::READ | prot::EXECUTE,
                label: "text",
            },
            KernelMapping {
                va: 0xffff_ffff_ffff_3000,
                pa: 0,
                bytes: 0x1000,
                prot: 0,
                label: "guard",
            },
            KernelMapping {
                va: 0xffff_ffff_ffff_4000,
                pa: 0x8000,
                bytes: 0x1000,
                prot: prot::READ | prot::WRITE,
                label: "thread stack",
            },
        ];
        MAPPINGS
            .into_iter()
            .find(|mapping| from < mapping.va + mapping.bytes)
    }
}

impl Clock for TestMachine {
    fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    fn ticks_per_second(&self) -> u64 {
        1_000_000
    }

    fn stir(&self, words: [u64; 4]) {
        let sum = words.into_iter().fold(0, u64::wrapping_add);
        self.random.fetch_add(sum, Ordering::Relaxed);
    }

    /// The same sequence in every run.
    fn random(&self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(8) {
            let state = self
                .random
                .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            let value = splitmix(state).to_le_bytes();
            chunk.copy_from_slice(&value[..chunk.len()]);
        }
    }
}

/// Mixes the bits of a counter (SplitMix64).
#[must_use]
pub fn splitmix(state: u64) -> u64 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Records of page allocators that are gone.
static SHELF: Mutex<Vec<&'static mut [PageRecord]>> = Mutex::new(Vec::new());

/// Records for a [`PageAllocator`] of `count` pages. They come from a shelf that dropped
/// allocators put theirs back to, so that tests leak none.
#[must_use]
pub fn test_records(count: usize) -> &'static mut [PageRecord] {
    let mut shelf = SHELF.lock();
    match shelf.iter().position(|records| records.len() == count) {
        Some(at) => shelf.swap_remove(at),
        None => vec![PageRecord::FREE; count].leak(),
    }
}

/// Takes records back.
pub(crate) fn shelve_records(records: &'static mut [PageRecord]) {
    SHELF.lock().push(records);
}
