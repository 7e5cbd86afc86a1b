//! Taking snapshots: section by section, from the functions that answer pseudo-TAs.
//!
//! **Invariant:** what is meant to add up is of one moment ([`crate::moment`]); the state lock is held for one
//! record of the rest at a time, and interrupts of the normal world come through between records.

use crate::api::{Lists, Rows};
use crate::inspector::Inspector;
use crate::snapshot::STACK_BYTES;
use crate::snapshot::keep::SnapshotError;
use crate::snapshot::writer::{Open, Writer};
use core::mem::offset_of;
use tally_abi::pta::watch::{MAX_BYTES, SLOTS};
use tally_abi::{TeeResult, TeeUuid};
use tally_core::ta::instance::InstanceRef;
use tally_mem::machine::Machine;
use tally_records::snapshot::{Header, MAGIC, VERSION};
use tally_records::{
    CacheRow, ClassRow, CommandRow, FailureRow, HistoryRow, LeakRecord, Record, RegionRow,
    Selector, SiteRow, StorageRow, UnfreedRow,
};
use zerocopy::{FromBytes, IntoBytes};

/// Sites of a heap that does not count at them, whose rows a later stretch of its walk adds to. With these and the
/// rows of a step, [`Writer::sites`] keeps no more on the stack than the section of classes does.
const RECENT_SITES: usize = 32;
/// What is added up stands together in a row.
const FIGURES: usize = offset_of!(SiteRow, live_bytes);
const _: () = assert!(offset_of!(SiteRow, live_blocks) == FIGURES + size_of::<u64>());

/// A row that was written.
#[derive(Clone, Copy, Default)]
struct Written {
    site: u32,
    at: u32,
    /// Live bytes and blocks, as the row has them.
    figures: [u64; 2],
}

/// The last rows of one TA's sites that were written.
struct Recent {
    pool: TeeUuid,
    rows: [Written; RECENT_SITES],
    count: usize,
}

impl Recent {
    const NONE: Self = Self {
        pool: TeeUuid::nil(),
        rows: [Written {
            site: 0,
            at: 0,
            figures: [0; 2],
        }; RECENT_SITES],
        count: 0,
    };

    /// The row of a site, if it is one of the last.
    fn find(&mut self, row: &SiteRow) -> Option<&mut Written> {
        if self.pool != row.pool {
            (self.pool, self.count) = (row.pool, 0);
        }
        let known = self.count.min(RECENT_SITES);
        self.rows[..known]
            .iter_mut()
            .find(|written| written.site == row.site)
    }

    /// Keeps a row in place of the oldest.
    const fn keep(&mut self, row: Written) {
        self.rows[self.count % RECENT_SITES] = row;
        self.count += 1;
    }
}

impl<M: Machine> Writer<'_, M> {
    /// Adds a row of a heap's site, or adds it to the row that the site has.
    fn site(&mut self, open: &mut Open, recent: &mut Recent, row: &SiteRow) {
        let figures = [row.live_bytes, row.live_blocks];
        if row.is_counted() {
            self.record(open, row.as_bytes());
        } else if let Some(written) = recent.find(row) {
            for (sum, more) in written.figures.iter_mut().zip(figures) {
                *sum = sum.saturating_add(more);
            }
            let figures = written.figures.as_bytes();
            if self.write(written.at as usize + FIGURES, figures).is_err() {
                self.drop_record();
            }
            self.kernel().breathe();
        } else {
            let at = self.offset();
            self.record(open, row.as_bytes());
            if self.offset() != at {
                recent.keep(Written {
                    site: row.site,
                    at: at as u32,
                    figures,
                });
            }
        }
    }

    /// A section of all that [`Lists`] lists.
    #[inline(never)]
    fn listed<T: Record>(&mut self) -> Result<(), SnapshotError> {
        self.section_of::<T>(|writer, open| {
            let kernel = writer.kernel();
            all(kernel, T::SECTION, &mut Adding { writer, open })
        })
    }

    /// All call sites. Out of line: what it keeps of them must not weigh on the other sections' stack.
    #[inline(never)]
    fn sites(&mut self) -> Result<(), SnapshotError> {
        self.section_of::<SiteRow>(|writer, open| {
            let kernel = writer.kernel();
            let recent = Recent::NONE;
            let mut out = AddingSites {
                out: Adding { writer, open },
                recent,
            };
            all(kernel, SiteRow::SECTION, &mut out)
        })
    }
}

/// Lists a whole section. A list that fails ends there.
fn all<M: Machine>(
    kernel: Inspector<'_, M>,
    section: u32,
    out: &mut dyn Rows,
) -> Result<(), SnapshotError> {
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        let listed = kernel.list(section, &Selector::ALL, at, out);
        cursor = listed.map_err(|_| SnapshotError::OutOfMemory)?;
    }
    Ok(())
}

/// Adds rows to a section.
struct Adding<'a, 'k, M: Machine + 'static> {
    writer: &'a mut Writer<'k, M>,
    open: &'a mut Open,
}

impl<M: Machine> Rows for Adding<'_, '_, M> {
    fn room(&self) -> usize {
        MAX_BYTES
    }

    fn put(&mut self, row: &[u8]) -> Result<(), TeeResult> {
        self.writer.record(self.open, row);
        Ok(())
    }
}

/// Adds rows of sites, or adds them up.
struct AddingSites<'a, 'k, M: Machine + 'static> {
    out: Adding<'a, 'k, M>,
    recent: Recent,
}

impl<M: Machine> Rows for AddingSites<'_, '_, M> {
    fn room(&self) -> usize {
        self.out.room()
    }

    fn put(&mut self, row: &[u8]) -> Result<(), TeeResult> {
        if let Ok(row) = SiteRow::read_from_bytes(row) {
            let Adding { writer, open } = &mut self.out;
            writer.site(open, &mut self.recent, &row);
        }
        Ok(())
    }
}

impl<M: Machine> Inspector<'_, M> {
    /// Fills the snapshot `number`, which is being taken, for this reason; its bytes. One that
    /// fails has no memory; one that was only asked for is forgotten.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfMemory`].
    pub(crate) fn fill_snapshot(
        &self,
        number: u32,
        reason: u32,
        subject: TeeUuid,
        value: u64,
    ) -> Result<usize, SnapshotError> {
        let kernel = self;
        let mut writer = Writer::new(*self);
        let filled = if self.has_stack_for_snapshot() {
            self.write_snapshot_checked(&mut writer, reason, subject, value)
        } else {
            Err(SnapshotError::OutOfMemory)
        };
        let dropped = writer.dropped();
        let image = writer.into_image();
        let mut state = kernel.state();
        let (pages, guest) = state.split(self.guest);
        let snapshots = &mut guest.book.snapshots;
        match filled {
            Ok(at_ms) => {
                let bytes = image.len();
                snapshots.taken(pages, number, at_ms, (image, dropped));
                Ok(bytes)
            }
            Err(err) => {
                image.free(pages);
                snapshots.fail(pages, number);
                Err(err)
            }
        }
    }

    #[inline]
    fn has_stack_for_snapshot(&self) -> bool {
        self.kernel.machine.stack_left() >= STACK_BYTES
    }

    /// A function of its own, so that `cargo xtask stacks` tells what runs behind the check.
    #[inline(never)]
    fn write_snapshot_checked(
        &self,
        writer: &mut Writer<'_, M>,
        reason: u32,
        subject: TeeUuid,
        value: u64,
    ) -> Result<u64, SnapshotError> {
        let mark = self.state().guest(self.guest).book.marks.last();
        let mut header = Header {
            magic: MAGIC,
            version: VERSION,
            header_bytes: size_of::<Header>() as u32,
            at_ms: self.uptime_millis(),
            mark: u32::from(mark),
            reason,
            subject,
            value,
            secure_ram: self.secure_ram,
            boot: self.boot(),
            build: self.shared.build,
            ..Header::default()
        };
        writer.make_room(size_of::<Header>())?;
        writer.append(header.as_bytes())?;
        writer.moment()?;
        writer.listed::<RegionRow>()?;
        writer.sites()?;
        writer.listed::<LeakRecord>()?;
        writer.listed::<ClassRow>()?;
        writer.listed::<CommandRow>()?;
        writer.listed::<FailureRow>()?;
        writer.listed::<HistoryRow>()?;
        writer.listed::<UnfreedRow>()?;
        writer.listed::<CacheRow>()?;
        writer.listed::<StorageRow>()?;
        header.total_bytes = writer.offset() as u64;
        header.dropped = writer.dropped();
        writer.write(0, header.as_bytes())?;
        Ok(header.at_ms)
    }
}

impl<M: Machine> Inspector<'_, M> {
    /// Takes the snapshots of all watchpoints that wait for this to happen to a TA.
    pub(crate) fn capture(&self, trigger: u32, instance: InstanceRef, value: u64) {
        // One that is armed meanwhile is met here too; there are never more than the slots.
        for _ in 0..SLOTS {
            if !self.capture_first(trigger, instance, value) {
                break;
            }
        }
    }

    /// Takes the snapshot of the first watchpoint that waits for this; whether any did.
    fn capture_first(&self, trigger: u32, instance: InstanceRef, value: u64) -> bool {
        let (number, uuid) = {
            let mut state = self.state();
            let guest = state.guest_mut(self.guest);
            let snapshots = &mut guest.book.snapshots;
            let found = guest.instances.at(instance).map(|found| found.uuid);
            let Some(uuid) = found else { return false };
            let Some(number) = snapshots.meet(trigger, uuid, value) else {
                return false;
            };
            (number, uuid)
        };
        // What a watchpoint waits for is why its snapshot is taken: the numbers are the same.
        let reason = trigger;
        let filled = self.fill_snapshot(number, reason, uuid, value);
        match filled {
            Ok(bytes) => log::info!("watch {number}: snapshot of {bytes} bytes, TA {uuid}"),
            Err(err) => log::error!("watch {number}: no snapshot, TA {uuid}: {err:?}"),
        }
        true
    }
}
