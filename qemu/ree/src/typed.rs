//! Bytes that were typed and nobody has read yet.
//!
//! **Invariant:** one side puts, an interrupt handler, and one side takes, on the same CPU; neither waits. While
//! a command runs, ctrl-C counts and is no byte; what was typed before it is dropped, as terminals do.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

/// Bytes that are kept.
const MAX: usize = 16 << 10;
/// ctrl-C.
const BREAK: u8 = 3;

/// A queue of bytes.
pub(crate) struct Typed {
    bytes: [AtomicU8; MAX],
    /// Bytes ever taken and ever put; the index is what is left over of [`MAX`].
    taken: AtomicUsize,
    put: AtomicUsize,
    is_running: AtomicBool,
    breaks: AtomicU32,
}

impl Typed {
    /// Nothing was typed, no command runs.
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [const { AtomicU8::new(0) }; MAX],
            taken: AtomicUsize::new(0),
            put: AtomicUsize::new(0),
            is_running: AtomicBool::new(false),
            breaks: AtomicU32::new(0),
        }
    }

    /// Whether there is no room for another byte.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= MAX
    }

    fn len(&self) -> usize {
        let put = self.put.load(Ordering::Acquire);
        put.wrapping_sub(self.taken.load(Ordering::Acquire))
    }

    /// Takes in what was typed.
    pub(crate) fn put(&self, byte: u8) {
        let put = self.put.load(Ordering::Relaxed);
        if byte == BREAK && self.is_running.load(Ordering::Relaxed) {
            self.breaks.fetch_add(1, Ordering::Relaxed);
            self.taken.store(put, Ordering::Release);
        } else if !self.is_full()
            && let Some(place) = self.bytes.get(put % MAX)
        {
            place.store(byte, Ordering::Relaxed);
            self.put.store(put.wrapping_add(1), Ordering::Release);
        }
    }

    /// The oldest byte.
    pub(crate) fn take(&self) -> Option<u8> {
        loop {
            let taken = self.taken.load(Ordering::Acquire);
            if taken == self.put.load(Ordering::Acquire) {
                return None;
            }
            let byte = self.bytes.get(taken % MAX)?.load(Ordering::Relaxed);
            let next = taken.wrapping_add(1);
            // A break may have dropped it meanwhile.
            let result =
                self.taken
                    .compare_exchange(taken, next, Ordering::AcqRel, Ordering::Acquire);
            if result.is_ok() {
                return Some(byte);
            }
        }
    }

    /// A command begins (its breaks are counted from 0) or has ended.
    pub(crate) fn set_running(&self, is_running: bool) {
        if is_running {
            self.breaks.store(0, Ordering::Relaxed);
        }
        self.is_running.store(is_running, Ordering::Relaxed);
    }

    /// How often the command that runs was told to stop.
    pub(crate) fn breaks(&self) -> u32 {
        self.breaks.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn all(typed: &Typed) -> Vec<u8> {
        core::iter::from_fn(|| typed.take()).collect()
    }

    #[test]
    fn what_is_typed_while_a_command_runs_is_kept() {
        let typed = Typed::new();
        typed.set_running(true);
        b"sessions\r".iter().for_each(|&byte| typed.put(byte));
        typed.set_running(false);
        assert_eq!(all(&typed), b"sessions\r");
        assert_eq!(typed.breaks(), 0);
    }

    #[test]
    fn a_break_counts_while_a_command_runs_and_drops_what_was_typed_before() {
        let typed = Typed::new();
        typed.put(BREAK);
        assert_eq!(all(&typed), [BREAK], "the line editor's");
        typed.set_running(true);
        b"ab\x03c\x03d".iter().for_each(|&byte| typed.put(byte));
        assert_eq!(typed.breaks(), 2);
        assert_eq!(all(&typed), b"d");
        typed.set_running(true);
        assert_eq!(typed.breaks(), 0, "of the command before");
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let typed = Typed::new();
        for round in 0..3 {
            (0..MAX).for_each(|n| typed.put(n as u8 ^ round));
            assert!(typed.is_full());
            typed.put(1);
            let kept = all(&typed);
            assert!(kept.iter().enumerate().all(|(n, &b)| b == n as u8 ^ round));
            assert_eq!(kept.len(), MAX);
        }
    }
}
