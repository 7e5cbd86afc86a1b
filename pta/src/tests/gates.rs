//! Openers of pseudo-TAs, and the end of their sessions.

use super::*;
use std::sync::Mutex;
use tally_abi::msg::MsgHeader;
use tally_abi::pta::{audit, socket, system, watch};
use tally_abi::rpc::{cmd, socket as command};
use tally_core::guest_id::GuestId;
use tally_core::testing::world::Event;
use tally_mem::addr::PAGE_SIZE;
use tally_mem::testing::NORMAL_BASE;

/// Has the TA of a session open one to a pseudo-TA: what it hears, and the session's id.
fn ta_opens(world: &World, session: u32, target: TeeUuid) -> (TeeResult, u32) {
    let told = Arc::new(Mutex::new(None));
    world.ta(move |run| {
        let (uuid, out) = (run.stack(0), run.stack(16));
        run.store(uuid, target.as_bytes());
        run.store(out, &[0; 8]);
        run.call(svc::OPEN_TA_SESSION, &[uuid, 0, 0, out, out + 4])
    });
    let heard = told.clone();
    world.ta(move |run| {
        *heard.lock().unwrap() = Some((run.result(), run.load_u32(run.stack(16))));
        run.exit(TeeResult::SUCCESS)
    });
    assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    let told = told.lock().unwrap().take();
    told.unwrap()
}

#[test]
fn each_pseudo_ta_opens_for_those_that_it_is_for() {
    const DENIED: TeeResult = TeeResult::ACCESS_DENIED;
    const OPENS: TeeResult = TeeResult::SUCCESS;
    let world = world(crate::ALL, Shown::default());
    world.install(TA, 0, 100);
    let ta = world.opened(TA);
    for (target, to_clients, to_tas) in [
        (system::UUID, DENIED, OPENS),
        (socket::UUID, DENIED, OPENS),
        (stats::UUID, OPENS, OPENS),
        (device::UUID, OPENS, OPENS),
        (rng::UUID, OPENS, OPENS),
        (memleak::UUID, OPENS, DENIED),
        (inspect::UUID, OPENS, DENIED),
        (control::UUID, OPENS, DENIED),
        (audit::UUID, OPENS, DENIED),
        (watch::UUID, OPENS, DENIED),
    ] {
        let before = world.accounts();
        let reply = world.open(target, &[]);
        assert_eq!(reply.result, to_clients, "{target}");
        if to_clients == OPENS {
            assert_eq!(world.close(reply.session), TeeResult::SUCCESS);
        }
        assert_eq!(world.accounts(), before, "{target}");
        assert_eq!(ta_opens(&world, ta, target).0, to_tas, "{target}");
    }
    assert_eq!(world.close(ta), TeeResult::SUCCESS);
}

/// The first parameter of what the supplicant is asked: the RPC's argument lies behind the call's message.
fn first_param(world: &World, message_params: usize) -> MsgParam {
    let behind = tally_abi::msg::arg_size(message_params) + size_of::<MsgHeader>();
    let bytes = world.read(PhysAddr(NORMAL_BASE.0 + behind as u64), PAGE_SIZE - behind);
    MsgParam::read_from_prefix(&bytes).unwrap().0
}

#[test]
fn all_sockets_of_an_instance_are_closed_with_its_session() {
    let world = world(crate::ALL, Shown::default());
    world.install(TA, 0, 100);
    let before = world.accounts();
    let ta = world.opened(TA);
    let (told, inner) = ta_opens(&world, ta, socket::UUID);
    assert_eq!(told, TeeResult::SUCCESS);
    let instance = {
        let state = world.kernel.state();
        let mut named = state.guest(GuestId::FIRST).instances.named();
        named.next().unwrap().0.id()
    };
    drop(world.take_events());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    world.on(Event::Command(cmd::SOCKET), move |world| {
        let param = first_param(world, 0);
        noted.lock().unwrap().push((param.a, param.b));
    });
    world.ta(move |run| run.call(svc::CLOSE_TA_SESSION, &[inner.into()]));
    world.ta(|run| run.exit(TeeResult::SUCCESS));
    assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
    assert_eq!(
        *asked.lock().unwrap(),
        [(command::CLOSE_ALL, instance.into())]
    );
    assert_eq!(world.close(ta), TeeResult::SUCCESS);
    assert_eq!(world.accounts(), before);
}
