//! The terminal in raw mode, and back.
//!
//! **Invariant:** whoever leaves restores the terminal: drop, panic hook and signal handler.

use anyhow::Result;
use rustix::termios::{self, InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use std::sync::{Mutex, Once};

static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Standard input in raw mode while it lives.
pub(crate) struct Raw(());

impl Raw {
    /// Every key goes to the guest; output keeps its line-end processing.
    pub(crate) fn enter() -> Result<Self> {
        let stdin = rustix::stdio::stdin();
        let before = termios::tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.local_modes -=
            LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        raw.input_modes -= InputModes::ICRNL | InputModes::INLCR | InputModes::IXON;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        if let Ok(mut saved) = SAVED.lock() {
            *saved = Some(before);
        }
        hook_panics();
        termios::tcsetattr(stdin, OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was; nothing when it was never changed.
pub(crate) fn restore() {
    // `try_lock`: a panic or a signal may find the lock taken.
    if let Ok(mut saved) = SAVED.try_lock()
        && let Some(before) = saved.take()
    {
        // A terminal that went away needs no restoring.
        let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &before);
    }
}

fn hook_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            default(info);
        }));
    });
}
