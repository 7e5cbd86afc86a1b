//! Turns: one thread at a time has something, others wait in the normal world.
//!
//! **Invariant:** who has a turn waits for no instance, and for an object or the directory only as [`Shared`] has them in order,
//! so turns come to an end.

use crate::call::Call;
use crate::observer::Observer;
use crate::ta::storage::Storage;
use tally_abi::TeeResult;
use tally_mem::machine::Machine;

/// Who has something, and who waits for it.
#[derive(Debug, Default)]
pub struct Turn {
    /// How many have it.
    taken: u8,
    /// Threads, a bit each.
    waiters: u64,
}

impl Turn {
    /// Takes it for `thread`, unless so many have it: then notes that `thread` waits.
    pub const fn take(&mut self, thread: usize, most: u8) -> bool {
        let bit = 1 << thread;
        if self.taken >= most {
            self.waiters |= bit;
            return false;
        }
        self.taken += 1;
        self.waiters &= !bit;
        true
    }

    /// Ends it. The threads that wait.
    #[must_use]
    pub const fn end(&mut self) -> u64 {
        self.taken = self.taken.saturating_sub(1);
        core::mem::replace(&mut self.waiters, 0)
    }

    /// `thread` waits no longer.
    pub const fn stop_waiting(&mut self, thread: usize) {
        self.waiters &= !(1 << thread);
    }
}

/// What one thread at a time has, or a few. Who has one of these waits for those behind it only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// Memory of the kernel heap for work on files: each call takes some 40 KiB at times.
    Work,
    /// An open object, by its slot.
    Object(usize),
    /// The directory.
    Directory,
}

impl Shared {
    /// How many may have it.
    const fn most(self) -> u8 {
        match self {
            Self::Work => 2,
            Self::Object(_) | Self::Directory => 1,
        }
    }
}

impl Storage {
    fn turn(&mut self, of: Shared) -> Option<&mut Turn> {
        match of {
            Shared::Work => Some(&mut self.work_turn),
            Shared::Directory => Some(&mut self.directory_turn),
            Shared::Object(at) => self.objects.get_mut(at).map(|open| &mut open.turn),
        }
    }
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Takes the turn of something that this call keeps from going.
    ///
    /// # Errors
    /// `BUSY` when the normal world cannot wait.
    #[inline(never)]
    pub(crate) fn take_turn(&mut self, of: Shared) -> Result<(), TeeResult> {
        loop {
            if self.has_taken(of)? {
                return Ok(());
            }
            if let Err(err) = self.wait() {
                let mut state = self.kernel.state();
                if let Some(turn) = state.guest_mut(self.guest).storage.turn(of) {
                    turn.stop_waiting(self.thread);
                }
                return Err(err);
            }
        }
    }

    fn has_taken(&self, of: Shared) -> Result<bool, TeeResult> {
        let mut state = self.kernel.state();
        let turn = state.guest_mut(self.guest).storage.turn(of);
        Ok(turn
            .ok_or(TeeResult::BAD_STATE)?
            .take(self.thread, of.most()))
    }

    /// Ends a turn and wakes who waits for it.
    #[inline(never)]
    pub(crate) fn end_turn(&mut self, of: Shared) {
        let waiters = {
            let mut state = self.kernel.state();
            let turn = state.guest_mut(self.guest).storage.turn(of);
            turn.map_or(0, Turn::end)
        };
        self.wake(waiters);
    }
}
