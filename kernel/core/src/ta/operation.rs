//! Operations of a session: who cancels one, and until when it may take.
//!
//! **Invariant:** what is asked of one operation changes nothing of another, in the same session or not.

use alloc::vec::Vec;
use tally_mem::fallible::{HeapExhausted, try_push};

/// An operation in flight. It begins with cancellation masked (GPD_SPE_010 §4.10).
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Thread that serves it.
    thread: usize,
    /// Its name to who may cancel it.
    cancel_id: u32,
    /// Milliseconds of uptime after which it counts as cancelled.
    until: Option<u64>,
    /// Somebody asked to cancel it.
    cancelled: bool,
    /// The TA does not want to hear of it.
    pub masked: bool,
}

impl Operation {
    /// A new one.
    #[must_use]
    pub const fn new(thread: usize, cancel_id: u32, until: Option<u64>) -> Self {
        Self {
            thread,
            cancel_id,
            until,
            cancelled: false,
            masked: true,
        }
    }

    /// Whether the TA is to hear, at `now` milliseconds of uptime, that it is cancelled.
    #[must_use]
    pub fn is_cancelled(&self, now: u64) -> bool {
        let is_late = self.until.is_some_and(|until| now >= until);
        !self.masked && (self.cancelled || is_late)
    }
}

/// The operations of a session, one a thread. A second one at a time takes memory of the heap's current owner.
#[derive(Debug, Default)]
pub struct Operations {
    first: Option<Operation>,
    more: Vec<Operation>,
}

impl Operations {
    /// One.
    #[must_use]
    pub const fn one(operation: Operation) -> Self {
        Self {
            first: Some(operation),
            more: Vec::new(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty()
    }

    /// Adds one.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn begin(&mut self, operation: Operation) -> Result<(), HeapExhausted> {
        if self.first.is_none() {
            self.first = Some(operation);
            return Ok(());
        }
        try_push(&mut self.more, operation)
    }

    /// Takes out that of a thread.
    pub fn end(&mut self, thread: usize) {
        self.first.take_if(|first| first.thread == thread);
        self.more.retain(|other| other.thread != thread);
        if self.more.is_empty() {
            self.more = Vec::new();
        }
    }

    /// That of a thread.
    pub fn of(&mut self, thread: usize) -> Option<&mut Operation> {
        let mut all = self.first.iter_mut().chain(&mut self.more);
        all.find(|operation| operation.thread == thread)
    }

    /// Asks all with this id to end.
    pub fn cancel(&mut self, cancel_id: u32) {
        for operation in self.first.iter_mut().chain(&mut self.more) {
            operation.cancelled |= operation.cancel_id == cancel_id;
        }
    }
}
