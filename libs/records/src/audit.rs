//! Things held, and events of wrong orders.

use crate::{Frames, Origin, Words};
use tally_abi::TeeUuid;
use tally_abi::pta::MAX_FRAMES;

crate::record! {
    /// Something held.
    HeldRow: "held" = 20, 232 bytes {
        /// What it is.
        kind: u32 => word(held),
        /// Channel, or the session that was opened.
        handle: u32 => number(None),
        /// Who holds it; of shared memory, nobody that the secure world knows.
        who: Who => flat(Who),
        /// Bytes.
        bytes: u64 => number(Bytes),
        /// Cookie of shared memory.
        place: u64 => number(Hex) "cookie" or null = |row| row.is(held::SHARED_MEMORY).then_some(row.place),
        /// Milliseconds since boot when it came to be; null if that is not known.
        at_ms: u64 => nonzero(Ms),
        /// To whom a session is.
        target: TeeUuid => ta,
        /// Where it came to be.
        stack: Stack => frames = |row| row.stack.of_ta(&row.who),
        /// Uses of shared memory by the calls that are under way.
        uses: u32 => number(Count) or null = |row| row.is(held::SHARED_MEMORY).then_some(u64::from(row.uses)),
        /// Unused, zero.
        reserved: u32 => hidden,
    }
    also {
        /// Where it came to be, in the kernel.
        kernel_stack => frames = |row| row.stack.of_kernel(),
        /// Address of a mapping in the TA; null if hidden.
        va => number(Hex) or null = |row| (row.is(held::MAPPING) && row.place != 0).then_some(row.place),
    }
}

impl HeldRow {
    const fn is(&self, kind: u32) -> bool {
        self.kind == kind
    }
}

crate::record! {
    /// Something done in the wrong order. The same again is counted in the first one's record.
    EventRow: "events" = 21, 368 bytes {
        /// Counts all events since boot, from 1.
        number: u64 => number(None),
        /// Milliseconds since boot when it happened first.
        at_ms: u64 => number(Ms),
        /// Milliseconds since boot when it happened last.
        last_ms: u64 => number(Ms),
        /// How often it happened: same TA, session and call stacks.
        times: u64 => number(Count),
        /// What happened.
        kind: u32 => word(event),
        /// Channel, when it happened first.
        channel: u32 => number(None),
        /// Mappings concerned, when it happened first.
        mappings: u32 => number(Count),
        /// Unused, zero.
        reserved: u32 => hidden,
        /// Bytes of them.
        bytes: u64 => number(Bytes),
        /// Number of the event that came before: the close that an unmapping came too late for.
        cause: u64 => nonzero(None),
        /// Who did it.
        who: Who => flat(Who),
        /// Where it was done.
        stack: Stack => frames = |row| row.stack.of_ta(&row.who),
        /// What it goes against: where the first mapping, or the close, was done.
        earlier: Stack => frames "earlier_stack" = |row| row.earlier.of_ta(&row.who),
    }
    also {
        /// Where it was done, in the kernel.
        kernel_stack => frames = |row| row.stack.of_kernel(),
        /// What it goes against, in the kernel.
        earlier_kernel_stack => frames = |row| row.earlier.of_kernel(),
    }
}

crate::record! {
    /// Who did it.
    Who: "who" = 0, 48 bytes {
        /// The TA.
        ta: TeeUuid => ta "uuid",
        /// The session that the TA served then: its client's session.
        session: u32 => nonzero(Hex),
        /// What kind of client that was.
        login: u32 => word(login),
        /// That client: a TA, or as the normal world named it.
        client: TeeUuid => ta,
        /// The TA's session to the pseudo-TA.
        pta_session: u32 => nonzero(Hex),
        /// Tells instances of one TA apart.
        instance: u32 => number(None),
    }
}

crate::record! {
    /// A call stack: the TA's, and the kernel's below it. Zeros if there was none, or no room.
    Stack: "stack" = 0, 128 bytes {
        /// Frames in the TA's image, innermost first; 0 ends.
        ta: [u64; MAX_FRAMES] => hidden,
        /// Frames in the kernel, innermost first; 0 ends.
        kernel: [u64; MAX_FRAMES] => hidden,
    }
}

impl Stack {
    /// The TA's part.
    #[must_use]
    pub const fn of_ta(&self, who: &Who) -> Frames<'_> {
        Frames {
            origin: Some(Origin::of_heap(who.ta)),
            offsets: &self.ta,
        }
    }

    /// The kernel's part.
    #[must_use]
    pub fn of_kernel(&self) -> Frames<'_> {
        Frames {
            origin: Some(Origin::default()),
            offsets: &self.kernel,
        }
    }
}

crate::codes! {
    /// Kinds of things held.
    held: u32 {
        /// A channel of a pseudo-TA.
        CHANNEL = 0 "channel",
        /// Memory mapped into a TA through a pseudo-TA.
        MAPPING = 1 "mapping",
        /// Memory that the normal world registered.
        SHARED_MEMORY = 2 "shared memory",
        /// A session that a TA opened.
        SESSION = 3 "session",
    }
}

crate::codes! {
    /// Kinds of events.
    event: u32 {
        /// A channel was closed that had mappings.
        CLOSE_BEFORE_UNMAP = 0 "closed before it was unmapped",
        /// Something was to be unmapped whose channel had been closed before.
        UNMAP_AFTER_CLOSE = 1 "unmapped after it was closed",
        /// A TA ended, or its session to the pseudo-TA was closed, with channels open.
        END_BEFORE_CLOSE = 2 "never closed",
    }
}

/// Login classes of clients ([`tally_abi::msg::login`]).
pub mod login {
    use super::Words;
    use tally_abi::msg::login;

    /// The words for them.
    pub const WORDS: Words = &[
        (login::PUBLIC, "public"),
        (login::USER, "user"),
        (login::GROUP, "group"),
        (login::APPLICATION, "application"),
        (login::REE_KERNEL, "normal-world kernel"),
        (login::TRUSTED_APP, "trusted application"),
    ];
}
