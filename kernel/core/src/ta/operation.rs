//! Operations of a session: who cancels one, and until when it may take.
//!
//! **Invariant:** what is asked of one operation changes nothing of another, in the same session or not.

use crate::call::thread::MAX_THREADS;
use alloc::vec::Vec;
use tally_mem::fallible::{HeapExhausted, TryBox, try_push, vec_with_capacity};

/// An operation in flight. It begins with cancellation masked (GPD_SPE_010 §4.10).
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Milliseconds of uptime after which it counts as cancelled.
    until: u64,
    /// Its name to who may cancel it.
    cancel_id: u32,
    /// Thread that serves it.
    thread: u8,
    /// Somebody asked to cancel it.
    cancelled: bool,
    /// The TA does not want to hear of it.
    pub masked: bool,
}

impl Operation {
    /// A new one.
    #[must_use]
    pub const fn new(thread: usize, cancel_id: u32, until: Option<u64>) -> Self {
        const { assert!(MAX_THREADS <= u8::MAX as usize) };
        let until = match until {
            Some(until) => until,
            None => u64::MAX,
        };
        Self {
            thread: thread as u8,
            cancel_id,
            until,
            cancelled: false,
            masked: true,
        }
    }

    /// Whether the TA is to hear, at `now` milliseconds of uptime, that it is cancelled.
    #[must_use]
    pub fn is_cancelled(&self, now: u64) -> bool {
        !self.masked && (self.cancelled || now >= self.until)
    }

    const fn is_of(&self, thread: usize) -> bool {
        self.thread as usize == thread
    }
}

/// The operations of a session, one a thread. A second one at a time takes memory of the heap's current owner.
#[derive(Debug, Default)]
pub struct Operations {
    first: Option<Operation>,
    more: Option<TryBox<Vec<Operation>>>,
}

impl Operations {
    /// One.
    #[must_use]
    pub const fn one(operation: Operation) -> Self {
        Self {
            first: Some(operation),
            more: None,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_none()
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
        match &mut self.more {
            Some(more) => try_push(more, operation),
            None => {
                let mut more = vec_with_capacity(1)?;
                more.push(operation);
                self.more = Some(TryBox::new(more)?);
                Ok(())
            }
        }
    }

    /// Takes out that of a thread.
    pub fn end(&mut self, thread: usize) {
        self.first.take_if(|first| first.is_of(thread));
        if let Some(more) = &mut self.more {
            more.retain(|other| !other.is_of(thread));
        }
        self.more.take_if(|more| more.is_empty());
    }

    /// That of a thread.
    pub fn of(&mut self, thread: usize) -> Option<&mut Operation> {
        self.all().find(|operation| operation.is_of(thread))
    }

    /// Asks all with this id to end.
    pub fn cancel(&mut self, cancel_id: u32) {
        for operation in self.all() {
            operation.cancelled |= operation.cancel_id == cancel_id;
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Operation> {
        let more = self.more.iter_mut().flat_map(|more| more.iter_mut());
        self.first.iter_mut().chain(more)
    }
}

#[cfg(test)]
mod tests {
    use super::{Operation, Operations};

    fn threads(operations: &mut Operations) -> Vec<u8> {
        operations.all().map(|operation| operation.thread).collect()
    }

    fn all() -> Operations {
        let mut operations = Operations::default();
        assert!(operations.is_empty());
        for thread in 0..4 {
            let operation = Operation::new(thread, 10 + thread as u32, None);
            operations.begin(operation).unwrap();
        }
        operations
    }

    #[test]
    fn a_thread_ends_its_own_operation_and_no_other() {
        let mut operations = all();
        operations.end(2);
        assert_eq!(threads(&mut operations), [0, 1, 3]);
        operations.end(0);
        operations.end(0);
        assert_eq!(threads(&mut operations), [1, 3]);
        assert!(operations.of(2).is_none());
        operations.end(3);
        operations.end(1);
        assert!(operations.is_empty());
    }

    #[test]
    fn one_operation_is_cancelled_by_its_id_and_unmasked_by_its_thread() {
        let mut operations = all();
        operations.cancel(13);
        operations.cancel(99);
        operations.of(3).unwrap().masked = false;
        operations.of(1).unwrap().masked = false;
        let cancelled: Vec<bool> = operations
            .all()
            .map(|of| of.is_cancelled(u64::MAX - 1))
            .collect();
        assert_eq!(cancelled, [false, false, false, true]);
    }

    #[test]
    fn an_operation_ends_when_its_time_has_passed() {
        let mut operation = Operation::new(0, 0, Some(50));
        assert!(!operation.is_cancelled(50), "masked");
        operation.masked = false;
        assert_eq!(
            [49, 50, 51].map(|now| operation.is_cancelled(now)),
            [false, true, true]
        );
    }
}
