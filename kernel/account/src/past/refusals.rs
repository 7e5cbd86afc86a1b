//! Refusals noted and reported: of which memory, to whom, by which limit.

use crate::inspector::Inspector;
use crate::past::failures::with_owner;
use core::fmt::{self, Display, Write};
use tally_abi::TeeUuid;
use tally_core::owners::Label;
use tally_core::refused::{Refused, RefusedEntry, RefusedImage, SharedTable};
use tally_mem::addr::PAGE_SIZE;
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;
use tally_mem::refused::{RefusedPages, Short};
use tally_mem::text::{TextBuffer, label, label_text};
use tally_records::{FailureRow, failed_pool, limit, owner_kind, word};

impl<M: Machine> Inspector<'_, M> {
    /// Notes a refusal.
    #[inline(never)]
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
        let owners = self.owners();
        let name = owner.and_then(|owner| owners.name(owner));
        let row = name.map_or(row, |name| with_owner(row, name));
        Some((row, row.number + 1))
    }

    /// Notes what was refused, and reports it on the console. Nothing is locked.
    pub(crate) fn report_refused(&self, refused: &Refused) {
        let mut row = self.row_of(refused);
        row.at_ms = self.uptime_millis();
        // Of an image the loader has said all there is to say.
        let is_reported = !matches!(refused, Refused::Image(_));
        if is_reported {
            self.heap().call_stack(&mut row.frames);
        }
        if is_reported {
            self.machine.interruptible(|| self.print_refused(&row));
        }
        self.note_failure(&row, None);
    }

    /// Out of line: what it makes the row of must not lie below the report.
    #[inline(never)]
    fn row_of(&self, refused: &Refused) -> FailureRow {
        match refused {
            Refused::Pages(pages) => self.of_pages(pages),
            Refused::Entry(entry) => of_entry(entry),
            Refused::Image(image) => self.of_image(image),
        }
    }

    fn of_pages(&self, refused: &RefusedPages) -> FailureRow {
        const PAGE: u64 = PAGE_SIZE as u64;
        let pool = match refused.short {
            Short::SecureRam => failed_pool::TA_RAM,
            Short::Quota => failed_pool::TA_QUOTA,
            Short::Regions => {
                let row = FailureRow {
                    pool: failed_pool::REGIONS,
                    wanted_entries: refused.wanted,
                    used_entries: refused.used,
                    entries: refused.size,
                    held_entries: refused.used,
                    ..FailureRow::default()
                };
                let row = self.named(row, refused.owner);
                let holder = row.owner;
                return FailureRow { holder, ..row };
            }
        };
        let row = FailureRow {
            pool,
            size: u64::from(refused.wanted) * PAGE,
            used: u64::from(refused.used) * PAGE,
            pool_size: u64::from(refused.size) * PAGE,
            largest_free: u64::from(refused.left) * PAGE,
            ..FailureRow::default()
        };
        self.named(row, refused.owner)
    }

    fn of_image(&self, refused: &RefusedImage) -> FailureRow {
        let row = FailureRow {
            pool: failed_pool::IMAGE,
            size: refused.size,
            fault: refused.why.code(),
            ..FailureRow::default()
        };
        self.named(row, refused.owner)
    }

    /// The row with its owner named, and the session that it serves if it is a TA.
    fn named(&self, row: FailureRow, owner: OwnerId) -> FailureRow {
        let mut row = match self.owners().name(owner) {
            Some(name) => with_owner(row, name),
            None => row,
        };
        if row.owner_kind == owner_kind::TA {
            let state = self.state();
            let mut instances = state.guest(self.guest).instances.iter();
            let found = instances.find(|(_, found)| found.owner == owner);
            let task = found.and_then(|(_, found)| found.task);
            row.session = task.map_or(0, |task| task.session);
        }
        row
    }

    #[inline(never)]
    fn print_refused(&self, row: &FailureRow) {
        log::error!(
            "Memory allocation failed: size {} pool {} owner {}",
            row.size,
            pool_text(row.pool),
            Owner(row)
        );
        log::error!("  the limit is {}", word(limit::WORDS, row.pool));
        if row.entries != 0 {
            let wanted = row.wanted_entries;
            log::error!(
                "  {} of {} in use, {wanted} more wanted; {} has most: {}",
                row.used_entries,
                row.entries,
                Holder(row.holder),
                row.held_entries
            );
        } else {
            log::error!(
                "  {} of {} bytes in use, {} left",
                row.used,
                row.pool_size,
                row.largest_free
            );
        }
        if row.frames[0] == 0 {
            return;
        }
        log::error!("Call stack:");
        for frame in row.frames.iter().take_while(|frame| **frame != 0) {
            let mut line = TextBuffer::<120>::EMPTY;
            if !self.heap().name_site(*frame, &mut line) {
                // A line that is cut is still a line.
                let _ = write!(line, "kernel+{frame:#x}");
            }
            log::error!(" {}", line.text());
        }
    }
}

fn of_entry(refused: &RefusedEntry) -> FailureRow {
    let is_ta = refused.asker != TeeUuid::nil();
    FailureRow {
        pool: match refused.table {
            SharedTable::Sessions => failed_pool::SESSIONS,
            SharedTable::Instances => failed_pool::INSTANCES,
            SharedTable::SharedMemory => failed_pool::SHARED_MEMORY,
            SharedTable::PageRuns => failed_pool::PAGE_RUNS,
            SharedTable::SharedPages => failed_pool::SHARED_PAGES,
            SharedTable::Channels => failed_pool::CHANNELS,
            SharedTable::Buffers => failed_pool::BUFFERS,
        },
        owner_kind: if is_ta {
            owner_kind::TA
        } else {
            owner_kind::GUEST
        },
        owner: refused.asker,
        label: label(if is_ta { Label::Ta } else { Label::Guest }.text()),
        wanted_entries: refused.wanted,
        used_entries: refused.used,
        entries: refused.size,
        holder: refused.holder,
        held_entries: refused.held,
        ..FailureRow::default()
    }
}

/// A pool in a report: as OP-TEE calls it, where it has such a pool.
fn pool_text(pool: u32) -> &'static str {
    match pool {
        failed_pool::TA_RAM => "Physical TA memory",
        _ => word(failed_pool::WORDS, pool),
    }
}

/// Whose a refused request was.
struct Owner<'a>(&'a FailureRow);

impl Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.0;
        match row.owner_kind {
            owner_kind::TA => write!(f, "TA {}", row.owner),
            owner_kind::SESSION => write!(f, "session {:#x} of TA {}", row.session, row.owner),
            _ => f.write_str(label_text(&row.label)),
        }
    }
}

/// Who has most of a table.
struct Holder(TeeUuid);

impl Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == TeeUuid::nil() {
            f.write_str("the normal world")
        } else {
            write!(f, "TA {}", self.0)
        }
    }
}
