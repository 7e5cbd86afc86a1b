//! Codes of owners and deaths, as clients get them.

use tally_core::owners::OwnerKind;
use tally_core::ta::task::Cause;
use tally_records::{cause, owner_kind};

/// Kind and session of an owner, as clients get them.
pub(crate) const fn wire_kind(kind: OwnerKind) -> (u32, u32) {
    match kind {
        OwnerKind::Kernel => (owner_kind::KERNEL, 0),
        OwnerKind::Guest => (owner_kind::GUEST, 0),
        OwnerKind::Ta => (owner_kind::TA, 0),
        OwnerKind::Session(id) => (owner_kind::SESSION, id),
    }
}

/// [`cause`] of a death, and the code of a panic.
pub(crate) const fn wire_cause(of: Cause) -> (u32, u32) {
    match of {
        Cause::Unknown => (cause::NONE, 0),
        Cause::Panicked(code) => (cause::PANICKED, code),
        Cause::Crashed => (cause::CRASHED, 0),
        Cause::StackOverflow => (cause::STACK_OVERFLOW, 0),
        Cause::Killed => (cause::KILLED, 0),
    }
}
