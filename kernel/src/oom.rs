//! The last refusal of the kernel heap: what is known where it happens, and its text for later.
//!
//! **Invariant:** where a request is refused interrupts are masked, so nothing is named or printed there but the owner, who
//! may be gone later; the console gets the rest when the call ends, a line at a time.

use crate::heap::{HEAP, TOP_SITES, own_frame, write_frame};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use tally_arch::{IrqGuard, IrqLock};
use tally_ledger::view::TopSites;
use tally_ledger::{AllocError, CallStack, SiteInfo};
use tally_mem::owner::OwnerId;
use tally_mem::text::{Blocks, TextBuffer};

/// A refusal.
#[derive(Clone, Copy)]
struct Oom {
    /// What was asked for, by whom, and how much there was.
    head: TextBuffer<192>,
    stack: CallStack,
    found: TopSites,
    top: [SiteInfo; TOP_SITES],
}

/// The last one.
#[derive(Clone, Copy)]
struct Kept {
    last: Option<Oom>,
    /// Refusals that the console has not heard of, the last one among them.
    untold: u32,
}

/// The last one, and whether the console is still to have it.
pub(crate) struct LastOom {
    kept: IrqLock<Kept>,
    /// Whether there are any untold; changed under the lock.
    is_untold: AtomicBool,
}

impl LastOom {
    /// None yet.
    pub(crate) const fn none() -> Self {
        Self {
            kept: IrqLock::new(Kept {
                last: None,
                untold: 0,
            }),
            is_untold: AtomicBool::new(false),
        }
    }

    /// Keeps one.
    #[inline(never)]
    pub(crate) fn keep(
        &self,
        error: &AllocError,
        largest_free: u64,
        stack: &CallStack,
        (found, top): (TopSites, &[SiteInfo; TOP_SITES]),
    ) {
        let mut head = TextBuffer::EMPTY;
        // What is cut is still a report.
        let _ = write_head(&mut head, error, largest_free);
        let mut kept = self.kept.lock();
        kept.last = Some(Oom {
            head,
            stack: *stack,
            found,
            top: *top,
        });
        kept.untold = kept.untold.saturating_add(1);
        self.is_untold.store(true, Ordering::Relaxed);
    }

    /// Writes the last one; false if there is none.
    #[cfg(feature = "stats")]
    pub(crate) fn write(&self, out: &mut dyn Write) -> bool {
        let Some(oom) = self.kept.lock().last else {
            return false;
        };
        let mut written = Ok(());
        oom.lines(1, |line| {
            written = written.and_then(|()| writeln!(out, "{line}"))
        });
        written.is_ok()
    }

    /// Prints it if that is still to be done; `breathe` after each line.
    #[inline]
    pub(crate) fn tell(&self, breathe: impl Fn()) {
        if self.is_untold.load(Ordering::Relaxed) {
            self.tell_untold(breathe);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_untold(&self, breathe: impl Fn()) {
        let (last, untold) = self.take_untold(self.kept.lock());
        if let Some(oom) = last.filter(|_| untold > 0) {
            oom.lines(untold, |line| {
                log::error!("{line}");
                breathe();
            });
        }
    }

    /// The last one, and how many the console is told of now.
    fn take_untold(&self, mut kept: IrqGuard<'_, Kept>) -> (Option<Oom>, u32) {
        self.is_untold.store(false, Ordering::Relaxed);
        (kept.last, core::mem::take(&mut kept.untold))
    }

    /// Writes the last one if the console has not heard of it, to a kernel that ends: what is being changed is left out.
    pub(crate) fn write_untold(&self, out: &mut dyn Write) {
        let Some(kept) = self.kept.try_lock() else {
            return;
        };
        let (last, untold) = self.take_untold(kept);
        if let Some(oom) = last.filter(|_| untold > 0) {
            oom.lines(untold, |line| {
                let _ = writeln!(out, "{line}");
            });
        }
    }
}

impl Oom {
    /// Its lines, each as it is made, of the last of so many.
    fn lines(&self, untold: u32, mut each: impl FnMut(&str)) {
        self.head.text().lines().for_each(&mut each);
        if untold > 1 {
            line(&mut each, |out| {
                write!(out, "  and {} requests before it", untold - 1)
            });
        }
        line(&mut each, |out| {
            write!(out, "Image kernel: {:016x}", tally_arch::short_id())
        });
        line(&mut each, |out| out.write_str("Call stack:"));
        for frame in self.stack.frames() {
            line(&mut each, |out| {
                out.write_str(" ")?;
                write_frame(out, *frame)
            });
        }
        line(&mut each, |out| write!(out, "{}", self.found));
        for site in self.top.iter().take(self.found.count) {
            line(&mut each, |out| {
                let blocks = Blocks(site.live_blocks.into());
                write!(out, " {} bytes in {blocks} ", site.live_bytes)?;
                write_frame(out, own_frame(&site.frames))
            });
        }
    }
}

/// Makes one line, without the break that it may end with.
fn line(each: &mut impl FnMut(&str), write: impl FnOnce(&mut TextBuffer<160>) -> fmt::Result) {
    let mut text = TextBuffer::EMPTY;
    // What is cut is still a line.
    let _ = write(&mut text);
    text.text().lines().for_each(each);
}

fn write_head(out: &mut dyn Write, error: &AllocError, largest_free: u64) -> fmt::Result {
    write!(
        out,
        "Memory allocation failed: size {} align {} pool Heap owner ",
        error.requested, error.align
    )?;
    crate::roof::write_owner(out, OwnerId(error.owner.0))?;
    write!(
        out,
        "\n  {} of {} bytes allocated, largest free chunk {largest_free}",
        error.allocated, error.size
    )
}

/// As [`LastOom::write_untold`].
pub(crate) fn write_untold(out: &mut dyn Write) {
    HEAP.last_oom.write_untold(out);
}

/// Tells what the heap refused during a call that ends.
#[inline]
pub(crate) fn tell(breathe: impl Fn()) {
    HEAP.last_oom.tell(breathe);
}
