//! Everything that can fail, failing in turn.

use super::*;
use crate::guest_id::GuestId;
use crate::testing::world::{CLIENT, Event, memref};
use tally_abi::msg::attr;
use tally_abi::rpc::cmd;
use tally_abi::ta::svc;
use tally_mem::machine::Trap;

/// A call of everything: load, open, invoke with shared memory and a heap, close.
fn round(world: &World) -> bool {
    world.clear_ta_steps();
    world.ta(|run| run.exit(TeeResult::SUCCESS));
    let reply = world.open(MULTI, &[]);
    if reply.result != TeeResult::SUCCESS {
        return false;
    }
    world.ta(|run| {
        let out = run.stack(0);
        run.store(out, &[0; 8]);
        run.call(svc::tally::HEAP_RESERVE, &[1 << 16, out])
    });
    world.ta(|run| run.call(svc::tally::HEAP_GROW, &[1 << 14, 0]));
    world.ta(|run| {
        let result = run.result();
        run.exit(result)
    });
    let params = [
        memref(attr::TMEM_INOUT, CLIENT.0 + 100, 9000, 0),
        memref(attr::TMEM_INPUT, CLIENT.0, 16, 0),
    ];
    let works = world.invoke(reply.session, 0, &params).result == TeeResult::SUCCESS;
    world.clear_ta_steps();
    assert_eq!(world.close(reply.session), TeeResult::SUCCESS);
    works
}

#[test]
fn whichever_page_is_refused_nothing_is_left_behind() {
    let world = world();
    let before = world.accounts();
    for n in 0..200 {
        world.kernel.state().pages.fail_nth(Some(n));
        let works = round(&world);
        let pending = world.kernel.state().pages.failure_pending();
        world.kernel.state().pages.fail_nth(None);
        same(&world, &before);
        assert!(
            works == pending,
            "request {n} for pages was refused unnoticed"
        );
        if pending {
            assert!(n > 5, "few requests for pages");
            return;
        }
    }
    panic!("no end of requests for pages");
}

#[test]
fn whichever_answer_of_the_normal_world_fails_nothing_is_left_behind() {
    let world = world();
    let before = world.accounts();
    for n in 0..20 {
        world.fail_event(Some(n));
        let works = round(&world);
        let pending = world.failure_pending();
        world.fail_event(None);
        same(&world, &before);
        // Giving memory back is all that may fail without harm.
        let last = world
            .take_events()
            .iter()
            .rposition(|e| *e == Event::Command(tally_abi::rpc::cmd::SHM_FREE));
        assert!(works == (pending || last == Some(n)), "event {n}");
        if pending {
            assert!(n > 2, "few events");
            return;
        }
    }
    panic!("no end of events");
}

#[test]
fn images_that_are_not_the_tas_or_not_signed_are_refused() {
    leaves_nothing(|world| {
        let good = crate::testing::world::signed_image(MULTI, &[0; 64]);
        let refused = |image: Vec<u8>| {
            world.install_image(MULTI, image);
            world.open(MULTI, &[]).result
        };
        for at in (0..good.len()).step_by(13) {
            let mut image = good.clone();
            image[at] ^= 0x10;
            assert_eq!(refused(image), TeeResult::SECURITY, "byte {at}");
        }
        for len in [1, 19, 20, 327, 328, good.len() - 1] {
            assert_eq!(refused(good[..len].to_vec()), TeeResult::SECURITY, "{len}");
        }
        let mut longer = good.clone();
        longer.push(0);
        assert_eq!(refused(longer), TeeResult::SECURITY);
        assert_eq!(refused(Vec::new()), TeeResult::BAD_FORMAT);
        let other = crate::testing::world::signed_image(SHARED, &[0; 64]);
        assert_eq!(refused(other), TeeResult::SECURITY);
        let unknown = TeeUuid::from_u128(0x99);
        assert_eq!(world.open(unknown, &[]).result, TeeResult::ITEM_NOT_FOUND);
        assert_eq!(refused(good), TeeResult::SUCCESS);
        assert_eq!(super::ta::kills(world, MULTI), 1);
        let session = super::ta::only_session(world);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}

/// More than is asked for when nothing is known of an image.
const LARGE: usize = 150_000;

/// The requests that opening a TA takes.
fn requests(world: &World) -> Vec<u32> {
    let _ = world.take_events();
    let session = world.opened(MULTI);
    let events = world.take_events();
    assert_eq!(world.close(session), TeeResult::SUCCESS);
    let command = |event: &Event| match event {
        Event::Command(command) => *command,
        other => panic!("{other:?}"),
    };
    events.iter().map(command).collect()
}

#[test]
fn a_ta_comes_by_three_requests() {
    const THREE: [u32; 3] = [cmd::SHM_ALLOC, cmd::LOAD_TA, cmd::SHM_FREE];
    leaves_nothing(|world| {
        assert_eq!(requests(world), THREE, "the first time");
        assert_eq!(requests(world), THREE, "the second time");
    });
    leaves_nothing(|world| {
        world.install(MULTI, 0, LARGE);
        assert_eq!(requests(world), [THREE, THREE].concat(), "a large one");
        assert_eq!(requests(world), THREE, "once its size is known");
        world.install(MULTI, 0, LARGE + 5000);
        assert_eq!(requests(world), [THREE, THREE].concat(), "when it grew");
        world.install(MULTI, 0, 300);
        assert_eq!(requests(world), THREE, "when it shrank");
    });
}

#[test]
fn a_normal_world_without_memory_is_asked_once() {
    // Bug: the size was asked for next, of a supplicant that had ended, which Linux tells in the same words.
    leaves_nothing(|world| {
        world.set_shm_limit(Some(1000));
        let _ = world.take_events();
        assert_eq!(world.open(MULTI, &[]).result, TeeResult::OUT_OF_MEMORY);
        assert_eq!(world.take_events(), [Event::Command(cmd::SHM_ALLOC)]);
    });
}

#[test]
fn where_there_is_no_room_for_a_guess_there_may_be_for_an_image() {
    // Bug: where 128 KiB could not be lent, no TA could ever be opened, however small.
    const BY_SIZE: [u32; 4] = [cmd::LOAD_TA, cmd::SHM_ALLOC, cmd::LOAD_TA, cmd::SHM_FREE];
    let refused = |world: &World| {
        assert_eq!(world.open(MULTI, &[]).result, TeeResult::OUT_OF_MEMORY);
    };
    leaves_nothing(|world| {
        world.install(MULTI, 0, LARGE);
        world.set_shm_limit(Some(100 << 10));
        refused(world);
        // Its size is asked for and is too much: now, and as often as it is tried.
        for _ in 0..2 {
            let _ = world.take_events();
            refused(world);
            let asked = [cmd::LOAD_TA, cmd::SHM_ALLOC].map(Event::Command);
            assert_eq!(world.take_events(), asked);
        }
        world.install(MULTI, 0, 300);
        assert_eq!(requests(world), BY_SIZE, "a smaller one");
        assert_eq!(requests(world), BY_SIZE[1..], "once its size is known");
        // What was lent once need not be any more.
        world.set_shm_limit(Some(100));
        refused(world);
        world.set_shm_limit(None);
        assert_eq!(requests(world), BY_SIZE, "after its size was refused");
    });
}

#[test]
fn an_image_that_changes_between_two_answers_is_refused() {
    leaves_nothing(|world| {
        let larger = vec![0; LARGE + 10_000];
        for image in [Vec::new(), vec![1], vec![0; 100_000], larger] {
            world.install(MULTI, 0, LARGE);
            world.on(Event::Command(cmd::SHM_FREE), move |world| {
                world.install_image(MULTI, image);
            });
            assert_ne!(world.open(MULTI, &[]).result, TeeResult::SUCCESS);
        }
    });
}

#[test]
fn wherever_a_ta_dies_its_memory_goes_and_its_session_closes() {
    for fault in [
        |run: &mut crate::testing::world::Run<'_>| run.call(svc::PANIC, &[7]),
        |_: &mut crate::testing::world::Run<'_>| Trap::Fault { esr: 1 },
        |run: &mut crate::testing::world::Run<'_>| {
            let mut byte = [0];
            let machine = &run.world.kernel.machine;
            match machine.user_load(run.root, 0x10_0000_0000, &mut byte) {
                Err(abort) => Trap::Abort(abort),
                Ok(()) => panic!("something is there"),
            }
        },
    ] {
        leaves_nothing(|world| {
            // In its open entry.
            world.ta(fault);
            let reply = world.open(SHARED, &[]);
            assert_eq!(reply.result, TeeResult::TARGET_DEAD);
            assert_eq!(reply.origin, tally_abi::Origin::Tee as u32);
            // In a command: the other session closes too, and a new one is served afresh.
            world.ta(|run| run.exit(TeeResult::SUCCESS));
            world.ta(|run| run.exit(TeeResult::SUCCESS));
            let (first, second) = (world.opened(SHARED), world.opened(SHARED));
            world.ta(fault);
            assert_eq!(world.invoke(first, 0, &[]).result, TeeResult::TARGET_DEAD);
            assert_eq!(world.invoke(second, 0, &[]).result, TeeResult::TARGET_DEAD);
            world.ta(|run| run.exit(TeeResult::SUCCESS));
            let third = world.opened(SHARED);
            assert_eq!(
                world
                    .kernel
                    .state()
                    .guest(GuestId::FIRST)
                    .instances
                    .iter()
                    .count(),
                2
            );
            for session in [first, second] {
                assert_eq!(world.close(session), TeeResult::SUCCESS);
            }
            // While it is closed.
            world.ta(fault);
            assert_eq!(world.close(third), TeeResult::SUCCESS);
        });
    }
}

#[test]
fn a_loader_that_dies_or_refuses_leaves_nothing() {
    leaves_nothing(|world| {
        // The loader asks for a stack that there is no quota for.
        world
            .kernel
            .state()
            .guest_mut(GuestId::FIRST)
            .ta_quota_pages = 5;
        assert_eq!(world.open(MULTI, &[]).result, TeeResult::OUT_OF_MEMORY);
        world
            .kernel
            .state()
            .guest_mut(GuestId::FIRST)
            .ta_quota_pages = 0;
        assert_eq!(world.open(MULTI, &[]).result, TeeResult::OUT_OF_MEMORY);
    });
}
