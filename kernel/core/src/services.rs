//! What the kernel does for pseudo-TAs: buffers, figures, leaks, kills, time.
//!
//! **Invariant:** none but those of its parts.
//! **Knows nothing of:** the pseudo-TAs' commands.

#[cfg(feature = "stats")]
mod audit;
mod buffers;
#[cfg(feature = "stats")]
pub(crate) mod heaps;
#[cfg(feature = "stats")]
mod inspect;
#[cfg(feature = "stats")]
mod leaks;
#[cfg(feature = "stats")]
mod scan;
#[cfg_attr(not(feature = "stats"), path = "services/no_statistics.rs")]
mod statistics;
#[cfg(feature = "stats")]
mod watch;

use crate::call::{Call, Caller};
use crate::instance::Instance;
use crate::kernel::Kernel;
use crate::owners::OwnerKind;
use crate::pta_api::Services;
use crate::rpc::{RpcArg, RpcClient};
use crate::ta_heap;
use core::cell::RefCell;
use core::fmt;
use tally_abi::pta::control::PoolStats;
use tally_abi::pta::memleak::owner_kind;
use tally_mem::addr::PAGE_SIZE;
use tally_mem::machine::Machine;
use tally_mem::pages::PageUse;

/// The services of one call.
pub struct CallServices<'k, M: Machine + 'static> {
    kernel: &'k Kernel<M>,
    #[cfg_attr(
        not(feature = "stats"),
        expect(dead_code, reason = "only a kill enters TAs")
    )]
    thread: usize,
    rpc: RefCell<RpcClient>,
    /// The TA that asks, if one does.
    caller: Option<Caller>,
}

impl<'k, M: Machine> Call<'k, M> {
    /// Lends the call's line to the normal world to services; [`CallServices::into_rpc`] gives it
    /// back.
    pub fn services(&mut self) -> CallServices<'k, M> {
        let rpc = core::mem::replace(&mut self.rpc, RpcClient::new(RpcArg::None));
        CallServices {
            kernel: self.kernel,
            thread: self.thread,
            rpc: RefCell::new(rpc),
            caller: self.caller,
        }
    }
}

impl<M: Machine> CallServices<'_, M> {
    /// Gives the line back.
    #[must_use]
    pub fn into_rpc(self) -> RpcClient {
        self.rpc.into_inner()
    }
}

/// A name as a zero-padded field.
#[must_use]
pub fn label<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let len = text.len().min(N - 1);
    field[..len].copy_from_slice(&text.as_bytes()[..len]);
    field
}

/// The figures of an instance's heap, put right and with its name.
pub(crate) fn named_pool(found: &Instance, mut pool: PoolStats) -> PoolStats {
    found.remembered.correct(&mut pool.alloc);
    pool.owner = found.uuid;
    pool.alloc.desc = label("TA heap");
    pool
}

impl<M: Machine> Kernel<M> {
    /// What the books of a TA's heap say of it without a walk, read from outside: all but the free
    /// chunks. Its last figures if it is dead.
    #[must_use]
    pub fn ta_pool_at_once(&self, found: &Instance) -> PoolStats {
        if let Some(remains) = &found.remains {
            return remains.heap;
        }
        let pool = match (&found.space, found.heap) {
            (Some(space), Some(heap)) => ta_heap::figures(&self.machine, space, heap),
            _ => PoolStats::default(),
        };
        named_pool(found, pool)
    }
}

impl<M: Machine> Services for CallServices<'_, M> {}

/// Kind and session of an owner, as clients get them.
pub(crate) const fn wire_kind(kind: OwnerKind) -> (u32, u32) {
    match kind {
        OwnerKind::Kernel => (owner_kind::KERNEL, 0),
        OwnerKind::Guest => (owner_kind::GUEST, 0),
        OwnerKind::Ta => (owner_kind::TA, 0),
        OwnerKind::Session(id) => (owner_kind::SESSION, id),
    }
}

impl<M: Machine> Kernel<M> {
    /// Writes the account of memory, for a crash report. Skips what another CPU holds locked.
    pub fn panic_account(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let Some(state) = self.try_state() else {
            return writeln!(out, "memory: locked by a CPU in the middle of a change");
        };
        for usage in PageUse::ALL {
            let pages = state.pages.used_for(*usage);
            if pages != 0 {
                writeln!(
                    out,
                    "{:<24} {:>10} bytes",
                    usage.label(),
                    pages as usize * PAGE_SIZE
                )?;
            }
        }
        writeln!(
            out,
            "{} TA instances, {} sessions, {} shared memory objects, {} of {} threads in use",
            state.guest.instances.iter().count(),
            state.guest.sessions.iter().count(),
            state.guest.shm.len(),
            self.threads.in_use(),
            self.threads.count()
        )
    }
}
