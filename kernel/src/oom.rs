//! The last refusal of the kernel heap: what is known where it happens, and its text for later.
//!
//! **Invariant:** where a request is refused interrupts are masked, so nothing is named or printed there but the owner, who
//! may be gone later; the console gets the rest when the call ends, a line at a time.

use crate::heap::{HEAP, TOP_SITES, own_frame, write_frame};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use tally_arch::IrqLock;
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

/// The last one, and whether the console is still to have it.
pub(crate) struct LastOom {
    kept: IrqLock<Option<Oom>>,
    untold: AtomicBool,
}

impl LastOom {
    /// None yet.
    pub(crate) const fn none() -> Self {
        Self {
            kept: IrqLock::new(None),
            untold: AtomicBool::new(false),
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
        *self.kept.lock() = Some(Oom {
            head,
            stack: *stack,
            found,
            top: *top,
        });
        self.untold.store(true, Ordering::Relaxed);
    }

    /// Writes the last one; false if there is none.
    #[cfg(feature = "stats")]
    pub(crate) fn write(&self, out: &mut dyn Write) -> bool {
        let Some(oom) = *self.kept.lock() else {
            return false;
        };
        let mut written = Ok(());
        oom.lines(|line| written = written.and_then(|()| writeln!(out, "{line}")));
        written.is_ok()
    }

    /// Prints it if that is still to be done; `breathe` after each line.
    #[inline]
    pub(crate) fn tell(&self, breathe: impl Fn()) {
        if self.untold.load(Ordering::Relaxed) {
            self.tell_untold(breathe);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_untold(&self, breathe: impl Fn()) {
        if !self.untold.swap(false, Ordering::Relaxed) {
            return;
        }
        let Some(oom) = *self.kept.lock() else { return };
        oom.lines(|line| {
            log::error!("{line}");
            breathe();
        });
    }
}

impl Oom {
    /// Its lines, each as it is made.
    fn lines(&self, mut each: impl FnMut(&str)) {
        self.head.text().lines().for_each(&mut each);
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

/// Tells what the heap refused during a call that ends.
#[inline]
pub(crate) fn tell(breathe: impl Fn()) {
    HEAP.last_oom.tell(breathe);
}
