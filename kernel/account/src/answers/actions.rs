//! Figures that OP-TEE's tools ask for, resets, checks, marks, scans, snapshots.
//!
//! **Invariant:** a TA is never entered to find something out about it.

use crate::api::{Actions, Rows};
use crate::book::Book;
use crate::heaps::peak;
use crate::inspector::Inspector;
use crate::past::spent;
use crate::past::wrong_orders::Totals;
use crate::selected::instance_from;
use crate::snapshot::keep::Watchpoint;
use core::fmt;
use tally_abi::pta::audit::ledger;
use tally_abi::pta::control::pool;
use tally_abi::pta::stats::{AllocStats, TaStats, alloc_id};
use tally_abi::{TeeResult, TeeUuid};
use tally_core::guest::Guest;
use tally_core::ta::instance::{Instance, InstanceRef, Life};
use tally_mem::injection::Injection;
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;
use tally_mem::text::{TextBuffer, label};
use tally_records::{BlockRow, Selector, trigger};

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

impl<M: Machine> Actions for Inspector<'_, M> {
    fn alloc_stats(&self, id: u32) -> AllocStats {
        match id {
            alloc_id::HEAP => self.kernel_pool_in_steps().alloc,
            alloc_id::TA_RAM => self.ta_ram(&self.state()).alloc,
            // Pools that Tally has not, named as optee_os `core/pta/stats.c` names those that a
            // build leaves out.
            alloc_id::PUBLIC_DDR => absent("Public DDR (deprecated)"),
            alloc_id::NEXUS_HEAP => absent("KHeap (disabled)"),
            alloc_id::RPMB => absent("RPMB secure storage (no data)"),
            _ => AllocStats::default(),
        }
    }

    fn ta_stats(&self, index: usize) -> Option<TaStats> {
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
            let next = instance_from(state.guest(self.guest), &Selector::ALL, from);
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
            drop(state);
            self.breathe();
        }
    }

    fn dump_heap(&self) {
        self.heap().dump(&mut ConsoleLines {
            line: TextBuffer::EMPTY,
            breathe: &|| self.kernel.breathe(),
        });
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

    fn inject(&self, pool: u32, injection: Injection) -> Result<Injection, TeeResult> {
        if self.fault.is_none() {
            return Err(TeeResult::NOT_SUPPORTED);
        }
        match pool {
            pool::HEAP => Ok(self.kernel.heap.inject(injection)),
            pool::PAGES => Ok(self.state().pages.inject(injection)),
            _ => Err(TeeResult::BAD_PARAMETERS),
        }
    }

    fn print_status(&self, uuid: TeeUuid) -> usize {
        self.print_status(uuid)
    }

    fn check_heap(&self, of: &Selector) -> Result<(u32, u32), TeeResult> {
        self.check_heap(self.heap_of(of)?)
    }

    fn block_at(&self, of: &Selector, at: u64) -> Result<BlockRow, TeeResult> {
        self.block_in(self.heap_of(of)?, at)
    }

    fn heap_bytes(&self, of: &Selector, offset: u64, out: &mut [u8]) -> Result<(), TeeResult> {
        self.bytes_in(self.heap_of(of)?, offset, out)
    }

    fn mark(&self, name: &[u8]) -> Result<u16, TeeResult> {
        self.set_mark(name)
    }

    fn heap_count(&self, of: &Selector) -> usize {
        self.heaps(of).count()
    }

    fn scan(&self, of: &Selector, out: &mut dyn Rows) -> Result<(), TeeResult> {
        self.alive(of)?;
        self.as_owner(OwnerId::CALL, || self.scan_heaps(of, out))
    }

    fn clear(&self, of: &Selector) -> Result<u32, TeeResult> {
        self.alive(of)?;
        self.clear_suspects(of)
    }

    fn audit_totals(&self) -> Totals {
        self.state().guest(self.guest).book.orders.totals()
    }

    fn ledger(&self, uuid: TeeUuid, what: u32) -> Result<(), TeeResult> {
        let mut state = self.state();
        let commands = &mut state.guest_mut(self.guest).book.commands;
        match what {
            ledger::DETAIL | ledger::PLAIN => {
                if !commands.set_detail(uuid, what == ledger::DETAIL) {
                    return Err(TeeResult::OUT_OF_MEMORY);
                }
            }
            ledger::CLEAR => commands.clear(uuid),
            _ => return Err(TeeResult::BAD_PARAMETERS),
        }
        Ok(())
    }

    fn set_buffer_fault(&self, on: bool) -> Result<(), TeeResult> {
        if self.fault.is_none() {
            return Err(TeeResult::NOT_SUPPORTED);
        }
        let lost = self.state().guest_mut(self.guest).buffers.set_faulty(on);
        // Without the lock: there can be many.
        drop(lost);
        Ok(())
    }

    fn take_snapshot(&self) -> Result<(u32, u32), TeeResult> {
        let number = self.state().guest_mut(self.guest).book.snapshots.begin()?;
        let bytes = self.fill_snapshot(number, trigger::ASKED, TeeUuid::nil(), 0)?;
        Ok((number, bytes as u32))
    }

    fn read_snapshot(&self, number: u32, offset: u32, buf: &mut [u8]) -> Result<usize, TeeResult> {
        let state = self.state();
        let snapshots = &state.guest(self.guest).book.snapshots;
        Ok(snapshots.read(&self.machine, number, offset as usize, buf)?)
    }

    fn drop_snapshot(&self, number: u32) -> Result<(), TeeResult> {
        let mut state = self.state();
        let (pages, guest) = state.split(self.guest);
        Ok(guest.book.snapshots.forget(pages, number)?)
    }

    fn arm(&self, watchpoint: Watchpoint) -> Result<u32, TeeResult> {
        let mut state = self.state();
        let snapshots = &mut state.guest_mut(self.guest).book.snapshots;
        Ok(snapshots.arm(watchpoint)?)
    }
}

/// Text that goes to the secure console line by line, between which interrupts have their turn.
struct ConsoleLines<'a> {
    line: TextBuffer<160>,
    breathe: &'a dyn Fn(),
}

impl fmt::Write for ConsoleLines<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive('\n') {
            // A longer line is cut.
            let _ = self.line.write_str(piece.trim_end_matches('\n'));
            if piece.ends_with('\n') {
                log::info!("{}", self.line.text());
                self.line = TextBuffer::EMPTY;
                (self.breathe)();
            }
        }
        Ok(())
    }
}
