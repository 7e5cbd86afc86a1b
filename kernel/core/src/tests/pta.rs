//! Sessions of pseudo-TAs.

use super::*;
use crate::call::guest_life::GuestEnd;
use crate::guest_id::GuestId;
use crate::testing::world::{header, value};
use core::sync::atomic::{AtomicU32, Ordering};
use tally_abi::msg::{attr, cmd, login};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const COUNTER: TeeUuid = TeeUuid::from_u128(0x66);
const CLIENT_UUID: TeeUuid = TeeUuid::from_u128(0x77);

/// What the pseudo-TA keeps of a session.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct Count {
    calls: u64,
}

/// Counts the calls of each session; public clients may not open one.
const COUNTER_TA: PseudoTa<()> = PseudoTa {
    uuid: COUNTER,
    name: "counter",
    work: Work::Alone(count),
};

fn count(session: &Session<'_>, step: Step<'_>) -> Result<(), TeeResult> {
    match step {
        Step::Open if session.login == login::PUBLIC => Err(TeeResult::ACCESS_CONFLICT),
        Step::Open => session.with_state(|count: &mut Count| count.calls = 100),
        Step::Invoke(_, params) => {
            let calls = session.with_state(|count: &mut Count| {
                count.calls += 1;
                count.calls
            })?;
            let is_client = u32::from(session.client == CLIENT_UUID);
            params.set_value(0, calls as u32, is_client);
            Ok(())
        }
        Step::Close => session.with_state(|count: &mut Count| count.calls = 0),
    }
}

fn open(world: &World, login: u32) -> (TeeResult, u32) {
    let (a, b) = COUNTER.to_value_pair();
    let mut client = value(attr::VALUE_INPUT | attr::META, 0, 0);
    (client.a, client.b) = CLIENT_UUID.to_value_pair();
    client.c = login.into();
    let target = value(attr::VALUE_INPUT | attr::META, a, b);
    let reply = world.send(header(cmd::OPEN_SESSION, 0, 0), &[target, client]);
    (reply.result, reply.session)
}

fn calls(world: &World, session: u32) -> (u64, u64) {
    let out = [value(attr::VALUE_OUTPUT, 0, 0)];
    let reply = world.invoke(session, 0, &out);
    assert_eq!(reply.result, TeeResult::SUCCESS);
    (reply.params[0].a, reply.params[0].b)
}

fn with_counter(test: impl FnOnce(&World)) {
    let world = World::new(&[COUNTER_TA]);
    let before = world.accounts();
    test(&world);
    same(&world, &before);
}

#[test]
fn each_session_has_a_state_of_its_own() {
    with_counter(|world| {
        let sessions = [(); 2].map(|()| open(world, login::USER));
        assert!(
            sessions
                .iter()
                .all(|(result, _)| *result == TeeResult::SUCCESS)
        );
        let [(_, one), (_, other)] = sessions;
        assert_eq!(calls(world, one), (101, 1));
        assert_eq!(calls(world, one), (102, 1));
        assert_eq!(calls(world, other), (101, 1));
        for session in [one, other] {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn a_session_that_its_pseudo_ta_refuses_is_not_there() {
    with_counter(|world| {
        let (result, session) = open(world, login::PUBLIC);
        assert_eq!((result, session), (TeeResult::ACCESS_CONFLICT, 0));
        let state = world.kernel.state();
        assert_eq!(state.guest(GuestId::FIRST).sessions.iter().count(), 0);
    });
}

#[test]
fn a_pseudo_ta_is_told_of_the_end_of_a_session() {
    /// Fails when a session is closed, which changes nothing.
    const STUBBORN: PseudoTa<()> = PseudoTa {
        uuid: COUNTER,
        name: "stubborn",
        work: Work::Alone(|session, step| match step {
            Step::Close => {
                session.with_state(|closed: &mut u64| *closed += 1)?;
                Err(TeeResult::BUSY)
            }
            Step::Open | Step::Invoke(..) => Ok(()),
        }),
    };
    let world = World::new(&[STUBBORN]);
    let before = world.accounts();
    let (_, session) = open(&world, login::USER);
    assert_eq!(world.close(session), TeeResult::SUCCESS);
    same(&world, &before);
}

#[test]
fn a_pseudo_ta_is_told_of_the_end_of_a_guest() {
    static CLOSED: AtomicU32 = AtomicU32::new(0);
    const NOTES: PseudoTa<()> = PseudoTa {
        uuid: COUNTER,
        name: "notes",
        work: Work::Alone(|_, step| {
            let closes = u32::from(matches!(step, Step::Close));
            CLOSED.fetch_add(closes, Ordering::Relaxed);
            Ok(())
        }),
    };
    let world = World::new(&[NOTES]);
    for _ in 0..2 {
        assert_eq!(open(&world, login::USER).0, TeeResult::SUCCESS);
    }
    let ended = world.kernel.end_guest(GuestId::FIRST);
    assert_eq!(ended, GuestEnd::Done);
    assert_eq!(CLOSED.load(Ordering::Relaxed), 2);
}

/// The login and the client's UUID that the kernel takes from an open message, or why it takes none.
fn identity(world: &World, login: u64) -> Result<(u32, TeeUuid), TeeResult> {
    let (a, b) = COUNTER.to_value_pair();
    let mut client = value(attr::VALUE_INPUT | attr::META, 0, 0);
    (client.a, client.b) = CLIENT_UUID.to_value_pair();
    client.c = login;
    let target = value(attr::VALUE_INPUT | attr::META, a, b);
    let reply = world.send(header(cmd::OPEN_SESSION, 0, 0), &[target, client]);
    if reply.result != TeeResult::SUCCESS {
        return Err(reply.result);
    }
    let state = world.kernel.state();
    let mut sessions = state.guest(GuestId::FIRST).sessions.iter();
    let found = sessions
        .next()
        .map(|(_, session)| (session.login, session.client));
    drop(sessions);
    drop(state);
    assert_eq!(world.close(reply.session), TeeResult::SUCCESS);
    Ok(found.unwrap())
}

#[test]
fn a_client_of_the_normal_world_is_nobody_that_the_kernel_alone_vouches_for() {
    // Bug: any login with any UUID was taken, that of a TA included.
    let world = World::new(&[COUNTER_TA]);
    let before = world.accounts();
    for login in [
        login::USER,
        login::GROUP,
        login::APPLICATION,
        login::APPLICATION_USER,
        login::APPLICATION_GROUP,
    ] {
        let told = identity(&world, login.into());
        assert_eq!(told, Ok((login, CLIENT_UUID)));
    }
    let kernel = identity(&world, login::REE_KERNEL.into());
    assert_eq!(kernel, Ok((login::REE_KERNEL, TeeUuid::nil())));
    for login in [
        u64::from(login::TRUSTED_APP),
        3,
        7,
        0x7fff_ffff,
        0x8000_0001,
        0xffff_ffff,
        1 << 32 | u64::from(login::USER),
        u64::MAX,
    ] {
        assert_eq!(identity(&world, login), Err(TeeResult::BAD_PARAMETERS));
    }
    assert_eq!(world.accounts(), before);
}

#[test]
fn target_and_client_are_both_marked_as_meta() {
    const GOOD: u64 = attr::VALUE_INPUT | attr::META;
    leaves_nothing(|world| {
        let (a, b) = ECHO.to_value_pair();
        for (target, client, result) in [
            (GOOD, GOOD, TeeResult::SUCCESS),
            (GOOD, attr::VALUE_INPUT, TeeResult::BAD_PARAMETERS),
            (attr::VALUE_INPUT, GOOD, TeeResult::BAD_PARAMETERS),
            (
                GOOD,
                attr::VALUE_INOUT | attr::META,
                TeeResult::BAD_PARAMETERS,
            ),
            (
                attr::VALUE_OUTPUT | attr::META,
                GOOD,
                TeeResult::BAD_PARAMETERS,
            ),
        ] {
            let params = [value(target, a, b), value(client, 0, 0)];
            let reply = world.send(header(cmd::OPEN_SESSION, 0, 0), &params);
            assert_eq!(reply.result, result, "{target:#x} {client:#x}");
            if result == TeeResult::SUCCESS {
                assert_eq!(world.close(reply.session), TeeResult::SUCCESS);
            }
        }
        let params = [value(GOOD, a, b)];
        let reply = world.send(header(cmd::OPEN_SESSION, 0, 0), &params);
        assert_eq!(reply.result, TeeResult::BAD_PARAMETERS);
    });
}
