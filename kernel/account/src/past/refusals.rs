//! Refusals noted and reported: of which memory, to whom, by which limit.

use crate::book::Book;
use crate::inspector::Inspector;
use crate::past::failures::with_owner;
use crate::past::oom::limit_text;
use core::fmt::Write;
use tally_core::kernel::State;
use tally_core::observer::Limit;
use tally_core::ta::instance::InstanceRef;
use tally_mem::addr::PAGE_SIZE;
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;
use tally_mem::text::{TextBuffer, label};
use tally_records::{FailureRow, failed_pool, owner_kind};

impl<M: Machine> Inspector<'_, M> {
    /// Notes a refusal.
    pub fn note_failure(&self, row: &FailureRow, owner: Option<OwnerId>) {
        self.heap()
            .with_failures(&mut |failures| failures.note(*row, owner));
    }

    /// The next refusal that is kept, oldest first, and where to go on.
    pub(crate) fn next_failure(&self, cursor: u64) -> Option<(FailureRow, u64)> {
        let mut found = None;
        self.heap()
            .with_failures(&mut |failures| found = failures.from(cursor));
        let (row, owner) = found?;
        let state = self.state();
        let name = owner.and_then(|owner| state.guest(self.guest).owners.name(owner));
        let row = name.map_or(row, |name| with_owner(row, name));
        Some((row, row.number + 1))
    }

    /// Reports, on the console and in the log, that secure pages were refused for an instance since
    /// this was last asked; nothing if none were.
    #[inline(always)]
    pub(crate) fn report_refused_pages(&self, state: &mut State<Book>, instance: InstanceRef) {
        let of_all = state.pages.take_refused();
        let (pages, guest) = state.split(instance.guest());
        let Some(found) = guest.instances.at_mut(instance) else {
            return;
        };
        let of_quota = found.space.as_mut().and_then(|space| space.take_refused());
        let (limit, refused) = match (of_all, of_quota) {
            (Some(refused), _) => (Limit::SecureRam, refused),
            (None, Some(refused)) => (Limit::Quota, refused),
            (None, None) => return,
        };
        let mut row = FailureRow {
            at_ms: self.uptime_millis(),
            size: u64::from(refused) * PAGE_SIZE as u64,
            owner_kind: owner_kind::TA,
            owner: found.uuid,
            label: label("ta"),
            session: found.task.map_or(0, |task| task.session),
            ..FailureRow::default()
        };
        match (limit, &found.space) {
            (Limit::Quota, Some(space)) => {
                row.pool = failed_pool::TA_QUOTA;
                row.used = u64::from(space.charged_pages()) * PAGE_SIZE as u64;
                row.pool_size = u64::from(space.limit_pages()) * PAGE_SIZE as u64;
                row.largest_free = row.pool_size.saturating_sub(row.used);
            }
            _ => {
                let figures = pages.figures();
                row.pool = failed_pool::TA_RAM;
                row.used = figures.allocated;
                row.pool_size = figures.size;
                row.largest_free = u64::from(pages.available()) * PAGE_SIZE as u64;
            }
        }
        self.heap().call_stack(&mut row.frames);
        self.print_refused(&row, limit);
        self.note_failure(&row, None);
    }

    fn print_refused(&self, row: &FailureRow, limit: Limit) {
        log::error!(
            "Memory allocation failed: size {} pool {} owner TA {}",
            row.size,
            match limit {
                Limit::Quota => "TA quota",
                Limit::HeapSize | Limit::SecureRam | Limit::KernelHeap => "Physical TA memory",
            },
            row.owner
        );
        log::error!("  the limit is {}", limit_text(limit));
        log::error!(
            "  {} of {} bytes in use, {} left",
            row.used,
            row.pool_size,
            row.largest_free
        );
        log::error!("Call stack:");
        for frame in row.frames.iter().take_while(|frame| **frame != 0) {
            let mut line = TextBuffer::<120>::EMPTY;
            if self.heap().name_site(*frame, &mut line) {
                log::error!(" {}", line.text());
            } else {
                // A line that is cut is still a line.
                let _ = write!(line, "kernel+{frame:#x}");
                log::error!(" {}", line.text());
            }
        }
    }
}
