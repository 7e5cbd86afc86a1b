//! The sections of a snapshot that are of one moment: uses of secure RAM, pools, owners and TAs.
//!
//! **Invariant:** while the moment lasts nothing is allocated, and only rows that were made room for are written.

use crate::book::Book;
use crate::moment::{Moment, USES};
use crate::snapshot::keep::SnapshotError;
use crate::snapshot::writer::{Open, Writer};
use crate::tas::detail::{Known, Steps};
use tally_core::ta::instance::{Instance, InstanceRef, Life};
use tally_mem::machine::Machine;
use tally_records::snapshot::Section;
use tally_records::{MeminfoRow, OwnerRow, PoolRow, PoolStats, Record, TaDetail, pool_kind};
use zerocopy::IntoBytes;

/// Rows that are made room for besides those that there are.
const MORE_ROWS: usize = 4;

/// How many rows there is room for.
#[derive(Clone, Copy)]
struct Room {
    tas: usize,
    owners: usize,
}

impl Room {
    const fn bytes(self) -> usize {
        4 * size_of::<Section>()
            + size_of::<[MeminfoRow; USES]>()
            + (2 + self.tas) * size_of::<PoolRow>()
            + self.owners * size_of::<OwnerRow>()
            + self.tas * size_of::<TaDetail>()
    }
}

/// What was found out of TAs before the moment, in a snapshot behind the sections of the moment.
#[derive(Clone, Copy)]
struct Found {
    at: usize,
    count: usize,
}

impl Found {
    /// Where the [`Steps`] of each are.
    fn places(self) -> impl Iterator<Item = usize> {
        (0..self.count).map(move |n| self.at + n * size_of::<Steps>())
    }
}

impl<M: Machine> Writer<'_, M> {
    /// The sections of one moment.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfMemory`].
    #[inline(never)]
    pub(super) fn moment(&mut self) -> Result<(), SnapshotError> {
        let kernel = self.kernel();
        for last in [false, false, true] {
            let room = {
                let state = kernel.state();
                let guest = state.guest(kernel.guest);
                Room {
                    tas: guest.instances.iter().count() + MORE_ROWS,
                    owners: kernel.owners().iter().count() + MORE_ROWS,
                }
            };
            let known = self.steps(room)?;
            let walked = self.walked();
            let moment = kernel.moment();
            let guest = moment.guest();
            let fits = guest.instances.iter().count() <= room.tas
                && moment.owner_names().iter().count() <= room.owners;
            if fits || last {
                self.bring_up_to_date(&moment, known)?;
                return self.write_moment(&moment, room, known, &walked);
            }
        }
        Ok(())
    }

    /// Finds out what takes steps of so many TAs at most. Out of line: the moment must not lie on the stack below.
    #[inline(never)]
    fn steps(&mut self, room: Room) -> Result<Found, SnapshotError> {
        let kernel = self.kernel();
        self.make_room(room.bytes() + room.tas * size_of::<Steps>())?;
        let at = self.offset() + room.bytes();
        let mut count = 0;
        let mut from = 0;
        while count < room.tas
            && let Some((instance, behind)) = kernel.instance_after(from)
        {
            from = behind;
            // One that has just gone has none.
            if let Some(steps) = kernel.steps(instance) {
                self.write(at + count * size_of::<Steps>(), steps.as_bytes())?;
                count += 1;
            }
            kernel.breathe();
        }
        Ok(Found { at, count })
    }

    /// Pools with what a walk alone tells. Out of line, as above.
    #[inline(never)]
    fn walked(&self) -> [PoolStats; 2] {
        let kernel = self.kernel();
        let pages = kernel.ta_ram(&kernel.state());
        kernel.breathe();
        let heap = kernel.kernel_pool_in_steps();
        kernel.breathe();
        [heap, pages]
    }

    /// Takes over of the heaps what has changed since their steps, once for all sections.
    #[inline(never)]
    fn bring_up_to_date(
        &mut self,
        moment: &Moment<'_, M>,
        known: Found,
    ) -> Result<(), SnapshotError> {
        let kernel = self.kernel();
        for at in known.places() {
            let instance: Known = self.read(at);
            if let Some(found) = kernel.has_changed(moment.guest(), &instance) {
                let mut steps: Steps = self.read(at);
                steps.heap = kernel.ta_pool_by_now(found, &steps.heap);
                self.write(at, steps.as_bytes())?;
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn write_moment(
        &mut self,
        moment: &Moment<'_, M>,
        room: Room,
        known: Found,
        walked: &[PoolStats; 2],
    ) -> Result<(), SnapshotError> {
        let mut open = self.begin::<MeminfoRow>()?;
        self.put_all(&mut open, &moment.meminfo());
        self.end(&open)?;
        let mut open = self.begin::<PoolRow>()?;
        self.put_all(&mut open, &moment.pools(walked));
        self.ta_pools(&mut open, moment, room, known);
        self.end(&open)?;
        let mut open = self.begin::<OwnerRow>()?;
        self.owners(&mut open, moment, room.owners);
        self.end(&open)?;
        let mut open = self.begin::<TaDetail>()?;
        self.tas(&mut open, moment, room, known);
        self.end(&open)
    }

    /// Adds the heap of each TA.
    #[inline(never)]
    fn ta_pools(&mut self, open: &mut Open, moment: &Moment<'_, M>, room: Room, known: Found) {
        let mut rows = Batch::<PoolRow, 4>::new();
        self.each_ta(moment, room, known, |writer, (_, found), steps| {
            if found.life != Life::Loading {
                let row = PoolRow {
                    pool: steps.heap,
                    kind: pool_kind::TA_HEAP,
                    instance: found.generation,
                };
                rows.add(row, writer, open);
            }
        });
        rows.end(self, open);
    }

    /// Adds each TA.
    #[inline(never)]
    fn tas(&mut self, open: &mut Open, moment: &Moment<'_, M>, room: Room, known: Found) {
        let mut rows = Batch::<TaDetail, 2>::new();
        self.each_ta(moment, room, known, |writer, ta, steps| {
            rows.add(moment.ta(ta, steps), writer, open);
        });
        rows.end(self, open);
    }

    /// Adds so many owners at most. Those that there is no room for are counted.
    #[inline(never)]
    fn owners(&mut self, open: &mut Open, moment: &Moment<'_, M>, room: usize) {
        let mut rows = Batch::<OwnerRow, 8>::new();
        let mut owners = moment.owners();
        for row in owners.by_ref().take(room) {
            rows.add(row, self, open);
        }
        rows.end(self, open);
        for _ in owners {
            self.drop_record();
        }
    }

    /// Has `put` add a row of each TA. Those that there is no room for are counted.
    fn each_ta(
        &mut self,
        moment: &Moment<'_, M>,
        room: Room,
        known: Found,
        mut put: impl FnMut(&mut Self, (InstanceRef, &Instance<Book>), &Steps),
    ) {
        let kernel = self.kernel();
        let mut places = known.places();
        let mut next: Option<Steps> = None;
        for (n, (instance, found)) in moment.guest().instances.named().enumerate() {
            if n >= room.tas {
                self.drop_record();
                continue;
            }
            let is_before = |steps: &Steps| steps.are_before(instance);
            while next.as_ref().is_none_or(is_before)
                && let Some(at) = places.next()
            {
                next = Some(self.read(at));
            }
            match next.as_ref().filter(|steps| steps.are_of(instance)) {
                Some(steps) => put(self, (instance, found), steps),
                // It began since.
                None => put(self, (instance, found), &kernel.steps_at_once(found)),
            }
        }
    }
}

/// Rows that are written together.
struct Batch<T, const N: usize> {
    rows: [T; N],
    count: usize,
}

impl<T: Record, const N: usize> Batch<T, N> {
    fn new() -> Self {
        Self {
            rows: [T::default(); N],
            count: 0,
        }
    }

    fn add<M: Machine>(&mut self, row: T, writer: &mut Writer<'_, M>, open: &mut Open) {
        self.rows[self.count] = row;
        self.count += 1;
        if self.count == N {
            writer.put_all(open, &self.rows);
            self.count = 0;
        }
    }

    /// Writes what is left.
    fn end<M: Machine>(self, writer: &mut Writer<'_, M>, open: &mut Open) {
        writer.put_all(open, &self.rows[..self.count]);
    }
}
