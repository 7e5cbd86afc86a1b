//! Refusals noted and reported: of which memory, to whom, by which limit.

use crate::inspector::Inspector;
use crate::past::failures::with_owner;
use core::fmt::{self, Display, Write};
use tally_abi::TeeUuid;
use tally_abi::shdr::short_id;
use tally_core::owners::{Label, OwnerKind, OwnerName};
use tally_core::refused::{Refused, RefusedEntry, RefusedImage, SharedTable};
use tally_mem::addr::PAGE_SIZE;
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;
use tally_mem::refused::{RefusedPages, Short};
use tally_mem::text::TextBuffer;
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
        let mut row = FailureRow::default();
        let owner = self.fill_row(refused, &mut row);
        row.at_ms = self.uptime_millis();
        // Of an image the loader has said all there is to say.
        let is_reported = !matches!(refused, Refused::Image(_));
        if is_reported {
            self.heap().call_stack(&mut row.frames);
        }
        if is_reported {
            self.machine
                .interruptible(|| self.print_refused(&row, &owner));
        }
        self.note_failure(&row, None);
    }

    /// Fills the row, and names its owner. Out of line: what it makes the row of must not lie below the report.
    #[inline(never)]
    fn fill_row(&self, refused: &Refused, row: &mut FailureRow) -> OwnerName {
        let owner = match refused {
            Refused::Pages(pages) => {
                *row = of_pages(pages);
                pages.owner
            }
            Refused::Entry(entry) => {
                let owner = asker(entry.asker);
                *row = with_owner(of_entry(entry), &owner);
                return owner;
            }
            Refused::Image(image) => {
                *row = of_image(image);
                image.owner
            }
        };
        let name = self.owners().name(owner).copied().unwrap_or(OwnerName {
            kind: OwnerKind::Kernel,
            uuid: TeeUuid::nil(),
            label: Label::Ended,
        });
        *row = with_owner(*row, &name);
        if row.pool == failed_pool::REGIONS {
            row.holder = name.uuid;
        }
        if row.owner_kind == owner_kind::TA {
            let state = self.state();
            let mut instances = state.guest(self.guest).instances.iter();
            let found = instances.find(|(_, found)| found.owner == owner);
            let task = found.and_then(|(_, found)| found.task);
            row.session = task.map_or(0, |task| task.session);
        }
        name
    }

    #[inline(never)]
    fn print_refused(&self, row: &FailureRow, owner: &OwnerName) {
        log::error!(
            "Memory allocation failed: size {} pool {} owner {owner}",
            row.size,
            pool_text(row.pool)
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
        log::error!("Image kernel: {:016x}", short_id(&self.shared.build));
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

fn of_pages(refused: &RefusedPages) -> FailureRow {
    const PAGE: u64 = PAGE_SIZE as u64;
    let pool = match refused.short {
        Short::SecureRam => failed_pool::TA_RAM,
        Short::Quota => failed_pool::TA_QUOTA,
        Short::Stack => failed_pool::KERNEL_STACK,
        Short::Regions => {
            return FailureRow {
                pool: failed_pool::REGIONS,
                wanted_entries: refused.wanted,
                used_entries: refused.used,
                entries: refused.size,
                held_entries: refused.used,
                ..FailureRow::default()
            };
        }
    };
    FailureRow {
        pool,
        size: u64::from(refused.wanted) * PAGE,
        used: u64::from(refused.used) * PAGE,
        pool_size: u64::from(refused.size) * PAGE,
        largest_free: u64::from(refused.left) * PAGE,
        ..FailureRow::default()
    }
}

fn of_image(refused: &RefusedImage) -> FailureRow {
    FailureRow {
        pool: failed_pool::IMAGE,
        size: refused.size,
        fault: refused.why.code(),
        ..FailureRow::default()
    }
}

fn of_entry(refused: &RefusedEntry) -> FailureRow {
    FailureRow {
        pool: match refused.table {
            SharedTable::Sessions => failed_pool::SESSIONS,
            SharedTable::Instances => failed_pool::INSTANCES,
            SharedTable::SharedMemory => failed_pool::SHARED_MEMORY,
            SharedTable::PageRuns => failed_pool::PAGE_RUNS,
            SharedTable::SharedPages => failed_pool::SHARED_PAGES,
            SharedTable::Channels => failed_pool::CHANNELS,
            SharedTable::Buffers => failed_pool::BUFFERS,
            SharedTable::Objects => failed_pool::OBJECTS,
        },
        wanted_entries: refused.wanted,
        used_entries: refused.used,
        entries: refused.size,
        holder: refused.holder,
        held_entries: refused.held,
        ..FailureRow::default()
    }
}

/// Who asked for an entry: a TA, or nil for the normal world.
fn asker(uuid: TeeUuid) -> OwnerName {
    let (kind, label) = if uuid == TeeUuid::nil() {
        (OwnerKind::Guest, Label::Guest)
    } else {
        (OwnerKind::Ta, Label::Ta)
    };
    OwnerName { kind, uuid, label }
}

/// A pool in a report: as OP-TEE calls it, where it has such a pool.
fn pool_text(pool: u32) -> &'static str {
    match pool {
        failed_pool::TA_RAM => "Physical TA memory",
        _ => word(failed_pool::WORDS, pool),
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

#[cfg(test)]
mod tests {
    use tally_core::call::shm::MAX_PAGES;
    use tally_mem::addr::PAGE_SIZE;
    use tally_records::{failed_pool, limit, word};

    #[test]
    fn a_size_in_words_is_the_constant() {
        let mib = (MAX_PAGES * PAGE_SIZE as u64) >> 20;
        let limit = word(limit::WORDS, failed_pool::SHARED_PAGES);
        assert_eq!(limit, format!("{mib} MiB for one object"));
    }
}
