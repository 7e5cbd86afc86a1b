//! The sections of a snapshot that are of one moment: uses of secure RAM, pools, owners and TAs.
//!
//! **Invariant:** while the moment lasts nothing is allocated, and only rows that were made room for are written.

use crate::book::Book;
use crate::moment::{Moment, USES};
use crate::snapshot::keep::SnapshotError;
use crate::snapshot::writer::Writer;
use crate::tas::detail::Steps;
use tally_core::ta::instance::{Instance, InstanceRef, Life};
use tally_mem::machine::Machine;
use tally_records::snapshot::Section;
use tally_records::{MeminfoRow, OwnerRow, PoolRow, PoolStats, TaDetail, pool_kind};
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
struct KnownSteps {
    at: usize,
    count: usize,
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
            let walked = kernel.kernel_pool_in_steps();
            let moment = kernel.moment();
            let guest = moment.guest();
            let fits = guest.instances.iter().count() <= room.tas
                && moment.owner_names().iter().count() <= room.owners;
            if fits || last {
                self.bring_up_to_date(&moment, known)?;
                return self.write_moment(&moment, room, known, walked);
            }
        }
        Ok(())
    }

    /// Finds out what takes steps of so many TAs at most. Out of line: the moment must not lie on the stack below.
    #[inline(never)]
    fn steps(&mut self, room: Room) -> Result<KnownSteps, SnapshotError> {
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
        Ok(KnownSteps { at, count })
    }

    /// Takes over of the heaps what has changed since their steps, once for all sections.
    fn bring_up_to_date(
        &mut self,
        moment: &Moment<'_, M>,
        known: KnownSteps,
    ) -> Result<(), SnapshotError> {
        let kernel = self.kernel();
        for n in 0..known.count {
            let at = known.at + n * size_of::<Steps>();
            let steps: Steps = self.read(at);
            if let Some(steps) = kernel.steps_by_now(moment.guest(), steps) {
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
        known: KnownSteps,
        walked: PoolStats,
    ) -> Result<(), SnapshotError> {
        let mut open = self.begin::<MeminfoRow>()?;
        for row in moment.meminfo() {
            self.put(&mut open, row.as_bytes());
        }
        self.end(&open)?;
        let mut open = self.begin::<PoolRow>()?;
        for row in moment.pools(walked) {
            self.put(&mut open, row.as_bytes());
        }
        self.tas(moment, room, known, |writer, (_, found), steps| {
            if found.life != Life::Loading {
                let row = PoolRow {
                    pool: steps.heap,
                    kind: pool_kind::TA_HEAP,
                    instance: found.generation,
                };
                writer.put(&mut open, row.as_bytes());
            }
        });
        self.end(&open)?;
        let mut open = self.begin::<OwnerRow>()?;
        for (n, row) in moment.owners().enumerate() {
            if n < room.owners {
                self.put(&mut open, row.as_bytes());
            } else {
                self.drop_record();
            }
        }
        self.end(&open)?;
        let mut open = self.begin::<TaDetail>()?;
        self.tas(moment, room, known, |writer, ta, steps| {
            writer.put(&mut open, moment.ta(ta, steps).as_bytes());
        });
        self.end(&open)
    }

    /// Has `put` add a row of each TA. Those that there is no room for are counted.
    fn tas(
        &mut self,
        moment: &Moment<'_, M>,
        room: Room,
        known: KnownSteps,
        mut put: impl FnMut(&mut Self, (InstanceRef, &Instance<Book>), &Steps),
    ) {
        let kernel = self.kernel();
        let places = (0..known.count).map(|n| known.at + n * size_of::<Steps>());
        let mut places = places.peekable();
        for (n, (instance, found)) in moment.guest().instances.named().enumerate() {
            if n >= room.tas {
                self.drop_record();
                continue;
            }
            let is_before = |at: &usize| self.read::<Steps>(*at).is_before(instance);
            while places.next_if(is_before).is_some() {}
            let steps = places.peek().map(|at| self.read::<Steps>(*at));
            match steps.filter(|steps| steps.are_of(instance)) {
                Some(steps) => put(self, (instance, found), &steps),
                // It began since.
                None => put(
                    self,
                    (instance, found),
                    &kernel.steps_at_once(instance, found),
                ),
            }
        }
    }
}
