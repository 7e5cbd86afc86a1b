//! Instances by themselves: names, stacks, images, claims.

use super::*;
use crate::guest_id::GuestId;
use crate::ta::instance::{Instance, InstanceError, Instances, Life};

/// One with two pages of stack and one of image, that thread 3 loads.
fn instance() -> Instance<()> {
    Instance {
        stack_top: 0x9000,
        stack_len: 0x2000,
        load_base: 0x4000,
        load_len: 0x1000,
        ..Instance::loading(MULTI, 7, OwnerId::KERNEL, 3, ())
    }
}

#[test]
fn numbers_tell_slots_and_their_uses_apart() {
    let instances = Instances::<()>::new(GuestId::FIRST, 2).unwrap();
    let names = [(0, 7), (2, 7), (2, 8)].map(|(slot, use_of_it)| {
        let name = instances.name(slot, use_of_it);
        (name.slot(), name.id())
    });
    assert_eq!(names, [(0, 0x7_0000), (2, 0x7_0002), (2, 0x8_0002)]);
}

#[test]
fn a_stack_is_as_deep_as_what_lies_in_it() {
    let mut instance = instance();
    assert_eq!(instance.stack_low(), 0x7000);
    for (sp, depth, deepest) in [
        (0x9000, 0, 0),
        (0x8ff0, 0x10, 0x10),
        (0x9010, 0, 0x10),
        (0x7000, 0x2000, 0x2000),
        (0x6ff0, 0, 0x2000),
        (0x8000, 0x1000, 0x2000),
    ] {
        assert_eq!(instance.depth_of(sp), depth, "{sp:#x}");
        instance.note_stack_pointer(sp);
        assert_eq!(instance.stack_deepest, deepest, "{sp:#x}");
    }
}

#[test]
fn an_address_is_in_an_image_from_its_first_byte_to_its_last() {
    let instance = instance();
    for (va, offset) in [
        (0x3fff, None),
        (0x4000, Some(0)),
        (0x4fff, Some(0xfff)),
        (0x5000, None),
    ] {
        assert_eq!(instance.image_offset(va), offset, "{va:#x}");
    }
}

#[test]
fn a_thread_does_not_wait_for_itself() {
    let mut instance = instance();
    assert_eq!(instance.claim(3), Err(InstanceError::Deadlock));
    assert_eq!(instance.waiters, 0);
    assert_eq!(instance.claim(5), Err(InstanceError::Wait));
    assert_eq!(instance.unclaim(), 1 << 5);
    assert_eq!(instance.claim(5), Ok(()));
    assert_eq!(instance.busy, Some(5));
    instance.killed = true;
    assert_eq!(instance.claim(3), Err(InstanceError::Dead));
}

#[test]
fn a_ring_is_threads_that_wait_for_each_other_and_nothing_less() {
    let mut instances = Instances::<()>::new(GuestId::FIRST, 3).unwrap();
    for (thread, waiters) in [(1, 1 << 2 | 1 << 4), (2, 1 << 3), (3, 0)] {
        let loading = Instance::loading(MULTI, 7, OwnerId::KERNEL, thread, ());
        let waited_for = Instance { waiters, ..loading };
        instances.insert(waited_for).unwrap();
    }
    let rings = |instances: &Instances<()>| [1, 2, 3, 4, 5].map(|of| instances.waits_in_a_ring(of));
    assert_eq!(rings(&instances), [false; 5]);
    instances.get_mut(2).unwrap().waiters = 1 << 1;
    // Who waits for one of a ring is not in it.
    assert_eq!(rings(&instances), [true, true, true, false, false]);
    let last = instances.name(2, 7);
    instances.stop_waiting(last, 1);
    assert_eq!(rings(&instances), [false; 5]);
}

#[test]
fn no_two_address_spaces_have_one_id() {
    let world = world();
    let mut state = world.kernel.state();
    let all: Vec<u16> = core::iter::from_fn(|| state.take_asid()).collect();
    // Those that the hardware has, but for none's own.
    assert!(all.iter().copied().eq(1..=255), "{all:?}");
    for asid in [1, 64, 200] {
        state.give_asid(asid);
        assert_eq!((state.take_asid(), state.take_asid()), (Some(asid), None));
    }
    all.into_iter().for_each(|asid| state.give_asid(asid));
}

#[test]
fn an_instance_stays_with_all_flags_that_this_takes_and_none_less() {
    const STAYS: u32 = flags::SINGLE_INSTANCE | flags::INSTANCE_KEEP_ALIVE;
    const ALL: [u32; 3] = [
        flags::SINGLE_INSTANCE,
        flags::INSTANCE_KEEP_ALIVE,
        flags::INSTANCE_KEEP_CRASHED,
    ];
    for some in 0..8_u32 {
        let with = (0..3).filter(|n| some & 1 << n != 0);
        let mut instance = Instance {
            flags: with.map(|n| ALL[n]).sum(),
            life: Life::Ready,
            has_served: true,
            ..instance()
        };
        assert_eq!(
            instance.stays(),
            instance.flags & STAYS == STAYS,
            "{some:#b}"
        );
        assert!(!instance.is_kept_crashed());
        instance.life = Life::Dead;
        assert_eq!(instance.is_kept_crashed(), some == 0b111, "{some:#b}");
        assert_eq!(instance.stays(), some == 0b111, "{some:#b}");
        instance.killed = true;
        assert!(!instance.stays());
    }
}
