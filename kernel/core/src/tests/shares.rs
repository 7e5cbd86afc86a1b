//! Shares of what all use: each to the entry, and quotas to the page.

use super::lent::passes_on;
use super::ta::ta_opens;
use super::*;
use crate::guest_id::GuestId;
use crate::pta::services::BufferServices;
use crate::refused::{RefusedEntry, SharedTable};
use crate::ta::instance::{Instance, InstanceRef};
use crate::testing::world::{CLIENT, Run, header, memref};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use tally_abi::msg::{MsgParam, PAGE_LIST_ENTRIES, attr, cmd};
use tally_abi::ta::{param_type, svc};
use tally_mem::addr::{PAGE_SIZE, PhysAddr};
use tally_mem::machine::Trap;
use zerocopy::IntoBytes;

pub(super) const PAGE: u64 = PAGE_SIZE as u64;
/// A pseudo-TA that does nothing, for anybody.
const PLAIN: TeeUuid = TeeUuid::from_u128(0x66);
const PLAIN_TA: PseudoTa<()> = PseudoTa {
    uuid: PLAIN,
    name: "plain",
    work: Work::Alone(|_, _| Ok(())),
};
/// A pseudo-TA that lends the TA that asks as much as it may have.
const LENDER: TeeUuid = TeeUuid::from_u128(0x77);
const LENDER_TA: PseudoTa<()> = PseudoTa {
    uuid: LENDER,
    name: "lender",
    work: Work::Buffers(lend),
};
/// Its command that opens so many channels at most; the others map buffers of a page through one.
const CHANNELS: u32 = 0;
const BUFFERS: u32 = 1;

fn lend(
    lender: &dyn BufferServices,
    session: &Session<'_>,
    step: Step<'_>,
) -> Result<(), TeeResult> {
    match step {
        Step::Open => Ok(()),
        Step::Close => {
            lender.end_session(session.id);
            Ok(())
        }
        Step::Invoke(command, params) => {
            let wanted = 0..params.value(0).0;
            let had = if command == CHANNELS {
                let open = |_: &u32| lender.open_channel().is_ok();
                wanted.take_while(open).count()
            } else {
                let channel = lender.open_channel()?;
                let map = |_: &u32| lender.map_buffer(channel, 4096).is_ok();
                wanted.take_while(map).count()
            };
            params.set_value(1, had as u32, 0);
            Ok(())
        }
    }
}

/// Runs `test` in a world with these two as well.
pub(super) fn with_lender(test: impl FnOnce(&Arc<World>)) {
    let world = world_of(&[ECHO_TA, PLAIN_TA, LENDER_TA]);
    let before = world.accounts();
    test(&world);
    same(&world, &before);
}

/// Has the TA ask the lender for so many entries; how many it got.
fn lends(world: &World, session: u32, command: u32, wanted: u32) -> u32 {
    let id: Arc<AtomicU32> = Arc::default();
    ta_opens_pseudo(world, LENDER, &id);
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    world.ta(move |run| {
        let (origin, params) = (run.stack(0), run.stack(64));
        let types = param_type::pack([
            param_type::VALUE_INPUT,
            param_type::VALUE_OUTPUT,
            param_type::NONE,
            param_type::NONE,
        ]);
        let words = [u64::from(types), wanted.into(), 0, 0, 0, 0, 0, 0, 0];
        run.store(params, words.as_bytes());
        let id = u64::from(id.load(Relaxed));
        run.call(
            svc::INVOKE_TA_COMMAND,
            &[id, 0, command.into(), params, origin],
        )
    });
    exits_with(world, |run| {
        assert_eq!(run.result(), TeeResult::SUCCESS);
        let params = run.stack(64);
        run.load_u32(params + 24)
    });
    world.invoke(session, 0, &[]).result.0
}

/// Has the TA that runs next return a number.
fn exits_with(world: &World, number: fn(&mut Run<'_>) -> u32) {
    world.ta(move |run| {
        let number = number(run);
        run.exit(TeeResult(number))
    });
}

/// As [`ta_opens`], of a target that is entered without a TA's steps.
fn ta_opens_pseudo(world: &World, target: TeeUuid, id: &Arc<AtomicU32>) {
    let id = id.clone();
    world.ta(move |run| opens(run, target));
    world.ta(move |run| {
        assert_eq!(run.result(), TeeResult::SUCCESS);
        let out = run.stack(16);
        id.store(run.load_u32(out), Relaxed);
        run.exit(TeeResult::SUCCESS)
    });
}

fn opens(run: &mut Run<'_>, target: TeeUuid) -> Trap {
    let (uuid, out) = (run.stack(0), run.stack(16));
    run.store(uuid, target.as_bytes());
    run.store(out, &[0; 8]);
    run.call(svc::OPEN_TA_SESSION, &[uuid, 0, 0, out, out + 4])
}

/// The instance that has most recently begun of a TA.
fn latest(world: &World, uuid: TeeUuid) -> InstanceRef {
    let state = world.kernel.state();
    let named = state.guest(GuestId::FIRST).instances.named();
    let of_ta = named.filter(|(_, found)| found.uuid == uuid);
    let latest = of_ta.max_by_key(|(name, _)| name.generation);
    latest.unwrap().0
}

/// What is told of a refused entry: in use, of how many, and who has most.
fn told(
    table: SharedTable,
    asker: TeeUuid,
    (used, size): (u32, u32),
    (holder, held): (TeeUuid, u32),
) -> Result<(), RefusedEntry> {
    Err(RefusedEntry {
        table,
        asker,
        wanted: 1,
        used,
        size,
        holder,
        held,
    })
}

#[test]
fn a_ta_has_so_many_channels_and_leaves_others_theirs() {
    with_lender(|world| {
        let asks = [(MULTI, 10), (MULTI, 99), (SHARED, 15), (KEPT, 99)];
        let sessions = asks.map(|(uuid, _)| world.opened(uuid));
        let had = [0, 1, 2, 3].map(|n| lends(world, sessions[n], CHANNELS, asks[n].1));
        assert_eq!(had, [10, 6, 15, 1]);
        let (multi, kept) = (latest(world, MULTI), latest(world, KEPT));
        let state = world.kernel.state();
        let admit = |instance| state.guest(GuestId::FIRST).admit_channel(instance);
        let table = SharedTable::Channels;
        assert_eq!(admit(multi), told(table, MULTI, (16, 16), (MULTI, 16)));
        assert_eq!(admit(kept), told(table, KEPT, (32, 32), (MULTI, 16)));
        drop(state);
        ends(world, &sessions);
    });
}

#[test]
fn a_ta_has_so_many_buffers_and_leaves_others_theirs() {
    with_lender(|world| {
        let asks = [(MULTI, 40), (MULTI, 99), (SHARED, 31), (KEPT, 99)];
        let sessions = asks.map(|(uuid, _)| world.opened(uuid));
        let had = [0, 1, 2, 3].map(|n| lends(world, sessions[n], BUFFERS, asks[n].1));
        assert_eq!(had, [40, 24, 31, 1]);
        let (multi, kept) = (latest(world, MULTI), latest(world, KEPT));
        let state = world.kernel.state();
        let admit = |instance| state.guest(GuestId::FIRST).admit_buffer(instance);
        let table = SharedTable::Buffers;
        assert_eq!(admit(multi), told(table, MULTI, (64, 64), (MULTI, 64)));
        assert_eq!(admit(kept), told(table, KEPT, (96, 96), (MULTI, 64)));
        drop(state);
        ends(world, &sessions);
    });
}

/// Closes sessions, and ends the TA that stays.
fn ends(world: &World, sessions: &[u32]) {
    for session in sessions {
        assert_eq!(world.close(*session), TeeResult::SUCCESS);
    }
    super::ta::kills(world, KEPT);
}

/// Who opens sessions.
#[derive(Clone, Copy)]
enum By {
    /// A client, to a pseudo-TA that asks nobody.
    Client,
    /// A client, to one that can end TAs.
    Operator,
    /// The TA that serves this session.
    Ta(u32),
}

/// Opens sessions until one is refused; how many there were. Those of clients are put to `opened`.
fn fills(world: &World, by: By, opened: &mut Vec<u32>) -> u32 {
    let uuid = match by {
        By::Client => PLAIN,
        By::Operator => ECHO,
        By::Ta(session) => {
            world.ta(|run| {
                run.context.x[22] = 0;
                opens(run, PLAIN)
            });
            world.ta(opens_until_refused);
            return world.invoke(session, 0, &[]).result.0;
        }
    };
    let before = opened.len();
    let refused = loop {
        let reply = world.open(uuid, &[]);
        if reply.result != TeeResult::SUCCESS {
            break reply.result;
        }
        opened.push(reply.session);
    };
    assert_eq!(refused, TeeResult::OUT_OF_MEMORY);
    (opened.len() - before) as u32
}

/// Counts in a register that system calls leave alone.
fn opens_until_refused(run: &mut Run<'_>) -> Trap {
    if run.result() == TeeResult::SUCCESS {
        run.context.x[22] += 1;
        run.world.ta(opens_until_refused);
        return opens(run, PLAIN);
    }
    assert_eq!(run.result(), TeeResult::OUT_OF_MEMORY);
    let count = run.context.x[22] as u32;
    run.exit(TeeResult(count))
}

#[test]
fn each_opens_so_many_sessions_and_leaves_others_theirs() {
    for clients_first in [true, false] {
        with_lender(|world| {
            let (multi, shared) = (world.opened(MULTI), world.opened(SHARED));
            let mut opened = vec![multi, shared];
            let order = if clients_first {
                [
                    (By::Client, 96 - 2),
                    (By::Operator, 8),
                    (By::Ta(multi), 128 - 8 - 104),
                    (By::Ta(shared), 0),
                ]
            } else {
                [
                    (By::Ta(multi), 32),
                    (By::Ta(shared), 32),
                    (By::Client, 128 - 8 - 64 - 2),
                    (By::Operator, 8),
                ]
            };
            for (by, count) in order {
                assert_eq!(fills(world, by, &mut opened), count);
            }
            for session in opened.into_iter().rev() {
                assert_eq!(world.close(session), TeeResult::SUCCESS);
            }
        });
    }
}

/// A session that a TA's instance has opened.
fn session_of(uuid: TeeUuid, opener: InstanceRef) -> crate::ta::session::Session {
    use crate::ta::operation::{Operation, Operations};
    use crate::ta::session::{Opener, Phase, Session, Target};
    Session {
        phase: Phase::Open,
        id: 0,
        target: Target::Pseudo(0),
        opener: Opener::Ta(opener),
        login: 0,
        client: uuid,
        owner: OwnerId::KERNEL,
        operations: Operations::one(Operation::new(0, 0, None)),
        state: Box::default(),
    }
}

#[test]
fn sessions_of_instances_that_have_ended_are_their_tas_still() {
    use crate::ta::session::Opener;
    let world = world();
    let before = world.accounts();
    let mut state = world.kernel.state();
    let guest = state.guest_mut(GuestId::FIRST);
    let loading = Instance::loading(MULTI, 1, OwnerId::KERNEL, 0, ());
    let slot = guest.instances.insert(loading).unwrap();
    let [living, ended] = [1, 2].map(|generation| guest.instances.name(slot, generation));
    for n in 0..32 {
        assert_eq!(guest.admit_session(Opener::Ta(living), false), Ok(()));
        let opener = if n % 2 == 0 { living } else { ended };
        guest.sessions.insert(session_of(MULTI, opener)).unwrap();
    }
    let own = told(SharedTable::Sessions, MULTI, (32, 32), (MULTI, 32));
    assert_eq!(guest.admit_session(Opener::Ta(living), false), own);
    assert_eq!(guest.admit_session(Opener::Normal, false), Ok(()));
    for session in 0..32 {
        guest.sessions.remove(session);
    }
    guest.instances.remove(slot);
    drop(state);
    same(&world, &before);
}

#[test]
fn a_ta_has_so_many_instances_and_leaves_others_theirs() {
    let world = world();
    let before = world.accounts();
    let mut state = world.kernel.state();
    let guest = state.guest_mut(GuestId::FIRST);
    let mut slots = Vec::new();
    for (uuid, count) in [(MULTI, 64), (SHARED, 31), (KEPT, 1)] {
        for _ in 0..count {
            assert_eq!(guest.admit_instance(uuid), Ok(()));
            let loading = Instance::loading(uuid, 0, OwnerId::KERNEL, 0, ());
            slots.push(guest.instances.insert(loading).unwrap());
        }
        if uuid == MULTI {
            let own = told(SharedTable::Instances, MULTI, (64, 64), (MULTI, 64));
            assert_eq!(guest.admit_instance(MULTI), own);
        }
    }
    let all = told(SharedTable::Instances, KEPT, (96, 96), (MULTI, 64));
    assert_eq!(guest.admit_instance(KEPT), all);
    for slot in slots {
        guest.instances.remove(slot);
    }
    drop(state);
    same(&world, &before);
}

#[test]
fn so_much_shared_memory_is_registered_and_no_more() {
    leaves_nothing(|world| {
        let send = |command, kind, cookie| {
            let memory = memref(kind, CLIENT.0, 16, cookie);
            world.send(header(command, 0, 0), &[memory]).result
        };
        let register = |cookie| send(cmd::REGISTER_SHM, attr::TMEM_INPUT, cookie);
        let had = (1..1000).take_while(|cookie| register(*cookie) == TeeResult::SUCCESS);
        assert_eq!(had.count(), 512);
        assert_eq!(register(1000), TeeResult::OUT_OF_MEMORY);
        for cookie in 1..=512 {
            let gone = send(cmd::UNREGISTER_SHM, attr::RMEM_INPUT, cookie);
            assert_eq!(gone, TeeResult::SUCCESS);
        }
    });
}

/// Pages that all instances of a TA are charged for.
pub(super) fn charged(world: &World, uuid: TeeUuid) -> u32 {
    let state = world.kernel.state();
    let instances = state.guest(GuestId::FIRST).instances.iter();
    let of_ta = instances.filter(|(_, found)| found.uuid == uuid);
    let spaces = of_ta.filter_map(|(_, found)| found.space.as_ref());
    spaces.map(|space| space.charged_pages()).sum()
}

/// Has the TA reserve as much heap as it may.
pub(super) fn reserves(world: &World, session: u32) {
    world.ta(|run| {
        let out = run.stack(512);
        run.store(out, &[0; 8]);
        run.call(svc::tally::HEAP_RESERVE, &[QUOTA * PAGE, out])
    });
    exits_with(world, |run| run.result().0);
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
}

/// Has the TA grow its heap to so many pages.
pub(super) fn grows(world: &World, session: u32, pages: u64) -> TeeResult {
    world.ta(move |run| run.call(svc::tally::HEAP_GROW, &[pages * PAGE, 0]));
    exits_with(world, |run| run.result().0);
    let result = world.invoke(session, 0, &[]).result;
    world.clear_ta_steps();
    result
}

/// Pages that a TA may have here.
pub(super) const QUOTA: u64 = 80;
/// Pages of the client's that a list names over and over.
const LISTED: u64 = 1200;

/// A list of [`LISTED`] times the same page: so many need tables of their own, wherever they are mapped.
fn long_list(world: &World) -> MsgParam {
    let page = |n: u64| CLIENT.0 + n * PAGE;
    for list in 1..=3 {
        let mut entries = [page(0); PAGE_LIST_ENTRIES + 1];
        entries[PAGE_LIST_ENTRIES] = page(list + 1);
        world.write(PhysAddr(page(list)), entries.as_bytes());
    }
    let kind = attr::TMEM_INPUT | attr::NONCONTIG;
    memref(kind, page(1), LISTED * PAGE, 0)
}

/// What was stale: what an instance may have was looked at when it last asked in some other way.
#[test]
fn however_an_instance_gets_pages_those_of_others_are_off_its_quota() {
    type Ways<'a> = [(&'a str, Box<dyn Fn(&World) -> TeeResult + 'a>); 6];
    let quota = |world: &World, pages| {
        let mut state = world.kernel.state();
        state.guest_mut(GuestId::FIRST).ta_quota_pages = pages;
    };
    for way in 0..6 {
        with_lender(|world| {
            quota(world, QUOTA as u32);
            let [first, second] = [MULTI, MULTI].map(|uuid| world.opened(uuid));
            for session in [first, second] {
                reserves(world, session);
            }
            let inner = Arc::default();
            ta_opens(world, SHARED, &inner);
            assert_eq!(world.invoke(second, 0, &[]).result, TeeResult::SUCCESS);
            assert_eq!(grows(world, second, 1), TeeResult::SUCCESS);
            let large = long_list(world);
            let small = MsgParam {
                b: 240 * PAGE,
                ..large
            };
            let opens = |world: &World| {
                let reply = world.open(MULTI, &[]);
                let closed =
                    (reply.result == TeeResult::SUCCESS).then(|| world.close(reply.session));
                assert_ne!(closed, Some(TeeResult::BAD_PARAMETERS));
                reply.result
            };
            let ways: Ways<'_> = [
                ("heap", Box::new(|world| grows(world, second, 2))),
                (
                    "a large reference",
                    Box::new(|world| world.invoke(second, 0, &[large]).result),
                ),
                (
                    "small references",
                    Box::new(|world| world.invoke(second, 0, &[small; 4]).result),
                ),
                (
                    "a pseudo-TA's buffer",
                    Box::new(|world| match lends(world, second, BUFFERS, 1) {
                        0 => TeeResult::OUT_OF_MEMORY,
                        _ => TeeResult::SUCCESS,
                    }),
                ),
                ("another instance", Box::new(opens)),
                (
                    "what it passes on",
                    Box::new(|world| passes_on(world, second, &inner, 600, &Arc::default())),
                ),
            ];
            let (name, asks) = &ways[way];
            let grown = (1..QUOTA).take_while(|n| grows(world, first, *n) == TeeResult::SUCCESS);
            assert!(grown.count() > 8, "{name}");
            assert_eq!(u64::from(charged(world, MULTI)), QUOTA, "{name}");
            assert_eq!(asks(world), TeeResult::OUT_OF_MEMORY, "{name}");
            assert_eq!(u64::from(charged(world, MULTI)), QUOTA, "{name}");
            assert_eq!(world.close(first), TeeResult::SUCCESS);
            assert_eq!(asks(world), TeeResult::SUCCESS, "{name}");
            assert_eq!(world.close(second), TeeResult::SUCCESS);
            quota(world, crate::guest::DEFAULT_TA_QUOTA_PAGES);
        });
    }
}
