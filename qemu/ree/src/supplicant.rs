//! Supplicant: TA images, files, time, waiting and memory for the secure world.
//!
//! Tests can have it lie: see [`Lie`], and [`storage::FileLie`].
//!
//! **Invariant:** a wait ends: by its key, its timeout, or a cancel from the console.

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use spin::Mutex;
use tally_abi::{TeeResult, TeeUuid};
use teec::Transport;
use teec::smc::{CallInfo, Files, Services};

use crate::archive::Archive;
use crate::machine::{self, console, cpu};
use crate::storage;

/// How the supplicant misbehaves, for tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Flips a bit of the image's byte at this offset (from the end if negative).
    Flip(isize),
    /// Cuts the image to so many bytes, and says so.
    Cut(usize),
    /// Gives other bytes instead of the image.
    Replace(Vec<u8>),
    /// Says this size, whatever the image's is.
    Size(usize),
    /// Says so many bytes first, and so many more each time that it is asked again.
    Grow(usize),
    /// Fails with this code.
    Fail(TeeResult),
    /// Lends no more than so many bytes of shared memory at a time.
    Lend(u64),
    /// Says a size that needs more room, then fails with this code when there is.
    FailLater(TeeResult),
}

/// More than anybody has room for before he was told.
const MUCH: usize = 1 << 20;

static LIE: Mutex<Option<Lie>> = Mutex::new(None);
/// How often a size was asked for since the last lie was set.
static ASKED: AtomicUsize = AtomicUsize::new(0);
static SENT: Mutex<Vec<u64>> = Mutex::new(Vec::new());
static INTERRUPTED: AtomicU64 = AtomicU64::new(0);
/// Breaks of the command that runs that were answered.
static ANSWERED: AtomicU32 = AtomicU32::new(0);
static IN_FRONT: Mutex<Option<TeeUuid>> = Mutex::new(None);

/// Sets or ends misbehaviour.
pub(crate) fn set_lie(lie: Option<Lie>) {
    ASKED.store(0, Ordering::Relaxed);
    *LIE.lock() = lie;
}

/// Times that a call came out for an interrupt.
pub(crate) fn interrupted() -> u64 {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Says which TA the foreground command on CPU 0 talks to, so that ctrl-C can end it.
pub(crate) fn set_foreground(uuid: Option<TeeUuid>) {
    ANSWERED.store(console::breaks(), Ordering::Relaxed);
    *IN_FRONT.lock() = uuid;
}

/// Whether somebody was told what the last ctrl-C does.
pub(crate) fn has_answered() -> bool {
    ANSWERED.load(Ordering::Relaxed) >= console::breaks()
}

/// The archive of TA images.
pub(crate) fn archive() -> Archive<'static> {
    Archive::new(machine::archive_bytes())
}

/// The signed image of `uuid` as it lies in the archive.
pub(crate) fn image(uuid: TeeUuid) -> Option<&'static [u8]> {
    archive().file(&format!("lib/optee_armtz/{uuid}.ta"))
}

/// The supplicant of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Supplicant;

impl Services for Supplicant {
    fn ta_size(&self, uuid: TeeUuid) -> Result<usize, TeeResult> {
        let image = image(uuid).ok_or(TeeResult::ITEM_NOT_FOUND);
        let asked = ASKED.fetch_add(1, Ordering::Relaxed);
        match &*LIE.lock() {
            Some(Lie::Fail(code)) => Err(*code),
            Some(Lie::FailLater(code)) if asked > 0 => Err(*code),
            Some(Lie::FailLater(_)) => Ok(MUCH),
            Some(Lie::Size(size)) => Ok(*size),
            Some(Lie::Grow(by)) => Ok(by * (asked + 1)),
            Some(Lie::Cut(size)) => Ok(image?.len().min(*size)),
            Some(Lie::Replace(bytes)) => Ok(bytes.len()),
            Some(Lie::Flip(_) | Lie::Lend(_)) | None => Ok(image?.len()),
        }
    }

    fn ta_image(&self, uuid: TeeUuid) -> Result<Cow<'_, [u8]>, TeeResult> {
        let image = image(uuid).ok_or(TeeResult::ITEM_NOT_FOUND);
        match &*LIE.lock() {
            Some(Lie::Fail(code)) => Err(*code),
            Some(Lie::Cut(size)) => {
                let image = image?;
                Ok(Cow::Borrowed(&image[..image.len().min(*size)]))
            }
            Some(Lie::Replace(bytes)) => Ok(Cow::Owned(bytes.clone())),
            Some(Lie::Flip(offset)) => {
                let mut image = image?.to_vec();
                let at = if *offset < 0 {
                    image.len().wrapping_add_signed(*offset)
                } else {
                    offset.unsigned_abs()
                };
                if let Some(byte) = image.get_mut(at) {
                    *byte ^= 1;
                }
                Ok(Cow::Owned(image))
            }
            Some(Lie::Size(_) | Lie::Grow(_) | Lie::Lend(_) | Lie::FailLater(_)) | None => {
                Ok(Cow::Borrowed(image?))
            }
        }
    }

    fn time(&self) -> (u64, u32) {
        let micros = cpu::micros();
        (micros / 1_000_000, (micros % 1_000_000) as u32 * 1000)
    }

    fn wait(&self, key: u64, timeout_ms: u64, call: &CallInfo) -> Result<(), TeeResult> {
        let start = cpu::micros();
        loop {
            let mut sent = SENT.lock();
            if let Some(at) = sent.iter().position(|&k| k == key) {
                sent.swap_remove(at);
                return Ok(());
            }
            drop(sent);
            if timeout_ms != 0 && cpu::micros() - start >= timeout_ms * 1000 {
                return Err(TeeResult::TIMEOUT);
            }
            poll_ctrl_c(call);
            cpu::doze();
        }
    }

    fn notify(&self, key: u64) {
        SENT.lock().push(key);
        cpu::wake();
    }

    fn suspend(&self, millis: u64, call: &CallInfo) {
        let until = cpu::micros().saturating_add(millis.saturating_mul(1000));
        while cpu::micros() < until {
            poll_ctrl_c(call);
            cpu::doze();
        }
    }

    fn may_allocate(&self, _kind: u64, bytes: u64) -> bool {
        !matches!(&*LIE.lock(), Some(Lie::Lend(most)) if bytes > *most)
    }

    fn files(&self) -> Option<&dyn Files> {
        Some(&storage::Answers)
    }

    fn foreign_interrupt(&self, call: &CallInfo) {
        INTERRUPTED.fetch_add(1, Ordering::Relaxed);
        poll_ctrl_c(call);
    }

    fn thread_limit(&self) {
        cpu::doze();
    }
}

/// Cancels `call` when ctrl-C was typed; the second time, ends the TA it is in.
fn poll_ctrl_c(call: &CallInfo) {
    let breaks = console::breaks();
    let answered = ANSWERED.load(Ordering::Relaxed);
    if cpu::index() != 0 || breaks <= answered {
        return;
    }
    let (Some(tee), Some(session)) = (crate::tee::found(), call.session) else {
        return;
    };
    ANSWERED.store(breaks, Ordering::Relaxed);
    let front = *IN_FRONT.lock();
    // The console's lock may be held: names in what is written are asked for by calls.
    match (breaks, front) {
        (1, Some(uuid)) => console::emergency(format_args!(
            "^C: the call is cancelled; a second one ends {}\n",
            crate::names::name_of(uuid)
        )),
        (1, None) => console::emergency(format_args!("^C: the call is cancelled\n")),
        _ => console::emergency(format_args!("^C\n")),
    }
    if answered == 0 {
        // If there is nothing to cancel any more, the call is about to return anyway.
        let _ = tee.cancel(session, call.cancel_id);
    }
    if let Some(uuid) = front.filter(|_| breaks > 1) {
        // As above.
        let _ = teestat::client::kill(&teec::Context::new(tee), uuid);
    }
}
