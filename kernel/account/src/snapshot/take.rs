//! Taking snapshots: section by section, from the functions that answer pseudo-TAs.
//!
//! **Invariant:** what is meant to add up is of one moment ([`crate::moment`]); the state lock is held for one
//! record of the rest at a time, and interrupts of the normal world come through between records.

use crate::api::inspect::Inspect;
use crate::api::leaks::{Heaps, LeakServices, MarkRange};
use crate::api::{AuditServices, Statistics, WatchServices};
use crate::heaps::question::{PoolError, Step};
use crate::heaps::rows::{MAX_CLASSES, SITES_STEP};
use crate::inspector::Inspector;
use crate::snapshot::keep::{SnapshotError, Watchpoint};
use crate::snapshot::writer::{Open, Writer};
use crate::tas::regions::RegionCursor;
use crate::which::Which;
use core::mem::offset_of;
use tally_abi::pta::watch::SLOTS;
use tally_abi::{TeeResult, TeeUuid};
use tally_core::ta::instance::InstanceRef;
use tally_mem::machine::Machine;
use tally_records::snapshot::{Header, MAGIC, VERSION};
use tally_records::{ClassRow, LeakRecord, Record, SiteRow, SnapshotRow, trigger};
use zerocopy::IntoBytes;

/// How questions about pools name the kernel heap.
const KERNEL_HEAP: Which = Which::ALL;
/// Bytes of kernel stack that taking a snapshot takes at most.
const STACK_BYTES: usize = 10 * 1024;

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

/// The last rows of one heap's sites that were written.
struct Recent {
    heap: Option<Which>,
    rows: [Written; RECENT_SITES],
    count: usize,
}

impl Recent {
    const NONE: Self = Self {
        heap: None,
        rows: [Written {
            site: 0,
            at: 0,
            figures: [0; 2],
        }; RECENT_SITES],
        count: 0,
    };

    /// The row of a site of a heap, if it is one of the last.
    fn find(&mut self, heap: Which, site: u32) -> Option<&mut Written> {
        if self.heap != Some(heap) {
            (self.heap, self.count) = (Some(heap), 0);
        }
        let known = self.count.min(RECENT_SITES);
        self.rows[..known].iter_mut().find(|row| row.site == site)
    }

    /// Keeps a row in place of the oldest.
    const fn keep(&mut self, row: Written) {
        self.rows[self.count % RECENT_SITES] = row;
        self.count += 1;
    }
}

impl<M: Machine> Writer<'_, M> {
    /// Adds a row of a heap's site, or adds it to the row that the site has.
    fn site(&mut self, open: &mut Open, recent: &mut Recent, heap: Which, row: &SiteRow) {
        let figures = [row.live_bytes, row.live_blocks];
        if row.is_counted() {
            self.record(open, row.as_bytes());
        } else if let Some(written) = recent.find(heap, row.site) {
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

    /// All live blocks by owner and call stack.
    fn live(&mut self) -> Result<(), SnapshotError> {
        let kernel = self.kernel();
        self.section_of::<LeakRecord>(|writer, open| {
            let listed = kernel.diff(Heaps::All, MarkRange::default(), &mut |record| {
                writer.record(open, record.as_bytes());
                Ok(())
            });
            listed.map_err(|_| SnapshotError::OutOfMemory)
        })
    }

    /// All call sites. Out of line: what it keeps of them must not weigh on the other sections' stack.
    #[inline(never)]
    fn sites(&mut self) -> Result<(), SnapshotError> {
        let kernel = self.kernel();
        let mut recent = Recent::NONE;
        self.heaps::<_, SITES_STEP>(
            |which, cursor, out| kernel.site_rows(which, cursor, out),
            |writer, open, which, row| writer.site(open, &mut recent, which, row),
        )
    }

    /// A section of what `ask` tells of each heap, the kernel's and those of TAs, `N` records a step, which `put` adds.
    /// A heap that ends meanwhile, or whose books make no sense, has no more.
    fn heaps<T: Record, const N: usize>(
        &mut self,
        ask: impl Fn(Which, u64, &mut [T]) -> Result<Step, PoolError>,
        mut put: impl FnMut(&mut Self, &mut Open, Which, &T),
    ) -> Result<(), SnapshotError> {
        let kernel = self.kernel();
        self.section_of::<T>(|writer, open| {
            let instances = walk(0, |from| kernel.next_instance(Which::ALL, from));
            for which in [KERNEL_HEAP].into_iter().chain((0..).map_while(instances)) {
                let mut cursor = 0;
                loop {
                    let mut rows = [T::default(); N];
                    let Ok(step) = ask(which, cursor, &mut rows) else {
                        break;
                    };
                    for row in &rows[..step.count] {
                        put(writer, open, which, row);
                    }
                    cursor = step.next;
                    if cursor == 0 {
                        break;
                    }
                }
            }
            Ok(())
        })
    }
}

/// A list that tells where to go on, from `start`, as one that is asked item by item.
pub(super) fn walk<C: Copy, T>(
    start: C,
    next: impl Fn(C) -> Option<(T, C)>,
) -> impl FnMut(usize) -> Option<T> {
    let mut at = Some(start);
    move |_| {
        let found = at.and_then(&next);
        at = found.as_ref().map(|(_, behind)| *behind);
        found.map(|(item, _)| item)
    }
}

impl<M: Machine> Inspector<'_, M> {
    /// Fills the snapshot `number`, which is being taken, for this reason; its bytes. One that
    /// fails has no memory; one that was only asked for is forgotten.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfMemory`].
    fn fill_snapshot(
        &self,
        number: u32,
        reason: u32,
        subject: TeeUuid,
        value: u64,
    ) -> Result<usize, SnapshotError> {
        let kernel = self;
        let mut writer = Writer::new(*self);
        let filled = if kernel.machine.stack_left() < STACK_BYTES {
            Err(SnapshotError::OutOfMemory)
        } else {
            self.write_all(&mut writer, reason, subject, value)
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

    fn write_all(
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
        let mut kernel = walk(0, |from| self.kernel_region(from));
        let mut tas = walk(RegionCursor::default(), |from| {
            self.ta_region(Which::ALL, from)
        });
        writer.section(|index| kernel(index).or_else(|| tas(index)))?;
        writer.sites()?;
        writer.live()?;
        let classes = |which, _, out: &mut [ClassRow]| {
            let count = self.class_rows(which, out)?;
            Ok(Step { count, next: 0 })
        };
        writer.heaps::<_, MAX_CLASSES>(classes, |writer, open, _, row| {
            writer.record(open, row.as_bytes());
        })?;
        writer.section(|index| self.command(TeeUuid::nil(), index))?;
        writer.section(walk(0, |from| {
            let row = self.failure(from)?;
            Some((row, row.number + 1))
        }))?;
        writer.section(|index| self.history(index))?;
        writer.section(|index| self.unfreed(index))?;
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

impl<M: Machine> WatchServices for Inspector<'_, M> {
    fn take_snapshot(&self) -> Result<(u32, u32), TeeResult> {
        let number = self.state().guest_mut(self.guest).book.snapshots.begin()?;
        let bytes = self.fill_snapshot(number, trigger::ASKED, TeeUuid::nil(), 0)?;
        Ok((number, bytes as u32))
    }

    fn read_snapshot(&self, number: u32, offset: u32, buf: &mut [u8]) -> Result<usize, TeeResult> {
        let state = self.state();
        let machine = &self.machine;
        Ok(state
            .guest(self.guest)
            .book
            .snapshots
            .read(machine, number, offset as usize, buf)?)
    }

    fn drop_snapshot(&self, number: u32) -> Result<(), TeeResult> {
        let mut state = self.state();
        let (pages, guest) = state.split(self.guest);
        let snapshots = &mut guest.book.snapshots;
        Ok(snapshots.forget(pages, number)?)
    }

    fn snapshot(&self, index: usize) -> Option<SnapshotRow> {
        self.state().guest(self.guest).book.snapshots.row(index)
    }

    fn arm(&self, watchpoint: Watchpoint) -> Result<u32, TeeResult> {
        Ok(self
            .state()
            .guest_mut(self.guest)
            .book
            .snapshots
            .arm(watchpoint)?)
    }
}
