//! Cost of each TA command: calls, growth, peak, ticks.
//!
//! Allocations, releases and the depth of the stack take a walk over the pool's sites and over the stack; they are
//! kept only for TAs that somebody asked it for ([`Commands::set_detail`]).
//!
//! **Invariant:** the table is bounded and counts what it drops.

use alloc::vec::Vec;
use tally_abi::TeeUuid;
use tally_abi::ta::entry;
use tally_core::ta::task::TaCall;
use tally_mem::fallible::{HeapExhausted, vec_with_capacity};
use tally_records::{CommandRow, Selector, part};

/// Commands that are told apart.
pub const MAX_ROWS: usize = 64;
/// TAs whose calls are looked at in detail at a time.
pub const MAX_DETAIL: usize = 4;

/// A row, and its place among all that there ever were.
#[derive(Debug)]
struct Numbered {
    number: u64,
    row: CommandRow,
}

/// The table.
#[derive(Debug, Default)]
pub struct Commands {
    rows: Vec<Numbered>,
    /// Rows that there were before, those that were forgotten included.
    numbers: u64,
    detail: [Option<TeeUuid>; MAX_DETAIL],
    /// How many of them are set.
    details: usize,
    /// Calls of commands that had no row.
    dropped: u64,
}

/// What one call cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Ticks of the system counter.
    pub ticks: u64,
    /// It did not succeed.
    pub failed: bool,
    /// Of the heap: bytes afterwards less before, and how far it rose above where it was; `None` where the
    /// books did not add up.
    pub heap: Option<(i64, u64)>,
    /// Allocations, releases, and the deepest use of the stack in bytes, if the call was looked at in detail.
    pub detail: Option<[u64; 3]>,
}

impl Commands {
    /// An empty table.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn new() -> Result<Self, HeapExhausted> {
        Ok(Self {
            rows: vec_with_capacity(MAX_ROWS)?,
            numbers: 0,
            detail: [None; MAX_DETAIL],
            details: 0,
            dropped: 0,
        })
    }

    /// The next row that is meant, in the order of first calls, and where to go on. Calls of all instances of a TA are
    /// counted together.
    #[must_use]
    pub fn next(&self, of: &Selector, cursor: u64) -> Option<(CommandRow, u64)> {
        let is_meant = |row: &CommandRow| match of.part {
            part::ALL | part::TAS => true,
            part::TA | part::INSTANCE => row.uuid == of.uuid,
            _ => false,
        };
        let mut rows = self.rows.iter();
        let found = rows.find(|found| found.number >= cursor && is_meant(&found.row))?;
        Some((found.row, found.number + 1))
    }

    /// Calls of commands that had no row.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Forgets the rows of a TA, or all if `uuid` is nil.
    pub fn clear(&mut self, uuid: TeeUuid) {
        self.rows
            .retain(|found| uuid != TeeUuid::nil() && found.row.uuid != uuid);
        if uuid == TeeUuid::nil() {
            self.dropped = 0;
        }
    }

    /// Looks at the calls of a TA in detail, or no more. False when there are too many such TAs.
    pub fn set_detail(&mut self, uuid: TeeUuid, on: bool) -> bool {
        for place in &mut self.detail {
            if *place == Some(uuid) {
                *place = None;
            }
        }
        let free = self.detail.iter_mut().find(|place| place.is_none());
        let done = match free {
            Some(place) if on => {
                *place = Some(uuid);
                true
            }
            Some(_) => true,
            None => !on,
        };
        self.details = self.detail.iter().flatten().count();
        done
    }

    /// Whether a TA's calls are looked at in detail.
    #[must_use]
    pub fn is_detailed(&self, uuid: TeeUuid) -> bool {
        self.details != 0 && self.detail.contains(&Some(uuid))
    }

    /// Adds a call of a TA. `last`: the row of its last call, which is a hint.
    pub fn add(&mut self, uuid: TeeUuid, call: TaCall, spent: &Spent, last: &mut usize) {
        let Some(row) = self.row_for(uuid, call, last) else {
            self.dropped += 1;
            return;
        };
        row.calls += 1;
        row.failed += u64::from(spent.failed);
        row.ticks = row.ticks.wrapping_add(spent.ticks);
        if let Some((net, above)) = spent.heap {
            row.net_bytes = row.net_bytes.wrapping_add(net);
            row.heap_above_entry = row.heap_above_entry.max(above);
        }
        if let Some([allocations, releases, depth]) = spent.detail {
            row.detailed += 1;
            row.allocations = row.allocations.wrapping_add(allocations);
            row.releases = row.releases.wrapping_add(releases);
            row.stack_deepest = row.stack_deepest.max(depth);
        }
    }

    fn row_for(
        &mut self,
        uuid: TeeUuid,
        call: TaCall,
        last: &mut usize,
    ) -> Option<&mut CommandRow> {
        let function = call.function as u32;
        let is_it = |Numbered { row, .. }: &Numbered| {
            row.command == call.command && row.function == function && row.uuid == uuid
        };
        if !self.rows.get(*last).is_some_and(is_it) {
            *last = match self.rows.iter().position(is_it) {
                Some(at) => at,
                None if self.rows.len() < MAX_ROWS => {
                    let row = CommandRow {
                        uuid,
                        function,
                        command: call.command,
                        ..CommandRow::default()
                    };
                    let number = self.numbers;
                    self.numbers += 1;
                    self.rows.push(Numbered { number, row });
                    self.rows.len() - 1
                }
                None => return None,
            };
        }
        self.rows.get_mut(*last).map(|found| &mut found.row)
    }
}

/// Whether a call is one of a command's, as opposed to a session's beginning and end.
#[must_use]
pub const fn is_command(call: &TaCall) -> bool {
    call.function == entry::INVOKE_COMMAND
}
