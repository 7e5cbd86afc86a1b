//! Figures of pools, owners and TAs, kills, time, reports.
//!
//! **Invariant:** figures of a TA are read from outside; the TA is never entered for them, and
//! what it scribbled over its own books shows as "inconsistent", nothing else.

use crate::api::Statistics;
use crate::book::Book;
use crate::heaps::peak;
use crate::inspector::Inspector;
use crate::moment::{self, USES};
use crate::past::spent;
use crate::which::{Which, instance_from};
use alloc::vec::Vec;
use core::fmt;
use tally_abi::TeeResult;
use tally_abi::pta::stats::{AllocStats, TaStats, alloc_id};
use tally_core::guest::Guest;
use tally_core::ta::instance::{Instance, InstanceRef, Life};
use tally_mem::machine::Machine;
use tally_mem::text::TextBuffer;
use tally_mem::text::label;
use tally_records::{MeminfoRow, OwnerRow, PoolRow, pool_kind};

/// Figures of a pool that does not exist.
fn absent(name: &str) -> AllocStats {
    AllocStats {
        desc: label(name),
        ..AllocStats::default()
    }
}

/// Living and dead instances that a client can have heard of.
fn shown(guest: &Guest<Book>, index: usize) -> Option<(InstanceRef, &Instance<Book>)> {
    guest
        .instances
        .named()
        .filter(|(_, found)| found.life != Life::Loading)
        .nth(index)
}

impl<M: Machine> Statistics for Inspector<'_, M> {
    fn alloc_stats(&self, id: u32) -> AllocStats {
        match id {
            alloc_id::HEAP => self.heap().stats().alloc,
            alloc_id::TA_RAM => self.ta_ram(&self.state()).alloc,
            // Pools that Tally has not, named as optee_os `core/pta/stats.c` names those that a
            // build leaves out.
            alloc_id::PUBLIC_DDR => absent("Public DDR (deprecated)"),
            alloc_id::NEXUS_HEAP => absent("KHeap (disabled)"),
            alloc_id::RPMB => absent("RPMB secure storage (no data)"),
            _ => AllocStats::default(),
        }
    }

    fn pool(&self, index: usize) -> Option<PoolRow> {
        let (kind, instance, pool) = match index {
            0 => (pool_kind::KERNEL_HEAP, 0, self.heap().stats()),
            1 => (pool_kind::TA_MEMORY, 0, self.ta_ram(&self.state())),
            _ => {
                let instance = shown(self.state().guest(self.guest), index - 2)?.0;
                // One that has just gone leaves a row without figures.
                let pool = self.ta_pool_in_steps(instance).unwrap_or_default();
                (pool_kind::TA_HEAP, instance.generation, pool)
            }
        };
        Some(PoolRow {
            pool,
            kind,
            instance,
        })
    }

    fn ta(&self, index: usize) -> Option<TaStats> {
        let (instance, mut stats) = {
            let state = self.state();
            let (instance, found) = shown(state.guest(self.guest), index)?;
            let stats = TaStats {
                uuid: found.uuid,
                panicked: u32::from(found.life == Life::Dead),
                sess_num: found.sessions,
                ..TaStats::default()
            };
            (instance, stats)
        };
        let pool = self.ta_pool_in_steps(instance);
        stats.heap = pool.unwrap_or_default().alloc;
        Some(stats)
    }

    fn secure_ram(&self) -> u64 {
        self.secure_ram
    }

    fn meminfo(&self) -> [MeminfoRow; USES] {
        moment::meminfo(&self.state().pages)
    }

    fn owners(&self) -> Result<Vec<OwnerRow>, TeeResult> {
        self.owner_rows()
    }

    fn name_site(&self, offset: u64, out: &mut dyn fmt::Write) -> bool {
        self.heap().name_site(offset, out)
    }

    fn reset_stats(&self, id: u32) {
        if matches!(id, alloc_id::ALL | alloc_id::HEAP) {
            self.heap().reset();
        }
        if matches!(id, alloc_id::ALL | alloc_id::TA_RAM) {
            self.state().pages.reset_figures();
        }
    }

    fn reset_tas(&self) {
        self.state().guest_mut(self.guest).book.history.restart();
        let mut from = 0;
        loop {
            let mut state = self.state();
            let next = instance_from(state.guest(self.guest), Which::ALL, from);
            let Some(instance) = next.map(|(instance, _)| instance) else {
                return;
            };
            if let Some(found) = state.instance_mut(instance) {
                peak::restart(found, &self.machine);
                spent::restart_stack(found, &self.machine);
                if let Some(space) = &mut found.space {
                    space.restart_charged_max();
                }
            }
            from = instance.slot() + 1;
        }
    }

    fn dump_heap(&self) {
        self.heap().dump(&mut ConsoleLines(TextBuffer::EMPTY));
    }

    fn threads(&self) -> [u32; 3] {
        let threads = &self.threads;
        [
            threads.count() as u32,
            threads.in_use() as u32,
            threads.turned_away(),
        ]
    }

    fn last_oom(&self, out: &mut dyn fmt::Write) -> bool {
        // Both pools' last ones: the kernel heap's, then the TAs'.
        let kernel = self.heap().last_oom(out);
        let report = self.state().guest(self.guest).book.last_oom;
        kernel | (!report.text().is_empty() && out.write_str(report.text()).is_ok())
    }

    fn breathe(&self) {
        self.kernel.breathe();
    }

    fn fault(&self, kind: u32) -> TeeResult {
        match self.fault {
            Some(fault) if fault(kind) => TeeResult::SUCCESS,
            Some(_) => TeeResult::BAD_PARAMETERS,
            None => TeeResult::NOT_SUPPORTED,
        }
    }
}

/// Text that goes to the secure console line by line.
struct ConsoleLines(TextBuffer<160>);

impl fmt::Write for ConsoleLines {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive('\n') {
            // A longer line is cut.
            let _ = self.0.write_str(piece.trim_end_matches('\n'));
            if piece.ends_with('\n') {
                log::info!("{}", self.0.text());
                self.0 = TextBuffer::EMPTY;
            }
        }
        Ok(())
    }
}
