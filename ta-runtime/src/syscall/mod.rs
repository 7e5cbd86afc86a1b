//! System calls of OP-TEE's table and Tally's own.
//!
//! **Invariant:** only this module executes `svc`; safe functions here pass the kernel pointers to
//! live objects only.

mod objects;

use core::ptr;
use tally_abi::TeeResult;
use tally_abi::TeeUuid;
use tally_abi::ta::{TeeTime, UteeParams, svc};

pub(crate) use objects::*;

/// Any system call, for tests of the kernel.
///
/// # Safety
/// The kernel may write through whatever `args` point at; it must be memory that the caller may
/// write, or memory that the kernel refuses.
#[cfg(target_os = "none")]
#[inline(always)]
pub unsafe fn raw(number: u64, args: [u64; 8]) -> u64 {
    let [mut x0, x1, x2, x3, x4, x5, x6, x7] = args;
    // SAFETY:
    // 1. Memory that the kernel writes is the caller's to give, by our contract.
    // 2. The kernel preserves all registers but x0.
    unsafe {
        core::arch::asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") x0,
            in("x1") x1, in("x2") x2, in("x3") x3, in("x4") x4,
            in("x5") x5, in("x6") x6, in("x7") x7,
            options(nostack),
        );
    }
    x0
}

/// Any system call; there is no kernel on the host.
///
/// # Safety
/// None needed here; the guest's version asks for it.
#[cfg(not(target_os = "none"))]
pub unsafe fn raw(_number: u64, _args: [u64; 8]) -> u64 {
    u64::from(TeeResult::NOT_SUPPORTED.0)
}

/// A call with up to five arguments.
#[inline(always)]
fn call(number: u64, args: [u64; 5]) -> TeeResult {
    let [a, b, c, d, e] = args;
    call_8(number, [a, b, c, d, e, 0, 0, 0])
}

/// A call with up to eight arguments.
#[inline(always)]
fn call_8(number: u64, args: [u64; 8]) -> TeeResult {
    // SAFETY: the functions here pass addresses of objects that they borrow accordingly.
    TeeResult(unsafe { raw(number, args) } as u32)
}

/// Ends this call into the TA with `code`.
pub fn finish(code: u32) -> ! {
    loop {
        call(svc::RETURN, [u64::from(code), 0, 0, 0, 0]);
    }
}

/// Ends the TA.
pub fn panic(code: u32) -> ! {
    loop {
        call(svc::PANIC, [u64::from(code), 0, 0, 0, 0]);
    }
}

/// Text to the secure console.
pub fn log(text: &[u8]) {
    call(svc::LOG, [text.as_ptr() as u64, text.len() as u64, 0, 0, 0]);
}

/// Fills `buffer` with random bytes.
///
/// # Errors
/// Whatever the kernel says.
pub fn random(buffer: &mut [u8]) -> Result<(), TeeResult> {
    let (address, len) = (buffer.as_mut_ptr() as u64, buffer.len() as u64);
    call(svc::RANDOM, [address, len, 0, 0, 0]).ok()
}

/// The time of one of [`tally_abi::ta::time_category`].
///
/// # Errors
/// Whatever the kernel says.
pub fn time(category: u64) -> Result<TeeTime, TeeResult> {
    let mut time = TeeTime::default();
    call(svc::GET_TIME, [category, &raw mut time as u64, 0, 0, 0]).ok()?;
    Ok(time)
}

/// Sets the TA's persistent time.
///
/// # Errors
/// Whatever the kernel says.
pub fn set_ta_time(time: &TeeTime) -> Result<(), TeeResult> {
    call(svc::SET_TA_TIME, [ptr::from_ref(time) as u64, 0, 0, 0, 0]).ok()
}

/// Sleeps.
///
/// # Errors
/// `CANCEL` when cancelled.
pub fn wait(timeout_ms: u32) -> Result<(), TeeResult> {
    call(svc::WAIT, [u64::from(timeout_ms), 0, 0, 0, 0]).ok()
}

/// Asks whether the TA may access `len` bytes at `address`; `flags` from
/// [`tally_abi::ta::access`].
///
/// # Errors
/// `ACCESS_DENIED` when not.
pub fn check_access(flags: u32, address: u64, len: u64) -> Result<(), TeeResult> {
    call(
        svc::CHECK_ACCESS_RIGHTS,
        [u64::from(flags), address, len, 0, 0],
    )
    .ok()
}

/// Opens a session to another TA: its id, or the result and its origin.
///
/// # Errors
/// Whatever the kernel or the other TA says, and which of them.
pub(crate) fn open_session(
    uuid: &TeeUuid,
    timeout_ms: u32,
    params: &mut UteeParams,
) -> Result<u32, (TeeResult, u32)> {
    let (mut session, mut origin) = (0_u32, 0_u32);
    let args = [
        ptr::from_ref(uuid) as u64,
        u64::from(timeout_ms),
        ptr::from_mut(params) as u64,
        &raw mut session as u64,
        &raw mut origin as u64,
    ];
    match call(svc::OPEN_TA_SESSION, args).ok() {
        Ok(()) => Ok(session),
        Err(code) => Err((code, origin)),
    }
}

/// Closes a session to another TA.
pub(crate) fn close_session(session: u32) {
    call(svc::CLOSE_TA_SESSION, [u64::from(session), 0, 0, 0, 0]);
}

/// Invokes a command of another TA.
///
/// # Errors
/// Whatever the kernel or the other TA says, and which of them.
pub(crate) fn invoke(
    session: u32,
    timeout_ms: u32,
    command: u32,
    params: &mut UteeParams,
) -> Result<(), (TeeResult, u32)> {
    let mut origin = 0_u32;
    let args = [
        u64::from(session),
        u64::from(timeout_ms),
        u64::from(command),
        ptr::from_mut(params) as u64,
        &raw mut origin as u64,
    ];
    call(svc::INVOKE_TA_COMMAND, args)
        .ok()
        .map_err(|code| (code, origin))
}

/// Whether the client has cancelled this call.
#[must_use]
pub fn cancelled() -> bool {
    let mut flag = 0_u32;
    let at = &raw mut flag as u64;
    call(svc::GET_CANCELLATION_FLAG, [at, 0, 0, 0, 0]) == TeeResult::SUCCESS && flag != 0
}

/// Lets cancellation through, or holds it back; gives what was set before (true: masked).
pub fn mask_cancellation(masked: bool) -> bool {
    let mut old = 0_u32;
    let number = if masked {
        svc::MASK_CANCELLATION
    } else {
        svc::UNMASK_CANCELLATION
    };
    call(number, [&raw mut old as u64, 0, 0, 0, 0]);
    old != 0
}

/// Reserves address space for the heap: its base.
///
/// # Errors
/// `BAD_STATE` the second time, `OUT_OF_MEMORY` above the TA's quota.
#[cfg(target_os = "none")]
pub(crate) fn heap_reserve(max_bytes: usize) -> Result<usize, TeeResult> {
    let mut base = 0_u64;
    let args = [max_bytes as u64, &raw mut base as u64, 0, 0, 0];
    call(svc::tally::HEAP_RESERVE, args).ok()?;
    Ok(base as usize)
}

/// Tells the kernel that the alarm rang that it had set in the heap's header. A kernel that did not hears
/// it in vain.
#[cfg(target_os = "none")]
pub(crate) fn heap_alarm(live_bytes: u64) {
    call(svc::tally::HEAP_ALARM, [live_bytes, 0, 0, 0, 0]);
}

/// Grows the heap to `bytes` from its base.
///
/// # Errors
/// `OUT_OF_MEMORY` when the reservation, the quota or secure RAM does not allow it.
#[cfg(target_os = "none")]
pub(crate) fn heap_grow(bytes: usize, size: usize) -> Result<(), TeeResult> {
    call(svc::tally::HEAP_GROW, [bytes as u64, size as u64, 0, 0, 0]).ok()
}
