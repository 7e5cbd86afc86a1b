//! Hostile messages that make sense, but for a word here and there, so that they get past the first check.
//!
//! **Invariant:** memory that a message names is the arena's.

use ta_uuids::{chain, drm, glutton, hello, hostile, hub, keepalive, storage};
use tally_abi::TeeUuid;
use tally_abi::msg::{MsgHeader, MsgParam, PAGE_SIZE, arg_size, attr, cmd, login};
use tally_abi::pta::{audit, control, device, inspect, memleak, rng, stats, watch};
use tally_records::Selector;
use teec::smc::Message;

use super::raw::open_params;
use super::vocabulary::{Arena, TARGETS, WORDS};
use ta_uuids::hostile::Random;

/// Logins: those of clients, the kernel's, TAs', and none.
const LOGINS: [u32; 8] = [
    login::PUBLIC,
    login::USER,
    login::GROUP,
    login::APPLICATION,
    login::APPLICATION_GROUP,
    login::REE_KERNEL,
    login::TRUSTED_APP,
    u32::MAX,
];
/// Parameters of a message, at most.
const MOST_PARAMS: usize = 6;

/// What a parameter is.
#[derive(Clone, Copy)]
enum Kind {
    /// Memory to read.
    In,
    /// Memory to write.
    Out,
    /// Memory to read and write.
    Inout,
    /// Bytes of a UUID.
    Name,
    /// A selector.
    Which,
    /// Small numbers.
    Value,
    /// A number of bytes that is not so small.
    Block,
    /// Numbers that come back.
    Answer,
    /// Numbers that go and come back.
    Both,
    /// Where a list goes on: at its start, or anywhere.
    Cursor,
}

/// A command, and the parameters that it takes.
struct Phrase {
    uuid: TeeUuid,
    command: u32,
    params: &'static [Kind],
}

const fn phrase_for(uuid: TeeUuid, command: u32, params: &'static [Kind]) -> Phrase {
    Phrase {
        uuid,
        command,
        params,
    }
}

#[rustfmt::skip]
const PHRASES: &[Phrase] = {
    use Kind::{Answer, Block, Both, Cursor, In, Inout, Name, Out, Value, Which};
    &[
        phrase_for(hello::UUID, hello::CMD_INC, &[Both]),
        phrase_for(hello::UUID, hello::CMD_CHECKSUM, &[In, Answer]),
        phrase_for(hello::UUID, hello::CMD_FILL, &[Out, Value]),
        phrase_for(hello::UUID, hello::CMD_REVERSE, &[Inout]),
        phrase_for(hello::UUID, hello::CMD_ECHO, &[In, Out]),
        phrase_for(hello::UUID, hello::CMD_TIME, &[Answer, Answer]),
        phrase_for(hello::UUID, hello::CMD_RANDOM, &[Out]),
        phrase_for(hello::UUID, hello::CMD_NOP, &[]),
        phrase_for(hello::UUID, hello::CMD_CHECK_ACCESS, &[Value, Answer]),
        phrase_for(hello::UUID, hello::CMD_WAIT, &[Value]),
        phrase_for(hello::UUID, hello::CMD_MIX, &[Value, Answer, Both]),
        phrase_for(hello::UUID, hello::CMD_KEEP, &[Value]),
        phrase_for(chain::UUID, chain::CMD_INC, &[Both]),
        phrase_for(chain::UUID, chain::CMD_ECHO, &[In, Out]),
        phrase_for(chain::UUID, chain::CMD_STATS, &[Answer]),
        phrase_for(chain::UUID, chain::CMD_NEST, &[Value, Answer]),
        phrase_for(chain::UUID, chain::CMD_REVERSE, &[Inout]),
        phrase_for(chain::UUID, chain::CMD_CALL, &[Name, Value, Answer]),
        phrase_for(chain::UUID, chain::CMD_SHORT, &[In, Out]),
        phrase_for(chain::UUID, chain::CMD_KEEP_SESSION, &[]),
        phrase_for(keepalive::UUID, keepalive::CMD_COUNT, &[Answer]),
        phrase_for(keepalive::UUID, keepalive::CMD_HOLD, &[Value, Answer]),
        phrase_for(keepalive::UUID, keepalive::CMD_HELD, &[Answer]),
        phrase_for(keepalive::UUID, keepalive::CMD_PANIC, &[]),
        phrase_for(glutton::UUID, glutton::CMD_NOP, &[]),
        phrase_for(glutton::UUID, glutton::CMD_EAT, &[Block, Answer]),
        phrase_for(glutton::UUID, glutton::CMD_SPIT, &[]),
        phrase_for(glutton::UUID, glutton::CMD_RESERVE, &[Block, Answer]),
        phrase_for(glutton::UUID, glutton::CMD_GROW, &[Block, Answer]),
        phrase_for(drm::UUID, drm::CMD_SWITCH, &[Value, Answer]),
        phrase_for(drm::UUID, drm::CMD_HOLD, &[Block]),
        phrase_for(storage::UUID, storage::CMD_OPEN, &[In, Value, Answer]),
        phrase_for(storage::UUID, storage::CMD_CREATE, &[In, Value, Answer]),
        phrase_for(storage::UUID, storage::CMD_CLOSE, &[Value]),
        phrase_for(storage::UUID, storage::CMD_DELETE, &[Value]),
        phrase_for(storage::UUID, storage::CMD_RENAME, &[In, Value]),
        phrase_for(storage::UUID, storage::CMD_READ, &[Value, Out]),
        phrase_for(storage::UUID, storage::CMD_WRITE, &[Value, In]),
        phrase_for(storage::UUID, storage::CMD_TRUNCATE, &[Value]),
        phrase_for(storage::UUID, storage::CMD_LIST, &[Out, Answer]),
        phrase_for(storage::UUID, storage::CMD_MANY, &[Value, Answer]),
        phrase_for(storage::UUID, storage::CMD_REMOVE_ALL, &[Answer]),
        phrase_for(storage::UUID, storage::CMD_FORGET, &[]),
        phrase_for(hub::UUID, hostile::CMD_RUN, &[Value, Inout]),
        phrase_for(hub::UUID, hostile::CMD_RUN, &[Value]),
        phrase_for(stats::UUID, stats::CMD_PAGER_STATS, &[Answer, Answer, Answer]),
        phrase_for(stats::UUID, stats::CMD_ALLOC_STATS, &[Value, Out]),
        phrase_for(stats::UUID, stats::CMD_TA_STATS, &[Out]),
        phrase_for(stats::UUID, stats::CMD_GET_TIME, &[Answer, Answer]),
        phrase_for(control::UUID, control::CMD_KILL, &[Name, Answer]),
        phrase_for(control::UUID, control::CMD_RESET, &[]),
        phrase_for(control::UUID, control::CMD_LAST_OOM, &[Out]),
        phrase_for(device::UUID, device::CMD_GET_DEVICES, &[Out]),
        phrase_for(rng::UUID, rng::CMD_GET_ENTROPY, &[Inout]),
        phrase_for(rng::UUID, rng::CMD_GET_RNG_INFO, &[Answer]),
        phrase_for(inspect::UUID, inspect::CMD_LIST, &[Both, Which, Cursor, Out]),
        phrase_for(inspect::UUID, inspect::CMD_CHECK, &[Which, Answer]),
        phrase_for(inspect::UUID, inspect::CMD_BLOCK, &[Which, Block, Out]),
        phrase_for(inspect::UUID, inspect::CMD_BLOCK_BYTES, &[Which, Block, Out, Answer]),
        phrase_for(memleak::UUID, memleak::CMD_MARK, &[In, Answer]),
        phrase_for(memleak::UUID, memleak::CMD_CLEAR, &[Which, Answer]),
        phrase_for(audit::UUID, audit::CMD_TOTALS, &[Answer, Answer]),
        phrase_for(audit::UUID, audit::CMD_LEDGER, &[Name, Value]),
        phrase_for(watch::UUID, watch::CMD_TAKE, &[Answer]),
        phrase_for(watch::UUID, watch::CMD_READ, &[Value, Out]),
        phrase_for(watch::UUID, watch::CMD_DROP, &[Value]),
        phrase_for(watch::UUID, watch::CMD_ARM, &[Name, Value, Answer]),
    ]
};

/// A command that `uuid` has; any, if it is nobody's.
fn phrase(uuid: Option<TeeUuid>, random: &mut Random) -> &'static Phrase {
    let fits = |phrase: &&Phrase| uuid.is_none_or(|uuid| phrase.uuid == uuid);
    let count = PHRASES.iter().filter(fits).count();
    let index = random.index(count);
    let found = PHRASES.iter().filter(fits).nth(index);
    // One that opens no session has no commands either.
    found.unwrap_or(&PHRASES[0])
}

impl Arena {
    /// Writes a message into a page: any words, or one that has its sense, most of the time.
    pub(super) fn write_message(&self, page: usize, random: &mut Random) {
        let first = page * WORDS;
        for word in 0..arg_size(MOST_PARAMS) / 8 {
            let value = self.message_word(random, word);
            self.pages.set(first + word, value);
        }
        let message = Message::at(&self.pages, page * PAGE_SIZE);
        let header = |command, num_params| MsgHeader {
            cmd: command,
            num_params,
            ..message.header()
        };
        let closes = if self.has_many_sessions() { 8 } else { 1 };
        match random.index(20 + closes) {
            0..3 => return,
            3..6 => {
                let more = if random.once_in(3) {
                    random.index(5) as u32
                } else {
                    0
                };
                message.set_header(&header(cmd::OPEN_SESSION, 2 + more));
                let target = random.pick(&TARGETS, hello::UUID);
                let [who, mut client] = open_params(target);
                if random.once_in(3) {
                    client.c = u64::from(random.pick(&LOGINS, login::PUBLIC));
                }
                message.set_param(0, &who);
                message.set_param(1, &client);
            }
            6..16 => {
                let session = self.session(random);
                let phrase = phrase(session.uuid, random);
                message.set_header(&MsgHeader {
                    session: session.id,
                    func: phrase.command,
                    ..header(cmd::INVOKE_COMMAND, phrase.params.len() as u32)
                });
                for (index, kind) in phrase.params.iter().enumerate() {
                    message.set_param(index, &self.parameter(*kind, random));
                }
            }
            16 | 17 => {
                message.set_header(&header(cmd::REGISTER_SHM, 1));
                message.set_param(0, &self.temporary(attr::TMEM_INOUT, random));
            }
            18 => {
                message.set_header(&header(cmd::UNREGISTER_SHM, 1));
                let param = MsgParam {
                    attr: attr::RMEM_INOUT,
                    c: self.cookie(random),
                    ..MsgParam::default()
                };
                message.set_param(0, &param);
            }
            19 => message.set_header(&header(cmd::CANCEL, 0)),
            _ => message.set_header(&header(cmd::CLOSE_SESSION, 0)),
        }
        if random.once_in(4) {
            let word = random.index(arg_size(MOST_PARAMS) / 8);
            let value = self.message_word(random, word);
            self.pages.set(first + word, value);
        }
    }

    /// A parameter of this kind, with sense.
    fn parameter(&self, kind: Kind, random: &mut Random) -> MsgParam {
        let value = |attr, a, b| MsgParam { attr, a, b, c: 0 };
        let registered = |attr, random: &mut Random| MsgParam {
            attr,
            a: random.any() % 64,
            b: Self::size(random),
            c: self.cookie(random),
        };
        let small = random.any() % 64;
        let by_cookie = random.once_in(3);
        match kind {
            Kind::In if by_cookie => registered(attr::RMEM_INPUT, random),
            Kind::Out if by_cookie => registered(attr::RMEM_OUTPUT, random),
            Kind::Inout if by_cookie => registered(attr::RMEM_INOUT, random),
            Kind::In => self.temporary(attr::TMEM_INPUT, random),
            Kind::Out => self.temporary(attr::TMEM_OUTPUT, random),
            Kind::Inout => self.temporary(attr::TMEM_INOUT, random),
            Kind::Name => MsgParam {
                attr: attr::TMEM_INPUT,
                a: self.name(random),
                b: size_of::<TeeUuid>() as u64,
                c: 0,
            },
            Kind::Which => MsgParam {
                attr: attr::TMEM_INPUT,
                a: self.selector(random),
                b: size_of::<Selector>() as u64,
                c: 0,
            },
            Kind::Value => value(attr::VALUE_INPUT, small, random.any() % 64),
            Kind::Block => value(attr::VALUE_INPUT, 16_384 + random.any() % 65_536, 0),
            Kind::Answer => value(attr::VALUE_OUTPUT, 0, 0),
            Kind::Both => value(attr::VALUE_INOUT, small, 0),
            Kind::Cursor if random.once_in(2) => value(attr::VALUE_INOUT, 0, 0),
            Kind::Cursor => value(attr::VALUE_INOUT, random.any(), random.any()),
        }
    }

    /// Memory of the arena: contiguous, by a list, or none.
    fn temporary(&self, kind: u64, random: &mut Random) -> MsgParam {
        let offset = random.any() % 32 * 8;
        let (attr, a) = match random.index(4) {
            0 => (kind, self.buffer(random) + offset),
            1 if random.once_in(4) => (kind, 0),
            _ => (kind | attr::NONCONTIG, self.list(random) + offset),
        };
        MsgParam {
            attr,
            a,
            b: Self::size(random),
            c: self.cookie(random),
        }
    }
}
