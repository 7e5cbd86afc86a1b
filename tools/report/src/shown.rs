//! Words as people read them.
//!
//! **Invariant:** an unknown code is shown as such, never as a known one.

use tally_abi::TeeUuid;
use tally_insight::account::Account;
use tally_insight::numbers::counted;
use tally_records::{trigger, word};

/// Why a snapshot was taken, with its subject.
#[must_use]
pub fn occasion(account: &Account) -> String {
    let header = &account.snapshot.header;
    if header.subject == TeeUuid::nil() {
        return word(trigger::WORDS, header.reason).to_owned();
    }
    let ta = account.ta(header.subject);
    let bytes = || counted(header.value, "byte");
    match header.reason {
        trigger::ENTRY => format!("entry of command {} of {ta}", header.value),
        trigger::EXIT => format!("exit of command {} of {ta}", header.value),
        trigger::HEAP => format!("the heap of {ta} at {}", bytes()),
        trigger::FAILURE => format!("{} refused to {ta}", bytes()),
        reason => format!("{}, {ta}", word(trigger::WORDS, reason)),
    }
}

/// A session's id, in hexadecimal as `teestat` and the kernel's console say it.
#[must_use]
pub fn session(id: u32) -> String {
    format!("{id:#x}")
}
