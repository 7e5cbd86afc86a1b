//! Words that hostile messages are made of, by where they stand in a message or a page list.
//!
//! **Invariant:** no word names memory of this world outside of the arena: a size is either small enough
//! for the slack behind the arena, or larger than all of RAM.
//! **Knows nothing of:** calls; which words make sense together ([`super::phrases`]).

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ta_uuids::hostile::Random;
use ta_uuids::{
    chain, crash, drm, glutton, heap, hello, hostile, hub, keepalive, solo, stillborn, storage,
};
use tally_abi::TeeUuid;
use tally_abi::msg::{PAGE_LIST_ENTRIES, PAGE_SIZE, attr};
use tally_abi::pta::{audit, control, device, inspect, rng, stats, watch};
use tally_abi::smc::FunctionId;
use tally_board_virt as virt;
use tally_records::Selector;
use teec::smc::Pages;
use zerocopy::IntoBytes;

/// Calls that a caller has in flight at most, a page each.
pub(super) const SLOTS: usize = 8;
/// One more for a call that cleans up.
pub(super) const SPARE_SLOT: usize = SLOTS;
/// Pages of a caller.
pub(super) const CALLER_PAGES: usize = SPARE_SLOT + 1;
/// One on each CPU.
pub(super) const CALLERS: usize = 4;
const LISTS: usize = 4;
const BUFFERS: usize = 24;
/// Largest image that is delivered: as much as is asked for when nothing is known of it.
pub(super) const IMAGE_PAGES: usize = 32;
/// Larger than the largest small size.
const SLACK: usize = 520;
/// A size for which a page list needs a second page.
const TWO_LISTS: u64 = (PAGE_LIST_ENTRIES as u64 + 2) * PAGE_SIZE as u64;

/// Page with the bytes of all targets' UUIDs.
const NAMES: usize = CALLERS * CALLER_PAGES;
const FIRST_LIST: usize = NAMES + 1;
const FIRST_BUFFER: usize = FIRST_LIST + LISTS;
/// Page that an image is delivered to.
pub(super) const FIRST_IMAGE: usize = FIRST_BUFFER + BUFFERS;
const PAGES: usize = FIRST_IMAGE + IMAGE_PAGES + SLACK;
pub(super) const WORDS: usize = PAGE_SIZE / 8;

/// Who messages are for.
pub(super) const TARGETS: [TeeUuid; 16] = [
    hello::UUID,
    hello::UUID,
    keepalive::UUID,
    chain::UUID,
    glutton::UUID,
    drm::UUID,
    stillborn::UUID,
    hub::UUID,
    storage::UUID,
    stats::UUID,
    device::UUID,
    rng::UUID,
    control::UUID,
    inspect::UUID,
    audit::UUID,
    watch::UUID,
];
/// User TAs among them, to be ended when a run is over.
/// All that a hub may have loaded are among them.
pub(super) const USER: [TeeUuid; 12] = [
    hello::UUID,
    keepalive::UUID,
    chain::UUID,
    glutton::UUID,
    drm::UUID,
    stillborn::UUID,
    hub::UUID,
    hostile::UUID,
    solo::UUID,
    heap::UUID,
    crash::UUID,
    storage::UUID,
];
/// All that shared memory is ever registered under.
pub(super) const COOKIES: core::ops::Range<u64> = 0x1000..0x1010;
/// Function ids of the trusted OS's range, most of them real.
const FUNCTIONS: [FunctionId; 14] = [
    FunctionId::CALLS_COUNT,
    FunctionId::CALLS_UID,
    FunctionId::CALLS_REVISION,
    FunctionId::GET_OS_UUID,
    FunctionId::GET_OS_REVISION,
    FunctionId::GET_SHM_CONFIG,
    FunctionId::EXCHANGE_CAPABILITIES,
    FunctionId::DISABLE_SHM_CACHE,
    FunctionId::ENABLE_SHM_CACHE,
    FunctionId::VM_CREATED,
    FunctionId::VM_DESTROYED,
    FunctionId::GET_THREAD_COUNT,
    FunctionId::ENABLE_ASYNC_NOTIF,
    FunctionId::GET_ASYNC_NOTIF_VALUE,
];
const ATTRIBUTES: [u64; 12] = [
    attr::NONE,
    attr::VALUE_INPUT,
    attr::VALUE_OUTPUT,
    attr::VALUE_INOUT,
    attr::RMEM_INPUT,
    attr::RMEM_OUTPUT,
    attr::RMEM_INOUT,
    attr::TMEM_INPUT,
    attr::TMEM_OUTPUT,
    attr::TMEM_INOUT,
    4,
    0x80,
];
const SIZES: [u64; 15] = [
    0,
    1,
    8,
    16,
    64,
    88,
    1000,
    4096,
    5000,
    0xffff,
    TWO_LISTS,
    1 << 28,
    1 << 32,
    1 << 63,
    u64::MAX,
];

/// Sessions from which on more are closed than opened.
const MANY_SESSIONS: usize = 48;
/// Sessions that are known at a time.
const SESSIONS: usize = 64;

/// Where selectors stand in the page of names.
const SELECTORS_AT: usize = PAGE_SIZE / 2;

/// What lists may be about: parts, TAs, instances that may be there, and marks that may be set.
fn selectors() -> impl Iterator<Item = Selector> {
    let parts = [Selector::ALL, Selector::KERNEL, Selector::TAS];
    let marked = [Selector::ALL.since(1), Selector::TAS.since(2)];
    let tas = USER.into_iter().flat_map(|uuid| {
        let instance = Selector::instance(uuid, 0);
        [Selector::ta(uuid), instance]
    });
    parts.into_iter().chain(marked).chain(tas)
}

/// Memory that both worlds write to, and names for messages that are written there.
pub(super) struct Arena {
    pub(super) pages: Pages,
    /// Sessions that are open, as far as is known: id, and above it who it is with; 0 is none.
    sessions: [AtomicU64; SESSIONS],
    many_sessions: AtomicBool,
}

/// A session: its id, and who it is with, if it is one that is known.
#[derive(Clone, Copy)]
pub(super) struct Named {
    pub(super) id: u32,
    pub(super) uuid: Option<TeeUuid>,
}

impl Arena {
    pub(super) fn new() -> Option<Self> {
        let pages = Pages::allocate(PAGES)?;
        for (index, uuid) in TARGETS.iter().enumerate() {
            let at = NAMES * PAGE_SIZE + index * size_of::<TeeUuid>();
            pages.write(at, &uuid.to_bytes());
        }
        for (index, selector) in selectors().enumerate() {
            let at = NAMES * PAGE_SIZE + SELECTORS_AT + index * size_of::<Selector>();
            pages.write(at, selector.as_bytes());
        }
        Some(Self {
            pages,
            sessions: [const { AtomicU64::new(0) }; SESSIONS],
            many_sessions: AtomicBool::new(false),
        })
    }

    /// Address of the bytes of a target's UUID, or of the nil UUID.
    pub(super) fn name(&self, random: &mut Random) -> u64 {
        let index = random.index(TARGETS.len() + 1);
        self.page(NAMES) + (index * size_of::<TeeUuid>()) as u64
    }

    /// Address of a selector.
    pub(super) fn selector(&self, random: &mut Random) -> u64 {
        let index = random.index(selectors().count());
        self.page(NAMES) + (SELECTORS_AT + index * size_of::<Selector>()) as u64
    }

    /// Makes all page lists good ones, each linked to the next.
    pub(super) fn write_lists(&self, random: &mut Random) {
        for list in 0..LISTS {
            let at = (FIRST_LIST + list) * WORDS;
            for entry in 0..PAGE_LIST_ENTRIES {
                self.pages.set(at + entry, self.buffer(random));
            }
            let next = self.page(FIRST_LIST + (list + 1) % LISTS);
            self.pages.set(at + PAGE_LIST_ENTRIES, next);
        }
    }

    /// Knows these sessions only.
    pub(super) fn know_sessions(&self, open: &[(u32, TeeUuid)]) {
        let many = open.len() > MANY_SESSIONS;
        self.many_sessions.store(many, Ordering::Relaxed);
        for (index, known) in self.sessions.iter().enumerate() {
            let word = open.get(index).map_or(0, |(id, uuid)| {
                let target = TARGETS.iter().position(|target| target == uuid);
                u64::from(*id) | (target.unwrap_or(TARGETS.len()) as u64) << 32
            });
            known.store(word, Ordering::Relaxed);
        }
    }

    /// Whether more should be closed than opened.
    pub(super) fn has_many_sessions(&self) -> bool {
        self.many_sessions.load(Ordering::Relaxed)
    }

    /// A session: mostly one that is open.
    pub(super) fn session(&self, random: &mut Random) -> Named {
        /// Numbers that no session has for a long time, so that none is hit which is to stay.
        const NOBODY: u32 = 1 << 31;
        let known = self.sessions[random.index(SESSIONS)].load(Ordering::Relaxed);
        if known == 0 || random.once_in(8) {
            Named {
                id: random.any() as u32 | NOBODY,
                uuid: None,
            }
        } else {
            Named {
                id: known as u32,
                uuid: TARGETS.get((known >> 32) as usize).copied(),
            }
        }
    }

    /// Physical address of a page: this world has its RAM where it is.
    pub(super) fn page(&self, index: usize) -> u64 {
        (self.pages.address() + index * PAGE_SIZE) as u64
    }

    /// An address: mostly of a buffer.
    pub(super) fn address(&self, random: &mut Random) -> u64 {
        let offset = (random.any() % PAGE_SIZE as u64) & !7;
        match random.index(16) {
            0 => virt::SECURE_RAM_BASE + random.any() % virt::SECURE_RAM_BYTES,
            1 => random.pick(
                &[0, 8, virt::GICD, virt::SECURE_UART, virt::FLASH_BASE + 64],
                0,
            ),
            2 => u64::MAX - offset,
            3 => self.list(random) + offset,
            4 => self.buffer(random) + offset + 1,
            5..8 => self.buffer(random) + offset,
            _ => self.buffer(random),
        }
    }

    pub(super) fn buffer(&self, random: &mut Random) -> u64 {
        self.page(FIRST_BUFFER + random.index(BUFFERS))
    }

    pub(super) fn list(&self, random: &mut Random) -> u64 {
        self.page(FIRST_LIST + random.index(LISTS))
    }

    /// A word for place `word` of a message.
    pub(super) fn message_word(&self, random: &mut Random, word: usize) -> u64 {
        let pair = |low: u64, high: u64| low & 0xffff_ffff | high << 32;
        let small = random.any() % 16;
        match word {
            // Command and function.
            0 => pair(
                random.any() % 9,
                if random.once_in(8) {
                    random.any()
                } else {
                    small
                },
            ),
            // Session and operation.
            1 => pair(u64::from(self.session(random).id), small),
            2 => random.any(),
            // Origin, number of parameters.
            3 => pair(
                0,
                if random.once_in(32) {
                    random.any()
                } else {
                    small % 8
                },
            ),
            _ => match word % 4 {
                0 => self.attribute(random),
                1 if random.once_in(4) => small,
                1 => self.address(random),
                2 if random.once_in(64) => random.any() | 1 << 40,
                2 => random.pick(&SIZES, 0),
                _ => self.cookie(random),
            },
        }
    }

    pub(super) fn size(random: &mut Random) -> u64 {
        random.pick(&SIZES, 0)
    }

    fn attribute(&self, random: &mut Random) -> u64 {
        let flags = match random.index(8) {
            0 => attr::META,
            1..4 => attr::NONCONTIG,
            _ => 0,
        };
        random.pick(&ATTRIBUTES, 0) | flags
    }

    pub(super) fn cookie(&self, random: &mut Random) -> u64 {
        COOKIES.start + random.any() % (COOKIES.end - COOKIES.start)
    }

    /// Changes one word that the secure world may be reading.
    pub(super) fn disturb(&self, random: &mut Random) {
        if random.once_in(3) {
            let page = FIRST_LIST + random.index(LISTS);
            let (word, entry) = if random.once_in(8) {
                // The link, to a list or somewhere.
                let link = if random.once_in(4) {
                    self.address(random)
                } else {
                    self.list(random)
                };
                (PAGE_LIST_ENTRIES, link)
            } else if random.once_in(16) {
                (random.index(PAGE_LIST_ENTRIES), self.address(random))
            } else {
                (random.index(PAGE_LIST_ENTRIES), self.buffer(random))
            };
            self.pages.set(page * WORDS + word, entry);
        } else {
            // Message and RPC argument.
            let word = random.index(60);
            let value = self.message_word(random, word);
            self.pages
                .set(random.index(CALLERS * CALLER_PAGES) * WORDS + word, value);
        }
    }
}

/// A function id of the trusted OS's ranges.
pub(super) fn function(random: &mut Random) -> u32 {
    if random.once_in(4) {
        const OWNERS: [u32; 4] = [0xb200_0000, 0xbf00_0000, 0x3200_0000, 0x7200_0000];
        random.pick(&OWNERS, 0xb200_0000) | random.any() as u32 & 0xffff
    } else {
        random.pick(&FUNCTIONS, FunctionId::CALLS_UID).0
    }
}
