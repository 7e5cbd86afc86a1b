//! Channels and buffers as TAs reach them, and what the audit says of them.
//!
//! **Invariant:** every test compares the accounts before and after.

use super::*;
use std::sync::Mutex;
use tally_abi::pta::audit;
use tally_abi::pta::vdec;
use tally_abi::ta::{UteeParams, param_type};
use tally_account::testing::Run;
use tally_mem::machine::Trap;
use tally_records::EventRow;
use tally_records::HeldRow;
use tally_records::event;
use tally_records::held;

/// Makes the TA call the pseudo-TA that it opened: its session is at `stack(16)`.
pub(super) fn call_pta(run: &mut Run<'_>, command: u32, types: [u32; 4], vals: &[u64]) -> Trap {
    let mut params = UteeParams {
        types: u64::from(param_type::pack(types)),
        ..UteeParams::default()
    };
    params.vals[..vals.len()].copy_from_slice(vals);
    let (session, at) = (run.load_u32(run.stack(16)), run.stack(64));
    run.store(at, params.as_bytes());
    let origin = run.stack(32);
    run.call(
        svc::INVOKE_TA_COMMAND,
        &[u64::from(session), 0, u64::from(command), at, origin],
    )
}

/// A value that the pseudo-TA gave back.
fn given(run: &mut Run<'_>, n: u64) -> u64 {
    run.load_u64(run.stack(64) + 8 + 8 * n)
}

/// Has the TA open the pseudo-TA, a channel, and map a buffer: channel and address.
fn mapped(world: &Arc<World>, ta: u32) -> Arc<Mutex<(u64, u64)>> {
    use param_type::{NONE, VALUE_INPUT, VALUE_OUTPUT};
    let found = Arc::new(Mutex::new((0, 0)));
    world.ta(|run| {
        let (uuid, out) = (run.stack(0), run.stack(16));
        run.store(uuid, vdec::UUID.as_bytes());
        run.store(out, &[0; 24]);
        run.call(svc::OPEN_TA_SESSION, &[uuid, 0, 0, out, out + 4])
    });
    world.ta(|run| {
        assert_eq!(run.result(), TeeResult::SUCCESS);
        call_pta(
            run,
            vdec::CMD_OPEN_CHANNEL,
            [VALUE_OUTPUT, NONE, NONE, NONE],
            &[],
        )
    });
    let seen = found.clone();
    world.ta(move |run| {
        assert_eq!(run.result(), TeeResult::SUCCESS);
        let channel = given(run, 0);
        seen.lock().unwrap().0 = channel;
        let types = [VALUE_INPUT, VALUE_OUTPUT, NONE, NONE];
        call_pta(run, vdec::CMD_MAP, types, &[channel, 5000])
    });
    let seen = found.clone();
    world.ta(move |run| {
        assert_eq!(run.result(), TeeResult::SUCCESS);
        let va = given(run, 2) | given(run, 3) << 32;
        run.store(va, b"the buffer is the TA's");
        run.store(va + 8191, &[1]);
        seen.lock().unwrap().1 = va;
        run.exit(TeeResult::SUCCESS)
    });
    assert_eq!(world.invoke(ta, 7, &[]).result, TeeResult::SUCCESS);
    found
}

/// Has the TA call the pseudo-TA once; it must say `expected`.
fn says(world: &World, ta: u32, command: u32, vals: Vec<u64>, expected: TeeResult) {
    use param_type::{NONE, VALUE_INPUT};
    let types = match vals.len() {
        2 => [VALUE_INPUT, NONE, NONE, NONE],
        _ => [VALUE_INPUT, VALUE_INPUT, NONE, NONE],
    };
    world.ta(move |run| call_pta(run, command, types, &vals));
    world.ta(move |run| {
        assert_eq!(run.result(), expected);
        run.exit(TeeResult::SUCCESS)
    });
    assert_eq!(world.invoke(ta, 7, &[]).result, TeeResult::SUCCESS);
}

fn unmap(world: &World, ta: u32, (channel, va): (u64, u64), expected: TeeResult) {
    let vals = vec![channel, 0, va & 0xffff_ffff, va >> 32];
    says(world, ta, vdec::CMD_UNMAP, vals, expected);
}

fn close(world: &World, ta: u32, channel: u64, expected: TeeResult) {
    says(
        world,
        ta,
        vdec::CMD_CLOSE_CHANNEL,
        vec![channel, 0],
        expected,
    );
}

fn holds(world: &World, kind: u32) -> Vec<HeldRow> {
    let mut rows: Vec<HeldRow> = rows(world);
    rows.retain(|row| row.kind == kind);
    rows
}

fn events(world: &World) -> Vec<EventRow> {
    rows(world)
}

#[test]
fn the_right_order_leaves_nothing_to_tell() {
    with(audit::UUID, |world, _| {
        let ta = world.opened(TA);
        let at = *mapped(world, ta).lock().unwrap();
        let mappings = holds(world, held::MAPPING);
        assert_eq!((mappings.len(), mappings[0].bytes), (1, 8192));
        assert_eq!((mappings[0].who.ta, mappings[0].who.session), (TA, ta));
        assert_eq!(holds(world, held::CHANNEL).len(), 1);
        assert_eq!(holds(world, held::SESSION).len(), 1);
        unmap(world, ta, at, TeeResult::SUCCESS);
        unmap(world, ta, at, TeeResult::ITEM_NOT_FOUND);
        assert!(holds(world, held::MAPPING).is_empty());
        close(world, ta, at.0, TeeResult::SUCCESS);
        close(world, ta, at.0, TeeResult::ITEM_NOT_FOUND);
        assert!(events(world).is_empty());
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn closing_before_unmapping_is_told_with_both_steps() {
    with(audit::UUID, |world, _| {
        let ta = world.opened(TA);
        let at = *mapped(world, ta).lock().unwrap();
        close(world, ta, at.0, TeeResult::SUCCESS);
        assert!(holds(world, held::MAPPING).is_empty(), "undone");
        unmap(world, ta, at, TeeResult::ITEM_NOT_FOUND);
        let events = events(world);
        let kinds: Vec<u32> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [event::CLOSE_BEFORE_UNMAP, event::UNMAP_AFTER_CLOSE]);
        assert_eq!((events[0].mappings, events[0].bytes), (1, 8192));
        assert_eq!(events[1].cause, events[0].number);
        assert_eq!(events[1].earlier, events[0].stack);
        assert_eq!(events[0].stack.kernel[0], 0x40);
        assert!(events.iter().all(|event| event.who.session == ta));
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn a_ta_that_ends_with_buffers_leaves_none() {
    with(audit::UUID, |world, _| {
        let ta = world.opened(TA);
        mapped(world, ta);
        world.ta(|run| run.call(svc::PANIC, &[1]));
        assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::TARGET_DEAD);
        for kind in [held::CHANNEL, held::MAPPING] {
            assert!(holds(world, kind).is_empty());
        }
        assert_eq!(events(world)[0].kind, event::END_BEFORE_CLOSE);
        assert_eq!(world.close(ta), TeeResult::SUCCESS);
    });
}

#[test]
fn only_tas_get_buffers_and_only_test_builds_break_them() {
    with(vdec::UUID, |world, session| {
        let reply = world.invoke(
            session,
            vdec::CMD_OPEN_CHANNEL,
            &[value(attr::VALUE_OUTPUT, 0, 0)],
        );
        assert_eq!(reply.result, TeeResult::ACCESS_DENIED);
        let auditor = world.opened(audit::UUID);
        let on = [value(attr::VALUE_INPUT, 1, 0)];
        let reply = world.invoke(auditor, audit::CMD_FAULT, &on);
        assert_eq!(reply.result, TeeResult::NOT_SUPPORTED);
        assert_eq!(world.close(auditor), TeeResult::SUCCESS);
    });
}
