//! TA instances and the sessions to them.

use crate::{PoolStats, Words};
use tally_abi::TeeUuid;
use tally_abi::ta::{entry, flags};

crate::record! {
    /// A TA instance whole. Of a dead one the figures of its heap, what it was allowed and the most
    /// that it used are its last; it has no memory.
    TaDetail: "tas" = 4, 400 bytes, metrics "ta" {
        /// Which TA.
        uuid: TeeUuid => label(ta),
        /// Tells instances of one TA apart.
        instance: u32 => label(number(None)),
        /// Where it is in its life.
        state: u32 => word(state),
        /// What it was called for, if it is busy, or was when it died.
        function: u32 => word(function) or null = |ta| ta.in_call(ta.function),
        /// The command that it is in, if it is busy, or was in when it died.
        command: u32 => number(None) or null = |ta| ta.command(),
        /// The session that it serves, if it is busy, or served when it died.
        session: u32 => number(Hex) or null = |ta| ta.in_call(ta.session),
        /// Open sessions.
        sessions: u32 => gauge(Count),
        /// The flags that it declares.
        flags: u32 => set(ta_flags),
        /// Regions of its address space.
        regions: u32 => number(Count),
        /// Milliseconds since boot when it was loaded.
        loaded_ms: u64 => number(Ms),
        /// Milliseconds since boot when its call began, if it is busy, or had begun when it died.
        busy_since_ms: u64 => number(Ms) or null = |ta| ta.in_call(ta.busy_since_ms),
        /// Code and read-only data.
        code: u64 => number(Bytes),
        /// Writable data of the image.
        data: u64 => number(Bytes),
        /// Stack as reserved.
        stack: u64 => gauge(Bytes),
        /// Deepest use of the stack; more than it has if it overflowed.
        stack_deepest: u64 => gauge(Bytes),
        /// Stack pointer at its last trap, or where it begins; null if hidden.
        stack_pointer: u64 => nonzero(Hex),
        /// Heap pages taken.
        heap_committed: u64 => gauge(Bytes),
        /// Heap addresses reserved.
        heap_reserved: u64 => gauge(Bytes),
        /// Page tables.
        tables: u64 => gauge(Bytes) "page_tables",
        /// Kernel heap on its behalf, its sessions' included.
        kernel_heap: u64 => gauge(Bytes),
        /// Blocks of the kernel heap on its behalf.
        kernel_blocks: u64 => number(Blocks),
        /// Normal-world memory mapped.
        shared: u64 => gauge(Bytes),
        /// Most secure memory that it may have.
        quota: u64 => gauge(Bytes),
        /// Secure memory charged to its quota.
        charged: u64 => gauge(Bytes),
        /// Most secure memory that ever was charged to it.
        charged_max: u64 => number(Bytes),
        /// Addresses mapped or promised.
        vss: u64 => gauge(Bytes),
        /// Memory mapped, shared parts whole.
        rss: u64 => gauge(Bytes),
        /// Memory mapped, shared parts divided by who shares them: the normal world, and every TA
        /// that has the first page of the part mapped.
        pss: u64 => gauge(Bytes),
        /// Memory mapped that nobody else has: its end would free it.
        uss: u64 => gauge(Bytes),
        /// Its heap.
        heap: PoolStats => row(PoolStats),
        /// Which build of the TA it is: the beginning of its signed image's hash.
        image_id: u64 => id "image",
        /// Why it is dead, if it is.
        cause: u32 => word(cause) or null = |ta| ta.of_death(ta.cause),
        /// What it panicked with, if it did.
        panic_code: u32 => number(Hex) or null = |ta| ta.panic_code(),
        /// Milliseconds since boot when it died, if it is dead.
        died_ms: u64 => number(Ms) or null = |ta| ta.of_death(ta.died_ms),
        /// Keys and other objects of its cryptography that it has not closed.
        objects: u32 => gauge(Count),
        /// Operations of its cryptography that it has not closed.
        operations: u32 => gauge(Count),
        /// Kernel heap behind both, a part of what there is on its behalf.
        crypto: u64 => gauge(Bytes),
    }
    also {
        /// The heap size that it declares, in whole pages; 0 if it has no heap (any more).
        heap_declared => number(Bytes) = |ta| ta.heap_declared(),
        /// Whether it runs a command.
        busy => flag = |ta| ta.state == state::BUSY,
        /// Whether it panicked, crashed or was killed.
        dead => flag = |ta| ta.state == state::DEAD,
    }
}

impl TaDetail {
    /// What is told of the call that it is in, or was in when it died.
    fn in_call<T>(&self, figure: T) -> Option<T> {
        let is_in_call = match self.state {
            state::BUSY => true,
            state::DEAD => self.session != 0,
            _ => false,
        };
        is_in_call.then_some(figure)
    }

    /// What is told of its death.
    fn of_death<T>(&self, figure: T) -> Option<T> {
        (self.state == state::DEAD).then_some(figure)
    }

    fn command(&self) -> Option<u32> {
        let is_invoked = u64::from(self.function) == entry::INVOKE_COMMAND;
        self.in_call(self.command).filter(|_| is_invoked)
    }

    fn panic_code(&self) -> Option<u32> {
        let panicked = self.cause == cause::PANICKED;
        self.of_death(self.panic_code).filter(|_| panicked)
    }

    /// The heap size that it declares, in whole pages; 0 if it has no heap (any more).
    ///
    /// A TA reserves what it declares and its heap's tables, in whole pages.
    #[must_use]
    pub const fn heap_declared(&self) -> u64 {
        declared_heap(self.heap_reserved.saturating_sub(self.heap.tables))
    }
}

/// A heap's size as it was declared, from the bytes that it has for blocks when it is fully grown:
/// its last page is only rounding, unless it is the only one.
#[must_use]
pub const fn declared_heap(bytes: u64) -> u64 {
    const PAGE: u64 = 4096;
    if bytes < PAGE {
        bytes
    } else {
        bytes - bytes % PAGE
    }
}

crate::codes! {
    /// Where an instance is in its life.
    state: u32 {
        /// Being loaded.
        LOADING = 0 "loading",
        /// Can be entered.
        IDLE = 1 "idle",
        /// Runs a command.
        BUSY = 2 "busy",
        /// Panicked, crashed or killed, with sessions still open.
        DEAD = 3 "dead",
    }
}

crate::codes! {
    /// Why an instance is [`state::DEAD`].
    cause: u32 {
        /// It is not, or nobody knows.
        NONE = 0 "unknown",
        /// It panicked.
        PANICKED = 1 "panicked",
        /// It touched what it may not, or met another exception.
        CRASHED = 2 "crashed",
        /// Somebody ended it.
        KILLED = 3 "killed",
        /// Its stack was too small.
        STACK_OVERFLOW = 4 "stack overflow",
    }
}

/// Entry functions of a TA ([`tally_abi::ta::entry`]).
pub mod function {
    use super::{Words, entry};

    /// The words for them.
    pub const WORDS: Words = &[
        (entry::OPEN_SESSION as u32, "open session"),
        (entry::CLOSE_SESSION as u32, "close session"),
        (entry::INVOKE_COMMAND as u32, "invoke"),
        (entry::DUMP_MEMSTATS as u32, "dump"),
    ];
}

/// Flags that a TA declares ([`tally_abi::ta::flags`]).
mod ta_flags {
    use super::{Words, flags};

    pub(super) const WORDS: Words = &flags::NAMES;
}

crate::record! {
    /// A session to a TA.
    SessionRow: "sessions" = 13, 40 bytes {
        /// The TA.
        uuid: TeeUuid => ta,
        /// Which instance of it.
        instance: u32 => number(None),
        /// The session's id.
        session: u32 => number(Hex),
        /// Who opened it.
        opener: u32 => word(opener),
        /// Whether a call is in flight.
        busy: u32 => flag = |row| row.busy != 0,
        /// Kernel heap that it holds.
        kernel_heap: u64 => number(Bytes),
    }
}

crate::codes! {
    /// Who opened a session.
    opener: u32 {
        /// The normal world.
        NORMAL_WORLD = 0 "normal world",
        /// A TA.
        TA = 1 "ta",
    }
}
