//! Boot order and wiring.
//!
//! **Invariant:** everything is built before the first call comes in; nothing is built after.

use crate::embedded;
use crate::heap::HEAP;
use core::fmt;
use core::mem::MaybeUninit;
use core::ops::Range;
use log::info;
use spin::Once;
use tally_arch::config::NUM_THREADS;
use tally_arch::{Arm, BootInfo, Hooks, Use};
use tally_core::call::entry::Entry;
use tally_core::guest_id::GuestId;
use tally_core::kernel::{Kernel, Parts};
use tally_mem::addr::{PAGE_SIZE, PhysAddr, PhysPage};
use tally_mem::machine::SecureMemory as _;
use tally_mem::owner::OwnerId;
use tally_mem::pages::{PageAllocator, PageRecord, PageUse};
use tally_pta::Book;

tally_arch::entry!(main);

/// Bytes of the kernel heap.
const HEAP_BYTES: usize = 216 * 1024;
/// Pages of secure RAM, the firmware's included.
const PAGES: usize = tally_board::SECURE_RAM_BYTES as usize / PAGE_SIZE;
/// Bytes of the page allocator's records, in whole pages.
const RECORD_BYTES: usize = (PAGES * size_of::<PageRecord>()).next_multiple_of(PAGE_SIZE);

static ROOF: Roof = Roof(Once::new());

struct Roof(Once<Kernel<Arm, Book>>);

fn main(_boot: &BootInfo) -> &'static (dyn Hooks + Sync) {
    let Some(memory) = tally_arch::take_heap(HEAP_BYTES + RECORD_BYTES) else {
        panic!("no memory for the kernel heap");
    };
    let (heap, records) = memory.split_at_mut(HEAP_BYTES);
    let heap_pages = zero(heap);
    let record_pages = zero(records);
    assert!(HEAP.init(heap), "the kernel heap cannot be made");

    let records = page_records(records);
    let mut pages = PageAllocator::new(
        PhysPage::containing(PhysAddr(tally_board::SECURE_RAM_BASE)),
        records,
    );
    claim(&mut pages, &heap_pages, &record_pages);

    tally_arch::use_crypto_instructions(true);
    tally_crypto::symmetric::instructions::register(&Arm);

    #[cfg(feature = "test-hooks")]
    let fault: Option<fn(u32) -> bool> = Some(crate::faults::fault);
    #[cfg(not(feature = "test-hooks"))]
    let fault = None;

    let parts = Parts {
        machine: Arm,
        pages,
        threads: NUM_THREADS,
        ldelf: embedded::ldelf(),
        keys: embedded::KEYS,
        hardware_key: tally_board::HARDWARE_KEY,
        fault,
        shared: shared(),
    };
    let make = || Kernel::new(parts, &HEAP, tally_pta::ALL);
    let kernel = ROOF.0.call_once(make);
    if kernel.begin_guest(GuestId::FIRST).is_err() {
        panic!("the kernel heap is too small to boot");
    }
    let free = kernel.state().pages.free_pages() as usize * PAGE_SIZE / 1024;
    info!(
        "{NUM_THREADS} threads, {} KiB heap, {free} KiB for TAs",
        HEAP_BYTES / 1024
    );
    &ROOF
}

/// Writes an owner's name, or its number where names are locked: an allocation can fail anywhere. Interrupts are
/// masked, so that nobody is suspended who has names locked.
pub(crate) fn write_owner(out: &mut dyn fmt::Write, owner: OwnerId) -> fmt::Result {
    let owners = ROOF.0.get().and_then(Kernel::try_owners);
    match owners.as_ref().and_then(|owners| owners.name(owner)) {
        Some(name) => write!(out, "{name}"),
        None => write!(out, "{}", owner.0),
    }
}

/// Whether the figures of the pages are what their records add up to.
#[cfg(feature = "test-hooks")]
pub(crate) fn pages_add_up() -> bool {
    let kernel = ROOF.0.get();
    kernel.is_some_and(|kernel| kernel.state().pages.check().is_ok())
}

#[cfg(feature = "stats")]
fn shared() -> tally_account::book::Shared {
    use tally_account::book::{Shared, Shown};
    Shared {
        heap: &HEAP,
        shown: Shown {
            addresses: cfg!(feature = "addresses"),
            contents: cfg!(feature = "block-bytes"),
        },
        build: tally_arch::build_id(),
    }
}

#[cfg(not(feature = "stats"))]
fn shared() {}

/// Zeroes memory that the machine gave at boot; its pages.
fn zero(memory: &mut [MaybeUninit<u8>]) -> Range<PhysPage> {
    let start = PhysPage::containing(tally_arch::direct_address(memory.as_ptr().cast()));
    let pages = (memory.len() / PAGE_SIZE) as u64;
    for n in 0..pages {
        Arm.zero_page(start.offset(n));
    }
    start..start.offset(pages)
}

fn page_records(memory: &'static mut [MaybeUninit<u8>]) -> &'static mut [PageRecord] {
    let records = memory.as_mut_ptr().cast::<MaybeUninit<PageRecord>>();
    // SAFETY:
    // 1. The memory is exclusive, lives for good, and is page-aligned.
    // 2. `RECORD_BYTES` holds `PAGES` records.
    let records = unsafe { core::slice::from_raw_parts_mut(records, PAGES) };
    for record in &mut *records {
        record.write(PageRecord::FREE);
    }
    // SAFETY: every record was just written.
    unsafe { &mut *(core::ptr::from_mut(records) as *mut [PageRecord]) }
}

/// Enters what boot has used into the page allocator.
fn claim(pages: &mut PageAllocator, heap: &Range<PhysPage>, records: &Range<PhysPage>) {
    let page = |address: u64| PhysPage::containing(PhysAddr(address));
    let mut claim = |range: Range<PhysPage>, usage| {
        if range.start < range.end
            && let Err(err) = pages.claim(range, usage, OwnerId::KERNEL)
        {
            panic!("{usage:?} pages cannot be claimed: {err:?}");
        }
    };
    claim(
        page(tally_board::SECURE_RAM_BASE)..page(tally_board::KERNEL_BASE),
        PageUse::Firmware,
    );
    for region in &tally_arch::layout().regions {
        let range = page(region.start.0)..page(region.end.0);
        match region.usage {
            Use::Text => claim(range, PageUse::KernelText),
            Use::Rodata => {
                let (first, count) = embedded::ldelf_pages();
                let end = first.offset(u64::from(count));
                claim(range.start..first, PageUse::KernelRodata);
                claim(first..end, PageUse::LdelfImage);
                claim(end..range.end, PageUse::KernelRodata);
            }
            Use::Data | Use::Bss => claim(range, PageUse::KernelData),
            Use::Sites => claim(range, PageUse::KernelSites),
            Use::Tables => claim(range, PageUse::KernelPageTable),
            Use::Stacks => claim(range, PageUse::KernelStack),
            Use::Heap => {
                claim(heap.clone(), PageUse::KernelHeap);
                claim(records.clone(), PageUse::PageRecords);
            }
            Use::FreeHole | Use::Free => {}
        }
    }
}

impl Roof {
    fn kernel(&self) -> &Kernel<Arm, Book> {
        match self.0.get() {
            Some(kernel) => kernel,
            None => panic!("a call came in before the kernel was built"),
        }
    }
}

impl Hooks for Roof {
    fn fast_call(&self, args: &[u64; 8]) -> [u64; 4] {
        self.kernel().fast_call(args)
    }

    fn yield_entry(&self, args: &[u64; 8]) -> Entry {
        self.kernel().yield_entry(args)
    }

    fn thread_main(&self, _thread: usize, args: &[u64; 8]) -> [u64; 4] {
        let answer = self.kernel().yielding_call(args);
        crate::oom::tell(|| self.kernel().breathe());
        answer
    }

    fn thread_done(&self, thread: usize) {
        self.kernel().thread_done(thread);
    }

    fn thread_suspended(&self, thread: usize) {
        self.kernel().threads.suspended(thread);
    }

    fn panic_account(&self, out: &mut dyn fmt::Write) {
        crate::oom::write_untold(out);
        if let Some(kernel) = self.0.get() {
            // The console takes everything.
            let _ = kernel.panic_account(out);
        }
    }
}

// As those of the machine floor (kernel/arch/src/config.rs).
#[cfg(feature = "stats")]
core::arch::global_asm!(
    ".global tally_snapshot_stack_bytes",
    ".set tally_snapshot_stack_bytes, {bytes}",
    bytes = const tally_account::snapshot::STACK_BYTES,
);
