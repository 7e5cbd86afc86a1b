//! Scans: which blocks of a heap nothing points to.
//!
//! As kmemleak does, a scan reports what it found unreferenced and that was there before it began,
//! and confirms that by looking twice. Roots of the kernel are its variables, the stacks of threads
//! in use and the registers saved there; roots of a TA are its writable segments and, while it serves a
//! call, its stack from its stack pointer up (all of it, if it runs at this moment), memory
//! that another TA passed it, and the registers saved on its kernel thread's stack. An idle TA's
//! stack is empty. The TA is neither entered nor stopped.
//!
//! **Invariant:** the state is locked for one bounded step at a time, with interrupts let in
//! between; marks lie in pages that are gone when the scan ends; a scan that fails leaves
//! what the one before it found.
//! **Knows nothing of:** how blocks are reached (see [`crate::scan`]).

use crate::api::Rows;
use crate::book::Book;
use crate::heaps::kernel_heap::BlockAt;
use crate::heaps::pools::HeapRef;
use crate::heaps::ta_heap::HeapError;
use crate::heaps::ta_heap::{self, HeapMemory};
use crate::heaps::walk::{Groups, Stop, to_the_end};
use crate::inspector::Inspector;
use crate::leaks::bits::{Bits, GRANULE, PageWords, words_for};
use crate::leaks::findings::{Finding, Findings, Scans};
use crate::leaks::reach::{Pass, REGISTERS, STEP, Target};
use core::ops::Range;
use tally_abi::{TeeResult, TeeUuid};
use tally_core::call::thread::Activity;
use tally_core::kernel::State;
use tally_core::ta::instance::Instance;
use tally_ledger::Block;
use tally_ledger::view::View;
use tally_mem::addr::{PAGE_SIZE, UserVa, pages_for};
use tally_mem::machine::{Here, Machine, PRESERVED};
use tally_mem::owner::OwnerId;
use tally_mem::region::{Backing, Prot, Region, RegionKind};
use tally_mem::space::AddressSpace;
use tally_records::{ScanRow, Selector, SuspectRow};
use zerocopy::IntoBytes;

/// Addresses from here on are the kernel's.
const KERNEL_HALF: u64 = 1 << 63;
/// Pages taken, freed or cleared in one step.
const PAGES_A_STEP: usize = 16;
/// Words of marks that are renewed in one step.
const WORDS_A_STEP: usize = 128;

const _: () = assert!(PRESERVED <= REGISTERS);

/// One scan under way.
struct Scan<'k, M: Machine + 'static> {
    kernel: Inspector<'k, M>,
    heap: HeapRef,
    here: Here,
    row: ScanRow,
    /// What blocks carry that are younger than the scan.
    mark: u16,
    /// Scans of this heap before.
    before: u32,
}

impl<M: Machine> Inspector<'_, M> {
    #[inline(never)]
    pub(crate) fn scan_heaps(&self, of: &Selector, out: &mut dyn Rows) -> Result<(), TeeResult> {
        // What the callers of this function hold is a root; what it takes itself is none.
        let here = self.machine.here();
        for heap in self.heaps(of) {
            if let Some(row) = self.scan_heap(heap, here)? {
                out.put(row.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Scans one heap; `None` if it is gone. Never part of its caller, whose frame is a root: in this
    /// one's there may be left what looks like pointers.
    #[inline(never)]
    fn scan_heap(&self, heap: HeapRef, here: Here) -> Result<Option<ScanRow>, TeeResult> {
        let kernel = *self;
        let machine = &kernel.machine;
        let Some((uuid, bytes)) = kernel.heap_extent(heap) else {
            return Ok(None);
        };
        let mut words = PageWords::new(machine, words_for(bytes))?;
        let began = machine.ticks();
        let outcome = kernel.fill(&mut words, words_for(bytes)).and_then(|()| {
            let mut state = kernel.state();
            let mark = self.advance_mark(&mut state)?;
            let before = kernel
                .scans(&mut state, heap)
                .map_or(0, |scans| scans.count);
            Ok(Scan {
                kernel,
                heap,
                here,
                row: ScanRow {
                    heap: uuid,
                    instance: match heap {
                        HeapRef::Kernel => 0,
                        HeapRef::Ta(instance) => instance.generation,
                    },
                    pages: words.pages() as u32,
                    ticks_per_second: machine.ticks_per_second(),
                    ..ScanRow::default()
                },
                mark,
                before,
            })
        });
        let mut marks = Bits::new(words, bytes);
        let outcome = outcome.and_then(|mut scan| {
            let ran = scan.run(&mut marks);
            scan.finish(ran)
        });
        let mut words = marks.into_words();
        while words.free(&mut kernel.state().pages, PAGES_A_STEP) {
            machine.interruptible(|| ());
        }
        outcome.map(|row| {
            row.map(|row| ScanRow {
                ticks: machine.ticks().wrapping_sub(began),
                ..row
            })
        })
    }

    /// What the last scan of a heap found and is still there, by owner and call stack, biggest first.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; those of `out`.
    pub(crate) fn suspects_in(&self, heap: HeapRef, out: &mut dyn Rows) -> Result<(), TeeResult> {
        let kernel = *self;
        self.as_owner(OwnerId::CALL, || {
            let mut groups = Groups::default();
            // A heap that makes no sense has no blocks to list.
            to_the_end(kernel.each_block(heap, |block| {
                match kernel.finding(heap, block) {
                    Finding::Suspect(scan) => groups.add(block, 0, scan as u8)?,
                    Finding::Unknown | Finding::Cleared => {}
                }
                Ok(())
            }))?;
            let scans = kernel
                .scans(&mut kernel.state(), heap)
                .map_or(0, |scans| scans.count);
            let mut rows = kernel.machine.interruptible(|| groups.sorted()).iter();
            rows.try_for_each(|group| {
                kernel.breathe();
                let row = SuspectRow {
                    leak: kernel.dress(heap, group),
                    first_scan: u32::from(group.tag),
                    last_scan: scans,
                };
                out.put(row.as_bytes())
            })
        })
    }

    pub(crate) fn clear_suspects(&self, of: &Selector) -> Result<u32, TeeResult> {
        let kernel = *self;
        let mut cleared = 0;
        for heap in kernel.heaps(of) {
            to_the_end(kernel.each_block(heap, |block| {
                let mut state = kernel.state();
                let scans = kernel.scans(&mut state, heap);
                if let Some(book) = scans.and_then(|scans| scans.findings.as_mut()) {
                    cleared += u32::from(book.clear(&kernel.machine, block));
                }
                Ok(())
            }))?;
        }
        Ok(cleared)
    }
}

impl<M: Machine> Scan<'_, M> {
    /// Everything but taking and giving back the marks. Returns the new book.
    fn run(&mut self, marks: &mut Bits<PageWords<'_, M>>) -> Result<Findings, Stop> {
        self.pass(marks)?;
        if self.look(marks)? {
            // Once more: a pointer may have moved from where the pass came later.
            let mut from = Some(0);
            while let Some(at) = from {
                from = marks.restart(at, WORDS_A_STEP);
                self.kernel.machine.interruptible(|| ());
            }
            self.pass(marks)?;
        }
        self.write_book(marks)
    }

    fn pass(&mut self, marks: &mut Bits<PageWords<'_, M>>) -> Result<(), Stop> {
        let mut pass = Pass::default();
        let mut done = false;
        while !done {
            done = self.step(&mut pass, marks)?;
            // Interrupts, and who waits for the state, have their turn.
            self.kernel.machine.interruptible(|| ());
        }
        self.row.passes += 1;
        self.row.root_bytes += pass.read().roots;
        self.row.block_bytes += pass.read().blocks;
        Ok(())
    }

    fn step(&mut self, pass: &mut Pass, marks: &mut Bits<PageWords<'_, M>>) -> Result<bool, Stop> {
        let kernel = self.kernel;
        let state = kernel.state();
        let began = kernel.machine.ticks();
        let done = match self.heap {
            HeapRef::Kernel => {
                let mut done = false;
                let base = kernel.heap().range().start;
                kernel.heap().look_up(&mut |block_at| {
                    let target = KernelTarget {
                        kernel,
                        here: self.here,
                        base,
                        block_at,
                    };
                    done = pass.step(&target, marks, STEP);
                });
                done
            }
            HeapRef::Ta(instance) => {
                let found = state.instance(instance).ok_or(HeapError::Gone)?;
                let target = TaTarget::new(kernel, found, self.here)?;
                pass.step(&target, marks, STEP)
            }
        };
        let ticks = kernel.machine.ticks().wrapping_sub(began);
        drop(state);
        self.row.steps += 1;
        self.row.longest_step = self.row.longest_step.max(ticks);
        Ok(done)
    }

    /// Whether a pass has left out any block that it should not have.
    fn look(&self, marks: &Bits<PageWords<'_, M>>) -> Result<bool, Stop> {
        let mut missed = false;
        self.each_old_block(|block, finding| {
            missed |= finding != Finding::Cleared && !reached(marks, block);
            Ok(())
        })?;
        Ok(missed)
    }

    /// A new book, and the row's figures with it.
    fn write_book(&mut self, marks: &Bits<PageWords<'_, M>>) -> Result<Findings, Stop> {
        let kernel = self.kernel;
        let mut row = self.row;
        let number = self.before + 1;
        let mut book =
            kernel.as_owner(OwnerId::STATS, || Findings::new(marks.bytes(), self.mark))?;
        let written = self.each_old_block(|block, finding| {
            row.blocks += 1;
            let finding = match finding {
                Finding::Cleared => Finding::Cleared,
                _ if reached(marks, block) => return Ok(()),
                Finding::Suspect(scan) => Finding::Suspect(scan),
                Finding::Unknown => Finding::Suspect(number),
            };
            if finding == Finding::Cleared {
                row.cleared += 1;
            } else {
                row.suspects += 1;
                row.suspect_bytes += block.size as u64;
                row.new += u32::from(finding == Finding::Suspect(number));
            }
            let pages = &mut kernel.state().pages;
            Ok(book.add(&kernel.machine, pages, block, finding)?)
        });
        self.row = row;
        match written {
            Ok(()) => Ok(book),
            Err(stop) => {
                book.destroy(&mut kernel.state().pages);
                Err(stop)
            }
        }
    }

    /// Puts the new book in place of the old one, and the row into its last form.
    fn finish(&mut self, ran: Result<Findings, Stop>) -> Result<Option<ScanRow>, TeeResult> {
        let mut state = self.kernel.state();
        let book = match ran {
            Ok(book) => Some(book),
            Err(Stop::Heap(HeapError::Inconsistent)) => {
                self.row.inconsistent = 1;
                None
            }
            Err(Stop::Heap(HeapError::Gone)) => return Ok(None),
            Err(Stop::Error(error)) => return Err(error),
        };
        let Some(scans) = self.kernel.scans(&mut state, self.heap) else {
            // The TA ended at the last moment.
            if let Some(book) = book {
                book.destroy(&mut state.pages);
            }
            return Ok(None);
        };
        if scans.count != self.before {
            // Another scan of the same heap came first.
            if let Some(book) = book {
                book.destroy(&mut state.pages);
            }
            return Err(TeeResult::BUSY);
        }
        scans.count += 1;
        self.row.number = scans.count;
        if let Some(book) = book {
            let (kept, empty) = match book.findings() {
                0 => (None, Some(book)),
                _ => (Some(book), None),
            };
            let old = core::mem::replace(&mut scans.findings, kept);
            for book in [old, empty].into_iter().flatten() {
                book.destroy(&mut state.pages);
            }
        }
        Ok(Some(self.row))
    }

    /// Takes in the blocks that are older than the scan, with what was known of them before.
    fn each_old_block(
        &self,
        mut take: impl FnMut(&Block, Finding) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        self.kernel.each_block(self.heap, |block| {
            if block.mark < self.mark {
                take(block, self.kernel.finding(self.heap, block))?;
            }
            Ok(())
        })
    }
}

fn reached<M: Machine>(marks: &Bits<PageWords<'_, M>>, block: &Block) -> bool {
    let granule = block.offset as u64 / GRANULE;
    // What lies beyond the marks came while the heap grew.
    granule * GRANULE >= marks.bytes() || marks.reached(granule)
}

impl<M: Machine> Inspector<'_, M> {
    /// Whose heap this is, and bytes of it now.
    fn heap_extent(&self, heap: HeapRef) -> Option<(TeeUuid, u64)> {
        match heap {
            HeapRef::Kernel => {
                let range = self.heap().range();
                Some((TeeUuid::nil(), range.end - range.start))
            }
            HeapRef::Ta(instance) => {
                let state = self.state();
                let found = state.instance(instance)?;
                let heap = found.space.as_ref()?.heap()?;
                Some((found.uuid, heap.committed))
            }
        }
    }

    fn scans<'s>(&self, state: &'s mut State<Book>, heap: HeapRef) -> Option<&'s mut Scans> {
        match heap {
            HeapRef::Kernel => Some(&mut state.guest_mut(self.guest).book.scans),
            HeapRef::Ta(instance) => {
                let found = state.instance_mut(instance)?;
                // Once its end is noted, nobody would give back what is found.
                let lives = found.space.is_some() && found.notes.remains.is_none();
                lives.then_some(&mut found.notes.scans)
            }
        }
    }

    /// What scans have said of a block.
    fn finding(&self, heap: HeapRef, block: &Block) -> Finding {
        let mut state = self.state();
        let scans = self.scans(&mut state, heap);
        scans
            .and_then(|scans| scans.findings.as_ref())
            .map_or(Finding::Unknown, |book| book.get(&self.machine, block))
    }

    /// Takes the pages for marks, in steps.
    fn fill(&self, words: &mut PageWords<'_, M>, count: usize) -> Result<(), TeeResult> {
        let wanted = pages_for(count * size_of::<u64>());
        while words.pages() < wanted {
            {
                let mut state = self.state();
                for _ in 0..PAGES_A_STEP.min(wanted - words.pages()) {
                    words.add(&mut state.pages)?;
                }
            }
            self.machine.interruptible(|| ());
        }
        Ok(())
    }

    /// Stack of a thread that is in use.
    fn used_stack(&self, thread: usize, here: &Here) -> Range<u64> {
        let stack = |suspended| self.machine.stack_of(thread, suspended);
        match self.threads.activity(thread) {
            Activity::Free => 0..0,
            Activity::Active if thread == self.machine.thread_id() => {
                here.stack_pointer..stack(false).end
            }
            Activity::Active => stack(false),
            Activity::Suspended => stack(true),
        }
    }
}

/// The kernel heap and what may point into it.
struct KernelTarget<'a, M: Machine + 'static> {
    kernel: Inspector<'a, M>,
    here: Here,
    base: u64,
    block_at: &'a BlockAt<'a>,
}

impl<M: Machine> Target for KernelTarget<'_, M> {
    fn base(&self) -> u64 {
        self.base
    }

    fn block_at(&self, offset: u64) -> Option<Block> {
        (self.block_at)(offset)
    }

    fn root(&self, index: usize) -> Option<Range<u64>> {
        let threads = self.kernel.threads.count();
        if index < threads {
            return Some(self.kernel.used_stack(index, &self.here));
        }
        self.kernel.machine.variables(index - threads)
    }

    fn registers(&self) -> [u64; REGISTERS] {
        let mut registers = [0; REGISTERS];
        registers[..PRESERVED].copy_from_slice(&self.here.registers);
        registers
    }

    fn read(&self, at: u64, words: &mut [u64]) -> usize {
        self.kernel.machine.read_words(at, words)
    }
}

/// A TA's heap and what may point into it.
struct TaTarget<'a, M: Machine + 'static> {
    kernel: Inspector<'a, M>,
    found: &'a Instance<Book>,
    here: Here,
    space: &'a AddressSpace,
    base: UserVa,
    view: View<HeapMemory<'a, M>>,
}

impl<'a, M: Machine> TaTarget<'a, M> {
    fn new(
        kernel: Inspector<'a, M>,
        found: &'a Instance<Book>,
        here: Here,
    ) -> Result<Self, HeapError> {
        let (Some(space), Some(base)) = (&found.space, found.heap) else {
            return Err(HeapError::Gone);
        };
        Ok(Self {
            kernel,
            found,
            here,
            space,
            base,
            view: ta_heap::open(&kernel.kernel.machine, space, base)?,
        })
    }

    /// What of a region may hold something.
    fn used(&self, region: &Region) -> Range<u64> {
        let all = region.va().0..region.va().0 + region.bytes();
        let own = region.backing() == Backing::Zero && region.prot().contains(Prot::WRITE);
        match (region.kind(), self.found.busy) {
            _ if !own => 0..0,
            (RegionKind::Segment | RegionKind::Mapped, _) | (RegionKind::Param, Some(_)) => all,
            (RegionKind::Stack, Some(thread)) => self.used_stack(all, thread),
            _ => 0..0,
        }
    }

    fn used_stack(&self, stack: Range<u64>, thread: usize) -> Range<u64> {
        let pointer = self.kernel.threads.user_sp(thread);
        let stopped = self.kernel.threads.activity(thread) == Activity::Suspended;
        if stopped && stack.contains(&pointer) {
            pointer..stack.end
        } else {
            stack
        }
    }

    /// Where the kernel keeps its registers: as of its last trap, if it is the TA that its thread
    /// runs now; somewhere on the thread's stack, if it waits for another TA.
    fn saved_registers(&self) -> Range<u64> {
        let Some(thread) = self.found.busy else {
            return 0..0;
        };
        let pointer = self.kernel.threads.user_sp(thread);
        match self.space.region_at(UserVa(pointer)) {
            Some(region) if region.kind() == RegionKind::Stack => {
                self.kernel.threads.user_context(thread)
            }
            _ => self.kernel.used_stack(thread, &self.here),
        }
    }
}

impl<M: Machine> Target for TaTarget<'_, M> {
    fn base(&self) -> u64 {
        self.base.0
    }

    fn block_at(&self, offset: u64) -> Option<Block> {
        // What makes no sense is no block; the list of blocks says that something is wrong.
        self.view.block_at(offset as usize).ok().flatten()
    }

    fn root(&self, index: usize) -> Option<Range<u64>> {
        let regions = self.space.regions();
        match regions.get(index) {
            Some(region) => Some(self.used(region)),
            None if index == regions.len() => Some(self.saved_registers()),
            None => None,
        }
    }

    fn registers(&self) -> [u64; REGISTERS] {
        [0; REGISTERS]
    }

    fn read(&self, at: u64, words: &mut [u64]) -> usize {
        if at >= KERNEL_HALF {
            return self.kernel.machine.read_words(at, words);
        }
        let rest = (PAGE_SIZE - UserVa(at).page_offset()) / size_of::<u64>();
        let count = words.len().min(rest);
        match self
            .space
            .peek_words(&self.kernel.machine, UserVa(at), &mut words[..count])
        {
            true => count,
            false => 0,
        }
    }
}
