//! The end of a guest in the middle of everything: every page and every block of the heap comes back.

use crate::{CHARGED, alone, by_use};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use tally_abi::msg::attr;
use tally_abi::pta::{memleak, vdec, watch};
use tally_abi::smc::FunctionId;
use tally_abi::ta::{UteeParams, flags, param_type, svc};
use tally_abi::{TeeResult, TeeUuid, rpc};
use tally_account::book::Shown;
use tally_account::leaks::findings::{Finding, Findings};
use tally_account::testing::{World, world};
use tally_core::call::guest_life::GuestEnd;
use tally_core::guest_id::GuestId;
use tally_core::testing::world::{CLIENT, Event, header, memref, value};
use tally_ledger::{Block, SiteId};
use tally_mem::owner::OwnerId;
use tally_mem::pages::PageUse;
use zerocopy::IntoBytes;

const KEPT: TeeUuid = TeeUuid::from_u128(0x11);
const WAITS: TeeUuid = TeeUuid::from_u128(0x22);

/// A scan of the kernel heap has found a block.
fn found_by_a_scan(world: &World) {
    let kernel = &world.kernel;
    let mut findings = kernel
        .as_owner(OwnerId::STATS, || Findings::new(4096, 2))
        .unwrap();
    let block = Block {
        offset: 64,
        size: 32,
        usable: 32,
        owner: tally_ledger::OwnerId(OwnerId::GUEST.0),
        site: SiteId(1),
        mark: 1,
    };
    let mut state = kernel.state();
    let suspect = Finding::Suspect(1);
    let added = findings.add(&kernel.machine, &mut state.pages, &block, suspect);
    assert_eq!(added, Ok(()));
    assert_eq!(state.pages.used_for(PageUse::LeakScan), 1);
    state.guest_mut(GuestId::FIRST).book.scans.findings = Some(findings);
}

/// A TA has a channel and a buffer open, shared memory is registered, and a snapshot, a mark and what a scan found
/// are there.
fn fill(world: &World) {
    let ta = world.opened(KEPT);
    let sessions = [memleak::UUID, watch::UUID].map(|pta| world.opened(pta));
    let out = [value(attr::VALUE_OUTPUT, 0, 0)];
    let unnamed = [memref(attr::TMEM_INPUT, 0, 0, 0), out[0]];
    let marked = world.invoke(sessions[0], memleak::CMD_MARK, &unnamed);
    assert_eq!(marked.result, TeeResult::SUCCESS);
    found_by_a_scan(world);
    let taken = world.invoke(sessions[1], watch::CMD_TAKE, &out);
    assert_eq!(taken.result, TeeResult::SUCCESS);
    let shared = memref(attr::TMEM_OUTPUT, CLIENT.0, 4096, 7);
    let registered = world.send(header(tally_abi::msg::cmd::REGISTER_SHM, 0, 0), &[shared]);
    assert_eq!(registered.result, TeeResult::SUCCESS);
    world.ta(|run| {
        let at = run.stack(0);
        run.store(at, vdec::UUID.as_bytes());
        run.call(svc::OPEN_TA_SESSION, &[at, 0, 0, at + 64, at + 128])
    });
    world.ta(|run| {
        let at = run.stack(0);
        let id = run.load_u32(at + 64);
        let types = param_type::pack([param_type::VALUE_OUTPUT, 0, 0, 0]);
        let params = UteeParams {
            types: types.into(),
            ..UteeParams::default()
        };
        run.store(at + 256, params.as_bytes());
        let open = u64::from(vdec::CMD_OPEN_CHANNEL);
        run.call(
            svc::INVOKE_TA_COMMAND,
            &[id.into(), 0, open, at + 256, at + 128],
        )
    });
    assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
    let state = world.kernel.state();
    assert_eq!(state.guest(GuestId::FIRST).buffers.channels().len(), 1);
}

#[test]
fn a_guest_ends_in_the_middle_of_everything_and_leaves_nothing() {
    let _alone = alone();
    let world = world(tally_pta::ALL, Shown::default());
    // Back to the point at which no guest was there.
    assert_eq!(world.kernel.end_guest(GuestId::FIRST), GuestEnd::Done);
    let charged_before = CHARGED.load(Ordering::Relaxed);
    world.kernel.begin_guest(GuestId::FIRST).unwrap();
    let kept = flags::SINGLE_INSTANCE | flags::MULTI_SESSION | flags::INSTANCE_KEEP_ALIVE;
    world.install(KEPT, kept, 100);
    world.install(WAITS, 0, 100);
    let pages_before = by_use(&world);
    fill(&world);
    let waits = world.opened(WAITS);
    world.ta(|run| run.call(svc::WAIT, &[1000]));
    // While the thread of this call is suspended, its guest ends.
    let seen = std::sync::Arc::new(Mutex::new(None));
    let told = seen.clone();
    world.on(Event::Command(rpc::cmd::SUSPEND), move |world| {
        *told.lock().unwrap() = Some(world.kernel.end_guest(GuestId::FIRST));
    });
    let _ = world.take_events();
    // The message names no memory for RPCs, so that there is some to give back.
    let invoke = header(tally_abi::msg::cmd::INVOKE_COMMAND, waits, 0);
    let reply = world.send_as(FunctionId::CALL_WITH_ARG, invoke, &[]);
    assert_eq!(*seen.lock().unwrap(), Some(GuestEnd::Threads(1)));
    assert_eq!(
        world.take_events(),
        [Event::Alloc, Event::Command(rpc::cmd::SUSPEND)],
        "nothing is asked of a guest that has ended, not even to free"
    );
    let as_sent = (TeeResult::SUCCESS, 0);
    assert_eq!(
        (reply.result, reply.origin),
        as_sent,
        "no answer is written"
    );
    assert!(CHARGED.load(Ordering::Relaxed) > charged_before);

    assert_eq!(
        world.kernel.end_guest(GuestId::FIRST),
        GuestEnd::Done,
        "no thread is left"
    );
    assert_eq!(by_use(&world), pages_before);
    let state = world.kernel.state();
    let guest = state.guest(GuestId::FIRST);
    assert_eq!(guest.sessions.iter().count(), 0);
    assert_eq!(guest.instances.iter().count(), 0);
    assert!(guest.shm.is_empty());
    drop(state);
    assert_eq!(CHARGED.load(Ordering::Relaxed), charged_before);
    // Nobody calls from there any more.
    let refused = world.send(header(tally_abi::msg::cmd::CANCEL, 0, 0), &[]);
    assert_eq!(refused.code, tally_abi::smc::ret::ENOTAVAIL);

    // Another may begin in its place.
    world.kernel.begin_guest(GuestId::FIRST).unwrap();
    world.clear_ta_steps();
    let session = world.opened(memleak::UUID);
    // It is there already, with its session.
    world.kernel.begin_guest(GuestId::FIRST).unwrap();
    assert_eq!(world.close(session), TeeResult::SUCCESS);
    assert_eq!(world.kernel.end_guest(GuestId::FIRST), GuestEnd::Done);
    assert_eq!(CHARGED.load(Ordering::Relaxed), charged_before);
}
