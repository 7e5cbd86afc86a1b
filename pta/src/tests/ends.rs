//! Ends of instances as their observer hears of them.

use super::*;
use tally_abi::pta::watch;
use tally_core::call::Call;
use tally_core::call::rpc::RpcArg;
use tally_core::guest_id::GuestId;
use tally_core::ta::instance::{InstanceRef, Life};
use tally_mem::machine::ThreadControl;
use tally_records::{HistoryRow, SnapshotRow, snapshot_state, trigger};

const OTHER: TeeUuid = TeeUuid::from_u128(0x99);
/// A thread beside the one that closes.
const BESIDE: usize = 3;

/// States of all watchpoints.
fn states(world: &World) -> Vec<u32> {
    let rows: Vec<SnapshotRow> = rows(world);
    rows.iter().map(|row| row.state).collect()
}

#[test]
fn a_watchpoint_waits_until_the_last_living_instance_of_its_ta_has_ended() {
    with(watch::UUID, |world, session| {
        world.install(OTHER, 0, 100);
        let beside = world.opened(OTHER);
        let place = PhysAddr(CLIENT.0 + 8 * 4096);
        let arm = |uuid: TeeUuid| {
            world.write(place, &uuid.to_bytes());
            let params = [
                memref(attr::TMEM_INPUT, place.0, 16, 0),
                value(attr::VALUE_INPUT, trigger::FAILURE.into(), 1),
                value(attr::VALUE_OUTPUT, 0, 0),
            ];
            let reply = world.invoke(session, watch::CMD_ARM, &params);
            assert_eq!(reply.result, TeeResult::SUCCESS);
            reply.params[2].a
        };
        let sessions = [(); 3].map(|()| world.opened(TA));
        let numbers = [TA, OTHER].map(arm);
        // One is dead while its session is open.
        world.ta(|run| run.call(svc::PANIC, &[1]));
        let dead = world.invoke(sessions[0], 0, &[]);
        assert_eq!(dead.result, TeeResult::TARGET_DEAD);
        assert_eq!(states(world), [snapshot_state::ARMED; 2]);
        assert_eq!(world.close(sessions[1]), TeeResult::SUCCESS);
        assert_eq!(states(world), [snapshot_state::ARMED; 2]);
        assert_eq!(world.close(sessions[2]), TeeResult::SUCCESS);
        let ended = [snapshot_state::ENDED, snapshot_state::ARMED];
        assert_eq!(states(world), ended);
        for session in [sessions[0], beside] {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
        for number in numbers {
            let which = [value(attr::VALUE_INPUT, number, 0)];
            let dropped = world.invoke(session, watch::CMD_DROP, &which);
            assert_eq!(dropped.result, TeeResult::SUCCESS);
        }
    });
}

#[test]
fn of_a_ta_that_leaves_nothing_the_console_tells_nothing() {
    with(inspect::UUID, |world, _| {
        let ta = world.opened(TA);
        let said = super::refusals::lines(|| assert_eq!(world.close(ta), TeeResult::SUCCESS));
        assert_eq!(said, [""; 0]);
    });
}

/// Where an instance is in its life, who has it, and whether it has memory.
fn seen(world: &World, instance: InstanceRef) -> (Life, Option<usize>, bool) {
    let state = world.kernel.state();
    let found = state.instance(instance).unwrap();
    (found.life, found.busy, found.space.is_some())
}

#[test]
fn who_kills_an_instance_that_somebody_ends_at_this_moment_leaves_it_to_them() {
    with(inspect::UUID, |world, _| {
        let (image, _) = tally_ledger::fuzzing::image(HEAP, &[100, 28]);
        let ta = ta_with_pool(world, image, &[]);
        let instance = {
            let mut state = world.kernel.state();
            let instances = &mut state.guest_mut(GuestId::FIRST).instances;
            let name = instances.named().find(|(_, found)| found.uuid == TA);
            let name = name.unwrap().0;
            // As whoever kills it does before it lets go of it.
            instances.at_mut(name).unwrap().killed = true;
            name
        };
        world.at_interrupt(0, move |world| {
            assert_eq!(seen(world, instance), (Life::Ready, Some(0), true));
            let machine = &world.kernel.machine;
            machine.set_thread_id(BESIDE);
            Call::new(&world.kernel, GuestId::FIRST, RpcArg::None).unclaim(instance);
            machine.set_thread_id(0);
            assert_eq!(seen(world, instance), (Life::Ready, Some(0), true));
        });
        assert_eq!(world.kernel.machine.thread_id(), 0);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
        assert!(!world.forget_interrupt(), "nothing was told in steps");
        let rows: Vec<HistoryRow> = rows(world);
        let told = rows.iter().map(|row| (row.uuid, row.ended));
        assert!(told.eq([(TA, 1)]), "{rows:?}");
    });
}
