//! State of the kernel's threads.
//!
//! **Invariant:** a thread is started only from `Free`, resumed only from `Suspended`, and each
//! of those transitions has one winner.

use crate::guest_id::GuestId;
use core::ops::Range;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use tally_mem::machine::UserContext;

/// Most threads a table can have.
pub const MAX_THREADS: usize = 64;

const FREE: u8 = 0;
const ACTIVE: u8 = 1;
const SUSPENDED: u8 = 2;

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It can be started.
    Free,
    /// It runs on some CPU.
    Active,
    /// It is suspended to the normal world.
    Suspended,
}

/// Which threads are free, active on some CPU, or suspended to the normal world.
#[derive(Debug)]
pub struct ThreadTable {
    states: [AtomicU8; MAX_THREADS],
    /// Stack pointers of the TAs that threads run, as of their last trap.
    user_sp: [AtomicU64; MAX_THREADS],
    /// Guests whose calls threads run, by their places in the table.
    guests: [AtomicU8; MAX_THREADS],
    /// Where threads keep the registers of the TAs that they run.
    user_context: [AtomicU64; MAX_THREADS],
    count: usize,
    turned_away: AtomicU32,
}

impl ThreadTable {
    /// A table of `count` free threads (at most [`MAX_THREADS`]).
    #[must_use]
    pub const fn new(count: usize) -> Self {
        let count = if count > MAX_THREADS {
            MAX_THREADS
        } else {
            count
        };
        Self {
            states: [const { AtomicU8::new(FREE) }; MAX_THREADS],
            user_sp: [const { AtomicU64::new(0) }; MAX_THREADS],
            guests: [const { AtomicU8::new(0) }; MAX_THREADS],
            user_context: [const { AtomicU64::new(0) }; MAX_THREADS],
            count,
            turned_away: AtomicU32::new(0),
        }
    }

    /// How many threads there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Whether a thread is one of the last, which are given out when all others are taken: a sixteenth of them is for
    /// those who ask the account, or end TAs, and for what ends by itself.
    #[must_use]
    pub const fn is_kept(&self, thread: usize) -> bool {
        thread >= self.count - self.count / 16
    }

    /// Notes where the TA that `thread` runs has its stack pointer.
    pub fn note_user_sp(&self, thread: usize, sp: u64) {
        if let Some(noted) = self.user_sp.get(thread) {
            noted.store(sp, Ordering::Relaxed);
        }
    }

    /// Where the TA that `thread` runs had its stack pointer at its last trap.
    #[must_use]
    pub fn user_sp(&self, thread: usize) -> u64 {
        self.user_sp
            .get(thread)
            .map_or(0, |noted| noted.load(Ordering::Relaxed))
    }

    /// Notes at which kernel address `thread` keeps the registers of the TA that it runs.
    pub fn note_user_context(&self, thread: usize, context: &UserContext) {
        if let Some(noted) = self.user_context.get(thread) {
            let address = core::ptr::from_ref(context).addr() as u64;
            noted.store(address, Ordering::Relaxed);
        }
    }

    /// Kernel addresses of the registers of the TA that `thread` runs, as of its last trap.
    #[must_use]
    pub fn user_context(&self, thread: usize) -> Range<u64> {
        let noted = self.user_context.get(thread);
        let start = noted.map_or(0, |noted| noted.load(Ordering::Relaxed));
        start..start + size_of::<UserContext>() as u64
    }

    /// Claims a free thread for a new call of a guest, or `None` when all are taken.
    pub fn start(&self, guest: GuestId) -> Option<usize> {
        let thread = (0..self.count).find(|&thread| self.step(thread, FREE, ACTIVE))?;
        self.guests[thread].store(guest.index() as u8, Ordering::Relaxed);
        Some(thread)
    }

    /// Threads that run calls of a guest, a bit each.
    #[must_use]
    pub fn of(&self, guest: GuestId) -> u64 {
        let is_its = |thread: &usize| {
            self.activity(*thread) != Activity::Free
                && usize::from(self.guests[*thread].load(Ordering::Relaxed)) == guest.index()
        };
        let threads = (0..self.count).filter(is_its);
        threads.fold(0, |bits, thread| bits | 1 << thread)
    }

    /// Whose call a thread runs, or ran last.
    #[must_use]
    pub fn guest(&self, thread: usize) -> GuestId {
        let place = self.guests.get(thread);
        let place = place.map_or(0, |guest| guest.load(Ordering::Relaxed));
        let guest = GuestId::ALL.get(usize::from(place));
        guest.copied().unwrap_or(GuestId::FIRST)
    }

    /// Notes a call that could not be given a thread with a stack.
    pub fn turn_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls that could not be given one.
    #[must_use]
    pub fn turned_away(&self) -> u32 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Claims a suspended thread to resume; false if `thread` is not suspended.
    pub fn resume(&self, thread: u64) -> bool {
        usize::try_from(thread)
            .is_ok_and(|thread| thread < self.count && self.step(thread, SUSPENDED, ACTIVE))
    }

    /// The active `thread` has left its stack and may be resumed anywhere.
    pub fn suspended(&self, thread: usize) {
        self.step(thread, ACTIVE, SUSPENDED);
    }

    /// The active `thread` has ended.
    pub fn done(&self, thread: usize) {
        self.step(thread, ACTIVE, FREE);
    }

    /// Whether no thread is active or suspended.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.states
            .iter()
            .all(|state| state.load(Ordering::Acquire) == FREE)
    }

    /// What a thread does at this moment.
    #[must_use]
    pub fn activity(&self, thread: usize) -> Activity {
        let state = self.states.get(thread);
        match state.map_or(FREE, |state| state.load(Ordering::Acquire)) {
            ACTIVE => Activity::Active,
            SUSPENDED => Activity::Suspended,
            _ => Activity::Free,
        }
    }

    /// Threads that are active or suspended.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.states
            .iter()
            .filter(|state| state.load(Ordering::Acquire) != FREE)
            .count()
    }

    fn step(&self, thread: usize, from: u8, to: u8) -> bool {
        self.states.get(thread).is_some_and(|state| {
            state
                .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Activity, ThreadTable};
    use crate::guest_id::GuestId;
    use tally_mem::machine::UserContext;

    #[test]
    fn what_a_thread_does_and_where_its_ta_is_can_be_told() {
        let table = ThreadTable::new(3);
        let threads = [0, 1, 2].map(|_| table.start(GuestId::FIRST));
        assert_eq!(threads, [0, 1, 2].map(Some));
        table.suspended(1);
        table.done(0);
        let activities = [0, 1, 2, 3].map(|thread| table.activity(thread));
        let [free, active, suspended] = [Activity::Free, Activity::Active, Activity::Suspended];
        assert_eq!(activities, [free, suspended, active, free]);
        assert_eq!(table.of(GuestId::FIRST), 0b110);
        let context = UserContext::default();
        table.note_user_sp(1, 0x1234);
        table.note_user_context(2, &context);
        assert_eq!(
            [0, 1, 2, 99].map(|thread| table.user_sp(thread)),
            [0, 0x1234, 0, 0]
        );
        let begin = core::ptr::from_ref(&context).addr() as u64;
        let end = begin + size_of::<UserContext>() as u64;
        assert_eq!(table.user_context(2), begin..end);
        assert_eq!(table.user_context(1), 0..end - begin);
    }

    #[test]
    fn a_thread_is_resumed_only_when_suspended() {
        let table = ThreadTable::new(2);
        assert!(!table.resume(0));
        assert_eq!(table.start(GuestId::FIRST), Some(0));
        assert!(!table.resume(0));
        table.suspended(0);
        assert!(table.resume(0));
        assert!(!table.resume(0));
        table.done(0);
        assert!(table.idle());
    }

    #[test]
    fn the_limit_is_the_table_not_the_array() {
        let table = ThreadTable::new(2);
        assert_eq!(
            (
                table.start(GuestId::FIRST),
                table.start(GuestId::FIRST),
                table.start(GuestId::FIRST)
            ),
            (Some(0), Some(1), None)
        );
        assert!(!table.resume(2));
        assert!(!table.resume(u64::MAX));
        assert_eq!(table.in_use(), 2);
    }
}
