//! Libraries: opened with a TA, opened later, refused; and what else the system pTA does for a TA.

use super::ta::ta_opens;
use super::*;
use crate::guest_id::GuestId;
use crate::pta::supplicant::{self, Answer, value};
use crate::pta::system_services::SystemServices;
use crate::testing::logged::lines;
use crate::testing::world::{
    CLIENT, Event, FAULTY_LIBRARY, LIBRARY, LINKED, PANICS_LDELF, SYMBOLS, memref, signed_image,
};
use log::LevelFilter;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use tally_abi::msg::{MsgParam, attr};
use tally_abi::rpc::cmd;
use tally_abi::ta::{param_type, svc};
use tally_mem::addr::PAGE_SIZE;
use tally_mem::region::RegionKind;
use zerocopy::IntoBytes;

const PAGE: u64 = PAGE_SIZE as u64;
const SYSTEM: TeeUuid = TeeUuid::from_u128(0x88);
/// A library that is opened later.
const LATER: u128 = 0x99;

const OPEN: u32 = 0;
const SYMBOL: u32 = 1;
const MAP: u32 = 2;
const UNMAP: u32 = 3;
const PLUGIN: u32 = 4;
const RECEIVE: u32 = 5;
const READ: u32 = 6;

const PTAS: &[PseudoTa<()>] = &[
    ECHO_TA,
    PseudoTa {
        uuid: SYSTEM,
        name: "system",
        work: Work::System(system),
    },
];

/// Value 0 goes in, value 1 comes out.
fn system(system: &dyn SystemServices, _: &Session<'_>, step: Step<'_>) -> Result<(), TeeResult> {
    let Step::Invoke(command, params) = step else {
        return Ok(());
    };
    let (a, b) = params.value(0);
    let uuid = TeeUuid::from_u128(u128::from(a));
    let address = u64::from(b) << 12;
    let found = match command {
        OPEN => system.open_library(uuid).map(|()| 0),
        SYMBOL => system.find_symbol(uuid, &vec![b as u8; b as usize]),
        MAP => system.map_zero(a, address, (0, 0)),
        UNMAP => system.unmap(a, address).map(|()| 0),
        READ => (0..a)
            .try_for_each(|_| params.read(2, 0, &mut [0; 4]))
            .map(|()| 0),
        _ => {
            let mut rpc = [
                value(attr::VALUE_INPUT, a.into(), b.into(), 0),
                MsgParam::default(),
            ];
            let data = supplicant::Data {
                rpc: 1,
                param: 2,
                kind: attr::RMEM_INOUT,
                answer: if command == PLUGIN {
                    Answer::Size
                } else {
                    Answer::Datagram
                },
            };
            system
                .ask(cmd::SUPP_PLUGIN, &mut rpc, Some(data), params)
                .map(|()| 0)
        }
    }?;
    if command != PLUGIN && command != RECEIVE {
        params.set_value(1, (found >> 12) as u32, found as u32);
    }
    Ok(())
}

/// A world with the TA, its library and another one, of which a session is open that has one to the pseudo-TA.
fn with_linked(test: impl FnOnce(&Arc<World>, &dyn Fn(u32, u32, u32) -> Told)) {
    let world = world_of(PTAS);
    world.install(LINKED, 0, 300);
    world.install(LIBRARY, 0, 5000);
    world.install(TeeUuid::from_u128(LATER), 0, 9000);
    let before = world.accounts();
    let session = world.opened(LINKED);
    let inner = Arc::default();
    ta_opens_pseudo(&world, &inner);
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    test(&world, &|command, a, b| {
        asks(&world, session, &inner, (command, a, b))
    });
    world.close(session);
    same(&world, &before);
    assert_eq!(world.ta_steps_left(), 0, "steps of TAs that were not taken");
}

fn ta_opens_pseudo(world: &World, id: &Arc<AtomicU32>) {
    ta_opens(world, SYSTEM, id);
    // A pseudo-TA has no step of its own.
    world.drop_ta_step(1);
}

/// What the TA was told, and value 1: in pages, and the bits of its page.
type Told = (TeeResult, u64);
/// Reference 2 afterwards, and its size.
type Data = Arc<Mutex<([u8; 8], u64)>>;

/// Has the TA ask the pseudo-TA; its memory goes along as reference 2.
fn asks(world: &World, session: u32, inner: &Arc<AtomicU32>, asked: (u32, u32, u32)) -> Told {
    asks_with(world, session, inner, asked, &Data::default())
}

fn asks_with(
    world: &World,
    session: u32,
    inner: &Arc<AtomicU32>,
    (command, a, b): (u32, u32, u32),
    data: &Data,
) -> Told {
    let (told, value) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU64::new(0)));
    let id = inner.clone();
    world.ta(move |run| {
        let params = run.stack(64);
        let data = run.stack(256);
        run.store(data, b"question");
        let types = param_type::pack([
            param_type::VALUE_INPUT,
            param_type::VALUE_OUTPUT,
            param_type::MEMREF_INOUT,
            param_type::NONE,
        ]);
        let words = [u64::from(types), a.into(), b.into(), 0, 0, data, 8, 0, 0];
        run.store(params, words.as_bytes());
        let id = u64::from(id.load(Relaxed));
        // Where the origin goes it does not want to know.
        run.call(svc::INVOKE_TA_COMMAND, &[id, 0, command.into(), params, 0])
    });
    let (heard, seen, back) = (told.clone(), value.clone(), data.clone());
    world.ta(move |run| {
        heard.store(run.result().0, Relaxed);
        let params = run.stack(64);
        let [pages, low] = [24, 32].map(|at| run.load_u64(params + at));
        seen.store(pages << 12 | low & 0xfff, Relaxed);
        let mut bytes = [0; 8];
        run.load(run.stack(256), &mut bytes);
        *back.lock().unwrap() = (bytes, run.load_u64(params + 48));
        run.exit(TeeResult::SUCCESS)
    });
    let reply = world.invoke(session, 0, &[]);
    if reply.result != TeeResult::SUCCESS {
        world.clear_ta_steps();
        return (reply.result, 0);
    }
    (TeeResult(told.load(Relaxed)), value.load(Relaxed))
}

/// Pages of each kind of region.
fn pages(world: &World, kind: RegionKind) -> u64 {
    let state = world.kernel.state();
    let mut all = state.guest(GuestId::FIRST).instances.named();
    let (_, found) = all.next().unwrap();
    let regions = found.space.as_ref().unwrap().regions().iter();
    let of_kind = regions.filter(|region| region.kind() == kind);
    of_kind.map(|region| region.bytes() / PAGE).sum()
}

fn kill_all(world: &World) {
    let mut state = world.kernel.state();
    let instances = &mut state.guest_mut(GuestId::FIRST).instances;
    for (_, found) in instances.iter_mut() {
        found.killed = true;
    }
}

fn link_map_len(world: &World) -> u64 {
    let state = world.kernel.state();
    let mut all = state.guest(GuestId::FIRST).instances.named();
    all.next().unwrap().1.kept.as_ref().unwrap().link_map.1
}

#[test]
fn a_ta_and_its_library_are_loaded_and_no_file_stays() {
    with_linked(|world, _| {
        for (kind, left) in [
            (RegionKind::Image, 0),
            (RegionKind::LdelfCode, 0),
            (RegionKind::LdelfData, 0),
            (RegionKind::Segment, 1),
        ] {
            assert_eq!(pages(world, kind), left, "{kind:?}");
        }
    });
}

#[test]
fn a_ta_whose_library_is_refused_is_not_loaded() {
    let world = world_of(PTAS);
    world.install(LINKED, 0, 300);
    let before = world.accounts();
    let refused = || world.open(LINKED, &[]).result;
    assert_eq!(refused(), TeeResult::ITEM_NOT_FOUND, "there is none");
    for (library, why) in [
        (b"no image".to_vec(), TeeResult::SECURITY),
        (signed_image(LINKED, &[0; 300]), TeeResult::SECURITY),
        (Vec::new(), TeeResult::BAD_FORMAT),
    ] {
        world.install_image(LIBRARY, library);
        let said = lines(LevelFilter::Error, || assert_eq!(refused(), why));
        let line = format!("library {LIBRARY} is not loaded: ");
        assert!(said.iter().any(|said| said.starts_with(&line)), "{said:?}");
        same(&world, &before);
    }
    world.install(LIBRARY, 0, 300);
    let session = world.opened(LINKED);
    world.close(session);
    same(&world, &before);
}

#[test]
fn a_library_opened_later_stays_and_its_file_does_not() {
    with_linked(|world, asks| {
        let before = link_map_len(world);
        assert_eq!(asks(OPEN, LATER as u32, 0).0, TeeResult::SUCCESS);
        assert_eq!(pages(world, RegionKind::Segment), 3);
        assert_eq!(pages(world, RegionKind::Image), 0);
        assert_eq!(pages(world, RegionKind::LdelfCode), 0);
        assert_eq!(link_map_len(world), before + PAGE, "as the loader says");
    });
}

#[test]
fn a_library_that_is_refused_later_leaves_the_ta_as_it_was() {
    with_linked(|world, asks| {
        let (segments, map) = (pages(world, RegionKind::Segment), link_map_len(world));
        let faulty = TeeUuid::from_u128(0xaa);
        world.install_image(faulty, signed_image(faulty, &FAULTY_LIBRARY));
        for (library, why) in [
            (0xab, TeeResult::ITEM_NOT_FOUND),
            (0xaa, TeeResult::BAD_FORMAT),
        ] {
            let taken = world.accounts();
            assert_eq!(asks(OPEN, library, 0).0, why);
            assert_eq!(pages(world, RegionKind::Segment), segments, "{library:#x}");
            assert_eq!(pages(world, RegionKind::Image), 0);
            assert_eq!(link_map_len(world), map);
            assert_eq!(world.accounts(), taken);
        }
        assert_eq!(
            asks(OPEN, LATER as u32, 0).0,
            TeeResult::SUCCESS,
            "it goes on"
        );
    });
}

/// Its memory may be anything then.
#[test]
fn a_ta_in_which_the_loader_dies_is_ended() {
    with_linked(|world, asks| {
        let fatal = TeeUuid::from_u128(0xaa);
        world.install_image(fatal, signed_image(fatal, &PANICS_LDELF));
        assert_eq!(asks(OPEN, 0xaa, 0).0, TeeResult::TARGET_DEAD);
        let state = world.kernel.state();
        let mut all = state.guest(GuestId::FIRST).instances.named();
        assert!(
            all.next()
                .is_none_or(|(_, found)| found.killed || found.space.is_none())
        );
    });
}

#[test]
fn whichever_page_is_refused_a_library_is_opened_or_nothing_has_changed() {
    with_linked(|world, asks| {
        let (segments, taken) = (pages(world, RegionKind::Segment), world.accounts());
        for n in 0..100 {
            world.kernel.state().pages.fail_nth(Some(n));
            let told = asks(OPEN, LATER as u32, 0).0;
            let pending = world.kernel.state().pages.failure_pending();
            world.kernel.state().pages.fail_nth(None);
            if pending {
                assert_eq!(told, TeeResult::SUCCESS);
                assert!(n > 5, "few requests for pages");
                return;
            }
            assert_eq!(told, TeeResult::OUT_OF_MEMORY, "page {n}");
            assert_eq!(pages(world, RegionKind::Segment), segments, "page {n}");
            assert_eq!(world.accounts(), taken, "page {n}");
        }
        panic!("no end of requests for pages");
    });
}

#[test]
fn symbols_are_found_by_name() {
    with_linked(|world, asks| {
        let taken = world.accounts();
        assert_eq!(asks(SYMBOL, 0, 7), (TeeResult::SUCCESS, SYMBOLS + 7));
        assert_eq!(asks(SYMBOL, 0, 200), (TeeResult::SUCCESS, SYMBOLS + 200));
        assert_eq!(
            asks(SYMBOL, 0, 256).0,
            TeeResult::ITEM_NOT_FOUND,
            "begins with 0"
        );
        assert_eq!(world.accounts(), taken);
    });
}

#[test]
fn who_has_no_link_map_opens_no_library() {
    let world = world_of(PTAS);
    let before = world.accounts();
    let (session, inner) = (world.opened(MULTI), Arc::default());
    ta_opens_pseudo(&world, &inner);
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    for command in [OPEN, SYMBOL] {
        let told = asks(&world, session, &inner, (command, 5, 5)).0;
        assert_eq!(told, TeeResult::NOT_SUPPORTED);
    }
    assert_eq!(world.close(session), TeeResult::SUCCESS);
    same(&world, &before);
}

#[test]
fn the_system_does_nothing_for_the_normal_world() {
    let world = world_of(PTAS);
    let session = world.opened(SYSTEM);
    for command in [OPEN, SYMBOL, MAP, UNMAP] {
        let told = world.invoke(session, command, &[]).result;
        assert_eq!(told, TeeResult::ACCESS_DENIED, "{command}");
    }
}

#[test]
fn memory_is_mapped_and_unmapped_for_a_ta() {
    with_linked(|world, asks| {
        let taken = world.accounts();
        let (told, va) = asks(MAP, 3 * PAGE as u32 - 5, 0);
        assert_eq!(
            (told, pages(world, RegionKind::Mapped)),
            (TeeResult::SUCCESS, 3)
        );
        let page = (va >> 12) as u32;
        let unmap = |bytes: u64, page: u32| asks(UNMAP, bytes as u32, page).0;
        assert_eq!(
            unmap(PAGE, page + 3),
            TeeResult::BAD_PARAMETERS,
            "behind it"
        );
        assert_eq!(
            unmap(4 * PAGE, page),
            TeeResult::BAD_PARAMETERS,
            "more than it"
        );
        assert_eq!(asks(MAP, PAGE as u32, page).0, TeeResult::ACCESS_CONFLICT);
        assert_eq!(unmap(PAGE, page + 1), TeeResult::SUCCESS);
        assert_eq!(pages(world, RegionKind::Mapped), 2, "a part of it");
        assert_eq!(unmap(PAGE, page), TeeResult::SUCCESS);
        assert_eq!(unmap(PAGE, page + 2), TeeResult::SUCCESS);
        assert_eq!(world.accounts(), taken);
    });
}

/// Nor its code, stack or heap, which it would run without.
#[test]
fn nothing_else_is_unmapped_for_a_ta() {
    with_linked(|world, asks| {
        let others: Vec<(u64, RegionKind)> = {
            let state = world.kernel.state();
            let mut all = state.guest(GuestId::FIRST).instances.named();
            let (_, found) = all.next().unwrap();
            let regions = found.space.as_ref().unwrap().regions().iter();
            regions
                .map(|region| (region.va().0, region.kind()))
                .collect()
        };
        assert!(others.len() > 1, "{others:?}");
        for (va, kind) in others {
            let told = asks(UNMAP, PAGE as u32, (va >> 12) as u32).0;
            assert_eq!(told, TeeResult::ACCESS_DENIED, "{kind:?}");
        }
    });
}

#[test]
fn memory_that_is_not_unmapped_ends_with_its_ta() {
    with_linked(|world, asks| {
        assert_eq!(asks(MAP, PAGE as u32, 0).0, TeeResult::SUCCESS);
        assert_eq!(pages(world, RegionKind::Mapped), 1);
    });
}

#[test]
fn the_supplicant_works_on_a_copy_and_answers_no_more_than_there_is_room_for() {
    let world = world_of(PTAS);
    let before = world.accounts();
    let (session, inner) = (world.opened(MULTI), Arc::default());
    ta_opens_pseudo(&world, &inner);
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    let taken = world.accounts();
    for (code, len, left) in [
        (TeeResult::SUCCESS, 8, b"noitseuq"),
        (TeeResult::BUSY, 8, b"noitseuq"),
        (TeeResult::SUCCESS, 3, b"noistion"),
        (TeeResult::BUSY, 3, b"noistion"),
        (TeeResult::SUCCESS, 0, b"question"),
    ] {
        let data = Data::default();
        drop(world.take_events());
        let told = asks_with(&world, session, &inner, (PLUGIN, code.0, len), &data).0;
        assert_eq!(told, code);
        assert_eq!(*data.lock().unwrap(), (*left, len.into()), "{code} {len}");
        let events = world.take_events();
        let wanted = [cmd::SHM_ALLOC, cmd::SUPP_PLUGIN, cmd::SHM_FREE].map(Event::Command);
        let commands: Vec<Event> = events
            .into_iter()
            .filter(|it| wanted.contains(it))
            .collect();
        assert_eq!(commands, wanted);
        assert_eq!(world.accounts(), taken);
    }
    assert_eq!(world.close(session), TeeResult::SUCCESS);
    same(&world, &before);
}

/// What there is no room for is passed on with one code only, that says so.
#[test]
fn the_supplicant_cannot_say_that_it_wrote_more_than_there_is_room_for() {
    let world = world_of(PTAS);
    let (session, inner) = (world.opened(MULTI), Arc::default());
    ta_opens_pseudo(&world, &inner);
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    let short = TeeResult::SHORT_BUFFER;
    for (command, code, told, len) in [
        (PLUGIN, TeeResult::SUCCESS, TeeResult::COMMUNICATION, 8),
        (PLUGIN, short, short, 100),
        (PLUGIN, TeeResult::BUSY, TeeResult::BUSY, 8),
        (RECEIVE, TeeResult::SUCCESS, TeeResult::SUCCESS, 100),
        (RECEIVE, TeeResult::BUSY, TeeResult::BUSY, 8),
    ] {
        let data = Data::default();
        let asked = (command, code.0, 100);
        assert_eq!(asks_with(&world, session, &inner, asked, &data).0, told);
        assert_eq!(data.lock().unwrap().1, len, "{code}");
    }
}

#[test]
fn a_ta_that_is_killed_while_it_asks_does_not_go_on() {
    let world = world_of(PTAS);
    let before = world.accounts();
    let (session, inner) = (world.opened(MULTI), Arc::default());
    ta_opens_pseudo(&world, &inner);
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    world.on(Event::Command(cmd::SUPP_PLUGIN), kill_all);
    let heard = Data::default();
    let told = asks_with(&world, session, &inner, (PLUGIN, 0, 8), &heard);
    assert_eq!(told, (TeeResult::TARGET_DEAD, 0), "what its client hears");
    assert_eq!(*heard.lock().unwrap(), ([0; 8], 0), "it goes on");
    world.close(session);
    same(&world, &before);
}

/// Entropy and the like: as much as a client has, in small pieces.
#[test]
fn a_pseudo_ta_that_goes_through_a_reference_lets_interrupts_in_and_ends_with_its_ta() {
    with_linked(|world, asks| {
        let n = world.kernel.machine.interruptible_calls();
        assert_eq!(asks(READ, 1000, 0).0, TeeResult::SUCCESS);
        assert!(world.kernel.machine.interruptible_calls() >= n + 1000);
        world.at_interrupt(500, kill_all);
        assert_eq!(asks(READ, u32::MAX, 0).0, TeeResult::TARGET_DEAD);
    });
}

/// Each of the three events of a question fails in turn.
#[test]
fn a_supplicant_that_fails_leaves_nothing_lent() {
    with_linked(|world, asks| {
        let taken = world.accounts();
        for n in 0..3 {
            world.fail_event(Some(n));
            let told = asks(PLUGIN, 0, 8).0;
            world.fail_event(None);
            assert_eq!(told == TeeResult::SUCCESS, n == 2, "{n}: {told}");
            assert_eq!(world.accounts(), taken, "{n}");
        }
    });
}

/// Whoever looks at the TA's stack from outside begins there.
#[test]
fn a_ta_has_its_own_stack_pointer_again_after_the_loader() {
    let world = world_of(PTAS);
    world.install(LINKED, 0, 300);
    world.install(LIBRARY, 0, 300);
    let (session, inner) = (world.opened(LINKED), Arc::default());
    ta_opens_pseudo(&world, &inner);
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    let noted = Arc::new(AtomicU64::new(0));
    let sp = noted.clone();
    world.ta(move |run| {
        sp.store(run.context.sp, Relaxed);
        let params = run.stack(64);
        let types = param_type::pack([param_type::VALUE_INPUT, 0, 0, 0]);
        run.store(
            params,
            [u64::from(types), 0, 7, 0, 0, 0, 0, 0, 0].as_bytes(),
        );
        let id = u64::from(inner.load(Relaxed));
        run.call(svc::INVOKE_TA_COMMAND, &[id, 0, SYMBOL.into(), params, 0])
    });
    world.ta(move |run| {
        let threads = &run.world.kernel.threads;
        assert_eq!(threads.user_sp(0), noted.load(Relaxed));
        run.exit(TeeResult::SUCCESS)
    });
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    world.close(session);
}

/// The pages of a longer answer would take a good part of the kernel heap.
#[test]
fn no_more_than_8_mib_go_to_the_supplicant() {
    let world = world_of(PTAS);
    let session = world.opened(SYSTEM);
    world.set_shm_limit(Some(0));
    let most: u64 = 8 << 20;
    for (bytes, is_asked) in [(most, true), (most + 1, false)] {
        let list = super::args::list(&world, 0, bytes.div_ceil(PAGE), |_| CLIENT.0);
        drop(world.take_events());
        let params = [
            value(attr::VALUE_INPUT, 0, 8, 0),
            value(attr::VALUE_OUTPUT, 0, 0, 0),
            memref(attr::TMEM_INOUT | attr::NONCONTIG, list, bytes, 0),
        ];
        let told = world.invoke(session, PLUGIN, &params).result;
        assert_eq!(told, TeeResult::OUT_OF_MEMORY, "{bytes}");
        let asked = Event::Command(cmd::SHM_ALLOC);
        assert_eq!(world.take_events().contains(&asked), is_asked, "{bytes}");
    }
}
