//! One yielding call: its thread and its line to the normal world.

pub mod args;
pub(crate) mod claim;
pub mod entry;
pub mod guest_life;
pub mod large_args;
pub mod message;
pub mod rpc;
pub mod shm;
pub mod thread;
mod thread_stacks;

use crate::guest_id::GuestId;
use crate::kernel::Kernel;
use crate::observer::Observer;
use crate::ta::closing::Closings;
use crate::ta::load::Libraries;
use crate::ta::session::Caller;
use crate::ta::storage::StorageCall;
use rpc::{RpcArg, RpcClient, RpcShm};
use tally_abi::rpc::notification;
use tally_abi::{TeeResult, smc};
use tally_mem::machine::Machine;

/// A yielding call.
pub struct Call<'k, M: Machine + 'static, O: Observer> {
    /// The kernel.
    pub kernel: &'k Kernel<M, O>,
    /// Whose call it is.
    pub guest: GuestId,
    /// Number of the thread it runs on.
    pub thread: usize,
    /// Its line to the normal world.
    pub rpc: RpcClient<'k>,
    /// The TA that asks for a session's use, innermost of a chain.
    pub caller: Option<Caller>,
    /// What it has left to close.
    pub(crate) closings: Closings,
    /// What `ldelf` has opened in it.
    pub(crate) libraries: Libraries,
    /// Memory that it has for files of trusted storage.
    pub(crate) file_memory: Option<RpcShm>,
    /// What its system call of storage has taken so far; its ticks are when that began.
    pub(crate) storage_call: StorageCall,
}

impl<'k, M: Machine, O: Observer> Call<'k, M, O> {
    /// A call of a guest on the current thread.
    #[must_use]
    pub fn new(kernel: &'k Kernel<M, O>, guest: GuestId, rpc: RpcArg) -> Self {
        let thread = kernel.machine.thread_id();
        Self {
            kernel,
            guest,
            thread,
            rpc: RpcClient::new(rpc, &kernel.gates[guest.index()]),
            caller: None,
            closings: Closings::default(),
            libraries: Libraries::default(),
            file_memory: None,
            storage_call: StorageCall::default(),
        }
    }

    /// Ends what the call has put off, and gives back what it borrowed of the normal world.
    pub fn finish(&mut self) {
        self.end_put_off();
        self.give_file_memory_back();
        self.rpc.finish(&self.kernel.machine);
    }

    /// Lets the normal world handle its interrupts, then goes on.
    pub fn yield_to_normal(&self) {
        let thread = self.thread as u64;
        self.kernel
            .machine
            .suspend([u64::from(smc::ret::RPC_FOREIGN_INTR), 0, 0, thread]);
    }

    /// Waits until somebody wakes this thread.
    ///
    /// # Errors
    /// `BUSY` when the normal world cannot wait.
    pub fn wait(&mut self) -> Result<(), TeeResult> {
        self.rpc
            .notification(&self.kernel.machine, notification::WAIT, self.thread as u64)
            .map_err(|_| TeeResult::BUSY)
    }

    /// Wakes threads, a bit each.
    pub fn wake(&mut self, mut waiters: u64) {
        while waiters != 0 {
            let thread = waiters.trailing_zeros();
            waiters &= waiters - 1;
            let sent =
                self.rpc
                    .notification(&self.kernel.machine, notification::SEND, u64::from(thread));
            if let Err(err) = sent {
                log::error!("cannot wake thread {thread}: {err}");
            }
        }
    }
}
