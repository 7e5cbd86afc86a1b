//! The last refused allocations, of every pool.
//!
//! **Invariant:** a full log drops its oldest entry; the numbers of entries tell how many were dropped. An
//! entry names its owner, even when the owner is gone.

use crate::book::Book;
use crate::inspector::{Inspector, wire_kind};
use crate::past::oom::limit_text;
use core::fmt::Write;
use tally_core::kernel::State;
use tally_core::observer::Limit;
use tally_core::owners::OwnerName;
use tally_core::ta::instance::InstanceRef;
use tally_mem::addr::PAGE_SIZE;
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;
use tally_mem::text::TextBuffer;
use tally_mem::text::label;
use tally_records::{FailureRow, failed_pool, owner_kind};

/// How many are kept.
pub const KEPT: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Entry {
    row: FailureRow,
    /// Whose name the row still wants.
    owner: Option<OwnerId>,
}

/// The log.
#[derive(Debug)]
pub struct Failures {
    entries: [Option<Entry>; KEPT],
    count: u64,
}

impl Failures {
    /// Nothing was refused yet.
    pub const EMPTY: Self = Self {
        entries: [const { None }; KEPT],
        count: 0,
    };

    /// Adds a refusal; its number is set here. `owner`: who is to be named later.
    pub fn note(&mut self, mut row: FailureRow, owner: Option<OwnerId>) {
        let place = (self.count % KEPT as u64) as usize;
        self.count += 1;
        row.number = self.count;
        self.entries[place] = Some(Entry { row, owner });
    }

    /// Names an owner in the entries that want it named.
    pub fn settle(&mut self, owner: OwnerId, name: &OwnerName) {
        for entry in self.entries.iter_mut().flatten() {
            if entry.owner == Some(owner) {
                entry.row = with_owner(entry.row, name);
                entry.owner = None;
            }
        }
    }

    /// The oldest refusal of this number or a later one, and who is to be named in it.
    #[must_use]
    pub fn from(&self, number: u64) -> Option<(FailureRow, Option<OwnerId>)> {
        let later = self.entries.iter().flatten();
        let later = later.filter(|entry| entry.row.number >= number);
        let oldest = later.min_by_key(|entry| entry.row.number)?;
        Some((oldest.row, oldest.owner))
    }
}

/// The row with its owner named.
fn with_owner(mut row: FailureRow, name: &OwnerName) -> FailureRow {
    (row.owner_kind, row.session) = wire_kind(name.kind);
    row.owner = name.uuid;
    row.label = label(name.label);
    row
}

impl<M: Machine> Inspector<'_, M> {
    /// Notes a refusal.
    pub fn note_failure(&self, row: &FailureRow, owner: Option<OwnerId>) {
        self.heap()
            .with_failures(&mut |failures| failures.note(*row, owner));
    }

    /// The oldest refusal that is kept of this number or a later one.
    #[must_use]
    pub fn failure(&self, number: u64) -> Option<FailureRow> {
        let mut found = None;
        self.heap()
            .with_failures(&mut |failures| found = failures.from(number));
        let (row, owner) = found?;
        let state = self.state();
        let name = owner.and_then(|owner| state.guest.owners.name(owner));
        Some(name.map_or(row, |name| with_owner(row, name)))
    }

    /// Reports, on the console and in the log, that secure pages were refused for an instance since
    /// this was last asked; nothing if none were.
    #[inline(always)]
    pub(crate) fn report_refused_pages(&self, state: &mut State<Book>, instance: InstanceRef) {
        let of_all = state.pages.take_refused();
        let State { pages, guest, .. } = state;
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

#[cfg(test)]
mod tests {
    use super::{Failures, KEPT};
    use tally_abi::TeeUuid;
    use tally_core::owners::{OwnerKind, OwnerName};
    use tally_mem::owner::OwnerId;
    use tally_records::{FailureRow, owner_kind};

    #[test]
    fn a_full_log_drops_its_oldest() {
        let mut log = Failures::EMPTY;
        assert!(log.from(0).is_none());
        for size in 1..=KEPT as u64 + 3 {
            let row = FailureRow {
                size,
                ..FailureRow::default()
            };
            log.note(row, None);
        }
        let mut seen = Vec::new();
        while let Some((row, _)) = log.from(seen.last().map_or(0, |number| number + 1)) {
            assert_eq!(row.number, row.size);
            seen.push(row.number);
        }
        assert_eq!(seen, (4..=KEPT as u64 + 3).collect::<Vec<u64>>());
    }

    #[test]
    fn an_owner_is_named_before_it_goes() {
        let mut log = Failures::EMPTY;
        for owner in [7, 8] {
            log.note(FailureRow::default(), Some(OwnerId(owner)));
        }
        let uuid = TeeUuid::from_u128(5);
        let name = OwnerName {
            kind: OwnerKind::Session(0x102),
            uuid,
            label: "session",
        };
        log.settle(OwnerId(7), &name);
        let (row, wanted) = log.from(0).unwrap();
        assert_eq!(wanted, None);
        assert_eq!((row.owner, row.session), (uuid, 0x102));
        assert_eq!(row.owner_kind, owner_kind::SESSION);
        assert_eq!(log.from(2).unwrap().1, Some(OwnerId(8)));
    }
}
